//! A kernel that is played: what is written has its effect at once, or is refused as the kernel would.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::*;
use crate::linux::fixture::{self, Machine};

const PF: &str = "sys/devices/pci0000:5d/0000:5d:00.0/0000:5e:00.0";

fn vf(function: u8) -> PciAddress {
    format!("0000:5e:00.{function}").parse().unwrap()
}

fn directory(vf: PciAddress) -> String {
    format!("sys/devices/pci0000:5d/0000:5d:00.0/{vf}")
}

/// The kernel below a process that may be killed.
struct Kernel {
    machine: Machine,
    /// What was written, in order.
    written: RefCell<Vec<String>>,
    /// The process is killed at this write, before or after it was carried out.
    killed: Option<(usize, bool)>,
    /// Vectors that are left for a VF.
    left: u32,
}

impl Kernel {
    fn of(machine: &Machine) -> Self {
        Self {
            machine: machine.clone(),
            written: RefCell::default(),
            killed: None,
            left: 32,
        }
    }

    fn write(&self, path: &Path, text: &str, operation: &str) -> Result<()> {
        let file = path.file_name().unwrap().to_str().unwrap();
        let number = self.written.borrow().len();
        self.written.borrow_mut().push(format!("{file} {text}"));
        assert_ne!(self.killed, Some((number, false)), "killed before");
        let done = self.carry_out(path, file, text, operation);
        assert_ne!(self.killed, Some((number, true)), "killed after");
        done
    }

    fn carry_out(&self, path: &Path, file: &str, text: &str, operation: &str) -> Result<()> {
        let refused = |code| Err(HostError::kernel(operation, code, None));
        match file {
            "unbind" => self
                .machine
                .remove(&format!("{}/driver", directory(text.parse().unwrap()))),
            "drivers_probe" => {
                let at = directory(text.parse().unwrap());
                let driver = self.machine.read(&format!("{at}/driver_override"));
                let target = format!("../../../../bus/pci/drivers/{driver}");
                self.machine.link(&format!("{at}/driver"), &target);
            }
            "sriov_vf_msix_count" => {
                let at = path.parent().unwrap();
                let vectors: u32 = text.parse().unwrap();
                if at.join("driver").exists() {
                    return refused(libc::EBUSY);
                }
                if vectors > self.left {
                    return refused(libc::EINVAL);
                }
                let size = (vectors - 1) as u16;
                let name = at.file_name().unwrap().to_str().unwrap();
                let config = format!("{}/config", directory(name.parse().unwrap()));
                self.machine.patch(&config, 0x42, &size.to_le_bytes());
            }
            _ => sysfs::write(path, text, operation)?,
        }
        Ok(())
    }

    fn ensure(&self, vf: PciAddress, vectors: u32) -> Result<()> {
        ensure_by(
            self.machine.root(),
            vf,
            vectors,
            None,
            &|path, text, operation| self.write(path, text, operation),
        )
    }

    fn written(&self) -> Vec<String> {
        self.written.borrow().clone()
    }
}

fn has(machine: &Machine, vf: PciAddress) -> (Support<u32>, Option<String>) {
    let root = machine.root();
    let pf = pf_of(root, vf).unwrap();
    (
        observe(root, pf, vf).unwrap(),
        pci::driver(root, vf).unwrap(),
    )
}

fn on_vfio(vectors: u32) -> (Support<u32>, Option<String>) {
    (Support::Supported(vectors), Some("vfio-pci".into()))
}

#[test]
fn a_vf_on_vfio_is_unbound_set_read_back_and_bound() {
    let machine = fixture::mlx5();
    let kernel = Kernel::of(&machine);
    assert_eq!(has(&machine, vf(2)), on_vfio(8));
    kernel.ensure(vf(2), 5).unwrap();
    assert_eq!(
        kernel.written(),
        [
            "unbind 0000:5e:00.2",
            "sriov_vf_msix_count 5",
            "driver_override vfio-pci",
            "drivers_probe 0000:5e:00.2"
        ]
    );
    assert_eq!(has(&machine, vf(2)), on_vfio(5));
    kernel.ensure(vf(2), 5).unwrap();
    assert_eq!(kernel.written().len(), 4, "the same again changes nothing");
}

#[test]
fn a_vf_without_driver_is_bound_too() {
    let machine = fixture::mlx5();
    let kernel = Kernel::of(&machine);
    kernel.ensure(vf(3), 2).unwrap();
    assert_eq!(has(&machine, vf(3)), on_vfio(2));
    machine.remove(&format!("{}/driver", directory(vf(3))));
    kernel.ensure(vf(3), 2).unwrap();
    assert_eq!(has(&machine, vf(3)), on_vfio(2));
}

