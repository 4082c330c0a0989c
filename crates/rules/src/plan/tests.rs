mod bonds;

use accelnet_model::{
    ClusterEnable, Code, FdbEntry, NodeDesired, Performance, PolicyFinding, PolicyKind,
    VfAttributes, VfUser, VmDesired, WhenToCreateVfs,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::fixture;

mod levels;

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
        vms: vec![VmDesired {
            uuid: Uuid::from_u128(1),
            level,
            prepare: false,
            add_nic: None,
        }],
    }
}

/// A node on which the software path is as it shall be.
fn settled() -> Observed {
    let mut observed = fixture::observed();
    let bridge = &mut observed.bridges[0];
    bridge.mac_pinned = true;
    bridge.ports[0].learning = false;
    observed.adapters[0].filter = vec![bridge.mac];
    for (vm, port) in observed.vms.iter().zip(&mut bridge.ports[1..]) {
        let mac = vm.nics[0].mac;
        port.fdb = vec![FdbEntry {
            mac,
            vlan: None,
            local: false,
            fixed: true,
        }];
        (port.hold_queue, port.flood) = (true, false);
        observed.adapters[0].filter.push(mac);
    }
    observed
}

/// VM 1 uses VF 0 and nothing is left to do.
fn accelerated() -> Observed {
    let mut observed = settled();
    fixture::put_on_vf(&mut observed, 0, 0);
    let mac = observed.vms[0].nics[0].mac;
    observed.adapters[0].filter.retain(|other| *other != mac);
    observed.bridges[0].ports[1].fdb.clear();
    let tap = &mut observed.bridges[0].ports[1];
    (tap.learning, tap.flood) = (false, false);
    observed.bridges[0].ports[0].fdb.push(FdbEntry {
        mac,
        vlan: None,
        local: false,
        fixed: true,
    });
    observed
}

/// Every hold queue was told to pass.
fn memory(observed: &Observed) -> Memory {
    let ports = observed.bridges.iter().flat_map(|bridge| &bridge.ports);
    Memory {
        passing: ports.map(|port| port.ifname.clone()).collect(),
        ..Memory::default()
    }
}

fn actions(observed: &Observed, desired: &NodeDesired) -> Vec<Action> {
    plan(observed, desired, &memory(observed)).actions
}

#[test]
fn nothing_is_left_to_do_where_all_is_as_wanted() {
    assert_eq!(actions(&settled(), &desired(None)), []);
    assert_eq!(
        actions(&accelerated(), &desired(Some(Performance::Low))),
        []
    );
}

#[test]
fn a_fresh_node_is_put_in_order_first() {
    let mut observed = fixture::observed();
    observed.adapters[0].vfs[0].driver = Some("igbvf".into());
    observed.adapters[0].vfs[1].attributes.vlan = 5;
    let done = actions(&observed, &desired(None));
    let vf = &observed.adapters[0].vfs;
    assert_eq!(done[0], Action::BindVf { vf: vf[0].pci });
    assert!(matches!(done[1], Action::CleanVf { index: 1, .. }));
    assert!(matches!(done[2], Action::PinBridge { .. }));
    assert!(matches!(done[3], Action::PortLearning { on: false, .. }));
    let filtered = done
        .iter()
        .filter(|action| matches!(action, Action::Filter { present: true, .. }));
    assert_eq!(filtered.count(), 3, "the bridge's address and two guests'");
}

#[test]
fn vfs_are_made_only_when_the_uplink_has_stopped_learning() {
    let mut observed = fixture::observed();
    observed.adapters[0].vfs.clear();
    let port = observed.adapters[0].ifname.clone();
    let done = actions(&observed, &desired(None));
    assert_eq!(done, [Action::PortLearning { port, on: false }]);
    observed.bridges[0].ports[0].learning = false;
    let done = actions(&observed, &desired(None));
    assert!(matches!(done[..], [Action::CreateVfs { count: 7, .. }]));
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
    let waiting = plan(&observed, &wish, &Memory::default()).problems;
    assert_eq!(waiting[0].code, Code::VfsWaiting);
    assert!(
        waiting[0].detail.contains("vm1") && waiting[0].detail.contains("br0"),
        "{}",
        waiting[0]
    );
    observed.bridges[0].has_host_address = false;
    observed.vms.clear();
    assert!(created(&observed, &wish));
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
    let plan = plan(&observed, &wish, &Memory::default());
    assert!(
        !plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::CreateVfs { .. }))
    );
    assert_eq!(plan.problems[0].code, Code::VfCountNotPossible);
}

