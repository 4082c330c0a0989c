//! VFs: how many there are, what drives them, what they carry while nobody uses them.

use accelnet_model::{
    AdapterFacts, Code, Intent, Problem, VfAttributes, VfCount, VfFacts, VfUser, WhenToCreateVfs,
};

use super::{Memory, Plan};
use crate::{
    Observed,
    action::{Action, Lane},
    handle,
    observed::nics_on,
    profile,
};

pub fn plan(
    observed: &Observed,
    intent: &Intent,
    when: WhenToCreateVfs,
    memory: &Memory,
    plan: &mut Plan,
) {
    for adapter in observed.uplinks(intent) {
        // Its VFs are being worked on: what is seen of them now is old in a moment.
        if memory.lanes.contains(&Lane::Adapter(adapter.pci)) {
            continue;
        }
        match profile::choose_vf_count(adapter, &intent.levels, intent.vfs) {
            Ok(wanted) => count(observed, intent, adapter, wanted.count, when, memory, plan),
            Err(problem) => plan.problems.push(problem),
        }
        for vf in &adapter.vfs {
            give_back(observed, intent, adapter, vf, plan);
        }
        // One that a VM has which was not seen may look as if nobody had it.
        if observed.all_vms_seen() {
            for vf in &adapter.vfs {
                idle_vf(observed, intent, adapter, vf, memory, plan);
            }
        }
    }
}

/// VFs are kept for VMs that are on their way here, and for no others.
pub fn reserve(observed: &Observed, memory: &Memory, plan: &mut Plan) {
    let vfs = observed.adapters.iter().flat_map(|adapter| &adapter.vfs);
    for vf in vfs {
        let wanted = memory.promised.contains_key(&vf.pci);
        match vf.user {
            VfUser::Nobody if wanted => {}
            VfUser::Reserved if !wanted => {}
            _ => continue,
        }
        plan.push(Action::ReserveVf {
            vf: vf.pci,
            reserved: wanted,
        });
    }
}

fn count(
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
    wanted: u32,
    when: WhenToCreateVfs,
    memory: &Memory,
    plan: &mut Plan,
) {
    let existing = adapter.vfs.len() as u32;
    if existing == wanted {
        return;
    }
    let users: Vec<_> = adapter
        .vfs
        .iter()
        .filter(|vf| vf.user != VfUser::Nobody || memory.setting_up.contains(&vf.pci))
        .collect();
    if !users.is_empty() {
        if let VfCount::Exactly(_) = intent.vfs {
            let text = format!(
                "{} has {existing} VFs, {wanted} are wanted, and {} of them are in use.",
                adapter.ifname,
                users.len()
            );
            let problem = Problem::new(Code::VfCountNotPossible, text);
            plan.problems
                .push(problem.about("adapter", &adapter.ifname));
        }
        return;
    }
    let reasons = interrupted(observed, intent);
    let now = match when {
        WhenToCreateVfs::Now => true,
        WhenToCreateVfs::Empty => reasons.is_empty() && observed.hypervisor_answers,
        WhenToCreateVfs::Boot => false,
    };
    if now {
        plan.push(Action::CreateVfs {
            pf: adapter.pci,
            count: wanted,
        });
        return;
    }
    let text = format!(
        "{} needs {wanted} VFs; its link carries {}.",
        adapter.ifname,
        in_words(&reasons)
    );
    plan.problems
        .push(Problem::new(Code::VfsWaiting, text).about("adapter", &adapter.ifname));
}

fn in_words(reasons: &[String]) -> String {
    if reasons.is_empty() {
        "nothing, but it was asked to wait".into()
    } else {
        reasons.join(", ")
    }
}

/// What a bounce of the uplink's link would interrupt.
pub fn interrupted(observed: &Observed, intent: &Intent) -> Vec<String> {
    let mut reasons: Vec<String> = observed
        .vms_on(&intent.bridge)
        .map(|vm| format!("VM '{}'", vm.name))
        .collect();
    if observed
        .bridge(&intent.bridge)
        .is_some_and(|bridge| bridge.has_host_address)
    {
        reasons.push(format!("the host's address on {}", intent.bridge));
    }
    reasons
}

