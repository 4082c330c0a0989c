//! The adapter can drop frames that a VF sends with another address than its own: what the switch's
//! port does for a tap must hold on the VF.

use accelnet_model::{AdapterFacts, CheckResult, Code, Support};

use super::{Check, Node};

pub(super) fn check(node: &Node<'_>, facts: &AdapterFacts, results: &mut Vec<CheckResult>) {
    let check = Check::of_adapter("spoof_check", node, &facts.ifname);
    let with = |wanted: Support<()>| {
        let same = |vf: &&accelnet_model::VfFacts| match vf.attributes.spoofchk {
            Support::Supported(_) => wanted == Support::Supported(()),
            Support::Unsupported => wanted == Support::Unsupported,
            Support::Unknown => wanted == Support::Unknown,
        };
        facts.vfs.iter().filter(same).count()
    };
    let (lacking, unknown) = (with(Support::Unsupported), with(Support::Unknown));
    results.push(if lacking > 0 {
        let driver = facts.driver.as_deref().unwrap_or("the PF's driver");
        let found = format!("{driver} offers no spoof check for its VFs");
        check.fails(Code::SpoofCheckUnsupported, found)
    } else if unknown > 0 {
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
