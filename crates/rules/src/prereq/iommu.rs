//! The IOMMU is on, and interrupts of assigned devices are remapped.

use accelnet_model::{CheckResult, Code, Support};

use super::{Check, Node};

pub(super) fn check(node: &Node, results: &mut Vec<CheckResult>) {
    let facts = &node.1.node;
    let iommu = Check::of_node("iommu", node);
    if !facts.iommu {
        // Interrupt remapping is a part of the IOMMU: one cure for both.
        results.push(iommu.fails(Code::SriovSupportNoIommu, "there are no IOMMU groups"));
        return;
    }
    results.push(iommu.passes("on"));
    let check = Check::of_node("interrupt_remapping", node);
    results.push(match facts.interrupt_remapping {
        Support::Supported(true) => check.passes("on"),
        Support::Supported(false) | Support::Unsupported => {
            check.fails(Code::InterruptRemappingOff, "interrupt remapping is off")
        }
        // vfio refuses at the first attachment if it is off, and says so; nobody is harmed.
        Support::Unknown => check.warns(
            Code::InterruptRemappingOff,
            "it is not known if interrupts are remapped",
        ),
    });
}
