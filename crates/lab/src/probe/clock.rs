//! The guest's clock, seen from the wire's.
//!
//! Both are monotonic, but they start elsewhere and, in software emulation, drift apart by
//! milliseconds a minute. The shortest delays of both directions within a few seconds are taken to be
//! equal; that gives an offset for each window of time, and between their middles it is drawn as a
//! line. A window holds many packets with a short delay even while a switch of paths delays others.

use super::Log;

/// Length of a window. Longer than any planned delay of packets, short against the drift.
const WINDOW_NS: u64 = 5_000_000_000;

/// How much the guest's clock is ahead of the wire's, by the guest's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offsets(Vec<(u64, i64)>);

#[derive(Debug, Clone, Copy, Default)]
struct Shortest {
    there: Option<i64>,
    back: Option<i64>,
}

impl Offsets {
    /// From what both ends wrote down.
    pub fn of(wire: &Log, guest: &Log) -> Self {
        let start = [
            guest.sent_ns.first(),
            guest.received.first().map(|(_, at)| at),
        ];
        let Some(start) = start.into_iter().flatten().min().copied() else {
            return Self(Vec::new());
        };
        let mut windows: Vec<Shortest> = Vec::new();
        let mut note = |at: u64, there: Option<i64>, back: Option<i64>| {
            let index = (at.saturating_sub(start) / WINDOW_NS) as usize;
            if windows.len() <= index {
                windows.resize(index + 1, Shortest::default());
            }
            let window = &mut windows[index];
            window.there = window.there.into_iter().chain(there).min();
            window.back = window.back.into_iter().chain(back).min();
        };
        for (seq, at) in &guest.received {
            if let Some(sent) = wire.sent_ns.get(*seq as usize) {
                note(*at, Some(*at as i64 - *sent as i64), None);
            }
        }
        for (seq, at) in &wire.received {
            if let Some(sent) = guest.sent_ns.get(*seq as usize) {
                note(*sent, None, Some(*at as i64 - *sent as i64));
            }
        }
        let middle = |i: usize| start + i as u64 * WINDOW_NS + WINDOW_NS / 2;
        let both = windows
            .iter()
            .enumerate()
            .filter_map(|(i, window)| Some((middle(i), (window.there? - window.back?) / 2)));
        let points: Vec<_> = both.collect();
        if !points.is_empty() {
            return Self(points);
        }
        // Nothing came in one direction: its delay is taken to be 0.
        let there = windows.iter().filter_map(|window| window.there).min();
        let back = windows.iter().filter_map(|window| window.back).min();
        Self(
            there
                .or(back.map(|back| -back))
                .map(|offset| (start, offset))
                .into_iter()
                .collect(),
        )
    }

    /// A moment of the guest's clock in the wire's.
    pub fn in_wire_time(&self, guest_ns: u64) -> u64 {
        let offset = self.at(guest_ns);
        u64::try_from(guest_ns as i64 - offset).unwrap_or(0)
    }

    fn at(&self, guest_ns: u64) -> i64 {
        let after = self.0.partition_point(|(at, _)| *at <= guest_ns);
        match (after.checked_sub(1).map(|i| self.0[i]), self.0.get(after)) {
            (Some((t0, o0)), Some((t1, o1))) => {
                let part = (guest_ns - t0) as i128 * (o1 - o0) as i128 / (t1 - t0) as i128;
                o0 + part as i64
            }
            (Some((_, offset)), None) => offset,
            (None, Some((_, offset))) => *offset,
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_clock_that_drifts_is_followed() {
        // Half a minute, 2 ms on the way each way; the guest's clock gains 1 ms a second, starting
        // 5 s ahead.
        let guest_clock = |wire_ns: u64| wire_ns + 5000 * MS + wire_ns / 1000;
        let sent: Vec<u64> = (0..3000).map(|i| (10_000 + i * 10) * MS).collect();
        let wire = Log {
            sent_ns: sent.clone(),
            received: sent
                .iter()
                .enumerate()
                .map(|(i, at)| (i as u32, at + 2 * MS))
                .collect(),
            ..Log::default()
        };
        let guest = Log {
            sent_ns: sent.iter().map(|at| guest_clock(*at)).collect(),
            received: (0u32..)
                .zip(&sent)
                .map(|(i, at)| (i, guest_clock(at + 2 * MS)))
                .collect(),
            ..Log::default()
        };
        let offsets = Offsets::of(&wire, &guest);
        for at in &sent {
            let error = offsets.in_wire_time(guest_clock(*at)).abs_diff(*at);
            assert!(error < 6 * MS, "{error} ns off at {at}");
        }
        // One offset for all would be 15 ms off at both ends.
        let ends = [sent[0], sent[2999]].map(|at| offsets.at(guest_clock(at)));
        assert!(ends[1] - ends[0] > 20 * MS as i64, "{ends:?}");
    }

    #[test]
    fn silence_leaves_an_offset() {
        let wire = Log {
            sent_ns: vec![10 * MS],
            ..Log::default()
        };
        let guest = Log {
            received: vec![(0, 110 * MS)],
            ..Log::default()
        };
        assert_eq!(Offsets::of(&wire, &guest).in_wire_time(110 * MS), 10 * MS);
        assert_eq!(
            Offsets::of(&Log::default(), &Log::default()).in_wire_time(7),
            7
        );
    }
}
