//! What Prometheus is told at [`PATH`]: every metric once, in a table, and the text that is made of them.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | every metric: name, kind, labels, words. `docs/reference/metrics.md` is written from it |
//! | [`text`] | the text format (version 0.0.4), with values of a moment |
//! | [`histogram`] | how often something took how long |
//! | [`kept`] | the text that was made last, for those who ask again at once |
//!
//! The text is written here and by no library: nearly all that is told is looked up at the moment that it is asked
//! for, and a registry of things that count themselves has no place for that.

pub mod histogram;
pub mod kept;
pub mod table;
pub mod text;

pub use histogram::Histogram;
pub use kept::Kept;
pub use text::Text;

/// Where it is, on every door that has it.
pub const PATH: &str = "/metrics";
/// The kind of text that is answered.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that goes up and down.
    Gauge,
    /// A number that only grows, and begins again at a restart.
    Counter,
    /// How many took how long, in [`histogram::BOUNDS_S`].
    Histogram,
}

impl Kind {
    /// As the text format calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Who serves a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The server, and a standalone host.
    Server,
    /// The agent, and a standalone host.
    Agent,
    /// All of them.
    Both,
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// What is counted or measured; base units only.
    pub unit: &'static str,
    /// Names of its labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// Who serves it.
    pub by: By,
    /// What it tells, for people.
    pub help: &'static str,
}
