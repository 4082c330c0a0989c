//! NUMA: which CPUs a machine's nodes have, and what of them a VM is bound to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::InvalidValue;

/// More CPUs, or NUMA nodes, than any machine has: a longer list is none.
const NUMBER_MAX: u32 = 1 << 16;

/// Numbers of CPUs or of NUMA nodes, written as the kernel and libvirt write them: `0-3,8`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct Numbers(Vec<(u32, u32)>);

impl Numbers {
    /// The number is among them.
    pub fn contains(&self, number: u32) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// Both have a number.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|(first, last)| {
            let mut others = other.0.iter();
            others.any(|(from, to)| from <= last && first <= to)
        })
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self.0.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (first, last) in self.0 {
            match joined.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        f.pad(&each.collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Numbers {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue::new("list of numbers", text, "it is written like 0-3,8");
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        let ranges = parts.map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse().ok().filter(|number| *number <= NUMBER_MAX);
            let range: (u32, u32) = number(first).zip(number(last))?;
            (range.0 <= range.1).then_some(range)
        });
        let ranges: Option<Vec<_>> = ranges.collect();
        Ok(Self::default().and(&Self(ranges.ok_or_else(wrong)?)))
    }
}

impl TryFrom<String> for Numbers {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Numbers> for String {
    fn from(numbers: Numbers) -> Self {
        numbers.to_string()
    }
}

/// What of the host a VM's memory or processors are bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Nobody could tell.
    #[default]
    Unknown,
    /// To nothing in particular.
    Free,
    /// To these.
    To(Numbers),
}

impl Bound {
    /// Nobody could tell.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// One NUMA node of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NumaNode {
    /// Its number.
    pub number: u32,
    /// Its CPUs; a node may have none.
    pub cpus: Numbers,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Numbers {
        text.parse().unwrap()
    }

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        for (text, written) in [
            ("", ""),
            ("0", "0"),
            ("0-3,8", "0-3,8"),
            ("8, 0-3,4", "0-4,8"),
            ("2-5,4-9,1", "1-9"),
        ] {
            assert_eq!(of(text).to_string(), written);
            let json = serde_json::to_string(&of(text)).unwrap();
            assert_eq!(serde_json::from_str::<Numbers>(&json).unwrap(), of(text));
        }
        for wrong in ["x", "3-1", "-1", "1-", "0-4294967295", "^3"] {
            assert!(wrong.parse::<Numbers>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sets_meet_where_they_have_a_number_in_common() {
        assert!(of("0-3,8").meets(&of("3")) && of("8").meets(&of("0-9")));
        assert!(!of("0-3").meets(&of("4-7")) && !of("").meets(&of("0")));
        assert!(of("0-3,8").contains(8) && !of("0-3,8").contains(7));
        assert!(of("").is_empty());
    }
}
