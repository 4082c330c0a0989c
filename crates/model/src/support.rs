//! A value that the kernel, driver or card may not offer at all.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A setting as read back: its value, or the knowledge that it does not exist here.
///
/// "Unsupported" is not "false": a card without spoof check is not a card with it switched off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "support", content = "value")]
pub enum Support<T> {
    /// The value that was read.
    Supported(T),
    /// Driver or card do not have this setting.
    Unsupported,
    /// Nobody could tell (older kernel, no permission, not asked yet).
    #[default]
    Unknown,
}

impl<T> Support<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Supported(value) => Some(value),
            Self::Unsupported | Self::Unknown => None,
        }
    }

    /// True if the value is known and equals `wanted`.
    pub fn is(&self, wanted: &T) -> bool
    where
        T: PartialEq,
    {
        self.value() == Some(wanted)
    }
}
