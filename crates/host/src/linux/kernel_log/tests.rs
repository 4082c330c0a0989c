use std::{fs, io::Write};

use super::*;

fn pf() -> PciAddress {
    "0000:01:00.0".parse().unwrap()
}

fn record(text: &str) -> String {
    format!("6,339,5140900,-;{text}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n")
}

fn state_after(lines: &[&str]) -> Option<SriovSupport> {
    let mut said = Said::default();
    for line in lines {
        for part in record(line).lines() {
            said.take(part);
        }
    }
    Some(said.refusals.get(&pf())?.1.state)
}

const NO_DRIVER: &str = "igb 0000:01:00.0: driver does not support SR-IOV configuration via sysfs";
const NO_SPACE: &str = "igb 0000:01:00.0: not enough MMIO resources for SR-IOV";
const NO_BUS: &str = "ixgbe 0000:01:00.0: can't enable 63 VFs (bus 02 out of range of [bus 01])";

#[test]
fn refusals_are_told_apart() {
    use SriovSupport as S;
    let old = "igb 0000:01:00.0: Driver doesn't support SRIOV configuration via sysfs";
    for (line, state) in [
        (NO_DRIVER, Some(S::MissingPfDriver)),
        (old, Some(S::MissingPfDriver)),
        (NO_SPACE, Some(S::NoVfBarSpace)),
        (NO_BUS, Some(S::NoBusResources)),
        ("igb 0000:01:00.0: added PHC on eth0", None),
        (
            "igb 0000:01:00.1: not enough MMIO resources for SR-IOV",
            None,
        ),
        ("not enough MMIO resources for SR-IOV", None),
        ("", None),
    ] {
        assert_eq!(state_after(&[line]), state, "{line}");
    }
}

#[test]
fn what_was_cured_is_forgotten() {
    let anew = "pci 0000:01:00.0: [8086:10c9] type 00 class 0x020000 PCIe Endpoint";
    let probed = "igb 0000:01:00.0: added PHC on eth0";
    let loaded = "igb: Intel(R) Gigabit Ethernet Network Driver";
    let link = "igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Up 1000 Mbps Full Duplex";
    for refusal in [NO_DRIVER, NO_SPACE, NO_BUS] {
        assert_eq!(state_after(&[refusal, anew]), None, "{refusal}");
        assert!(state_after(&[anew, refusal, link]).is_some(), "{refusal}");
    }
    assert_eq!(state_after(&[NO_DRIVER, probed]), None);
    assert_eq!(state_after(&[NO_DRIVER, loaded]), None);
    // The driver complains after the kernel did: that cures nothing.
    let failed = "igb 0000:01:00.0: Failed to initialize SR-IOV virtualization: -12";
    assert!(state_after(&[NO_SPACE, failed, loaded]).is_some());
}

#[test]
fn programs_cannot_speak_for_the_kernel() {
    let mut said = Said::default();
    said.take(&format!("14,1,1,-;{NO_SPACE}"));
    said.take(&format!("nonsense;{NO_SPACE}"));
    said.take(NO_SPACE);
    assert!(said.refusals.is_empty());
}

#[test]
fn firmware_that_keeps_control_is_known_by_root_bus() {
    let mut said = Said::default();
    for line in [
        "ACPI: PCI Root Bridge [PCI0] (domain 0000 [bus 00-7f])",
        "acpi PNP0A08:00: _OSC: OS supports [ExtendedConfig ASPM ClockPM Segments MSI]",
        "acpi PNP0A08:00: _OSC: OS now controls [PCIeHotplug PME AER PCIeCapability LTR]",
        "ACPI: PCI Root Bridge [PC01] (domain 0000 [bus 80-ff])",
        "acpi PNP0A08:01: _OSC: platform retains control of PCIe features (AE_NOT_FOUND)",
    ] {
        said.take(record(line).lines().next().unwrap());
    }
    assert_eq!(said.osc.keys().collect::<Vec<_>>(), ["pci0000:80"]);
}

#[test]
fn every_look_reads_on_and_never_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    let log = KernelLog::default();
    assert_eq!(log.refusal(&root, pf()), None, "no log at all");
    fs::create_dir(root.path("dev")).unwrap();
    let text = record(NO_SPACE);
    let (begin, end) = text.split_at(30);
    fs::write(root.path("dev/kmsg"), begin).unwrap();
    assert_eq!(log.refusal(&root, pf()), None, "half a line");
    let mut file = OpenOptions::new()
        .append(true)
        .open(root.path("dev/kmsg"))
        .unwrap();
    file.write_all(end.as_bytes()).unwrap();
    let refusal = log.refusal(&root, pf()).unwrap();
    assert_eq!(refusal.line, NO_SPACE);
    file.write_all(record(NO_BUS).as_bytes()).unwrap();
    let refusal = log.refusal(&root, pf()).unwrap();
    assert_eq!(refusal.state, SriovSupport::NoBusResources);
}

#[test]
fn lines_without_end_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    fs::create_dir(root.path("dev")).unwrap();
    fs::write(root.path("dev/kmsg"), vec![b'x'; 10 * RECORD]).unwrap();
    let log = KernelLog::default();
    assert_eq!(log.refusal(&root, pf()), None);
    assert!(log.0.lock().unwrap().begun.len() <= RECORD);
}

#[test]
fn misuse_is_counted_by_adapter_and_vf_and_not_known_without_a_log() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    let log = KernelLog::default();
    assert_eq!(log.misuse(&root, pf()), None);
    fs::create_dir(root.path("dev")).unwrap();
    let spoof = record("igb 0000:01:00.0: Spoof event(s) detected on VF 3");
    let unnamed = record("ixgbe 0000:01:00.0 enp1s0f0: 4 Spoofed packets detected");
    let forged = spoof.replacen("6,", "14,", 1);
    fs::write(
        root.path("dev/kmsg"),
        [spoof.clone(), unnamed, spoof, forged].concat(),
    )
    .unwrap();
    let misuse = log.misuse(&root, pf()).unwrap();
    assert_eq!(misuse, [(None, 1), (Some(3), 2)].into());
    let other = "0000:02:00.0".parse().unwrap();
    assert_eq!(log.misuse(&root, other), Some(BTreeMap::new()));
}
