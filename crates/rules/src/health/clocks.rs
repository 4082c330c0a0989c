//! Clocks of nodes and server that differ.

use accelnet_model::{Code, FaultObject, FaultSeverity};
use jiff::SignedDuration;

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::ClocksApart,
    severity: FaultSeverity::Warning,
    about: "node",
    by_node: false,
    finds: "A node's clock, as it tells it with each sign, is more than 5 s before or behind the server's.",
    because: "Time servers keep machines within milliseconds; a sign may be some seconds under way on a bad network. A \
              clock that was just set right is right at once.",
    window: Window::seconds(60, 60),
};

/// More than a message takes, and less than hurts anybody.
const APART: SignedDuration = SignedDuration::from_secs(5);

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for node in scene.nodes {
        let object = FaultObject::node(node.name);
        match node.clock_ahead {
            Some(ahead) if ahead.abs() > APART => {
                let way = if ahead.is_positive() {
                    "ahead of"
                } else {
                    "behind"
                };
                let evidence = format!(
                    "The clock of '{}' is {} {way} the server's.",
                    node.name,
                    about(ahead.abs())
                );
                found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
            }
            Some(_) => {}
            None => found.not_seen(&DETECTION, &object),
        }
    }
}

/// How much, so that it does not change from look to look.
fn about(much: SignedDuration) -> String {
    match much.as_secs() {
        ..60 => "some seconds".to_owned(),
        seconds @ 60..7200 => format!("about {} min", seconds / 60),
        seconds => format!("about {} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn a_clock_that_is_off_is_told_whichever_way() {
        let mut cluster = Cluster::new();
        for (ahead, codes) in [
            (0, vec![]),
            (4, vec![]),
            (-6, vec![Code::ClocksApart]),
            (7200, vec![Code::ClocksApart]),
        ] {
            cluster.clock_ahead = Some(SignedDuration::from_secs(ahead));
            assert_eq!(cluster.codes(), codes, "{ahead}");
        }
        let found = cluster.found();
        let words = format!("{:?}", found.verdicts);
        assert!(words.contains("about 2 h ahead of"), "{words}");
    }
}
