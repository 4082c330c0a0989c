//! What the performance levels mean on an intent: queue pairs, and a limit on what a VM sends.
//!
//! Invariant: each level has at least one queue pair, and each level's number divides the next one's.
//! Capacity rests on it: what several VMs of a lower level need is what one of a higher level needs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ids::InvalidValue, performance::Performance};

/// More queue pairs than any known card gives a VF (mlx5: 256 channels).
pub const QUEUE_PAIRS_MAX: u32 = 256;
/// A terabit; the kernel's field has 32 bits of Mbit/s.
pub const TX_RATE_MAX_MBPS: u32 = 1_000_000;

/// Queue pairs of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(
    rename_all = "snake_case",
    deny_unknown_fields,
    try_from = "UncheckedQueuePairs"
)]
pub struct LevelQueuePairs {
    #[schema(minimum = 1, maximum = 256)]
    low: u32,
    #[schema(minimum = 1, maximum = 256)]
    medium: u32,
    #[schema(minimum = 1, maximum = 256)]
    high: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct UncheckedQueuePairs {
    // As it was written at first.
    #[serde(alias = "Low")]
    low: u32,
    #[serde(alias = "Medium")]
    medium: u32,
    #[serde(alias = "High")]
    high: u32,
}

impl TryFrom<UncheckedQueuePairs> for LevelQueuePairs {
    type Error = InvalidValue;

    fn try_from(unchecked: UncheckedQueuePairs) -> Result<Self, InvalidValue> {
        Self::new([unchecked.low, unchecked.medium, unchecked.high])
    }
}

impl Default for LevelQueuePairs {
    fn default() -> Self {
        let [low, medium, high] = Performance::ALL.map(Performance::queue_pairs);
        Self { low, medium, high }
    }
}

impl LevelQueuePairs {
    /// Numbers for Low, Medium and High.
    ///
    /// # Errors
    /// If one is 0 or more than [`QUEUE_PAIRS_MAX`], or does not divide the next one.
    pub fn new([low, medium, high]: [u32; 3]) -> Result<Self, InvalidValue> {
        let levels = Self { low, medium, high };
        let within = |pairs: &u32| (1..=QUEUE_PAIRS_MAX).contains(pairs);
        if ![low, medium, high].iter().all(within) {
            return Err(InvalidValue::new(
                "list of queue pairs",
                &levels.to_string(),
                "each must be from 1 to 256",
            ));
        }
        if medium % low != 0 || high % medium != 0 {
            return Err(InvalidValue::new(
                "list of queue pairs",
                &levels.to_string(),
                "each level's number must divide the next one's, e.g. Low=1,Medium=2,High=8",
            ));
        }
        Ok(levels)
    }

    /// Queue pairs of a level.
    pub fn of(self, level: Performance) -> u32 {
        match level {
            Performance::Low => self.low,
            Performance::Medium => self.medium,
            Performance::High => self.high,
        }
    }
}

impl fmt::Display for LevelQueuePairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, medium, high } = self;
        f.pad(&format!("Low={low},Medium={medium},High={high}"))
    }
}

/// The most that a VM of each level may send, in Mbit/s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(
    rename_all = "snake_case",
    deny_unknown_fields,
    try_from = "UncheckedTxRates"
)]
pub struct LevelTxRates {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    low: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    medium: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    high: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct UncheckedTxRates {
    #[serde(default, alias = "Low")]
    low: Option<u32>,
    #[serde(default, alias = "Medium")]
    medium: Option<u32>,
    #[serde(default, alias = "High")]
    high: Option<u32>,
}

impl TryFrom<UncheckedTxRates> for LevelTxRates {
    type Error = InvalidValue;

    fn try_from(unchecked: UncheckedTxRates) -> Result<Self, InvalidValue> {
        Self::new([unchecked.low, unchecked.medium, unchecked.high])
    }
}

impl LevelTxRates {
    /// Limits for Low, Medium and High; `None` for no limit.
    ///
    /// # Errors
    /// If one is 0 (the kernel's word for no limit) or more than [`TX_RATE_MAX_MBPS`].
    pub fn new([low, medium, high]: [Option<u32>; 3]) -> Result<Self, InvalidValue> {
        let rates = Self { low, medium, high };
        let wrong = |rate: &u32| !(1..=TX_RATE_MAX_MBPS).contains(rate);
        let named = [low, medium, high];
        match named.iter().flatten().find(|rate| wrong(rate)) {
            None => Ok(rates),
            Some(_) => Err(InvalidValue::new(
                "list of transmit rates",
                &rates.to_string(),
                "give Mbit/s from 1 to 1000000, or leave a level out",
            )),
        }
    }

    /// The limit of a level, if it has one.
    pub fn of(self, level: Performance) -> Option<u32> {
        match level {
            Performance::Low => self.low,
            Performance::Medium => self.medium,
            Performance::High => self.high,
        }
    }

    /// True if no level has a limit.
    pub fn is_empty(&self) -> bool {
        Performance::ALL
            .iter()
            .all(|level| self.of(*level).is_none())
    }
}

impl fmt::Display for LevelTxRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Performance::ALL.iter().filter_map(|level| {
            let rate = self.of(*level)?;
            Some(format!("{level}={rate}"))
        });
        let named: Vec<String> = named.collect();
        f.pad(&if named.is_empty() {
            "none".to_owned()
        } else {
            named.join(",")
        })
    }
}

