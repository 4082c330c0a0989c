//! Where a NIC's frames go: one value, chosen from evidence at every look.
//!
//! ```text
//!            VF is about to come, or came            driven, linked, silent on the tap
//!   Tap ──────────────────────────────────▶ Both ──────────────────────────────────────▶ Vf
//!    ▲                                      │  ▲                                         │
//!    └───── VF gone, or unused for long ────┘  └── not driven, no link, frames by tap ───┘
//!   Absent: off, coming in and not run here yet, or gone elsewhere at its last stop
//! ```
//!
//! What follows on the host from a phase is another function's ([`crate::l2`]). Nothing here is about
//! how a NIC came to where it is: after a crash, a bond's failover or somebody's own commands the
//! same evidence gives the same phase.

use std::time::Duration;

/// Where the frames of a NIC go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// By its tap.
    Tap,
    /// By both: a change is under way, or it is not known by which of them the guest takes them.
    Both,
    /// By its VF.
    Vf,
    /// Nowhere here.
    Absent,
}

/// The guest uses its VF when no frame has come by its tap for this long; that the VF is registered is
/// too early (measured: docs/reference/switch-over.md).
const QUIET: Duration = Duration::from_secs(1);
/// Of a guest that sends little, a second's silence says little, and that it drives the VF does not mean
/// that it sends there: drivers look for the link every two seconds (igbvf's `igbvf_watchdog_task`), and
/// 2.6 s were seen in the lab.
const QUIET_IF_SILENT: Duration = Duration::from_secs(3);
/// Frames a second, and at least so many in all, of a guest whose silence is a sign.
const TALKATIVE: u64 = 10;
/// Plug to link-up took up to 5 s in the lab; a guest that takes six times that has no driver. So long
/// both paths are open: meanwhile the bridge does not learn at the uplink.
pub const BOTH_LIMIT: Duration = Duration::from_secs(30);

/// A guest that starts anew has no driver for as long as that takes; it keeps its VF, and is on its tap
/// meanwhile. One that takes longer has none.
const START_LIMIT: Duration = Duration::from_secs(300);

/// What the tap's counter of frames has told since both paths were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    begun: Duration,
    /// What its limit counts from: a guest that is slow to begin is not the one that never does.
    limit_from: Duration,
    frames_at_first: u64,
    frames: u64,
    quiet_since: Duration,
}

impl Watch {
    /// Begins now, with the counter's value.
    pub fn new(now: Duration, frames: u64) -> Self {
        Self {
            begun: now,
            limit_from: now,
            frames_at_first: frames,
            frames,
            quiet_since: now,
        }
    }

    /// Notes what is seen. A counter that has gone back is that of a new tap under the old name.
    pub fn see(&mut self, now: Duration, frames: u64, driven: bool) {
        if frames < self.frames {
            *self = Self::new(now.max(self.quiet_since), frames);
        }
        if frames != self.frames || !driven {
            self.frames = frames;
            // Counted before the paths were opened, or not at all: nothing is known of the time since.
            self.quiet_since = now.max(self.quiet_since);
        }
    }

    /// True if frames have come since the counter was last seen.
    pub fn differs(&self, frames: u64) -> bool {
        self.frames != frames
    }

    /// The guest has been silent for long enough to be sure of it.
    pub fn is_sure(&self, now: Duration) -> bool {
        let came = self.frames.saturating_sub(self.frames_at_first);
        let time = self.quiet_since.saturating_sub(self.begun);
        let needed = match came >= TALKATIVE.max(TALKATIVE * time.as_secs()) {
            true => QUIET,
            false => QUIET_IF_SILENT,
        };
        now.saturating_sub(self.quiet_since) >= needed
    }

    /// Both paths have been open for as long as they may be without a switch-over.
    pub fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.limit_from) >= BOTH_LIMIT
    }

    /// A guest without a driver may still be starting.
    pub fn may_start(&self, now: Duration) -> bool {
        now.saturating_sub(self.limit_from) < START_LIMIT
    }
}

