//! Can this VM be accelerated at this level, on this node, now? Every reason why not, at once.

use accelnet_model::{
    AdapterFacts, Code, Intent, MacAddr, NicFacts, Performance, Problem, VfFacts, VfUser, VmFacts,
    VmState,
};

use crate::{
    observed::{Observed, nics_on},
    policy, profile,
};

/// Memory that must stay free on the node after a VM's has been pinned, in MiB: the kernel's and the
/// daemons' own needs on a small host.
const MEMORY_LEFT_MIB: u64 = 128;

/// All that keeps the VM from being accelerated; empty if nothing does.
pub fn check(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let about = |problem: Problem| problem.about("vm", &vm.name);
    if vm.nics.is_empty() {
        return vec![about(Problem::new(
            Code::GetNetworkAdapterFailed,
            format!("VM '{}' has no NIC.", vm.name),
        ))];
    }
    if vm.state != VmState::Running {
        let text = format!("VM '{}' is {}.", vm.name, state(vm.state));
        return vec![about(Problem::new(Code::VmNotRunning, text))];
    }
    let nics: Vec<&NicFacts> = nics_on(vm, &intent.bridge).collect();
    if nics.is_empty() {
        let text = format!(
            "None of the NICs of VM '{}' is on bridge {}.",
            vm.name, intent.bridge
        );
        return vec![about(Problem::new(Code::VmNoNicOnIntent, text))];
    }
    problems.extend(machine(observed, vm, &nics).into_iter().map(about));
    problems.extend(vcpus(observed, vm, level).map(about));
    problems.extend(memory(observed, vm).map(about));
    problems.extend(
        adapters(observed, vm, intent, level, &nics)
            .into_iter()
            .map(about),
    );
    for nic in nics {
        problems.extend(port(observed, vm, intent, nic).into_iter().map(about));
    }
    problems
}

fn state(state: VmState) -> &'static str {
    match state {
        VmState::Running => "running",
        VmState::Paused => "paused",
        VmState::Off => "off",
    }
}

/// NICs that have no VF yet: what is needed for them must be free.
fn waiting<'a>(observed: &Observed, vm: &VmFacts, nics: &[&'a NicFacts]) -> Vec<&'a NicFacts> {
    nics.iter()
        .copied()
        .filter(|nic| observed.vf_of(vm, nic).is_none())
        .collect()
}

fn machine(observed: &Observed, vm: &VmFacts, nics: &[&NicFacts]) -> Vec<Problem> {
    if !vm.has_pcie() {
        let text = format!("VM '{}' has machine type {}.", vm.name, vm.machine);
        return vec![Problem::new(Code::VmMachineNotPcie, text)];
    }
    let mut problems = Vec::new();
    let waiting = waiting(observed, vm, nics);
    for nic in &waiting {
        if nic.model != "virtio" {
            let text = format!("NIC {} is of model {}.", nic.mac, nic.model);
            problems.push(Problem::new(Code::VmNicNotVirtio, text));
        } else if !nic.standby_live {
            problems.push(cold_start(
                vm,
                Code::VmNeedsColdStart,
                format!(
                    "NIC {} of the running VM lacks VIRTIO_NET_F_STANDBY.",
                    nic.mac
                ),
                nic.standby_config,
            ));
        }
    }
    if (vm.free_root_ports_live as usize) < waiting.len() {
        let text = format!(
            "VM '{}' has {} free PCIe root port(s); {} needed.",
            vm.name,
            vm.free_root_ports_live,
            waiting.len()
        );
        let staged = vm.free_root_ports_config as usize >= waiting.len();
        problems.push(cold_start(vm, Code::VmNoFreeRootPort, text, staged));
    }
    problems
}

/// What a cold start would bring, if the definition can be changed.
fn cold_start(vm: &VmFacts, code: Code, text: String, staged: bool) -> Problem {
    if let Some(problem) = not_ours(vm, &text) {
        return problem;
    }
    let problem = Problem::new(code, text);
    if staged {
        problem.with_cure("It is staged already: shut the VM down and start it again.")
    } else {
        problem
    }
}

