//! Addresses that VFs of an adapter must reach on the host, and whether the adapter's filter has room for
//! them.
//!
//! Those of all NICs on the bridge count, also of guests that are on a VF: each may come back to its tap, and
//! is cut off from VFs then if there is no room for it.

use std::collections::BTreeSet;

use accelnet_model::{AdapterFacts, Code, Intent, MacAddr, Problem};

use crate::{Observed, profile};

/// Addresses other than its NIC's own that are kept reachable behind one port: a guest with a few
/// containers or a VRRP address, not one that makes them up. What is beyond is reached from VFs only
/// while nobody else needs the room, which is never promised.
pub const OTHERS_A_PORT: usize = 16;

/// What the filter of the bridge's uplinks must have room for.
fn needed(observed: &Observed, intent: &Intent) -> BTreeSet<MacAddr> {
    let Some(bridge) = observed.bridge(&intent.bridge) else {
        return BTreeSet::new();
    };
    let nics: BTreeSet<MacAddr> = observed
        .vms_on(&bridge.ifname)
        .flat_map(|vm| vm.nics.iter().map(|nic| nic.mac))
        .collect();
    let mut found = nics.clone();
    found.insert(bridge.mac);
    let is_uplink = |name| {
        let mut adapters = observed.adapters.iter();
        adapters.any(|adapter| observed.port_of(adapter, &intent.bridge) == Some(name))
    };
    for port in bridge.ports.iter().filter(|port| !is_uplink(&port.ifname)) {
        let entries = port.fdb.iter().filter(|entry| !entry.local);
        let others: BTreeSet<MacAddr> = entries
            .map(|entry| entry.mac)
            .filter(|mac| !mac.is_group() && !mac.is_zero() && !nics.contains(mac))
            .collect();
        found.extend(others.into_iter().take(OTHERS_A_PORT));
    }
    found
}

/// Why no more VFs of the adapter are given out: there would be addresses on the host that they do not reach.
/// Where nobody knows how much room there is the kernel says so when it is full.
pub fn overflow(observed: &Observed, intent: &Intent, adapter: &AdapterFacts) -> Option<Problem> {
    let room = profile::filter_room(adapter)?;
    let needed = needed(observed, intent);
    let missing = |mac: &&MacAddr| !adapter.filter.contains(mac) && **mac != adapter.mac;
    // Whatever the number is, what is in is in.
    let has_all = !needed.iter().any(|mac| missing(&mac));
    let count = needed.iter().filter(|mac| **mac != adapter.mac).count();
    if has_all || count <= room as usize {
        return None;
    }
    let name = &adapter.ifname;
    let text = format!(
        "{count} addresses behind {} must be reached from VFs of {name}, whose filter has room for {room} \
         beside its own and those of its {} VFs.",
        intent.bridge,
        adapter.vfs.len()
    );
    let problem = Problem::new(Code::ReachabilityNotOffloadable, text).about("adapter", name);
    Some(problem.with_cure(
        "Move VMs that need no VF to another bridge, or use fewer VFs or an adapter with a larger filter.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// A node with so many VMs on the bridge.
    fn node(vms: u8) -> Observed {
        let mut observed = fixture::observed();
        observed.vms = (1..=vms).map(fixture::vm).collect();
        observed
    }

    fn refused(observed: &Observed) -> Option<String> {
        let found = overflow(observed, &fixture::intent(), &observed.adapters[0]);
        found.map(|problem| problem.detail)
    }

    #[test]
    fn vfs_are_refused_where_not_all_could_be_reached() {
        let vfs = node(1).adapters[0].vfs.len() as u8;
        let room = 24 - 1 - vfs;
        // The bridge's own address is the adapter's, or one of them.
        let own = u8::from(needed(&node(0), &fixture::intent()).len() > 0);
        assert_eq!(refused(&node(room - own)), None);
        let found = refused(&node(room + 1)).unwrap();
        assert!(
            found.contains("pf0") && found.contains("room for"),
            "{found}"
        );
    }

    #[test]
    fn what_is_in_is_in_and_what_nobody_knows_is_tried() {
        let mut observed = node(40);
        observed.adapters[0].filter = needed(&observed, &fixture::intent()).into_iter().collect();
        assert_eq!(refused(&observed), None);
        let mut observed = node(40);
        observed.adapters[0].driver = Some("mlx5_core".into());
        assert_eq!(refused(&observed), None);
    }

    #[test]
    fn a_guest_that_makes_up_addresses_counts_for_no_more_than_its_share() {
        let mut observed = node(1);
        let tap = observed.bridges[0]
            .ports
            .iter()
            .position(|port| port.ifname.as_str() == "vnet1");
        for number in 0..200u8 {
            let mac = MacAddr([2, 0, 0, 1, 0, number]);
            let made_up = fixture::port("x", Some(mac)).fdb.remove(0);
            observed.bridges[0].ports[tap.unwrap()].fdb.push(made_up);
        }
        let count = needed(&observed, &fixture::intent()).len();
        assert!(count <= 2 + OTHERS_A_PORT, "{count}");
    }
}