#[test]
fn a_wanted_vm_gets_a_clean_vf() {
    let mut observed = settled();
    observed.adapters[0].vfs[0].user = VfUser::Process {
        pid: 9,
        command: "dpdk".into(),
    };
    observed.adapters[0].vfs[1].attributes.vlan = 7;
    let done = actions(&observed, &desired(Some(Performance::Medium)));
    let Some(Action::Switch(switch)) = done.last() else {
        panic!("{done:?}")
    };
    assert!(switch.to_vf);
    assert_eq!(
        switch.vf_index, 2,
        "the first is another's, the second not clean yet"
    );
    assert_eq!(
        switch.attributes,
        VfAttributes::for_mac(observed.vms[0].nics[0].mac)
    );
    assert!(!done.iter().any(|action| *action
        == Action::BindVf {
            vf: observed.adapters[0].vfs[0].pci
        }));
}

#[test]
fn what_is_refused_says_why_and_does_nothing() {
    let mut observed = settled();
    observed.vms[0].nics[0].queues_config = 4;
    let plan = plan(
        &observed,
        &desired(Some(Performance::High)),
        &memory(&observed),
    );
    assert_eq!(plan.actions, []);
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
    }];
    let plan = plan(
        &observed,
        &desired(Some(Performance::Low)),
        &memory(&observed),
    );
    assert!(
        matches!(&plan.actions[..], [Action::Switch(switch)] if !switch.to_vf),
        "{:?}",
        plan.actions
    );
    assert_eq!(
        plan.vm_problems[&Uuid::from_u128(1)][0].code,
        Code::PolicyNotOffloadable
    );
}

#[test]
fn a_guest_that_restarts_is_served_by_software_meanwhile() {
    let mut observed = accelerated();
    observed.adapters[0].vfs[0].active_vectors = 0;
    let mac = observed.vms[0].nics[0].mac;
    let (pf, port) = (
        observed.adapters[0].ifname.clone(),
        observed.adapters[0].ifname.clone(),
    );
    let tap = observed.bridges[0].ports[1].ifname.clone();
    let mut memory = memory(&observed);
    memory.ports.insert(tap.clone());
    let wish = desired(Some(Performance::Low));
    assert_eq!(
        plan(&observed, &wish, &memory).actions,
        [
            // Its frames have no entry then, and the bridge must reach it.
            Action::PortFlood {
                port: tap,
                on: true
            },
            Action::Filter {
                pf,
                mac,
                present: true
            },
            Action::BridgeEntry {
                port,
                mac,
                present: false
            },
        ]
    );
    observed.adapters[0].vfs[0].active_vectors = 3;
    observed.adapters[0].filter.push(mac);
    let done = actions(&observed, &desired(Some(Performance::Low)));
    assert!(
        matches!(&done[..], [Action::Switch(switch)] if switch.to_vf),
        "{done:?}"
    );
}

#[test]
fn what_a_crash_left_is_repaired() {
    let mut observed = settled();
    let port = &mut observed.bridges[0].ports[1];
    (port.learning, port.flood) = (false, false);
    let tap = port.ifname.clone();
    let mut memory = memory(&observed);
    // What somebody else turned off is not turned on.
    assert_eq!(plan(&observed, &desired(None), &memory).actions, []);
    memory.passing.remove(&tap);
    memory.ports.insert(tap.clone());
    let mut passes = vec![
        Action::HoldQueuePass { tap: tap.clone() },
        Action::PortLearning {
            port: tap.clone(),
            on: true,
        },
    ];
    let done = |memory: &Memory| plan(&observed, &desired(None), memory).actions;
    assert_eq!(done(&memory), passes);
    // An address that the bridge has forgotten is reached by flooding only.
    memory.crowded.insert(tap.clone());
    passes.insert(
        1,
        Action::PortFlood {
            port: tap,
            on: true,
        },
    );
    assert_eq!(done(&memory), passes);
}

