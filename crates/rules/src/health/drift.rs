//! What others changed of what accelnet owns, and was put right.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{Detection, Finding, Found, NodeScene, Window};

pub const DETECTION: Detection = Detection {
    code: Code::DriftRepaired,
    severity: FaultSeverity::Notice,
    about: "node",
    by_node: true,
    finds: "The agent's count of VFs in use whose attributes somebody had changed, and that carry what they shall again. \
            What is changed again and again, filters and forwarding entries too, is told as repair_repeated.",
    because: "One is enough: nothing should change there. It is told for an hour, so that somebody sees it.",
    window: Window::times(1, 3600),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let evidence = format!("On '{}'.", scene.name);
    let finding = Finding::new(&DETECTION, FaultObject::node(scene.name), evidence);
    found.counted(&DETECTION, finding, scene.status.repairs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Verdict, tests::Bench};

    #[test]
    fn repairs_are_the_agent_s_count() {
        let mut bench = Bench::new();
        bench.status.repairs = 3;
        let found = bench.found().verdicts;
        let drift = found
            .iter()
            .find(|(key, _)| key.code == Code::DriftRepaired);
        assert!(matches!(drift, Some((_, Verdict::Counted(_, 3)))));
    }
}
