//! An intent that is not in effect on a node.

use accelnet_model::{Code, FaultSeverity, IntentState};

use super::{Detection, Finding, Found, NodeScene, Window};
use crate::intent_status::{self, Report};

pub const DETECTION: Detection = Detection {
    code: Code::IntentFailed,
    severity: FaultSeverity::Warning,
    about: "intent",
    by_node: true,
    finds: "The state of an intent on a node, as 'accelnet intent show' has it, is failed. A link that is down is told of \
            its adapter alone.",
    because: "A node that was just told of an intent makes its VFs, and its bridge if it shall, within a minute.",
    window: Window::seconds(60, 30),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let behind = scene.status.generation < scene.desired.generation;
    if behind || scene.status.node.libvirt.is_none() {
        // It says nothing of an intent that it does not know yet; and that libvirt does not answer is told of the node.
        for intent in &scene.desired.intents {
            found.not_seen(&DETECTION, &scene.object("intent", &intent.name));
        }
        return;
    }
    for intent in &scene.desired.intents {
        let report = Report::Of(scene.status);
        let (state, problems) = intent_status::of(scene.desired, intent, scene.name, &report);
        let mut causes = problems.iter();
        let cause = causes.find(|problem| problem.code != Code::AdapterLinkDown);
        if let Some(cause) = cause.filter(|_| state == IntentState::Failed) {
            let evidence = format!(
                "'{}' on '{}': [{}] {}",
                intent.name, scene.name, cause.code, cause.detail
            );
            let object = scene.object("intent", &intent.name);
            let mut finding = Finding::new(&DETECTION, object, evidence);
            finding.cure = Some(cause.cure.clone());
            found.wrong(&DETECTION, finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::Bench;

    #[test]
    fn an_intent_whose_bridge_is_gone_has_failed() {
        let mut bench = Bench::new();
        assert_eq!(bench.codes(), []);
        bench.status.bridges.clear();
        let finding = bench.only(Code::IntentFailed);
        assert!(
            finding
                .evidence
                .starts_with("'compute' on 'node1': [bridge_not_found]"),
            "{}",
            finding.evidence
        );
        // The node has not taken up what is wanted: nobody knows.
        bench.desired.generation = 9;
        assert_eq!(bench.codes(), []);
    }
}
