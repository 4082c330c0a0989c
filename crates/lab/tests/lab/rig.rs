//! The lab under test: its own name, taken down whatever happens.
//!
//! | variable | means |
//! |---|---|
//! | `ACCELNET_LAB_KEEP` | the lab of a failure stays for a look |
//! | `ACCELNET_LAB_REUSE` | steps run in the lab of this name, which stays |
//! | `ACCELNET_LAB_STEPS` | steps whose name has one of these parts, separated by commas, and no others |
//! | `ACCELNET_LAB_LOST` | a file that is made if the emulator lost a machine: such a test says nothing |

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use accelnet_lab::{
    image::{self, Variant},
    lab::{
        Guest, Lab, Options, SecondAdapter, down_on_interrupt,
        guests::{Shape, definition, wait_beside},
    },
    progress::Progress,
    shell,
};
use serde_json::Value;

/// A lab and what the steps need.
pub struct Rig {
    pub lab: Lab,
    started: Instant,
    stays: bool,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

/// One node with two guests and the product built beside this test.
pub fn options() -> Options {
    let programs = image::guest_agent().unwrap();
    Options {
        nodes: 1,
        guests: 2,
        smt: false,
        vfs: 0,
        iommu: true,
        second_adapter: SecondAdapter::None,
        memory_mib: 2048,
        bin_dir: Some(programs.parent().unwrap().to_owned()),
        variant: Variant::Plain,
        cluster: None,
    }
}

/// What became of a command of the product.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Codes of all problems, wherever the documents have them.
    pub fn codes(&self) -> Vec<String> {
        let mut codes = Vec::new();
        for text in [&self.out, &self.err] {
            if let Ok(document) = serde_json::from_str(text) {
                find_codes(&document, &mut codes);
            }
        }
        codes
    }
}

fn find_codes(document: &Value, codes: &mut Vec<String>) {
    match document {
        Value::Object(fields) => {
            if let Some(code) = fields.get("code").and_then(Value::as_str) {
                let cure = fields.get("cure").and_then(Value::as_str);
                assert!(
                    cure.is_some_and(|cure| !cure.is_empty()),
                    "no cure: {document}"
                );
                codes.push(code.to_owned());
            }
            fields.values().for_each(|value| find_codes(value, codes));
        }
        Value::Array(items) => items.iter().for_each(|item| find_codes(item, codes)),
        _ => {}
    }
}

/// A command line without quotes, as words.
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

