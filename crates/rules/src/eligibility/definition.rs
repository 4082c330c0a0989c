//! What the VM's definition must have: PCI Express, virtio NICs that can stand by, free root ports.
//!
//! What is missing can be staged for the next cold start, if the definition is the operator's own.

use accelnet_model::{Code, NicFacts, Problem, VmFacts};

/// The running VM, as far as NICs still `waiting` for a VF need it.
pub(super) fn check(vm: &VmFacts, waiting: &[&NicFacts], problems: &mut Vec<Problem>) {
    if !vm.has_pcie() {
        // Without PCI Express there are no root ports to speak of.
        problems.push(not_pcie(vm));
        return;
    }
    for nic in waiting {
        if !nic.is_virtio() {
            problems.push(not_virtio(nic));
        } else if !nic.standby_live {
            let mac = nic.mac;
            let text = format!("NIC {mac} of the running VM lacks VIRTIO_NET_F_STANDBY.");
            let problem = cold_start(vm, Code::VmNeedsColdStart, text, nic.standby_config);
            problems.push(problem.about("nic", mac));
        }
    }
    let (free, needed) = (vm.free_root_ports_live as usize, waiting.len());
    if free < needed {
        let text = format!(
            "VM '{}' has {free} free PCIe root port(s), {needed} needed.",
            vm.name
        );
        let staged = vm.free_root_ports_config as usize >= needed;
        problems.push(cold_start(vm, Code::VmNoFreeRootPort, text, staged));
    }
}

/// What keeps `prepare` from staging what is missing.
pub(super) fn check_prepare(vm: &VmFacts, nics: &[&NicFacts]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !vm.has_pcie() {
        problems.push(not_pcie(vm));
    }
    let other_models = nics.iter().filter(|nic| !nic.is_virtio());
    problems.extend(other_models.map(|nic| not_virtio(nic)));
    let ready = nics
        .iter()
        .all(|nic| nic.standby_config || nic.standby_live)
        && vm.free_root_ports_config.max(vm.free_root_ports_live) as usize >= nics.len();
    if !ready {
        problems.extend(not_ours(vm, "Something has to be staged."));
    }
    problems
}

fn not_pcie(vm: &VmFacts) -> Problem {
    let text = format!("VM '{}' has machine type {}.", vm.name, vm.machine);
    Problem::new(Code::VmMachineNotPcie, text)
}

fn not_virtio(nic: &NicFacts) -> Problem {
    let text = format!("NIC {} is of model {}.", nic.mac, nic.model);
    Problem::new(Code::VmNicNotVirtio, text).about("nic", nic.mac)
}

/// Something that a cold start brings, once it is staged.
fn cold_start(vm: &VmFacts, code: Code, text: String, staged: bool) -> Problem {
    if let Some(problem) = not_ours(vm, &text) {
        return problem;
    }
    let problem = Problem::new(code, text);
    if !staged {
        return problem;
    }
    problem.with_cure(STAGED_ALREADY)
}

/// What is left to do once all is in the definition.
pub(crate) const STAGED_ALREADY: &str = "It is staged already: shut the VM down and start it again; \
                                         a reboot inside the guest is not enough.";

/// Why nothing that is staged on the VM's definition would last, if so.
pub(crate) fn staging_refused(vm: &VmFacts) -> Option<Problem> {
    not_ours(vm, &format!("VM '{}' would get a NIC.", vm.name))
}

/// The definition is not the operator's own, so nothing that is staged on it would last.
fn not_ours(vm: &VmFacts, text: &str) -> Option<Problem> {
    let why = match (&vm.managed_by, vm.persistent) {
        (Some(manager), _) => format!("{text} Its definition is made by {manager}."),
        (None, false) => format!("{text} Its definition is transient."),
        (None, true) => return None,
    };
    Some(Problem::new(Code::VmDefinitionNotOurs, why))
}
