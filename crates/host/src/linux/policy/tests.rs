//! Policy on the real kernel.

use super::*;
use crate::linux::{
    attributes::push,
    netlink::{Netlink, dumps, ifindex},
    own_network::{bridge, in_own_network, name, skipped},
    sysfs,
    uapi::{
        CREATE, EXCLUSIVE, IFLA_BR_VLAN_FILTERING, RTM_NEWQDISC, TC_H_INGRESS, TC_H_MIN_INGRESS,
        TC_H_ROOT, TCA_INGRESS_BLOCK, TCA_KIND, TCA_OPTIONS, TCM_IFINDEX_MAGIC_BLOCK, tcmsg,
    },
};

/// linux/rtnetlink.h
const RTM_NEWTFILTER: u16 = 44;

fn path(tap: &str) -> PolicyPath {
    PolicyPath {
        tap: name(tap),
        bridge: name("br0"),
        uplinks: vec![name("t9")],
    }
}

/// What is found on the way of a tap, in words.
fn on(root: &Root, tap: &str) -> Vec<String> {
    let found = observe(root, &[path(tap)]).remove(0).unwrap();
    let words = found
        .iter()
        .map(|one| format!("{}: {}", one.place, one.rule));
    words.collect()
}

fn qdisc(device: &str, kind: &str, handle: u32, parent: u32, more: &[(u16, Vec<u8>)]) {
    let mut message = tcmsg(ifindex(&name(device)).unwrap(), handle, parent);
    push(&mut message, TCA_KIND, format!("{kind}\0").as_bytes());
    for (attribute, value) in more {
        push(&mut message, *attribute, value);
    }
    let mut netlink = Netlink::route().unwrap();
    let made = netlink.request("qdisc", RTM_NEWQDISC, CREATE | EXCLUSIVE, &message);
    made.unwrap();
}

/// A u32 filter that lets everything pass; an error if the kernel has no such filter.
fn filter(index: u32, parent: u32) -> Result<()> {
    let mut message = tcmsg(index, 0, parent);
    // Priority 1, all protocols (ETH_P_ALL, big-endian).
    message[16..20].copy_from_slice(&(1u32 << 16 | u32::from(3u16.to_be())).to_ne_bytes());
    push(&mut message, TCA_KIND, b"u32\0");
    // TCA_U32_CLASSID, and TCA_U32_SEL: struct tc_u32_sel with one key that fits all.
    let (mut options, mut selector) = (Vec::new(), vec![0; 16]);
    (selector[0], selector[2]) = (1, 1);
    selector.extend([0; 16]);
    push(&mut options, 1, &1u32.to_ne_bytes());
    push(&mut options, 5, &selector);
    push(&mut message, TCA_OPTIONS, &options);
    let mut netlink = Netlink::route()?;
    netlink.request("filter", RTM_NEWTFILTER, CREATE | EXCLUSIVE, &message)?;
    Ok(())
}

#[test]
fn a_path_without_policy_costs_a_fixed_number_of_dumps() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t1", "t2", "t3", "t9"]));
        let look = |taps: &[&str]| {
            let paths: Vec<_> = taps.iter().map(|tap| path(tap)).collect();
            let before = dumps();
            let found = observe(root, &paths);
            assert!(
                found.iter().all(|found| found == &Ok(Vec::new())),
                "{found:?}"
            );
            dumps() - before
        };
        assert_eq!(look(&[]), 0);
        assert_eq!(look(&["t0"]), look(&["t0", "t1", "t2", "t3"]));
    });
}

#[test]
fn flags_and_disciplines_are_found_on_their_own_path_only() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t1", "t2", "t9"]));
        let flag = |port: &str, flag: &str, value: &str| {
            let file = root.path(&format!("sys/class/net/{port}/brport/{flag}"));
            sysfs::write(&file, value, "set a flag").unwrap();
        };
        flag("t0", "isolated", "1");
        flag("t0", "multicast_flood", "0");
        qdisc("t1", "htb", 0x1_0000, TC_H_ROOT, &[(TCA_OPTIONS, htb())]);
        assert_eq!(
            on(root, "t0"),
            [
                "t0: bridge port flag multicast_flood is 0",
                "t0: bridge port flag isolated is 1"
            ]
        );
        assert_eq!(on(root, "t1"), ["t1: qdisc htb 1: root"]);
        assert_eq!(on(root, "t2"), [""; 0]);
        // The uplink is on everybody's path.
        qdisc("t9", "htb", 0x2_0000, TC_H_ROOT, &[(TCA_OPTIONS, htb())]);
        assert_eq!(on(root, "t2"), ["t9: qdisc htb 2: root"]);
        // What is gone is its own path's error.
        let found = observe(root, &[path("t8"), path("t2")]);
        assert!(found[0].as_ref().is_err_and(HostError::is_gone));
        assert!(found[1].is_ok());
    });
}

/// TCA_HTB_INIT: struct tc_htb_glob with version 3 and r2q 10.
fn htb() -> Vec<u8> {
    let mut options = Vec::new();
    let words = [3u32, 10, 0, 0, 0];
    push(&mut options, 2, &words.map(u32::to_ne_bytes).concat());
    options
}

