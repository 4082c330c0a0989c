//! What is wanted for a VM, on every intent that it was ever asked for.
//!
//! Acceleration is kept per VM, NIC and intent: which NICs those are follows from the intent's bridge.
//! Only the enabled intent's part is handed to the nodes; the others wait until theirs is enabled
//! again, so that a change of intent takes nothing from a VM and gives it nothing.

use std::collections::BTreeMap;

use accelnet_model::{MacAddr, Name, Performance, VmDesired, Waiver};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Park;
use crate::audit::{Actor, Entry};

/// What is wanted for one VM on one intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnIntent {
    /// The level; `None` means the software path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Performance>,
    /// What acceleration needs is staged on its definition.
    #[serde(default)]
    pub prepare: bool,
    /// Address of the NIC that is added if the VM has none on the intent's bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_nic: Option<MacAddr>,
    /// Rules of its ports that need not hold on a VF, as somebody decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waiver>,
}

impl OnIntent {
    /// The same as nodes are told it, but for what holds on all intents.
    pub fn desired(&self, vm: Uuid) -> VmDesired {
        VmDesired {
            uuid: vm,
            level: self.level,
            prepare: self.prepare,
            add_nic: self.add_nic,
            parked: false,
            migrate_to: None,
            waived: self.waived(),
        }
    }

    /// Names of the rules that are waived.
    pub fn waived(&self) -> Vec<String> {
        let rules = self.waivers.iter().map(|waiver| waiver.rule.clone());
        rules.collect()
    }
}

/// What is written for one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What is wanted, by intent.
    pub intents: BTreeMap<Name, OnIntent>,
    /// It is parked.
    pub park: Option<Park>,
    /// The VM's name.
    pub name: String,
}

/// All wishes for one VM, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// The VM.
    pub uuid: Uuid,
    /// By intent.
    #[serde(default)]
    pub intents: BTreeMap<Name, OnIntent>,
    /// What an older version wrote, which knew of one intent only: the one that is enabled.
    #[serde(flatten, skip_serializing)]
    pub of_enabled: OnIntent,
    /// It is parked, whatever the intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park: Option<Park>,
    /// The VM's name when it was asked for: what to call it while no node has it.
    pub name: String,
    /// Who asked last.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// The wish's generation with which it was written. 0 in what an older version wrote: there it is the store's
    /// revision of the key.
    #[serde(default)]
    pub changed: u64,
}

impl VmSpec {
    /// What is wanted for a VM, as an entry of the record tells who wants it.
    pub fn new(uuid: Uuid, wanted: Wanted, entry: &Entry, changed: u64) -> Self {
        let Wanted {
            intents,
            park,
            name,
        } = wanted;
        Self {
            uuid,
            intents,
            of_enabled: OnIntent::default(),
            park,
            name,
            by: entry.by.clone(),
            at: entry.at,
            changed,
        }
    }

    /// Gives what an older version wrote its place.
    pub fn brought_up_to_date(mut self, enabled: Option<&Name>) -> Self {
        let of_enabled = std::mem::take(&mut self.of_enabled);
        if let Some(intent) = enabled
            && of_enabled != OnIntent::default()
        {
            self.intents.entry(intent.clone()).or_insert(of_enabled);
        }
        self
    }

    /// What a node that has the VM is told about the enabled intent; nothing if nothing was ever asked for there.
    pub fn desired(&self, enabled: &Name, node: &Name) -> Option<VmDesired> {
        let park = self.park.as_ref();
        Some(VmDesired {
            parked: park.is_some_and(|park| park.holds_on(node)),
            migrate_to: park.and_then(|park| park.leads_from(node)).cloned(),
            ..self.intents.get(enabled)?.desired(self.uuid)
        })
    }

    /// The highest level on any intent.
    pub fn highest_level(&self) -> Option<Performance> {
        self.intents.values().filter_map(|wish| wish.level).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Name {
        "node1".parse().unwrap()
    }

    fn read(text: &str) -> VmSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_an_older_version_wrote_is_the_enabled_intent_s() {
        let old = r#"{"schema":1,"uuid":"00000000-0000-0000-0000-000000000001","level":"Low",
            "prepare":true,"name":"vm1","by":{"uid":0},"at":"2026-01-01T00:00:00Z"}"#;
        let name: Name = "compute".parse().unwrap();
        let spec = read(old).brought_up_to_date(Some(&name));
        let desired = spec.desired(&name, &node()).unwrap();
        assert_eq!(
            (desired.level, desired.prepare),
            (Some(Performance::Low), true)
        );
        // Once written, it is no more than that.
        let text = serde_json::to_string(&spec).unwrap();
        let other: Name = "other".parse().unwrap();
        let again = read(&text).brought_up_to_date(Some(&other));
        assert_eq!(again.desired(&name, &node()), Some(desired));
        assert_eq!(again.desired(&other, &node()), None);
    }
}
