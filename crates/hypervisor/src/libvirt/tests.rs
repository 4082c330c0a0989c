//! With libvirt's own test driver, which lives in this process.

use super::*;

/// A node with one running VM (libvirt, src/test/test_driver.c).
fn libvirt() -> Libvirt {
    Libvirt::new("test:///default")
}

#[test]
fn vms_are_seen_and_their_life_is_told() {
    let libvirt = libvirt();
    let (sender, events) = mpsc::channel();
    libvirt.watch(sender).unwrap();
    assert_eq!(events.try_recv(), Ok(HypervisorEvent::Connected));
    let seen = libvirt.observe_vms().unwrap();
    let [vm] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!((vm.name.as_str(), vm.state), ("test", VmState::Running));
    let facts = vm.facts.as_ref().unwrap();
    assert_eq!((facts.name.as_str(), facts.uuid), ("test", vm.uuid));

    let domain = libvirt.domain(vm.uuid).unwrap();
    domain.suspend().unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(events.recv_timeout(hour), Ok(HypervisorEvent::Vm(vm.uuid)));
    let paused = &libvirt.observe_vms().unwrap()[0];
    assert_eq!((paused.state, paused.job), (VmState::Paused, None));
    libvirt.end_job(vm.uuid).unwrap();
    let paused = &libvirt.observe_vms().unwrap()[0];
    assert_eq!(
        paused.state,
        VmState::Paused,
        "a user's suspension is no job"
    );
}

#[test]
fn a_vm_that_is_not_there_is_told_from_a_libvirt_that_is_not() {
    let nobody = Uuid::from_u128(9);
    let deadline = Duration::from_secs(1);
    let pci = "0000:01:10.0".parse().unwrap();
    let there = libvirt();
    let detached = there.detach_vf(nobody, pci, deadline);
    assert_eq!(detached, Err(HypervisorError::NoSuchVm(nobody)));
    let nowhere = Libvirt::new("test:///nowhere.xml");
    for _ in 0..2 {
        let detached = nowhere.detach_vf(nobody, pci, deadline);
        assert!(
            matches!(detached, Err(HypervisorError::Unavailable(_))),
            "{detached:?}"
        );
        assert!(nowhere.observe_vms().is_err());
    }
}
