//! Queueing disciplines of all interfaces, and which of them restrict something.
//!
//! Read by a dump only: answers to requests for a single one are also sent to everybody who listens for
//! changes (net/sched/sch_api.c, `qdisc_notify`; until Linux 6.8).

use super::uapi::TCA_KIND;
use super::{
    attributes::{find, u32_at},
    netlink::Netlink,
    uapi::{
        DUMP, RTM_GETQDISC, TC_H_INGRESS, TC_H_ROOT, TCA_EGRESS_BLOCK, TCA_INGRESS_BLOCK,
        TCA_OPTIONS, TCMSG, tcmsg, text_of,
    },
};
use crate::Result;

/// Disciplines that order frames and, as they are by themselves, restrict nothing; the kernel or
/// (noqueue) libvirt put them on taps.
const HARMLESS: [&str; 6] = ["noqueue", "pfifo_fast", "pfifo", "fq_codel", "fq", "mq"];
/// A queue for fewer frames than this was made to drop: what the kernel makes has a tap's 1,000.
const SHORT_QUEUE: u32 = 100;
/// pkt_sched.h; the rate in bytes/s that a flow of fq's may have, all ones by default.
const TCA_FQ_FLOW_MAX_RATE: u16 = 7;
/// Of fq's whole queue, and of a flow's: by default 10,000 frames and 100.
const TCA_FQ_PLIMIT: u16 = 1;
const TCA_FQ_FLOW_PLIMIT: u16 = 2;
/// By default 10,240 frames.
const TCA_FQ_CODEL_LIMIT: u16 = 2;

/// A discipline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// Number of its interface.
    pub device: u32,
    /// Its own number; 0 if the kernel made it by itself.
    pub handle: u32,
    /// Where it is: `TC_H_ROOT`, `TC_H_INGRESS`, or a class of another.
    pub parent: u32,
    /// `htb`, `clsact`, …
    pub kind: String,
    /// What it restricts by options, if it is of a kind that restricts nothing by itself.
    option: Option<&'static str>,
    /// Blocks of filters that it shares with others: of what comes in, of what goes out.
    pub blocks: [Option<u32>; 2],
}

/// All that are shown: not the kernel's own below others.
pub fn all() -> Result<Vec<Qdisc>> {
    let answers = Netlink::route()?.request(
        "read queueing disciplines",
        RTM_GETQDISC,
        DUMP,
        &tcmsg(0, 0, 0),
    )?;
    let decoded = answers.iter().map(|answer| decode(&answer.payload));
    Ok(decoded.collect())
}

/// Those of an interface.
pub fn of(device: u32) -> Result<Vec<Qdisc>> {
    let mut found = all()?;
    found.retain(|qdisc| qdisc.device == device);
    Ok(found)
}

/// An answer that is cut off reads as one of interface 0, which does not exist.
pub fn decode(payload: &[u8]) -> Qdisc {
    let word = |at| u32_at(payload, at).unwrap_or(0);
    let attributes = payload.get(TCMSG..).unwrap_or_default();
    let number = |kind| find(attributes, kind).and_then(|value| u32_at(value, 0));
    let kind = text_of(attributes, TCA_KIND);
    Qdisc {
        device: word(4),
        handle: word(8),
        parent: word(12),
        option: restricting_option(&kind, find(attributes, TCA_OPTIONS).unwrap_or_default()),
        kind,
        blocks: [number(TCA_INGRESS_BLOCK), number(TCA_EGRESS_BLOCK)],
    }
}

fn restricting_option(kind: &str, options: &[u8]) -> Option<&'static str> {
    match kind {
        "fq" => {
            let rate = find(options, TCA_FQ_FLOW_MAX_RATE).and_then(|rate| u32_at(rate, 0));
            if rate.is_some_and(|rate| rate != u32::MAX) {
                return Some(" with a rate for each flow");
            }
            [TCA_FQ_PLIMIT, TCA_FQ_FLOW_PLIMIT]
                .into_iter()
                .filter_map(|limit| find(options, limit))
                .find_map(is_short)
        }
        "fq_codel" => is_short(find(options, TCA_FQ_CODEL_LIMIT)?),
        // struct tc_fifo_qopt: the limit.
        "pfifo" => is_short(options),
        _ => None,
    }
}

/// The limit of a queue, in frames.
fn is_short(limit: &[u8]) -> Option<&'static str> {
    (u32_at(limit, 0)? < SHORT_QUEUE).then_some(" with a short queue")
}

impl Qdisc {
    /// It hangs where filters for a device are kept, and is no queue.
    pub fn holds_filters(&self) -> bool {
        self.parent == TC_H_INGRESS
    }

    /// The kernel made it by itself, or it restricts nothing.
    pub fn is_harmless(&self) -> bool {
        let by_kind = HARMLESS.contains(&self.kind.as_str()) && self.option.is_none();
        self.handle == 0 || by_kind
    }

    /// As `tc qdisc` has it.
    pub fn in_words(&self) -> String {
        let Self { kind, parent, .. } = self;
        let place = if *parent == TC_H_ROOT {
            "root".to_owned()
        } else {
            format!("parent {:x}:{:x}", parent >> 16, parent & 0xffff)
        };
        let option = self.option.unwrap_or_default();
        format!("qdisc {kind} {:x}: {place}{option}", self.handle >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::attributes::push;

    fn another(kind: &str, handle: u32, options: &[u8]) -> Qdisc {
        let mut message = tcmsg(7, handle, TC_H_ROOT);
        push(&mut message, TCA_KIND, format!("{kind}\0").as_bytes());
        push(&mut message, TCA_OPTIONS, options);
        decode(&message)
    }

    #[test]
    fn what_restricts_is_told_from_the_harmless() {
        let fq = |rate: u32| {
            let mut options = Vec::new();
            push(&mut options, TCA_FQ_FLOW_MAX_RATE, &rate.to_ne_bytes());
            another("fq", 0x8001_0000, &options)
        };
        assert!(fq(u32::MAX).is_harmless());
        assert!(!fq(125_000).is_harmless());
        assert!(
            fq(125_000)
                .in_words()
                .contains("qdisc fq 8001: root with a rate")
        );
        let pfifo = |limit: u32| another("pfifo", 0x1_0000, &limit.to_ne_bytes());
        let fq_codel = |limit: u32| {
            let mut options = Vec::new();
            push(&mut options, TCA_FQ_CODEL_LIMIT, &limit.to_ne_bytes());
            another("fq_codel", 0x8001_0000, &options)
        };
        assert!(fq_codel(10_240).is_harmless() && !fq_codel(16).is_harmless());
        assert!(pfifo(1000).is_harmless() && !pfifo(10).is_harmless());
        assert!(!another("htb", 0x1_0000, &[]).is_harmless());
        assert!(
            another("htb", 0, &[]).is_harmless(),
            "net.core.default_qdisc"
        );
        assert!(
            another("noqueue", 0x8002_0000, &[]).is_harmless(),
            "libvirt puts it on every tap"
        );
        assert_eq!(decode(&[0; 7]).device, 0, "cut off");
    }
}
