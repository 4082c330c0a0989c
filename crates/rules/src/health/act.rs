//! What the server does about a fault by itself, as it was told where it is started. Without being told it reports.
//!
//! | word | what is done | of which faults |
//! |---|---|---|
//! | `ignore` | nothing, and nothing is told | all |
//! | `report` | the fault is told | all |
//! | `isolate` | its adapter is taken out of the pool too, until a person lets it back | those of [`ISOLATE`] |
//! | `disable` | its VM is parked too, until a person unparks it | those of [`DISABLE`] |
//!
//! An adapter is never disabled beyond that: what would be left to do is to take VFs from VMs that have nowhere to go.

use std::{collections::BTreeMap, str::FromStr};

use accelnet_model::Code;

use super::{BadTuning, Tuning, of};

/// Faults of single adapters that say that the adapter is not to be trusted.
pub const ISOLATE: [Code; 4] = [
    Code::AdapterLinkDown,
    Code::AdapterLinkFlaps,
    Code::PcieLinkDegraded,
    Code::PcieErrors,
];
/// Faults of single VMs that are less harm without acceleration.
pub const DISABLE: [Code; 1] = [Code::VfSwitchesOften];

/// What is done about a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Act {
    /// Nothing; it is not told either.
    Ignore,
    /// It is told.
    #[default]
    Report,
    /// Its adapter is taken out of the pool.
    Isolate,
    /// Its VM is kept on its software path.
    Disable,
}

/// What is done about faults that is not just to report them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acts(BTreeMap<Code, Act>);

impl Acts {
    /// What is done about faults of this code.
    pub fn of(&self, code: Code) -> Act {
        self.0.get(&code).copied().unwrap_or_default()
    }

    /// Nothing is ever done but to tell.
    pub fn only_tell(&self) -> bool {
        let mut acts = self.0.values();
        acts.all(|act| matches!(act, Act::Ignore | Act::Report))
    }

    /// The tuning with which faults that are ignored are not told.
    #[must_use]
    pub fn tuned(&self, tuning: Tuning) -> Tuning {
        let ignored = self.0.iter().filter(|(_, act)| **act == Act::Ignore);
        ignored.fold(tuning, |tuning, (code, _)| tuning.without(*code))
    }
}

/// `CODE=ignore`, `CODE=report`, `CODE=isolate` or `CODE=disable`; several with commas.
impl FromStr for Acts {
    type Err = BadTuning;

    fn from_str(text: &str) -> Result<Self, BadTuning> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(one).collect::<Result<_, _>>().map(Self)
    }
}

fn one(part: &str) -> Result<(Code, Act), BadTuning> {
    let wrong = |why: &str| BadTuning::new(part, why);
    let form = "write CODE=ignore, CODE=report, CODE=isolate or CODE=disable";
    let (code, act) = part.split_once('=').ok_or_else(|| wrong(form))?;
    let known = code.parse().ok().and_then(of);
    let code = known
        .ok_or_else(|| wrong("no detection has this code"))?
        .code;
    let only = |codes: &[Code]| {
        let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        wrong(&format!("that can be done for {}", codes.join(", ")))
    };
    let act = match act {
        "ignore" => Act::Ignore,
        "report" => Act::Report,
        "isolate" if ISOLATE.contains(&code) => Act::Isolate,
        "isolate" => return Err(only(&ISOLATE)),
        "disable" if DISABLE.contains(&code) => Act::Disable,
        "disable" => return Err(only(&DISABLE)),
        _ => return Err(wrong(form)),
    };
    Ok((code, act))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_said_by_code_and_is_to_report_otherwise() {
        let acts: Acts =
            "adapter_link_flaps=isolate, vf_switches_often=disable,version_skew=ignore"
                .parse()
                .unwrap();
        assert_eq!(acts.of(Code::AdapterLinkFlaps), Act::Isolate);
        assert_eq!(acts.of(Code::VfSwitchesOften), Act::Disable);
        assert_eq!(acts.of(Code::AdapterLinkDown), Act::Report);
        let tuning = acts.tuned(Tuning::default());
        let told = |code| tuning.window(of(code).unwrap()).is_some();
        assert!(!told(Code::VersionSkew) && told(Code::AdapterLinkFlaps));
        assert!(!acts.only_tell());
        let told_only: Acts = "pcie_errors=report,version_skew=ignore".parse().unwrap();
        assert!(told_only.only_tell() && Acts::default().only_tell());
        for (wrong, why) in [
            ("adapter_link_flaps", "write CODE"),
            ("adapter_link_flaps=off", "write CODE"),
            ("adapter_link_flap=isolate", "no detection"),
            ("vm_parked=isolate", "adapter_link_down, adapter_link_flaps"),
            ("adapter_link_flaps=disable", "vf_switches_often"),
        ] {
            let error = wrong.parse::<Acts>().unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn only_adapters_are_isolated_and_only_vms_disabled() {
        for code in ISOLATE {
            assert_eq!(of(code).unwrap().about, "adapter");
        }
        for code in DISABLE {
            assert_eq!(of(code).unwrap().about, "VM");
        }
    }
}
