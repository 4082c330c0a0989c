//! Switch-overs of single NICs, as values: where one is follows from what is seen, so that one that was
//! interrupted at whatever point is gone on with, or ended.
//!
//! ```text
//!   to the VF: vectors ─▶ both paths open, VF dressed ─▶ plug ─▶ wait for the phase Vf ─▶ done
//!   back:      both paths open, frames wait           ─▶ unplug ─▶ done
//! ```
//!
//! A VF that has no way any more (no link, or its adapter is a bond's backup) is unplugged while both paths are opened,
//! not after it.

use std::time::Duration;

use accelnet_model::{Code, IfName, MacAddr, PciAddress, Problem, VfAttributes};
use uuid::Uuid;

use crate::{
    action::HOLD_LIMIT,
    phase::{BOTH_LIMIT, Going},
};

/// Which NIC of which VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NicId {
    /// The VM.
    pub vm: Uuid,
    /// The NIC's address.
    pub mac: MacAddr,
}

/// A VF and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VfPlace {
    /// The PF.
    pub pf: PciAddress,
    /// The PF's interface.
    pub uplink: IfName,
    /// Number of the VF.
    pub index: u32,
    /// The VF.
    pub vf: PciAddress,
}

/// Where a move goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// To this VF.
    ToVf {
        /// The VF.
        place: VfPlace,
        /// What it carries.
        attributes: VfAttributes,
        /// Vectors that it is given before, where they come from a pool.
        vectors: Option<u32>,
    },
    /// Back to the tap.
    Back {
        /// The device that the VM has.
        device: PciAddress,
        /// The guest used it: frames for it wait while it is deaf. One that never did is never held.
        used: bool,
    },
}

/// A switch-over under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The NIC.
    pub nic: NicId,
    /// Name of its VM, for messages.
    pub vm_name: String,
    /// Where it goes.
    pub goal: Goal,
    /// When it began.
    pub begun: Duration,
    /// When the VF was plugged.
    pub plugged: Option<Duration>,
    /// When frames began to wait.
    pub held: Option<Duration>,
    /// The vectors were given.
    pub has_vectors: bool,
    /// Why it goes back, if it is for a failure: told when it is over.
    pub because: Vec<Problem>,
}

impl Move {
    /// One that begins now.
    pub fn new(nic: NicId, vm_name: &str, goal: Goal, now: Duration) -> Self {
        Self {
            nic,
            vm_name: vm_name.to_owned(),
            goal,
            begun: now,
            plugged: None,
            held: None,
            has_vectors: false,
            because: Vec::new(),
        }
    }

    /// Its direction.
    pub fn going(&self) -> Going {
        match self.goal {
            Goal::ToVf { .. } => Going::ToVf,
            Goal::Back { .. } => Going::Back,
        }
    }

    /// The VF or other device that it is about.
    pub fn device(&self) -> PciAddress {
        match &self.goal {
            Goal::ToVf { place, .. } => place.vf,
            Goal::Back { device, .. } => *device,
        }
    }

    /// Both paths are opened for it: not before the VF has its vectors, which may fail.
    pub fn opens(&self) -> bool {
        match &self.goal {
            Goal::ToVf { vectors, .. } => vectors.is_none() || self.has_vectors,
            Goal::Back { .. } => true,
        }
    }

    /// Frames for the guest wait: it gives up a VF that it used, and they have not waited for as long as
    /// they may.
    pub fn holds(&self, now: Duration) -> bool {
        let used = matches!(self.goal, Goal::Back { used: true, .. });
        used && self
            .held
            .is_none_or(|since| now.saturating_sub(since) < HOLD_LIMIT)
    }

    /// The guest was given its VF for long enough, and has not used it.
    pub fn is_in_vain(&self, now: Duration) -> bool {
        let plugged = self.plugged.filter(|_| self.going() == Going::ToVf);
        plugged.is_some_and(|since| now.saturating_sub(since) >= BOTH_LIMIT)
    }

    /// When it may change by time alone.
    pub fn turns_at(&self) -> impl Iterator<Item = Duration> + use<> {
        let held = self.held.map(|since| since + HOLD_LIMIT);
        let plugged = self.plugged.map(|since| since + BOTH_LIMIT);
        held.into_iter().chain(plugged)
    }
}

/// What is said of a guest that was given its VF and does not use it.
pub fn unused_for_long(driven: bool) -> Problem {
    let (code, text) = match driven {
        true => (
            Code::GuestVfNotPaired,
            "a driver in the guest drives the VF, and the guest goes on sending by its virtio NIC",
        ),
        false => (
            Code::GuestWithoutFailover,
            "no driver in the guest has taken the VF",
        ),
    };
    let seconds = BOTH_LIMIT.as_secs();
    Problem::new(code, format!("After {seconds} s {text}."))
}

/// The steps to a VF in words, for a plan that is only shown; the first only where vectors come from
/// a pool.
pub fn steps_to_vf(pool: bool) -> impl Iterator<Item = &'static str> {
    const STEPS: [&str; 6] = [
        "give the VF the level's share of the adapter's vectors",
        "send the guest's frames both ways",
        "give the VF the guest's address and policy",
        "plug the VF into the VM",
        "wait until the guest uses the VF",
        "send the guest's frames to the VF alone",
    ];
    STEPS.into_iter().skip(usize::from(!pool))
}

/// The steps back to the tap in words.
pub fn steps_back() -> impl Iterator<Item = &'static str> {
    const STEPS: [&str; 5] = [
        "let frames for the guest wait",
        "send the guest's frames both ways",
        "unplug the VF from the VM",
        "let frames to the guest pass, in order, by its tap",
        "reset the VF to its safe state",
    ];
    STEPS.into_iter()
}
