//! The product as an operator uses it: its command line on a node.

use std::{collections::BTreeMap, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Refused;
use crate::{lab::Lab, shell};

/// `accelnet` on one node.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    lab: &'a Lab,
    node: &'a str,
}

struct Output {
    code: i32,
    out: String,
    err: String,
}

impl<'a> Product<'a> {
    /// The product on this node.
    pub fn on(lab: &'a Lab, node: &'a str) -> Self {
        Self { lab, node }
    }

    fn call(&self, words: &[&str]) -> Result<Output> {
        let line: Vec<String> = ["accelnet"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect();
        let output = self
            .lab
            .ssh(self.lab.node(self.node)?)
            .command(false)
            .arg(shell::join(&line))
            .stdin(Stdio::null())
            .output()
            .context("ssh cannot be run")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok(Output {
            code: output.status.code().unwrap_or(255),
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    /// Output of a command that must succeed.
    pub fn text(&self, words: &[&str]) -> Result<String> {
        let output = self.call(words)?;
        ensure!(
            output.code == 0,
            "'accelnet {}' ended with {}: {}\n{}",
            words.join(" "),
            output.code,
            output.err,
            output.out
        );
        Ok(output.out)
    }

    /// The same as JSON.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let text = self.text(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("'accelnet {}' printed no JSON: {text}", words.join(" ")))
    }

    /// The path that the VM's only NIC really uses.
    pub fn path_of(&self, vm: &str) -> Result<String> {
        let vm = self.json(&["vm", "show", vm])?;
        let path = vm["nics"][0]["path"].as_str();
        Ok(path.context("the VM has no NIC")?.to_owned())
    }

    /// A command that must be refused.
    pub fn refused(&self, words: &[&str]) -> Result<Refused> {
        let output = self.call(words)?;
        let command = format!("accelnet {}", words.join(" "));
        if output.code == 0 {
            bail!("'{command}' should have been refused");
        }
        let mut as_json = self.call(&[words, &["-o", "json"]].concat())?.out;
        as_json.retain(|c| c != '\n');
        let code = serde_json::from_str(&as_json)
            .ok()
            .and_then(|document: Value| Some(find_code(&document)?.to_owned()))
            .with_context(|| format!("'{command}' names no code: {as_json}"))?;
        Ok(Refused {
            command,
            code,
            text: [output.out, output.err].concat(),
        })
    }

    /// Versions of what the story is about.
    pub fn versions(&self) -> Result<BTreeMap<String, String>> {
        let script = "echo kernel $(uname -r)\n\
             echo libvirt $(virsh version --daemon | sed -n 's/^Running against daemon: //p')\n\
             echo qemu $(qemu-system-x86_64 --version | sed -n '1s/.*version //p')\n\
             echo pf_driver $(basename $(readlink /sys/class/net/pf0/device/driver))\n\
             echo $(accelnet --version)\n";
        let text = self.lab.script(self.node, script)?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect())
    }
}

/// The first problem's code, wherever the command's document has it.
fn find_code(document: &Value) -> Option<&str> {
    match document {
        Value::Object(fields) => fields
            .get("code")
            .and_then(Value::as_str)
            .or_else(|| fields.values().find_map(find_code)),
        Value::Array(items) => items.iter().find_map(find_code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_code_is_found_in_a_list_of_results() {
        let document = json!({"items": [{"name": "a", "problems": [{"code": "no_free_vf"}]}]});
        assert_eq!(find_code(&document), Some("no_free_vf"));
        assert_eq!(find_code(&json!({"items": []})), None);
    }
}
