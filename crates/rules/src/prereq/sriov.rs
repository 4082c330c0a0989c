//! SR-IOV can be used on the adapter.

use accelnet_model::{AdapterFacts, CheckResult, Code};

use super::{Check, Node};
use crate::profile;

pub(super) fn check(node: &Node, facts: &AdapterFacts, results: &mut Vec<CheckResult>) {
    let check = Check::of_adapter("sriov", node, &facts.ifname);
    let Some(code) = facts.sriov.code() else {
        if let Some(found) = profile::eswitch_refused(facts) {
            results.push(check.fails(Code::EswitchNotSupported, found));
            return;
        }
        results.push(check.passes(format!("Supported, up to {} VFs", facts.total_vfs)));
        return;
    };
    let found = match &facts.sriov_evidence {
        Some(evidence) => format!("{:?}: {}", facts.sriov, evidence.trim_end_matches('.')),
        None => format!("{:?}", facts.sriov),
    };
    results.push(check.fails(code, found));
}
