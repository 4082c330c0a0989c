//! Flags and state of the bridge's ports.

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{Interface, finding};
use crate::linux::{
    uapi::{
        IFLA_BRPORT_BCAST_FLOOD, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LOCKED, IFLA_BRPORT_MAB,
        IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_MCAST_MAX_GROUPS, IFLA_BRPORT_NEIGH_SUPPRESS,
        IFLA_BRPORT_NEIGH_VLAN_SUPPRESS, IFLA_BRPORT_PROXYARP, IFLA_BRPORT_PROXYARP_WIFI,
        IFLA_BRPORT_STATE, IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_VLAN_TUNNEL,
    },
    vlans::FORWARDING,
};

/// Flags that restrict or change what passes any port, as sysfs or `bridge -d link` calls them, and how
/// they read when they do not. Others (`bpdu_guard`, `root_block`, `hairpin`, `multicast_fast_leave` …) are
/// about the bridge's own protocols, or let more through.
const FLAGS: [(u16, &str, bool); 10] = [
    (IFLA_BRPORT_LOCKED, "locked", false),
    (IFLA_BRPORT_MAB, "mab", false),
    (IFLA_BRPORT_NEIGH_SUPPRESS, "neigh_suppress", false),
    (
        IFLA_BRPORT_NEIGH_VLAN_SUPPRESS,
        "neigh_vlan_suppress",
        false,
    ),
    (IFLA_BRPORT_PROXYARP, "proxyarp", false),
    (IFLA_BRPORT_PROXYARP_WIFI, "proxyarp_wifi", false),
    (IFLA_BRPORT_VLAN_TUNNEL, "vlan_tunnel", false),
    (IFLA_BRPORT_BCAST_FLOOD, "broadcast_flood", true),
    (IFLA_BRPORT_MCAST_FLOOD, "multicast_flood", true),
    (IFLA_BRPORT_MCAST_MAX_GROUPS, "mcast_max_groups", false),
];
/// Isolation is between ports that both have it.
const OF_TAP: (u16, &str, bool) = (IFLA_BRPORT_ISOLATED, "isolated", false);
/// Where a guest's frames to addresses that nobody knows go. libvirt turns it off at taps whose addresses it
/// writes down itself, which restricts nothing.
const OF_UPLINK: (u16, &str, bool) = (IFLA_BRPORT_UNICAST_FLOOD, "unicast_flood", true);

/// What restricts a VM at its own port.
pub fn of_tap(tap: &Interface) -> Vec<PolicyFinding> {
    restricting(tap, "tap", OF_TAP)
}

/// What restricts all at the way out; nothing at what is no port itself (below a bond).
pub fn of_uplink(uplink: &Interface) -> Vec<PolicyFinding> {
    restricting(uplink, "uplink", OF_UPLINK)
}

fn restricting(port: &Interface, role: &str, own: (u16, &str, bool)) -> Vec<PolicyFinding> {
    let flags = FLAGS.iter().chain([&own]);
    let flags = flags.filter_map(|(attribute, flag, harmless)| {
        let value = port.port_flag(*attribute)?;
        let rule = format!("bridge port flag {flag} is {}", u8::from(value));
        let name = format!("{role}/{flag}");
        let found = || finding(PolicyKind::Isolation, &port.name, rule, &name);
        (value != *harmless).then(found)
    });
    flags.chain(blocked(port)).collect()
}

/// A port that has a signal and does not forward: the spanning tree, or somebody by hand (if_bridge.h,
/// `BR_STATE_…`). Nothing waives it, for nothing passes.
fn blocked(port: &Interface) -> Option<PolicyFinding> {
    let state = port.port_byte(IFLA_BRPORT_STATE)?;
    (port.carrier && state != FORWARDING).then(|| not_forwarding(port, "the bridge port", state))
}

/// Something of a port, in a state in which no frames pass.
pub fn not_forwarding(port: &Interface, what: &str, state: u8) -> PolicyFinding {
    const STATES: [&str; 5] = [
        "disabled",
        "listening",
        "learning",
        "forwarding",
        "blocking",
    ];
    let state = STATES.get(usize::from(state)).unwrap_or(&"unknown");
    PolicyFinding {
        kind: PolicyKind::Isolation,
        place: port.name.to_string(),
        rule: format!("{what}'s state is {state}, not forwarding"),
        name: None,
    }
}
