//! Filters of traffic control, asked for only where a discipline shows that there can be some.

use std::collections::BTreeMap;

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{IfName, Qdisc, finding};
use crate::{
    Result,
    linux::{
        attributes::{find, iter, u32_at},
        netlink::{Message, Netlink},
        uapi::{
            DUMP, RTM_GETTFILTER, TC_H_INGRESS_FILTERS, TC_H_MIN_EGRESS, TC_H_MIN_INGRESS,
            TCA_KIND, TCA_OPTIONS, TCM_IFINDEX_MAGIC_BLOCK, TCMSG, tcmsg, text_of,
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

/// What was found in this look, since many devices can share a block: filters by place.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<Place, Vec<Filter>>);

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    kind: String,
    /// It is the only one in its place, and lets everything pass up to this rate, in whole Mbit/s, and drops what
    /// is beyond: what libvirt makes of `<bandwidth><outbound/>`.
    limit_mbps: Option<u32>,
}

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
            let filters = match self.0.get(&place) {
                Some(filters) => filters.clone(),
                None => {
                    let filters = read(device, place)?;
                    self.0.insert(place, filters.clone());
                    filters
                }
            };
            found.extend(filters.iter().map(|Filter { kind, limit_mbps }| {
                // What comes in by a tap is what its guest sends.
                let of_guest = role == "tap" && place.parent == TC_H_INGRESS_FILTERS;
                let policy = match limit_mbps.filter(|_| of_guest) {
                    Some(_) => PolicyKind::Bandwidth {
                        outbound_mbps: *limit_mbps,
                        inbound_mbps: None,
                    },
                    None if kind == "bpf" => PolicyKind::Ebpf,
                    None => PolicyKind::TrafficControl,
                };
                let name = format!("{role}/filter-{kind}");
                finding(policy, device, format!("tc filter {kind} on {hook}"), &name)
            }));
        }
        Ok(found)
    }
}

/// The filters in a place.
fn read(device: &IfName, place: Place) -> Result<Vec<Filter>> {
    let operation = format!("read the filters of {device}");
    let request = tcmsg(place.device, 0, place.parent);
    let answers = match Netlink::route()?.request(&operation, RTM_GETTFILTER, DUMP, &request) {
        Ok(answers) => answers,
        // Device or discipline went away since they were seen.
        Err(error) if error.is_gone() => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(decode(&answers))
}

pub fn decode(answers: &[Message]) -> Vec<Filter> {
    let attributes = |answer: &'_ Message| answer.payload.get(TCMSG..).unwrap_or_default().to_vec();
    let all: Vec<(String, Vec<u8>)> = answers
        .iter()
        .map(attributes)
        .map(|attributes| {
            let options = find(&attributes, TCA_OPTIONS).unwrap_or_default();
            (text_of(&attributes, TCA_KIND), options.to_vec())
        })
        .collect();
    // u32 shows its tables too; only what selects frames is a filter.
    let mut selecting = all
        .iter()
        .filter(|(kind, options)| kind != "u32" || find(options, TCA_U32_SEL).is_some());
    let limit_mbps = match (selecting.next(), selecting.next()) {
        (Some((kind, options)), None) if kind == "u32" => limit_mbps(options),
        _ => None,
    };
    // A filter is dumped once for itself and once per handle.
    let mut filters: Vec<Filter> = all
        .into_iter()
        .map(|(kind, _)| Filter { kind, limit_mbps })
        .collect();
    filters.sort_unstable();
    filters.dedup();
    filters
}

// include/uapi/linux/pkt_cls.h
const TCA_U32_SEL: u16 = 5;
const TCA_U32_POLICE: u16 = 6;
const TCA_U32_ACT: u16 = 7;
const TCA_POLICE_TBF: u16 = 1;
const TC_POLICE_SHOT: u32 = 2;

/// The rate of a u32 filter that fits every frame and whose policer drops what is beyond its only rate.
fn limit_mbps(options: &[u8]) -> Option<u32> {
    // struct tc_u32_sel: flags, offshift, nkeys, …, then at 16 keys: mask, value, offset, mask of offset.
    let selector = find(options, TCA_U32_SEL)?;
    let fits_all = selector.get(2) == Some(&1) && u32_at(selector, 16)? == 0;
    // A policer shown as an action of its own may be one of several.
    let police = find(options, TCA_U32_POLICE).filter(|_| find(options, TCA_U32_ACT).is_none())?;
    // struct tc_police: index, action, limit, burst, MTU (20 bytes), then rate and peak rate, struct tc_ratespec:
    // 8 bytes, and bytes a second.
    let policer = find(police, TCA_POLICE_TBF)?;
    let drops = u32_at(policer, 4)? == TC_POLICE_SHOT;
    let (rate, peak) = (u32_at(policer, 28)?, u32_at(policer, 40)?);
    let only_this = iter(police).all(|(kind, _)| !MORE_OF_POLICE.contains(&kind));
    let exact = fits_all && drops && peak == 0 && only_this && rate % 125_000 == 0;
    exact.then_some(rate / 125_000).filter(|mbps| *mbps > 0)
}

/// Average and 64-bit rates, peaks, packets: of each another rule (`TCA_POLICE_AVRATE`, `…_RATE64`,
/// `…_PEAKRATE64`, `…_PKTRATE64`, `…_PKTBURST64`), as is what becomes of the rest (`…_RESULT`).
const MORE_OF_POLICE: [u16; 6] = [4, 5, 8, 9, 10, 11];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::attributes::push;

    /// A u32 filter with one key of this mask, and a policer.
    fn filter(mask: u32, action: u32, rate: u32, peak: u32) -> Message {
        let mut selector = vec![0, 0, 1, 0];
        selector.resize(16, 0);
        selector.extend([mask, 0, 0, 0].map(u32::to_ne_bytes).concat());
        let words = [1, action, 0, 1000, 65_535, 0, 0, rate, 0, 0, peak, 0, 0, 0];
        let (mut police, mut options) = (Vec::new(), Vec::new());
        push(
            &mut police,
            TCA_POLICE_TBF,
            &words.map(u32::to_ne_bytes).concat(),
        );
        push(&mut options, TCA_U32_SEL, &selector);
        push(&mut options, TCA_U32_POLICE, &police);
        let mut payload = tcmsg(7, 0x8000_0800, TC_H_INGRESS_FILTERS);
        push(&mut payload, TCA_KIND, b"u32\0");
        push(&mut payload, TCA_OPTIONS, &options);
        Message {
            kind: 44,
            flags: 0,
            payload,
        }
    }

    #[test]
    fn only_a_plain_rate_for_all_frames_is_a_limit() {
        let limit = |answers: &[Message]| decode(answers)[0].limit_mbps;
        let plain = filter(0, TC_POLICE_SHOT, 1_250_000, 0);
        assert_eq!(limit(std::slice::from_ref(&plain)), Some(10));
        for other in [
            filter(0xffff, TC_POLICE_SHOT, 1_250_000, 0),
            filter(0, 0, 1_250_000, 0),
            filter(0, TC_POLICE_SHOT, 1_250_001, 0),
            filter(0, TC_POLICE_SHOT, 1_250_000, 2_500_000),
            filter(0, TC_POLICE_SHOT, 0, 0),
        ] {
            assert_eq!(limit(std::slice::from_ref(&other)), None);
        }
        assert_eq!(limit(&[plain.clone(), plain]), None, "two of them");
    }
}
