//! Processor time of a node, and medians.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Processor time that a node spent on neither its guests' vCPUs nor its agent, in a while: interrupts,
/// the software switch, vhost. (The agent looks around every ten seconds, packets or not; a while that
/// holds such a look would not compare with one that does not.)
///
/// Nothing of it is sampled. A kernel that stops its tick when idle counts idle time as it passes
/// (Documentation/timers/no_hz.rst; kernel/time/tick-sched.c, `get_cpu_idle_time_us`: time in interrupts
/// is not idle), and the scheduler threads' time to the nanosecond (Documentation/scheduler/
/// sched-stats.rst). The columns `system` and `softirq` of /proc/stat will not do: the tick that feeds
/// them does not run while an idle processor serves an interrupt, which is where packets arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    busy_us: f64,
    /// The same with vCPUs and agent: how much of the node was left.
    all_busy_us: f64,
    length_us: f64,
    processors: f64,
}

/// Processors and ticks a second; then twice: time since boot, line of all processors in /proc/stat, and
/// the time of each thread that does not count, from its schedstat.
const LOOK: &str = r#"
apart=$(pgrep -w '^CPU [0-9]+/KVM$'; for agent in $(pgrep -x accelnetd); do ls /proc/$agent/task; done)
look() {
  read -r up rest < /proc/uptime; read -r cpu < /proc/stat; echo "look $up $cpu"
  for thread in $apart; do
    if read -r run rest < "/proc/$thread/schedstat"; then echo "thread $thread $run"; fi
  done
}
echo "$(nproc) $(getconf CLK_TCK)"; look; sleep "$1"; look
"#;

impl Spent {
    /// Reads it at the beginning and at the end of a while, in one session: beginning another would cost
    /// the node more than what is measured.
    pub fn during(lab: &Lab, node: &str, length: Duration) -> Result<Self> {
        let script = format!("set -- {}\n{LOOK}", length.as_secs_f64());
        let text = lab.script(node, &script)?;
        parse(&text).with_context(|| format!("/proc of {node} reads strangely: {text}"))
    }

    /// Microseconds a packet, beyond what the node spends without packets.
    pub fn per_packet(&self, idle: &Self, packets_per_s: f64) -> f64 {
        let share = self.busy_us / self.length_us - idle.busy_us / idle.length_us;
        share.max(0.0) * 1e6 / packets_per_s.max(1.0)
    }

    /// How busy the node was, vCPUs included, percent.
    pub fn busy_percent(&self) -> f64 {
        100.0 * self.all_busy_us / (self.length_us * self.processors)
    }
}

/// What [`LOOK`] printed.
fn parse(text: &str) -> Option<Spent> {
    let (head, looks) = text.split_once('\n')?;
    let (processors, ticks_per_s) = head.split_once(' ')?;
    let (processors, ticks_per_s): (f64, f64) =
        (processors.parse().ok()?, ticks_per_s.trim().parse().ok()?);
    let (from, to) = looks.strip_prefix("look ")?.split_once("look ")?;
    let (from, to) = (look(from)?, look(to)?);
    let length_us = (to.up_s - from.up_s) * 1e6;
    let idle_us = (to.idle_ticks - from.idle_ticks) / ticks_per_s * 1e6;
    // A thread that began or ended in between is in one of them only. That there is none is a mistake: a
    // node that is measured has guests.
    let apart: Vec<f64> = to
        .threads
        .iter()
        .filter_map(|(id, ns)| Some((ns - from.threads.get(id)?) / 1e3))
        .collect();
    let apart_us: f64 = apart.iter().sum();
    (length_us > 0.0 && !apart.is_empty()).then_some(Spent {
        busy_us: length_us * processors - idle_us - apart_us,
        all_busy_us: length_us * processors - idle_us,
        length_us,
        processors,
    })
}

struct Look<'a> {
    up_s: f64,
    idle_ticks: f64,
    /// Nanoseconds on a processor.
    threads: HashMap<&'a str, f64>,
}

/// `UP cpu user nice system idle iowait …` (proc_stat(5)), then `thread ID NANOSECONDS` for each.
fn look(text: &str) -> Option<Look<'_>> {
    let mut lines = text.lines();
    let words: Vec<&str> = lines.next()?.split_whitespace().collect();
    let ["cpu", _, _, _, idle, iowait, ..] = words.get(1..)? else {
        return None;
    };
    let threads = lines.filter_map(|line| {
        let mut words = line.strip_prefix("thread ")?.split(' ');
        Some((words.next()?, words.next()?.parse().ok()?))
    });
    Some(Look {
        up_s: words.first()?.parse().ok()?,
        idle_ticks: idle.parse::<f64>().ok()? + iowait.parse::<f64>().ok()?,
        threads: threads.collect(),
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
    fn vcpus_and_the_agent_do_not_count_and_idle_is_subtracted() {
        // Two processors, ten seconds; idle time is split between idle and iowait.
        let during = |idle_s: u32, vcpu_ns: u64| {
            let text = format!(
                "2 100\nlook 10.00 cpu 7 0 50 100 11 0 0 0\nthread 31 5\nthread 32 7\n\
                 look 20.00 cpu 9 0 90 {} 61 0 0 0\nthread 31 {}\nthread 40 {}\n",
                100 + idle_s * 100 - 50,
                5 + vcpu_ns,
                u64::MAX,
            );
            parse(&text).unwrap()
        };
        // Busy for 1 s, of which a vCPU ran 0.5 s; and for 4 s, of which it ran 2 s.
        let (idle, busy) = (during(19, 500_000_000), during(16, 2_000_000_000));
        assert!((idle.busy_us - 500_000.0).abs() < 1.0, "{idle:?}");
        let us = busy.per_packet(&idle, 100.0);
        assert!((us - 1500.0).abs() < 1e-3, "{us}");
        assert_eq!(idle.per_packet(&busy, 100.0), 0.0);
        // 4 of 20 s of processor.
        assert!((busy.busy_percent() - 20.0).abs() < 1e-3, "{busy:?}");
        assert_eq!(parse("strange"), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
