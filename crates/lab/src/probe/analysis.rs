//! What became of the packets: pure, from the two logs.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Log, clock::Offsets};

/// A run of packets that never came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// When the first of them was sent, seconds since the probe began.
    pub start_s: f64,
    /// From the last one that came before to the first one that came after, in milliseconds.
    pub length_ms: f64,
    /// How many.
    pub packets: u32,
}

/// One direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// Packets sent.
    pub sent: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Extra copies.
    pub duplicated: u64,
    /// Packets that came after one with a higher number (copies not counted).
    pub reordered: u64,
    /// Packets that the sender's own stack refused in the whole probe; they are not among those sent.
    pub send_errors: u64,
    /// Packets of the whole probe that were not sent because the sender stood still; they are not among
    /// those sent.
    pub not_sent: u64,
    /// Longest one-way delay in milliseconds, with the clocks aligned by the shortest delays.
    pub max_delay_ms: f64,
    /// Longest time without a packet, in milliseconds.
    pub max_gap_ms: f64,
    /// Runs of lost packets.
    pub outages: Vec<Outage>,
}

/// Both directions and the round trip.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the first packet was sent: seconds since 1970 by the clock of the machine that the lab
    /// runs on. Outages are told relative to it.
    pub began_unix_s: f64,
    /// Length of the probe in seconds.
    pub seconds: f64,
    /// Packets a second that were asked for, each way.
    pub rate_pps: u32,
    /// Packets sent, both directions.
    pub sent: u64,
    /// Packets lost, both directions.
    pub lost: u64,
    /// Copies, both directions.
    pub duplicated: u64,
    /// Packets out of order, both directions.
    pub reordered: u64,
    /// From the wire to the guest.
    pub to_guest: Direction,
    /// From the guest to the wire.
    pub from_guest: Direction,
    /// Round trips.
    #[serde(flatten)]
    pub round_trips: RoundTrips,
}

/// An answer that takes longer than this is none, in nanoseconds: a machine that starts anew answers what has
/// waited in a queue since before. Frames wait two seconds at most in a switch-over.
pub const LATE_NS: u64 = 3_000_000_000;

/// What became of echoes that a kernel answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Echoes {
    /// From the first request to the last, in seconds.
    pub seconds: f64,
    /// Requests.
    pub sent: u64,
    /// Requests that were answered in time ([`LATE_NS`]), copies of an answer not counted.
    pub answered: u64,
    /// Longest time in seconds, by when they were sent, from a request that was answered to the next one that
    /// was, with at least one between them that was not; 0 if there is none.
    pub longest_outage_s: f64,
    /// Round trips.
    pub round_trips: RoundTrips,
}

/// Round-trip times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// Median in microseconds.
    pub rtt_p50_us: f64,
    /// 99th percentile in microseconds.
    pub rtt_p99_us: f64,
    /// Mean difference between successive ones in microseconds (RFC 3550, without smoothing).
    pub jitter_us: f64,
}

/// Compares the two logs. `from_ns`..`to_ns` (the wire's clock) limits it to packets sent then.
pub fn analyse(wire: &Log, guest: &Log, rate_pps: u32, from_ns: u64, to_ns: u64) -> Report {
    let offsets = Offsets::of(wire, guest);
    let in_wire_time = |at: &u64| offsets.in_wire_time(*at);
    let guest_sent: Vec<u64> = guest.sent_ns.iter().map(in_wire_time).collect();
    let guest_received = guest
        .received
        .iter()
        .map(|(seq, at)| (*seq, in_wire_time(at)));
    let guest_received: Vec<_> = guest_received.collect();
    let window = (from_ns, to_ns);
    let mut to_guest = direction(&wire.sent_ns, &guest_received, window);
    to_guest.send_errors = wire.send_errors;
    to_guest.not_sent = wire.not_sent;
    let mut from_guest = direction(&guest_sent, &wire.received, window);
    from_guest.send_errors = guest.send_errors;
    from_guest.not_sent = guest.not_sent;
    let echoes: Vec<u64> = wire
        .echoes_ns
        .iter()
        .filter(|(sent, _)| (from_ns..to_ns).contains(sent))
        .map(|(_, took)| *took)
        .collect();
    let round_trips = RoundTrips::of(&echoes);
    let first = wire.sent_ns.first().copied().unwrap_or(0).max(from_ns);
    let last = wire.sent_ns.last().copied().unwrap_or(0).min(to_ns);
    Report {
        began_unix_s: 0.0,
        seconds: last.saturating_sub(first) as f64 / 1e9,
        rate_pps,
        sent: to_guest.sent + from_guest.sent,
        lost: to_guest.lost + from_guest.lost,
        duplicated: to_guest.duplicated + from_guest.duplicated,
        reordered: to_guest.reordered + from_guest.reordered,
        to_guest,
        from_guest,
        round_trips,
    }
}

