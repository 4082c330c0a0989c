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
//! It holds only as long as the guard knows of it ([`super::guard`]), which lets go whatever dies.
//!
//! What waited goes on all at once, into the ring between tap and vhost, which is as long as the tap's
//! transmit queue; what does not fit there is dropped (drivers/net/tun.c, `tun_net_xmit`; nothing slows
//! the discipline down). 1,000 frames, what a tap has of itself, are less than what a busy guest is sent
//! in the second that its switch-over may take. Changing the length restarts the tap's disciplines like
//! grafting one does, so there is one moment for it: while the guest is on its VF.

use std::time::Duration;

use accelnet_model::IfName;

use super::{
    attributes::{find, push, u32_at},
    guard::Guard,
    netlink::{Netlink, ifindex},
    qdisc::{self, Qdisc},
    uapi::{
        CREATE, EXCLUSIVE, IFINFOMSG, IFLA_TXQLEN, REPLACE, RTM_GETLINK, RTM_NEWQDISC, RTM_SETLINK,
        TC_H_ROOT, TCA_KIND, TCA_OPTIONS, ifinfomsg, tcmsg,
    },
};
use crate::{HoldQueue, HostError, Result};

/// What tells our discipline from another's.
const HANDLE: u32 = 0xacc1_0000;
/// Bytes that may wait: at 10 Gbit/s what comes in 50 ms, at 1 Gbit/s in half a second. What does
/// not fit is dropped, as on any full queue.
const LIMIT_BYTES: u32 = 64 << 20;
/// Frames that the ring between tap and vhost holds, 8 bytes each: more than what comes in a second of
/// holding at 10,000 a second, and few enough that a guest that does not keep up with its tap waits
/// milliseconds for what is in there, not seconds.
const ROOM_FRAMES: u32 = 16_384;
/// How late the kernel may do what it was asked for.
const LATE: Duration = Duration::from_secs(60);
/// `enum` in struct tc_plug_qopt (include/uapi/linux/pkt_sched.h).
const TCQ_PLUG_BUFFER: i32 = 0;
const TCQ_PLUG_RELEASE_INDEFINITE: i32 = 2;
const TCQ_PLUG_LIMIT: i32 = 3;

/// True if it is our queue. Whether it holds cannot be read (sch_plug has no dump).
pub fn is_ours(qdisc: &Qdisc) -> bool {
    qdisc.kind == "plug" && qdisc.handle == HANDLE && qdisc.parent == TC_H_ROOT
}

/// True if somebody put it there to restrict something.
pub fn is_foreign(qdisc: &Qdisc) -> bool {
    !qdisc.holds_filters() && !is_ours(qdisc) && !qdisc.is_harmless()
}

/// See [`crate::Host::ensure_hold_queue`].
pub fn ensure(tap: &IfName, wanted: HoldQueue, guard: &Guard) -> Result<()> {
    let index = ifindex(tap)?;
    let mut netlink = Netlink::route()?;
    put(&mut netlink, tap, index)?;
    match wanted {
        HoldQueue::Pass => {
            act(&mut netlink, tap, index, TCQ_PLUG_RELEASE_INDEFINITE)?;
            guard.released(index);
            guard.ready();
        }
        HoldQueue::Hold { limit } => {
            let guarded = guard.hold(index, limit);
            guarded.map_err(|why| HostError::Unguarded {
                tap: tap.clone(),
                why,
            })?;
            // If the kernel refuses, the guard lets go of a queue that passes.
            let done = act(&mut netlink, tap, index, TCQ_PLUG_BUFFER);
            if let Err(HostError::Deadline { .. }) = done {
                // It may still come to hold, after the guard has let go.
                if let Err(error) = guard.hold(index, LATE) {
                    tracing::warn!(%tap, %error, "frames may be held");
                }
            }
            done?;
        }
    }
    let found = qdisc::of(index)?;
    if found.iter().any(is_ours) {
        return Ok(());
    }
    let words: Vec<_> = found.iter().map(Qdisc::in_words).collect();
    Err(HostError::NotAsAsked {
        operation: format!("put the hold queue on {tap}"),
        wanted: "plug".into(),
        found: words.join(", "),
    })
}

