mod bonds;
mod isolation;
mod levels;
mod moves;
mod pairs;

use accelnet_model::{
    ClusterEnable, Code, FdbEntry, MacAddr, NodeDesired, Performance, PolicyFinding, PolicyKind,
    VfAttributes, VfUser, VmDesired, WhenToCreateVfs,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    fixture,
    moves::{Goal, VfPlace},
    phase::Going,
};

/// Any moment: plans go by differences of time only.
const NOW: Duration = Duration::from_secs(1000);

pub fn desired(level: Option<Performance>) -> NodeDesired {
    NodeDesired {
        generation: 1,
        intents: vec![fixture::intent()],
        enabled: Some(ClusterEnable {
            intent: fixture::intent().name,
            node_reserve_percentage: 50,
            nodes_down: None,
            when: WhenToCreateVfs::Now,
        }),
        vms: vec![wish(1, level)],
        isolated: Vec::new(),
    }
}

fn wish(vm: u128, level: Option<Performance>) -> VmDesired {
    VmDesired {
        uuid: Uuid::from_u128(vm),
        level,
        prepare: false,
        add_nic: None,
        parked: false,
        migrate_to: None,
        waived: Vec::new(),
    }
}

fn entry(mac: MacAddr) -> FdbEntry {
    FdbEntry {
        mac,
        vlan: None,
        local: false,
        fixed: true,
        sticky: false,
    }
}

/// A node on which the software path is as it shall be, with so many VMs.
fn settled_with(vms: u8) -> Observed {
    let mut observed = fixture::observed();
    let bridge = &mut observed.bridges[0];
    bridge.mac_pinned = true;
    for number in 3..=vms {
        let vm = fixture::vm(number);
        let tap = vm.nics[0].tap.as_ref().unwrap();
        bridge.ports.push(fixture::port(tap.as_str(), None));
        observed.vms.push(vm);
    }
    observed.adapters[0].filter = vec![bridge.mac];
    for (vm, port) in observed.vms.iter().zip(&mut bridge.ports[1..]) {
        let mac = vm.nics[0].mac;
        (port.fdb, port.hold_queue) = (vec![entry(mac)], true);
        observed.adapters[0].filter.push(mac);
        observed.policy.insert((vm.uuid, mac), vec![]);
    }
    observed
}

fn settled() -> Observed {
    settled_with(2)
}

/// The NIC of a VM (from 0).
fn nic(observed: &Observed, vm: usize) -> NicId {
    let vm = &observed.vms[vm];
    NicId {
        vm: vm.uuid,
        mac: vm.nics[0].mac,
    }
}

/// The VM is on the VF of the same number, and nothing is left to do.
fn accelerate(observed: &mut Observed, vm: usize) {
    fixture::put_on_vf(observed, vm, vm);
    let mac = observed.vms[vm].nics[0].mac;
    observed.adapters[0].filter.retain(|other| *other != mac);
    let ports = &mut observed.bridges[0].ports;
    (ports[vm + 1].flood, ports[vm + 1].fdb) = (false, vec![]);
    ports[0].fdb.push(entry(mac));
}

/// VM 1 uses VF 0 and nothing is left to do.
fn accelerated() -> Observed {
    let mut observed = settled();
    accelerate(&mut observed, 0);
    observed
}

/// Every hold queue was told to pass, every tap has room, and the machine was seen last.
fn memory(observed: &Observed) -> Memory {
    let ports = observed.bridges.iter().flat_map(|bridge| &bridge.ports);
    let names = ports.map(|port| port.ifname.clone());
    Memory {
        told: names.clone().map(|name| (name, Hold::Pass)).collect(),
        roomy: names.collect(),
        host_is_newer: true,
        ..Memory::default()
    }
}

/// The same after a pass: phases are known.
fn memory_after(observed: &Observed, desired: &NodeDesired) -> Memory {
    let mut memory = memory(observed);
    note(&plan(observed, desired, &memory, NOW), &mut memory);
    memory
}

fn note(plan: &Plan, memory: &mut Memory) {
    let nics = plan.nics.iter();
    memory.pasts = nics.map(|(id, nic)| (*id, nic.past)).collect();
}

/// What is planned, without the NICs that it is for.
pub fn deeds(plan: &Plan) -> Vec<Action> {
    let actions = plan.actions.iter();
    actions.map(|(_, action)| action.clone()).collect()
}

fn planned(observed: &Observed, desired: &NodeDesired) -> Plan {
    plan(observed, desired, &memory(observed), NOW)
}