#[test]
fn killed_at_any_write_the_same_again_comes_to_the_end() {
    for carried_out in [false, true] {
        for at in 0..4 {
            let machine = fixture::mlx5();
            let mut kernel = Kernel::of(&machine);
            kernel.killed = Some((at, carried_out));
            let ended = catch_unwind(AssertUnwindSafe(|| kernel.ensure(vf(2), 5)));
            assert!(ended.is_err(), "{at}");
            let kernel = Kernel::of(&machine);
            kernel.ensure(vf(2), 5).unwrap();
            assert_eq!(has(&machine, vf(2)), on_vfio(5), "{at} {carried_out}");
        }
    }
}

#[test]
fn what_the_driver_refuses_leaves_the_vf_as_it_was() {
    let machine = fixture::mlx5();
    let kernel = Kernel::of(&machine);
    let error = kernel.ensure(vf(2), 33).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EINVAL));
    assert!(error.to_string().contains("33 MSI-X vectors"), "{error}");
    assert_eq!(has(&machine, vf(2)), on_vfio(8));
}

#[test]
fn what_the_driver_takes_but_does_not_do_is_found() {
    let machine = fixture::mlx5();
    let deaf = |path: &Path, text: &str, operation: &str| {
        if path.ends_with("sriov_vf_msix_count") {
            return Ok(());
        }
        Kernel::of(&machine).carry_out(
            path,
            path.file_name().unwrap().to_str().unwrap(),
            text,
            operation,
        )
    };
    let error = ensure_by(machine.root(), vf(2), 5, None, &deaf).unwrap_err();
    assert!(matches!(error, HostError::NotAsAsked { .. }), "{error}");
    assert_eq!(has(&machine, vf(2)), on_vfio(8));
}

#[test]
fn a_vf_in_use_is_not_touched() {
    let machine = fixture::mlx5();
    let kernel = Kernel::of(&machine);
    machine.write(&format!("{}/enable", directory(vf(2))), "1\n");
    machine.link(
        &format!("{}/driver", directory(vf(3))),
        "../../../../bus/pci/drivers/mlx5_core",
    );
    for used in [vf(2), vf(3)] {
        let error = kernel.ensure(used, 5).unwrap_err();
        assert!(matches!(error, HostError::VfsInUse { .. }), "{error}");
    }
    // What it has already can be asked for.
    kernel.ensure(vf(2), 8).unwrap();
    assert_eq!(kernel.written(), Vec::<String>::new());
}

#[test]
fn functions_that_have_no_pool_are_refused() {
    let machine = fixture::igb();
    let igb = "0000:01:10.2".parse().unwrap();
    assert!(
        ensure(machine.root(), igb, 2, None)
            .unwrap_err()
            .is_unsupported()
    );
    let pf = "0000:01:00.0".parse().unwrap();
    assert!(ensure(machine.root(), pf, 2, None).is_err(), "a PF");
    let absent = "0000:01:1f.7".parse().unwrap();
    assert!(
        ensure(machine.root(), absent, 2, None)
            .unwrap_err()
            .is_gone()
    );
    let root = machine.root();
    assert_eq!(observe(root, pf, igb), Ok(Support::Unsupported));
    // Linux before 5.13 has no such file at all.
    let ixgbe = fixture::ixgbe();
    let none = |pf: &str| observe(ixgbe.root(), pf.parse().unwrap(), pf.parse().unwrap());
    assert_eq!(none("0000:05:00.0"), Ok(Support::Unsupported));
}

/// ice adds the mailbox's vector by itself, and the table's size says nothing.
#[test]
fn ice_is_told_queues() {
    let machine = fixture::mlx5();
    machine.remove(&format!("{PF}/driver"));
    machine.link(&format!("{PF}/driver"), "../../../../bus/pci/drivers/ice");
    let kernel = Kernel::of(&machine);
    for _ in 0..2 {
        kernel.ensure(vf(2), 5).unwrap();
    }
    let counts = kernel.written();
    let counts: Vec<&String> = counts
        .iter()
        .filter(|call| call.starts_with("sriov"))
        .collect();
    assert_eq!(counts, ["sriov_vf_msix_count 4"; 2], "asked each time");
    let (vectors, driver) = has(&machine, vf(2));
    assert_eq!(
        (vectors, driver.as_deref()),
        (Support::Unknown, Some("vfio-pci"))
    );
}

#[test]
fn odd_configuration_spaces_tell_nothing() {
    let machine = fixture::mlx5();
    let config = format!("{}/config", directory(vf(2)));
    let size = || table_size(&machine.root().pci(vf(2)).join("config"));
    assert_eq!(size(), Some(8));
    machine.patch(&config, 0x41, &[0x40]);
    machine.patch(&config, 0x40, &[0x05]);
    assert_eq!(size(), None, "a list that is a circle");
    machine.shorten(&config, 64);
    assert_eq!(size(), None, "all that others than root are shown");
    machine.remove(&config);
    assert_eq!(size(), None);
}
