//! What somebody else paired with a NIC is left alone, whatever is wanted, and said.

use super::*;

/// VM 1 uses VF 0, by its own definition; its NIC's link is set down, as in the kernel's net_failover.rst.
fn paired() -> Observed {
    let mut observed = accelerated();
    let vm = &mut observed.vms[0];
    vm.hostdevs[0].mac = Some(vm.nics[0].mac);
    vm.hostdevs[0].alias = Some("hostdev0".into());
    vm.hostdevs_config = vec![vm.hostdevs[0].pci];
    vm.nics[0].link_up = false;
    // libvirt gave it what its definition says.
    observed.adapters[0].vfs[0].attributes.vlan = 42;
    observed
}

#[test]
fn it_is_never_unplugged_or_dressed() {
    let observed = paired();
    let vm = observed.vms[0].uuid;
    for (level, parked) in [
        (Some(Performance::Low), false),
        (None, false),
        (Some(Performance::Low), true),
    ] {
        let mut wish = desired(level);
        wish.vms[0].parked = parked;
        let plan = planned(&observed, &wish);
        assert_eq!(begun(&plan), [], "{level:?} {parked}");
        let touched = deeds(&plan).into_iter().any(|deed| {
            matches!(
                deed,
                Action::Dress { .. } | Action::CleanVf { .. } | Action::Unplug { .. }
            )
        });
        assert!(!touched, "{:?}", deeds(&plan));
        let codes: Vec<_> = plan.vm_problems[&vm]
            .iter()
            .map(|problem| problem.code)
            .collect();
        assert!(codes.contains(&Code::VfInUseByOthers), "{codes:?}");
        assert!(!codes.contains(&Code::PolicyNotOffloadable), "{codes:?}");
    }
}

#[test]
fn it_is_said_also_of_a_vm_that_nobody_asked_for() {
    let mut wish = desired(None);
    wish.vms.clear();
    let plan = planned(&paired(), &wish);
    assert_eq!(begun(&plan), []);
    let said = &plan.vm_problems[&paired().vms[0].uuid];
    assert_eq!((said.len(), said[0].code), (1, Code::VfInUseByOthers));
    assert_eq!(
        plan.nics[&nic(&paired(), 0)].past.phase,
        Phase::Vf,
        "frames go where the guest is"
    );
}
