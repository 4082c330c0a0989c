//! Problems that a node has found itself: told as they are, once they last.

use accelnet_model::{Code, FaultObject, FaultSeverity::*, Problem};

use super::{Detection, Finding, Found, NodeScene, Window, vf_path};

const LASTS: &str = "What fails is tried again by itself, with rests; what is still so after a minute needs somebody.";

/// A problem that agents report.
const fn of(code: Code, severity: accelnet_model::FaultSeverity, about: &'static str) -> Detection {
    Detection {
        code,
        severity,
        about,
        by_node: true,
        finds: "A problem that the node's agent reports with this code.",
        because: LASTS,
        window: Window::seconds(60, 30),
    }
}

pub const DETECTIONS: &[Detection] = &[
    of(Code::HypervisorUnavailable, Critical, "node"),
    of(Code::HostOperationFailed, Warning, "node"),
    of(Code::RepairRepeated, Warning, "node"),
    of(Code::RepairFailed, Warning, "node"),
    of(Code::StoreFailed, Warning, "node"),
    of(Code::VfsWaiting, Notice, "node"),
    of(Code::VfsManagedElsewhere, Notice, "node"),
    of(Code::BridgeNotSupported, Warning, "node"),
    of(Code::EswitchNotSupported, Warning, "node"),
    of(Code::VmFrozen, Warning, "VM"),
    of(Code::VfDetachFailed, Warning, "VM"),
    of(Code::VmMoveFailed, Warning, "VM"),
    of(Code::VmDefinitionNotChanged, Notice, "VM"),
];

fn detection(code: Code) -> Option<&'static Detection> {
    DETECTIONS.iter().find(|detection| detection.code == code)
}

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    for problem in &scene.status.problems {
        let Some(detection) = detection(problem.code) else {
            continue;
        };
        let object = object_of(scene, problem);
        // Of several about one thing the first counts; all are in the node's own list.
        if !found.is_wrong(detection.code, &object) {
            found.wrong(detection, finding(detection, object, problem));
        }
    }
    for vm in scene.vms() {
        let object = scene.vm(vm);
        // Why it is not on its VF is told there.
        if found.is_wrong(vf_path::DETECTION.code, &object) {
            continue;
        }
        for problem in &vm.problems {
            if let Some(detection) = detection(problem.code) {
                found.wrong(detection, finding(detection, object.clone(), problem));
            }
        }
    }
}

fn finding(detection: &Detection, object: FaultObject, problem: &Problem) -> Finding {
    let mut finding = Finding::new(detection, object, problem.detail.clone());
    finding.cure = Some(problem.cure.clone());
    finding
}

/// What a problem of the node is about: the adapter, VF or bridge that it names, else the node.
fn object_of(scene: &NodeScene<'_>, problem: &Problem) -> FaultObject {
    let named = problem
        .objects
        .iter()
        .find(|object| ["adapter", "vf", "bridge"].contains(&object.kind.as_str()));
    match named {
        Some(object) => scene.object(&object.kind, &object.name),
        None => FaultObject::node(scene.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::Bench;

    #[test]
    fn what_an_agent_reports_is_told_of_what_it_names() {
        let mut bench = Bench::new();
        let problem = Problem::new(Code::RepairRepeated, "To clean VF 1 was needed 4 times.");
        bench.status.problems.push(problem.about("adapter", "pf0"));
        // One that nobody made a detection for stays with the node.
        let problem = Problem::new(Code::Internal, "That.");
        bench.status.problems.push(problem);
        let finding = bench.only(Code::RepairRepeated);
        assert_eq!(finding.object.id, "node1/pf0");
        bench.status.problems.clear();
        bench
            .status
            .problems
            .push(Problem::new(Code::HypervisorUnavailable, "No answer."));
        let finding = bench.only(Code::HypervisorUnavailable);
        assert_eq!(
            (finding.severity, finding.object.kind.as_str()),
            (Critical, "node")
        );
    }

    #[test]
    fn a_vm_s_problem_is_told_once() {
        let mut bench = Bench::new();
        let problem = Problem::new(Code::VfDetachFailed, "The guest keeps it.");
        bench.status.vms[0].problems.push(problem);
        bench.path(1, accelnet_model::NicPath::Vf);
        assert_eq!(bench.codes(), [Code::VfDetachFailed]);
        bench.wish(1, Some(accelnet_model::Performance::Low));
        bench.path(1, accelnet_model::NicPath::Synthetic);
        assert_eq!(bench.codes(), [Code::VfNotUsed]);
    }
}
