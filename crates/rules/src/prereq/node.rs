//! Checks of a node as a whole.

use accelnet_model::{CheckResult, Code, Name, Problem, Severity};

use super::Subject;
use crate::Observed;

/// The oldest kernel that has all that is used: bridge port isolation and static entries are older,
/// `IFLA_PERM_ADDRESS` and strict netlink checking came with 5.x, and 5.10 is the oldest that is
/// still maintained (kernel.org).
const KERNEL: (u32, u32) = (5, 10);
/// `<teaming>` in `<hostdev>`: <https://libvirt.org/formatdomain.html#teaming-a-virtio-hostdev-nic-pair>.
const LIBVIRT: (u32, u32) = (7, 1);
/// `failover` of virtio-net: QEMU 4.2 (docs/system/virtio-net-failover.rst).
const QEMU: (u32, u32) = (4, 2);

/// SMT is on everywhere or nowhere: the vCPU floors of the levels depend on it.
pub fn consistent(nodes: &[(Name, Observed)]) -> Vec<CheckResult> {
    let with = |on: bool| -> Vec<String> {
        let nodes = nodes
            .iter()
            .filter(|(_, observed)| observed.node.smt_active.is(&true) == on);
        nodes.map(|(name, _)| name.to_string()).collect()
    };
    let (on, off) = (with(true), with(false));
    let mixed = !on.is_empty() && !off.is_empty();
    let words = |names: &[String]| {
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(", ")
        }
    };
    let found = format!("on: {}; off: {}", words(&on), words(&off));
    let problem =
        mixed.then(|| Problem::new(Code::HyperthreadingCheckFailed, format!("SMT is {found}.")));
    vec![CheckResult {
        check: "smt_consistent".into(),
        node: None,
        adapter: None,
        passed: !mixed,
        severity: Severity::Error,
        found,
        problem,
    }]
}

/// Everything about one node.
pub fn check(name: &Name, observed: &Observed) -> Vec<CheckResult> {
    let subject = Subject {
        node: name,
        adapter: None,
    };
    let node = &observed.node;
    let unsupported = |text: String| (Code::AccelNetNotSupported, text);
    let kernel = version(&node.kernel);
    let mut results = vec![
        subject.result(
            "kernel",
            &node.kernel,
            (kernel < KERNEL)
                .then(|| unsupported(format!("The kernel is {}; 5.10 or newer is needed.", node.kernel))),
        ),
        subject.result(
            "kvm",
            if node.kvm { "/dev/kvm" } else { "no /dev/kvm" },
            (!node.kvm).then(|| unsupported("There is no /dev/kvm: virtualization is off in the firmware setup, or its module is not loaded.".into())),
        ),
        subject.result(
            "iommu",
            if node.iommu { "on" } else { "no IOMMU groups" },
            (!node.iommu).then(|| (Code::SriovSupportNoIommu, "/sys/kernel/iommu_groups is empty.".into())),
        ),
    ];
    if node.iommu {
        let off = node.interrupt_remapping.is(&false);
        let found = match node.interrupt_remapping.value() {
            Some(true) => "on",
            Some(false) => "off",
            None => "not known",
        };
        let problem = off.then(|| {
            (
                Code::InterruptRemappingOff,
                "The IOMMU does not remap interrupts.".into(),
            )
        });
        results.push(subject.result("interrupt_remapping", found, problem));
    }
    results.push(subject.result(
        "vfio",
        if node.vfio {
            "vfio-pci is available"
        } else {
            "no vfio-pci"
        },
        (!node.vfio).then(|| unsupported("The kernel has no vfio-pci driver.".into())),
    ));
    results.extend(hypervisor(&subject, observed));
    results
}

fn hypervisor(subject: &Subject<'_>, observed: &Observed) -> Vec<CheckResult> {
    let node = &observed.node;
    let Some((major, minor, release)) = node.libvirt else {
        let problem = (
            Code::HypervisorUnavailable,
            "libvirt cannot be reached.".to_owned(),
        );
        return vec![subject.result("libvirt", "no answer", Some(problem))];
    };
    let text = format!("{major}.{minor}.{release}");
    let problem = ((major, minor) < LIBVIRT).then(|| {
        (
            Code::AccelNetNotSupported,
            format!("libvirt is {text}; 7.1 or newer is needed for teaming."),
        )
    });
    let mut results = vec![subject.result("libvirt", text, problem)];
    if let Some((major, minor, release)) = node.qemu {
        let text = format!("{major}.{minor}.{release}");
        let problem = ((major, minor) < QEMU).then(|| {
            (
                Code::AccelNetNotSupported,
                format!("QEMU is {text}; 4.2 or newer is needed for failover."),
            )
        });
        results.push(subject.result("qemu", text, problem));
    }
    results
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
