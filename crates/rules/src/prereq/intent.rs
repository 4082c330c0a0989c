//! Checks of an intent and its bridge.

use accelnet_model::{CheckResult, Code, Intent, Name, Problem, Severity};

use super::Subject;
use crate::Observed;

/// The intent is for VMs' traffic.
pub fn compute(intent: &Intent) -> CheckResult {
    let types: Vec<_> = intent.types.iter().map(ToString::to_string).collect();
    let found = types.join(", ");
    let problem = (!intent.is_compute()).then(|| {
        let text = format!("Intent '{}' is of type {found}.", intent.name);
        Problem::new(Code::IntentTypeCheckFailed, text).about("intent", &intent.name)
    });
    CheckResult {
        check: "intent_type".into(),
        node: None,
        adapter: None,
        passed: problem.is_none(),
        severity: Severity::Error,
        found,
        problem,
    }
}

/// Its bridge exists and is one that we can work with: a Linux bridge with one uplink.
pub fn on_node(name: &Name, observed: &Observed, intent: &Intent) -> Vec<CheckResult> {
    let subject = Subject {
        node: name,
        adapter: None,
    };
    let bridge = &intent.bridge;
    let (found, problem) = match observed.bridge(bridge) {
        None => {
            let text = format!("There is no interface {bridge}.");
            (format!("no {bridge}"), Some((Code::BridgeNotFound, text)))
        }
        Some(facts) if facts.kind != "bridge" => {
            let text = format!("{bridge} is of kind {}.", facts.kind);
            (facts.kind.clone(), Some((Code::BridgeNotSupported, text)))
        }
        Some(facts) => {
            let uplinks = observed
                .adapters
                .iter()
                .filter(|adapter| adapter.master.as_ref() == Some(bridge));
            let names: Vec<_> = uplinks.map(|adapter| adapter.ifname.to_string()).collect();
            let problem = (names.len() > 1).then(|| {
                let text = format!(
                    "{bridge} has {} uplinks ({}).",
                    names.len(),
                    names.join(", ")
                );
                (Code::BridgeNotSupported, text)
            });
            (format!("{bridge}, {} port(s)", facts.ports.len()), problem)
        }
    };
    vec![subject.result("bridge", found, problem)]
}
