//! SR-IOV can be used on the adapter.

use accelnet_model::{AdapterFacts, CheckResult, Code, SriovSupport};

use super::{Check, Node};

pub(super) fn check(node: &Node, facts: &AdapterFacts, results: &mut Vec<CheckResult>) {
    let check = Check::of_adapter("sriov", node, &facts.ifname);
    let Some(code) = code(facts.sriov) else {
        results.push(check.passes(format!("Supported, up to {} VFs", facts.total_vfs)));
        return;
    };
    let found = match &facts.sriov_evidence {
        Some(evidence) => format!("{:?}: {}", facts.sriov, evidence.trim_end_matches('.')),
        None => format!("{:?}", facts.sriov),
    };
    results.push(check.fails(code, found));
}

/// The catalogue's entry of a support state; `None` if it is supported.
pub fn code(state: SriovSupport) -> Option<Code> {
    Some(match state {
        SriovSupport::Supported => return None,
        SriovSupport::Unknown => Code::SriovSupportUnknown,
        SriovSupport::MissingAcs => Code::SriovSupportMissingAcs,
        SriovSupport::MissingPfDriver => Code::SriovSupportMissingPfDriver,
        SriovSupport::NoBusResources => Code::SriovSupportNoBusResources,
        SriovSupport::NoIoMmuSupport => Code::SriovSupportNoIommu,
        SriovSupport::NoVfBarSpace => Code::SriovSupportNoVfBarSpace,
        SriovSupport::NoOscSupport => Code::SriovSupportNoOsc,
    })
}
