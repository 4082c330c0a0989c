//! Is this change allowed, and what would it do? Pure, over wish and fresh reports.
//!
//! What is not allowed is refused with all reasons at once; what is there already is no change.

mod capacity;
mod cluster;
mod intent;
mod isolation;
mod planning;
mod room;
mod vm;

use accelnet_model::{CheckResult, Code, Intent, Problem, Severity};
use accelnet_rules::intent_fit;
pub use capacity::{fragments_now, shortage_now};
pub use cluster::{disable, enable, set};
pub use intent::{
    add as add_intent, change as change_intent, find as find_intent, remove as remove_intent,
};
pub use isolation::{Why, forget as forget_isolated, isolate, release};
pub use planning::{look as capacity_of, places, total_now as room_now};
pub use room::Room;
pub use vm::{
    accelerate, decelerate, incoming, park, park_ended, prepare, travel, unpark, waivers_ended,
};

use crate::{
    reports::{Known, observed},
    state::Write,
};

/// What was decided.
pub struct Decided<T = ()> {
    /// What to write; nothing if all is as it is asked for.
    pub writes: Vec<Write>,
    /// The steps, in words.
    pub plan: Vec<String>,
    /// What it is about.
    pub about: T,
}

impl Decided {
    /// All is as it is asked for.
    pub fn nothing() -> Self {
        Self {
            writes: Vec::new(),
            plan: Vec::new(),
            about: (),
        }
    }

    pub fn one(write: Write, plan: Vec<String>) -> Self {
        Self {
            writes: vec![write],
            plan,
            about: (),
        }
    }
}

impl<T> Decided<T> {
    /// The same about something else.
    pub fn about<U>(self, about: U) -> Decided<U> {
        Decided {
            writes: self.writes,
            plan: self.plan,
            about,
        }
    }
}

/// A decision, or every reason against it.
pub type Decision = Result<Decided, Vec<Problem>>;

/// Checks of the nodes, and of an intent. A node that does not report fails a check of its own.
pub fn checks(nodes: &[Known], intent: Option<&Intent>) -> Vec<CheckResult> {
    let mut results = intent_fit::run(&observed(nodes), intent);
    let silent = nodes.iter().filter_map(|node| {
        let problem = node.silent.clone()?;
        Some(CheckResult {
            check: "node_reports".to_owned(),
            node: Some(node.name.clone()),
            adapter: None,
            passed: false,
            severity: Severity::Error,
            found: "the node's agent does not answer".to_owned(),
            problem: Some(problem),
        })
    });
    results.extend(silent);
    results
}

/// The nodes that can be judged: those that report. A silent one follows when it reports again; until then what is
/// wanted is pending there.
///
/// # Errors
/// `agent_unreachable` if none reports: what cannot be seen must not be taken for granted.
fn reporting(nodes: &[Known]) -> Result<Vec<Known>, Vec<Problem>> {
    if nodes.is_empty() {
        let text = "The cluster has no node.";
        let cure = "Have one join first: 'accelnet node join-token' prints the command for it.";
        let problem = Problem::new(Code::AgentUnreachable, text).with_cure(cure);
        return Err(vec![problem]);
    }
    let (silent, heard): (Vec<_>, Vec<_>) = nodes
        .iter()
        .cloned()
        .partition(|node| node.silent.is_some());
    if heard.is_empty() {
        return Err(silent.into_iter().filter_map(|node| node.silent).collect());
    }
    Ok(heard)
}

/// What becomes of nodes that do not report, in words.
fn later(nodes: &[Known]) -> impl Iterator<Item = String> {
    let silent = nodes.iter().filter(|node| node.silent.is_some());
    silent.map(|node| {
        format!(
            "{}: does not answer now, and follows when it does",
            node.name
        )
    })
}
