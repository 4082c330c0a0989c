//! The adapter can limit what VMs send, where a level of the intent has a limit.

use accelnet_model::{AdapterFacts, CheckResult, Intent, Performance};

use super::{Check, Node, cured, list};
use crate::profile;

/// Nothing if no level has a limit.
pub(super) fn check(node: &Node, intent: &Intent, facts: &AdapterFacts) -> Option<CheckResult> {
    let levels = &intent.levels;
    let limits = Performance::ALL.into_iter().filter_map(|level| {
        let rate = levels.max_tx_rate_mbps(level)?;
        Some((level, rate))
    });
    let limits: Vec<(Performance, u32)> = limits.collect();
    if limits.is_empty() {
        return None;
    }
    let check = Check::of_adapter("tx_rate", node, &facts.ifname);
    let mut rates = limits.iter().map(|(_, rate)| *rate);
    let problem = rates.find_map(|rate| profile::tx_rate_problem(facts, rate));
    Some(match problem {
        None => {
            let words = limits
                .iter()
                .map(|(level, rate)| format!("{level} {rate} Mbit/s"));
            check.passes(list(words))
        }
        Some(problem) => {
            let found = problem.detail.trim_end_matches('.').to_owned();
            cured(check.fails(problem.code, found), &problem.cure)
        }
    })
}
