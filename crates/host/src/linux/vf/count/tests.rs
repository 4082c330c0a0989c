use std::cell::RefCell;

use super::*;
use crate::linux::fixture;

fn pf() -> PciAddress {
    "0000:01:00.0".parse().unwrap()
}

const PF: &str = "sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0";

fn no_interface(name: &IfName) -> Result<()> {
    panic!("{name} need not be set up")
}

#[test]
fn the_number_that_is_there_is_left_alone_but_drivers_are_kept_off() {
    let machine = fixture::igb();
    machine.write(&format!("{PF}/sriov_drivers_autoprobe"), "1\n");
    ensure(machine.root(), pf(), 7, &no_interface).unwrap();
    assert_eq!(machine.read(&format!("{PF}/sriov_drivers_autoprobe")), "0");
}

#[test]
fn vfs_in_use_are_never_destroyed() {
    let machine = fixture::igb();
    let autoprobe = format!("{PF}/sriov_drivers_autoprobe");
    machine.write(&autoprobe, "1\n");
    for count in [0, 3] {
        let error = ensure(machine.root(), pf(), count, &no_interface).unwrap_err();
        let HostError::VfsInUse { users, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(
            users,
            [
                "VF 0 (0000:01:10.0): qemu-system-x86 (pid 301)",
                "VF 2 (0000:01:10.4): host driver igbvf"
            ]
        );
        assert_eq!(machine.read(&format!("{PF}/sriov_numvfs")), "7");
    }
    assert_eq!(machine.read(&autoprobe), "1", "refused means unchanged");
}

#[test]
fn too_many_and_impossible_numbers_are_refused() {
    let machine = fixture::igb();
    assert_eq!(
        ensure(machine.root(), pf(), 8, &no_interface),
        Err(HostError::TooManyVfs {
            pf: pf(),
            total: 7,
            wanted: 8
        })
    );
    let virtio = "0000:00:02.0".parse().unwrap();
    let error = ensure(machine.root(), virtio, 1, &no_interface).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    let absent = "0000:09:00.0".parse().unwrap();
    let error = ensure(machine.root(), absent, 1, &no_interface).unwrap_err();
    assert!(error.is_gone(), "{error}");
}

/// The recording without its VFs.
fn without_vfs() -> fixture::Machine {
    let machine = fixture::igb();
    for index in 0..7 {
        machine.remove(&format!("{PF}/virtfn{index}"));
    }
    machine.write(&format!("{PF}/sriov_numvfs"), "0\n");
    machine
}

fn bring_back_vfs(machine: &fixture::Machine) {
    for index in 0..7 {
        machine.link(
            &format!("{PF}/virtfn{index}"),
            &format!("../0000:01:{:02x}.{}", 16 + 2 * index / 8, 2 * index % 8),
        );
    }
}

#[test]
fn vfs_are_made_and_waited_for() {
    let machine = without_vfs();
    let kernel = fixture::react(&machine, &format!("{PF}/sriov_numvfs"), bring_back_vfs);
    ensure(machine.root(), pf(), 7, &no_interface).unwrap();
    kernel.join().unwrap();
    assert_eq!(sriov::vf_addresses(machine.root(), pf()).unwrap().len(), 7);
}

#[test]
fn drivers_that_need_it_get_their_interface_set_up_first() {
    let machine = without_vfs();
    machine.remove(&format!("{PF}/driver"));
    machine.link(&format!("{PF}/driver"), "../../../../bus/pci/drivers/ixgbe");
    let kernel = fixture::react(&machine, &format!("{PF}/sriov_numvfs"), bring_back_vfs);
    let up = RefCell::new(Vec::new());
    let set_up = |name: &IfName| {
        assert_eq!(machine.read(&format!("{PF}/sriov_numvfs")), "0");
        up.borrow_mut().push(name.to_string());
        Ok(())
    };
    ensure(machine.root(), pf(), 7, &set_up).unwrap();
    kernel.join().unwrap();
    assert_eq!(*up.borrow(), ["pf0"]);
}
