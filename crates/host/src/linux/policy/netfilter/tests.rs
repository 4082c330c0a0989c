//! Packet filters on the real kernel, written with `nft`.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::linux::{
    own_network::{bridge, cable, in_own_network, name, skipped},
    sysfs,
};

/// Puts a ruleset in place of what there is; false if there is no `nft`.
fn nft(rules: &str) -> bool {
    let started = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn();
    let mut nft = match started {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
        other => other.unwrap(),
    };
    // The tool wants a line's end between two that close.
    let rules = format!("flush ruleset\n{rules}\n").replace("} }", "}\n}");
    nft.stdin
        .take()
        .unwrap()
        .write_all(rules.as_bytes())
        .unwrap();
    let start: String = rules.chars().take(500).collect();
    assert!(nft.wait().unwrap().success(), "{start}");
    true
}

/// What frames of a tap on br0 with uplink t9 meet, in words.
fn on(root: &Root, tap: &str) -> Vec<String> {
    let links = Links::read().unwrap();
    let link = |text: &str| links.required(&name(text)).unwrap();
    let mut netfilter = Netfilter::read(root, [link("br0")].into_iter()).unwrap();
    let found = netfilter.on(&links, link("br0"), link(tap), &[link("t9")]);
    let words = found.iter().map(|one| {
        format!(
            "{}: {} [{}]",
            one.place,
            one.rule,
            one.name.as_ref().unwrap()
        )
    });
    words.collect()
}

fn in_a_network_with_nft(test: impl FnOnce(&Root) + Send + 'static) {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t1", "t9"]));
        match nft("") {
            true => test(root),
            false => skipped("packet filters", "there is no nft"),
        }
    });
}

/// br_netfilter for this bridge alone, or for all; false if the kernel has none.
fn br_netfilter(root: &Root, file: &str, value: &str) -> bool {
    let there = root.path("proc/sys/net/bridge").exists();
    if there {
        sysfs::write(&root.path(file), value, "set br_netfilter").unwrap();
    }
    there
}

#[test]
fn a_chain_counts_by_its_policy_too() {
    in_a_network_with_nft(|root| {
        assert_eq!(on(root, "t0"), [""; 0]);
        nft(
            "table bridge f { chain passing { type filter hook forward priority 0; policy accept; } }",
        );
        assert_eq!(on(root, "t0"), [""; 0], "it lets everything pass");
        nft(
            "table bridge f { chain passing { type filter hook forward priority 0; policy drop; } }",
        );
        assert_eq!(
            on(root, "t0"),
            ["table bridge f: nftables chain passing drops by its policy [nft/bridge/f/passing]"]
        );
    });
}

#[test]
fn rules_of_other_ports_are_not_this_ones() {
    in_a_network_with_nft(|root| {
        nft("table bridge f {
            chain passing {
                type filter hook forward priority 0;
                iifname \"t1\" ether saddr != 02:00:00:00:00:01 drop
                oifname \"t1\" jump more
                counter log
            }
            chain more { ip protocol tcp drop; }
        }");
        assert_eq!(on(root, "t0"), [""; 0]);
        let found = on(root, "t1");
        assert_eq!(
            found,
            [
                "table bridge f: nftables chain passing: a rule with 'drop' and 1 more [nft/bridge/f/passing]"
            ]
        );
        // From another port to this one: on a VF the frame would go out by the uplink instead.
        nft("table bridge f {
            chain passing {
                type filter hook forward priority 0;
                iifname \"t1\" oifname \"t0\" drop
            }
        }");
        assert_eq!(on(root, "t0").len(), 1);
        for rule in [
            "oifname \"t*\" drop",
            "iifname != \"t1\" drop",
            "meta iif t0 drop",
            "ether type arp drop",
        ] {
            nft(&format!(
                "table bridge f {{ chain passing {{ type filter hook prerouting priority 0; {rule}; }} }}"
            ));
            assert_eq!(on(root, "t0").len(), 1, "{rule}");
        }
        nft("table bridge f { chain nowhere { drop; } }");
        assert_eq!(on(root, "t0"), [""; 0], "nothing goes there");
    });
}

