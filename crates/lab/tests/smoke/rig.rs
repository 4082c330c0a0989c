//! The lab under test: its own name, taken down whatever happens.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Instant,
};

use accelnet_lab::{
    image,
    lab::{Lab, Options, down_on_interrupt},
    progress::Progress,
};

/// A lab and what the steps need.
pub struct Rig {
    pub lab: Lab,
    started: Instant,
}

impl Rig {
    /// Boots one node with two guests.
    pub fn up(with_product: bool) -> Self {
        let name = format!("smoke-{}", std::process::id());
        down_on_interrupt(&name).unwrap();
        let programs = image::guest_agent().unwrap();
        let options = Options {
            nodes: 1,
            guests: 2,
            smt: false,
            vfs: 0,
            iommu: true,
            memory_mib: 2048,
            bin_dir: with_product.then(|| programs.parent().unwrap().to_owned()),
        };
        let started = Instant::now();
        let lab = Lab::up(&name, options, Progress::new(false)).unwrap_or_else(|error| {
            let _ = Lab::down(&name);
            panic!("the lab does not come up: {error:#}")
        });
        Self { lab, started }
    }

    /// A named step: its name is the last thing printed before a failure.
    pub fn step(&mut self, name: &str, run: impl FnOnce(&mut Self)) {
        eprintln!(
            "[{:6.1} s] step: {name}",
            self.started.elapsed().as_secs_f64()
        );
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
        self.lab
            .script("node1", script)
            .unwrap_or_else(|error| panic!("on node1: {script}\n{error:#}"))
    }

    /// Output of a script in a guest; fails the test if the script fails.
    pub fn guest(&self, guest: &str, script: &str) -> String {
        self.lab
            .guest_script(guest, script)
            .unwrap_or_else(|error| panic!("in {guest}: {script}\n{error:#}"))
    }

    /// The lab's private directory.
    pub fn directory(&self) -> PathBuf {
        self.lab.directory()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Also while a failed assertion unwinds.
        if let Err(error) = Lab::down(&self.lab.name) {
            eprintln!("the lab could not be taken down: {error:#}");
        }
    }
}