fn not_ours(vm: &VmFacts, text: &str) -> Option<Problem> {
    let why = match (&vm.managed_by, vm.persistent) {
        (Some(manager), _) => format!("{text} Its definition is made by {manager}."),
        (None, false) => format!("{text} Its definition is transient."),
        (None, true) => return None,
    };
    Some(Problem::new(Code::VmDefinitionNotOurs, why))
}

/// Why nothing can be staged on the VM's definition, if so.
pub fn check_prepare(vm: &VmFacts, intent: &Intent) -> Vec<Problem> {
    let about = |problem: Problem| vec![problem.about("vm", &vm.name)];
    let name = &vm.name;
    if vm.nics.is_empty() {
        return about(Problem::new(
            Code::GetNetworkAdapterFailed,
            format!("VM '{name}' has no NIC."),
        ));
    }
    let nics: Vec<_> = nics_on(vm, &intent.bridge).collect();
    if nics.is_empty() {
        let text = format!(
            "None of the NICs of VM '{name}' is on bridge {}.",
            intent.bridge
        );
        return about(Problem::new(Code::VmNoNicOnIntent, text));
    }
    if !vm.has_pcie() {
        let text = format!("VM '{name}' has machine type {}.", vm.machine);
        return about(Problem::new(Code::VmMachineNotPcie, text));
    }
    if let Some(nic) = nics.iter().find(|nic| nic.model != "virtio") {
        let text = format!("NIC {} is of model {}.", nic.mac, nic.model);
        return about(Problem::new(Code::VmNicNotVirtio, text));
    }
    let ready =
        nics.iter().all(|nic| nic.standby_live) && vm.free_root_ports_live as usize >= nics.len();
    match not_ours(vm, "Something has to be staged.") {
        Some(problem) if !ready => about(problem),
        _ => Vec::new(),
    }
}

fn vcpus(observed: &Observed, vm: &VmFacts, level: Performance) -> Option<Problem> {
    let smt = observed.node.smt_active.is(&true);
    let (needed, without_smt) = (level.min_vcpus(smt), level.min_vcpus(false));
    if vm.vcpus >= needed {
        return None;
    }
    let has = format!(
        "VM '{}' has {} vCPU(s); {level} needs {needed}",
        vm.name, vm.vcpus
    );
    Some(if smt && vm.vcpus >= without_smt {
        let text = format!("{has} with SMT on ({without_smt} with SMT off).");
        Problem::new(Code::HtEnabledMinProcessorCounter, text)
    } else {
        Problem::new(Code::VmNotEnoughVcpus, format!("{has}."))
    })
}

/// vfio pins all of a VM's memory (kernel: drivers/vfio/vfio_iommu_type1.c). A VM that has a VF
/// already is pinned.
fn memory(observed: &Observed, vm: &VmFacts) -> Option<Problem> {
    if let Some(why) = &vm.memory_unpinnable {
        let text = format!("The memory of VM '{}' cannot be pinned: {why}.", vm.name);
        return Some(Problem::new(Code::VmMemoryNotPinnable, text));
    }
    let available = observed.node.memory_available_mib;
    // What the guest has touched is in use already; at worst all of it still has to be found.
    let pinned = !vm.hostdevs.is_empty();
    if pinned || available >= vm.memory_mib + MEMORY_LEFT_MIB {
        return None;
    }
    let text = format!(
        "VM '{}' has {} MiB; the node has {available} MiB left, of which {MEMORY_LEFT_MIB} must stay free.",
        vm.name, vm.memory_mib
    );
    Some(Problem::new(Code::VmMemoryNotPinnable, text))
}

