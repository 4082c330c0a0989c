//! An active-backup bond as the bridge's uplink.

use super::*;

/// The settled node, whose uplink is a bond; VM 1 is on a VF of `pf0`, which the bond uses.
fn bonded() -> Observed {
    let mut observed = fixture::bonded();
    let single = accelerated();
    observed.vms = single.vms.clone();
    observed.adapters[0].vfs = single.adapters[0].vfs.clone();
    let mut bridge = single.bridges[0].clone();
    bridge.ports[0].ifname = "bond0".parse().unwrap();
    for adapter in &mut observed.adapters {
        adapter.filter = single.adapters[0].filter.clone();
    }
    observed.bridges[0] = bridge;
    observed
}

fn wish() -> NodeDesired {
    let mut wish = desired(Some(Performance::Low));
    wish.intents[0].adapters.push("pf1".parse().unwrap());
    wish
}

#[test]
fn a_vm_on_a_vf_of_the_used_member_is_left_there() {
    assert_eq!(actions(&bonded(), &wish()), []);
}

#[test]
fn entries_are_at_the_bond_and_filters_at_its_members() {
    let mut observed = bonded();
    observed.bridges[0].ports[0].learning = true;
    observed.adapters[1].filter.clear();
    let done = actions(&observed, &wish());
    let port = "bond0".parse().unwrap();
    assert_eq!(done[0], Action::PortLearning { port, on: false });
    let at_backup = |action: &Action| matches!(action, Action::Filter { pf, present: true, .. } if pf.as_str() == "pf1");
    assert!(
        done.len() > 1 && done[1..].iter().all(at_backup),
        "{done:?}"
    );
}

#[test]
fn a_failover_takes_vms_back_and_on_to_the_other() {
    let mut observed = bonded();
    let active = |observed: &mut Observed, member: &str| {
        let bond = observed.bridges[1].bond.as_mut().unwrap();
        bond.active = member.parse().ok();
    };
    active(&mut observed, "pf1");
    let done = actions(&observed, &wish());
    let [Action::Switch(back)] = &done[..] else {
        panic!("{done:?}")
    };
    assert!(!back.to_vf);
    assert_eq!((back.uplink.as_str(), back.port.as_str()), ("pf0", "bond0"));

    observed.vms[0].hostdevs.clear();
    observed.adapters[0].vfs = fixture::adapter(7).vfs;
    let done = actions(&observed, &wish());
    let switches = done.iter().filter_map(|action| match action {
        Action::Switch(switch) => Some(switch),
        _ => None,
    });
    let switches: Vec<_> = switches.collect();
    assert_eq!(switches.len(), 1);
    assert!(switches[0].to_vf);
    assert_eq!(switches[0].uplink.as_str(), "pf1");
    assert_eq!(switches[0].port.as_str(), "bond0");
}

#[test]
fn without_any_used_member_nobody_moves() {
    let mut observed = bonded();
    observed.bridges[1].bond.as_mut().unwrap().active = None;
    assert_eq!(actions(&observed, &wish()), []);
}
