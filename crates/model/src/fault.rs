//! Faults: conditions that last, since when, and what people said to them.
//!
//! A problem says what is wrong now. A fault is a problem that has lasted for its detection's window, and is there
//! until it has been gone for another.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ids::Name, problem::Code};

/// How bad a fault is. In their order: the worst is the greatest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FaultSeverity {
    /// Somebody decided it, or it may become worse; nothing is missing.
    Notice,
    /// Something is not as it is wanted; packets go on.
    Warning,
    /// VMs are without a part of what they were promised, or soon will be.
    Critical,
}

impl FaultSeverity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for FaultSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a fault is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct FaultObject {
    /// `node`, `adapter`, `vf`, `vm`, `intent`, `bridge`, `token`, `server`.
    pub kind: String,
    /// What it is known by for good, within its kind: a VM's UUID, `NODE/INTERFACE` of an adapter.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The node that it is on now, if it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
}

impl FaultObject {
    /// Something of a node, known there by this name.
    pub fn on_node(kind: &str, node: &Name, name: impl fmt::Display) -> Self {
        let name = name.to_string();
        Self {
            kind: kind.to_owned(),
            id: format!("{node}/{name}"),
            name,
            node: Some(node.clone()),
        }
    }

    /// A node.
    pub fn node(node: &Name) -> Self {
        Self {
            kind: "node".to_owned(),
            id: node.to_string(),
            name: node.to_string(),
            node: Some(node.clone()),
        }
    }

    /// Something of the cluster's, known by its name.
    pub fn of_cluster(kind: &str, name: impl fmt::Display) -> Self {
        let name = name.to_string();
        Self {
            kind: kind.to_owned(),
            id: name.clone(),
            name,
            node: None,
        }
    }

    /// A VM, wherever it is.
    pub fn vm(uuid: uuid::Uuid, name: &str, node: Option<&Name>) -> Self {
        Self {
            kind: "vm".to_owned(),
            id: uuid.to_string(),
            name: name.to_owned(),
            node: node.cloned(),
        }
    }
}

/// Somebody knows of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What he wrote to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Somebody does not want to be told of a fault for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Muted {
    /// Who.
    pub by: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// What he wrote to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An open fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// The same for the same condition of the same object, always.
    pub id: String,
    /// The catalogue's entry.
    pub code: Code,
    /// The entry's title.
    pub title: String,
    /// How bad it is.
    pub severity: FaultSeverity,
    /// What it is about.
    pub object: FaultObject,
    /// Since when it is so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Since when it is told: it had lasted for its window then.
    #[schema(value_type = String, format = DateTime)]
    pub opened: Timestamp,
    /// When it was seen last; missing while it is seen. It closes when it has been gone for its window, and stays
    /// while its object cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen: Option<Timestamp>,
    /// What was found, with names and numbers.
    pub evidence: String,
    /// What to do.
    pub cure: String,
    /// Somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// Nobody wants to be told, until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<Muted>,
}

impl Fault {
    /// It is for somebody to look at: nobody has acknowledged or muted it.
    pub fn is_unattended(&self) -> bool {
        self.acknowledged.is_none() && self.muted.is_none()
    }
}

/// The id of a condition of an object.
///
/// FNV-1a with 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>), since it must stay the same in every version
/// and on every machine, which the hashes of the standard library do not promise. Of 10,000 faults two have the same
/// one with a chance of 1 : 400,000,000.
pub fn fault_id(code: Code, kind: &str, id: &str) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let words = [code.as_str(), kind, id].join("\n");
    let hash = words.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored faults are found again by it: it must never change.
    #[test]
    fn an_id_is_the_same_for_good() {
        let node: Name = "node1".parse().unwrap();
        let of = |code, object: &FaultObject| fault_id(code, &object.kind, &object.id);
        let link = |name| {
            let object = FaultObject::on_node("adapter", &node, name);
            of(Code::AdapterLinkDown, &object)
        };
        assert_eq!(link("pf0"), "663880f187fa0d9f");
        assert_ne!(link("pf0"), link("pf1"));
        // A VM is the same wherever it is and whatever it is called.
        let vm = |name, node| {
            let object = FaultObject::vm(uuid::Uuid::from_u128(1), name, node);
            of(Code::VfNotUsed, &object)
        };
        assert_eq!(vm("a", None), vm("b", Some(&node)));
    }

    #[test]
    fn the_worst_is_the_greatest() {
        assert!(FaultSeverity::Critical > FaultSeverity::Warning);
        assert!(FaultSeverity::Warning > FaultSeverity::Notice);
    }
}
