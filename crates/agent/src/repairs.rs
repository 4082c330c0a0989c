//! What is put right again and again rests in between, and is given up by name.
//!
//! ```text
//!   done at once ─► wrong again soon ─► done at once ─► … (FREE times)
//!                                                         │
//!        quiet for a while: forgotten ◄── done after a rest, longer each time ◄┘
//! ```
//!
//! An action that the kernel refuses rests from its first failure on. One that succeeds but is needed
//! again soon was undone by somebody: that is taken up at once some times, since a guest or a daemon
//! that restarts looks the same; then it rests too, so that two programs do not fight all day. What a
//! guest makes necessary by itself is not counted.

use std::time::Duration;

use accelnet_model::{Code, PciAddress, Problem};
use accelnet_rules::action::Action;

use crate::words;

/// Repairs in a row that are done at once.
const FREE: u32 = 3;
/// Tries after which it is said to have failed; it is tried on.
const GIVEN_UP: u32 = 6;
/// First rest, doubled with each further try up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(5);
/// The same for what frames depend on.
const FIRST_FOR_FRAMES: Duration = Duration::from_millis(100);
/// Far below the 15 minutes within which drift must be put right.
const LONGEST: Duration = Duration::from_secs(120);
/// The same for what frames depend on. Whoever else undoes it, a VM must not be out of reach because we
/// rest: this only keeps two programs from answering each other without end.
const LONGEST_FOR_FRAMES: Duration = Duration::from_secs(1);
/// The same where the kernel refuses it: as often as the loop looks in any case.
const LONGEST_REFUSED_FOR_FRAMES: Duration = Duration::from_secs(10);
/// What is not needed again within this was for a reason of its own. Longer than between two looks.
const QUIET: Duration = Duration::from_secs(60);

/// One action that was done.
#[derive(Debug, Clone)]
struct Repair {
    action: Action,
    tries: u32,
    again_at: Duration,
    refused: Option<Problem>,
}

/// All actions that were done lately.
#[derive(Debug, Default)]
pub struct Repairs {
    lately: Vec<Repair>,
    /// How often somebody changed what a VF in use carries, ever.
    drifted: u64,
}

/// True if having to do it again and again means that something is wrong. Of a NIC that was not settled
/// nobody asks this: a guest that restarts has its paths opened and closed, rightly, each time.
pub fn counts(action: &Action) -> bool {
    match action {
        Action::MakeBridge { .. }
        | Action::AddUplink { .. }
        | Action::CreateVfs { .. }
        | Action::BindVf { .. }
        | Action::VfVectors { .. }
        | Action::CleanVf { .. }
        | Action::Dress { .. }
        | Action::PinBridge { .. }
        | Action::Filter { .. }
        | Action::BridgeEntry { .. }
        // That was done and changed nothing looks the same.
        | Action::EndJob { .. } => true,
        // Queues alone are our own idea, which nobody waits for; what a VF needs was asked for.
        Action::Prepare { staging, .. } => staging.standby.is_empty(),
        // Off and on with every switch-over of the bridge; queues are used, not repaired.
        Action::PortLearning { .. }
        | Action::PortFlood { .. }
        | Action::HoldQueue { .. }
        | Action::TapRoom { .. }
        | Action::ReserveVf { .. }
        | Action::AddNic { .. }
        | Action::Plug { .. }
        | Action::Unplug { .. }
        | Action::Release { .. }
        | Action::Migrate { .. }
        | Action::EndMigration { .. } => false,
    }
}

fn is_for_frames(action: &Action) -> bool {
    matches!(
        action,
        Action::MakeBridge { .. }
            | Action::AddUplink { .. }
            | Action::PortLearning { .. }
            | Action::PortFlood { .. }
            | Action::HoldQueue { .. }
            | Action::Filter { .. }
            | Action::BridgeEntry { .. }
            // A VM stands still until it is done.
            | Action::EndJob { .. }
    )
}

fn first(action: &Action) -> Duration {
    match is_for_frames(action) {
        true => FIRST_FOR_FRAMES,
        false => FIRST,
    }
}

