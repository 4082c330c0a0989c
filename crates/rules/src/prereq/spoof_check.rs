//! The adapter can drop frames that a VF sends with another address than its own: what the switch's
//! port does for a tap must hold on the VF.

use accelnet_model::{AdapterFacts, CheckResult, Code, Support};

use super::{Check, Node};

pub(super) fn check(node: &Node, facts: &AdapterFacts, results: &mut Vec<CheckResult>) {
    let check = Check::of_adapter("spoof_check", node, &facts.ifname);
    let spoofchk = || facts.vfs.iter().map(|vf| vf.attributes.spoofchk);
    let lacking = spoofchk().any(|support| support == Support::Unsupported);
    let unknown = spoofchk().any(|support| support == Support::Unknown);
    results.push(if lacking {
        let driver = facts.driver.as_deref().unwrap_or("the PF's driver");
        let found = format!("{driver} offers no spoof check for its VFs");
        check.fails(Code::SpoofCheckUnsupported, found)
    } else if unknown {
        check.warns(
            Code::SpoofCheckUnsupported,
            "it is not known if the VFs have a spoof check",
        )
    } else if facts.vfs.is_empty() {
        check.passes("no VFs yet; looked at when they exist")
    } else {
        check.passes("supported")
    });
}
