//! When a sender at a fixed rate is woken, and how many packets it makes up for when it was late.
//!
//! A sender at a fixed rate that was not scheduled for a second, as happens in software emulation, would
//! send a second's packets within milliseconds: no traffic that anybody asked for, and it overruns rings
//! and queues that the rate itself never fills. So it makes up for a few; the others are not sent, and
//! counted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use rustix::{
    event::Timespec,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

/// A sender is woken no more often: in an emulated guest to wake up costs more than to send a packet. More packets than
/// one in this time go in groups.
const WAKE_NS: u64 = 4_000_000;

/// A sender's clock.
pub struct Pace {
    timer: OwnedFd,
    rate_pps: u64,
    interval_ns: u64,
    /// Since the start, as far as the timer has told.
    passed_ns: u64,
    /// Packets that were due since then.
    due: u64,
}

impl Pace {
    /// Starts it; at 0 packets a second it never goes off.
    pub fn new(rate_pps: u32) -> Result<Self> {
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let rate_pps = u64::from(rate_pps);
        let interval_ns = interval_ns(rate_pps);
        if rate_pps > 0 {
            let interval = timespec(interval_ns);
            let every = Itimerspec {
                it_interval: interval,
                it_value: interval,
            };
            rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        }
        Ok(Self {
            timer,
            rate_pps,
            interval_ns,
            passed_ns: 0,
            due: 0,
        })
    }

    /// Packets that became due since it was asked last.
    pub fn due(&mut self) -> u64 {
        let mut ticks = [0u8; 8];
        let ticks =
            rustix::io::read(&self.timer, &mut ticks).map_or(0, |_| u64::from_ne_bytes(ticks));
        self.passed_ns += ticks * self.interval_ns;
        let before = std::mem::replace(&mut self.due, due(self.rate_pps, self.passed_ns));
        self.due - before
    }
}

impl AsFd for Pace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

fn interval_ns(rate_pps: u64) -> u64 {
    (1_000_000_000 / rate_pps.max(1)).max(WAKE_NS)
}

/// Rounded to the nearest, since an interval is a whole number of nanoseconds and a third of a second is not.
fn due(rate_pps: u64, passed_ns: u64) -> u64 {
    ((u128::from(passed_ns) * u128::from(rate_pps) + 500_000_000) / 1_000_000_000) as u64
}

/// A length of time as the kernel takes it.
pub fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

/// Half of what a VF's receive ring holds (igbvf: 256).
const MOST: u64 = 128;

/// Of `behind` packets that are due, how many are sent now. The others never are.
pub fn catch_up(behind: u64) -> u64 {
    behind.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_not_made_up_for_in_one_burst() {
        assert_eq!(catch_up(0), 0);
        assert_eq!(catch_up(60), 60, "a fifth of a second at 300 a second is");
        assert_eq!(catch_up(330), MOST);
    }

    #[test]
    fn a_high_rate_goes_in_groups_and_none_is_left_out() {
        for rate in [1, 3, 100, 150, 250, 300, 1000, 7000] {
            let interval = interval_ns(rate);
            assert!(interval >= WAKE_NS, "{rate}");
            let at = |tick| due(rate, tick * interval);
            let groups: Vec<_> = (1..2000).map(|tick| at(tick) - at(tick - 1)).collect();
            let (least, most) = (groups.iter().min().unwrap(), groups.iter().max().unwrap());
            assert!(most - least <= 1, "{rate}: {least} to {most}");
            if rate <= 250 {
                assert_eq!((*least, *most), (1, 1), "{rate}");
            }
        }
        assert_eq!(due(1000, 1_000_000_000), 1000);
        assert_eq!(due(0, 1_000_000_000), 0);
    }
}
