//! Processor time of a node, and medians.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Processor time that a node spent outside its guests, in a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    busy_us: f64,
    length_us: f64,
}

impl Spent {
    /// Reads it at the beginning and at the end of a while, in one session: beginning another would cost
    /// the node more than what is measured.
    pub fn during(lab: &Lab, node: &str, length: Duration) -> Result<Self> {
        let seconds = length.as_secs_f64();
        let text = lab.script(
            node,
            &format!(
                "look() {{ read -r up rest < /proc/uptime; read -r cpu < /proc/stat; echo \"$up $cpu\"; }}\n\
                 getconf CLK_TCK; look; sleep {seconds}; look"
            ),
        )?;
        parse(&text).with_context(|| format!("/proc of {node} reads strangely: {text}"))
    }

    /// Microseconds a packet, beyond what the node spends without packets.
    pub fn per_packet(&self, idle: &Self, packets_per_s: f64) -> f64 {
        let share = self.busy_us / self.length_us - idle.busy_us / idle.length_us;
        share.max(0.0) * 1e6 / packets_per_s.max(1.0)
    }
}

/// Ticks a second; then twice the time since boot and a line of /proc/stat.
fn parse(text: &str) -> Option<Spent> {
    let mut lines = text.lines();
    let ticks_per_s: f64 = lines.next()?.trim().parse().ok()?;
    let (from, to) = (look(lines.next()?)?, look(lines.next()?)?);
    let length_us = (to.0 - from.0) * 1e6;
    (length_us > 0.0).then_some(Spent {
        busy_us: (to.1 - from.1) / ticks_per_s * 1e6,
        length_us,
    })
}

/// Seconds since boot, and ticks outside guests. `cpu user nice system idle iowait irq softirq steal guest
/// guest_nice`; user and nice contain the guests' (proc(5)).
fn look(line: &str) -> Option<(f64, f64)> {
    let (uptime, stat) = line.split_once(" cpu ")?;
    let ticks: Vec<f64> = stat
        .split_whitespace()
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
    Some((uptime.trim().parse().ok()?, busy))
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
        let during = |seconds: u32, user: u32, guest: u32| {
            let text = format!(
                "100\n10.00 cpu  7 0 50 0 0 5 5 0 0 0\n{}.00 cpu  {} 0 50 0 0 5 5 0 {guest} 0\n",
                10 + seconds,
                7 + user
            );
            parse(&text).unwrap()
        };
        // 0.5 s in 10 s, and 5.4 s in 10 s.
        let (idle, busy) = (during(10, 100, 50), during(10, 800, 260));
        let us = busy.per_packet(&idle, 100.0);
        assert!((us - 4900.0).abs() < 1e-6, "{us}");
        assert_eq!(idle.per_packet(&busy, 100.0), 0.0);
        assert_eq!(parse("strange"), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
