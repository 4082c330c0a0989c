//! A VM that is kept on its software path for a while, its wish and its capacity untouched.
//!
//! There are three reasons, and each ends by itself: somebody asked for it, with an end or without one;
//! its node is about to go down, which is over with the node's next boot; and it is being moved to another
//! node, which is over when it runs there, or when that took too long. The VM is parked as long as one
//! of them holds, so that a shutdown does not shorten what an operator asked for.

use std::{fmt, time::Duration};

use accelnet_api::Parked;
use accelnet_model::Name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Until it is taken back.
    UntilUnparked,
    /// Until then.
    Until(Timestamp),
}

/// Where it is being moved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moving {
    /// The node.
    to: Name,
    /// It is given up then.
    until: Timestamp,
}

/// Why a VM is parked: at least one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// Since when it has been parked without a break.
    since: Timestamp,
    /// Somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    /// Until the node that has the VM is not in this boot any more (its `boot_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    /// Until it runs on another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving: Option<Moving>,
}

impl Park {
    /// As somebody asks for it, which takes the place of what was before.
    pub fn asked(before: Option<&Self>, now: Timestamp, length: Option<Duration>) -> Self {
        // An end that no clock can show never comes.
        let end = length.and_then(|length| now.checked_add(length).ok());
        Self {
            since: before.map_or(now, |before| before.since),
            asked: Some(end.map_or(Asked::UntilUnparked, Asked::Until)),
            boot: None,
            moving: None,
        }
    }

    /// Until another boot, beside what was before.
    pub fn until_boot(before: Option<&Self>, now: Timestamp, boot: &str) -> Self {
        Self {
            since: before.map_or(now, |before| before.since),
            asked: before.and_then(|before| before.asked),
            boot: Some(boot.to_owned()),
            moving: before.and_then(|before| before.moving.clone()),
        }
    }

    /// Until it runs on this node, or until then, beside what was before.
    pub fn until_moved(before: Option<&Self>, now: Timestamp, to: &Name, until: Timestamp) -> Self {
        let to = to.clone();
        Self {
            since: before.map_or(now, |before| before.since),
            asked: before.and_then(|before| before.asked),
            boot: before.and_then(|before| before.boot.clone()),
            moving: Some(Moving { to, until }),
        }
    }

    /// Since when it has been parked without a break.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The node that it is being moved to.
    pub fn moving_to(&self) -> Option<&Name> {
        self.moving.as_ref().map(|moving| &moving.to)
    }

    /// The node that it shall leave this one for.
    pub fn leads_from(&self, node: &Name) -> Option<&Name> {
        self.moving_to().filter(|to| *to != node)
    }

    /// The VM is parked on this node: to have come where it was to go is no reason any more.
    pub fn holds_on(&self, node: &Name) -> bool {
        self.asked.is_some() || self.boot.is_some() || self.leads_from(node).is_some()
    }

    /// It ends with a boot of its node.
    pub fn is_until_boot(&self) -> bool {
        self.boot.is_some()
    }

    /// The same without a move.
    pub fn without_move(&self) -> Option<Self> {
        let without = Self {
            moving: None,
            ..self.clone()
        };
        (without.asked.is_some() || without.boot.is_some()).then_some(without)
    }

    /// What is left of it then; `boot` is that of the VM's node, if it is known now, and `runs_on` the node
    /// that it runs on.
    pub fn left(&self, now: Timestamp, boot: Option<&str>, runs_on: Option<&Name>) -> Option<Self> {
        let asked = self.asked.filter(|asked| match asked {
            Asked::UntilUnparked => true,
            Asked::Until(end) => now < *end,
        });
        let same_boot = |before: &String| boot.is_none_or(|boot| boot == before);
        let moves = |moving: &Moving| now < moving.until && runs_on != Some(&moving.to);
        let left = Self {
            since: self.since,
            asked,
            boot: self.boot.clone().filter(same_boot),
            moving: self.moving.clone().filter(moves),
        };
        let holds = left.asked.is_some() || left.boot.is_some() || left.moving.is_some();
        holds.then_some(left)
    }

    /// When a reason ends by itself.
    pub fn end(&self) -> Option<Timestamp> {
        let moving = self.moving.as_ref().map(|moving| moving.until);
        self.asked_until().into_iter().chain(moving).min()
    }

    fn asked_until(&self) -> Option<Timestamp> {
        match self.asked? {
            Asked::UntilUnparked => None,
            Asked::Until(end) => Some(end),
        }
    }

