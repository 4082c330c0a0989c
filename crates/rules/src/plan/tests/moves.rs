//! Switch-overs, from their beginning to their end, and what keeps them from beginning.

use accelnet_model::{Name, UnseenVm, VmJob, VmState};

use super::*;
use crate::{action::HOLD_LIMIT, phase::BOTH_LIMIT};

const SECOND: Duration = Duration::from_secs(1);

fn low() -> NodeDesired {
    desired(Some(Performance::Low))
}

/// VM 1's switch-over to VF 0 has begun, and nothing was done for it yet.
fn towards_vf() -> (Observed, Memory, NicId) {
    let observed = settled();
    let mut memory = memory_after(&observed, &low());
    let going = begun(&plan(&observed, &low(), &memory, NOW)).remove(0);
    let id = going.nic;
    memory.moves.insert(id, going);
    (observed, memory, id)
}

/// The same with both paths open and the VF dressed.
fn opened() -> (Observed, Memory, NicId) {
    let (mut observed, mut memory, id) = towards_vf();
    note(&plan(&observed, &low(), &memory, NOW), &mut memory);
    open(&mut observed, &mut memory, id);
    observed.adapters[0].vfs[0].attributes = VfAttributes::for_mac(id.mac);
    (observed, memory, id)
}

/// The same with the VF plugged. The guest does not drive it yet.
fn plugged() -> (Observed, Memory, NicId) {
    let (mut observed, mut memory, id) = opened();
    fixture::put_on_vf(&mut observed, 0, 0);
    observed.adapters[0].vfs[0].active_vectors = 0;
    memory.moves.get_mut(&id).unwrap().plugged = Some(NOW);
    note(&plan(&observed, &low(), &memory, NOW), &mut memory);
    (observed, memory, id)
}

/// Both paths of VM 1's NIC are open.
fn open(observed: &mut Observed, memory: &mut Memory, id: NicId) {
    let ports = &mut observed.bridges[0].ports[..2];
    for port in ports {
        (port.learning, port.flood) = (false, true);
        port.fdb.retain(|entry| entry.mac != id.mac);
        memory.learning_off.insert(port.ifname.clone());
        memory.flood_off.insert(port.ifname.clone());
        let forgotten = memory.forgotten.entry(id).or_default();
        forgotten.insert(port.ifname.clone());
    }
    if !observed.adapters[0].filter.contains(&id.mac) {
        observed.adapters[0].filter.push(id.mac);
    }
}

/// VM 1 is on its VF and its way back has begun.
fn back(used: bool) -> (Observed, Memory, NicId) {
    let observed = accelerated();
    let mut memory = memory_after(&observed, &desired(None));
    let id = nic(&observed, 0);
    let device = observed.adapters[0].vfs[0].pci;
    let goal = Goal::Back { device, used };
    memory.moves.insert(id, Move::new(id, "vm1", goal, NOW));
    (observed, memory, id)
}

fn at(observed: &Observed, memory: &Memory, now: Duration) -> Plan {
    plan(observed, &low(), memory, now)
}

fn wait() -> Action {
    hold(Hold::Wait)
}

fn hold(hold: Hold) -> Action {
    let tap = "vnet1".parse().unwrap();
    Action::HoldQueue { tap, hold }
}

fn is_plug(action: &Action) -> bool {
    matches!(action, Action::Plug { .. })
}

#[test]
fn a_vf_is_plugged_when_both_paths_are_open_and_it_is_dressed() {
    let (observed, memory, id) = towards_vf();
    let found = at(&observed, &memory, NOW);
    assert_eq!(found.phase(id), Some(Phase::Both));
    let done = deeds(&found);
    assert!(
        matches!(done.last(), Some(Action::Dress { attributes, .. }) if attributes.mac == id.mac)
    );
    assert!(!done.iter().any(is_plug));

    let (mut observed, mut memory, id) = opened();
    let plug = Action::Plug {
        vm: id.vm,
        mac: id.mac,
        alias: "net0".into(),
        vf: observed.adapters[0].vfs[0].pci,
    };
    assert_eq!(deeds(&at(&observed, &memory, NOW)), [plug]);
    // Not while something else is done with the VM.
    memory.lanes.insert(Lane::Vm(id.vm));
    assert!(at(&observed, &memory, NOW).is_empty());
    memory.lanes.clear();
    // Nor while the VF would not reach somebody, as another VM's NIC.
    observed.adapters[0]
        .filter
        .retain(|mac| *mac != observed.vms[1].nics[0].mac);
    let done = deeds(&at(&observed, &memory, NOW));
    assert!(
        matches!(done[..], [Action::Filter { present: true, .. }]),
        "{done:?}"
    );
}

