//! What PFs' drivers say of VFs whose user does what it must not. None of them counts that by VF where a program could
//! ask; each says it in its own words, and not for each frame.
//!
//! | driver | line | source |
//! |---|---|---|
//! | igb | `Spoof event(s) detected on VF 3` | `igb_spoof_check` in igb_main.c |
//! | ixgbe | `4 Spoofed packets detected`, of which VF it does not say | `ixgbe_spoof_check` in ixgbe_main.c |
//! | ixgbe, since Linux 6.16 | `Malicious event on VF 3 tx:0 rx:80` | `ixgbe_check_mdd_event` in ixgbe_sriov.c |
//! | i40e, and ice before 5.7 | `TX driver issue detected on VF 3` | `i40e_handle_mdd_event`, `ice_handle_mdd_event` |
//! | ice, and i40e since 6.16 | `1 Tx Malicious Driver Detection events detected on PF 0 VF 3 MAC …` | `ice_print_vf_tx_mdd_event`, `i40e_print_vf_mdd_event` |

use std::collections::BTreeMap;

use accelnet_model::PciAddress;

/// VFs remembered, of all adapters together: more than any machine has.
const VFS: usize = 4096;

/// How often each was spoken of. Without a number: the driver did not say of which VF.
#[derive(Debug, Default)]
pub struct Misuse(BTreeMap<(PciAddress, Option<u32>), u64>);

impl Misuse {
    /// Takes in what a driver says of its function.
    pub fn take(&mut self, pf: PciAddress, words: &str) {
        let Some(vf) = misused(words) else {
            return;
        };
        let key = (pf, vf);
        if self.0.len() < VFS || self.0.contains_key(&key) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// Of the VFs of one adapter.
    pub fn of(&self, pf: PciAddress) -> BTreeMap<Option<u32>, u64> {
        let of_it = self.0.range((pf, None)..=(pf, Some(u32::MAX)));
        of_it.map(|((_, vf), times)| (*vf, *times)).collect()
    }
}

/// The VF that the words are about, `Some(None)` if they do not say which, and `None` if they are about something else.
fn misused(words: &str) -> Option<Option<u32>> {
    const OF_A_VF: [&str; 5] = [
        "Spoof event(s) detected on VF ",
        "Malicious event on VF ",
        "TX driver issue detected on VF ",
        "RX driver issue detected on VF ",
        "x Malicious Driver Detection events detected on PF ",
    ];
    if words.ends_with(" Spoofed packets detected") {
        return Some(None);
    }
    OF_A_VF.iter().find(|known| words.contains(**known))?;
    let (_, number) = words.split_once(" VF ")?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    // What cannot be read is some VF all the same.
    Some(digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_is_understood() {
        for (words, vf) in [
            ("Spoof event(s) detected on VF 3", Some(Some(3))),
            ("4 Spoofed packets detected", Some(None)),
            ("Malicious event on VF 12 tx:128 rx:0", Some(Some(12))),
            ("TX driver issue detected on VF 0", Some(Some(0))),
            ("RX driver issue detected on VF 1", Some(Some(1))),
            (
                "7 Tx Malicious Driver Detection events detected on PF 2 VF 5 MAC 52:54:00:77:00:65. mdd-auto-reset-vfs=off",
                Some(Some(5)),
            ),
            // The PF's own.
            ("TX driver issue detected on PF", None),
            ("VF 3 attempted to set a MAC address", None),
            ("Malicious event on VF nine", Some(None)),
            ("Malicious event on VF 99999999999 tx:0", Some(None)),
            ("", None),
        ] {
            assert_eq!(misused(words), vf, "{words}");
        }
    }

    #[test]
    fn one_adapter_s_are_no_other_s() {
        let [one, other] = ["0000:01:00.0", "0000:01:00.1"].map(|pci| pci.parse().unwrap());
        let mut misuse = Misuse::default();
        misuse.take(one, "Spoof event(s) detected on VF 3");
        misuse.take(one, "Spoof event(s) detected on VF 3");
        misuse.take(one, "2 Spoofed packets detected");
        misuse.take(other, "Spoof event(s) detected on VF 0");
        misuse.take(other, "NIC Link is Up");
        assert_eq!(misuse.of(one), [(None, 1), (Some(3), 2)].into());
        assert_eq!(misuse.of(other), [(Some(0), 1)].into());
    }
}
