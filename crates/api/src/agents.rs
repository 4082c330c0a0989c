//! What agents and servers say to each other, under [`BASE`], over TLS with the node's certificate.
//!
//! ```text
//!   agent                                              server
//!     │  POST join     a token, a public key ───────────►│  once; no certificate yet
//!     │  GET  follow   ─────────────────────────────────►│
//!     │◄── Welcome, Wish, then Vms │ Wish │ Look │ Alive │  one long answer, NDJSON
//!     │                     or Traffic ─────────────────►│  what was counted of a VM; older agents leave it out
//!     │  POST report   session, sequence, status ───────►│  what changed; else a sign of life
//!     │  POST renew    a public key ────────────────────►│  before the certificate expires
//!     │  POST incoming a VM that is on its way here ────►│  whether it may come (crate::incoming)
//! ```
//!
//! An agent dials, never a server. Each `follow` begins a session with a number of its own: a report of an earlier
//! session (late, or of a machine that was copied) is refused, whatever is in it. Within a session reports
//! are in the order of their sequence.

use std::time::Duration;

use accelnet_model::{
    ClusterEnable, Intent, Isolated, Name, NicCounted, NodeDesired, NodeStatus, VmDesired,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where this is, beside the API for people and programs.
pub const BASE: &str = "/node/v1";
/// A node that gives no sign for so long is down.
pub const DOWN_AFTER: Duration = Duration::from_secs(10);
/// An agent gives a sign this often, so that two may be late before it counts as down; a server too.
pub const SIGN_EVERY: Duration = Duration::from_secs(3);
/// A server that is not the active one answers 421 with this header: where the active one is, if it knows.
pub const ACTIVE_HEADER: &str = "x-accelnet-active";
/// A report of 5,000 VMs has 15 MiB.
pub const REPORT_BYTES_MAX: usize = 32 << 20;

/// A machine asks to be a node.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token.
    pub token: String,
    /// A certificate request; only its public key counts.
    pub request_pem: String,
    /// What the machine is called.
    pub name: Name,
}

/// It is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster.
    pub cluster: Uuid,
    /// The node's identity, which no other node ever has.
    pub node: Uuid,
    /// Its name in the cluster.
    pub name: Name,
    /// Its certificate.
    pub certificate_pem: String,
    /// The cluster's authority.
    pub authority_pem: String,
    /// Where servers are, `HOST:PORT`.
    pub servers: Vec<String>,
}

/// A new certificate is asked for, over a connection with the one that still holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewRequest {
    /// A certificate request; only its public key counts.
    pub request_pem: String,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Down {
    /// The first line.
    Welcome {
        /// The number of this session.
        session: u64,
        /// Where servers are, `HOST:PORT`.
        servers: Vec<String>,
    },
    /// All that the node shall be.
    Wish {
        /// It.
        desired: Box<NodeDesired>,
    },
    /// It shall be what it was told before, but for these VMs.
    Vms {
        /// Of the wish after it.
        generation: u64,
        /// VMs with another wish, or a new one.
        put: Vec<VmDesired>,
        /// VMs without a wish any more.
        gone: Vec<Uuid>,
    },
    /// Look afresh, and name this number in the report.
    Look {
        /// The question.
        number: u64,
    },
    /// Say what was counted of a VM's packets, under this number. An older agent does not know the question, and gives no
    /// answer.
    Traffic {
        /// The question.
        number: u64,
        /// The VM.
        vm: Uuid,
    },
    /// The server is there.
    Alive,
    /// A newer server's, which is left out.
    #[serde(other)]
    Unknown,
}

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Up {
    /// The session's number.
    pub session: u64,
    /// Grows with every report of the session.
    pub sequence: u64,
    /// The node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Questions that `status` is younger than.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<u64>,
    /// What was counted of a VM's packets, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<VmCounted>,
    /// What the node is; nothing has changed since the last one if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<NodeStatus>>,
}

/// The answer to [`Down::Traffic`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmCounted {
    /// The question.
    pub number: u64,
    /// The VM's NICs; none if the node does not see the VM.
    pub nics: Vec<NicCounted>,
}

