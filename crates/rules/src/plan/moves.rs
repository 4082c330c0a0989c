//! Switch-overs: those that go on, and those that begin.
//!
//! Only what waits for a guest is one. What frames need meanwhile follows from the phase, as for any
//! other NIC.

use std::{collections::BTreeSet, time::Duration};

use accelnet_model::{
    AdapterFacts, Code, Intent, NodeDesired, PciAddress, Performance, Problem, VfAttributes,
    VfFacts, VfUser, VmDesired, VmFacts, VmState,
};
use uuid::Uuid;

use super::{
    MOVES, Memory, Plan, Turn, definition, migration,
    nics::{self, Nic},
    vectors,
};
use crate::{
    Observed,
    action::{Action, Lane},
    eligibility::{self, free_vfs},
    handle::{self, Handle},
    moves::{Goal, Move, NicId, VfPlace, unused_for_long},
    pair,
    phase::{Going, Phase},
    profile, reach,
};

/// Everything that is decided by.
struct Scene<'a> {
    observed: &'a Observed,
    desired: &'a NodeDesired,
    intent: &'a Intent,
    nics: &'a [Nic<'a>],
    memory: &'a Memory,
    now: Duration,
}

impl<'a> Scene<'a> {
    fn nics_of(&self, vm: Uuid) -> impl Iterator<Item = &'a Nic<'a>> {
        self.nics.iter().filter(move |nic| nic.id.vm == vm)
    }

    fn is_free(&self, vm: Uuid) -> bool {
        !self.memory.lanes.contains(&Lane::Vm(vm))
    }

    fn moves(&self, vm: Uuid) -> bool {
        self.memory.moves.keys().any(|nic| nic.vm == vm)
    }
}

