//! Is the VM large enough for the level, and can its memory be pinned?

use accelnet_model::{Code, Performance, Problem, VmFacts};

use crate::Observed;

/// Memory that must stay free on the node after a VM's has been pinned, in MiB: the kernel's and the
/// daemons' own needs on a small host.
const MEMORY_LEFT_MIB: u64 = 128;

/// Enough vCPUs, with the actual numbers. Two codes, as in the reference: one if SMT is the reason.
pub(super) fn vcpus(observed: &Observed, vm: &VmFacts, level: Performance) -> Option<Problem> {
    let smt = observed.node.smt_active.is(&true);
    let (needed, without_smt) = (level.min_vcpus(smt), level.min_vcpus(false));
    let (name, has) = (&vm.name, vm.vcpus);
    if has >= needed {
        return None;
    }
    let text = format!("VM '{name}' has {has} vCPU(s), {level} needs {needed}");
    Some(if smt && has >= without_smt {
        let text = format!("{text} with SMT on ({without_smt} with SMT off).");
        Problem::new(Code::HtEnabledMinProcessorCounter, text)
    } else {
        Problem::new(Code::VmNotEnoughVcpus, format!("{text}."))
    })
}

/// vfio pins all of a VM's memory when its first device is plugged (kernel:
/// drivers/vfio/vfio_iommu_type1.c). What the guest has touched is in use already; the rest still has to be
/// found.
pub(super) fn memory(observed: &Observed, vm: &VmFacts) -> Option<Problem> {
    let (name, size) = (&vm.name, vm.memory_mib);
    if !vm.hostdevs.is_empty() {
        return None;
    }
    if let Some(why) = &vm.memory_unpinnable {
        let text = format!("The memory of VM '{name}' cannot be pinned: {why}.");
        return Some(Problem::new(Code::VmMemoryNotPinnable, text));
    }
    let available = observed.node.memory_available_mib;
    let missing = size.saturating_sub(vm.memory_held_mib);
    if missing == 0 || available >= missing.saturating_add(MEMORY_LEFT_MIB) {
        return None;
    }
    let text = format!(
        "VM '{name}' has {size} MiB, all of which a VF pins. {missing} of them are not its yet; the node has \
         {available} MiB left, of which {MEMORY_LEFT_MIB} must stay free."
    );
    Some(Problem::new(Code::VmMemoryNotPinnable, text))
}