/// What the levels are on an intent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// Queue pairs of each level; 1, 2 and 4 if nothing else is said.
    #[serde(default)]
    pub queue_pairs: LevelQueuePairs,
    /// The most that a VM of each level may send, in Mbit/s; no limit if nothing is said.
    #[serde(default, skip_serializing_if = "LevelTxRates::is_empty")]
    pub max_tx_rate_mbps: LevelTxRates,
}

impl Levels {
    /// Queue pairs of a level.
    pub fn queue_pairs(&self, level: Performance) -> u32 {
        self.queue_pairs.of(level)
    }

    /// The limit of what a VM of the level sends, in Mbit/s, if there is one.
    pub fn max_tx_rate_mbps(&self, level: Performance) -> Option<u32> {
        self.max_tx_rate_mbps.of(level)
    }
}

/// `Low=1,High=8` as a value for each level that is named, lowest level first.
fn named(what: &'static str, text: &str) -> Result<[Option<u32>; 3], InvalidValue> {
    let wrong = |why: &'static str| InvalidValue::new(what, text, why);
    let [mut low, mut medium, mut high] = [None; 3];
    for part in text.split(',') {
        let (name, number) = part
            .split_once('=')
            .ok_or_else(|| wrong("write LEVEL=NUMBER, separated by commas, e.g. Low=1,High=8"))?;
        let level: Performance = name.trim().parse()?;
        let number: u32 = number
            .trim()
            .parse()
            .map_err(|_| wrong("write a whole number after '='"))?;
        let value = match level {
            Performance::Low => &mut low,
            Performance::Medium => &mut medium,
            Performance::High => &mut high,
        };
        if value.replace(number).is_some() {
            return Err(wrong("name each level once"));
        }
    }
    Ok([low, medium, high])
}

impl FromStr for LevelQueuePairs {
    type Err = InvalidValue;

    /// `Low=1,Medium=2,High=8`; a level that is left out has its usual number. `default` for all.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.eq_ignore_ascii_case("default") {
            return Ok(Self::default());
        }
        let [low, medium, high] = named("list of queue pairs", text)?;
        let usual = Self::default();
        Self::new([
            low.unwrap_or(usual.low),
            medium.unwrap_or(usual.medium),
            high.unwrap_or(usual.high),
        ])
    }
}

impl FromStr for LevelTxRates {
    type Err = InvalidValue;

    /// `Low=1000,Medium=5000`; a level that is left out has no limit. `none` for no limit at all.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::default());
        }
        Self::new(named("list of transmit rates", text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_divides_the_next() {
        for (numbers, good) in [
            ([1, 2, 4], true),
            ([1, 2, 8], true),
            ([2, 2, 2], true),
            ([3, 6, 12], true),
            ([1, 3, 4], false),
            ([2, 1, 4], false),
            ([0, 2, 4], false),
            ([1, 2, 257], false),
            ([1, 2, 512], false),
        ] {
            assert_eq!(LevelQueuePairs::new(numbers).is_ok(), good, "{numbers:?}");
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_number_or_no_limit() {
        let pairs: LevelQueuePairs = "high=8".parse().unwrap();
        assert_eq!(pairs.to_string(), "Low=1,Medium=2,High=8");
        assert_eq!(pairs.to_string().parse(), Ok(pairs));
        assert_eq!("default".parse(), Ok(LevelQueuePairs::default()));
        let rates: LevelTxRates = "Low=1000, HIGH=9000".parse().unwrap();
        assert_eq!(rates.of(Performance::Low), Some(1000));
        assert_eq!(rates.of(Performance::Medium), None);
        assert_eq!(rates.to_string(), "Low=1000,High=9000");
        let none: LevelTxRates = "none".parse().unwrap();
        assert!(none.is_empty() && none.to_string() == "none");
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for text in [
            "",
            "Low",
            "Low=",
            "Low=x",
            "Low=-1",
            "Fast=1",
            "Low=1,Low=2",
            "Low=1;High=2",
        ] {
            assert!(text.parse::<LevelQueuePairs>().is_err(), "{text}");
            assert!(text.parse::<LevelTxRates>().is_err(), "{text}");
        }
        for text in ["Low=0", "Low=4000000"] {
            assert!(text.parse::<LevelTxRates>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_checked_too_and_may_be_left_out() {
        let read = |text: &str| serde_json::from_str::<Levels>(text);
        assert_eq!(read("{}").unwrap(), Levels::default());
        let levels =
            read(r#"{"queue_pairs":{"low":1,"medium":2,"high":8},"max_tx_rate_mbps":{"low":10}}"#);
        let levels = levels.unwrap();
        assert_eq!(levels.queue_pairs(Performance::High), 8);
        assert_eq!(levels.max_tx_rate_mbps(Performance::Low), Some(10));
        // As earlier versions wrote it.
        let before =
            read(r#"{"queue_pairs":{"Low":1,"Medium":2,"High":8},"max_tx_rate_mbps":{"Low":10}}"#);
        assert_eq!(before.unwrap(), levels);
        let written = serde_json::to_string(&levels).unwrap();
        assert_eq!(read(&written).unwrap(), levels);
        for wrong in [
            r#"{"queue_pairs":{"low":2,"medium":3,"high":4}}"#,
            r#"{"queue_pairs":{"low":2}}"#,
            r#"{"max_tx_rate_mbps":{"low":0}}"#,
            r#"{"max_tx_rate":{}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
