use super::*;
use crate::linux::fixture;

const MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 0x53, 0xe2]);

/// What is said of `eth2` with these files.
fn owners(files: &[(&str, &str)]) -> Vec<String> {
    let machine = fixture::igb();
    for (path, text) in files {
        machine.write(path, text);
    }
    let altnames = ["enp3s0f0".parse().unwrap()];
    VfOwners::read(machine.root()).of(&Adapter {
        ifname: &"eth2".parse().unwrap(),
        altnames: &altnames,
        macs: [MAC, MacAddr::ZERO],
        driver: Some("igb"),
        pci: "0000:03:00.0".parse().unwrap(),
    })
}

#[test]
fn profiles_and_units_that_set_vfs_are_named() {
    let profile = "[connection]\nid=up0\ntype=ethernet\ninterface-name=eth2\ncontroller=br0\n\
                   port-type=bridge\n[sriov]\ntotal-vfs=2\n";
    let link =
        "[Match]\nPermanentMACAddress=00:00:5e:00:53:e2\n\n[Link]\nSR-IOVVirtualFunctions=2\n";
    for (path, text, words) in [
        (
            "etc/NetworkManager/system-connections/up0.nmconnection",
            profile,
            "sets the number of its VFs (2)",
        ),
        (
            "run/NetworkManager/system-connections/up0",
            "[connection]\ntype=802-3-ethernet\n[802-3-ethernet]\nmac-address=00:00:5E:00:53:E2\n\
             [sriov]\nautoprobe-drivers=0\n",
            "sets attributes of its VFs",
        ),
        (
            "usr/lib/NetworkManager/system-connections/all",
            "[connection]\ntype=ethernet\n[match]\ninterface-name=eth*;!eth3;\nkernel-command-line=x\n\
             [sriov]\ntotal-vfs=0\n",
            "may set the number of its VFs (0)",
        ),
        (
            "etc/systemd/network/10-sriov.link",
            link,
            "sets the number of its VFs (2)",
        ),
        (
            "usr/lib/systemd/network/10-x.link",
            "[Match]\nOriginalName=ens*\n# a comment\n[SR-IOV]\nVirtualFunction=0\nTrust=yes\n",
            "may set attributes of its VFs",
        ),
        (
            "run/systemd/network/up.network",
            "[Match]\nName=enp3*\n[SR-IOV]\nVirtualFunction=0\nLinkState=no\n",
            "sets attributes of its VFs",
        ),
        (
            "etc/systemd/network/up.link.d/10.conf",
            "[Link]\nSR-IOVVirtualFunctions=7\n",
            "may set the number of its VFs (7)",
        ),
    ] {
        // An addition alone is of no unit.
        let unit = ("usr/lib/systemd/network/up.link", "[Match]\nProperty=A=b\n");
        let found = owners(&[(path, text), unit]);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].ends_with(words), "{path}: {found:?}");
        let file = path.split(".d/").next().unwrap();
        let name = file.rsplit('/').next().unwrap();
        assert!(found[0].contains(name), "{path}: {found:?}");
    }
}

#[test]
fn what_is_for_others_or_sets_nothing_is_not() {
    let count = "[Link]\nSR-IOVVirtualFunctions=2\n";
    let link = |rule: &str| format!("[Match]\n{rule}\n{count}");
    for (path, text) in [
        (
            "etc/NetworkManager/system-connections/a",
            "[connection]\ntype=ethernet\ninterface-name=eth3\n[sriov]\ntotal-vfs=2\n".to_owned(),
        ),
        (
            "etc/NetworkManager/system-connections/a",
            "[connection]\ntype=wifi\n[sriov]\ntotal-vfs=2\n".to_owned(),
        ),
        (
            "etc/NetworkManager/system-connections/a",
            "[connection]\ntype=ethernet\ninterface-name=eth2\n".to_owned(),
        ),
        (
            "etc/systemd/network/a.link",
            link("PermanentMACAddress=00:00:5e:00:53:e3"),
        ),
        ("etc/systemd/network/a.link", link("Driver=ixgbe mlx5*")),
        ("etc/systemd/network/a.link", link("Path=pci-0000:04:*")),
        ("etc/systemd/network/a.link", link("Type=wlan")),
        (
            "etc/systemd/network/a.network",
            "[Match]\nName=!eth2\n[SR-IOV]\n".to_owned(),
        ),
        ("etc/systemd/network/a.netdev", link("Driver=igb")),
        (
            "etc/systemd/network/a.link",
            "[Match]\nDriver=igb\n#[SR-IOV]\n".to_owned(),
        ),
    ] {
        assert_eq!(owners(&[(path, &text)]), [""; 0], "{text}");
    }
}

#[test]
fn a_file_hides_another_of_its_name() {
    let sets = "[Match]\nDriver=igb\n[Link]\nSR-IOVVirtualFunctions=2\n";
    let hidden = [
        ("etc/systemd/network/a.link", ""),
        ("usr/lib/systemd/network/a.link", sets),
    ];
    assert_eq!(owners(&hidden), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let machine = fixture::igb();
    // A link that leads to itself cannot be read by anybody.
    machine.link("etc/systemd/network/a.link", "a.link");
    let found = VfOwners::read(machine.root()).of(&Adapter {
        ifname: &"eth2".parse().unwrap(),
        altnames: &[],
        macs: [MAC; 2],
        driver: None,
        pci: "0000:03:00.0".parse().unwrap(),
    });
    assert!(
        found.len() == 1 && found[0].contains("a.link cannot be read"),
        "{found:?}"
    );
}
