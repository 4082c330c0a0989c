//! What was counted of a VM's packets, for people.

use accelnet_api::NicTraffic;
use accelnet_model::{Counted, Counters, Interrupts};

use super::tables::{add, dash, path, table, text};

/// The NICs' paths, and what went by each.
pub fn of_nics(nics: &[NicTraffic]) -> String {
    let mut rows = table(&[
        "nic",
        "path",
        "since",
        "changes in 1 h",
        "by its VF",
        "interrupts",
        "by the switch",
    ]);
    for nic in nics {
        let since = nic.since.map(|since| format!("{since:.0}"));
        let row = [
            nic.mac.to_string(),
            path(nic.path).to_owned(),
            dash(since),
            dash(nic.switches_last_hour),
            dash(nic.vf.as_ref().map(counted)),
            dash(nic.interrupts.map(fired)),
            dash(nic.software.as_ref().map(counted)),
        ];
        add(&mut rows, row);
    }
    text(&rows)
}

/// What shows the use of a VF also where nobody counts what goes by it.
fn fired(Interrupts { vectors, fired }: Interrupts) -> String {
    match vectors {
        0 => "none enabled".to_owned(),
        _ => format!("{vectors}, fired {fired} times"),
    }
}

/// As the guest sees it.
fn counted(counted: &Counted) -> String {
    match counted {
        Counted::Counted(Counters {
            rx_packets,
            tx_packets,
            rx_bytes,
            tx_bytes,
            rx_dropped,
            tx_dropped,
            ..
        }) => {
            let dropped = match (rx_dropped, tx_dropped) {
                (None, None) => "drops not counted".to_owned(),
                (Some(0), Some(0)) => "none dropped".to_owned(),
                (to, from) => {
                    let known = |count: &Option<u64>| dash(count.as_ref());
                    format!("dropped {} to it, {} of it", known(to), known(from))
                }
            };
            format!(
                "received {rx_packets} ({}), sent {tx_packets} ({}), {dropped}",
                bytes(*rx_bytes),
                bytes(*tx_bytes)
            )
        }
        Counted::NotCounted { driver } => format!("not counted by {driver}"),
        Counted::NotSeen { because } => format!("not seen: {because}"),
    }
}

/// In the largest unit of which there is at least one.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (count.max(1).ilog2() / 10) as usize;
    if unit == 0 {
        return format!("{count} B");
    }
    let value = count as f64 / 1024f64.powi(unit as i32);
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use accelnet_model::{MacAddr, NicPath};

    use super::*;

    #[test]
    fn amounts_have_a_unit_that_fits() {
        for (count, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3 << 19, "1.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), words);
        }
    }

    #[test]
    fn what_nobody_counts_is_said_and_never_shown_as_zero() {
        let nic = NicTraffic {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            path: NicPath::Vf,
            since: None,
            switches_last_hour: Some(2),
            vf: Some(Counted::NotCounted {
                driver: "igb".into(),
            }),
            software: Some(Counted::Counted(Counters {
                rx_packets: 3,
                tx_packets: 4,
                rx_bytes: 5,
                tx_bytes: 2048,
                rx_dropped: Some(0),
                tx_dropped: Some(6),
                ..Counters::default()
            })),
            interrupts: Some(Interrupts {
                vectors: 3,
                fired: 70,
            }),
        };
        let shown = of_nics(std::slice::from_ref(&nic));
        assert!(
            shown.contains("not counted by igb  3, fired 70 times"),
            "{shown}"
        );
        assert!(
            shown.contains("received 3 (5 B), sent 4 (2.0 KiB), dropped 0 to it, 6 of it"),
            "{shown}"
        );
        let unseen = NicTraffic {
            vf: None,
            software: Some(Counted::NotSeen {
                because: "it is late".into(),
            }),
            ..nic
        };
        let shown = of_nics(&[unseen]);
        assert!(shown.contains("not seen: it is late"), "{shown}");
    }
}