/// What leads from one wish to another: the VMs that differ, or all of it where more does.
pub fn change(before: Option<&NodeDesired>, after: &NodeDesired) -> Down {
    let all = || Down::Wish {
        desired: Box::new(after.clone()),
    };
    let Some(before) = before.filter(|before| same_for_all(before, after)) else {
        return all();
    };
    let differs = |vm: &&VmDesired| before.vm(vm.uuid) != Some(vm);
    let put: Vec<VmDesired> = after.vms.iter().filter(differs).cloned().collect();
    let gone = |vm: &&VmDesired| after.vm(vm.uuid).is_none();
    let gone = before.vms.iter().filter(gone).map(|vm| vm.uuid).collect();
    Down::Vms {
        generation: after.generation,
        put,
        gone,
    }
}

fn same_for_all(one: &NodeDesired, other: &NodeDesired) -> bool {
    let all = |desired: &NodeDesired| -> (Vec<Intent>, Option<ClusterEnable>, Vec<Isolated>) {
        let NodeDesired {
            intents,
            enabled,
            isolated,
            ..
        } = desired;
        (intents.clone(), enabled.clone(), isolated.clone())
    };
    all(one) == all(other)
}

/// The wish after what was said; `None` if it says nothing about it, or says what changes and not of what.
pub fn after(before: Option<&NodeDesired>, said: &Down) -> Option<NodeDesired> {
    match said {
        Down::Wish { desired } => Some((**desired).clone()),
        Down::Vms {
            generation,
            put,
            gone,
        } => {
            let mut after = before?.clone();
            after.generation = *generation;
            after.vms.retain(|vm| {
                !gone.contains(&vm.uuid) && !put.iter().any(|put| put.uuid == vm.uuid)
            });
            after.vms.extend(put.iter().cloned());
            after.vms.sort_by_key(|vm| vm.uuid);
            Some(after)
        }
        Down::Welcome { .. }
        | Down::Look { .. }
        | Down::Traffic { .. }
        | Down::Alive
        | Down::Unknown => None,
    }
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("JoinRequest")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{AdapterId, MacAddr, Performance};

    use super::*;

    fn vm(number: u128, level: Option<Performance>) -> VmDesired {
        VmDesired {
            uuid: Uuid::from_u128(number),
            level,
            prepare: false,
            add_nic: None,
            parked: false,
            migrate_to: None,
            waived: Vec::new(),
        }
    }

    fn wish(generation: u64, vms: Vec<VmDesired>) -> NodeDesired {
        NodeDesired {
            generation,
            vms,
            ..NodeDesired::default()
        }
    }

    #[test]
    fn a_change_of_one_vm_says_that_vm_alone() {
        let before = wish(1, (0..100).map(|number| vm(number, None)).collect());
        let mut after_it = before.clone();
        after_it.generation = 2;
        after_it.vms[7].level = Some(Performance::Low);
        after_it.vms.remove(3);
        let said = change(Some(&before), &after_it);
        let Down::Vms { put, gone, .. } = &said else {
            panic!("{said:?}");
        };
        assert_eq!((put.len(), gone.len()), (1, 1));
        assert!(serde_json::to_vec(&said).unwrap().len() < 300);
        assert_eq!(after(Some(&before), &said), Some(after_it.clone()));
        // Whoever does not know what it was before is not told by it.
        assert_eq!(after(None, &said), None);
        assert!(matches!(change(None, &after_it), Down::Wish { .. }));
    }

    #[test]
    fn a_change_for_all_says_all() {
        let before = wish(1, vec![vm(1, None)]);
        let mut after_it = before.clone();
        after_it.enabled = Some(ClusterEnable {
            intent: "compute".parse().unwrap(),
            node_reserve_percentage: 50,
            nodes_down: None,
            when: Default::default(),
        });
        let said = change(Some(&before), &after_it);
        assert_eq!(after(None, &said), Some(after_it.clone()));
        let mut isolated = after_it.clone();
        isolated.isolated.push(Isolated {
            node: "node1".parse().unwrap(),
            adapter: "pf0".parse().unwrap(),
            id: AdapterId {
                pci_path: "pci0000:00/10.0/00.0".into(),
                permanent_mac: MacAddr([2, 0, 0, 0, 0, 1]),
                port: 0,
            },
            since: Timestamp::UNIX_EPOCH,
            detection: None,
            because: "a test".into(),
        });
        for (before, after_it) in [(&after_it, &isolated), (&isolated, &after_it)] {
            let said = change(Some(before), after_it);
            assert_eq!(after(Some(before), &said).as_ref(), Some(after_it));
        }
    }

    #[test]
    fn what_a_newer_server_says_is_left_out() {
        let said: Down = serde_json::from_str(r#"{"say":"sing","song":[1]}"#).unwrap();
        assert_eq!(said, Down::Unknown);
    }
}