#[test]
fn filters_are_found_at_hooks_and_in_shared_blocks() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t1", "t2", "t9"]));
        let block = (TCA_INGRESS_BLOCK, 7u32.to_ne_bytes().to_vec());
        qdisc("t0", "clsact", 0xffff_0000, TC_H_INGRESS, &[]);
        for tap in ["t1", "t2"] {
            qdisc(
                tap,
                "ingress",
                0xffff_0000,
                TC_H_INGRESS,
                std::slice::from_ref(&block),
            );
        }
        for tap in ["t0", "t1", "t2"] {
            assert_eq!(
                on(root, tap),
                [""; 0],
                "a place without filters restricts nothing"
            );
        }
        let t0 = ifindex(&name("t0")).unwrap();
        match filter(t0, TC_H_MIN_INGRESS) {
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                return skipped("filters", "the kernel has no u32 filter");
            }
            other => other.unwrap(),
        }
        filter(TCM_IFINDEX_MAGIC_BLOCK, 7).unwrap();
        assert_eq!(on(root, "t0"), ["t0: tc filter u32 on clsact ingress"]);
        for tap in ["t1", "t2"] {
            let found = on(root, tap);
            let wanted = format!("{tap}: tc filter u32 on ingress block 7");
            assert!(found.contains(&wanted), "{found:?}");
        }
    });
}

#[test]
fn vlans_are_judged_at_the_ports_of_the_bridge() {
    in_own_network(|root| {
        if !bridge("br0", &[(IFLA_BR_VLAN_FILTERING, 1)], &["t0", "t9"]) {
            return skipped("VLANs", "the kernel's bridge has no VLAN filtering");
        }
        assert_eq!(on(root, "t0"), [""; 0], "VLAN 1 untagged at both");
        let below = PolicyPath {
            uplinks: vec![name("t9"), name("g9")],
            ..path("t0")
        };
        assert_eq!(observe(root, &[below]), [Ok(Vec::new())], "below a bond");
        let alone = PolicyPath {
            uplinks: Vec::new(),
            ..path("t0")
        };
        let found = observe(root, &[alone]).remove(0).unwrap();
        let kind = PolicyKind::AccessVlan {
            vlan: 1,
            uplink_tagged: false,
        };
        assert_eq!(found[0].kind, kind);
        assert_eq!(found[0].rule, "VLAN filtering on br0: 1 PVID untagged");

        let typed = |line: &str| {
            let mut words = line.split(' ');
            let done = std::process::Command::new(words.next().unwrap())
                .args(words)
                .status();
            assert!(done.unwrap().success(), "{line}");
        };
        let is_access = |uplink_tagged| {
            let found = observe(root, &[path("t0")]).remove(0).unwrap();
            let kind = PolicyKind::AccessVlan {
                vlan: 42,
                uplink_tagged,
            };
            assert!(found.iter().any(|found| found.kind == kind), "{found:?}");
            found
        };
        typed("bridge vlan add dev t0 vid 42 pvid untagged");
        typed("bridge vlan del dev t0 vid 1");
        is_access(false);
        typed("bridge vlan add dev t9 vid 42");
        assert_eq!(is_access(true).len(), 1);
        typed("bridge vlan set dev t0 vid 42 state blocking");
        let found = is_access(true);
        assert_eq!(found[1].rule, "VLAN 42's state is blocking, not forwarding");
        assert_eq!(found[1].name, None);
        typed("bridge vlan set dev t0 vid 42 state forwarding");
        // Another VLAN's is none of the guest's business.
        typed("bridge vlan set dev t9 vid 1 state disabled");
        assert_eq!(is_access(true).len(), 1);
        typed("ip link set br0 type bridge vlan_protocol 802.1ad");
        is_access(false);
    });
}

/// As libvirt puts `<bandwidth><outbound/>` in place.
#[test]
fn a_policer_for_all_that_a_guest_sends_is_a_limit() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t9"]));
        let tc = |words: &str| {
            let done = std::process::Command::new("tc")
                .args(words.split(' '))
                .output();
            done.unwrap()
        };
        let filter = "filter add dev t0 parent ffff: protocol all u32 match u32 0 0 police";
        for (more, mbps) in [
            (
                "rate 1250kbps burst 100kb mtu 64kb drop flowid :1",
                Some(10),
            ),
            ("rate 1251kbps burst 100kb mtu 64kb drop flowid :1", None),
            (
                "rate 1250kbps peakrate 2500kbps burst 100kb mtu 64kb drop flowid :1",
                None,
            ),
            ("rate 1250kbps burst 100kb mtu 64kb pass flowid :1", None),
        ] {
            qdisc("t0", "ingress", 0xffff_0000, TC_H_INGRESS, &[]);
            let done = tc(&format!("{filter} {more}"));
            if !done.status.success() {
                let why = String::from_utf8_lossy(&done.stderr).into_owned();
                return skipped("policers", why.trim());
            }
            let found = observe(root, &[path("t0")]).remove(0).unwrap();
            let wanted = PolicyKind::Bandwidth {
                outbound_mbps: mbps,
                inbound_mbps: None,
            };
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].kind == wanted, mbps.is_some(), "{more}: {found:?}");
            assert!(tc("qdisc del dev t0 ingress").status.success());
        }
    });
}
