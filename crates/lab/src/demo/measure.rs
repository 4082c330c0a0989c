//! Processor time of a node, and medians.

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Processor time spent outside guests since boot, in microseconds, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuTime {
    busy_us: f64,
    uptime_us: f64,
}

/// What a node spends by itself, as a share of one processor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Idle(f64);

impl CpuTime {
    /// Reads it on a node.
    pub fn read(lab: &Lab, node: &str) -> Result<Self> {
        let text = lab.script(
            node,
            "cat /proc/uptime; getconf CLK_TCK; head -n 1 /proc/stat",
        )?;
        parse(&text).with_context(|| format!("/proc of {node} reads strangely: {text}"))
    }

    /// The share of a processor that was spent since `before`.
    pub fn idle_since(&self, before: &Self) -> Idle {
        let length = (self.uptime_us - before.uptime_us).max(1.0);
        Idle((self.busy_us - before.busy_us) / length)
    }

    /// Microseconds for each of `packets` since `before`, beyond what the idle node spends.
    pub fn per_packet(&self, before: &Self, idle: Idle, packets: u64) -> f64 {
        let length = self.uptime_us - before.uptime_us;
        let own = (self.busy_us - before.busy_us - idle.0 * length).max(0.0);
        own / packets.max(1) as f64
    }
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice` in ticks; user and nice
/// contain the guests' (proc(5)).
fn parse(text: &str) -> Option<CpuTime> {
    let mut lines = text.lines();
    let uptime: f64 = lines.next()?.split_whitespace().next()?.parse().ok()?;
    let ticks_per_s: f64 = lines.next()?.trim().parse().ok()?;
    let ticks: Vec<f64> = lines
        .next()?
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok())
        .collect();
    let [
        user,
        nice,
        system,
        _,
        _,
        irq,
        softirq,
        _,
        guest,
        guest_nice,
        ..,
    ] = ticks[..]
    else {
        return None;
    };
    let busy = user + nice + system + irq + softirq - guest - guest_nice;
    Some(CpuTime {
        busy_us: busy / ticks_per_s * 1e6,
        uptime_us: uptime * 1e6,
    })
}

/// The middle one; 0 if there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_do_not_count_and_idle_is_subtracted() {
        let at = |uptime: u32, user: u32, guest: u32| {
            let text = format!("{uptime}.00 0\n100\ncpu  {user} 0 50 0 0 5 5 0 {guest} 0\n");
            parse(&text).unwrap()
        };
        let (start, rested, end) = (at(10, 100, 90), at(20, 200, 140), at(30, 1000, 400));
        // 0.5 s in 10 s.
        let idle = rested.idle_since(&start);
        assert!((idle.0 - 0.05).abs() < 1e-9, "{idle:?}");
        // 5.4 s in 10 s, of which 0.5 s are idle's.
        let us = end.per_packet(&rested, idle, 1000);
        assert!((us - 4900.0).abs() < 1e-6, "{us}");
        assert_eq!(parse("strange"), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
