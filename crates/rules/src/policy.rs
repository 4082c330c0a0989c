//! What held on the switch must hold on the VF, or acceleration is refused.
//!
//! Default-deny: every finding on the path tap–bridge–uplink refuses unless the VF provably enforces
//! the same. Today that is the address with spoof check on, a VLAN that the uplinks carry with its tag, and a
//! rate of whole Mbit/s for what the guest sends;
//! [`not_on_a_vf`] says of each kind of policy why it is not. (What is irrelevant to the port is left out by whoever looked.)

use accelnet_model::{Code, MacAddr, PolicyFinding, PolicyKind, Problem, VfAttributes};

use crate::profile;

/// What the VF must carry so that everything found on the port still holds, but for rules that somebody
/// waived by their names. What has no name cannot be waived.
///
/// # Errors
/// `policy_not_offloadable`, with place, rule and name of every finding, and why it would not hold.
pub fn judge(
    findings: &[PolicyFinding],
    mac: MacAddr,
    waived: &[String],
) -> Result<VfAttributes, Problem> {
    let mut refused: Vec<String> = Vec::new();
    let mut rate_mbps: Option<u32> = None;
    let is_waived = |finding: &&PolicyFinding| {
        finding
            .name
            .as_ref()
            .is_some_and(|name| waived.contains(name))
    };
    let in_force = || findings.iter().filter(|finding| !is_waived(finding));
    // Tap and uplinks prove it; the definition says the same once more.
    let proved = in_force().find_map(|finding| match finding.kind {
        PolicyKind::AccessVlan {
            vlan,
            uplink_tagged: true,
        } => Some(vlan),
        _ => None,
    });
    for finding in in_force() {
        let PolicyFinding {
            kind,
            place,
            rule,
            name,
        } = finding;
        if let PolicyKind::Bandwidth {
            outbound_mbps: Some(mbps),
            inbound_mbps: None,
        } = kind
        {
            rate_mbps = Some(rate_mbps.map_or(*mbps, |other| other.min(*mbps)));
            continue;
        }
        if matches!(kind, PolicyKind::AccessVlan { vlan, .. } if Some(*vlan) == proved) {
            continue;
        }
        let name = name
            .as_ref()
            .map(|name| format!(" [{name}]"))
            .unwrap_or_default();
        let text = format!("{place}: {rule} ({}){name}", not_on_a_vf(kind));
        // The same rule may be seen both in the definition and on the host.
        if !refused.contains(&text) {
            refused.push(text);
        }
    }
    if refused.is_empty() {
        let attributes = VfAttributes {
            vlan: proved.unwrap_or(0),
            ..VfAttributes::for_mac(mac)
        };
        return Ok(profile::limited(attributes, rate_mbps));
    }
    let text = format!("On the path of NIC {mac} there is {}.", refused.join("; "));
    Err(Problem::new(Code::PolicyNotOffloadable, text).about("nic", mac))
}