fn longest(action: &Action, refused: bool) -> Duration {
    match (is_for_frames(action), refused) {
        (true, true) => LONGEST_REFUSED_FOR_FRAMES,
        (true, false) => LONGEST_FOR_FRAMES,
        (false, _) => LONGEST,
    }
}

impl Repairs {
    /// True if the action may be done now.
    pub fn due(&self, action: &Action, now: Duration) -> bool {
        let mut all = self.lately.iter();
        all.find(|repair| repair.action == *action)
            .is_none_or(|repair| repair.again_at <= now)
    }

    /// Notes that it was done, or refused.
    pub fn note(&mut self, action: &Action, now: Duration, refused: Option<&Problem>) {
        let mut lately = self.lately.iter();
        let place = lately.position(|repair| repair.action == *action);
        let before = place.map(|place| self.lately.swap_remove(place));
        let tries = before
            .filter(|before| before.refused.is_some() == refused.is_some())
            .map_or(1, |before| before.tries + 1);
        let free = if refused.is_some() { 0 } else { FREE };
        let rest = match tries.checked_sub(free + 1) {
            None => Duration::ZERO,
            Some(doublings) => first(action)
                .saturating_mul(1 << doublings.min(10))
                .min(longest(action, refused.is_some())),
        };
        self.lately.push(Repair {
            action: action.clone(),
            tries,
            again_at: now + rest,
            refused: refused.cloned(),
        });
    }

    /// Drops what lasts, or is not wanted any more.
    pub fn forget(&mut self, now: Duration, wanted: impl Fn(&Action) -> bool) {
        self.lately.retain(|repair| {
            wanted(&repair.action) || repair.refused.is_none() && now < repair.again_at + QUIET
        });
    }

    /// Somebody has the VF: that it is cleaned when it comes back is no drift, however often it comes and goes.
    /// What was refused because somebody has it stays to be told.
    pub fn forget_used(&mut self, used: impl Fn(PciAddress) -> bool) {
        self.lately.retain(|repair| match &repair.action {
            Action::CleanVf { vf, .. } | Action::BindVf { vf, .. } => {
                repair.refused.is_some() || !used(*vf)
            }
            _ => true,
        });
    }

    /// A VF in use carries again what somebody had changed.
    pub fn drifted(&mut self) {
        self.drifted += 1;
    }

    /// How often that was since the agent's start.
    pub fn count(&self) -> u64 {
        self.drifted
    }

    /// Drops all: under another wish everything may be tried at once.
    pub fn clear(&mut self) {
        self.lately.clear();
    }

    /// When the next action that rests may be done.
    pub fn next_try(&self, now: Duration) -> Option<Duration> {
        let all = self.lately.iter().map(|repair| repair.again_at);
        all.filter(|again_at| *again_at > now).min()
    }

    /// What does not last or is refused.
    pub fn problems(&self) -> Vec<Problem> {
        let all = self.lately.iter();
        all.filter_map(|repair| Some(words::about(&repair.action, repair.problem()?)))
            .collect()
    }
}

