use super::*;
use crate::linux::fixture;

fn vf(text: &str) -> PciAddress {
    text.parse().unwrap()
}

#[test]
fn vectors_are_counted_per_function() {
    let text = "           CPU0       CPU1\n \
         45:    0    7  IR-PCI-MSIX-0000:01:10.0   0-edge   vfio-msix[0](0000:01:10.0)\n \
         46:    0    7  IR-PCI-MSIX-0000:01:10.0   1-edge   vfio-msix[1](0000:01:10.0)\n \
         47:    0    0  IR-PCI-MSI 1-edge   vfio-msi[0](0000:01:10.2)\n \
         48:    0    0  IR-IO-APIC 22-fasteoi   vfio-intx(0000:02:00.0)\n \
         49:    0    0  IR-PCI-MSIX-0000:01:00.0   0-edge   pf0\n \
         50:    0    0  x   vfio-msix[0](nonsense)\n";
    let found = vectors(text);
    assert_eq!(found.get(&vf("0000:01:10.0")), Some(&2));
    assert_eq!(found.get(&vf("0000:01:10.2")), Some(&1));
    assert_eq!(found.get(&vf("0000:02:00.0")), Some(&1));
    assert_eq!(found.len(), 3);
}

#[test]
fn interrupts_are_summed_over_processors_and_vectors() {
    // Of a VF that igbvf drives in a guest with two vCPUs.
    let text = "           CPU0       CPU1       CPU2\n \
         62:       1203          0         17  IR-PCI-MSIX-0000:01:10.0    0-edge      vfio-msix[0](0000:01:10.0)\n \
         63:          0       9480          0  IR-PCI-MSIX-0000:01:10.0    1-edge      vfio-msix[1](0000:01:10.0)\n \
         64:          0          0          0  IR-PCI-MSIX-0000:01:10.2    0-edge      vfio-msix[0](0000:01:10.2)\n \
         65:  18446744073709551615         1   x   vfio-msix[0](0000:01:10.4)\n \
         66  5  vfio-msix[1](0000:01:10.2)\n\
        NMI:          4          5          6   Non-maskable interrupts\n";
    let found = interrupts(text);
    let of = |text: &str| found.get(&vf(text)).map(|of| (of.vectors, of.fired));
    assert_eq!(of("0000:01:10.0"), Some((2, 1203 + 17 + 9480)));
    assert_eq!(of("0000:01:10.2"), Some((2, 0)));
    assert_eq!(of("0000:01:10.4"), Some((1, u64::MAX)));
    assert_eq!(found.len(), 3);
}

#[test]
fn the_holder_of_the_group_is_the_user() {
    let machine = fixture::igb();
    let root = machine.root();
    assert_eq!(
        user(root, vf("0000:01:10.0")).unwrap(),
        VfUser::Process {
            pid: 301,
            command: "qemu-system-x86".into()
        }
    );
    assert_eq!(user(root, vf("0000:01:10.2")).unwrap(), VfUser::Nobody);
    assert_eq!(
        user(root, vf("0000:01:10.4")).unwrap(),
        VfUser::HostDriver {
            driver: "igbvf".into()
        }
    );
    // No driver.
    assert_eq!(user(root, vf("0000:01:10.6")).unwrap(), VfUser::Nobody);
}

#[test]
fn a_device_file_of_iommufd_counts_too() {
    let machine = fixture::igb();
    machine.directory("sys/devices/pci0000:00/0000:00:10.0/0000:01:10.2/vfio-dev/vfio7");
    machine.directory("proc/99/fd");
    machine.write("proc/99/comm", "cloud-hyper\u{1b}visor\n");
    machine.link("proc/99/fd/8", "/dev/vfio/devices/vfio7");
    assert_eq!(
        user(machine.root(), vf("0000:01:10.2")).unwrap(),
        VfUser::Process {
            pid: 99,
            command: "cloud-hypervisor".into()
        }
    );
}

#[test]
fn a_holder_that_cannot_be_seen_still_holds() {
    let machine = fixture::igb();
    machine.remove("proc/301");
    let unseen = user(machine.root(), vf("0000:01:10.0")).unwrap();
    assert!(
        matches!(unseen, VfUser::Process { pid: 0, .. }),
        "{unseen:?}"
    );
    assert_eq!(is_open(machine.root(), vf("0000:01:10.2")), Ok(Some(false)));
}

#[test]
fn a_used_vf_is_not_reset() {
    let machine = fixture::igb();
    let error = reset(machine.root(), vf("0000:01:10.0")).unwrap_err();
    assert!(error.to_string().contains("qemu-system-x86"), "{error}");
    let flr = "sys/bus/pci/devices/0000:01:10.2/reset";
    reset(machine.root(), vf("0000:01:10.2")).unwrap();
    assert_eq!(machine.read(flr), "1");
    assert!(
        reset(machine.root(), vf("0000:01:1f.7"))
            .unwrap_err()
            .is_gone()
    );
}

