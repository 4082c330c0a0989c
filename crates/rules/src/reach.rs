//! Addresses that VFs of an adapter must reach on the host, and whether the adapter's filter has room for
//! them.
//!
//! Those of all NICs on the bridge count, also of guests that are on a VF: each may come back to its tap, and
//! is cut off from VFs then if there is no room for it. Other addresses behind its ports have what room is
//! left, so that a guest that makes up addresses takes it from nobody.

use std::collections::BTreeSet;

use accelnet_model::{AdapterFacts, Code, Intent, MacAddr, Problem};

use crate::{Observed, profile};

/// Addresses other than its NIC's own that are kept reachable behind one port: a guest with a few
/// containers or a VRRP address, not one that makes them up.
pub const OTHERS_A_PORT: usize = 16;

/// What the filter of the bridge's uplinks must have room for: the bridge and all NICs on it.
fn needed(observed: &Observed, intent: &Intent) -> BTreeSet<MacAddr> {
    let Some(bridge) = observed.bridge(&intent.bridge) else {
        return BTreeSet::new();
    };
    let vms = observed.vms_on(&bridge.ifname);
    let nics = vms.flat_map(|vm| vm.nics.iter().map(|nic| nic.mac));
    nics.chain([bridge.mac]).collect()
}

/// How many addresses that are nobody's NIC's have room in the filters of all these adapters; any number where
/// nobody knows.
pub fn room_for_others(observed: &Observed, intent: &Intent, adapters: &[&AdapterFacts]) -> usize {
    let rooms = adapters
        .iter()
        .filter_map(|adapter| profile::filter_room(adapter));
    let needed = needed(observed, intent).len();
    rooms
        .min()
        .map_or(usize::MAX, |room| (room as usize).saturating_sub(needed))
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
    use accelnet_model::Support;

    use super::*;
    use crate::fixture;

    /// A node with so many VMs on the bridge.
    fn node(vms: u8) -> Observed {
        let mut observed = fixture::observed();
        observed.vms = (1..=vms).map(fixture::vm).collect();
        observed.adapters[0].filter_room = Support::Unsupported;
        observed
    }

    fn refused(observed: &Observed) -> Option<String> {
        let found = overflow(observed, &fixture::intent(), &observed.adapters[0]);
        found.map(|problem| problem.detail)
    }

    #[test]
    fn vfs_are_refused_where_not_all_could_be_reached() {
        let mut answers = (false, false);
        for vms in 0..40 {
            let observed = node(vms);
            let adapter = &observed.adapters[0];
            let room = 24 - 1 - adapter.vfs.len();
            let others = needed(&observed, &fixture::intent());
            let count = others.iter().filter(|mac| **mac != adapter.mac).count();
            let found = refused(&observed);
            assert_eq!(
                found.is_some(),
                count > room,
                "{vms} VMs, {count}: {found:?}"
            );
            match found {
                None => answers.0 = true,
                Some(text) => {
                    answers.1 = text.contains("pf0") && text.contains("room for 16");
                }
            }
        }
        assert_eq!(answers, (true, true));
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
    fn others_have_what_is_left() {
        let left = |observed: &Observed| {
            room_for_others(observed, &fixture::intent(), &[&observed.adapters[0]])
        };
        assert_eq!(left(&node(3)), 16 - 3 - 1);
        assert_eq!(left(&node(30)), 0);
        let mut unknown = node(30);
        unknown.adapters[0].driver = Some("mlx5_core".into());
        assert_eq!(left(&unknown), usize::MAX);
    }
}