#[test]
fn chains_of_devices_are_of_their_devices() {
    in_a_network_with_nft(|root| {
        for (family, on_uplink) in [("netdev", false), ("inet", false), ("netdev", true)] {
            let device = if on_uplink { "t9" } else { "t0" };
            nft(&format!(
                "table {family} f {{ chain coming {{ type filter hook ingress device \"{device}\" priority 0; ip protocol udp drop; }} }}"
            ));
            assert_eq!(
                on(root, "t0"),
                [format!(
                    "table {family} f: nftables chain coming: a rule with 'drop' [nft/{family}/f/coming]"
                )]
            );
            assert_eq!(on(root, "t1").len(), usize::from(on_uplink));
            // The same within one look.
            let links = Links::read().unwrap();
            let link = |text: &str| links.required(&name(text)).unwrap();
            let mut netfilter = Netfilter::read(root, [link("br0")].into_iter()).unwrap();
            for (tap, found) in [("t1", usize::from(on_uplink)), ("t0", 1)] {
                let on = netfilter.on(&links, link("br0"), link(tap), &[link("t9")]);
                assert_eq!(on.len(), found, "{tap}: {on:?}");
            }
        }
    });
}

/// The lab does the same with br_netfilter for all bridges.
#[test]
fn families_of_ip_count_where_br_netfilter_calls_them() {
    in_a_network_with_nft(|root| {
        let drop =
            "table ip6 f { chain passing { type filter hook forward priority 0; policy drop; } }";
        nft(drop);
        // A new network begins with it on.
        for table in ["iptables", "ip6tables", "arptables"] {
            br_netfilter(
                root,
                &format!("proc/sys/net/bridge/bridge-nf-call-{table}"),
                "0",
            );
        }
        assert_eq!(on(root, "t0"), [""; 0]);
        let of_br0 = "sys/class/net/br0/bridge/nf_call_ip6tables";
        if !br_netfilter(root, of_br0, "1") {
            return skipped("br_netfilter", "the kernel does not have it loaded");
        }
        assert!(on(root, "t0")[0].contains("[nft/ip6/f/passing]"));
        br_netfilter(root, of_br0, "0");
        assert_eq!(on(root, "t0"), [""; 0]);
        let everywhere = "proc/sys/net/bridge/bridge-nf-call-ip6tables";
        br_netfilter(root, everywhere, "1");
        assert!(on(root, "t0")[0].contains("bridge-nf-call"));
        // What cannot meet frames whose way in and out is br0.
        cable("docker0", None);
        nft("table ip6 f {
            chain passing { type filter hook forward priority 0; policy accept; jump USER; jump DOCKER; }
            chain USER { return; }
            chain DOCKER { oifname \"docker0\" drop; iifname \"docker0\" oifname != \"docker0\" jump NOT_OURS; }
            chain NOT_OURS { drop; }
        }");
        assert_eq!(on(root, "t0"), [""; 0]);
        nft("table ip6 f {
            chain passing { type filter hook forward priority 0; policy accept; jump DOCKER; }
            chain DOCKER { ip6 daddr 2001:db8::/32 drop; }
        }");
        assert_eq!(on(root, "t0").len(), 1);
        assert!(
            on(root, "t0")[0].contains("chain DOCKER: a rule with 'drop', by its names of Docker")
        );
        // Local traffic only.
        nft("table ip6 f { chain coming { type filter hook input priority 0; policy drop; } }");
        assert_eq!(on(root, "t0"), [""; 0]);
    });
}

#[test]
fn ten_thousand_rules_for_many_taps_are_read_once() {
    in_a_network_with_nft(|root| {
        let rules: Vec<String> = (0..10_000)
            .map(|n| format!("iifname \"x{n}\" drop"))
            .collect();
        nft(&format!(
            "table bridge f {{ chain passing {{ type filter hook forward priority 0; {} ; }} }}",
            rules.join("; ")
        ));
        let links = Links::read().unwrap();
        let link = |text: &str| links.required(&name(text)).unwrap();
        let before = crate::linux::netlink::dumps();
        let mut netfilter = Netfilter::read(root, [link("br0")].into_iter()).unwrap();
        let dumps = crate::linux::netlink::dumps() - before;
        for tap in ["t0", "t1"] {
            let found = netfilter.on(&links, link("br0"), link(tap), &[link("t9")]);
            assert_eq!(found, []);
        }
        assert_eq!(crate::linux::netlink::dumps() - before, dumps);
        assert_eq!(
            netfilter.known.len(),
            1,
            "one answer for all taps that no rule names"
        );
    });
}
