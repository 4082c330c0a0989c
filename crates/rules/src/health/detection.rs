//! What a detection is: code, severity, windows, and the words for the reference page. Its windows can be changed,
//! and it can be turned off.

use std::{collections::BTreeMap, time::Duration};

use accelnet_model::{Code, FaultSeverity, fault::FaultSeverity::*};

use super::{
    clocks, decided, drift, drops, exhausted, fragments, intents, isolated, level, likeness, link,
    nowhere, numa, pcie, places, reported, reserve, server, silent, switches, tokens, unseen,
    version, vf_idle, vf_path, vfs,
};

/// When a fault opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Its condition has held for so long, or has been gone for so long.
    Lasts {
        /// It opens then.
        opens: Duration,
        /// It closes then.
        closes: Duration,
    },
    /// Something has happened so often within the time; it closes when it has not happened once for as long.
    Counts {
        /// So many times.
        times: u64,
        /// Within this.
        within: Duration,
    },
}

impl Window {
    /// Seconds until it opens, and until it closes.
    pub const fn seconds(opens: u64, closes: u64) -> Self {
        Self::Lasts {
            opens: Duration::from_secs(opens),
            closes: Duration::from_secs(closes),
        }
    }

    /// How long a condition holds before it is told, and is gone before that is.
    pub const fn lengths(self) -> (Duration, Duration) {
        match self {
            Self::Lasts { opens, closes } => (opens, closes),
            Self::Counts { within, .. } => (Duration::ZERO, within),
        }
    }

    /// So many times within seconds.
    pub const fn times(times: u64, seconds: u64) -> Self {
        Self::Counts {
            times,
            within: Duration::from_secs(seconds),
        }
    }
}

/// A detection: what it finds, when it is told, and why then.
#[derive(Debug, Clone, Copy)]
pub struct Detection {
    /// The fault's code, which only this detection gives.
    pub code: Code,
    /// How bad it is as a rule; what was found may be worse.
    pub severity: FaultSeverity,
    /// What its faults are about.
    pub about: &'static str,
    /// It is judged by the report of the node that the object is on, and not at all while there is none.
    pub by_node: bool,
    /// What it finds, and in what.
    pub finds: &'static str,
    /// Why its window is as it is.
    pub because: &'static str,
    /// When it is told.
    pub window: Window,
}

/// All detections, in the order of the reference page.
pub fn all() -> impl Iterator<Item = &'static Detection> {
    let own = [
        &vf_path::DETECTION,
        &vf_idle::DETECTION,
        &level::DETECTION,
        &switches::DETECTION,
        &places::DETECTION,
        &nowhere::DETECTION,
        &unseen::DETECTION,
        &decided::WAIVED,
        &decided::PARKED,
        &link::DOWN,
        &link::FLAPS,
        &pcie::DEGRADED,
        &pcie::OVERSUBSCRIBED,
        &pcie::ERRORS,
        &vfs::OTHERS,
        &vfs::ORPHANED,
        &vfs::UNCLEAN,
        &vfs::QUARANTINED,
        &drops::NO_BUFFER,
        &drops::TO_GUEST,
        &drops::FROM_GUEST,
        &drops::MISUSED,
        &isolated::DETECTION,
        &exhausted::ADAPTER,
        &exhausted::VECTORS,
        &fragments::DETECTION,
        &numa::DETECTION,
        &likeness::DETECTION,
        &intents::DETECTION,
        &reserve::DETECTION,
        &silent::DETECTION,
        &silent::CERTIFICATE,
        &clocks::DETECTION,
        &version::DETECTION,
        &drift::DETECTION,
        &server::STORE,
        &server::CHANGES,
        &server::STANDBY,
        &tokens::DETECTION,
    ];
    own.into_iter().chain(reported::DETECTIONS)
}

/// The detection of a code.
pub fn of(code: Code) -> Option<&'static Detection> {
    all().find(|detection| detection.code == code)
}

/// What is changed of detections, where the server is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning(BTreeMap<Code, Option<Window>>);

/// Why a tuning cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTuning(String);

impl BadTuning {
    /// Of a part, why.
    pub(super) fn new(part: &str, why: &str) -> Self {
        Self(format!("'{part}': {why}"))
    }
}

impl std::fmt::Display for BadTuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTuning {}

