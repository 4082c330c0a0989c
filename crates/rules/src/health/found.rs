//! What rules say of objects.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{Code, FaultObject, FaultSeverity, fault_id};
use jiff::Timestamp;

use super::Detection;

/// What makes a fault: the condition, and the object by what it is known for good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The condition.
    pub code: Code,
    /// The object's kind.
    pub kind: String,
    /// What it is known by within its kind.
    pub id: String,
}

impl Key {
    /// A condition of an object.
    pub fn of(code: Code, object: &FaultObject) -> Self {
        Self {
            code,
            kind: object.kind.clone(),
            id: object.id.clone(),
        }
    }

    /// The fault's id.
    pub fn fault_id(&self) -> String {
        fault_id(self.code, &self.kind, &self.id)
    }
}

/// What was found of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: FaultObject,
    /// How bad it is.
    pub severity: FaultSeverity,
    /// What was found, with names and numbers; nothing that changes from look to look.
    pub evidence: String,
    /// What to do in this case; the catalogue's words if `None`.
    pub cure: Option<String>,
    /// Since when it is so, where that is known from elsewhere.
    pub since: Option<Timestamp>,
}

impl Finding {
    /// With the detection's severity.
    pub fn new(detection: &Detection, object: FaultObject, evidence: impl Into<String>) -> Self {
        Self {
            object,
            severity: detection.severity,
            evidence: evidence.into(),
            cure: None,
            since: None,
        }
    }
}

/// What a rule says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is wrong.
    Wrong(Finding),
    /// It has happened so often so far, by a counter that may begin anew.
    Counted(Finding, u64),
    /// It could not be seen whether it is.
    NotSeen,
}

/// What rules said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Of a condition of an object.
    pub verdicts: BTreeMap<Key, Verdict>,
    /// Objects, by kind and id, of which nothing else can be said.
    pub unseen: BTreeSet<(String, String)>,
}

impl Found {
    /// Something is wrong.
    pub fn wrong(&mut self, detection: &Detection, finding: Finding) {
        let key = Key::of(detection.code, &finding.object);
        self.verdicts.insert(key, Verdict::Wrong(finding));
    }

    /// Something has happened so often so far.
    pub fn counted(&mut self, detection: &Detection, finding: Finding, total: u64) {
        let key = Key::of(detection.code, &finding.object);
        self.verdicts.insert(key, Verdict::Counted(finding, total));
    }

    /// It could not be seen whether something is wrong.
    pub fn not_seen(&mut self, detection: &Detection, object: &FaultObject) {
        let key = Key::of(detection.code, object);
        self.verdicts.insert(key, Verdict::NotSeen);
    }

    /// Nothing of the object could be seen.
    pub fn unseen(&mut self, object: &FaultObject) {
        self.unseen.insert((object.kind.clone(), object.id.clone()));
    }

    /// Something is said to be wrong there.
    pub fn is_wrong(&self, code: Code, object: &FaultObject) -> bool {
        let verdict = self.verdicts.get(&Key::of(code, object));
        matches!(verdict, Some(Verdict::Wrong(_)))
    }
}
