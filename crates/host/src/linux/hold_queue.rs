//! The hold queue of ours on a tap: a root `plug` discipline that is put there once and from then on
//! only changed.
//!
//! It lets frames for the guest wait in order while their path changes, and go on at once when that
//! is done (net/sched/sch_plug.c). A delay line (`netem`) was tried first: frames that wait in it
//! leave when their time has come and no sooner, so its delay had to be guessed longer than any
//! guest is deaf.
//!
//! Grafting a root discipline on a device under traffic runs it through `noop_qdisc` for a moment,
//! which drops; changing one that is there does not (net/sched/sch_api.c). The discipline goes with
//! the tap.
//!
//! What waited goes on all at once, into the ring between tap and vhost, which is as long as the tap's
//! transmit queue; what does not fit there is dropped (drivers/net/tun.c, `tun_net_xmit`; nothing slows
//! the discipline down). 1,000 frames, what a tap has of itself, are less than what a busy guest is sent
//! in the second that its switch-over may take. Changing the length restarts the tap's disciplines like
//! grafting one does, so there is one moment for it: while the guest is on its VF.

use accelnet_model::IfName;

use super::{
    attributes::{find, push, text, u32_at},
    link::ifinfomsg,
    netlink::{Netlink, ifindex},
};
use crate::{HoldQueue, HostError, Result};

const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_TXQLEN: u16 = 13;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const ROOT: u32 = 0xffff_ffff;
/// What tells our discipline from another's.
const HANDLE: u32 = 0xacc1_0000;
/// Bytes that may wait: at 10 Gbit/s what comes in 50 ms, at 1 Gbit/s in half a second. What does
/// not fit is dropped, as on any full queue.
const LIMIT_BYTES: u32 = 64 << 20;
/// Frames that the ring between tap and vhost holds, 8 bytes each: more than what comes in a second of
/// holding at 10,000 a second, and few enough that a guest that does not keep up with its tap waits
/// milliseconds for what is in there, not seconds.
const ROOM_FRAMES: u32 = 16_384;
/// `enum` in struct tc_plug_qopt (include/uapi/linux/pkt_sched.h).
const TCQ_PLUG_BUFFER: i32 = 0;
const TCQ_PLUG_RELEASE_INDEFINITE: i32 = 2;
const TCQ_PLUG_LIMIT: i32 = 3;

/// Disciplines that order frames and restrict nothing; the kernel or (noqueue) libvirt put them on
/// taps.
const HARMLESS: [&str; 6] = ["noqueue", "pfifo_fast", "pfifo", "fq_codel", "fq", "mq"];

/// A root discipline.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    kind: String,
    handle: u32,
}

fn is_ours(root: &Root) -> bool {
    root.kind == "plug" && root.handle == HANDLE
}

fn is_foreign(root: &Root) -> bool {
    !is_ours(root) && root.handle != 0 && !HARMLESS.contains(&root.kind.as_str())
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
    // struct tcmsg: family, padding, ifindex, handle, parent, info.
    if u32_at(payload, 4)? != index || u32_at(payload, 12)? != ROOT {
        return None;
    }
    let kind = text(find(payload.get(20..)?, TCA_KIND)?);
    Some(Root {
        kind,
        handle: u32_at(payload, 8)?,
    })
}

/// True if our queue is on the interface. Whether it holds cannot be read (sch_plug has no dump).
pub fn present(index: u32) -> Result<bool> {
    Ok(read(index)?.as_ref().is_some_and(is_ours))
}

/// The root discipline if somebody put it there to restrict something, in words. Disciplines that the
/// kernel puts there by itself have no handle.
pub fn foreign(index: u32) -> Result<Option<String>> {
    let root = read(index)?.filter(is_foreign);
    Ok(root.map(|root| format!("qdisc {} {:x}: root", root.kind, root.handle >> 16)))
}

