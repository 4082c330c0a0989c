//! Packet filter rules that see bridged frames: nftables' families `bridge` and `netdev`, and with
//! br_netfilter also those of IP (Documentation/networking/bridge.rst); legacy ebtables.

use std::collections::BTreeMap;

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{finding, sysfs};
use crate::{
    Result,
    linux::{
        attributes::{find, text},
        netlink::Netlink,
        sysfs::Root,
    },
};

// linux/netfilter/nfnetlink.h, nf_tables.h, linux/netfilter.h.
const SUBSYSTEM: u16 = 10 << 8;
const NFT_MSG_GETRULE: u16 = SUBSYSTEM | 7;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFPROTO_NETDEV: u8 = 5;
const NFPROTO_BRIDGE: u8 = 7;
/// inet, ip, arp, ip6: only with br_netfilter.
const IP_FAMILIES: [(u8, &str); 4] = [(1, "inet"), (2, "ip"), (3, "arp"), (10, "ip6")];

/// One finding per chain with rules. A chain without rules lets everything pass but by its policy,
/// which is "accept" unless somebody also wrote rules.
pub fn observe(root: &Root) -> Result<Vec<PolicyFinding>> {
    let mut families = vec![(NFPROTO_BRIDGE, "bridge"), (NFPROTO_NETDEV, "netdev")];
    if bridged_frames_are_filtered(root)? {
        families.extend(IP_FAMILIES);
    }
    let mut found = Vec::new();
    for (family, name) in families {
        for ((table, chain), rules) in rules(family)? {
            let rule = format!("{rules} rule(s) in nftables chain {chain}");
            found.push(finding(
                PolicyKind::Firewall,
                &format!("table {name} {table}"),
                rule,
            ));
        }
    }
    found.extend(ebtables(root)?);
    Ok(found)
}

fn bridged_frames_are_filtered(root: &Root) -> Result<bool> {
    for table in ["iptables", "ip6tables", "arptables"] {
        let path = root.path(&format!("proc/sys/net/bridge/bridge-nf-call-{table}"));
        if sysfs::read(&path)?.is_some_and(|value| value != "0") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn rules(family: u8) -> Result<BTreeMap<(String, String), u32>> {
    // struct nfgenmsg: family, version, resource id.
    let message = [family, 0, 0, 0];
    let mut netlink = Netlink::open(libc::NETLINK_NETFILTER)?;
    let mut chains = BTreeMap::new();
    // A kernel without nf_tables (or this family) has no rules of it.
    let answers = netlink
        .request(
            "read packet filter rules",
            NFT_MSG_GETRULE,
            libc::NLM_F_DUMP as u16,
            &message,
        )
        .unwrap_or_default();
    for answer in answers
        .iter()
        .filter(|answer| answer.payload.first() == Some(&family))
    {
        let Some(attributes) = answer.payload.get(4..) else {
            continue;
        };
        let name = |kind| find(attributes, kind).map(text).unwrap_or_default();
        *chains
            .entry((name(NFTA_RULE_TABLE), name(NFTA_RULE_CHAIN)))
            .or_default() += 1;
    }
    Ok(chains)
}

/// Legacy ebtables' rules cannot be listed without its own interface; that its tables are loaded is
/// sign enough to refuse.
fn ebtables(root: &Root) -> Result<Vec<PolicyFinding>> {
    let modules = sysfs::read(&root.path("proc/modules"))?.unwrap_or_default();
    let loaded = modules.lines().filter_map(|line| line.split(' ').next());
    let tables =
        loaded.filter(|name| matches!(*name, "ebtable_filter" | "ebtable_nat" | "ebtable_broute"));
    Ok(tables
        .map(|name| {
            finding(
                PolicyKind::Firewall,
                &name,
                "legacy ebtables is in use (module loaded)",
            )
        })
        .collect())
}