impl RoundTrips {
    /// From times in nanoseconds, in the order of their requests.
    fn of(took_ns: &[u64]) -> Self {
        let mut sorted = took_ns.to_vec();
        sorted.sort_unstable();
        let percentile = |p: f64| {
            let index = ((sorted.len() as f64 * p) as usize).min(sorted.len().saturating_sub(1));
            sorted.get(index).map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        let differences = took_ns
            .windows(2)
            .map(|pair| pair[0].abs_diff(pair[1]) as f64 / 1e3);
        Self {
            rtt_p50_us: percentile(0.5),
            rtt_p99_us: percentile(0.99),
            jitter_us: differences.sum::<f64>() / took_ns.len().saturating_sub(1).max(1) as f64,
        }
    }
}

impl Echoes {
    /// From what the end that asks wrote down.
    pub fn of(log: &Log) -> Self {
        let took: Vec<u64> = log.echoes_ns.iter().map(|(_, took)| *took).collect();
        let first_and_last = log.sent_ns.first().zip(log.sent_ns.last());
        let in_time = log.echoes_ns.iter().filter(|(_, took)| *took < LATE_NS);
        let answered: HashSet<u64> = in_time.map(|(sent, _)| *sent).collect();
        Self {
            seconds: first_and_last.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9),
            sent: log.sent_ns.len() as u64,
            answered: answered.len() as u64,
            longest_outage_s: longest_outage_ns(&log.sent_ns, &answered) as f64 / 1e9,
            round_trips: RoundTrips::of(&took),
        }
    }

    /// Requests that nobody answered.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered
    }
}

/// At either end of the log an outage is as long as what is known of it.
fn longest_outage_ns(sent_ns: &[u64], answered: &HashSet<u64>) -> u64 {
    let (mut longest, mut since, mut open) = (0, sent_ns.first().copied().unwrap_or(0), false);
    for (i, at) in sent_ns.iter().enumerate() {
        let answered = answered.contains(at);
        open |= !answered;
        if open && (answered || i + 1 == sent_ns.len()) {
            longest = longest.max(at - since);
        }
        if answered {
            (since, open) = (*at, false);
        }
    }
    longest
}

/// The longest time between two arrivals, from the first to the second.
pub fn longest_silence(log: &Log) -> Option<(u64, u64)> {
    let pairs = log.received.windows(2).map(|pair| (pair[0].1, pair[1].1));
    pairs.max_by_key(|(before, after)| after.saturating_sub(*before))
}

/// All times are the wire's; `window` limits it to packets sent then.
fn direction(sent: &[u64], received: &[(u32, u64)], window: (u64, u64)) -> Direction {
    let inside = |seq: usize| {
        sent.get(seq)
            .is_some_and(|at| (window.0..window.1).contains(at))
    };
    let mut first_arrival = vec![None; sent.len()];
    let mut result = Direction::default();
    let mut highest = None;
    for (seq, at) in received {
        let index = *seq as usize;
        let Some(arrival) = first_arrival.get_mut(index) else {
            continue;
        };
        if arrival.is_some() {
            result.duplicated += u64::from(inside(index));
            continue;
        }
        *arrival = Some(*at);
        result.reordered += u64::from(inside(index) && highest.is_some_and(|high| *seq < high));
        highest = highest.max(Some(*seq));
        if inside(index) {
            let delay = at.saturating_sub(sent[index]);
            result.max_delay_ms = result.max_delay_ms.max(delay as f64 / 1e6);
        }
    }
    let start = sent
        .iter()
        .enumerate()
        .find(|(seq, _)| inside(*seq))
        .map_or(0, |(_, at)| *at);
    let mut run: Option<(usize, u32)> = None;
    let mut last_arrival: Option<u64> = None;
    for seq in (0..sent.len()).filter(|seq| inside(*seq)) {
        result.sent += 1;
        match first_arrival[seq] {
            None => {
                result.lost += 1;
                run = Some(run.map_or((seq, 1), |(first, count)| (first, count + 1)));
            }
            Some(at) => {
                if let Some(before) = last_arrival {
                    let gap = at.saturating_sub(before) as f64 / 1e6;
                    result.max_gap_ms = result.max_gap_ms.max(gap);
                }
                if let Some((first, packets)) = run.take() {
                    let before = last_arrival.unwrap_or(at);
                    result.outages.push(outage(
                        sent[first],
                        start,
                        at.saturating_sub(before),
                        packets,
                    ));
                }
                last_arrival = last_arrival.max(Some(at));
            }
        }
    }
    if let Some((first, packets)) = run {
        let length = sent
            .last()
            .map_or(0, |last| last.saturating_sub(sent[first]));
        result
            .outages
            .push(outage(sent[first], start, length, packets));
    }
    result
}

