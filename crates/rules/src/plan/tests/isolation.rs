//! Adapters that are taken out of the pool.

use super::*;

/// Both VMs are on VFs of `pf0`, and the bridge has a second uplink, `pf1`, with so many VFs.
fn two_uplinks(vfs: usize) -> (Observed, NodeDesired) {
    let mut observed = settled();
    (0..2).for_each(|vm| accelerate(&mut observed, vm));
    let mut second = fixture::bonded().adapters.remove(1);
    second.master = observed.adapters[0].master.clone();
    second.vfs.truncate(vfs);
    observed.adapters.push(second);
    let mut port = observed.bridges[0].ports[0].clone();
    port.ifname = "pf1".parse().unwrap();
    observed.bridges[0].ports.push(port);
    let mut wish = desired(Some(Performance::Low));
    wish.vms.push(super::wish(2, Some(Performance::Low)));
    wish.intents[0].adapters.push("pf1".parse().unwrap());
    // What the second adapter must receive for it does.
    for action in actions(&observed, &wish) {
        if let Action::Filter { pf, mac, present } = action {
            let mut adapters = observed.adapters.iter_mut();
            let adapter = adapters.find(|adapter| adapter.ifname == pf).unwrap();
            adapter.filter.retain(|other| *other != mac);
            adapter.filter.extend(present.then_some(mac));
        }
    }
    (observed, wish)
}

fn isolate(observed: &mut Observed, adapter: usize) {
    observed.adapters[adapter].isolated = Some("It flaps.".into());
}

#[test]
fn vms_leave_an_isolated_adapter_one_after_the_other_for_another_one() {
    let (mut observed, wish) = two_uplinks(7);
    let memory = memory_after(&observed, &wish);
    assert_eq!(begun(&plan(&observed, &wish, &memory, NOW)), []);
    isolate(&mut observed, 0);
    let found = plan(&observed, &wish, &memory, NOW);
    let [first] = &begun(&found)[..] else {
        panic!("{found:?}");
    };
    assert_eq!((first.nic, first.going()), (nic(&observed, 0), Going::Back));
    // While it goes nobody else does.
    let mut during = memory;
    during.moves.insert(first.nic, first.clone());
    assert_eq!(begun(&plan(&observed, &wish, &during, NOW)), []);
    // It is on its tap: its new VF comes before the next one's leave, and is not of the isolated adapter.
    observed.vms[0].hostdevs.clear();
    let freed = &mut observed.adapters[0].vfs[0];
    (freed.user, freed.active_vectors) = (VfUser::Nobody, 0);
    freed.attributes = VfAttributes::baseline();
    let mac = observed.vms[0].nics[0].mac;
    for adapter in &mut observed.adapters {
        adapter.filter.push(mac);
    }
    let (place, ..) = to_vf(&planned(&observed, &wish));
    assert_eq!(place.uplink.as_str(), "pf1");
}

#[test]
fn a_vm_without_another_vf_stays_where_it_is() {
    // None at all; none that is free; a level that the other one does not give.
    let (mut observed, wish) = two_uplinks(0);
    isolate(&mut observed, 0);
    assert_eq!(begun(&planned(&observed, &wish)), []);
    let (mut observed, wish) = two_uplinks(1);
    isolate(&mut observed, 0);
    observed.adapters[1].vfs[0].user = VfUser::Reserved;
    assert_eq!(begun(&planned(&observed, &wish)), []);
    // Both are out: nobody is given anything, and nobody loses it.
    let (mut observed, wish) = two_uplinks(7);
    (0..2).for_each(|adapter| isolate(&mut observed, adapter));
    assert_eq!(begun(&planned(&observed, &wish)), []);
    // One that rests after a failure, or just came, is not moved.
    let (mut observed, wish) = two_uplinks(7);
    isolate(&mut observed, 0);
    let mut memory = memory_after(&observed, &wish);
    memory.resting = observed.vms.iter().map(|vm| vm.uuid).collect();
    assert_eq!(begun(&plan(&observed, &wish, &memory, NOW)), []);
}

#[test]
fn nobody_is_given_a_vf_of_an_isolated_adapter_and_it_is_said_why() {
    let mut observed = settled();
    isolate(&mut observed, 0);
    let wish = desired(Some(Performance::Low));
    let found = planned(&observed, &wish);
    assert_eq!(begun(&found), []);
    let problems = &found.vm_problems[&observed.vms[0].uuid];
    assert_eq!(problems[0].code, Code::AdapterIsolated);
    assert!(problems[0].detail.contains("It flaps"), "{}", problems[0]);
    let level = Performance::Low;
    let memory = memory(&observed);
    let intent = &wish.intents[0];
    let given = free_vf(&observed, intent, &memory, &Plan::default(), level);
    assert_eq!(given, None, "nor one that comes in");
    // A level of a VM that is on it is as it was.
    let mut observed = accelerated();
    isolate(&mut observed, 0);
    let found = planned(&observed, &wish);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_bond_s_isolated_member_gives_nothing_when_it_is_used_again() {
    let mut observed = fixture::bonded();
    isolate(&mut observed, 0);
    let wish = {
        let mut wish = desired(Some(Performance::Low));
        wish.intents[0].adapters.push("pf1".parse().unwrap());
        wish
    };
    let intent = &wish.intents[0];
    let uplinks = |observed: &Observed| -> Vec<String> {
        let giving = observed.giving_uplinks(intent);
        giving.map(|adapter| adapter.ifname.to_string()).collect()
    };
    assert_eq!(uplinks(&observed), [""; 0]);
    observed.bridges[1].bond.as_mut().unwrap().active = "pf1".parse().ok();
    assert_eq!(uplinks(&observed), ["pf1"]);
}
