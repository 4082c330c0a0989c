//! Faults and events: what is wrong since when, what was said to it, and what happened.

use accelnet_model::{Code, FaultObject, FaultSeverity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest that a fault can be muted: 90 days. What nobody wants to hear of for longer is a detection to be turned
/// off, which others see.
pub const MUTE_MAX_S: u64 = 90 * 24 * 3600;

/// Somebody knows of a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcknowledgeRequest {
    /// What he writes to it; 200 characters are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Somebody does not want to be told of a fault for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MuteRequest {
    /// For so many seconds.
    #[schema(minimum = 1, maximum = 7776000)]
    pub for_s: u64,
    /// What he writes to it; 200 characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Somebody asked for a change, and it was made: an entry of the record of changes.
    Asked,
    /// A fault has opened.
    FaultOpened,
    /// A fault has become worse, or less bad.
    FaultChanged,
    /// A fault has closed.
    FaultClosed,
    /// The path of a VM's NIC is another one.
    VmSwitched,
    /// A VM runs on another node.
    VmMoved,
    /// A server began to decide.
    ServerStarted,
}

/// Something that happened, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// No other event has it.
    #[serde(default)]
    pub id: String,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it is.
    pub kind: EventKind,
    /// Who asked, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<FaultObject>,
    /// What happened and why, in words.
    pub text: String,
    /// The fault's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The fault's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// How bad the fault is, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<FaultSeverity>,
    /// Since when that of a fault that has closed was so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// The fault was muted then: nobody wants to be told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub muted: bool,
}

/// What a webhook is sent: a fault has opened, changed or closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Announcement {
    /// The event. Whoever has seen its id has had it before.
    pub event: Event,
    /// The fault's code in words.
    pub title: String,
    /// What helps.
    pub cure: String,
}
