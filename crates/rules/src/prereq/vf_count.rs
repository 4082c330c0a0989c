//! The number of VFs that the intent wants can be had.

use accelnet_model::{AdapterFacts, CheckResult, Intent, SriovSupport};

use super::{Check, Node};
use crate::profile;

pub(super) fn check(
    node: &Node,
    intent: &Intent,
    facts: &AdapterFacts,
    results: &mut Vec<CheckResult>,
) {
    // Without SR-IOV the reason is named already.
    if facts.sriov != SriovSupport::Supported {
        return;
    }
    let check = Check::of_adapter("vf_count", node, &facts.ifname);
    results.push(
        match profile::choose_vf_count(facts, &intent.levels, intent.vfs) {
            Ok(plan) => check.passes(format!("{}: {}", plan.count, plan.because)),
            Err(problem) => {
                let found = problem.detail.trim_end_matches('.').to_owned();
                let mut result = check.fails(problem.code, found);
                result.problem = result.problem.map(|placed| placed.with_cure(problem.cure));
                result
            }
        },
    );
}