/// What was found out of a NIC before, and cannot be seen at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Its phase at the look before.
    pub phase: Phase,
    /// Its tap, watched since both paths were opened last.
    pub watch: Watch,
    /// The guest could use its VF then: a driver drove it, and it had a link.
    pub usable: bool,
    /// Both paths were open for [`BOTH_LIMIT`], and the guest did not use its VF: it stays on its tap until
    /// something changes.
    pub given_up: bool,
}

impl Past {
    /// Of a NIC that nothing is known of.
    pub fn new(now: Duration) -> Self {
        Self {
            phase: Phase::Absent,
            watch: Watch::new(now, 0),
            usable: false,
            given_up: false,
        }
    }
}

/// A switch-over that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    /// To a VF.
    ToVf,
    /// Back to the tap.
    Back,
}

/// What shows of one NIC now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Its VM is here: it runs, or is suspended and stays.
    pub here: bool,
    /// The VM has a device as the NIC's fast half.
    pub plugged: bool,
    /// A driver in the guest drives that device.
    pub driven: bool,
    /// Frames go by that device's adapter: it has a link, and is not the backup of a bond.
    pub link: bool,
    /// The bridge has the NIC's address at its tap.
    pub seen_at_tap: bool,
    /// The bridge and the adapter's filter are as they are for a NIC on its VF.
    pub stands_on_vf: bool,
    /// Frames that came by the tap, as counted by the host.
    pub frames: u64,
    /// When they were counted: of the time since then nothing is known.
    pub counted: Duration,
    /// A switch-over is under way.
    pub going: Option<Going>,
    /// QEMU takes the device away by itself, for a migration or a save.
    pub departing: bool,
}

/// The phase that the evidence tells, and what is to be remembered of it.
pub fn phase(seen: &Evidence, past: Option<Past>, now: Duration) -> Past {
    let usable = seen.driven && seen.link;
    let mut next = past.unwrap_or(Past {
        phase: Phase::Absent,
        watch: Watch::new(now, seen.frames),
        usable,
        given_up: false,
    });
    let was = past.map(|past| past.phase);
    // An agent that has just started sees where it left the NIC.
    let stood = was == Some(Phase::Vf) || (was.is_none() && seen.stands_on_vf);
    let by_tap = seen.seen_at_tap || next.watch.differs(seen.frames);
    let begins = usable && !next.usable;
    next.given_up &= !begins;
    next.usable = usable;
    next.watch.see(seen.counted, seen.frames, usable);
    if begins {
        next.watch.limit_from = now;
    }
    next.phase = match (seen.here, seen.going, seen.plugged) {
        (false, _, _) => Phase::Absent,
        (true, Some(Going::Back), _) | (true, Some(Going::ToVf), false) => Phase::Both,
        (true, None, false) => Phase::Tap,
        (true, _, true) if seen.departing => {
            // That it is silent now says nothing of what it does once QEMU gives the device back.
            next.watch = Watch::new(now, seen.frames);
            // One that has not driven it yet may still begin to.
            let drove = was == Some(Phase::Tap) || past.is_some_and(|past| past.usable);
            match drove && !seen.driven {
                true => Phase::Tap,
                false => Phase::Both,
            }
        }
        (true, _, true) if usable && stood && !by_tap => Phase::Vf,
        (true, _, true) => undecided(&mut next, seen, was, now),
    };
    if next.phase != Phase::Tap || !seen.plugged {
        next.given_up = false;
    }
    if next.phase == Phase::Both && was != Some(Phase::Both) {
        // Whatever opened them: what the tap's counter told before says nothing.
        next.watch = Watch::new(now, seen.frames);
    }
    next
}

/// Which path the guest uses is not known: both are open, until it is, or for as long as they may be.
fn undecided(next: &mut Past, seen: &Evidence, was: Option<Phase>, now: Duration) -> Phase {
    if was != Some(Phase::Both) && !next.given_up {
        return Phase::Both;
    }
    if next.usable && next.watch.is_sure(seen.counted) {
        return Phase::Vf;
    }
    next.given_up |= seen.going.is_none() && next.watch.is_over(now);
    if next.given_up {
        Phase::Tap
    } else {
        Phase::Both
    }
}

#[cfg(test)]
mod tests;
