//! What people paste from guides of Hyper-V and is not here: one line says the nearest thing.

use accelnet_model::{Code, Problem};

use super::parse::shown;

/// A command that is installed only to say what is used instead. Without it the shell would say "command not
/// found", which helps nobody who reads from a guide.
#[derive(Debug)]
pub struct StandIn {
    /// The name in the guide.
    pub name: &'static str,
    /// What to do instead.
    instead: &'static str,
}

const fn stand_in(name: &'static str, instead: &'static str) -> StandIn {
    StandIn { name, instead }
}

const OBJECTS: &str = "A terminal shows a table by itself; in a pipe objects are JSON, one a line, for 'jq' \
                       (Get-VM | jq -r .VMName).";

/// All of them.
pub const STAND_INS: &[StandIn] = &[
    stand_in(
        "Set-NetAdapterSriov",
        "How many VFs there are is said by the intent: 'accelnet intent set compute --vfs 31'.",
    ),
    stand_in(
        "Disable-NetAdapterSriov",
        "VFs stay while acceleration is disabled ('Disable-AccelNetManagement'), and nobody is given one.",
    ),
    stand_in(
        "Set-VMNetworkAdapter",
        "Of its parameters -IovWeight is here: 'Enable-AccelNetVM -VMName MyVM01 -Performance Medium' for 1 to \
         100, 'Disable-AccelNetVM -VMName MyVM01' for 0.",
    ),
    stand_in(
        "Get-VMNetworkAdapter",
        "Use 'Get-VMAdaptersConnectedToEnabledIntentSwitch -VMName MyVM01'; its Path is vf where IovWeight had \
         an effect.",
    ),
    stand_in("Format-Table", OBJECTS),
    stand_in("Format-List", OBJECTS),
    stand_in("Select-Object", OBJECTS),
    stand_in("Where-Object", OBJECTS),
    stand_in("ForEach-Object", OBJECTS),
];

/// What is said of a name that is none of our cmdlets'.
pub fn no_cmdlet(name: &str, words: &[String]) -> Problem {
    let text = format!("There is no cmdlet '{}'.", shown(name));
    let known = STAND_INS
        .iter()
        .find(|one| one.name.eq_ignore_ascii_case(name));
    let cure = match (known, weight(words)) {
        (None, _) => "'accelnet cmdlet list' lists them.".to_owned(),
        (Some(known), Some(off)) if known.name == "Set-VMNetworkAdapter" => {
            let vm = value(words, "vmname").map_or("MyVM01".to_owned(), shown);
            match off {
                true => format!("For -IovWeight 0 use 'Disable-AccelNetVM -VMName {vm}'."),
                false => format!(
                    "For -IovWeight use 'Enable-AccelNetVM -VMName {vm} -Performance Medium'."
                ),
            }
        }
        (Some(known), _) => known.instead.to_owned(),
    };
    Problem::new(Code::InvalidArgument, text).with_cure(cure)
}

/// Of an unknown parameter: what is used instead.
pub fn parameter(name: &str) -> Option<&'static str> {
    const KNOWN: &[(&str, &str)] = &[
        (
            "InterfaceDescription",
            "Use -Name with the interface's name ('Get-NetAdapterSriov' lists them).",
        ),
        (
            "NumVFs",
            "How many VFs there are is said by the intent: 'accelnet intent set compute --vfs 31'.",
        ),
        (
            "IovWeight",
            "Use Enable-AccelNetVM with -Performance for 1 to 100, Disable-AccelNetVM for 0.",
        ),
        (
            "ComputerName",
            "All nodes are asked; each object says its ComputerName.",
        ),
        (
            "CimSession",
            "All nodes are asked; each object says its ComputerName.",
        ),
        ("AsJob", "Put '&' at the end of the line."),
        ("Force", "Nothing asks unless -Confirm is given."),
    ];
    let known = KNOWN
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, instead)| *instead)
}

/// The value after a parameter of this name (in small letters).
fn value<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let is_it = |word: &String| word.to_lowercase().trim_start_matches(['-', '\u{2013}']) == name;
    let at = words.iter().position(is_it)?;
    words.get(at + 1).map(String::as_str)
}

/// `-IovWeight`: true if it is 0, which is off.
fn weight(words: &[String]) -> Option<bool> {
    value(words, "iovweight").map(|weight| weight.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cure(name: &str, words: &str) -> String {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        no_cmdlet(name, &words).cure
    }

    #[test]
    fn the_nearest_thing_is_said() {
        let weight = |weight| {
            cure(
                "set-vmnetworkadapter",
                &format!("-VMName MyVM01 -IovWeight {weight}"),
            )
        };
        assert!(weight("0").contains("'Disable-AccelNetVM -VMName MyVM01'"));
        assert!(weight("100").contains("'Enable-AccelNetVM -VMName MyVM01 -Performance Medium'"));
        assert!(
            cure("Set-VMNetworkAdapter", "-VMName x -MacAddressSpoofing On").contains("IovWeight")
        );
        assert!(cure("Set-NetAdapterSriov", "-Name eth2 -NumVFs 31").contains("--vfs"));
        assert!(cure("Get-Nothing", "").contains("cmdlet list"));
        assert!(parameter("interfacedescription").unwrap().contains("-Name"));
        assert_eq!(parameter("nonsense"), None);
    }

    #[test]
    fn no_stand_in_has_a_cmdlet_s_name() {
        let ours = super::super::table::CMDLETS;
        for one in STAND_INS {
            assert!(
                ours.iter()
                    .all(|known| !known.name.eq_ignore_ascii_case(one.name))
            );
            assert!(one.instead.ends_with('.'), "{one:?}");
        }
    }
}