impl Tuning {
    /// When a detection's faults are told; `None` if it is turned off.
    pub fn window(&self, detection: &Detection) -> Option<Window> {
        match self.0.get(&detection.code) {
            Some(changed) => *changed,
            None => Some(detection.window),
        }
    }

    /// The same, with a detection turned off.
    #[must_use]
    pub fn without(mut self, code: Code) -> Self {
        self.0.insert(code, None);
        self
    }
}

/// `CODE=OPENS/CLOSES` in seconds, `CODE=TIMES/WITHIN` of what is counted, or `CODE=off`; several with commas.
impl std::str::FromStr for Tuning {
    type Err = BadTuning;

    fn from_str(text: &str) -> Result<Self, BadTuning> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(one).collect::<Result<_, _>>().map(Self)
    }
}

fn one(part: &str) -> Result<(Code, Option<Window>), BadTuning> {
    let wrong = |why: &str| BadTuning::new(part, why);
    let (code, window) = part
        .split_once('=')
        .ok_or_else(|| wrong("write CODE=OPENS/CLOSES, in seconds, or CODE=off"))?;
    let known = code.parse().ok().and_then(of);
    let detection = known.ok_or_else(|| wrong("no detection has this code"))?;
    if window == "off" {
        return Ok((detection.code, None));
    }
    let numbers = window.split_once('/').and_then(|(one, other)| {
        let seconds = |text: &str| text.strip_suffix('s').unwrap_or(text).parse::<u64>().ok();
        Some((seconds(one)?, seconds(other)?))
    });
    let (one, other) = numbers.ok_or_else(|| match detection.window {
        Window::Lasts { .. } => wrong("write OPENS/CLOSES, in seconds"),
        Window::Counts { .. } => wrong("write TIMES/WITHIN, the latter in seconds"),
    })?;
    let window = match detection.window {
        Window::Lasts { .. } => Window::seconds(one, other),
        Window::Counts { .. } if one > 0 => Window::times(one, other),
        Window::Counts { .. } => return Err(wrong("it has to happen at least once")),
    };
    Ok((detection.code, Some(window)))
}

/// The severity of a detection that is worse for some.
pub(super) fn worse_if(worse: bool, detection: &Detection) -> FaultSeverity {
    match (worse, detection.severity) {
        (false, as_a_rule) => as_a_rule,
        (true, Notice) => Warning,
        (true, Warning | Critical) => Critical,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_one_detection_with_all_its_words() {
        let mut codes = BTreeSet::new();
        for detection in all() {
            assert!(codes.insert(detection.code), "{} twice", detection.code);
            for text in [detection.finds, detection.because] {
                assert!(
                    text.ends_with('.') && !text.contains('|'),
                    "{}",
                    detection.code
                );
            }
            // What closes at once would open and close with each look, unless somebody decides both.
            if let Window::Lasts { opens, closes } = detection.window
                && opens.is_zero()
            {
                assert!(
                    closes.is_zero() && detection.severity == Notice,
                    "{}",
                    detection.code
                );
            }
        }
    }

    #[test]
    fn windows_can_be_changed_and_detections_turned_off() {
        let tuning: Tuning =
            "vm_parked=10s/5s, drift_repaired=2/60 ,adapter_link_down=3/4,version_skew=off"
                .parse()
                .unwrap();
        assert_eq!(
            tuning.window(&decided::PARKED),
            Some(Window::seconds(10, 5))
        );
        assert_eq!(tuning.window(&drift::DETECTION), Some(Window::times(2, 60)));
        assert_eq!(tuning.window(&version::DETECTION), None);
        assert_eq!(
            tuning.window(&clocks::DETECTION),
            Some(clocks::DETECTION.window)
        );
        assert_eq!("".parse::<Tuning>(), Ok(Tuning::default()));
        for (wrong, why) in [
            ("vm_parked", "write CODE"),
            ("vm_parkd=1/1", "no detection"),
            ("conflict=1/1", "no detection"),
            ("vm_parked=1", "OPENS/CLOSES"),
            ("vm_parked=-1/2", "OPENS/CLOSES"),
            ("drift_repaired=x/2", "TIMES/WITHIN"),
            ("drift_repaired=0/2", "at least once"),
        ] {
            let error = wrong.parse::<Tuning>().unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
