//! Nodes that do not speak to the server, or soon cannot.

use accelnet_model::{Code, FaultObject, FaultSeverity};
use jiff::SignedDuration;

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::AgentUnreachable,
    severity: FaultSeverity::Critical,
    about: "node",
    by_node: false,
    finds: "A node is down: its agent has given no sign for 10 s. A server that has just started waits that long first.",
    because: "An agent that is restarted is back within seconds; one that comes and goes should stay told of.",
    window: Window::seconds(10, 30),
};

pub const CERTIFICATE: Detection = Detection {
    code: Code::CertificateExpiring,
    severity: FaultSeverity::Warning,
    about: "node",
    by_node: false,
    finds: "Less than 42 h are left of the newest certificate that a node has: a quarter of its 7 days.",
    because: "It is renewed at half of its time, and asked for every 3 s from then on.",
    window: Window::seconds(3600, 60),
};

/// A quarter of a certificate's time.
const SOON: SignedDuration = SignedDuration::from_hours(42);

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for node in scene.nodes {
        let object = FaultObject::node(node.name);
        match (node.current, node.silent) {
            (Some(_), _) => {}
            (None, Some(why)) => {
                let finding = Finding::new(&DETECTION, object.clone(), why.detail.clone());
                found.wrong(&DETECTION, finding);
            }
            (None, None) => found.not_seen(&DETECTION, &object),
        }
        match node.certified_until {
            Some(end) if end.duration_since(scene.now) < SOON => {
                let evidence = format!(
                    "The certificate of '{}' has less than {} h left.",
                    node.name,
                    SOON.as_hours()
                );
                found.wrong(&CERTIFICATE, Finding::new(&CERTIFICATE, object, evidence));
            }
            Some(_) => {}
            None => found.not_seen(&CERTIFICATE, &object),
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Problem;

    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn a_silent_node_is_told_and_one_that_is_awaited_is_not_seen() {
        let mut cluster = Cluster::new();
        assert_eq!(cluster.codes(), []);
        cluster.silent = Some(Problem::new(Code::AgentUnreachable, "No sign for 10 s."));
        assert_eq!(cluster.codes(), [Code::AgentUnreachable]);
        cluster.silent = None;
        cluster.reports = false;
        assert_eq!(cluster.codes(), []);
    }

    #[test]
    fn a_certificate_that_was_not_renewed_is_told_before_it_ends() {
        let mut cluster = Cluster::new();
        cluster.certified_until = Some(cluster.now + SignedDuration::from_hours(43));
        assert_eq!(cluster.codes(), []);
        cluster.certified_until = Some(cluster.now + SignedDuration::from_hours(41));
        assert_eq!(cluster.codes(), [Code::CertificateExpiring]);
    }
}