fn actions(observed: &Observed, desired: &NodeDesired) -> Vec<Action> {
    deeds(&planned(observed, desired))
}

/// Switch-overs that begin.
fn begun(plan: &Plan) -> Vec<Move> {
    let turns = plan.turns.iter();
    let begun = turns.filter_map(|(_, turn)| match turn {
        Turn::Begin(begun) => Some((**begun).clone()),
        Turn::Over | Turn::InVain(_) => None,
    });
    begun.collect()
}

/// The only switch-over that begins, which goes to a VF.
fn to_vf(plan: &Plan) -> (VfPlace, VfAttributes, Option<u32>) {
    match &begun(plan)[..] {
        [
            Move {
                goal:
                    Goal::ToVf {
                        place,
                        attributes,
                        vectors,
                    },
                ..
            },
        ] => (place.clone(), attributes.clone(), *vectors),
        other => panic!("{other:?}"),
    }
}

/// Directions of those that begin.
fn directions(plan: &Plan) -> Vec<Going> {
    begun(plan).iter().map(Move::going).collect()
}

fn learning(port: &str, on: bool) -> Action {
    Action::PortLearning {
        port: port.parse().unwrap(),
        on,
    }
}

fn flood(port: &str, on: bool) -> Action {
    Action::PortFlood {
        port: port.parse().unwrap(),
        on,
    }
}

#[test]
fn nothing_is_left_to_do_where_all_is_as_wanted() {
    let plan = planned(&settled(), &desired(None));
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.phase(nic(&settled(), 0)), Some(Phase::Tap));
    let plan = planned(&accelerated(), &desired(Some(Performance::Low)));
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.phase(nic(&settled(), 0)), Some(Phase::Vf));
    assert!(plan.nics.values().all(|nic| nic.settled));
}

#[test]
fn a_fresh_node_is_put_in_order_first() {
    let mut observed = fixture::observed();
    observed.adapters[0].vfs[0].driver = Some("igbvf".into());
    observed.adapters[0].vfs[1].attributes.vlan = 5;
    let done = deeds(&plan(&observed, &desired(None), &Memory::default(), NOW));
    let adapter = &observed.adapters[0];
    let (pf, vf) = (adapter.pci, adapter.vfs[0].pci);
    assert_eq!(
        done[0],
        Action::BindVf {
            pf,
            vf,
            driver: None
        }
    );
    assert!(matches!(done[1], Action::CleanVf { index: 1, .. }));
    assert!(matches!(done[2], Action::PinBridge { .. }));
    let count = |what: fn(&Action) -> bool| done.iter().filter(|action| what(action)).count();
    let filtered = count(|action| matches!(action, Action::Filter { present: true, .. }));
    assert_eq!(filtered, 3, "the bridge's address and two guests'");
    let entered = count(|action| matches!(action, Action::BridgeEntry { present: true, .. }));
    assert_eq!(entered, 2, "one of each guest");
    let hold = Hold::Pass;
    for tap in ["vnet1", "vnet2"] {
        let tap = tap.parse().unwrap();
        assert!(done.contains(&Action::HoldQueue { tap, hold }));
    }
    assert_eq!(done.len(), 10, "flags of ports stay as they were: {done:?}");
}

#[test]
fn the_bridge_stops_learning_only_while_both_paths_of_a_nic_are_open() {
    // Not for VFs that are made, nor for those that are there.
    let mut observed = settled();
    observed.adapters[0].vfs.clear();
    let done = actions(&observed, &desired(None));
    assert!(matches!(done[..], [Action::CreateVfs { count: 7, .. }]));

    // A guest whose driver is not there yet, and another one on its VF.
    let mut observed = settled();
    (0..2).for_each(|vm| accelerate(&mut observed, vm));
    let mut wish = desired(Some(Performance::Low));
    wish.vms.push(tests::wish(2, Some(Performance::Low)));
    let mut memory = memory_after(&observed, &wish);
    observed.adapters[0].vfs[0].active_vectors = 0;
    let done = deeds(&plan(&observed, &wish, &memory, NOW));
    assert_eq!(
        done[..2],
        [learning("pf0", false), learning("vnet1", false)]
    );
    assert!(!done.contains(&learning("vnet2", false)));

    // It stays off while one of them has both open, and comes back after the last.
    memory.learning_off = ["pf0", "vnet1"].map(|port| port.parse().unwrap()).into();
    memory.flood_off = memory.learning_off.clone();
    for port in &mut observed.bridges[0].ports[..2] {
        port.learning = false;
    }
    let done = deeds(&plan(&observed, &wish, &memory, NOW));
    assert!(
        !done
            .iter()
            .any(|action| matches!(action, Action::PortLearning { .. }))
    );
    observed.adapters[0].vfs[0].active_vectors = 3;
    let done = deeds(&plan(&observed, &wish, &memory, NOW));
    assert_eq!(done, [learning("vnet1", true), learning("pf0", true)]);
    // What somebody else turned off is not turned on.
    memory.learning_off.clear();
    memory.flood_off.clear();
    assert_eq!(deeds(&plan(&observed, &wish, &memory, NOW)), []);
}