#[test]
fn a_physical_function_is_never_bound_or_reset() {
    let machine = fixture::igb();
    let pf = vf("0000:01:00.0");
    assert!(ensure_bound(machine.root(), pf, None).is_err());
    assert!(reset(machine.root(), pf).is_err());
    assert_eq!(
        pci::driver(machine.root(), pf).unwrap().as_deref(),
        Some("igb")
    );
}

#[test]
fn binding_asks_the_kernel_and_reads_back() {
    let machine = fixture::igb();
    let free = vf("0000:01:10.6");
    // A recorded tree binds nothing: what was written is seen, and the lack of effect reported.
    let override_file = "sys/bus/pci/devices/0000:01:10.6/driver_override";
    let kernel = fixture::react(&machine, "sys/bus/pci/drivers_probe", |machine| {
        machine.link(
            "sys/devices/pci0000:00/0000:00:10.0/0000:01:10.6/driver",
            "../../../../bus/pci/drivers/vfio-pci",
        );
    });
    ensure_bound(machine.root(), free, None).unwrap();
    kernel.join().unwrap();
    assert_eq!(machine.read(override_file), "vfio-pci");
    assert_eq!(machine.read("sys/bus/pci/drivers_probe"), "0000:01:10.6");
}

/// A ConnectX's VF without driver, on a kernel that has mlx5_vfio_pci, loaded, and names it for that card.
fn connectx() -> (fixture::Machine, PciAddress) {
    let machine = fixture::mlx5();
    machine.write("proc/sys/kernel/osrelease", "6.12.0\n");
    machine.write(
        "lib/modules/6.12.0/modules.alias",
        "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
         alias vfio_pci:v000015B3d00001018sv*sd*bc*sc*i* mlx5_vfio_pci\n",
    );
    let vf = vf("0000:5e:00.3");
    machine.write(
        &format!("sys/bus/pci/devices/{vf}/modalias"),
        "pci:v000015B3d00001018sv000015B3sd00000091bc02sc00i00\n",
    );
    machine.directory("sys/bus/pci/drivers/mlx5_vfio_pci");
    (machine, vf)
}

#[test]
fn a_vf_is_bound_to_the_variant_that_is_meant_for_its_card() {
    for (wanted, expected) in [(None, "mlx5_vfio_pci"), (Some("vfio-pci"), "vfio-pci")] {
        let (machine, vf) = connectx();
        let wanted: Option<DriverName> = wanted.map(|wanted| wanted.parse().unwrap());
        let probe = "sys/bus/pci/drivers_probe";
        let kernel = fixture::react(&machine, probe, move |machine| {
            let device = format!("sys/devices/pci0000:5d/0000:5d:00.0/{vf}");
            let driver = machine.read(&format!("{device}/driver_override"));
            let target = format!("../../../../bus/pci/drivers/{driver}");
            machine.link(&format!("{device}/driver"), &target);
        });
        ensure_bound(machine.root(), vf, wanted.as_ref()).unwrap();
        kernel.join().unwrap();
        let bound = pci::driver(machine.root(), vf).unwrap();
        assert_eq!(bound.as_deref(), Some(expected));
        // Whoever bound it to any of them did what is asked for: nothing is written again.
        machine.write(probe, "\n");
        ensure_bound(machine.root(), vf, None).unwrap();
        assert_eq!(machine.read(probe), "");
    }
}

#[test]
fn a_vf_in_use_is_not_taken_from_another_driver_of_the_kind() {
    let machine = fixture::igb();
    machine.directory("sys/bus/pci/drivers/other_vfio_pci");
    let wanted = "other_vfio_pci".parse().unwrap();
    let error = ensure_bound(machine.root(), vf("0000:01:10.0"), Some(&wanted)).unwrap_err();
    assert!(matches!(error, HostError::VfsInUse { .. }), "{error}");
}

#[test]
fn the_module_is_found_in_the_lists() {
    let machine = fixture::igb();
    assert!(available(machine.root(), "6.12.95+deb12-amd64").unwrap());
    machine.remove("sys/bus/pci/drivers/vfio-pci");
    assert!(!available(machine.root(), "6.12.95+deb12-amd64").unwrap());
    machine.directory("lib/modules/6.12.95+deb12-amd64");
    machine.write(
        "lib/modules/6.12.95+deb12-amd64/modules.dep",
        "kernel/drivers/vfio/pci/vfio-pci-core.ko.xz:\n\
         kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n",
    );
    assert!(available(machine.root(), "6.12.95+deb12-amd64").unwrap());
    assert!(!available(machine.root(), "6.1.0").unwrap());
}
