//! What is attached where bridged frames pass, by nfnetlink_hook (Linux 5.14;
//! include/uapi/linux/netfilter/nfnetlink_hook.h, net/netfilter/nfnetlink_hook.c).

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{Called, Family, NFGENMSG, finding, is_unknown_subsystem, socket};
use crate::{
    Result,
    linux::{
        attributes::{find, push, u32_at},
        netlink::{Message, Netlink},
        uapi::{DUMP, text_of},
    },
};

/// linux/netfilter/nfnetlink.h, `NFNL_SUBSYS_HOOK`; its only message asks.
const NFNL_MSG_HOOK_GET: u16 = 12 << 8;
const NFNLA_HOOK_HOOKNUM: u16 = 1;
const NFNLA_HOOK_FUNCTION_NAME: u16 = 4;
const NFNLA_HOOK_MODULE_NAME: u16 = 5;
const NFNLA_HOOK_CHAIN_INFO: u16 = 6;
const NFNLA_HOOK_INFO_TYPE: u16 = 2;
/// A chain of nf_tables, and (Linux 6.17) a flowtable of it: judged by its rules.
const OF_NF_TABLES: [u32; 2] = [1, 3];
/// Linux 6.4.
const BPF: u32 = 2;

/// The bridge's hooks (linux/netfilter_bridge.h): before, in, forward, out, after.
const BRIDGE_HOOKS: [u32; 5] = [0, 1, 2, 3, 4];
/// Of IP: before, forward, after; of ARP: forward. See [`super::ruleset::Hook::sees_bridged`].
const IP_HOOKS: [u32; 3] = [0, 2, 4];
const ARP_HOOKS: [u32; 1] = [2];

/// Functions of the kernel that restrict nothing by themselves.
const OWN: [&str; 26] = [
    // br_netfilter itself.
    "br_nf_pre_routing",
    "br_nf_local_in",
    "br_nf_forward",
    "br_nf_forward_ip",
    "br_nf_forward_arp",
    "br_nf_local_out",
    "br_nf_post_routing",
    "ip_sabotage_in",
    // Connection tracking: it puts fragments together and remembers.
    "ipv4_conntrack_defrag",
    "ipv6_defrag",
    "ipv4_conntrack_in",
    "ipv6_conntrack_in",
    "ipv4_confirm",
    "ipv6_confirm",
    "nf_confirm",
    "nf_ct_bridge_pre",
    "nf_ct_bridge_in",
    "nf_ct_bridge_post",
    // They look at marks that only a rule, which is seen, can have set.
    "apparmor_ip_postroute",
    "nf_nat_ipv4_pre_routing",
    "nf_nat_ipv4_out",
    "nf_nat_ipv6_in",
    "nf_nat_ipv6_out",
    // x_tables: what tables there are is asked for elsewhere.
    "ipt_do_table",
    "ip6t_do_table",
    "arpt_do_table",
];

/// What is there besides nf_tables and the kernel's own; `None` if this kernel does not tell.
pub fn read(called: Called) -> Result<Option<Vec<(Family, PolicyFinding)>>> {
    let Some(mut netlink) = socket()? else {
        return Ok(Some(Vec::new()));
    };
    let places = [
        (Family::Bridge, true, &BRIDGE_HOOKS[..]),
        (Family::Ip, called.ip, &IP_HOOKS[..]),
        (Family::Ip6, called.ip6, &IP_HOOKS[..]),
        (Family::Arp, called.arp, &ARP_HOOKS[..]),
    ];
    let mut found = Vec::new();
    for (family, asked, hooks) in places {
        for hook in hooks.iter().filter(|_| asked) {
            match attached(&mut netlink, family, *hook) {
                Err(error) if is_unknown_subsystem(&error) => return Ok(None),
                other => {
                    let judged = other?.iter().filter_map(judge).collect::<Vec<_>>();
                    found.extend(judged.into_iter().map(|finding| (family, finding)));
                }
            }
        }
    }
    Ok(Some(found))
}

