//! The switch-over, as data: what is done in which order, and what undoes it.
//!
//! The order loses no packet that the wire delivered (measured: docs/reference/switch-over.md).
//!
//! ```text
//!            tap path only                                     VF path only
//!   filter: MAC in PF's   ──ATTACH──▶ both paths at once ──▶  filter: not in PF's
//!   bridge: MAC at tap                (copies, no loss)       bridge: MAC at uplink
//!                         ◀──DETACH── copies wait at tap ◀──
//! ```
//!
//! Every step is idempotent: a sequence that was interrupted is begun again from its first step.

use std::fmt;

/// One step of a switch-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The bridge does not learn at the tap: it would undo the entries that follow.
    TapLearningOff,
    /// It does again.
    TapLearningOn,
    /// The hold queue is on the tap and lets frames pass.
    TapPass,
    /// Frames for the guest wait in the tap's hold queue.
    TapHold,
    /// Behind the tap there is room for all that the hold queue will let go at once. While the guest is on
    /// its VF: it restarts the tap's queue, and frames by the tap may be lost.
    TapRoom,
    /// The bridge does not flood the tap with frames for addresses that it does not know: they are for
    /// others, and a promiscuous PF brings the guest's own back. Not while both paths are open.
    TapFloodOff,
    /// It does: without an entry the guest's address is one that the bridge does not know.
    TapFloodOn,
    /// The PF receives frames for the guest's address.
    FilterAdd,
    /// It does not any more: copies cost host CPU.
    FilterRemove,
    /// The bridge sends frames for the guest to its tap.
    TapEntryAdd,
    /// It does not know where the guest is, and sends its frames everywhere.
    TapEntryRemove,
    /// The bridge sends frames for the guest to the uplink, and so to the VF.
    UplinkEntryAdd,
    /// It does not.
    UplinkEntryRemove,
    /// The VF has the vectors that the level costs, where they come from a pool. While nothing else has
    /// been touched: it takes the VF from its driver for a moment.
    VfVectors,
    /// The VF carries the guest's address and policy. Before it is plugged: the guest pairs by it.
    VfDress,
    /// The VF is clean again. Only when the guest has let go of it: earlier, the VF's reset claims
    /// the address once more and makes a black hole (seen on igb).
    VfClean,
    /// The VF is plugged into the VM.
    Plug,
    /// The guest has let go of the VF.
    Unplug,
    /// The guest drives the VF, and no frame of it has come by the tap for a second.
    WaitOnVf,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TapLearningOff => "stop learning at the tap",
            Self::TapLearningOn => "learn at the tap again",
            Self::TapPass => "let frames to the guest pass, in order",
            Self::TapHold => "let frames for the guest wait",
            Self::TapRoom => "make room for frames that will wait",
            Self::TapFloodOff => "keep frames for unknown addresses off the tap",
            Self::TapFloodOn => "let the bridge reach the guest by its tap",
            Self::FilterAdd => "let the adapter receive for the guest",
            Self::FilterRemove => "let only the VF receive for the guest",
            Self::TapEntryAdd => "send the guest's frames to its tap",
            Self::TapEntryRemove => "send the guest's frames both ways",
            Self::UplinkEntryAdd => "send the guest's frames to the VF",
            Self::UplinkEntryRemove => "send the guest's frames both ways",
            Self::VfVectors => "give the VF the level's share of the adapter's vectors",
            Self::VfDress => "give the VF the guest's address and policy",
            Self::VfClean => "reset the VF to its safe state",
            Self::Plug => "plug the VF into the VM",
            Self::Unplug => "unplug the VF from the VM",
            Self::WaitOnVf => "wait until the guest uses the VF",
        })
    }
}

/// From the software path to the VF.
pub const ATTACH: &[Step] = &[
    Step::VfVectors,
    Step::TapPass,
    Step::TapLearningOff,
    Step::TapFloodOn,
    Step::FilterAdd,
    Step::TapEntryRemove,
    Step::VfDress,
    Step::Plug,
    Step::WaitOnVf,
    Step::UplinkEntryAdd,
    Step::FilterRemove,
    Step::TapRoom,
    Step::TapFloodOff,
];

/// From the VF back to the software path.
pub const DETACH: &[Step] = &[
    Step::TapLearningOff,
    Step::TapHold,
    Step::TapFloodOn,
    Step::FilterAdd,
    Step::UplinkEntryRemove,
    Step::Unplug,
    Step::TapPass,
    Step::TapEntryAdd,
    Step::TapLearningOn,
    Step::VfClean,
];