#[test]
fn vfs_are_created_when_nothing_is_interrupted_or_it_was_asked_for() {
    let mut observed = settled();
    observed.adapters[0].vfs.clear();
    let mut wish = desired(None);
    let created = |observed: &Observed, wish: &NodeDesired| {
        actions(observed, wish).contains(&Action::CreateVfs {
            pf: observed.adapters[0].pci,
            count: 7,
        })
    };
    assert!(created(&observed, &wish));
    wish.enabled.as_mut().unwrap().when = WhenToCreateVfs::Empty;
    assert!(!created(&observed, &wish));
    let waiting = planned(&observed, &wish).problems;
    assert_eq!(waiting[0].code, Code::VfsWaiting);
    assert!(
        waiting[0].detail.contains("vm1") && waiting[0].detail.contains("br0"),
        "{}",
        waiting[0]
    );
    observed.bridges[0].has_host_address = false;
    observed.vms.clear();
    assert!(created(&observed, &wish));
    observed.hypervisor_answers = false;
    assert!(!created(&observed, &wish), "not seen is not none");
    observed.hypervisor_answers = true;
    wish.enabled.as_mut().unwrap().when = WhenToCreateVfs::Boot;
    assert!(!created(&observed, &wish));
}

#[test]
fn vfs_in_use_are_never_recreated() {
    let mut observed = settled();
    let mut wish = desired(None);
    wish.intents[0].vfs = accelnet_model::VfCount::Exactly(3);
    observed.adapters[0].vfs[6].user = VfUser::HostDriver {
        driver: "igbvf".into(),
    };
    let used = planned(&observed, &wish);
    let created = |action: &Action| matches!(action, Action::CreateVfs { .. });
    assert!(!deeds(&used).iter().any(created));
    assert_eq!(used.problems[0].code, Code::VfCountNotPossible);
    // Nor one that somebody opens in a moment; nor is that one cleaned.
    let mut observed = settled();
    let opened = &mut observed.adapters[0].vfs[6];
    opened.attributes.mac = MacAddr([2, 0, 0, 0, 0x99, 1]);
    let opened = opened.pci;
    let mut memory = Memory::default();
    assert!(
        deeds(&plan(&observed, &wish, &memory, NOW))
            .iter()
            .any(created)
    );
    memory.setting_up.insert(opened);
    let left_alone = plan(&observed, &wish, &memory, NOW);
    let of_adapter = |action: &Action| matches!(action.lane(), Lane::Adapter(_));
    assert!(!deeds(&left_alone).iter().any(of_adapter));
}

#[test]
fn a_wanted_vm_gets_a_clean_vf() {
    let mut observed = settled();
    observed.adapters[0].vfs[0].user = VfUser::Process {
        pid: 9,
        command: "dpdk".into(),
    };
    observed.adapters[0].vfs[1].attributes.vlan = 7;
    let plan = planned(&observed, &desired(Some(Performance::Medium)));
    let (place, attributes, _) = to_vf(&plan);
    assert_eq!(
        place.index, 2,
        "the first is another's, the second not clean yet"
    );
    assert_eq!(
        attributes,
        VfAttributes::for_mac(observed.vms[0].nics[0].mac)
    );
    let (pf, vf) = (observed.adapters[0].pci, observed.adapters[0].vfs[0].pci);
    assert!(!deeds(&plan).contains(&Action::BindVf {
        pf,
        vf,
        driver: None
    }));
}

#[test]
fn what_is_refused_says_why_and_does_nothing() {
    let mut observed = settled();
    observed.vms[0].nics[0].queues_config = 4;
    let plan = planned(&observed, &desired(Some(Performance::High)));
    assert!(plan.is_empty(), "{plan:?}");
    let codes: Vec<_> = plan.vm_problems[&Uuid::from_u128(1)]
        .iter()
        .map(|problem| problem.code)
        .collect();
    assert!(
        codes.contains(&Code::CannotProvisionPerformance),
        "{codes:?}"
    );
}