/// A VF that a VM has must not carry the address of another VM's NIC: frames for that one would go there. It does if
/// libvirt gave it to this VM at the moment at which it was prepared for the other.
fn give_back(
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
    vf: &VfFacts,
    plan: &mut Plan,
) {
    let carried = vf.attributes.mac;
    let all = observed.vms.iter();
    let mut has = all.flat_map(|vm| vm.hostdevs.iter().map(move |device| (vm.uuid, device)));
    let Some((owner, its)) = has.find(|(_, device)| device.pci == vf.pci) else {
        return;
    };
    let mut others = observed
        .vms_on(&intent.bridge)
        .filter(|vm| vm.uuid != owner);
    let anothers = others.any(|vm| nics_on(vm, &intent.bridge).any(|nic| nic.mac == carried));
    if anothers && its.mac != Some(carried) {
        plan.push(Action::Dress {
            pf: adapter.pci,
            uplink: adapter.ifname.clone(),
            index: vf.index,
            vf: vf.pci,
            attributes: VfAttributes {
                mac: its.mac.unwrap_or_default(),
                ..vf.attributes.clone()
            },
        });
    }
}

/// A VF that nobody uses, and no VM needs at its next start, is bound to a driver that hands it to VMs, carries the
/// baseline, and keeps no more vectors of a pool than an idle one needs.
fn idle_vf(
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
    vf: &VfFacts,
    memory: &Memory,
    plan: &mut Plan,
) {
    let somebodys = observed.is_assigned(vf.pci) || observed.promised(vf.pci).is_some();
    let held = vf.user != VfUser::Nobody || somebodys;
    let mut moves = memory.moves.values();
    let moves = moves.any(|going| going.device() == vf.pci);
    let kept = memory.quarantined.contains(&vf.pci)
        || memory.taken.contains(&vf.pci)
        || memory.setting_up.contains(&vf.pci)
        || memory.promised.contains_key(&vf.pci);
    let carried = vf.attributes.mac;
    // It may be on its way into the VM whose address it carries, although the switch-over was given up meanwhile.
    let mut vms = observed.vms.iter();
    let plugged = vms.any(|vm| {
        let its = vm.nics.iter().any(|nic| nic.mac == carried);
        its && memory.lanes.contains(&Lane::Vm(vm.uuid))
    });
    if held || moves || kept || plugged {
        return;
    }
    let (pf, pci) = (adapter.pci, vf.pci);
    let idle = profile::idle_vectors(adapter);
    if let Some(vectors) = idle
        && !vf.msix_vectors.is(&vectors)
    {
        // Binds it too. What the card does not show is known as soon as it was set.
        plan.push(Action::VfVectors {
            pf,
            vf: pci,
            vectors,
            driver: intent.vf_driver.named().cloned(),
        });
    } else if !handle::is_ready(intent, vf) {
        plan.push(Action::BindVf {
            pf,
            vf: pci,
            driver: intent.vf_driver.named().cloned(),
        });
    }
    if !vf.attributes.fulfils(&VfAttributes::baseline()) && !waits_for_link(adapter, vf) {
        plan.push(Action::CleanVf {
            pf,
            index: vf.index,
            vf: pci,
            mac: carried,
        });
    }
}

/// Without link some drivers (igb) change no rate. A VF on which nothing else is left of its last VM is
/// not given out, and is cleaned as soon as there is a link.
fn waits_for_link(adapter: &AdapterFacts, vf: &VfFacts) -> bool {
    let baseline = VfAttributes::baseline();
    let without_rates = VfAttributes {
        max_tx_rate_mbps: baseline.max_tx_rate_mbps,
        min_tx_rate_mbps: baseline.min_tx_rate_mbps,
        ..vf.attributes.clone()
    };
    !adapter.carrier && without_rates.fulfils(&baseline)
}
