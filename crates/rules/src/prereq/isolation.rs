//! Every VF is alone in its IOMMU group; else a guest could reach what shares it.

use accelnet_model::{AdapterFacts, CheckResult, Code, VfUser};

use super::{Check, Node, list};

pub(super) fn check(node: &Node, facts: &AdapterFacts, results: &mut Vec<CheckResult>) {
    let check = Check::of_adapter("vf_isolation", node, &facts.ifname);
    let shared: Vec<String> = facts
        .vfs
        .iter()
        .filter(|vf| !vf.group_peers.is_empty() && !matches!(vf.user, VfUser::Others { .. }))
        .map(|vf| {
            format!(
                "VF {} ({}) with {}",
                vf.index,
                vf.pci,
                list(&vf.group_peers)
            )
        })
        .collect();
    results.push(if !shared.is_empty() {
        let found = format!("sharing an IOMMU group: {}", shared.join("; "));
        check.fails(Code::VfNotIsolated, found)
    } else if facts.vfs.is_empty() {
        check.passes("no VFs yet; looked at when they exist")
    } else {
        check.passes(format!(
            "{} VFs, each in its own IOMMU group",
            facts.vfs.len()
        ))
    });
}