    /// As users see it.
    pub fn shown(&self) -> Parked {
        Parked {
            since: self.since,
            until: self.asked_until(),
            until_boot: self.boot.is_some(),
            until_unparked: self.asked == Some(Asked::UntilUnparked),
            moving_to: self.moving_to().cloned(),
            because: self.to_string(),
        }
    }
}

impl fmt::Display for Park {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.asked.map(|asked| match asked {
            Asked::UntilUnparked => "it is unparked".to_owned(),
            Asked::Until(end) => format!("{end:.0}"),
        });
        let boot = self
            .boot
            .as_ref()
            .map(|_| "its node has started again".to_owned());
        let moving = self.moving.as_ref();
        let moving = moving.map(|moving| format!("it runs on '{}'", moving.to));
        let reasons: Vec<String> = asked.into_iter().chain(boot).chain(moving).collect();
        write!(f, "parked until {}", reasons.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn minutes(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(60 * count))
    }

    #[test]
    fn what_is_asked_for_last_counts() {
        let park = Park::asked(None, at(0), None);
        assert_eq!(
            (park.end(), park.left(at(1 << 33), None, None)),
            (None, Some(park.clone()))
        );
        let shorter = Park::asked(Some(&park), at(100), minutes(10));
        assert_eq!((shorter.since, shorter.end()), (at(0), Some(at(700))));
        assert_eq!(shorter.left(at(699), None, None), Some(shorter.clone()));
        assert_eq!(shorter.left(at(700), Some("a"), None), None);
        let endless = Park::asked(None, at(0), Some(Duration::MAX));
        assert_eq!(endless.end(), None);
    }

    #[test]
    fn a_boot_ends_its_own_reason_alone() {
        let park = Park::until_boot(None, at(0), "a");
        // What is not known now ends nothing.
        for boot in [None, Some("a")] {
            assert_eq!(park.left(at(1 << 33), boot, None), Some(park.clone()));
        }
        assert_eq!(park.left(at(0), Some("b"), None), None);
        let asked = Park::asked(None, at(0), minutes(1));
        let both = Park::until_boot(Some(&asked), at(5), "a");
        assert_eq!(both.left(at(59), Some("b"), None), Some(asked.clone()));
        assert_eq!(both.left(at(60), Some("a"), None), Some(park));
        assert_eq!(both.left(at(60), Some("b"), None), None);
        // Asked for anew it does not depend on the boot.
        assert_eq!(Park::asked(Some(&both), at(0), minutes(1)), asked);
    }

    #[test]
    fn it_says_how_long_it_lasts() {
        let asked = Park::asked(None, at(0), minutes(10));
        let words = "parked until 1970-01-01T00:10:00Z";
        assert_eq!(asked.to_string(), words);
        let both = Park::until_boot(Some(&asked), at(0), "a");
        assert_eq!(
            both.to_string(),
            format!("{words} and its node has started again")
        );
        let boot = Park::until_boot(None, at(0), "a");
        assert_eq!(boot.to_string(), "parked until its node has started again");
        let endless = Park::asked(None, at(0), None);
        assert_eq!(endless.to_string(), "parked until it is unparked");
    }

    #[test]
    fn it_is_the_same_after_a_restart() {
        for park in [
            Park::until_boot(Some(&Park::asked(None, at(0), minutes(10))), at(7), "a"),
            Park::asked(None, at(0), None),
        ] {
            let text = serde_json::to_string(&park).unwrap();
            assert_eq!(serde_json::from_str::<Park>(&text).unwrap(), park, "{text}");
        }
    }

    #[test]
    fn it_is_moved_until_it_runs_there() {
        let (here, there): (Name, Name) = ("node1".parse().unwrap(), "node2".parse().unwrap());
        let park = Park::until_moved(None, at(0), &there, at(60));
        assert_eq!(
            (park.leads_from(&here), park.holds_on(&here)),
            (Some(&there), true)
        );
        // What it was to do there is done.
        assert_eq!(
            (park.leads_from(&there), park.holds_on(&there)),
            (None, false)
        );
        for runs_on in [None, Some(&here)] {
            assert_eq!(park.left(at(59), None, runs_on), Some(park.clone()));
            assert_eq!(park.left(at(60), None, runs_on), None);
        }
        assert_eq!(park.left(at(0), None, Some(&there)), None);
        let boot = Park::until_boot(Some(&park), at(5), "a");
        assert_eq!(
            boot.left(at(6), Some("a"), Some(&there)),
            Some(Park::until_boot(None, at(0), "a"))
        );
        assert_eq!(
            boot.to_string(),
            "parked until its node has started again and it runs on 'node2'"
        );
        // Whoever asks for something else has it stay.
        assert_eq!(Park::asked(Some(&boot), at(7), None).moving_to(), None);
    }
}
