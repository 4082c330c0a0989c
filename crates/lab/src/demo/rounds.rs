//! Rounds: there and back under traffic, and each path measured in between.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    GUEST, NODE, Path, SwitchOver,
    measure::{CpuTime, median},
    product::Product,
};
use crate::{
    lab::{Lab, Logs, ProbeKind, wait},
    probe::{analysis::Direction, now_ns},
    progress::Progress,
};

/// Numbered packets a second, each way, while paths change and are measured.
pub const RATE_PPS: u32 = 300;
/// Echoes on their way at any time when packets a second are measured.
const OUTSTANDING: u32 = 16;
/// Length of the parts of a measurement.
const STEADY: Duration = Duration::from_secs(4);
const FLOOD: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_secs(2);
/// A change may have effects for so long after its command has ended; they are counted as its own.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What the rounds found.
#[derive(Debug, Default)]
pub struct Measured {
    pub synthetic: Path,
    pub vf: Path,
    pub switches: Vec<SwitchOver>,
    pub lost_between: u64,
}

/// One half of a round.
struct Half {
    switch: SwitchOver,
    path: Path,
    lost_after: u64,
}

/// Runs them. The guest begins and ends on the software path.
pub fn run(lab: &Lab, product: &Product<'_>, rounds: u32, progress: Progress) -> Result<Measured> {
    let (mut synthetic, mut vf) = (Vec::new(), Vec::new());
    let mut measured = Measured::default();
    for round in 1..=rounds {
        for operation in ["enable", "disable"] {
            let half = half(lab, product, operation)?;
            let SwitchOver {
                lost_to_guest,
                lost_from_guest,
                took_s,
                ..
            } = half.switch;
            progress.step(format!(
                "round {round} of {rounds}: vm {operation} in {took_s:.1} s, lost {lost_to_guest} to \
                 and {lost_from_guest} from the guest; then p50 {:.0} us, p99 {:.0} us, {:.0} \
                 packets/s, host CPU {:.0} us a packet",
                half.path.rtt_p50_us,
                half.path.rtt_p99_us,
                half.path.packets_per_s,
                half.path.host_cpu_us_per_packet,
            ));
            measured.switches.push(half.switch);
            measured.lost_between += half.lost_after;
            match operation {
                "enable" => vf.push(half.path),
                _ => synthetic.push(half.path),
            }
        }
    }
    measured.synthetic = middle(&synthetic);
    measured.vf = middle(&vf);
    Ok(measured)
}

/// Changes the path under traffic, goes on under the same traffic, rests, and measures packets a
/// second.
fn half(lab: &Lab, product: &Product<'_>, operation: &str) -> Result<Half> {
    let probe = lab.start_probe(GUEST, ProbeKind::Rate { pps: RATE_PPS })?;
    // Traffic flows before anything is changed.
    wait(AFTERMATH);
    let begun = now_ns();
    product.text(&["vm", operation, GUEST])?;
    let took_s = now_ns().saturating_sub(begun) as f64 / 1e9;
    wait(AFTERMATH);
    let (steady, cpu) = (now_ns(), CpuTime::read(lab, NODE)?);
    wait(STEADY);
    let (over, cpu_after) = (now_ns(), CpuTime::read(lab, NODE)?);
    let logs = probe.stop()?;
    let expected = if operation == "enable" {
        "vf"
    } else {
        "synthetic"
    };
    let found = product.path_of(GUEST)?;
    ensure!(
        found == expected,
        "after 'vm {operation}' the path is '{found}', not '{expected}'"
    );
    let rest = CpuTime::read(lab, NODE)?;
    wait(REST);
    let idle = CpuTime::read(lab, NODE)?.idle_since(&rest);
    let flood = lab.probe(
        GUEST,
        FLOOD.as_secs_f64(),
        ProbeKind::Outstanding { count: OUTSTANDING },
    )?;
    let during = logs.between(begun, steady);
    let after = logs.between(steady, over);
    let echoes = after.to_guest.sent / u64::from(crate::probe::ECHO_EVERY);
    let path = Path {
        rtt_p50_us: after.rtt_p50_us,
        rtt_p99_us: after.rtt_p99_us,
        jitter_us: after.jitter_us,
        // Each of them goes there and, as an echo, back.
        packets_per_s: 2.0 * (flood.to_guest.sent - flood.to_guest.lost) as f64 / flood.seconds,
        host_cpu_us_per_packet: cpu_after.per_packet(&cpu, idle, after.sent + echoes),
    };
    Ok(Half {
        switch: switch_over(operation, took_s, &during),
        path,
        lost_after: rest_of(&logs, steady).lost,
    })
}

/// What was sent after the change and its aftermath.
fn rest_of(logs: &Logs, from_ns: u64) -> crate::probe::analysis::Report {
    logs.between(from_ns, u64::MAX)
}

fn switch_over(
    operation: &str,
    took_s: f64,
    during: &crate::probe::analysis::Report,
) -> SwitchOver {
    let (to, from) = (&during.to_guest, &during.from_guest);
    let outage = |direction: &Direction| {
        let lengths = direction.outages.iter().map(|outage| outage.length_ms);
        lengths.fold(0.0, f64::max)
    };
    SwitchOver {
        operation: operation.to_owned(),
        took_s,
        sent_to_guest: to.sent,
        lost_to_guest: to.lost,
        sent_from_guest: from.sent,
        lost_from_guest: from.lost,
        duplicated: during.duplicated,
        reordered: during.reordered,
        outage_ms: outage(to).max(outage(from)),
        max_delay_ms: to.max_delay_ms.max(from.max_delay_ms),
    }
}

fn middle(paths: &[Path]) -> Path {
    let of = |value: fn(&Path) -> f64| median(paths.iter().map(value));
    Path {
        rtt_p50_us: of(|path| path.rtt_p50_us),
        rtt_p99_us: of(|path| path.rtt_p99_us),
        jitter_us: of(|path| path.jitter_us),
        packets_per_s: of(|path| path.packets_per_s),
        host_cpu_us_per_packet: of(|path| path.host_cpu_us_per_packet),
    }
}
