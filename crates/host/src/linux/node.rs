//! Facts about the machine as a whole.

use accelnet_model::{Hook, NodeFacts, NumaNode, Support};

use super::{
    hook, interfaces,
    sysfs::{self, Root},
    vfio,
};
use crate::{HostError, Result};

/// See [`crate::Host::observe_node`].
pub fn observe(root: &Root) -> Result<NodeFacts> {
    let text = |path: &str| -> Result<String> {
        sysfs::read(&root.path(path))?
            .ok_or_else(|| HostError::Malformed(format!("/{path} does not exist")))
    };
    let kernel = text("proc/sys/kernel/osrelease")?;
    Ok(NodeFacts {
        hostname: text("proc/sys/kernel/hostname")?,
        smt_active: smt_active(root)?,
        kvm: root.path("dev/kvm").exists(),
        iommu: !sysfs::names(&root.path("sys/kernel/iommu_groups"))?.is_empty(),
        interrupt_remapping: interrupt_remapping(&text("proc/interrupts")?),
        vfio: vfio::available(root, &kernel)?,
        libvirt: None,
        qemu: None,
        domain_capabilities: None,
        memory_available_mib: memory_available_mib(&text("proc/meminfo")?)?,
        no_adapters: interfaces::no_adapters(root)?,
        // That this cannot be told makes nothing else of the machine unknown.
        hook: hook::observe(root).unwrap_or_else(|error| {
            tracing::warn!(%error, "whether libvirt calls the hook");
            Hook::Unknown
        }),
        numa: numa(root)?,
        boot_id: text("proc/sys/kernel/random/boot_id")?,
        kernel,
    })
}

/// `active` is 0 also where the processor has no SMT, so `control` is asked first
/// (Documentation/ABI/testing/sysfs-devices-system-cpu).
fn smt_active(root: &Root) -> Result<Support<bool>> {
    let file = |name| sysfs::read(&root.path(&format!("sys/devices/system/cpu/smt/{name}")));
    Ok(
        match (file("control")?.as_deref(), file("active")?.as_deref()) {
            (Some("notsupported"), _) => Support::Unsupported,
            (_, Some("0")) => Support::Supported(false),
            (_, Some("1")) => Support::Supported(true),
            _ => Support::Unknown,
        },
    )
}

/// NUMA nodes and their CPUs (Documentation/ABI/stable/sysfs-devices-node); the directory is not there in kernels
/// without NUMA.
fn numa(root: &Root) -> Result<Support<Vec<NumaNode>>> {
    let directory = root.path("sys/devices/system/node");
    let names = sysfs::names(&directory)?;
    if names.is_empty() {
        return Ok(Support::Unsupported);
    }
    let numbers = names.iter().filter_map(|name| name.strip_prefix("node"));
    let mut nodes = Vec::new();
    for number in numbers.filter_map(|number| number.parse::<u32>().ok()) {
        let file = directory.join(format!("node{number}/cpulist"));
        // What is no list of CPUs says nothing of the others either.
        match sysfs::read(&file)?.map(|list| list.parse()) {
            Some(Ok(cpus)) => nodes.push(NumaNode { number, cpus }),
            Some(Err(_)) | None => return Ok(Support::Unknown),
        }
    }
    nodes.sort_unstable_by_key(|node| node.number);
    Ok(Support::Supported(nodes))
}

/// Interrupt remapping from the names of the interrupt chips: on x86 those behind a remapping unit
/// are called `IR-…` (arch/x86/kernel/apic/io_apic.c `ioapic_ir_chip`; drivers/iommu/intel and amd
/// `.prefix = "IR-"`), on ARM `ITS-…` isolates by itself (drivers/irqchip/irq-gic-v3-its.c,
/// `IRQ_DOMAIN_FLAG_ISOLATED_MSI`). The kernel log says it too, but rotates.
pub fn interrupt_remapping(interrupts: &str) -> Support<bool> {
    let mut plain = false;
    for line in interrupts.lines() {
        // "45:  0  7  IR-PCI-MSIX-0000:01:10.0  0-edge  name": the chip is the first word that is
        // neither the number nor a count.
        let chip = line
            .split_whitespace()
            .skip(1)
            .find(|word| !word.bytes().all(|b| b.is_ascii_digit()));
        match chip {
            Some(chip) if chip.starts_with("IR-") || chip.starts_with("ITS-") => {
                return Support::Supported(true);
            }
            Some(chip) if chip.starts_with("IO-APIC") || chip.starts_with("PCI-MSI") => {
                plain = true;
            }
            _ => {}
        }
    }
    if plain {
        Support::Supported(false)
    } else {
        Support::Unknown
    }
}

