//! What the host's addresses need of the adapter's filter: room for all of them, and that one can be there
//! while a VF carries it.

use accelnet_model::{AdapterFacts, CheckResult, Code, Intent};

use super::{Check, Node, cured};
use crate::{profile, reach};

/// Nothing if nothing is wrong, as far as anybody knows.
pub(super) fn check(node: &Node, intent: &Intent, facts: &AdapterFacts) -> Option<CheckResult> {
    let check = Check::of_adapter("address_filter", node, &facts.ifname);
    if let Some(problem) = reach::overflow(&node.1, intent, facts) {
        let found = problem.detail.trim_end_matches('.').to_owned();
        return Some(cured(check.warns(problem.code, found), &problem.cure));
    }
    if profile::shares_addresses(facts) {
        return None;
    }
    let driver = facts.driver.as_deref().unwrap_or("the driver");
    let version = facts.driver_version.as_deref().unwrap_or("unknown");
    let found = format!(
        "{driver} (version {version}) has an address either in the adapter's filter or on a VF: what comes \
         for a VM from outside between the two is lost, for about as long as its guest takes to start its VF"
    );
    Some(check.warns(Code::SwitchOverLoses, found))
}