/// Why a kind of policy does not hold on a VF. Exhaustive, so that a new kind must be decided.
fn not_on_a_vf(kind: &PolicyKind) -> &'static str {
    match kind {
        // What every uplink carries with its tag alone is the VF's own. Guests of the VLAN that the bridge
        // serves are reached too: their frames pass the uplink's port with the tag.
        PolicyKind::AccessVlan { .. } => {
            "a VF's VLAN is the same only where every uplink carries it with its 802.1Q tag"
        }
        PolicyKind::VlanTrunk => "a VF carries one VLAN or, unfiltered, all",
        PolicyKind::Isolation => "a card forwards between its VFs",
        // What is outbound alone and of whole Mbit/s is translated before.
        PolicyKind::Bandwidth { .. } => {
            "a VF's rate limits what the guest sends, in whole Mbit/s, and nothing else"
        }
        PolicyKind::NwFilter => "a VF has no such filters",
        PolicyKind::TrafficControl => "frames of a VF do not pass the kernel's traffic control",
        PolicyKind::Ebpf => "frames of a VF do not pass the kernel",
        PolicyKind::Mirror => "frames of a VF would not be mirrored",
        PolicyKind::Firewall => "frames of a VF do not pass the kernel's packet filter",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn finding(kind: PolicyKind, place: &str, rule: &str) -> PolicyFinding {
        PolicyFinding {
            kind,
            place: place.into(),
            rule: rule.into(),
            name: Some(format!("{place}/{rule}")),
        }
    }

    fn any_kind() -> impl Strategy<Value = PolicyKind> {
        prop_oneof![
            (1..4095_u16).prop_map(|vlan| PolicyKind::AccessVlan {
                vlan,
                uplink_tagged: false,
            }),
            Just(PolicyKind::VlanTrunk),
            Just(PolicyKind::Isolation),
            any::<(Option<u32>, u32)>().prop_map(|(outbound_mbps, inbound)| {
                PolicyKind::Bandwidth {
                    outbound_mbps,
                    inbound_mbps: Some(inbound),
                }
            }),
            Just(PolicyKind::NwFilter),
            Just(PolicyKind::TrafficControl),
            Just(PolicyKind::Ebpf),
            Just(PolicyKind::Mirror),
            Just(PolicyKind::Firewall),
        ]
    }

    #[test]
    fn without_policy_the_vf_carries_address_and_spoof_check() {
        let attributes = judge(&[], MAC, &[]).unwrap();
        assert_eq!(attributes, VfAttributes::for_mac(MAC));
        assert!(attributes.spoofchk.is(&true) && attributes.trust.is(&false));
    }

    #[test]
    fn the_same_rule_is_named_once() {
        let isolated = finding(PolicyKind::Isolation, "vnet0", "isolated");
        let problem = judge(&[isolated.clone(), isolated], MAC, &[]).unwrap_err();
        assert_eq!(problem.detail.matches(": isolated").count(), 1, "{problem}");
    }

    #[test]
    fn a_rate_of_what_the_guest_sends_is_the_vfs_own_and_the_lowest_holds() {
        let rate = |outbound_mbps, inbound_mbps| {
            let kind = PolicyKind::Bandwidth {
                outbound_mbps,
                inbound_mbps,
            };
            finding(kind, "tap", "police")
        };
        let both = [rate(Some(80), None), rate(Some(8), None)];
        let attributes = judge(&both, MAC, &[]).unwrap();
        assert!(attributes.max_tx_rate_mbps.is(&8), "{attributes:?}");
        for refused in [
            rate(Some(8), Some(8)),
            rate(None, Some(8)),
            rate(None, None),
        ] {
            assert!(judge(&[refused], MAC, &[]).is_err());
        }
    }

    #[test]
    fn a_vlan_that_the_uplinks_carry_with_its_tag_is_the_vfs_own() {
        let access = |vlan, uplink_tagged| {
            let kind = PolicyKind::AccessVlan {
                vlan,
                uplink_tagged,
            };
            finding(kind, "tap", &format!("vlan {vlan}"))
        };
        let attributes = judge(&[access(42, false), access(42, true)], MAC, &[]).unwrap();
        assert_eq!(attributes.vlan, 42);
        // The definition says another than tap and uplinks have.
        assert!(judge(&[access(7, false), access(42, true)], MAC, &[]).is_err());
        assert!(judge(&[access(7, true), access(42, true)], MAC, &[]).is_err());
    }

    #[test]
    fn a_waiver_is_for_one_rule_by_its_name_and_never_for_what_has_none() {
        let (one, other) = (
            finding(PolicyKind::Isolation, "tap", "isolated"),
            finding(PolicyKind::Firewall, "nft", "drop"),
        );
        let waived = ["tap/isolated".to_owned()];
        assert!(judge(std::slice::from_ref(&one), MAC, &waived).is_ok());
        let problem = judge(&[one.clone(), other], MAC, &waived).unwrap_err();
        assert!(problem.detail.contains("[nft/drop]"), "{problem}");
        assert!(!problem.detail.contains("isolated"), "{problem}");
        let unread = PolicyFinding { name: None, ..one };
        assert!(judge(&[unread], MAC, &waived).is_err());
    }

    proptest! {
        /// Nothing that was found is ever let through or left unnamed.
        #[test]
        fn every_finding_refuses_and_is_named(
            found in prop::collection::vec((any_kind(), "[a-z]{1,8}[0-9]", "[a-z ]{1,20}"), 1..6),
        ) {
            let findings: Vec<PolicyFinding> =
                found.into_iter().map(|(kind, place, rule)| finding(kind, &place, &rule)).collect();
            let problem = judge(&findings, MAC, &[]).unwrap_err();
            prop_assert_eq!(problem.code, Code::PolicyNotOffloadable);
            for PolicyFinding { place, rule, .. } in &findings {
                prop_assert!(problem.detail.contains(&format!("{place}: {rule} (")), "{}", problem);
            }
        }
    }
}
