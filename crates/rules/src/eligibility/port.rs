//! What the VM's port on the switch carries must be possible on a VF.

use accelnet_model::{
    BridgeFacts, Code, Intent, MacAddr, NicFacts, PolicyFinding, PolicyKind, Problem, VmFacts,
};

use crate::{Observed, observed::tap_port, policy, profile};

/// Policy, link state and further addresses of one NIC's port.
pub(super) fn check(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    nic: &NicFacts,
    waived: &[String],
    problems: &mut Vec<Problem>,
) {
    match policy::judge(&findings(observed, vm, nic), nic.mac, waived) {
        Ok(carried) => {
            // 0 is the kernel's word for no limit.
            let rate = carried.max_tx_rate_mbps.value().filter(|rate| **rate > 0);
            let adapters = rate.into_iter().flat_map(|rate| {
                let uplinks = observed.uplinks(intent);
                uplinks.filter_map(|adapter| profile::tx_rate_problem(adapter, *rate))
            });
            problems.extend(adapters);
        }
        Err(problem) => problems.push(problem),
    }
    let Some(bridge) = observed.bridge(&intent.bridge) else {
        return;
    };
    let others = others_behind(bridge, nic);
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let (mac, others) = (nic.mac, others.join(", "));
        let text = format!("Behind NIC {mac} there is also {others}.");
        problems.push(Problem::new(Code::ReachabilityNotOffloadable, text).about("nic", mac));
    }
}

/// Policy of the definition and of the host's path: for admission, for the plan and for what is shown. A link
/// that the definition holds down is policy too: the VF would be a way around it.
pub fn findings(observed: &Observed, vm: &VmFacts, nic: &NicFacts) -> Vec<PolicyFinding> {
    let mut findings = nic.policy.clone();
    let on_host = observed.policy.get(&(vm.uuid, nic.mac));
    findings.extend(on_host.into_iter().flatten().cloned());
    if !nic.link_up {
        findings.push(PolicyFinding {
            kind: PolicyKind::Isolation,
            place: format!("definition of NIC {}", nic.mac),
            rule: "<link state='down'/>".into(),
            name: None,
        });
    }
    findings
}

/// A VF's MTU is at most its PF's. The guest's NIC has the bridge's, or one that its definition says: its
/// kernel takes no VF as the fast half that cannot have the same (drivers/net/net_failover.c,
/// `net_failover_slave_register`).
pub(super) fn mtu(
    observed: &Observed,
    intent: &Intent,
    nics: &[&NicFacts],
    problems: &mut Vec<Problem>,
) {
    for adapter in observed.uplinks(intent) {
        for (nic, mtu) in nics.iter().filter_map(|nic| Some((nic, nic.mtu?))) {
            if mtu > adapter.mtu {
                let (mac, name, most) = (nic.mac, &adapter.ifname, adapter.mtu);
                let text = format!("NIC {mac} has an MTU of {mtu}, {name} one of {most}.");
                let problem = Problem::new(Code::VfMtuTooSmall, text);
                problems.push(problem.about("nic", mac).about("adapter", name));
            }
        }
    }
    let Some(bridge) = observed.bridge(&intent.bridge) else {
        return;
    };
    for adapter in observed.uplinks(intent) {
        if adapter.mtu >= bridge.mtu {
            continue;
        }
        let text = format!(
            "{} has an MTU of {}, {} one of {}.",
            adapter.ifname, adapter.mtu, bridge.ifname, bridge.mtu
        );
        let problem = Problem::new(Code::VfMtuTooSmall, text);
        problems.push(problem.about("adapter", &adapter.ifname));
    }
}

/// NICs that somebody else paired with a device: a second one would leave the guest with two.
pub(super) fn foreign_vfs(
    observed: &Observed,
    vm: &VmFacts,
    nics: &[&NicFacts],
    problems: &mut Vec<Problem>,
) {
    for nic in nics {
        let paired = vm.hostdevs.iter().find(|hostdev| {
            hostdev.teaming_with.is_some() && hostdev.teaming_with == nic.alias
                || hostdev.mac == Some(nic.mac)
        });
        if let Some(hostdev) = paired
            && observed.vf(hostdev.pci).is_none()
        {
            let text = format!(
                "NIC {} is paired with {}, which is no VF of an adapter of this node.",
                nic.mac, hostdev.pci
            );
            problems.push(Problem::new(Code::VfInUseByOthers, text).about("nic", nic.mac));
        }
    }
}

/// Addresses other than the vNIC's own that the bridge knows behind its tap, multicast aside.
pub fn others_behind(bridge: &BridgeFacts, nic: &NicFacts) -> Vec<MacAddr> {
    let entries = tap_port(bridge, nic).into_iter().flat_map(|port| &port.fdb);
    let mut others: Vec<MacAddr> = entries
        .filter(|entry| !entry.local && !entry.mac.is_group() && entry.mac != nic.mac)
        .map(|entry| entry.mac)
        .collect();
    others.sort_unstable();
    others.dedup();
    others
}