/// `MemAvailable` (in KiB there).
pub fn memory_available_mib(meminfo: &str) -> Result<u64> {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib / 1024)
        .ok_or_else(|| HostError::Malformed("/proc/meminfo has no MemAvailable".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fixture;

    #[test]
    fn the_emulated_node_is_read() {
        let machine = fixture::igb();
        let facts = observe(machine.root()).unwrap();
        assert_eq!(facts.hostname, "node1");
        assert_eq!(facts.kernel, "6.12.95+deb12-amd64");
        assert_eq!(facts.smt_active, Support::Unsupported);
        assert!(facts.kvm && facts.iommu && facts.vfio);
        assert_eq!(facts.interrupt_remapping, Support::Supported(true));
        assert_eq!(facts.memory_available_mib, 1504);
        assert_eq!(facts.boot_id, "d1f51972-6171-4cc0-9838-db6e85d8c86c");
    }

    #[test]
    fn smt_is_on_off_absent_or_unknown() {
        let machine = fixture::igb();
        let control = "sys/devices/system/cpu/smt/control";
        let active = "sys/devices/system/cpu/smt/active";
        machine.write(control, "on\n");
        machine.write(active, "1\n");
        assert_eq!(smt_active(machine.root()), Ok(Support::Supported(true)));
        machine.write(control, "off\n");
        machine.write(active, "0\n");
        assert_eq!(smt_active(machine.root()), Ok(Support::Supported(false)));
        machine.remove("sys/devices/system/cpu/smt");
        assert_eq!(smt_active(machine.root()), Ok(Support::Unknown));
    }

    #[test]
    fn numa_nodes_are_read_with_their_cpus_or_said_to_be_unknown() {
        let machine = fixture::igb();
        machine.write("sys/devices/system/node/node1/cpulist", "4-7,12-15\n");
        machine.write("sys/devices/system/node/node0/cpulist", "0-3,8-11\n");
        machine.write("sys/devices/system/node/online", "0-1\n");
        let told = numa(machine.root()).unwrap();
        let told: Vec<_> = told.value().unwrap().iter().collect();
        let of = |node: &NumaNode| (node.number, node.cpus.to_string());
        let expected = [(0, "0-3,8-11".to_owned()), (1, "4-7,12-15".to_owned())];
        assert_eq!(told.into_iter().map(of).collect::<Vec<_>>(), expected);
        machine.write("sys/devices/system/node/node1/cpulist", "what\n");
        assert_eq!(numa(machine.root()), Ok(Support::Unknown));
        machine.remove("sys/devices/system/node");
        assert_eq!(numa(machine.root()), Ok(Support::Unsupported));
    }

    #[test]
    fn a_machine_without_iommu_and_kvm_says_so() {
        let machine = fixture::igb();
        machine.remove("sys/kernel/iommu_groups");
        machine.remove("dev/kvm");
        machine.remove("sys/bus/pci/drivers/vfio-pci");
        let facts = observe(machine.root()).unwrap();
        assert!(!facts.iommu && !facts.kvm && !facts.vfio);
    }

    #[test]
    fn remapping_shows_in_the_chips_names() {
        let table = |chip: &str| format!("  CPU0\n  0:  12  {chip}  2-edge  timer\nNMI:  0  Non\n");
        for (chip, wanted) in [
            ("IR-IO-APIC", Support::Supported(true)),
            ("IR-PCI-MSIX-0000:01:00.0", Support::Supported(true)),
            ("ITS-PCI-MSIX-0000:01:00.0", Support::Supported(true)),
            ("IO-APIC", Support::Supported(false)),
            ("PCI-MSI-0000:00:02.0", Support::Supported(false)),
            ("XT-PIC", Support::Unknown),
        ] {
            assert_eq!(interrupt_remapping(&table(chip)), wanted, "{chip}");
        }
        assert_eq!(interrupt_remapping(""), Support::Unknown);
    }

    #[test]
    fn memory_is_understood_or_refused() {
        assert_eq!(
            memory_available_mib("MemFree: 1 kB\nMemAvailable:  2097152 kB\n"),
            Ok(2048)
        );
        assert!(memory_available_mib("MemTotal: 1 kB\n").is_err());
        assert!(memory_available_mib("MemAvailable: lots kB\n").is_err());
    }
}