impl Repair {
    fn problem(&self) -> Option<Problem> {
        let (what, tries) = (words::of(&self.action), self.tries);
        match &self.refused {
            Some(problem) if tries < GIVEN_UP => Some(problem.clone()),
            Some(problem) => {
                let text = format!("To {what} was tried {tries} times: {}", problem.detail);
                Some(Problem::new(Code::RepairFailed, text))
            }
            None if tries <= FREE => None,
            None if tries < FREE + GIVEN_UP => {
                let text = format!("To {what} was needed {tries} times in a row.");
                Some(Problem::new(Code::RepairRepeated, text))
            }
            None => {
                let text = format!(
                    "To {what} was needed {tries} times in a row: something on the node undoes it."
                );
                let cure = Code::RepairRepeated.cure();
                Some(Problem::new(Code::RepairFailed, text).with_cure(cure))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn action() -> Action {
        Action::BindVf {
            pf: "0000:01:00.0".parse().unwrap(),
            vf: "0000:01:10.0".parse().unwrap(),
            driver: None,
        }
    }

    fn codes(repairs: &Repairs) -> Vec<Code> {
        let problems = repairs.problems();
        problems.iter().map(|problem| problem.code).collect()
    }

    /// Does it as soon as it may be done, ten times; the rests in seconds and what is told.
    fn rests(refused: Option<&Problem>) -> Vec<(u64, Vec<Code>)> {
        let (mut repairs, mut now) = (Repairs::default(), Duration::ZERO);
        let mut found = Vec::new();
        for _ in 0..10 {
            assert!(repairs.due(&action(), now));
            repairs.note(&action(), now, refused);
            let next = repairs.next_try(now).unwrap_or(now);
            assert!(next == now || !repairs.due(&action(), next - SECOND));
            found.push(((next - now).as_secs(), codes(&repairs)));
            now = next;
        }
        found
    }

    #[test]
    fn what_comes_back_rests_after_some_times() {
        let found = rests(None);
        let times: Vec<u64> = found.iter().map(|(rest, _)| *rest).collect();
        assert_eq!(times, [0, 0, 0, 5, 10, 20, 40, 80, 120, 120]);
        assert_eq!(found[2].1, []);
        assert_eq!(found[3].1, [Code::RepairRepeated]);
        assert_eq!(found[7].1, [Code::RepairRepeated]);
        assert_eq!(found[8].1, [Code::RepairFailed]);
    }

    #[test]
    fn what_frames_depend_on_does_not_rest_for_long() {
        let action = Action::PortLearning {
            port: "pf0".parse().unwrap(),
            on: false,
        };
        let mut repairs = Repairs::default();
        (0..20).for_each(|_| repairs.note(&action, Duration::ZERO, None));
        assert_eq!(repairs.next_try(Duration::ZERO), Some(LONGEST_FOR_FRAMES));
    }

    #[test]
    fn what_is_refused_rests_at_once_and_fails_with_the_reason() {
        let why = Problem::new(Code::HostOperationFailed, "No such thing.");
        let found = rests(Some(&why));
        let times: Vec<u64> = found.iter().map(|(rest, _)| *rest).collect();
        assert_eq!(times, [5, 10, 20, 40, 80, 120, 120, 120, 120, 120]);
        assert_eq!(found[4].1, [Code::HostOperationFailed]);
        assert_eq!(found[5].1, [Code::RepairFailed]);
        let mut repairs = Repairs::default();
        (0..6).for_each(|_| repairs.note(&action(), Duration::ZERO, Some(&why)));
        assert!(repairs.problems()[0].detail.contains("No such thing."));
    }

    #[test]
    fn what_lasts_is_forgotten() {
        let mut repairs = Repairs::default();
        (0..4).for_each(|_| repairs.note(&action(), Duration::ZERO, None));
        repairs.forget(FIRST + QUIET - SECOND, |_| false);
        assert_eq!(codes(&repairs), [Code::RepairRepeated]);
        repairs.forget(FIRST + QUIET, |wanted| *wanted == action());
        assert_eq!(codes(&repairs), [Code::RepairRepeated]);
        repairs.forget(FIRST + QUIET, |_| false);
        assert_eq!(codes(&repairs), []);
        // A VF that somebody has was not undone, but what is refused because of that is told.
        let why = Problem::new(Code::VfQuarantined, "Somebody has it.");
        (0..4).for_each(|_| repairs.note(&action(), Duration::ZERO, None));
        repairs.forget_used(|_| true);
        assert_eq!(codes(&repairs), []);
        repairs.note(&action(), Duration::ZERO, Some(&why));
        repairs.forget_used(|_| true);
        assert_eq!(codes(&repairs), [Code::VfQuarantined]);
        repairs.clear();
        // What is refused is forgotten as soon as it is not wanted.
        let why = Problem::new(Code::HostOperationFailed, "No such thing.");
        repairs.note(&action(), Duration::ZERO, Some(&why));
        repairs.forget(Duration::ZERO, |_| false);
        assert_eq!(codes(&repairs), []);
    }
}
