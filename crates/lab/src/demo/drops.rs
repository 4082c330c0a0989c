//! Where packets were dropped: the kernels' own counters, on the node and in the guest, by which a loss
//! is given its place.
//!
//! What an emulated card drops because its ring is full is counted by none of them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{GUEST, NODE};
use crate::lab::Lab;

/// Interfaces, and the disciplines in front of them. The guest's tool box has no `tc`.
const READ: &str = "cat /proc/net/dev /proc/net/snmp; tc -s qdisc show 2> /dev/null || true";

/// Counters of packets that went no further, by place (`node vnet0 tx`, `guest UDP receive buffer`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<String, u64>);

impl Drops {
    /// Reads them.
    pub fn read(lab: &Lab) -> Result<Self> {
        let mut counters = BTreeMap::new();
        parse("node", &lab.script(NODE, READ)?, &mut counters);
        parse("guest", &lab.guest_script(GUEST, READ)?, &mut counters);
        Ok(Self(counters))
    }

    /// What was dropped since `before`. An interface that is there anew began at 0.
    pub fn since(&self, before: &Self) -> BTreeMap<String, u64> {
        let grown = self.0.iter().filter_map(|(place, count)| {
            let old = before.0.get(place).filter(|old| *old <= count);
            let more = count - old.copied().unwrap_or(0);
            (more > 0).then(|| (place.clone(), more))
        });
        grown.collect()
    }
}

fn parse(machine: &str, text: &str, counters: &mut BTreeMap<String, u64>) {
    let mut udp_names: Option<Vec<&str>> = None;
    let mut interface = String::new();
    let mut add = |place: String, count: u64| *counters.entry(place).or_default() += count;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            // NAME: bytes packets errs drop fifo frame compressed multicast, the same for transmission.
            [name, numbers @ ..] if name.ends_with(':') && numbers.len() == 16 => {
                let sum = |at: &[usize]| {
                    let numbers = at.iter().filter_map(|at| numbers[*at].parse::<u64>().ok());
                    numbers.sum()
                };
                let name = name.trim_end_matches(':');
                add(format!("{machine} {name} rx"), sum(&[2, 3]));
                add(format!("{machine} {name} tx"), sum(&[10, 11]));
            }
            ["Udp:", values @ ..] => match udp_names.take() {
                None => udp_names = Some(values.to_vec()),
                Some(names) => {
                    for (name, value) in names.iter().zip(values) {
                        let place = match *name {
                            "NoPorts" => "UDP without socket",
                            "RcvbufErrors" => "UDP receive buffer",
                            "SndbufErrors" => "UDP send buffer",
                            _ => continue,
                        };
                        add(format!("{machine} {place}"), value.parse().unwrap_or(0));
                    }
                }
            },
            ["qdisc", _, _, "dev", name, ..] => interface = (*name).to_owned(),
            // Sent BYTES bytes PACKETS pkt (dropped N, overlimits M requeues R)
            ["Sent", _, "bytes", _, "pkt", "(dropped", count, ..] => {
                let count = count.trim_end_matches(',').parse().unwrap_or(0);
                add(format!("{machine} {interface} queue"), count);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(tap_tx: u64, queue: u64, receive_buffer: u64) -> Drops {
        let text = format!(
            "Inter-|   Receive |  Transmit\n \
             face |bytes packets errs drop fifo frame compressed multicast|bytes …\n \
             vnet0: 100 10 1 0 0 0 0 0 200 20 0 {tap_tx} 0 0 0 0\n\
             Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n\
             Udp: 100 0 {receive_buffer} 100 {receive_buffer} 0\n\
             qdisc plug acc1: dev vnet0 root refcnt 2\n \
             Sent 210 bytes 3 pkt (dropped {queue}, overlimits 0 requeues 0)\n \
             backlog 0b 0p requeues 0\n"
        );
        let mut counters = BTreeMap::new();
        parse("node", &text, &mut counters);
        Drops(counters)
    }

    #[test]
    fn a_drop_is_told_by_its_place() {
        let before = drops(5, 0, 0);
        assert_eq!(drops(5, 0, 0).since(&before), BTreeMap::new());
        let found = drops(873, 2, 1).since(&before);
        let expected = [
            ("node UDP receive buffer", 1),
            ("node vnet0 queue", 2),
            ("node vnet0 tx", 868),
        ];
        let expected = expected.map(|(place, count)| (place.to_owned(), count));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn an_interface_that_came_anew_counts_from_nothing() {
        let before = drops(50, 0, 0);
        let found = drops(3, 0, 0).since(&before);
        assert_eq!(found.get("node vnet0 tx"), Some(&3));
        assert_eq!(found.len(), 1);
        assert_eq!(
            drops(1, 0, 0).since(&Drops::default()).get("node vnet0 tx"),
            Some(&1)
        );
    }
}
