//! Performance levels: what a VM can ask for and what it costs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::InvalidValue;

/// How fast a VM's accelerated path shall be. Names and vCPU floors are the reference's
/// (Windows Server 2025); the queue pairs are our choice, as nothing is published.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Performance {
    /// One queue pair.
    // As it was written at first.
    #[serde(alias = "Low")]
    Low,
    /// Two queue pairs.
    #[serde(alias = "Medium")]
    Medium,
    /// Four queue pairs.
    #[serde(alias = "High")]
    High,
}

impl Performance {
    /// All levels, lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Queue pairs (one TX and one RX queue each) a VF must be able to have for this level, if the
    /// intent says nothing else ([`crate::Levels`]).
    pub fn queue_pairs(self) -> u32 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 4,
        }
    }

    /// The fewest vCPUs a VM needs for this level. With SMT a vCPU is half a core, so the
    /// reference asks for twice as many, except where four are needed anyway.
    pub fn min_vcpus(self, smt_active: bool) -> u32 {
        match (self, smt_active) {
            (Self::Low | Self::Medium, false) => 2,
            (Self::Low | Self::Medium, true) | (Self::High, _) => 4,
        }
    }
}

impl fmt::Display for Performance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        })
    }
}

impl FromStr for Performance {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|level| level.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| InvalidValue::new("performance level", text, "use Low, Medium or High"))
    }
}