impl Rig {
    /// Boots a lab with the product. Two cores are enough for one at a time. What does not boot is booted a
    /// second time: emulated machines now and then hang.
    pub fn up(options: Options) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("test-{}", std::process::id());
        down_on_interrupt(&name).unwrap();
        let started = Instant::now();
        let reused = std::env::var("ACCELNET_LAB_REUSE").ok();
        let up = |options| {
            let up = Lab::up(&name, options, Progress::new(false));
            up.inspect_err(|error| {
                eprintln!("the lab does not come up: {error:#}");
                let _ = Lab::down(&name);
            })
        };
        let lab = match &reused {
            Some(name) => Lab::open(name),
            None => up(options.clone()).or_else(|_| up(options)),
        };
        let rig = Self {
            lab: lab.unwrap(),
            started,
            stays: reused.is_some(),
            _turn: turn,
        };
        // A libvirt that has just been started answers nobody for a while: it tries what its QEMU can.
        for node in &rig.lab.nodes {
            let seen = "accelnet prereq | grep -q 'vm_capabilities .* passed '";
            rig.until_on(&node.name, 180, seen);
        }
        rig
    }

    /// A named step: its name is the last thing printed before a failure.
    pub fn step(&mut self, name: &str, run: impl FnOnce(&mut Self)) {
        eprintln!(
            "[{:6.1} s] step: {name}",
            self.started.elapsed().as_secs_f64()
        );
        if let Ok(parts) = std::env::var("ACCELNET_LAB_STEPS")
            && !parts.split(',').any(|part| name.contains(part))
        {
            return;
        }
        run(self);
    }

    /// The program `accelnet-lab` on this lab.
    pub fn program(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_accelnet-lab"))
            .args(["--quiet", "--name", &self.lab.name])
            .args(words)
            .output()
            .unwrap()
    }

    /// Output of a script on the node; fails the test if the script fails.
    pub fn node(&self, script: &str) -> String {
        self.on("node1", script)
    }

    /// The same on any node.
    pub fn on(&self, node: &str, script: &str) -> String {
        self.lab
            .script(node, script)
            .unwrap_or_else(|error| panic!("on {node}: {script}\n{error:#}"))
    }

    /// Output of a script in a guest; fails the test if the script fails.
    pub fn guest(&self, guest: &str, script: &str) -> String {
        self.lab
            .guest_script(guest, script)
            .unwrap_or_else(|error| panic!("in {guest}: {script}\n{error:#}"))
    }

    /// Waits for all guests of a node that has started again: they boot at once.
    pub fn all_guests_are_up(&self) {
        let together = u8::try_from(self.lab.guests.len()).unwrap();
        for guest in &self.lab.guests {
            self.on(&guest.node, &wait_beside(guest, together));
        }
    }

    /// `accelnet …` on the node.
    pub fn accelnet(&self, words: &[&str]) -> Run {
        self.command(&[&["accelnet"], words].concat())
    }

    /// A command on the node, with nothing on its standard input.
    pub fn command(&self, words: &[&str]) -> Run {
        self.command_on("node1", words)
    }

    /// The same on any node.
    pub fn command_on(&self, node: &str, words: &[&str]) -> Run {
        let line: Vec<String> = words.iter().map(ToString::to_string).collect();
        let output = self
            .lab
            .ssh(self.lab.node(node).unwrap())
            .command(false)
            .arg(shell::join(&line))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run {
            code: output.status.code().unwrap_or(255),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The document that a command prints, which must succeed.
    pub fn json(&self, words: &[&str]) -> Value {
        let run = self.accelnet(&[words, &["-o", "json"]].concat());
        assert_eq!(run.code, 0, "{words:?}: {run:?}");
        serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{words:?}: {error}: {run:?}"))
    }

    /// A VM as the product shows it.
    pub fn vm(&self, name: &str) -> Value {
        self.json(&["vm", "show", name])
    }

    /// VFs of an adapter, as the kernel's own tool shows them.
    pub fn vfs(&self, adapter: &str) -> Vec<Value> {
        let link = self.node(&format!("ip -j link show {adapter}"));
        let link: Value = serde_json::from_str(&link).unwrap();
        let vfs = link[0]["vfinfo_list"].as_array();
        vfs.cloned().unwrap_or_default()
    }

    /// Waits until a condition of the node's shell holds.
    pub fn until(&self, seconds: u32, condition: &str) {
        self.until_on("node1", seconds, condition);
    }

    /// The same on any node.
    pub fn until_on(&self, node: &str, seconds: u32, condition: &str) {
        let condition = shell::quote(&format!("until {condition}; do sleep 0.3; done"));
        self.on(node, &format!(
            "timeout {seconds} sh -c {condition} || {{ accelnet vm list >&2; journalctl -u 'accelnet*' --no-pager -n 30 >&2; exit 1; }}"
        ));
    }

    /// Waits until a VM's path is this one, by itself.
    pub fn until_path(&self, name: &str, path: &str, seconds: u32) {
        let node = self.lab.guest(name).unwrap().node.clone();
        let condition = format!("accelnet vm show {name} -o json | grep -q '\"path\": \"{path}\"'");
        self.until_on(&node, seconds, &condition);
    }

    /// Defines a VM of an odd shape and leaves it off, or starts it without letting it run: enough for
    /// everything that can be known without asking the guest.
    pub fn odd_vm(&self, name: &str, host: u8, shape: &Shape, how: &str) {
        let guest = Guest {
            name: name.to_owned(),
            node: "node1".to_owned(),
            host,
            mac: format!("52:54:00:77:01:{host:02x}"),
        };
        let xml = definition(&guest, shape);
        self.node(&format!(
            "cat > /root/{name}.xml <<'END_OF_XML'\n{xml}\nEND_OF_XML\n{how}\n"
        ));
    }

    /// The lab's private directory.
    pub fn directory(&self) -> PathBuf {
        self.lab.directory()
    }
}

impl Rig {
    /// A node that does not answer any more is the emulator's fault, whatever the product did to it: that
    /// takes down no kernel. A node that was shut down by the test does not count.
    fn say_what_is_lost(&self) {
        for node in &self.lab.nodes {
            let Err(error) = self.lab.ssh(node).wait(ANSWERS) else {
                continue;
            };
            eprintln!("{} is lost: {error:#}", node.name);
            let marked = std::env::var_os("ACCELNET_LAB_LOST").map(|path| std::fs::write(path, ""));
            if let Some(Err(error)) = marked {
                eprintln!("this cannot be noted: {error}");
            }
        }
    }
}

/// A node that answers at all does so within this.
const ANSWERS: Duration = Duration::from_secs(60);

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.say_what_is_lost();
        }
        let kept = std::thread::panicking() && std::env::var_os("ACCELNET_LAB_KEEP").is_some();
        if kept || self.stays {
            eprintln!("the lab is kept: accelnet-lab --name {} …", self.lab.name);
            return;
        }
        // Also while a failed assertion unwinds.
        if let Err(error) = Lab::down(&self.lab.name) {
            eprintln!("the lab could not be taken down: {error:#}");
        }
    }
}
