use super::*;
use crate::linux::fixture;

fn said(root: &Root) -> Vec<(String, String)> {
    let found = no_adapters(root).unwrap().into_iter();
    found.map(|found| (found.name, found.what)).collect()
}

fn word<'a>(said: &'a [(String, String)], name: &str) -> &'a str {
    let mut found = said.iter().filter(|(found, _)| found == name);
    let (Some((_, what)), None) = (found.next(), found.next()) else {
        panic!("{name} is not there once: {said:?}");
    };
    what
}

#[test]
fn ports_are_told_from_what_stands_for_other_functions() {
    for (name, expected) in [
        ("p0", false),
        ("p1s2", false),
        ("", false),
        ("0", false),
        ("pfx", false),
        ("pf0", true),
        ("pf0vf1", true),
        ("pf1sf88", true),
        ("c1pf0", true),
        ("c12pf0vf3", true),
        ("cpf0", false),
    ] {
        assert_eq!(stands_for(name), expected, "{name}");
    }
}

#[test]
fn scalable_functions_and_representors_are_named() {
    let machine = fixture::bluefield();
    let said = said(machine.root());
    for name in ["enp3s0f0s0", "enp3s0f0s1"] {
        assert!(word(&said, name).contains("scalable function of 0000:03:00.0"));
    }
    for (name, port) in [
        ("pf0hpf", "pf0"),
        ("eth0", "pf0vf0"),
        ("en3f0pf0sf88", "pf0sf88"),
        ("ext0", "c1pf0vf2"),
    ] {
        assert!(
            word(&said, name).contains(&format!("(port {port})")),
            "{said:?}"
        );
    }
    assert_eq!(said.len(), 6);
}

#[test]
fn infiniband_chelsio_and_vmd_are_named_for_what_they_are() {
    let machine = fixture::chelsio_and_infiniband();
    let said = said(machine.root());
    for name in ["ib0", "0000:41:00.1"] {
        assert!(word(&said, name).contains("InfiniBand"), "{said:?}");
    }
    for function in 0..4 {
        let what = word(&said, &format!("0000:04:00.{function}"));
        assert!(
            what.contains("(ens2f4, ens2f4d1) are on 0000:04:00.4"),
            "{what}"
        );
    }
    assert!(word(&said, "10000:e0:02.0").contains("VMD"));
    assert_eq!(said.len(), 7);
}

#[test]
fn a_virtio_card_and_a_pf_without_driver_are_adapters() {
    let machine = fixture::igb();
    let root = machine.root();
    assert_eq!(said(root), []);
    let interfaces = Interfaces::read(root).unwrap();
    for pci in ["0000:01:00.0", "0000:00:02.0"] {
        let pci = pci.parse().unwrap();
        if root.pci(pci).exists() {
            assert!(can_be_adapter(root, &interfaces, pci).unwrap(), "{pci}");
        }
    }
    machine.remove("sys/class/net/pf0");
    let interfaces = Interfaces::read(root).unwrap();
    let pf = "0000:01:00.0".parse().unwrap();
    assert!(can_be_adapter(root, &interfaces, pf).unwrap());
    assert!(!can_be_adapter(root, &interfaces, "0000:01:10.0".parse().unwrap()).unwrap());
}