fn adapters(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
    nics: &[&NicFacts],
) -> Vec<Problem> {
    let uplinks: Vec<&AdapterFacts> = observed.uplinks(intent).collect();
    if uplinks.is_empty() {
        let text = format!(
            "No adapter of intent '{}' is a port of {}.",
            intent.name, intent.bridge
        );
        return vec![Problem::new(Code::AdapterNotUplink, text)];
    }
    let mut problems = Vec::new();
    if !uplinks
        .iter()
        .any(|adapter| profile::levels(adapter).contains(&level))
    {
        let has: Vec<_> = uplinks
            .iter()
            .map(|adapter| {
                let pairs = profile::queue_pairs(adapter).map_or(1, |pairs| pairs.allotted);
                format!("{} has {pairs} queue pair(s) a VF", adapter.ifname)
            })
            .collect();
        let text = format!("{level} needs {}; {}.", level.queue_pairs(), has.join(", "));
        problems.push(Problem::new(Code::CannotProvisionPerformance, text));
    }
    let needed = waiting(observed, vm, nics).len();
    let exist: usize = uplinks.iter().map(|adapter| adapter.vfs.len()).sum();
    let free: usize = uplinks
        .iter()
        .map(|adapter| free_vfs(observed, adapter).count())
        .sum();
    if needed > 0 && exist == 0 {
        let names: Vec<_> = uplinks
            .iter()
            .map(|adapter| adapter.ifname.to_string())
            .collect();
        let text = format!("{} has no VFs yet.", names.join(", "));
        problems.push(Problem::new(Code::VfsWaiting, text));
    } else if free < needed {
        let text = format!("{needed} needed, {free} of {exist} are free.");
        problems.push(Problem::new(Code::NoFreeVf, text));
    }
    problems
}

/// VFs that could be given out: nobody uses them, and they are in no VM's definition.
pub fn free_vfs<'a>(
    observed: &'a Observed,
    adapter: &'a AdapterFacts,
) -> impl Iterator<Item = &'a VfFacts> {
    adapter.vfs.iter().filter(|vf| {
        vf.user == VfUser::Nobody && vf.group_peers.is_empty() && !observed.is_assigned(vf.pci)
    })
}

fn port(observed: &Observed, vm: &VmFacts, intent: &Intent, nic: &NicFacts) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut findings = nic.policy.clone();
    findings.extend(
        observed
            .policy
            .get(&(vm.uuid, nic.mac))
            .cloned()
            .unwrap_or_default(),
    );
    findings.dedup();
    problems.extend(policy::judge(&findings, nic.mac).err());
    if let Some(bridge) = observed.bridge(&intent.bridge) {
        for adapter in observed
            .uplinks(intent)
            .filter(|adapter| adapter.mtu < bridge.mtu)
        {
            let text = format!(
                "{} has an MTU of {}, {} one of {}.",
                adapter.ifname, adapter.mtu, bridge.ifname, bridge.mtu
            );
            problems.push(Problem::new(Code::VfMtuTooSmall, text));
        }
        let others = others_behind(bridge, nic);
        if !others.is_empty() {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            let text = format!(
                "Behind NIC {} there is also {}.",
                nic.mac,
                others.join(", ")
            );
            problems
                .push(Problem::new(Code::ReachabilityNotOffloadable, text).about("nic", nic.mac));
        }
    }
    problems
}

/// Addresses other than the vNIC's own that the bridge knows behind its tap.
fn others_behind(bridge: &accelnet_model::BridgeFacts, nic: &NicFacts) -> Vec<MacAddr> {
    let port = nic.tap.as_ref().and_then(|tap| bridge.port(tap));
    let entries = port.into_iter().flat_map(|port| &port.fdb);
    let mut others: Vec<_> = entries
        .filter(|entry| !entry.local && entry.mac != nic.mac)
        .map(|entry| entry.mac)
        .collect();
    others.sort_unstable();
    others.dedup();
    others
}

#[cfg(test)]
mod tests {
    use accelnet_model::{FdbEntry, PolicyFinding, PolicyKind, Support};

    use super::*;
    use crate::fixture;

