//! Packet filter rules that see bridged frames: nftables' families `bridge` and `netdev`, and with
//! br_netfilter also those of IP (Documentation/networking/bridge.rst); legacy ebtables.

use std::collections::BTreeMap;

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{finding, sysfs};
use crate::{
    Result,
    linux::{
        netlink::Netlink,
        sysfs::Root,
        uapi::{DUMP, text_of},
    },
};

// linux/netfilter/nfnetlink.h, nf_tables.h, linux/netfilter.h.
const SUBSYSTEM: u16 = 10 << 8;
const NFT_MSG_GETRULE: u16 = SUBSYSTEM | 7;
const NFT_MSG_GETGEN: u16 = SUBSYSTEM | 16;
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
    let Some(mut netlink) = nf_tables()? else {
        return ebtables(root);
    };
    for (family, name) in families {
        for ((table, chain), rules) in rules(&mut netlink, family)? {
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

/// A socket to nf_tables; None if this kernel has none, and so no rules of it.
fn nf_tables() -> Result<Option<Netlink>> {
    let mut netlink = match Netlink::open(libc::NETLINK_NETFILTER) {
        Err(error) if error.is_unsupported() => return Ok(None),
        other => other?,
    };
    // A kernel with nf_tables has a number for its rules, and for a request of a subsystem that it does
    // not have this answer (net/netfilter/nfnetlink.c, `nfnetlink_rcv_msg`).
    match netlink.request("find nf_tables", NFT_MSG_GETGEN, 0, &[0; 4]) {
        Err(error) if error.errno() == Some(libc::EINVAL) => Ok(None),
        other => other.map(|_| Some(netlink)),
    }
}

fn rules(netlink: &mut Netlink, family: u8) -> Result<BTreeMap<(String, String), u32>> {
    // struct nfgenmsg: family, version, resource id.
    let message = [family, 0, 0, 0];
    let mut chains = BTreeMap::new();
    let operation = "read packet filter rules";
    let answers = netlink.request(operation, NFT_MSG_GETRULE, DUMP, &message)?;
    for answer in answers
        .iter()
        .filter(|answer| answer.payload.first() == Some(&family))
    {
        let Some(attributes) = answer.payload.get(4..) else {
            continue;
        };
        let name = |kind| text_of(attributes, kind);
        *chains
            .entry((name(NFTA_RULE_TABLE), name(NFTA_RULE_CHAIN)))
            .or_default() += 1;
    }
    Ok(chains)
}

/// Legacy ebtables' rules cannot be listed without its own interface; that its tables are loaded is
/// sign enough to refuse.
fn ebtables(root: &Root) -> Result<Vec<PolicyFinding>> {
    // A kernel without modules has no such file, and builds none of them in by default.
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
