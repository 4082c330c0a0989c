//! bash with the cmdlets on its path, and what they print.

use std::process::Command;

use accelnet_rules::fixture;
use accelnet_server::fake::FakeNodes;
use serde_json::Value;

use crate::rig::{Ended, Rig, run};

/// Names as the documentation has them, and odd ones.
const NAMES: [&str; 5] = ["MyVM01", "MyVM02", "web 1", "web'2\"", "web/3"];

/// bash with the cmdlets on its path.
pub struct Shell {
    pub rig: Rig,
}

impl Shell {
    /// One node with VMs of these names, an intent, and the cmdlets.
    pub fn new() -> Self {
        let mut seen = fixture::observed();
        seen.vms = (1..=5).map(fixture::vm).collect();
        for (vm, name) in seen.vms.iter_mut().zip(NAMES) {
            vm.name = name.into();
        }
        let ports = &mut seen.bridges[0].ports;
        ports.truncate(1);
        ports.extend(seen.vms.iter().map(|vm| {
            let nic = &vm.nics[0];
            fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac))
        }));
        let rig = Rig::of(FakeNodes::new([("node1", seen)]));
        rig.add_intent();
        let shell = Self { rig };
        let place = shell.place();
        shell.rig.call(&["cmdlet", "install", &place]).done();
        shell
    }

    pub fn enabled() -> Self {
        let shell = Self::new();
        assert_eq!(
            shell
                .types("Enable-AccelNetManagement -IntentName compute")
                .done(),
            "True\n"
        );
        shell
    }

    pub fn place(&self) -> String {
        let place = self.rig.directory.path().join("cmd lets'");
        place.to_str().unwrap().to_owned()
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:/usr/bin:/bin", self.place());
        command
            .env_clear()
            .env("PATH", path)
            .env("ACCELNET_SOCKET", self.rig.socket())
            .current_dir(self.rig.directory.path())
            .args(["-c", line]);
        command
    }

    /// Types a line; standard input is an empty pipe.
    pub fn types(&self, line: &str) -> Ended {
        run(self.command(line), b"")
    }

    /// `(name, wanted level, path in use)` of accelerated VMs.
    pub fn accelerated(&self) -> Vec<(String, String, String)> {
        let list = self.rig.call(&["vm", "list", "-o", "json"]).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let vms = list["items"].as_array().unwrap().iter();
        vms.filter(|vm| vm["level"] != Value::Null || vm["nics"][0]["path"] == "vf")
            .map(|vm| {
                let level = vm["level"].as_str().unwrap_or("-").to_owned();
                (text(&vm["name"]), level, text(&vm["nics"][0]["path"]))
            })
            .collect()
    }

    #[track_caller]
    pub fn has(&self, expected: &[(&str, &str)]) {
        let found = self.accelerated();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, level)| ((*name).to_owned(), (*level).to_owned(), "vf".to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    /// `(intent, reserve)`, if enabled.
    pub fn management(&self) -> Option<(String, i64)> {
        let status = self.rig.call(&["status", "-o", "json"]).json();
        let enabled = &status["enabled"];
        let intent = enabled["intent"].as_str()?.to_owned();
        Some((intent, enabled["node_reserve_percentage"].as_i64().unwrap()))
    }
}

pub fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn names(text: &str) -> Vec<String> {
    let objects = objects(text);
    let names = objects.iter().map(|object| object["VMName"].as_str());
    names.map(|name| name.unwrap().to_owned()).collect()
}
