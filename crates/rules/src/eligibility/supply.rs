//! Can node, adapters and VFs give the level now?

use accelnet_model::{
    AdapterFacts, Code, Intent, Levels, Performance, Problem, Support, VfFacts, VfUser,
};

use crate::{Observed, intent_fit, isolation, profile, reach};

/// `needed` VFs are wanted at the level. If none is, only the level itself is asked for.
pub(super) fn check(
    observed: &Observed,
    intent: &Intent,
    level: Performance,
    needed: usize,
    problems: &mut Vec<Problem>,
) {
    if needed > 0 {
        platform(observed, problems);
    }
    let uplinks: Vec<&AdapterFacts> = observed.giving_uplinks(intent).collect();
    if uplinks.is_empty() {
        let isolated = observed.active_uplinks(intent).find_map(isolation::problem);
        problems.push(isolated.unwrap_or_else(|| no_uplink(observed, intent)));
        return;
    }
    let able: Vec<&AdapterFacts> = uplinks
        .iter()
        .copied()
        .filter(|adapter| profile::can_provision(adapter, &intent.levels, level))
        .collect();
    if able.is_empty() {
        problems.push(cannot_provision(&uplinks, &intent.levels, level));
    }
    if let Some(rate) = intent.levels.max_tx_rate_mbps(level) {
        let cannot = uplinks
            .iter()
            .filter_map(|adapter| profile::tx_rate_problem(adapter, rate));
        problems.extend(cannot);
    }
    if needed == 0 {
        return;
    }
    let before = problems.len();
    problems.extend(uplinks.iter().filter_map(|adapter| unusable(adapter)));
    let reach = |adapter: &&AdapterFacts| reach::overflow(observed, intent, adapter);
    problems.extend(uplinks.iter().filter_map(reach));
    if problems.len() == before {
        // A level that nobody gives is one problem, too few VFs for any level another.
        let from = if able.is_empty() { &uplinks } else { &able };
        let few = too_few(observed, from, needed);
        problems.extend(few.or_else(|| too_few_vectors(observed, from, &intent.levels, level)));
    }
}

fn platform(observed: &Observed, problems: &mut Vec<Problem>) {
    let node = &observed.node;
    let on = format!("Node '{}'", node.hostname);
    if !observed.hypervisor_answers {
        let text = format!("libvirt does not answer on node '{}'.", node.hostname);
        problems.push(Problem::new(Code::HypervisorUnavailable, text));
    }
    if !node.iommu {
        let text = format!("{on} has no IOMMU groups.");
        problems.push(Problem::new(Code::SriovSupportNoIommu, text));
    } else if node.interrupt_remapping == Support::Supported(false) {
        let text = format!("{on} does not remap interrupts.");
        problems.push(Problem::new(Code::InterruptRemappingOff, text));
    }
    if !node.vfio {
        let text = format!("{on} has no vfio-pci driver.");
        problems.push(Problem::new(Code::AccelNetNotSupported, text));
    }
}

fn no_uplink(observed: &Observed, intent: &Intent) -> Problem {
    let (name, bridge) = (&intent.name, &intent.bridge);
    match observed.bridge(bridge) {
        None => Problem::new(
            Code::BridgeNotFound,
            format!("There is no bridge {bridge}."),
        ),
        Some(found) if found.kind != "bridge" => Problem::new(
            Code::BridgeNotSupported,
            format!("{bridge} is of kind '{}'.", found.kind),
        ),
        Some(found) => match intent_fit::on_vlan(observed, found) {
            Some(words) => Problem::new(Code::BridgeNotSupported, format!("{words}.")),
            None => Problem::new(
                Code::AdapterNotUplink,
                format!("No adapter of intent '{name}' is a port of {bridge}."),
            ),
        },
    }
    .about("bridge", bridge)
}

fn cannot_provision(uplinks: &[&AdapterFacts], levels: &Levels, level: Performance) -> Problem {
    let has = uplinks.iter().map(|adapter| {
        let (name, possible) = (&adapter.ifname, profile::levels(adapter, levels));
        match (profile::queue_pairs(adapter, levels), possible.last()) {
            (Some(pairs), _) => format!("{name} gives {} a VF", pairs.allotted),
            (None, Some(most)) => {
                let pairs = levels.queue_pairs(*most);
                format!("{name} gives {most} ({pairs}) at most")
            }
            (None, None) => format!("{name} has none left"),
        }
    });
    let has: Vec<String> = has.collect();
    let wanted = match levels.queue_pairs(level) {
        1 => "1 queue pair".to_owned(),
        pairs => format!("{pairs} queue pairs"),
    };
    let text = format!("{level} needs {wanted}; {}.", has.join(", "));
    let problem = Problem::new(Code::CannotProvisionPerformance, text);
    uplinks.iter().fold(problem, |problem, adapter| {
        problem.about("adapter", &adapter.ifname)
    })
}