#[test]
fn it_is_over_when_the_guest_uses_the_vf_and_all_follows() {
    let (mut observed, mut memory, id) = plugged();
    assert!(at(&observed, &memory, NOW + 2 * SECOND).is_empty());
    observed.adapters[0].vfs[0].active_vectors = 3;
    let (driven, sure) = (NOW + 2 * SECOND, NOW + 5 * SECOND);
    memory.counted.insert(id, driven);
    let found = at(&observed, &memory, driven);
    assert!(found.is_empty(), "{found:?}");
    note(&found, &mut memory);
    memory.counted.insert(id, sure);
    let found = at(&observed, &memory, sure);
    assert_eq!(found.phase(id), Some(Phase::Vf));
    assert!(
        !found.actions.is_empty() && found.turns.is_empty(),
        "{found:?}"
    );
    note(&found, &mut memory);

    let mut done = accelerated();
    done.adapters[0].vfs[0].attributes = observed.adapters[0].vfs[0].attributes.clone();
    let found = at(&done, &memory, sure);
    assert_eq!(found.turns, [(id, Turn::Over)]);
    assert!(found.actions.is_empty(), "{found:?}");
}

#[test]
fn a_guest_that_does_not_use_its_vf_is_told_and_brought_back() {
    let late = BOTH_LIMIT - SECOND;
    for (vectors, from, words) in [
        (0, Duration::ZERO, "no driver in the guest"),
        (3, Duration::ZERO, "goes on sending"),
        // One that is slow to begin has as long from then on.
        (3, late, "goes on sending"),
    ] {
        let (mut observed, mut memory, id) = plugged();
        let mut turns = |now: Duration| {
            let begun = now >= NOW + from;
            observed.adapters[0].vfs[0].active_vectors = if begun { vectors } else { 0 };
            // It never falls silent.
            observed.bridges[0].ports[1].rx_packets += 1;
            memory.counted.insert(id, now);
            let found = at(&observed, &memory, now);
            note(&found, &mut memory);
            assert_eq!(found.phase(id), Some(Phase::Both));
            found.turns
        };
        assert_eq!(turns(NOW), []);
        assert_eq!(turns(NOW + late), []);
        assert_eq!(turns(NOW + from + late), []);
        match &turns(NOW + from + BOTH_LIMIT)[..] {
            [(of, Turn::InVain(problem))] if *of == id => {
                let code = match vectors {
                    0 => Code::GuestWithoutFailover,
                    _ => Code::GuestVfNotPaired,
                };
                assert_eq!(problem.code, code);
                assert!(problem.detail.contains(words), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_wait_before_the_way_back_opens_and_for_no_longer_than_they_may() {
    let (mut observed, mut memory, id) = back(true);
    let found = at(&observed, &memory, NOW);
    assert_eq!(found.phase(id), Some(Phase::Both));
    assert_eq!(found.actions[0], (Some(id), wait()));
    open(&mut observed, &mut memory, id);
    memory.told.insert("vnet1".parse().unwrap(), Hold::Wait);
    memory.moves.get_mut(&id).unwrap().held = Some(NOW);
    let (vm, device) = (id.vm, observed.adapters[0].vfs[0].pci);
    assert_eq!(
        deeds(&at(&observed, &memory, NOW)),
        [Action::Unplug { vm, device }]
    );
    // The guest takes its time.
    memory.lanes.insert(Lane::Vm(vm));
    assert!(at(&observed, &memory, NOW + HOLD_LIMIT - SECOND).is_empty());
    let late = at(&observed, &memory, NOW + HOLD_LIMIT);
    assert_eq!(deeds(&late), [hold(Hold::Pass)]);
    // It has let go.
    memory.lanes.clear();
    observed.vms[0].hostdevs.clear();
    observed.adapters[0].vfs = fixture::adapter(7).vfs;
    assert_eq!(at(&observed, &memory, NOW).turns, [(id, Turn::Over)]);
    memory.moves.clear();
    let mut resting = memory.clone();
    resting.resting = [vm].into();
    assert_eq!(
        deeds(&at(&observed, &resting, NOW)),
        [
            hold(Hold::Pass),
            Action::BridgeEntry {
                port: "vnet1".parse().unwrap(),
                mac: id.mac,
                vlan: None,
                present: true,
            },
            learning("vnet1", true),
            learning("pf0", true),
        ]
    );
}

#[test]
fn frames_never_wait_for_a_guest_that_did_not_use_its_vf() {
    let (observed, memory, _) = back(false);
    let done = deeds(&at(&observed, &memory, NOW));
    assert!(!done.is_empty() && !done.contains(&wait()), "{done:?}");
}

#[test]
fn what_its_vm_does_not_stay_for_is_over() {
    type Change = fn(&mut Observed, &mut Memory);
    let goes: [Change; 4] = [
        |observed, _| observed.vms[0].state = VmState::Off,
        |observed, _| drop(observed.vms.remove(0)),
        |observed, _| observed.vms[0].job = Some(VmJob::Outgoing),
        |observed, memory| {
            memory.departing.insert(observed.vms[0].uuid);
        },
    ];
    for (number, change) in goes.iter().enumerate() {
        for (mut observed, mut memory, id) in [opened(), plugged(), back(true)] {
            change(&mut observed, &mut memory);
            let found = at(&observed, &memory, NOW);
            assert_eq!(found.turns, [(id, Turn::Over)], "{number}");
            assert!(!deeds(&found).iter().any(is_plug), "{number}");
        }
    }
}

#[test]
fn of_a_vm_with_a_job_nothing_is_begun() {
    for observed in [settled(), accelerated()] {
        for level in [None, Some(Performance::Low)] {
            let mut observed = observed.clone();
            observed.vms[0].job = Some(VmJob::Outgoing);
            assert_eq!(planned(&observed, &desired(level)).turns, []);
        }
    }
}

#[test]
fn a_departing_guests_frames_wait_until_it_has_let_go() {
    let mut observed = accelerated();
    let mut memory = memory_after(&observed, &low());
    let id = nic(&observed, 0);
    memory.departing.insert(id.vm);
    let found = at(&observed, &memory, NOW);
    assert_eq!(found.phase(id), Some(Phase::Both));
    assert_eq!(found.actions[0], (Some(id), wait()));
    note(&found, &mut memory);
    open(&mut observed, &mut memory, id);
    memory.told.insert("vnet1".parse().unwrap(), Hold::Wait);
    observed.adapters[0].vfs[0].active_vectors = 0;
    let found = at(&observed, &memory, NOW);
    assert_eq!(found.phase(id), Some(Phase::Tap));
    assert_eq!(deeds(&found)[0], hold(Hold::Pass));
    // At its last stop it is not here any more, and its address is its new host's.
    observed.vms[0].state = VmState::Paused;
    observed.vms[0].job = Some(VmJob::Outgoing);
    let found = at(&observed, &memory, NOW);
    assert_eq!(found.phase(id), Some(Phase::Absent));
    let undressed = |action: &Action| matches!(action, Action::Dress { attributes, .. } if attributes.mac.is_zero());
    assert!(deeds(&found).iter().any(undressed), "{found:?}");
}

#[test]
fn a_vm_that_was_stopped_with_its_vf_runs_on() {
    let (mut observed, mut memory, id) = back(true);
    memory.moves.clear();
    observed.vms[0].state = VmState::Paused;
    let ends = |observed: &Observed, memory: &Memory| {
        let end = Action::EndJob { vm: id.vm };
        deeds(&at(observed, memory, NOW)).contains(&end)
    };
    assert!(!ends(&observed, &memory), "somebody suspended it");
    observed.vms[0].job = Some(VmJob::Outgoing);
    assert!(!ends(&observed, &memory), "its tap is not open yet");
    open(&mut observed, &mut memory, id);
    memory.told.insert("vnet1".parse().unwrap(), Hold::Pass);
    assert!(ends(&observed, &memory));
    observed.adapters[0].vfs[0].active_vectors = 0;
    assert!(!ends(&observed, &memory), "its guest has given it up");
}

#[test]
fn a_parked_vm_is_brought_back_and_says_so() {
    let mut wish = low();
    wish.vms[0].parked = true;
    for (observed, expected) in [(accelerated(), vec![Going::Back]), (settled(), vec![])] {
        let plan = planned(&observed, &wish);
        assert_eq!(directions(&plan), expected);
        let codes = plan.vm_problems[&observed.vms[0].uuid].iter();
        assert!(codes.map(|problem| problem.code).eq([Code::VmParked]));
    }
}

#[test]
fn a_vm_is_migrated_when_it_is_off_its_vf_and_no_more_than_two_at_a_time() {
    let to: Name = "node2".parse().unwrap();
    let mut wish = low();
    (wish.vms[0].parked, wish.vms[0].migrate_to) = (true, Some(to.clone()));
    let vm = settled().vms[0].uuid;
    let goes = Action::Migrate { vm, to };
    let migrates = |observed: &Observed, memory: &Memory| {
        deeds(&plan(observed, &wish, memory, NOW)).contains(&goes)
    };
    let (on_vf, on_tap) = (accelerated(), settled());
    assert!(!migrates(&on_vf, &memory_after(&on_vf, &wish)));
    let memory = memory_after(&on_tap, &wish);
    assert!(migrates(&on_tap, &memory));
    for (job, state) in [
        (Some(VmJob::Outgoing), VmState::Running),
        (None, VmState::Paused),
    ] {
        let mut busy = on_tap.clone();
        (busy.vms[0].job, busy.vms[0].state) = (job, state);
        assert!(!migrates(&busy, &memory), "{job:?} {state:?}");
    }
    let lanes = |others: &[u128]| Memory {
        lanes: others
            .iter()
            .map(|vm| Lane::Migration(Uuid::from_u128(*vm)))
            .collect(),
        ..memory.clone()
    };
    assert!(migrates(&on_tap, &lanes(&[77])));
    assert!(!migrates(&on_tap, &lanes(&[77, 78])));
    let itself = Memory {
        lanes: BTreeSet::from([Lane::Migration(vm)]),
        ..memory.clone()
    };
    assert!(!migrates(&on_tap, &itself));
    let resting = Memory {
        resting: BTreeSet::from([vm]),
        ..memory.clone()
    };
    assert!(!migrates(&on_tap, &resting));
    // Nobody wants it any more.
    let ended = Action::EndMigration { vm };
    assert!(!deeds(&plan(&on_tap, &wish, &itself, NOW)).contains(&ended));
    let taken_back = plan(&on_tap, &low(), &itself, NOW);
    assert!(deeds(&taken_back).contains(&ended));
    assert_eq!(
        directions(&taken_back),
        [],
        "nothing is plugged before that"
    );
}

#[test]
fn what_qemu_has_left_of_a_vf_is_ended_before_the_next_plug() {
    let mut observed = settled();
    let pid = observed.vms[0].pid.unwrap();
    observed.adapters[0].vfs[3].user = VfUser::Process {
        pid,
        command: "qemu".into(),
    };
    let NicId { vm, mac } = nic(&observed, 0);
    let release = Action::Release { vm, mac };
    // The VM's own pid: both VMs of the fixture have it.
    observed.vms[1].pid = Some(pid + 1);
    let done = actions(&observed, &desired(None));
    assert_eq!(done, std::slice::from_ref(&release));
    // What was seen before the VM was is not known to be left.
    let mut older = memory(&observed);
    older.host_is_newer = false;
    assert_eq!(deeds(&plan(&observed, &desired(None), &older, NOW)), []);
    // QEMU says so itself.
    let mut told = memory(&settled());
    told.left.insert(NicId { vm, mac });
    let done = deeds(&plan(&settled(), &desired(None), &told, NOW));
    assert_eq!(done, [release]);
}

#[test]
fn nothing_is_begun_on_what_was_not_seen() {
    type Change = fn(&mut Observed);
    let unseen: [Change; 3] = [
        |observed| {
            observed.stale.insert(observed.vms[0].uuid);
        },
        |observed| observed.policy.clear(),
        |observed| observed.hypervisor_answers = false,
    ];
    assert_eq!(directions(&planned(&settled(), &low())), [Going::ToVf]);
    for change in unseen {
        let mut observed = settled();
        change(&mut observed);
        assert_eq!(directions(&planned(&observed, &low())), []);
    }
}

/// One that comes in takes half a minute, and nobody waits for it.
#[test]
fn a_vm_that_was_not_seen_keeps_the_vf_that_its_process_has_and_no_other_back() {
    let mut observed = settled();
    observed.unseen_vms.push(UnseenVm {
        uuid: Uuid::from_u128(9),
        name: "vm9".into(),
        state: VmState::Running,
        job: None,
        because: "?".into(),
    });
    let free = observed.adapters[0].vfs.clone();
    for vf in &mut observed.adapters[0].vfs[..6] {
        vf.user = VfUser::Process {
            pid: 9,
            command: "qemu".into(),
        };
    }
    let (place, ..) = to_vf(&planned(&observed, &low()));
    assert_eq!(place.vf, free[6].pci);
}

#[test]
fn after_a_failure_the_way_back_is_tried_sooner_than_the_way_there() {
    let vm = settled().vms[0].uuid;
    type Rest = fn(&mut Memory, Uuid);
    let rests: [(Rest, &[Going], &[Going]); 3] = [
        (
            |memory, vm| {
                memory.resting.insert(vm);
            },
            &[],
            &[Going::Back],
        ),
        (
            |memory, vm| {
                memory.resting_all.insert(vm);
            },
            &[Going::ToVf],
            &[],
        ),
        // It came in a moment ago.
        (
            |memory, vm| {
                memory.fresh.insert(vm);
            },
            &[],
            &[Going::Back],
        ),
    ];
    for (rest, there, back) in rests {
        let mut memory = memory(&settled());
        rest(&mut memory, vm);
        let began =
            |observed: &Observed, level| directions(&plan(observed, &desired(level), &memory, NOW));
        assert_eq!(began(&settled(), Some(Performance::Low)), there);
        assert_eq!(began(&accelerated(), None), back);
    }
}

#[test]
fn a_vf_that_is_not_what_we_gave_is_taken_away() {
    let id = nic(&accelerated(), 0);
    let began = |change: fn(&mut Observed), memory: &Memory| {
        let mut observed = accelerated();
        change(&mut observed);
        directions(&plan(&observed, &low(), memory, NOW))
    };
    let mut memory = memory(&accelerated());
    // It came with a restore: no address, another's device, or one that QEMU does not have at all.
    let bare: fn(&mut Observed) = |observed| {
        observed.adapters[0].vfs[0].attributes = VfAttributes::baseline();
    };
    let strange: fn(&mut Observed) = |observed| {
        observed.vms[0].hostdevs[0].pci.bus = 7;
    };
    let closed: fn(&mut Observed) = |observed| {
        observed.adapters[0].vfs[0].user = VfUser::Nobody;
    };
    for change in [bare, strange, closed] {
        assert_eq!(began(change, &memory), [Going::Back]);
    }
    memory.host_is_newer = false;
    assert_eq!(began(closed, &memory), [], "its QEMU may open it by now");
    // That its address was given up at its last stop was our doing: it gets it again.
    memory.undressed.insert(id);
    assert_eq!(began(bare, &memory), []);
}

#[test]
fn only_some_switch_overs_go_on_at_a_time() {
    let observed = settled_with(7);
    let mut wish = low();
    wish.vms = (1..=7)
        .map(|vm| super::wish(vm, Some(Performance::Low)))
        .collect();
    let first = begun(&plan(&observed, &wish, &memory(&observed), NOW));
    let devices: BTreeSet<PciAddress> = first.iter().map(Move::device).collect();
    assert_eq!((first.len(), devices.len()), (MOVES, MOVES));
    let mut memory = memory_after(&observed, &wish);
    memory.moves = first.into_iter().map(|going| (going.nic, going)).collect();
    let next = plan(&observed, &wish, &memory, NOW);
    assert_eq!(begun(&next), []);
    assert_eq!(next.turns, []);
}
