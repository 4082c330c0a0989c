//! A VM that is kept on its software path for a while, its wish and its capacity untouched.
//!
//! There are two reasons, and each ends by itself: somebody asked for it, with an end or without one; and
//! its node is about to go down, which is over with the node's next boot. The VM is parked as long as one
//! of them holds, so that a shutdown does not shorten what an operator asked for.

use std::{fmt, time::Duration};

use accelnet_api::Parked;
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
        }
    }

    /// Until another boot, beside what was before.
    pub fn until_boot(before: Option<&Self>, now: Timestamp, boot: &str) -> Self {
        Self {
            since: before.map_or(now, |before| before.since),
            asked: before.and_then(|before| before.asked),
            boot: Some(boot.to_owned()),
        }
    }

    /// It ends with a boot of its node.
    pub fn is_until_boot(&self) -> bool {
        self.boot.is_some()
    }

    /// What is left of it then; `boot` is that of the VM's node, if it is known now.
    pub fn left(&self, now: Timestamp, boot: Option<&str>) -> Option<Self> {
        let asked = self.asked.filter(|asked| match asked {
            Asked::UntilUnparked => true,
            Asked::Until(end) => now < *end,
        });
        let same_boot = |before: &String| boot.is_none_or(|boot| boot == before);
        let left = Self {
            since: self.since,
            asked,
            boot: self.boot.clone().filter(same_boot),
        };
        (left.asked.is_some() || left.boot.is_some()).then_some(left)
    }

    /// When a reason ends by itself.
    pub fn end(&self) -> Option<Timestamp> {
        match self.asked? {
            Asked::UntilUnparked => None,
            Asked::Until(end) => Some(end),
        }
    }

    /// As users see it.
    pub fn shown(&self) -> Parked {
        Parked {
            since: self.since,
            until: self.end(),
            until_boot: self.boot.is_some(),
            until_unparked: self.asked == Some(Asked::UntilUnparked),
            because: self.to_string(),
        }
    }
}

impl fmt::Display for Park {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parked until ")?;
        match self.asked {
            Some(Asked::UntilUnparked) => f.write_str("it is unparked")?,
            Some(Asked::Until(end)) => write!(f, "{end:.0}")?,
            None => {}
        }
        match (&self.boot, self.asked) {
            (None, _) => Ok(()),
            (Some(_), None) => f.write_str("its node has started again"),
            (Some(_), Some(_)) => f.write_str(" and its node has started again"),
        }
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
            (park.end(), park.left(at(1 << 33), None)),
            (None, Some(park.clone()))
        );
        let shorter = Park::asked(Some(&park), at(100), minutes(10));
        assert_eq!((shorter.since, shorter.end()), (at(0), Some(at(700))));
        assert_eq!(shorter.left(at(699), None), Some(shorter.clone()));
        assert_eq!(shorter.left(at(700), Some("a")), None);
        let endless = Park::asked(None, at(0), Some(Duration::MAX));
        assert_eq!(endless.end(), None);
    }

    #[test]
    fn a_boot_ends_its_own_reason_alone() {
        let park = Park::until_boot(None, at(0), "a");
        // What is not known now ends nothing.
        for boot in [None, Some("a")] {
            assert_eq!(park.left(at(1 << 33), boot), Some(park.clone()));
        }
        assert_eq!(park.left(at(0), Some("b")), None);
        let asked = Park::asked(None, at(0), minutes(1));
        let both = Park::until_boot(Some(&asked), at(5), "a");
        assert_eq!(both.left(at(59), Some("b")), Some(asked.clone()));
        assert_eq!(both.left(at(60), Some("a")), Some(park));
        assert_eq!(both.left(at(60), Some("b")), None);
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
}
