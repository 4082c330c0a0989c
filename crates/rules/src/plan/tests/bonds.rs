//! An active-backup bond as the bridge's uplink.

use super::*;

/// A settled node, whose uplink is a bond; its VMs are on VFs of `pf0`, which the bond uses.
fn bonded_with(vms: u8) -> Observed {
    let mut observed = fixture::bonded();
    let mut single = settled_with(vms);
    (0..usize::from(vms)).for_each(|vm| accelerate(&mut single, vm));
    (observed.vms, observed.policy) = (single.vms, single.policy);
    observed.adapters[0].vfs = single.adapters[0].vfs.clone();
    let mut bridge = single.bridges[0].clone();
    bridge.ports[0].ifname = "bond0".parse().unwrap();
    for adapter in &mut observed.adapters {
        adapter.filter = single.adapters[0].filter.clone();
    }
    observed.bridges[0] = bridge;
    observed
}

/// The same of two VMs, of which the second has no VF.
fn bonded() -> Observed {
    let mut observed = bonded_with(1);
    let single = accelerated();
    observed.vms = single.vms;
    observed.bridges[0].ports[1..].clone_from_slice(&single.bridges[0].ports[1..]);
    for adapter in &mut observed.adapters {
        adapter.filter = single.adapters[0].filter.clone();
    }
    observed.policy = single.policy;
    observed
}

fn wish() -> NodeDesired {
    let mut wish = desired(Some(Performance::Low));
    wish.intents[0].adapters.push("pf1".parse().unwrap());
    wish
}

fn use_member(observed: &mut Observed, member: &str) {
    observed.bridges[1].bond.as_mut().unwrap().active = member.parse().ok();
}

#[test]
fn a_vm_on_a_vf_of_the_used_member_is_left_there() {
    let plan = planned(&bonded(), &wish());
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.phase(nic(&bonded(), 0)), Some(Phase::Vf));
}

#[test]
fn entries_are_at_the_bond_and_filters_at_its_members() {
    let mut observed = bonded();
    observed.adapters[1].filter.clear();
    observed.bridges[0].ports[0].fdb.clear();
    let memory = memory_after(&bonded(), &wish());
    let done = deeds(&plan(&observed, &wish(), &memory, NOW));
    let at_bond = Action::BridgeEntry {
        port: "bond0".parse().unwrap(),
        mac: observed.vms[0].nics[0].mac,
        vlan: None,
        present: true,
    };
    let (filters, rest): (Vec<_>, Vec<_>) = done.into_iter().partition(
        |action| matches!(action, Action::Filter { pf, present: true, .. } if pf.as_str() == "pf1"),
    );
    assert_eq!(filters.len(), 2, "the bridge's and the other guest's");
    assert_eq!(rest, [at_bond]);
}

#[test]
fn a_failover_takes_vms_back_and_on_to_the_other() {
    let mut observed = bonded();
    let memory = memory_after(&observed, &wish());
    use_member(&mut observed, "pf1");
    let found = plan(&observed, &wish(), &memory, NOW);
    let [back] = &begun(&found)[..] else {
        panic!("{found:?}")
    };
    let device = observed.adapters[0].vfs[0].pci;
    assert_eq!(back.goal, Goal::Back { device, used: true });
    // Where the driver can do that, the guest sees that its VF leads nowhere.
    let link = |action: &Action| match action {
        Action::Dress { attributes, .. } => Some(attributes.link),
        _ => None,
    };
    let down = accelnet_model::Support::Supported(accelnet_model::VfLink::Down);
    let links: Vec<_> = deeds(&found).iter().filter_map(link).collect();
    assert_eq!(links, [down]);

    let mut observed = bonded();
    use_member(&mut observed, "pf1");
    observed.vms[0].hostdevs.clear();
    observed.adapters[0].vfs = fixture::adapter(7).vfs;
    let mac = observed.vms[0].nics[0].mac;
    for adapter in &mut observed.adapters {
        adapter.filter.push(mac);
    }
    let (place, ..) = to_vf(&planned(&observed, &wish()));
    assert_eq!(place.uplink.as_str(), "pf1");
}

#[test]
fn after_a_failover_all_are_reached_at_once_also_those_that_rest() {
    const VMS: u8 = 7;
    let mut observed = bonded_with(VMS);
    let mut wish = wish();
    wish.vms = (1..=u128::from(VMS))
        .map(|vm| super::wish(vm, Some(Performance::Low)))
        .collect();
    let mut memory = memory_after(&observed, &wish);
    assert!(memory.pasts.values().all(|past| past.phase == Phase::Vf));
    let taps = observed.bridges[0].ports.iter().filter(|port| !port.flood);
    memory.flood_off = taps.map(|port| port.ifname.clone()).collect();
    memory.resting_all = [observed.vms[6].uuid].into();
    memory.resting = memory.resting_all.clone();
    use_member(&mut observed, "pf1");
    let found = plan(&observed, &wish, &memory, NOW);
    for vm in 0..usize::from(VMS) {
        let id = nic(&observed, vm);
        assert_eq!(found.phase(id), Some(Phase::Both));
        for pf in ["pf0", "pf1"] {
            let (pf, mac, present) = (pf.parse().unwrap(), id.mac, true);
            assert!(deeds(&found).contains(&Action::Filter { pf, mac, present }));
        }
        let (port, mac, present) = ("bond0".parse().unwrap(), id.mac, false);
        assert!(deeds(&found).contains(&Action::BridgeEntry {
            port,
            mac,
            vlan: None,
            present
        }));
    }
    // The one that a move just failed for is left for now.
    assert_eq!(directions(&found), [Going::Back; VMS as usize - 1]);
    // Their guests are cut off until they have given up the VF: it is asked for in the same pass.
    let moves = begun(&found).into_iter();
    memory.moves.extend(moves.map(|going| (going.nic, going)));
    let found = plan(&observed, &wish, &memory, NOW);
    let unplugged = |action: &&Action| matches!(action, Action::Unplug { .. });
    assert_eq!(
        deeds(&found).iter().filter(unplugged).count(),
        VMS as usize - 1
    );
}

#[test]
fn without_any_used_member_nobody_moves() {
    let mut observed = bonded();
    observed.bridges[1].bond.as_mut().unwrap().active = None;
    let plan = planned(&observed, &wish());
    assert!(plan.is_empty(), "{plan:?}");
}