    fn codes(observed: &Observed, level: Performance) -> Vec<Code> {
        let problems = check(observed, &observed.vms[0], &fixture::intent(), level);
        problems.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn an_ordinary_vm_is_eligible() {
        assert_eq!(codes(&fixture::observed(), Performance::Medium), []);
    }

    #[test]
    fn each_obstacle_has_its_code() {
        type Change = fn(&mut Observed);
        let cases: &[(Code, Change)] = &[
            (Code::GetNetworkAdapterFailed, |o| o.vms[0].nics.clear()),
            (Code::VmNotRunning, |o| o.vms[0].state = VmState::Off),
            (Code::VmNoNicOnIntent, |o| {
                o.vms[0].nics[0].bridge = "br9".parse().ok();
            }),
            (Code::VmMachineNotPcie, |o| {
                o.vms[0].machine = "pc-i440fx-10.0".into();
            }),
            (Code::VmNicNotVirtio, |o| {
                o.vms[0].nics[0].model = "e1000e".into();
            }),
            (Code::VmNeedsColdStart, |o| {
                o.vms[0].nics[0].standby_live = false;
            }),
            (Code::VmNoFreeRootPort, |o| {
                o.vms[0].free_root_ports_live = 0;
            }),
            (Code::VmDefinitionNotOurs, |o| {
                o.vms[0].free_root_ports_live = 0;
                o.vms[0].persistent = false;
            }),
            (Code::VmDefinitionNotOurs, |o| {
                o.vms[0].nics[0].standby_live = false;
                o.vms[0].managed_by = Some("oVirt".into());
            }),
            (Code::VmNotEnoughVcpus, |o| o.vms[0].vcpus = 1),
            (Code::HtEnabledMinProcessorCounter, |o| {
                o.node.smt_active = Support::Supported(true);
            }),
            (Code::VmMemoryNotPinnable, |o| {
                o.node.memory_available_mib = 200;
            }),
            (Code::VmMemoryNotPinnable, |o| {
                o.vms[0].memory_unpinnable = Some("sev".into());
            }),
            (Code::AdapterNotUplink, |o| o.adapters[0].master = None),
            (Code::VfsWaiting, |o| o.adapters[0].vfs.clear()),
            (Code::NoFreeVf, |o| {
                for vf in &mut o.adapters[0].vfs {
                    vf.user = VfUser::Process {
                        pid: 1,
                        command: "dpdk".into(),
                    };
                }
            }),
            (Code::VfMtuTooSmall, |o| o.bridges[0].mtu = 9000),
            (Code::PolicyNotOffloadable, |o| {
                let (place, rule) = ("vnet0".to_owned(), "isolated".to_owned());
                o.vms[0].nics[0].policy = vec![PolicyFinding {
                    kind: PolicyKind::Isolation,
                    place,
                    rule,
                }];
            }),
            (Code::ReachabilityNotOffloadable, |o| {
                let mac = MacAddr([2, 9, 9, 9, 9, 9]);
                let entry = FdbEntry {
                    mac,
                    vlan: None,
                    local: false,
                    fixed: false,
                };
                o.bridges[0].ports[1].fdb.push(entry);
            }),
        ];
        for (code, change) in cases {
            let mut observed = fixture::observed();
            change(&mut observed);
            assert_eq!(codes(&observed, Performance::Low), [*code]);
        }
        assert_eq!(
            codes(&fixture::observed(), Performance::High),
            [Code::VmNotEnoughVcpus, Code::CannotProvisionPerformance]
        );
    }

    #[test]
    fn what_a_vm_has_already_is_not_asked_for_again() {
        let mut observed = fixture::observed();
        fixture::put_on_vf(&mut observed, 0, 0);
        observed.vms[0].free_root_ports_live = 0;
        observed.node.memory_available_mib = 1;
        for vf in &mut observed.adapters[0].vfs {
            vf.user = VfUser::Process {
                pid: 1,
                command: "qemu".into(),
            };
        }
        assert_eq!(codes(&observed, Performance::Low), []);
    }
}