/// What switch-overs need next, and which begin.
pub fn plan(
    observed: &Observed,
    desired: &NodeDesired,
    intent: &Intent,
    nics: &[Nic<'_>],
    memory: &Memory,
    now: Duration,
    plan: &mut Plan,
) {
    let scene = Scene {
        observed,
        desired,
        intent,
        nics,
        memory,
        now,
    };
    for (id, going) in &memory.moves {
        match nics.iter().find(|nic| nic.id == *id) {
            Some(nic) if nic.phase() != Phase::Absent => go_on(&scene, nic, going, plan),
            // It went with its VM.
            _ => plan.turns.push((*id, Turn::Over)),
        }
    }
    for vm in &observed.vms {
        if vm.state != VmState::Off && scene.is_free(vm.uuid) && !observed.stale.contains(&vm.uuid)
        {
            frozen(&scene, vm, plan);
            left_behind(&scene, vm, plan);
        }
    }
    migration::end_unwanted(observed, desired, memory, plan);
    for wish in &desired.vms {
        let vm = observed.vm(wish.uuid);
        let vm = vm.filter(|vm| !observed.stale.contains(&vm.uuid) && !scene.moves(vm.uuid));
        if let Some(vm) = vm {
            fulfil(&scene, vm, wish, plan);
        }
    }
    for nic in nics.iter().filter(|nic| scene.is_free(nic.id.vm)) {
        unasked(&scene, nic, plan);
    }
}

/// A VM that nobody here has said anything of came with a VF of ours: it was migrated or restored. What it was
/// given here, or by its user, stays; of the latter it is said why nothing is done with it.
fn unasked(scene: &Scene<'_>, nic: &Nic<'_>, plan: &mut Plan) {
    let NicId { vm, .. } = nic.id;
    let Some(device) = nic.handle.map(|handle| handle.device()) else {
        return;
    };
    if nic.is_others() {
        if scene.desired.vm(vm).is_none() {
            say_pairs(nic.vm, &[nic], plan);
        }
        return;
    }
    let mut hostdevs = nic.vm.hostdevs.iter();
    let ours = hostdevs.any(|hostdev| hostdev.pci == device && hostdev.is_ours());
    let known = || scene.desired.vm(vm).is_some() || scene.observed.stale.contains(&vm);
    if ours && is_wrong(scene, nic) && !known() && !scene.moves(vm) {
        back(scene, nic, Vec::new(), plan);
    }
}

fn go_on(scene: &Scene<'_>, nic: &Nic<'_>, going: &Move, plan: &mut Plan) {
    // Why it comes off its VF is said while it does.
    let wish = scene.desired.vm(nic.id.vm);
    if wish.is_some_and(|wish| wish.level.is_some())
        && let Err(problem) = nics::judge(scene.observed, scene.desired, scene.intent, nic)
    {
        let problems = plan.vm_problems.entry(nic.id.vm).or_default();
        problems.push(problem.about("vm", &nic.vm.name));
    }
    let settled = plan.is_settled(nic.id);
    let free = scene.is_free(nic.id.vm);
    // QEMU or its user does something of its own with the VM: we would only be in the way.
    if !nic.stays(scene.memory) && free {
        plan.turns.push((nic.id, Turn::Over));
        return;
    }
    match (&going.goal, nic.handle) {
        // One that is being plugged comes first.
        (Goal::ToVf { place, .. }, None) if free && !has_way(scene.observed, place.vf) => {
            plan.turns.push((nic.id, Turn::Over));
        }
        (Goal::ToVf { place, vectors, .. }, None) => {
            if let Some(vectors) = vectors.filter(|_| !going.has_vectors) {
                let (pf, vf) = (place.pf, place.vf);
                if !scene.memory.lanes.contains(&Lane::Adapter(pf)) {
                    let driver = scene.intent.vf_driver.named().cloned();
                    let give = Action::VfVectors {
                        pf,
                        vf,
                        vectors,
                        driver,
                    };
                    plan.push_for(nic.id, give);
                }
            } else if settled
                && free
                && reached_from(scene.observed, place, plan)
                // What QEMU has left goes first.
                && !scene.memory.left.contains(&nic.id)
            {
                plug(nic, place, plan);
            }
        }
        // As soon as the guest drives it, it takes nothing by its tap.
        (Goal::ToVf { .. }, Some(handle)) if !has_way(scene.observed, handle.device()) => {
            let goal = Goal::Back {
                device: handle.device(),
                used: handle.is_driven(),
            };
            let back = Move::new(nic.id, &nic.vm.name, goal, scene.now);
            plan.turns.push((nic.id, Turn::Begin(Box::new(back))));
        }
        (Goal::ToVf { .. }, Some(handle)) => {
            if nic.phase() == Phase::Vf && settled {
                plan.turns.push((nic.id, Turn::Over));
            } else if nic.phase() != Phase::Vf
                && going.is_in_vain(scene.now)
                && nic.past.watch.is_over(scene.now)
            {
                let why = unused_for_long(handle.is_driven());
                plan.turns.push((nic.id, Turn::InVain(why)));
            }
        }
        // Both paths are open first, or what is on its way is lost. By a VF without a way nothing is, and its guest
        // is cut off until it has given it up: each moment counts.
        (Goal::Back { .. }, Some(handle))
            if free && (settled || !has_way(scene.observed, handle.device())) =>
        {
            let (NicId { vm, mac }, device) = (nic.id, handle.device());
            let unplug = match handle.is_forgotten(scene.observed) {
                true => Action::Release { vm, mac },
                false => Action::Unplug { vm, device },
            };
            plan.push_for(nic.id, unplug);
        }
        (Goal::Back { .. }, Some(_)) => {}
        (Goal::Back { .. }, None) => plan.turns.push((nic.id, Turn::Over)),
    }
}

/// Frames go by the VF's adapter.
fn has_way(observed: &Observed, vf: PciAddress) -> bool {
    let its = observed.vf(vf);
    its.is_none_or(|(adapter, _)| adapter.carrier && observed.is_active(adapter))
}

fn reached_from(observed: &Observed, place: &VfPlace, plan: &Plan) -> bool {
    let its = observed.vf(place.vf);
    its.is_some_and(|(adapter, _)| reaches_all(adapter, plan))
}

fn plug(nic: &Nic<'_>, place: &VfPlace, plan: &mut Plan) {
    // A running VM's NIC without alias is none of libvirt's making.
    let Some(alias) = nic.nic.alias.clone() else {
        plan.turns.push((nic.id, Turn::Over));
        return;
    };
    let NicId { vm, mac } = nic.id;
    let vf = place.vf;
    plan.push_for(nic.id, Action::Plug { vm, mac, alias, vf });
}

/// A VM whose processors were stopped while its guest has a VF waits for ever: the guest can give up the
/// VF only while it runs.
fn frozen(scene: &Scene<'_>, vm: &VmFacts, plan: &mut Plan) {
    let (VmState::Paused, Some(_)) = (vm.state, vm.job) else {
        return;
    };
    let mut nics = scene.nics_of(vm.uuid);
    let holds = nics.any(|nic| nic.handle.is_some_and(|handle| handle.is_driven()));
    // As soon as it runs it gives up its VF: both paths are open before.
    let open = |nic: &Nic<'_>| plan.is_settled(nic.id);
    if holds && scene.nics_of(vm.uuid).all(open) {
        plan.push(Action::EndJob { vm: vm.uuid });
    }
}

/// A VF that the VM's QEMU still has although libvirt knows of no such device: it was plugged by half, or
/// unplugged by half, and the next plug would fail.
fn left_behind(scene: &Scene<'_>, vm: &VmFacts, plan: &mut Plan) {
    if scene.memory.resting_all.contains(&vm.uuid) {
        return;
    }
    let quiet = vm.job.is_none() && !scene.memory.departing.contains(&vm.uuid);
    let left = scene.memory.left.iter().find(|nic| nic.vm == vm.uuid);
    if let Some(NicId { vm, mac }) = left.copied() {
        plan.push_for(NicId { vm, mac }, Action::Release { vm, mac });
        return;
    }
    let Some(pid) = vm.pid.filter(|_| quiet && scene.memory.host_is_newer) else {
        return;
    };
    let adapters = scene.observed.adapters.iter();
    let mut left = adapters.flat_map(|adapter| &adapter.vfs).filter(|vf| {
        matches!(vf.user, VfUser::Process { pid: user, .. } if user == pid)
            && !scene.observed.is_assigned(vf.pci)
    });
    let Some(vf) = left.next() else { return };
    // The guest uses it: both paths are opened first.
    let used = |nic: &&Nic<'_>| nic.handle.is_some_and(|its| its.device() == vf.pci);
    if let Some(nic) = scene.nics_of(vm.uuid).find(used) {
        if !scene.moves(vm.uuid) {
            back(scene, nic, Vec::new(), plan);
        }
        return;
    }
    let without = || scene.nics_of(vm.uuid).filter(|nic| nic.handle.is_none());
    let its = without().find(|nic| nic.id.mac == vf.attributes.mac);
    if let Some(nic) = its.or_else(|| without().next()) {
        let NicId { vm, mac } = nic.id;
        plan.push_for(nic.id, Action::Release { vm, mac });
    }
}

fn fulfil(scene: &Scene<'_>, vm: &VmFacts, wish: &VmDesired, plan: &mut Plan) {
    if !scene.is_free(vm.uuid) {
        return;
    }
    let gets_nic = definition::plan(vm, wish, scene.intent, scene.memory, plan);
    if vm.state == VmState::Off || gets_nic {
        return;
    }
    match wish.level.filter(|_| !wish.parked) {
        // It stays, once its migration has been ended: until then nothing can be plugged.
        Some(_) if scene.memory.lanes.contains(&Lane::Migration(vm.uuid)) => {}
        Some(level) => accelerate(scene, vm, level, plan),
        None => {
            if wish.parked {
                let text = format!("VM '{}' is parked.", vm.name);
                let problem = Problem::new(Code::VmParked, text).about("vm", &vm.name);
                plan.vm_problems.entry(vm.uuid).or_default().push(problem);
            }
            let (others, ours): (Vec<_>, Vec<_>) = scene
                .nics_of(vm.uuid)
                .filter(|nic| nic.handle.is_some())
                .partition(|nic| nic.is_others());
            say_pairs(vm, &others, plan);
            if let Some(nic) = ours.first() {
                back(scene, nic, Vec::new(), plan);
            } else if let Some(to) = &wish.migrate_to
                && scene.nics_of(vm.uuid).all(|nic| plan.is_settled(nic.id))
            {
                migration::begin(vm, to, scene.memory, plan);
            }
        }
    }
}

/// What somebody else gave NICs stays with them, and is said.
fn say_pairs(vm: &VmFacts, nics: &[&Nic<'_>], plan: &mut Plan) {
    for problem in nics.iter().filter_map(|nic| pair::problem(vm, nic.nic)) {
        let problem = problem.about("vm", &vm.name);
        plan.vm_problems.entry(vm.uuid).or_default().push(problem);
    }
}

/// The NIC's way back to the tap begins, unless its VM rests after the last try.
fn back(scene: &Scene<'_>, nic: &Nic<'_>, because: Vec<Problem>, plan: &mut Plan) {
    let Some(handle) = nic.handle else { return };
    let rests = scene.memory.resting_all.contains(&nic.id.vm);
    // As many as it takes: after a failure of the uplink all wait for it, and each guest does it by itself.
    if rests || !nic.stays(scene.memory) {
        return;
    }
    let goal = Goal::Back {
        device: handle.device(),
        used: handle.is_driven(),
    };
    let begun = Move {
        because,
        ..Move::new(nic.id, &nic.vm.name, goal, scene.now)
    };
    plan.turns.push((nic.id, Turn::Begin(Box::new(begun))));
}

fn plan_is_full(scene: &Scene<'_>, plan: &Plan) -> bool {
    let going = begun(plan).chain(scene.memory.moves.values());
    let to_vf = going.filter(|going| going.going() == Going::ToVf);
    to_vf.count() >= MOVES
}

/// Why a NIC's VF must not stay with it.
enum Leave {
    /// Nothing comes by its adapter: it has no link, or the bond uses another. The guest sends by its tap then,
    /// and takes nothing there as long as it has the VF: Linux's net_failover discards what arrives on
    /// the standby while there is a primary, with a link or without
    /// (drivers/net/net_failover.c, `net_failover_handle_frame`).
    NoWay,
    /// What the switch enforces would not hold on it.
    Policy(Problem),
    /// It cannot be put right, or is not what we gave the VM.
    Wrong,
    /// The guest has not used it for long.
    Unused(Problem),
    /// Its adapter is taken out of the pool, and another gives it a VF.
    Isolated,
    /// Another number of vectors can be had only while the guest does not have it.
    Vectors,
}

/// Its device is no VF of ours, or has no address, or QEMU does not have it at all: it came with a restore or a
/// migration.
fn is_wrong(scene: &Scene<'_>, nic: &Nic<'_>) -> bool {
    let memory = scene.memory;
    match nic.handle {
        Some(Handle::Vfio(_, vf)) => {
            let runs = nic.vm.state == VmState::Running;
            let bare = vf.attributes.mac.is_zero() && !memory.undressed.contains(&nic.id);
            let closed =
                runs && memory.host_is_newer && !nic.handle.is_some_and(|its| its.is_open());
            bare || closed
        }
        Some(Handle::Unknown(_)) => true,
        None => false,
    }
}

fn must_leave(
    scene: &Scene<'_>,
    nic: &Nic<'_>,
    level: Performance,
    eligible: bool,
    plan: &Plan,
) -> Option<Leave> {
    let Some(Handle::Vfio(adapter, vf)) = nic.handle else {
        return Some(Leave::Wrong);
    };
    let memory = scene.memory;
    if let Err(problem) = nics::judge(scene.observed, scene.desired, scene.intent, nic) {
        return Some(Leave::Policy(problem.about("vm", &nic.vm.name)));
    }
    if !adapter.carrier || !scene.observed.is_active(adapter) {
        return Some(Leave::NoWay);
    }
    if is_wrong(scene, nic) || memory.quarantined.contains(&vf.pci) {
        return Some(Leave::Wrong);
    }
    let starts = vf.active_vectors == 0 && nic.past.watch.may_start(scene.now);
    let unused = nic.past.given_up && !starts && !memory.resting.contains(&nic.id.vm);
    if unused {
        let problem = unused_for_long(vf.active_vectors > 0);
        return Some(Leave::Unused(problem.about("vm", &nic.vm.name)));
    }
    if adapter.isolated.is_some() && eligible && can_change(scene, nic, level, plan) {
        return Some(Leave::Isolated);
    }
    let others = vectors::differ(adapter, vf, scene.intent, level)
        && vf.active_vectors > 0
        && eligible
        && eligibility::has_vectors(adapter, vf, &scene.intent.levels, level);
    others.then_some(Leave::Vectors)
}

/// An adapter that is taken out of the pool is left by one NIC after the other, and only where another adapter has a VF
/// for it: until then it is better off where it is.
fn can_change(scene: &Scene<'_>, nic: &Nic<'_>, level: Performance, plan: &Plan) -> bool {
    let Scene {
        observed,
        intent,
        memory,
        ..
    } = *scene;
    let vm = nic.id.vm;
    let rests = memory.resting.contains(&vm) || memory.fresh.contains(&vm);
    let quiet = memory.moves.is_empty() && begun(plan).next().is_none();
    quiet
        && !rests
        && observed.knows_policy(vm, nic.id.mac)
        && free_vf(observed, intent, memory, plan, level).is_some()
        && !somebody_waits(scene)
}

/// A NIC has no VF, and could be given one: it comes first.
fn somebody_waits(scene: &Scene<'_>) -> bool {
    let memory = scene.memory;
    let mut wishes = scene.desired.vms.iter().filter(|wish| !wish.parked);
    wishes.any(|wish| {
        let (Some(level), Some(vm)) = (wish.level, scene.observed.vm(wish.uuid)) else {
            return false;
        };
        let mut nics = scene.nics_of(vm.uuid);
        let without = nics.any(|nic| nic.handle.is_none() && nic.stays(memory));
        let rests = memory.resting.contains(&vm.uuid) || scene.observed.stale.contains(&vm.uuid);
        let waived = nics::waived(scene.desired, vm.uuid);
        let problems = || eligibility::check(scene.observed, vm, scene.intent, level, waived);
        vm.state == VmState::Running && without && !rests && problems().is_empty()
    })
}

fn accelerate(scene: &Scene<'_>, vm: &VmFacts, level: Performance, plan: &mut Plan) {
    let Scene {
        observed, intent, ..
    } = *scene;
    let waived = nics::waived(scene.desired, vm.uuid);
    let problems = eligibility::check(observed, vm, intent, level, waived);
    let nics: Vec<&Nic<'_>> = scene.nics_of(vm.uuid).collect();
    let managed = |nic: &&&Nic<'_>| nic.handle.is_some() && !nic.is_others();
    for nic in nics.iter().filter(managed) {
        let leave = must_leave(scene, nic, level, problems.is_empty(), plan);
        let Some(leave) = leave else { continue };
        let mut because = Vec::new();
        match leave {
            Leave::Policy(problem) => plan.vm_problems.entry(vm.uuid).or_default().push(problem),
            Leave::Unused(problem) => because.push(problem),
            Leave::NoWay | Leave::Wrong | Leave::Isolated | Leave::Vectors => {}
        }
        back(scene, nic, because, plan);
        return;
    }
    vectors::not_provided(observed, vm, intent, level, &problems, plan);
    let waiting: Vec<&&Nic<'_>> = nics.iter().filter(|nic| nic.handle.is_none()).collect();
    if waiting.is_empty() && !nics.is_empty() {
        say_pairs(vm, &nics, plan);
        return;
    }
    if !problems.is_empty() {
        plan.vm_problems
            .entry(vm.uuid)
            .or_default()
            .extend(problems);
        return;
    }
    let rests = scene.memory.resting.contains(&vm.uuid) || scene.memory.fresh.contains(&vm.uuid);
    if rests || plan_is_full(scene, plan) {
        return;
    }
    // One NIC at a time; the next pass takes the next.
    let is_known =
        |nic: &&&&Nic<'_>| observed.knows_policy(nic.id.vm, nic.id.mac) && nic.stays(scene.memory);
    if let Some(nic) = waiting.first().filter(is_known)
        && let Some((adapter, vf)) = free_vf(observed, intent, scene.memory, plan, level)
        && let Ok(attributes) = nics::judge(observed, scene.desired, intent, nic)
    {
        let goal = Goal::ToVf {
            place: VfPlace {
                pf: adapter.pci,
                uplink: adapter.ifname.clone(),
                index: vf.index,
                vf: vf.pci,
            },
            attributes,
            vectors: profile::wanted_vectors(adapter, &intent.levels, level)
                .filter(|wanted| !vf.msix_vectors.is(wanted)),
        };
        let begun = Move::new(nic.id, &vm.name, goal, scene.now);
        plan.turns.push((nic.id, Turn::Begin(Box::new(begun))));
    }
}

/// A VF that a VM could be given at this level: the first that is ready of the adapter with the most free ones.
pub fn free_vf<'a>(
    observed: &'a Observed,
    intent: &'a Intent,
    memory: &Memory,
    plan: &Plan,
    level: Performance,
) -> Option<(&'a AdapterFacts, &'a VfFacts)> {
    // One that a VM has which was not seen is open in its process, and carries an address; libvirt gives none
    // out twice either. But where nobody knows which VMs there are nothing is given out.
    let seen = observed.hypervisor_answers;
    let given: BTreeSet<_> = begun(plan)
        .chain(memory.moves.values())
        .filter(|going| going.going() == Going::ToVf)
        .map(Move::device)
        .chain(memory.promised.keys().copied())
        .collect();
    let ready = |adapter: &'a AdapterFacts| {
        free_vfs(observed, adapter)
            .filter(|vf| handle::is_ready(intent, vf))
            .filter(|vf| vf.attributes.fulfils(&VfAttributes::baseline()))
            .filter(|vf| eligibility::has_vectors(adapter, vf, &intent.levels, level))
            .filter(|vf| !memory.quarantined.contains(&vf.pci) && !given.contains(&vf.pci))
            .filter(|vf| !memory.taken.contains(&vf.pci))
            .collect::<Vec<_>>()
    };
    observed
        .giving_uplinks(intent)
        .filter(|_| seen)
        .filter(|adapter| profile::can_provision(adapter, &intent.levels, level))
        .filter(|adapter| reaches_all(adapter, plan))
        .filter(|adapter| profile::eswitch_refused(adapter).is_none())
        .filter(|adapter| reach::overflow(observed, intent, adapter).is_none())
        .filter(|adapter| !memory.lanes.contains(&Lane::Adapter(adapter.pci)))
        .map(|adapter| (adapter, ready(adapter)))
        .max_by_key(|(_, ready)| ready.len())
        .and_then(|(adapter, ready)| Some((adapter, *ready.first()?)))
}

/// The adapter receives for everybody whom a VF of it must reach; else a VF would be cut off from some,
/// as when its filter is full.
fn reaches_all(adapter: &AdapterFacts, plan: &Plan) -> bool {
    let missing = |action: &Action| matches!(action, Action::Filter { pf, present: true, .. } if *pf == adapter.ifname);
    !plan.actions.iter().any(|(_, action)| missing(action))
}

fn begun(plan: &Plan) -> impl Iterator<Item = &Move> {
    plan.turns.iter().filter_map(|(_, turn)| match turn {
        Turn::Begin(begun) => Some(&**begun),
        Turn::Over | Turn::InVain(_) => None,
    })
}
