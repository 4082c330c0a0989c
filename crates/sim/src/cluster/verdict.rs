//! When all of it has stopped: is everything as was wanted, and as people were told.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use accelnet_model::{NicPath, VmState};
use jiff::Timestamp;
use serde_json::Value;

use super::{ADMITTED_AT_MOST, Cluster, NODES, VFS, VMS};
use crate::{auditor::not_settled, node::VmId, scene::Dangers};

/// Half of what passes between two looks of a node by itself.
pub(super) const HEARD_WITHIN: Duration = Duration::from_secs(5);

impl Cluster {
    pub(super) async fn calm(&mut self) {
        self.scene.step("calm");
        self.scene.set_dangers(Dangers::NONE);
        self.standby.calm(&self.scene);
        (0..NODES).for_each(|number| self.heal(number));
        self.set_clock(0);
        self.end_deposed();
        self.start_server().await;
        for number in 0..NODES {
            self.revive(number);
        }
        for vm in (1..=VMS).map(VmId) {
            if self.host_of(vm).is_none() {
                self.start_vm(vm, usize::from(vm.0) % NODES);
            }
        }
    }

    /// What is not as it shall be at the end.
    pub(super) async fn wrong(&mut self) -> Result<Vec<String>, String> {
        // What is asked for while the list is made is in it, or not.
        let quiet = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.asking.is_empty()
        };
        let listed = match self.done("GET", "/vms", Value::Null).await {
            Ok(listed) => listed,
            Err(words) => return Ok(vec![words]),
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !quiet || !known.asking.is_empty() {
            return Ok(vec!["something was asked for".to_owned()]);
        }
        let mut wrong = Vec::new();
        let mut expected: Vec<BTreeMap<VmId, NicPath>> = vec![BTreeMap::new(); NODES];
        let mut wanted = 0;
        for vm in (1..=VMS).map(VmId) {
            let Some(number) = self
                .hosts
                .iter()
                .position(|host| host.node.vm(vm).is_some())
            else {
                continue;
            };
            let items = listed["items"].as_array();
            let shown = items.and_then(|items| {
                items
                    .iter()
                    .find(|item| item["uuid"] == vm.uuid().to_string())
            });
            let Some(shown) = shown else {
                wrong.push(format!("{} is not listed", vm.name()));
                continue;
            };
            let name = &self.hosts[number].node.name;
            if shown["node"] != name.as_str() {
                wrong.push(format!("{} is on {name}: {}", vm.name(), shown["node"]));
            }
            let level = !shown["level"].is_null();
            wanted += usize::from(level);
            let maybe = known
                .levels
                .get(&vm)
                .cloned()
                .unwrap_or_else(|| vec![false]);
            if !maybe.contains(&level) {
                let words = format!(
                    "{} is accelerated: {level}; it was said: {maybe:?}",
                    vm.name()
                );
                self.scene.violation(words.clone());
                wrong.push(words);
            }
            let parked = !shown["parked"].is_null();
            let until = shown["parked"]["until"].as_str();
            let until = until.and_then(|until| until.parse::<Timestamp>().ok());
            if until.is_some_and(|until| until < self.clock().now()) {
                wrong.push(format!("{} is parked past its end", vm.name()));
            }
            if shown["parked"]["until_boot"] == true && !self.may_be_drained(&known, number) {
                wrong.push(format!("{}: {name} is not drained any more", vm.name()));
            }
            let path = match level && !parked {
                true => NicPath::Vf,
                false => NicPath::Synthetic,
            };
            // More may run on a host than it has VFs: then those that are without are told so.
            let told = shown["nics"][0]["path"].as_str() == Some("synthetic");
            let without = path == NicPath::Vf && told && self.is_full(number);
            let path = if without { NicPath::Synthetic } else { path };
            expected[number].insert(vm, path);
        }
        if wanted > ADMITTED_AT_MOST {
            wrong.push(format!("{wanted} VMs are admitted"));
            self.scene
                .violation("more VMs are admitted than the reserve allows".into());
        }
        for (host, expected) in self.hosts.iter().zip(&expected) {
            wrong.extend(not_settled(&host.node, expected));
        }
        Ok(wrong)
    }

    /// Another server leads, and hears of each node as soon as that has dialled: not when it looks again by itself.
    pub(super) async fn heard_by_another(&mut self) -> Result<(), String> {
        self.kill_server();
        self.start_server().await;
        let end = self.now() + HEARD_WITHIN;
        loop {
            // There is no answer before it has read its state.
            let listed = self.done("GET", "/nodes", Value::Null).await;
            let nodes = listed.as_ref().ok().and_then(|all| all["items"].as_array());
            let heard = |node: &&Value| node["reachable"] == true;
            if nodes.is_some_and(|nodes| nodes.iter().filter(heard).count() == NODES) {
                return Ok(());
            }
            if self.now() > end {
                return Err(format!("not heard within {HEARD_WITHIN:?}: {listed:#?}"));
            }
            self.pass(Duration::from_millis(100)).await?;
        }
    }

    pub(super) fn is_full(&self, number: usize) -> bool {
        let node = &self.hosts[number].node;
        let used = (1..=VMS).map(VmId).filter(|vm| {
            let runs = node
                .vm(*vm)
                .is_some_and(|facts| facts.state == VmState::Running);
            runs && !node.vfs_of(*vm).is_empty()
        });
        used.count() >= VFS as usize
    }
}