fn outage(first_ns: u64, start_ns: u64, length_ns: u64, packets: u32) -> Outage {
    Outage {
        start_s: first_ns.saturating_sub(start_ns) as f64 / 1e9,
        length_ms: length_ns as f64 / 1e6,
        packets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 100 packets each way, a millisecond apart, 2 ms on the way; the guest's clock is 5 s ahead.
    fn logs() -> (Log, Log) {
        let ahead = 5000 * MS;
        let sent: Vec<u64> = (0..100).map(|i| (1000 + i) * MS).collect();
        let wire = Log {
            sent_ns: sent.clone(),
            received: (0..100).map(|i| (i as u32, (1002 + i) * MS)).collect(),
            echoes_ns: (0..100)
                .map(|i| ((1000 + i) * MS, (4 + i % 2) * MS))
                .collect(),
            ..Log::default()
        };
        let guest = Log {
            sent_ns: sent.iter().map(|at| at + ahead).collect(),
            received: (0..100)
                .map(|i| (i as u32, (1002 + i) * MS + ahead))
                .collect(),
            ..Log::default()
        };
        (wire, guest)
    }

    #[test]
    fn nothing_lost_is_nothing_lost() {
        let (wire, guest) = logs();
        let report = analyse(&wire, &guest, 1000, 0, u64::MAX);
        assert_eq!(
            (
                report.sent,
                report.lost,
                report.duplicated,
                report.reordered
            ),
            (200, 0, 0, 0)
        );
        assert!(
            (report.to_guest.max_delay_ms - 2.0).abs() < 0.01,
            "{report:?}"
        );
        let times = report.round_trips;
        assert!(
            (times.rtt_p50_us - 5000.0).abs() < 1001.0 && (times.jitter_us - 1000.0).abs() < 1.0
        );
    }

    #[test]
    fn echoes_are_counted_by_their_replies() {
        let (mut wire, _) = logs();
        assert_eq!(Echoes::of(&wire).longest_outage_s, 0.0);
        wire.echoes_ns.truncate(98);
        wire.echoes_ns.push(wire.echoes_ns[3]);
        let echoes = Echoes::of(&wire);
        assert_eq!((echoes.sent, echoes.answered, echoes.lost()), (100, 98, 2));
        assert!((echoes.longest_outage_s - 0.002).abs() < 1e-9, "{echoes:?}");
        // One that comes after all, but not in time.
        wire.echoes_ns.push((1099 * MS, LATE_NS));
        assert_eq!(Echoes::of(&wire).lost(), 2);
        wire.echoes_ns.pop();
        // Answers to 20 that are missing in the middle, and those to 2 at the end.
        wire.echoes_ns.drain(40..60);
        let echoes = Echoes::of(&wire);
        assert_eq!((echoes.answered, echoes.lost()), (78, 22));
        assert!((echoes.longest_outage_s - 0.021).abs() < 1e-9, "{echoes:?}");
        assert!((echoes.seconds - 0.099).abs() < 1e-9, "{echoes:?}");
        assert!((echoes.round_trips.rtt_p99_us - 5000.0).abs() < 1e-9);
        assert_eq!(Echoes::of(&Log::default()), Echoes::default());
    }

    #[test]
    fn losses_copies_and_disorder_are_told_apart() {
        let (wire, mut guest) = logs();
        guest
            .received
            .retain(|(seq, _)| !(10..15).contains(seq) && *seq != 99);
        guest.received.push(guest.received[3]);
        guest.received.swap(20, 21);
        let report = analyse(&wire, &guest, 1000, 0, u64::MAX);
        assert_eq!((report.to_guest.lost, report.from_guest.lost), (6, 0));
        assert_eq!(
            (report.to_guest.duplicated, report.to_guest.reordered),
            (1, 1)
        );
        let outages = &report.to_guest.outages;
        assert_eq!(
            outages
                .iter()
                .map(|outage| outage.packets)
                .collect::<Vec<_>>(),
            [5, 1]
        );
        assert!(
            (outages[0].start_s - 0.010).abs() < 1e-6 && (outages[0].length_ms - 6.0).abs() < 1e-6
        );
    }

    #[test]
    fn a_window_looks_at_its_own_packets_only() {
        let (wire, mut guest) = logs();
        guest.received.retain(|(seq, _)| *seq != 10 && *seq != 60);
        let report = analyse(&wire, &guest, 1000, 1050 * MS, 1070 * MS);
        assert_eq!((report.to_guest.sent, report.to_guest.lost), (20, 1));
        assert_eq!((report.from_guest.sent, report.from_guest.lost), (20, 0));
    }

    #[test]
    fn the_longest_silence_is_between_two_arrivals() {
        let (mut wire, _) = logs();
        wire.received.drain(30..34);
        wire.received.drain(60..62);
        let silence = longest_silence(&wire);
        assert_eq!(silence, Some((1031 * MS, 1036 * MS)));
        assert_eq!(longest_silence(&Log::default()), None);
    }

    #[test]
    fn silence_is_loss() {
        let (wire, mut guest) = logs();
        guest.received.clear();
        let report = analyse(&wire, &guest, 1000, 0, u64::MAX);
        assert_eq!(
            (report.to_guest.lost, report.to_guest.outages.len()),
            (100, 1)
        );
    }
}