#[test]
fn a_rule_added_later_brings_the_vm_back() {
    let mut observed = accelerated();
    let (place, rule) = ("vnet1".to_owned(), "isolated".to_owned());
    observed.vms[0].nics[0].policy = vec![PolicyFinding {
        kind: PolicyKind::Isolation,
        place,
        rule,
        name: Some("tap/isolated".into()),
    }];
    let mut waived = desired(Some(Performance::Low));
    waived.vms[0].waived = vec!["tap/isolated".into()];
    assert_eq!(directions(&planned(&observed, &waived)), []);
    let plan = planned(&observed, &desired(Some(Performance::Low)));
    assert_eq!(directions(&plan), [Going::Back]);
    assert_eq!(deeds(&plan), []);
    assert_eq!(
        plan.vm_problems[&Uuid::from_u128(1)][0].code,
        Code::PolicyNotOffloadable
    );
}

#[test]
fn a_guest_that_restarts_is_served_by_software_meanwhile() {
    let mut observed = accelerated();
    let wish = desired(Some(Performance::Low));
    let mut memory = memory_after(&observed, &wish);
    observed.adapters[0].vfs[0].active_vectors = 0;
    let mac = observed.vms[0].nics[0].mac;
    let (pf, tap): (IfName, IfName) = ("pf0".parse().unwrap(), "vnet1".parse().unwrap());
    memory.learning_off.insert(tap.clone());
    memory.flood_off.insert(tap.clone());
    let gone = |port: &IfName| Action::BridgeEntry {
        port: port.clone(),
        mac,
        vlan: None,
        present: false,
    };
    let filter = |present| Action::Filter {
        pf: pf.clone(),
        mac,
        present,
    };
    let found = plan(&observed, &wish, &memory, NOW);
    assert_eq!(
        deeds(&found),
        [
            learning("pf0", false),
            learning("vnet1", false),
            // Its frames have no entry then, and the bridge must reach it.
            flood("vnet1", true),
            filter(true),
            gone(&tap),
            gone(&pf),
        ]
    );
    assert!(found.turns.is_empty(), "nothing waits for the guest");
    // All of that was done, and the guest is back for long enough.
    note(&found, &mut memory);
    memory
        .forgotten
        .insert(nic(&observed, 0), [pf.clone(), tap].into());
    memory.learning_off.insert(pf.clone());
    observed.adapters[0].vfs[0].active_vectors = 3;
    observed.adapters[0].filter.push(mac);
    for port in &mut observed.bridges[0].ports[..2] {
        (port.learning, port.flood) = (false, true);
        port.fdb.clear();
    }
    let later = NOW + Duration::from_secs(3);
    memory.counted.insert(nic(&observed, 0), later);
    let back = plan(&observed, &wish, &memory, later);
    let entry = Action::BridgeEntry {
        port: pf.clone(),
        mac,
        vlan: None,
        present: true,
    };
    assert_eq!(
        deeds(&back),
        [
            entry,
            filter(false),
            flood("vnet1", false),
            learning("vnet1", true),
            learning("pf0", true),
        ]
    );
}

#[test]
fn what_a_crash_left_is_repaired() {
    let mut observed = settled();
    let port = &mut observed.bridges[0].ports[1];
    (port.learning, port.flood) = (false, false);
    let tap = port.ifname.clone();
    let mut memory = memory(&observed);
    let done = |memory: &Memory| deeds(&plan(&observed, &desired(None), memory, NOW));
    // What somebody else turned off is not turned on.
    assert_eq!(done(&memory), []);
    memory.told.remove(&tap);
    memory.learning_off.insert(tap.clone());
    memory.flood_off.insert(tap.clone());
    let hold = Hold::Pass;
    assert_eq!(
        done(&memory),
        [
            flood("vnet1", true),
            Action::HoldQueue { tap, hold },
            learning("vnet1", true),
        ]
    );
}

#[test]
fn taps_of_the_software_path_are_flooded_as_they_were() {
    // The bridge learns at the uplink: it knows what is there, and taps get no more than without us.
    let mut observed = settled();
    assert_eq!(actions(&observed, &desired(None)), []);
    observed.bridges[0].ports[1].fdb.push(FdbEntry {
        fixed: false,
        ..entry(MacAddr([2, 0, 0, 0, 0, 9]))
    });
    observed.adapters[0]
        .filter
        .push(MacAddr([2, 0, 0, 0, 0, 9]));
    assert_eq!(actions(&observed, &desired(None)), []);
    observed.bridges[0].ports[1].flood = false;
    assert_eq!(actions(&observed, &desired(None)), [], "it was not we");
    let mut memory = memory(&observed);
    memory.flood_off.insert("vnet1".parse().unwrap());
    let done = deeds(&plan(&observed, &desired(None), &memory, NOW));
    assert_eq!(done, [flood("vnet1", true)]);
}

