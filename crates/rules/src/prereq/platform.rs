//! Kernel, KVM, vfio, libvirt and QEMU are there and new enough.

use accelnet_model::{CheckResult, Code};

use super::{Check, Node, cured};

/// The oldest kernel. 5.6 gives a PF's permanent address over netlink (`IFLA_PERM_ADDRESS`,
/// net/core/rtnetlink.c), by which adapters are known for good. Older needs are met by then: VFs kept
/// from host drivers (`sriov_drivers_autoprobe`, 4.12), extended acks (4.12), isolated bridge ports
/// (4.18), the SMT state (`smt/active`, 4.19), strictly checked dumps (5.0).
const KERNEL: (u32, u32) = (5, 6);

/// The oldest libvirt: `<teaming>` on a plain `<hostdev>` (formatdomain: "Since 7.1.0 The `<teaming>`
/// element can also be added to a plain `<hostdev>` device"; between two interfaces it is since 6.1.0).
const LIBVIRT: (u32, u32, u32) = (7, 1, 0);

/// The oldest QEMU: `failover_pair_id` and virtio-net's `failover=on`
/// (docs/system/virtio-net-failover.rst; libvirt's formatdomain on `<teaming>`: "requires QEMU 4.2.0 or
/// newer").
const QEMU: (u32, u32, u32) = (4, 2, 0);

pub(super) fn check(node: &Node, results: &mut Vec<CheckResult>) {
    results.push(kernel(node));
    results.push(kvm(node));
    results.push(vfio(node));
    results.push(libvirt(node));
    results.extend(qemu(node));
    results.extend(capabilities(node));
}

fn kernel(node: &Node) -> CheckResult {
    let check = Check::of_node("kernel", node);
    let release = &node.1.node.kernel;
    let (major, minor) = KERNEL;
    match kernel_version(release) {
        Some(version) if version >= KERNEL => check.passes(format!("Linux {release}")),
        Some(_) => check.fails(
            Code::AccelNetNotSupported,
            format!("Linux {release} is older than {major}.{minor}"),
        ),
        None => check.fails(
            Code::AccelNetNotSupported,
            format!("the kernel's version '{release}' cannot be read"),
        ),
    }
}

/// Major and minor number of `uname -r`, e.g. `6.12.38+deb12-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kvm(node: &Node) -> CheckResult {
    let check = Check::of_node("kvm", node);
    if node.1.node.kvm {
        return check.passes("/dev/kvm is there");
    }
    cured(
        check.fails(Code::AccelNetNotSupported, "there is no /dev/kvm"),
        "Turn on virtualization (VT-x or AMD-V) in the firmware setup, and load kvm_intel or kvm_amd.",
    )
}

fn vfio(node: &Node) -> CheckResult {
    let check = Check::of_node("vfio", node);
    if node.1.node.vfio {
        return check.passes("vfio-pci is there");
    }
    cured(
        check.fails(
            Code::AccelNetNotSupported,
            "the vfio-pci driver is not there and cannot be loaded",
        ),
        "Install the kernel's modules (vfio-pci), then 'modprobe vfio-pci'.",
    )
}

fn libvirt(node: &Node) -> CheckResult {
    let check = Check::of_node("libvirt", node);
    match node.1.node.libvirt {
        None => check.fails(Code::HypervisorUnavailable, "libvirt does not answer"),
        Some(version) => at_least(check, "libvirt", version, LIBVIRT),
    }
}

/// libvirt tells QEMU's version, so there is nothing to say if it does not answer.
fn qemu(node: &Node) -> Option<CheckResult> {
    node.1.node.libvirt?;
    let check = Check::of_node("qemu", node);
    Some(match node.1.node.qemu {
        None => check.fails(Code::AccelNetNotSupported, "libvirt knows of no QEMU"),
        Some(version) => at_least(check, "QEMU", version, QEMU),
    })
}

/// VMs can have PCI Express and devices of the host. libvirt tells, so there is nothing to say if it does
/// not answer.
fn capabilities(node: &Node) -> Option<CheckResult> {
    node.1.node.libvirt?;
    let check = Check::of_node("vm_capabilities", node);
    let Some(found) = &node.1.node.domain_capabilities else {
        let text = "libvirt does not say what its VMs can have";
        let warning = check.warns(Code::AccelNetNotSupported, text);
        let cure = "See what 'virsh domcapabilities --machine q35' says; update libvirt and QEMU.";
        return Some(cured(warning, cure));
    };
    let missing = match (&found.pcie_machine, found.pci_passthrough) {
        (Some(machine), true) => {
            return Some(check.passes(format!("{machine}, PCI devices of the host")));
        }
        (None, true) => "QEMU has no machine type with PCI Express (q35)",
        (Some(_), false) => "libvirt cannot give PCI devices of the host to VMs",
        (None, false) => {
            "QEMU has no machine type with PCI Express (q35), and libvirt cannot give PCI devices of \
             the host to VMs"
        }
    };
    let cure = "Install a QEMU with q35 and PCI passthrough (Debian: qemu-system-x86).";
    Some(cured(
        check.fails(Code::AccelNetNotSupported, missing),
        cure,
    ))
}

fn at_least(
    check: Check,
    what: &str,
    has: (u32, u32, u32),
    needed: (u32, u32, u32),
) -> CheckResult {
    let text = |(major, minor, release)| format!("{major}.{minor}.{release}");
    if has >= needed {
        return check.passes(format!("{what} {}", text(has)));
    }
    let found = format!("{what} {} is older than {}", text(has), text(needed));
    check.fails(Code::AccelNetNotSupported, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_and_the_problem_name_the_same_versions() {
        let guide = include_str!("../../../../docs/guide/host.md");
        let problem = Code::AccelNetNotSupported.explanation();
        for (what, major, minor) in [
            ("Linux", KERNEL.0, KERNEL.1),
            ("libvirt", LIBVIRT.0, LIBVIRT.1),
            ("QEMU", QEMU.0, QEMU.1),
        ] {
            let version = format!("{what} {major}.{minor}");
            assert!(problem.contains(&version), "{version}: {problem}");
            let or_newer = format!("{version} or newer");
            assert!(guide.contains(&or_newer), "host.md lacks: {or_newer}");
        }
    }

    #[test]
    fn kernel_versions_are_read() {
        assert_eq!(kernel_version("6.12.38+deb12-amd64"), Some((6, 12)));
        assert_eq!(kernel_version("5.6-rc1"), Some((5, 6)));
        assert_eq!(kernel_version("10.0"), Some((10, 0)));
        for nonsense in ["", "six", "6", "6.", "-6.1", "99999999999.1"] {
            assert_eq!(kernel_version(nonsense), None, "{nonsense}");
        }
    }
}