/// An uplink that gives nobody a VF now.
fn unusable(adapter: &AdapterFacts) -> Option<Problem> {
    let name = &adapter.ifname;
    let problem = if let Some(code) = adapter.sriov.code() {
        let evidence = adapter
            .sriov_evidence
            .as_deref()
            .unwrap_or("no details are known");
        let text = format!("{name}: {}.", evidence.trim_end_matches('.'));
        Problem::new(code, text)
    } else if let Some(found) = profile::eswitch_refused(adapter) {
        Problem::new(Code::EswitchNotSupported, format!("{name}: {found}."))
    } else if !adapter.up || !adapter.carrier {
        // A VF without link would take the VM off the network, and the guest prefers it.
        Problem::new(Code::AdapterLinkDown, format!("{name} has no link."))
    } else {
        return None;
    };
    Some(problem.about("adapter", name))
}

/// VFs that could be given out: nobody uses them, they are isolated, and in no VM's definition.
pub fn free_vfs<'a>(
    observed: &'a Observed,
    adapter: &'a AdapterFacts,
) -> impl Iterator<Item = &'a VfFacts> {
    adapter.vfs.iter().filter(|vf| {
        let somebodys = observed.is_assigned(vf.pci) || observed.promised(vf.pci).is_some();
        vf.user == VfUser::Nobody && vf.group_peers.is_empty() && !somebodys
    })
}

/// Why there are fewer than `needed` free VFs, if so.
fn too_few(observed: &Observed, adapters: &[&AdapterFacts], needed: usize) -> Option<Problem> {
    let free: usize = adapters
        .iter()
        .map(|adapter| free_vfs(observed, adapter).count())
        .sum();
    if free >= needed {
        return None;
    }
    let names: Vec<String> = adapters
        .iter()
        .map(|adapter| adapter.ifname.to_string())
        .collect();
    let names = names.join(", ");
    let all = || adapters.iter().flat_map(|adapter| &adapter.vfs);
    if all().next().is_none() {
        let text = format!("{names} has no VFs yet.");
        return Some(Problem::new(Code::VfsWaiting, text));
    }
    let shared = all().filter(|vf| !vf.group_peers.is_empty()).count();
    let others: Vec<String> = all()
        .filter_map(|vf| used_by_others(observed, vf))
        .collect();
    let total = all().count();
    let text = format!("{needed} needed on {names}, {free} of {total} are free");
    Some(if free + others.len() >= needed {
        let text = format!("{text}; {}.", others.join(", "));
        Problem::new(Code::VfInUseByOthers, text)
    } else if free + shared >= needed {
        let text = format!("{text}; {shared} share an IOMMU group with other devices.");
        Problem::new(Code::VfNotIsolated, text)
    } else {
        Problem::new(Code::NoFreeVf, format!("{text}."))
    })
}

/// True if the adapter's pool has the vectors that the level costs, or has no pool.
pub fn has_vectors(
    adapter: &AdapterFacts,
    vf: &VfFacts,
    levels: &Levels,
    level: Performance,
) -> bool {
    short_of_vectors(adapter, vf, levels, level).is_none()
}

/// The adapter's pool has not the vectors left that the level costs. Where nobody can tell, the kernel
/// says so when it is tried.
pub fn short_of_vectors(
    adapter: &AdapterFacts,
    vf: &VfFacts,
    levels: &Levels,
    level: Performance,
) -> Option<Problem> {
    let wanted = profile::wanted_vectors(adapter, levels, level)?;
    let left = profile::vectors_left(adapter, vf)?;
    if left >= wanted {
        return None;
    }
    let (name, total) = (&adapter.ifname, adapter.vf_total_msix.value()?);
    let text = format!(
        "{level} needs {wanted} MSI-X vectors of {name}; {left} of {total} are left for VF {}, the \
         other VFs having theirs.",
        vf.pci
    );
    Some(Problem::new(Code::NoFreeVf, text).about("adapter", name))
}

/// There are free VFs, but no pool has the vectors left that one of them needs.
fn too_few_vectors(
    observed: &Observed,
    adapters: &[&AdapterFacts],
    levels: &Levels,
    level: Performance,
) -> Option<Problem> {
    let mut first = None;
    for adapter in adapters {
        for vf in free_vfs(observed, adapter) {
            match short_of_vectors(adapter, vf, levels, level) {
                None => return None,
                short => first = first.or(short),
            }
        }
    }
    first
}

/// A user of the VF that is not a VM that libvirt knows, in words.
fn used_by_others(observed: &Observed, vf: &VfFacts) -> Option<String> {
    if observed.is_assigned(vf.pci) {
        return None;
    }
    match &vf.user {
        VfUser::Nobody => {
            let name = &observed.promised(vf.pci)?.name;
            Some(format!("{} is in the definition of VM '{name}'", vf.pci))
        }
        VfUser::Process { pid, command } => {
            Some(format!("{} is used by process {pid} ({command})", vf.pci))
        }
        VfUser::Reserved => Some(format!("{} is kept for a VM that comes in", vf.pci)),
        VfUser::HostDriver { driver } => Some(format!("{} is bound to {driver}", vf.pci)),
        VfUser::Others { why } => Some(format!("{} is not ours: {why}", vf.pci)),
    }
}
