//! Running programs, and writing command lines that a shell reads as they were meant.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a program to its end; its output on success, its words on failure.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let shown = format!("{:?}", command.get_program());
    let output = command.output().with_context(|| {
        format!("{shown} cannot be run; 'make deps' installs what the lab needs")
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<_> = text.lines().rev().take(12).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        bail!("{shown} failed ({}):\n{}", output.status, tail.join("\n"));
    }
    Ok(output.stdout)
}

/// One word for a POSIX shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line for a POSIX shell.
pub fn join(words: &[String]) -> String {
    words
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = ["a b", "", "it's", "$HOME", "x\ny", "plain-1.2/3", "*", "\\"];
        let words: Vec<String> = words.map(str::to_owned).to_vec();
        let script = format!("printf '%s\\0' {}", join(&words));
        let out = run(Command::new("sh").args(["-c", &script])).unwrap();
        let back: Vec<_> = out
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        assert_eq!(back[..words.len()], words[..]);
    }
}