fn attached(netlink: &mut Netlink, family: Family, hook: u32) -> Result<Vec<Message>> {
    let mut message = vec![family as u8, 0, 0, 0];
    push(&mut message, NFNLA_HOOK_HOOKNUM, &hook.to_be_bytes());
    let operation = "read what is attached to netfilter";
    netlink.request(operation, NFNL_MSG_HOOK_GET, DUMP, &message)
}

pub fn judge(answer: &Message) -> Option<PolicyFinding> {
    let attributes = answer.payload.get(NFGENMSG..).unwrap_or_default();
    let info = find(attributes, NFNLA_HOOK_CHAIN_INFO).unwrap_or_default();
    let kind = find(info, NFNLA_HOOK_INFO_TYPE).and_then(|kind| u32_at(kind, 0));
    let kind = kind.map(u32::from_be);
    let function = text_of(attributes, NFNLA_HOOK_FUNCTION_NAME);
    let module = text_of(attributes, NFNLA_HOOK_MODULE_NAME);
    let is_own = OWN.contains(&function.as_str()) || is_table_of_ip(&module);
    if kind.is_some_and(|kind| OF_NF_TABLES.contains(&kind)) || is_own {
        return None;
    }
    let place = match module.as_str() {
        "" => "netfilter".to_owned(),
        module => format!("netfilter, module {module}"),
    };
    let (policy, rule) = match kind {
        Some(BPF) => (PolicyKind::Ebpf, "a BPF program is attached".to_owned()),
        _ if module.starts_with("ebtable") => (
            PolicyKind::Firewall,
            format!("legacy ebtables is in use ({function})"),
        ),
        _ => (PolicyKind::Firewall, format!("function {function}")),
    };
    let owner = if module.is_empty() { "kernel" } else { &module };
    Some(finding(
        policy,
        &place,
        rule,
        &format!("hook/{owner}/{function}"),
    ))
}

/// Tables of x_tables for IP have functions of their own before Linux 5.15 (`iptable_filter_hook`).
fn is_table_of_ip(module: &str) -> bool {
    ["iptable_", "ip6table_", "arptable_"]
        .iter()
        .any(|begin| module.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(function: &str, module: &str, kind: Option<u32>) -> Message {
        let mut payload = vec![Family::Bridge as u8, 0, 0, 0];
        if !module.is_empty() {
            let module = format!("{module}\0");
            push(&mut payload, NFNLA_HOOK_MODULE_NAME, module.as_bytes());
        }
        let function = format!("{function}\0");
        push(&mut payload, NFNLA_HOOK_FUNCTION_NAME, function.as_bytes());
        if let Some(kind) = kind {
            let mut info = Vec::new();
            push(&mut info, NFNLA_HOOK_INFO_TYPE, &kind.to_be_bytes());
            push(&mut payload, NFNLA_HOOK_CHAIN_INFO, &info);
        }
        Message {
            kind: NFNL_MSG_HOOK_GET,
            flags: 0,
            payload,
        }
    }

    #[test]
    fn whatever_is_not_known_to_be_harmless_is_found() {
        for harmless in [
            hook("nft_do_chain_bridge", "nf_tables", Some(1)),
            hook("br_nf_pre_routing", "br_netfilter", None),
            hook("ipv4_conntrack_defrag", "nf_defrag_ipv4", None),
            hook("iptable_mangle_hook", "iptable_mangle", None),
        ] {
            assert_eq!(judge(&harmless), None);
        }
        let found = judge(&hook("ebt_filter_in", "ebtable_filter", None)).unwrap();
        assert!(found.rule.contains("legacy ebtables"), "{found:?}");
        let found = judge(&hook("bpf_nf_hook", "", Some(BPF))).unwrap();
        assert_eq!(found.kind, PolicyKind::Ebpf);
        let found = judge(&hook("drop_some", "vendor_filter", None)).unwrap();
        assert_eq!(found.place, "netfilter, module vendor_filter");
        // A kind that is newer than this list.
        assert!(judge(&hook("nft_do_chain", "nf_tables", Some(9))).is_some());
        assert!(
            judge(&hook("", "", None)).is_some(),
            "a kernel without names"
        );
    }
}