/// See [`crate::Host::ensure_hold_queue`].
pub fn ensure(tap: &IfName, wanted: HoldQueue) -> Result<()> {
    let index = ifindex(tap)?;
    let present = match read(index)? {
        Some(root) if is_ours(&root) => true,
        Some(root) if is_foreign(&root) => {
            return Err(HostError::ForeignQdisc {
                tap: tap.clone(),
                kind: root.kind,
            });
        }
        _ => false,
    };
    let mut netlink = Netlink::route()?;
    if !present {
        // It begins holding; what comes before it is told to pass waits some microseconds.
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        let operation = format!("put the hold queue on {tap}");
        netlink.request(
            &operation,
            RTM_NEWQDISC,
            flags,
            &message(index, TCQ_PLUG_LIMIT),
        )?;
    }
    let (action, words) = match wanted {
        HoldQueue::Pass => (TCQ_PLUG_RELEASE_INDEFINITE, "let frames pass"),
        HoldQueue::Hold { .. } => (TCQ_PLUG_BUFFER, "hold frames"),
    };
    netlink.request(
        &format!("{words} on {tap}"),
        RTM_NEWQDISC,
        0,
        &message(index, action),
    )?;
    match read(index)? {
        Some(root) if is_ours(&root) => Ok(()),
        found => Err(HostError::NotAsAsked {
            operation: format!("put the hold queue on {tap}"),
            wanted: "plug".into(),
            found: format!("{found:?}"),
        }),
    }
}

/// See [`crate::Host::ensure_tap_room`].
pub fn ensure_room(tap: &IfName) -> Result<()> {
    let index = ifindex(tap)?;
    if room(index)? >= ROOM_FRAMES {
        return Ok(());
    }
    let mut message = ifinfomsg(index, 0, 0);
    push(&mut message, IFLA_TXQLEN, &ROOM_FRAMES.to_ne_bytes());
    let operation = format!("lengthen the transmit queue of {tap}");
    Netlink::route()?.request(&operation, RTM_SETLINK, 0, &message)?;
    let found = room(index)?;
    if found < ROOM_FRAMES {
        return Err(HostError::NotAsAsked {
            operation,
            wanted: ROOM_FRAMES.to_string(),
            found: found.to_string(),
        });
    }
    Ok(())
}

/// Length of an interface's transmit queue, in frames.
fn room(index: u32) -> Result<u32> {
    let operation = "read a tap's transmit queue";
    let answers = Netlink::route()?.request(operation, RTM_GETLINK, 0, &ifinfomsg(index, 0, 0))?;
    let length = answers.first().and_then(|answer| {
        let attributes = answer.payload.get(ifinfomsg(index, 0, 0).len()..)?;
        u32_at(find(attributes, IFLA_TXQLEN)?, 0)
    });
    length.ok_or_else(|| HostError::Malformed(format!("{operation}: no length")))
}

fn message(index: u32, action: i32) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend((index as i32).to_ne_bytes());
    message.extend(HANDLE.to_ne_bytes());
    message.extend(ROOT.to_ne_bytes());
    message.extend([0; 4]);
    push(&mut message, TCA_KIND, b"plug\0");
    // struct tc_plug_qopt: action, limit.
    let mut options = action.to_ne_bytes().to_vec();
    options.extend(LIMIT_BYTES.to_ne_bytes());
    push(&mut message, TCA_OPTIONS, &options);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_told_from_anothers_and_from_the_harmless() {
        let root = decode(&message(7, TCQ_PLUG_BUFFER), 7).unwrap();
        assert!(is_ours(&root) && !is_foreign(&root));
        assert_eq!(decode(&message(7, TCQ_PLUG_BUFFER), 8), None);
        let another = |kind: &str, handle| Root {
            kind: kind.into(),
            handle,
        };
        assert!(is_foreign(&another("plug", 0x8001_0000)), "another's plug");
        assert!(is_foreign(&another("htb", 0x1_0000)));
        assert!(
            !is_foreign(&another("noqueue", 0x8002_0000)),
            "libvirt puts it on every tap"
        );
        assert!(!is_foreign(&another("fq_codel", 0)));
    }
}
