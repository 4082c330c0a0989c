//! Filters of traffic control, asked for only where a discipline shows that there can be some.

use std::collections::BTreeMap;

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{IfName, Qdisc, finding};
use crate::{
    Result,
    linux::{
        netlink::Netlink,
        uapi::{
            DUMP, RTM_GETTFILTER, TC_H_INGRESS_FILTERS, TC_H_MIN_EGRESS, TC_H_MIN_INGRESS,
            TCA_KIND, TCM_IFINDEX_MAGIC_BLOCK, TCMSG, tcmsg, text_of,
        },
    },
};

/// Where filters are: a device's place, or a block that devices share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Number of the device, or [`TCM_IFINDEX_MAGIC_BLOCK`].
    device: u32,
    /// The place at the device, or the block's number.
    parent: u32,
}

/// What was found in this look, since many devices can share a block: kinds of filters by place.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<Place, Vec<String>>);

/// Where a discipline's filters are, in words that `tc` has for it.
fn places(qdisc: &Qdisc) -> Vec<(Place, String)> {
    let device = qdisc.device;
    let own = |parent, hook: &str| (Place { device, parent }, hook.to_owned());
    let mut places = match qdisc.kind.as_str() {
        "ingress" => vec![own(TC_H_INGRESS_FILTERS, "ingress")],
        "clsact" => vec![
            own(TC_H_MIN_INGRESS, "clsact ingress"),
            own(TC_H_MIN_EGRESS, "clsact egress"),
        ],
        // The only harmless one that takes filters (net/sched/sch_fq_codel.c, `tcf_block`); one that is
        // not harmless is reported for itself, and its filters with it.
        "fq_codel" if qdisc.handle != 0 => vec![own(qdisc.handle, "fq_codel")],
        _ => Vec::new(),
    };
    // Those of a shared block are shown by the block alone.
    for (block, direction) in qdisc.blocks.iter().zip(["ingress", "egress"]) {
        if let Some(block) = block {
            let place = Place {
                device: TCM_IFINDEX_MAGIC_BLOCK,
                parent: *block,
            };
            places.push((place, format!("{direction} block {block}")));
        }
    }
    places
}

impl Filters {
    /// The filters that a discipline has for a device.
    pub fn observe(
        &mut self,
        device: &IfName,
        role: &str,
        qdisc: &Qdisc,
    ) -> Result<Vec<PolicyFinding>> {
        let mut found = Vec::new();
        for (place, hook) in places(qdisc) {
            let kinds = match self.0.get(&place) {
                Some(kinds) => kinds.clone(),
                None => {
                    let kinds = read(device, place)?;
                    self.0.insert(place, kinds.clone());
                    kinds
                }
            };
            found.extend(kinds.iter().map(|kind| {
                let policy = if kind == "bpf" {
                    PolicyKind::Ebpf
                } else {
                    PolicyKind::TrafficControl
                };
                let name = format!("{role}/filter-{kind}");
                finding(policy, device, format!("tc filter {kind} on {hook}"), &name)
            }));
        }
        Ok(found)
    }
}

/// The kinds of the filters in a place.
fn read(device: &IfName, place: Place) -> Result<Vec<String>> {
    let operation = format!("read the filters of {device}");
    let request = tcmsg(place.device, 0, place.parent);
    let answers = match Netlink::route()?.request(&operation, RTM_GETTFILTER, DUMP, &request) {
        Ok(answers) => answers,
        // Device or discipline went away since they were seen.
        Err(error) if error.is_gone() => Vec::new(),
        Err(error) => return Err(error),
    };
    let kinds = answers
        .iter()
        .map(|answer| text_of(answer.payload.get(TCMSG..).unwrap_or_default(), TCA_KIND));
    // A filter is dumped once for itself and once per handle.
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}
