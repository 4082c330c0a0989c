//! What is free adds up to another VM, and no adapter has all of it.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::CapacityFragmented,
    severity: FaultSeverity::Notice,
    about: "intent",
    by_node: false,
    finds: "No adapter of a node that is up could take another NIC of a level, and what adapters for this level have left \
            together would be enough: of VFs one, of queue pairs what the level costs. Only where VFs draw from a pool: \
            elsewhere a free VF has what it has. The reserve is left aside.",
    because: "VMs that restart or move leave gaps for a minute; what lasts longer stays until somebody moves a VM.",
    window: Window::seconds(300, 60),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    let Some(enabled) = &scene.desired.enabled else {
        return;
    };
    let levels = scene.fragments.iter().map(|left| {
        format!(
            "{} needs {} queue pairs of one adapter; {} VFs and {} queue pairs are left on several",
            left.level, left.needed_queue_pairs, left.vfs, left.queue_pairs
        )
    });
    let levels: Vec<String> = levels.collect();
    if !levels.is_empty() {
        let object = FaultObject::of_cluster("intent", &enabled.intent);
        let evidence = format!("{}.", levels.join("; "));
        found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Performance;

    use super::*;
    use crate::{capacity::Fragments, health::tests::Cluster};

    #[test]
    fn what_is_left_in_pieces_is_told_by_level() {
        let mut cluster = Cluster::new();
        cluster.fragments.push(Fragments {
            level: Performance::High,
            needed_queue_pairs: 4,
            vfs: 3,
            queue_pairs: 6,
        });
        assert_eq!(cluster.codes(), [Code::CapacityFragmented]);
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(
            words.contains("High needs 4 queue pairs of one adapter; 3 VFs and 6"),
            "{words}"
        );
        cluster.desired.enabled = None;
        assert_eq!(cluster.codes(), []);
    }
}