#[test]
fn guests_do_not_get_each_others_frames() {
    let mut observed = settled();
    let port = observed.bridges[0].ports[1].ifname.clone();
    let flood = |on| Action::PortFlood {
        port: port.clone(),
        on,
    };
    observed.bridges[0].ports[1].flood = true;
    assert_eq!(actions(&observed, &desired(None)), [flood(false)]);
    // Where the bridge does not know where the guest is, it is told first.
    let mut unknown = observed.clone();
    let entry = unknown.bridges[0].ports[1].fdb.pop().unwrap();
    let done = actions(&unknown, &desired(None));
    assert!(
        matches!(done[..], [Action::BridgeEntry { present: true, .. }]),
        "{done:?}"
    );
    // With VLANs an entry says less.
    let mut vlans = observed.clone();
    vlans.bridges[0].vlan_filtering = true;
    assert_eq!(actions(&vlans, &desired(None)), []);
    // Behind the tap there is another address.
    observed.bridges[0].ports[1].fdb.push(FdbEntry {
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        fixed: false,
        ..entry
    });
    let floods = |observed: &Observed, memory: &Memory| {
        let done = plan(observed, &desired(None), memory).actions;
        let mut floods = done.into_iter();
        floods.find(|action| matches!(action, Action::PortFlood { .. }))
    };
    let mut memory = memory(&observed);
    assert_eq!(floods(&observed, &memory), None);
    observed.bridges[0].ports[1].flood = false;
    assert_eq!(floods(&observed, &memory), None, "it was not we");
    memory.ports.insert(port.clone());
    assert_eq!(floods(&observed, &memory), Some(flood(true)));
}

#[test]
fn taps_are_let_go_when_acceleration_is_disabled() {
    let observed = accelerated();
    let mut wish = desired(None);
    wish.enabled = None;
    let mut memory = memory(&observed);
    let taps = observed.bridges[0].ports[1..].iter();
    memory.ports.extend(taps.map(|port| port.ifname.clone()));
    let done = plan(&observed, &wish, &memory).actions;
    let port = observed.bridges[0].ports[2].ifname.clone();
    let flood = Action::PortFlood { port, on: true };
    assert_eq!(done, [flood], "but for the guest's on its VF");
}

#[test]
fn a_tap_whose_guest_is_on_its_vf_is_not_flooded() {
    let mut observed = accelerated();
    let tap = &mut observed.bridges[0].ports[1];
    tap.flood = true;
    let port = tap.ifname.clone();
    let wish = desired(Some(Performance::Low));
    let off = [Action::PortFlood { port, on: false }];
    assert_eq!(actions(&observed, &wish), off);
    // Not while both paths are open.
    observed.adapters[0].vfs[0].active_vectors = 0;
    assert!(!actions(&observed, &wish).contains(&off[0]));
}

#[test]
fn disabled_means_hands_off() {
    let mut wish = desired(Some(Performance::Low));
    wish.enabled = None;
    assert_eq!(
        plan(&fixture::observed(), &wish, &Memory::default()),
        Plan::default()
    );
    assert_eq!(
        actions(&accelerated(), &desired(None)).len(),
        1,
        "enabled and not wanted: back"
    );
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
        wish.vms.push(VmDesired { uuid: Uuid::from_u128(2), level: Some(Performance::Low), prepare: false, add_nic: None });
        let plan = plan(&observed, &wish, &Memory::default());
        let mut given = Vec::new();
        for action in &plan.actions {
            let touched = match action {
                Action::BindVf { vf } | Action::CleanVf { vf, .. } => Some(*vf),
                Action::Switch(switch) => { given.push(switch.vf); Some(switch.vf) }
                Action::CreateVfs { .. } => { prop_assert!(false, "recreated"); None }
                _ => None,
            };
            if let Some(touched) = touched {
                let (_, vf) = observed.vf(touched).unwrap();
                prop_assert_eq!(&vf.user, &VfUser::Nobody);
            }
        }
        let count = given.len();
        given.sort();
        given.dedup();
        prop_assert_eq!(given.len(), count, "a VF was given out twice");
    }
}