/// Where a NIC is when a switch-over begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has no VF.
    OnTap,
    /// It has a VF, but both paths are open, or were meant to be.
    BothPaths,
    /// It has a VF and all its frames go there.
    OnVf,
}

/// What brings the VM back to where it was when `sequence` failed at step number `failed`.
///
/// An attach that failed once the VF is plugged (or may be) is undone by a whole detach; before
/// that, by putting back the tap's entry. A detach that the guest refuses leaves it where it was: one
/// that did not use its VF must not be sent its frames there.
///
/// If [`Step::Unplug`] is among these steps and fails, [`STILL_PLUGGED`] follows instead of the rest.
pub fn undo(sequence: &[Step], failed: usize, standing: Standing) -> Vec<Step> {
    let plug = sequence.iter().position(|step| *step == Step::Plug);
    let unplug = sequence.iter().position(|step| *step == Step::Unplug);
    match (plug, unplug) {
        (Some(plug), _) if failed >= plug || standing != Standing::OnTap => DETACH.to_vec(),
        (Some(_), _) => vec![Step::TapEntryAdd, Step::TapLearningOn, Step::VfClean],
        (None, Some(unplug)) if failed <= unplug && standing == Standing::OnVf => {
            vec![
                Step::UplinkEntryAdd,
                Step::FilterRemove,
                Step::TapPass,
                Step::TapFloodOff,
            ]
        }
        (None, Some(unplug)) if failed <= unplug => STILL_PLUGGED.to_vec(),
        // The VF is gone from the VM: what is left is done on the next pass.
        _ => Vec::new(),
    }
}

/// What is left to do when an attach is undone and the guest keeps the VF: both paths stay open, and
/// nothing is reset under it.
pub const STILL_PLUGGED: &[Step] = &[Step::TapPass];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: &[Step], step: Step) -> usize {
        sequence.iter().position(|other| *other == step).unwrap()
    }

    #[test]
    fn the_order_that_loses_nothing() {
        let before =
            |sequence, a, b| assert!(at(sequence, a) < at(sequence, b), "{a:?} before {b:?}");
        before(ATTACH, Step::VfVectors, Step::TapLearningOff);
        before(ATTACH, Step::TapFloodOn, Step::TapEntryRemove);
        before(ATTACH, Step::FilterAdd, Step::VfDress);
        before(ATTACH, Step::TapEntryRemove, Step::VfDress);
        before(ATTACH, Step::VfDress, Step::Plug);
        before(ATTACH, Step::WaitOnVf, Step::UplinkEntryAdd);
        before(ATTACH, Step::UplinkEntryAdd, Step::FilterRemove);
        before(ATTACH, Step::FilterRemove, Step::TapRoom);
        before(ATTACH, Step::UplinkEntryAdd, Step::TapFloodOff);
        before(DETACH, Step::TapHold, Step::TapFloodOn);
        before(DETACH, Step::TapHold, Step::FilterAdd);
        before(DETACH, Step::TapFloodOn, Step::UplinkEntryRemove);
        before(DETACH, Step::UplinkEntryRemove, Step::Unplug);
        before(DETACH, Step::Unplug, Step::VfClean);
        before(DETACH, Step::TapPass, Step::TapEntryAdd);
    }

    #[test]
    fn every_failure_ends_on_one_path() {
        for failed in 0..ATTACH.len() {
            let steps = undo(ATTACH, failed, Standing::OnTap);
            assert!(
                steps.contains(&Step::TapEntryAdd) && steps.contains(&Step::VfClean),
                "{failed}"
            );
            assert_eq!(
                steps.contains(&Step::Unplug),
                failed >= at(ATTACH, Step::Plug)
            );
        }
        for failed in 0..=at(DETACH, Step::Unplug) {
            assert!(undo(DETACH, failed, Standing::OnVf).contains(&Step::UplinkEntryAdd));
        }
    }

    #[test]
    fn nothing_is_reset_or_sent_to_a_vf_while_a_guest_has_it_and_may_not_use_it() {
        for failed in 0..ATTACH.len() {
            assert_eq!(undo(ATTACH, failed, Standing::BothPaths), DETACH);
            assert_eq!(undo(ATTACH, failed, Standing::OnVf), DETACH);
        }
        for failed in 0..=at(DETACH, Step::Unplug) {
            assert_eq!(undo(DETACH, failed, Standing::BothPaths), [Step::TapPass]);
        }
    }
}
