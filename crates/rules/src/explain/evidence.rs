//! What counters say of the way of a NIC's packets: what went by the VF and by the tap, and what was dropped. What
//! nobody counts is said, and is not zero.

use accelnet_model::{Counted, Counters, Interrupts, NicCounted, PciAddress};

/// In sentences, of a NIC that has this VF.
pub fn of(nic: Option<&NicCounted>, vf: Option<PciAddress>) -> String {
    let Some(nic) = nic else {
        return "Its node does not see it at the moment, so nothing was counted.".to_owned();
    };
    let mut all = Vec::new();
    if let Some(counted) = &nic.vf {
        all.push(match nic.pci == vf {
            true => by_vf(counted, nic.interrupts),
            // They would be another's.
            false => "By its VF: not seen, it changes its path at the moment.".to_owned(),
        });
    }
    if let Some(counted) = &nic.software {
        all.push(by_tap(counted));
    }
    all.join(" ")
}

fn by_vf(counted: &Counted, interrupts: Option<Interrupts>) -> String {
    let fired = match interrupts {
        Some(Interrupts { vectors: 0, .. }) => "it has no interrupts enabled".to_owned(),
        Some(Interrupts { vectors, fired }) => {
            format!("its {vectors} interrupts have fired {fired} times")
        }
        None => "its interrupts could not be read".to_owned(),
    };
    match counted {
        Counted::Counted(of) => {
            let dropped = match (of.rx_dropped, of.tx_dropped) {
                (None, None) => "what the card dropped is not counted".to_owned(),
                (to, from) => format!(
                    "the card dropped {} to it and {} of it, as a switch with the same rules would have",
                    known(to),
                    known(from)
                ),
            };
            format!("By its VF: {}; {dropped}; {fired}.", both_ways(of))
        }
        Counted::NotCounted { driver } => format!(
            "By its VF: {driver} counts nothing by VF, so neither what went nor what the card dropped is known; {fired}."
        ),
        Counted::NotSeen { because } => format!("By its VF: not seen, {because}."),
    }
}

fn by_tap(counted: &Counted) -> String {
    match counted {
        Counted::Counted(of) => format!(
            "By its tap: {}; {} to it and {} of it were dropped there.",
            both_ways(of),
            known(of.rx_dropped),
            known(of.tx_dropped)
        ),
        Counted::NotCounted { driver } => format!("By its tap: not counted by {driver}."),
        Counted::NotSeen { because } => format!("By its tap: not seen, {because}."),
    }
}

fn both_ways(of: &Counters) -> String {
    let Counters {
        rx_packets,
        tx_packets,
        ..
    } = of;
    format!("{rx_packets} packets received and {tx_packets} sent")
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string())
}

#[cfg(test)]
mod tests {
    use accelnet_model::MacAddr;

    use super::*;

    fn nic(vf: Counted, interrupts: Option<Interrupts>) -> NicCounted {
        NicCounted {
            vm: uuid::Uuid::nil(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            software: Some(Counted::Counted(Counters {
                rx_packets: 1,
                tx_packets: 2,
                rx_dropped: Some(3),
                tx_dropped: Some(0),
                ..Counters::default()
            })),
            vf: Some(vf),
            pci: "0000:01:10.0".parse().ok(),
            interrupts,
        }
    }

    #[test]
    fn what_is_not_counted_is_said_and_what_fired_instead() {
        let driver = "igb".to_owned();
        let fired = Interrupts {
            vectors: 3,
            fired: 70,
        };
        let nic = nic(Counted::NotCounted { driver }, Some(fired));
        let text = of(Some(&nic), nic.pci);
        assert!(text.contains("igb counts nothing by VF"), "{text}");
        assert!(text.contains("3 interrupts have fired 70 times"), "{text}");
        assert!(text.contains("By its tap: 1 packets received and 2 sent; 3 to it and 0 of it"));
        assert!(of(Some(&nic), None).contains("changes its path"));
        assert!(of(None, nic.pci).contains("does not see it"));
    }

    #[test]
    fn what_the_card_dropped_is_what_a_switch_would_have() {
        let counted = Counters {
            tx_packets: 9,
            tx_dropped: Some(5),
            ..Counters::default()
        };
        let with = nic(Counted::Counted(counted), None);
        let text = of(Some(&with), with.pci);
        assert!(
            text.contains("dropped an unknown number to it and 5 of it"),
            "{text}"
        );
        assert!(text.contains("interrupts could not be read"), "{text}");
        let without = nic(Counted::Counted(Counters::default()), None);
        let text = of(Some(&without), without.pci);
        assert!(text.contains("the card dropped is not counted"), "{text}");
    }
}
