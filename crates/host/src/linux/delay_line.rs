//! The delay line of ours on a tap: a root `netem` discipline that is put there once and from then
//! on only changed.
//!
//! Grafting a root discipline on a device under traffic runs it through `noop_qdisc` for a moment,
//! which drops; changing the options of one that is there does not (net/sched/sch_api.c). The
//! discipline goes with the tap. Options: net/sched/sch_netem.c, include/uapi/linux/pkt_sched.h.

use accelnet_model::IfName;

use super::{
    attributes::{find, push, text, u32_at},
    netlink::{Netlink, ifindex},
};
use crate::{DelayLine, HostError, Result};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_LATENCY64: u16 = 10;
const ROOT: u32 = 0xffff_ffff;
/// What tells our discipline from another's netem.
const HANDLE: u32 = 0xacc1_0000;
/// Frames that may wait: more than a tap can bring in the time that a switch-over takes.
const LIMIT_PACKETS: u32 = 100_000;
/// 10 Gbit/s in bytes a second. With a rate netem queues each frame behind the one before it, so
/// that a shorter delay drains in order instead of overtaking.
const DRAIN_RATE_BYTES_PER_S: u32 = 1_250_000_000;

/// A root discipline.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    kind: String,
    handle: u32,
    latency_ns: u64,
}

fn header(index: u32) -> Vec<u8> {
    // struct tcmsg: family, padding, ifindex, handle, parent, info.
    let mut message = vec![0; 4];
    message.extend((index as i32).to_ne_bytes());
    message.extend(HANDLE.to_ne_bytes());
    message.extend(ROOT.to_ne_bytes());
    message.extend([0; 4]);
    message
}

fn read(index: u32) -> Result<Option<Root>> {
    let answers = Netlink::route()?.request(
        "read queueing disciplines",
        RTM_GETQDISC,
        libc::NLM_F_DUMP as u16,
        &[0; 20],
    )?;
    Ok(answers
        .iter()
        .find_map(|answer| decode(&answer.payload, index)))
}

fn decode(payload: &[u8], index: u32) -> Option<Root> {
    if u32_at(payload, 4)? != index || u32_at(payload, 12)? != ROOT {
        return None;
    }
    let attributes = payload.get(20..)?;
    let options = find(attributes, TCA_OPTIONS).unwrap_or_default();
    // The options begin with struct tc_netem_qopt (24 bytes).
    let latency = options
        .get(24..)
        .and_then(|rest| find(rest, TCA_NETEM_LATENCY64));
    let latency_ns = latency.and_then(|value| Some(u64::from_ne_bytes(*value.first_chunk()?)));
    Some(Root {
        kind: text(find(attributes, TCA_KIND)?),
        handle: u32_at(payload, 8)?,
        latency_ns: latency_ns.unwrap_or(0),
    })
}

/// Disciplines that order frames and restrict nothing; the kernel or (noqueue) libvirt put them on
/// taps.
const HARMLESS: [&str; 6] = ["noqueue", "pfifo_fast", "pfifo", "fq_codel", "fq", "mq"];

fn is_foreign(root: &Root) -> bool {
    !is_ours(root) && root.handle != 0 && !HARMLESS.contains(&root.kind.as_str())
}

fn is_ours(root: &Root) -> bool {
    root.kind == "netem" && root.handle == HANDLE
}

/// Delay of our discipline on the interface in milliseconds, if it is there.
pub fn observe(index: u32) -> Result<Option<u32>> {
    Ok(read(index)?
        .filter(is_ours)
        .map(|root| (root.latency_ns / 1_000_000) as u32))
}

/// The root discipline if somebody put it there to restrict something, in words. Disciplines that the
/// kernel puts there by itself have no handle.
pub fn foreign(index: u32) -> Result<Option<String>> {
    let root = read(index)?.filter(is_foreign);
    Ok(root.map(|root| format!("qdisc {} {:x}: root", root.kind, root.handle >> 16)))
}

/// See [`crate::Host::ensure_delay_line`].
pub fn ensure(tap: &IfName, wanted: DelayLine) -> Result<()> {
    let index = ifindex(tap)?;
    let present = match read(index)? {
        Some(root) if is_ours(&root) => Some(root.latency_ns),
        Some(root) if is_foreign(&root) => {
            return Err(HostError::ForeignQdisc {
                tap: tap.clone(),
                kind: root.kind,
            });
        }
        _ => None,
    };
    let (latency_ns, rate) = match wanted {
        DelayLine::Idle => (0, None),
        DelayLine::Hold { delay_ms } => (u64::from(delay_ms) * 1_000_000, None),
        DelayLine::Drain => (0, Some(DRAIN_RATE_BYTES_PER_S)),
    };
    // Draining an empty line changes nothing; an idle one that has drained keeps its rate.
    if present == Some(latency_ns) {
        return Ok(());
    }
    let mut message = header(index);
    push(&mut message, TCA_KIND, b"netem\0");
    push(&mut message, TCA_OPTIONS, &options(latency_ns, rate));
    let flags = if present.is_some() {
        0
    } else {
        (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16
    };
    let operation = format!(
        "set the delay line of {tap} to {} ms",
        latency_ns / 1_000_000
    );
    Netlink::route()?.request(&operation, RTM_NEWQDISC, flags, &message)?;
    match read(index)?.filter(is_ours) {
        Some(root) if root.latency_ns == latency_ns => Ok(()),
        found => Err(HostError::NotAsAsked {
            operation,
            wanted: format!("{latency_ns} ns"),
            found: format!("{found:?}"),
        }),
    }
}

fn options(latency_ns: u64, rate: Option<u32>) -> Vec<u8> {
    // struct tc_netem_qopt: latency (ticks of 64 ns), limit, loss, gap, duplicate, jitter. The 64-bit
    // attribute overrides the ticks.
    let ticks = u32::try_from(latency_ns >> 6).unwrap_or(u32::MAX);
    let mut options = Vec::new();
    for word in [ticks, LIMIT_PACKETS, 0, 0, 0, 0] {
        options.extend(word.to_ne_bytes());
    }
    push(&mut options, TCA_NETEM_LATENCY64, &latency_ns.to_ne_bytes());
    if let Some(rate) = rate {
        // struct tc_netem_rate: rate, packet overhead, cell size, cell overhead.
        let mut value = rate.to_ne_bytes().to_vec();
        value.extend([0; 12]);
        push(&mut options, TCA_NETEM_RATE, &value);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back() {
        let mut message = header(7);
        push(&mut message, TCA_KIND, b"netem\0");
        push(
            &mut message,
            TCA_OPTIONS,
            &options(150_000_000, Some(DRAIN_RATE_BYTES_PER_S)),
        );
        let root = decode(&message, 7).unwrap();
        assert!(is_ours(&root));
        assert_eq!(root.latency_ns, 150_000_000);
        assert_eq!(decode(&message, 8), None);
        assert!(!is_foreign(&root));
        let noqueue = Root {
            kind: "noqueue".into(),
            handle: 0x8002_0000,
            latency_ns: 0,
        };
        assert!(!is_foreign(&noqueue), "libvirt puts it on every tap");
        let other = Root {
            handle: 0x8001_0000,
            ..root
        };
        assert!(is_foreign(&other), "another's netem is not ours");
    }
}