/// The queue is there, and passes if it was not there before.
fn put(netlink: &mut Netlink, tap: &IfName, index: u32) -> Result<()> {
    let found = qdisc::of(index)?;
    if found.iter().any(is_ours) {
        return Ok(());
    }
    if let Some(foreign) = found.iter().find(|qdisc| is_foreign(qdisc)) {
        return Err(HostError::ForeignQdisc {
            tap: tap.clone(),
            kind: foreign.in_words(),
        });
    }
    // Only what was seen to be harmless is replaced, nothing that somebody puts there meanwhile.
    let harmless = |qdisc: &Qdisc| qdisc.parent == TC_H_ROOT && qdisc.handle != 0;
    let how = if found.iter().any(harmless) {
        REPLACE
    } else {
        EXCLUSIVE
    };
    let operation = format!("put the hold queue on {tap}");
    // It begins holding. Whoever kills this process comes before both or after both.
    let both: [(u16, &[u8]); 2] = [
        (CREATE | how, &message(index, TCQ_PLUG_LIMIT)),
        (0, &message(index, TCQ_PLUG_RELEASE_INDEFINITE)),
    ];
    match netlink.request_all(&operation, RTM_NEWQDISC, &both) {
        // It is not the tap that does not exist (net/sched/sch_api.c, `qdisc_create`).
        Err(HostError::Kernel {
            code: libc::ENOENT,
            extack,
            ..
        }) => {
            let words = extack.unwrap_or_else(|| "no discipline of this kind".to_owned());
            let words = format!("plug: {words}");
            Err(HostError::kernel(operation, libc::EOPNOTSUPP, Some(words)))
        }
        other => other,
    }
}

fn act(netlink: &mut Netlink, tap: &IfName, index: u32, action: i32) -> Result<()> {
    let words = if action == TCQ_PLUG_BUFFER {
        "hold frames"
    } else {
        "let frames pass"
    };
    let operation = format!("{words} on {tap}");
    netlink.request(&operation, RTM_NEWQDISC, 0, &message(index, action))?;
    Ok(())
}

/// Lets pass what waits on an interface. Where our queue is not (any more) nothing happens: the kernel
/// changes a discipline only if handle and kind are those of the request (net/sched/sch_api.c,
/// `tc_modify_qdisc`).
pub fn release(netlink: &mut Netlink, index: u32) -> Result<()> {
    let operation = format!("let frames pass on interface {index}");
    let message = message(index, TCQ_PLUG_RELEASE_INDEFINITE);
    match netlink.request(&operation, RTM_NEWQDISC, 0, &message) {
        Err(error) if error.is_gone() => Ok(()),
        // Another's has this place, or this handle.
        Err(error) if matches!(error.errno(), Some(libc::EEXIST | libc::EINVAL)) => Ok(()),
        other => other.map(drop),
    }
}

/// Lets pass what waits in every queue of ours, and says how many there are.
pub fn release_all() -> Result<usize> {
    let mut ours = qdisc::all()?;
    ours.retain(is_ours);
    let mut netlink = Netlink::route()?;
    let released = ours.iter().map(|qdisc| release(&mut netlink, qdisc.device));
    // One that cannot be released keeps no other from it.
    let results: Vec<_> = released.collect();
    results.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(ours.len())
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
        let attributes = answer.payload.get(IFINFOMSG..)?;
        u32_at(find(attributes, IFLA_TXQLEN)?, 0)
    });
    length.ok_or_else(|| HostError::Malformed(format!("{operation}: no length")))
}

fn message(index: u32, action: i32) -> Vec<u8> {
    let mut message = tcmsg(index, HANDLE, TC_H_ROOT);
    push(&mut message, TCA_KIND, b"plug\0");
    // struct tc_plug_qopt: action, limit.
    let mut options = action.to_ne_bytes().to_vec();
    options.extend(LIMIT_BYTES.to_ne_bytes());
    push(&mut message, TCA_OPTIONS, &options);
    message
}

#[cfg(test)]
mod tests;