#[test]
fn a_guest_that_invents_addresses_does_not_fill_the_card() {
    let mut observed = settled();
    let others = (0..200).map(|number| FdbEntry {
        fixed: false,
        ..entry(MacAddr([2, 0, 0, 0, 1, number]))
    });
    observed.bridges[0].ports[1].fdb.extend(others);
    let done = actions(&observed, &desired(None));
    let added = |action: &Action| matches!(action, Action::Filter { present: true, .. });
    assert!(done.iter().all(added));
    assert_eq!(done.len(), 16);
}

#[test]
fn taps_are_let_go_when_acceleration_is_disabled() {
    let mut observed = accelerated();
    observed.bridges[0].ports[2].flood = false;
    let mut wish = desired(None);
    wish.enabled = None;
    let mut memory = memory(&observed);
    let taps = observed.bridges[0].ports[1..].iter();
    memory
        .flood_off
        .extend(taps.map(|port| port.ifname.clone()));
    let done = deeds(&plan(&observed, &wish, &memory, NOW));
    assert_eq!(
        done,
        [flood("vnet2", true)],
        "but for the guest's on its VF"
    );
}

#[test]
fn a_tap_whose_guest_is_on_its_vf_is_not_flooded() {
    let mut observed = accelerated();
    observed.bridges[0].ports[1].flood = true;
    let wish = desired(Some(Performance::Low));
    let off = [flood("vnet1", false)];
    assert_eq!(actions(&observed, &wish), off);
    // Not while both paths are open.
    observed.adapters[0].vfs[0].active_vectors = 0;
    assert!(!actions(&observed, &wish).contains(&off[0]));
}

#[test]
fn disabled_means_hands_off() {
    let mut wish = desired(Some(Performance::Low));
    wish.enabled = None;
    let nothing = plan(&fixture::observed(), &wish, &Memory::default(), NOW);
    assert_eq!(nothing, Plan::default());
    let plan = planned(&accelerated(), &desired(None));
    assert_eq!(directions(&plan), [Going::Back], "enabled and not wanted");
}

proptest! {
    /// Whatever the state of VFs: those of others are not touched, none is given out twice.
    #[test]
    fn foreign_vfs_are_left_alone(
        users in prop::collection::vec(0u8..4, 7),
        drivers in prop::collection::vec(0u8..3, 7),
        vlans in prop::collection::vec(0u16..3, 7),
        wanted in any::<bool>(),
    ) {
        let mut observed = settled();
        for (i, vf) in observed.adapters[0].vfs.iter_mut().enumerate() {
            vf.user = match users[i] {
                0 => VfUser::Process { pid: 7, command: "x".into() },
                1 => VfUser::HostDriver { driver: "igbvf".into() },
                _ => VfUser::Nobody,
            };
            vf.driver = [Some("vfio-pci".to_owned()), Some("igbvf".to_owned()), None][drivers[i] as usize].clone();
            vf.attributes.vlan = vlans[i];
        }
        let mut wish = desired(wanted.then_some(Performance::Low));
        wish.vms.push(tests::wish(2, Some(Performance::Low)));
        let first = planned(&observed, &wish);
        // They go on in the next pass: so does nobody else with the same VF.
        let mut memory = memory(&observed);
        memory.moves = begun(&first).into_iter().map(|going| (going.nic, going)).collect();
        let next = plan(&observed, &wish, &memory, NOW);
        let mut given: Vec<PciAddress> = begun(&first).iter().chain(&begun(&next)).map(Move::device).collect();
        let touched = deeds(&first).into_iter().chain(deeds(&next)).filter_map(|action| match action {
            Action::BindVf { vf, .. } | Action::CleanVf { vf, .. } | Action::VfVectors { vf, .. }
            | Action::Dress { vf, .. } | Action::Plug { vf, .. } => Some(Ok(vf)),
            Action::CreateVfs { .. } => Some(Err("recreated")),
            _ => None,
        });
        for touched in touched.chain(given.clone().into_iter().map(Ok)) {
            let (_, vf) = observed.vf(touched.map_err(TestCaseError::fail)?).unwrap();
            prop_assert_eq!(&vf.user, &VfUser::Nobody);
        }
        let count = given.len();
        given.sort();
        given.dedup();
        prop_assert_eq!(given.len(), count, "a VF was given out twice");
    }
}
