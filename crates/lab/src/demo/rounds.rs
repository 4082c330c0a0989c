//! Rounds: there and back under traffic, and each path measured in between.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};

use super::{
    GUEST, NODE, Path, SwitchOver,
    drops::Drops,
    measure::{Spent, median},
    product::Product,
};
use crate::{
    lab::{Lab, Pace, wait},
    probe::{
        analysis::{Direction, RoundTrips},
        now_ns,
    },
    progress::Progress,
};

/// Numbered packets a second, each way, while paths change.
pub const RATE_PPS: u32 = 300;
/// Echoes a second when delays and processor time are measured: far from what the emulated node can
/// do at most, so that nothing queues.
const PING_PPS: u32 = 115;
const PING: Duration = Duration::from_secs(5);
/// Echoes on their way at any time when packets a second are measured.
const OUTSTANDING: u32 = 16;
const FLOOD: Duration = Duration::from_secs(2);
/// Traffic flows so long before a change, and for so long after its command has ended effects of it
/// are looked for.
const AROUND: Duration = Duration::from_millis(1000);

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
    lost_before: u64,
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
                half.path.round_trips.rtt_p50_us,
                half.path.round_trips.rtt_p99_us,
                half.path.packets_per_s,
                half.path.host_cpu_us_per_packet,
            ));
            measured.switches.push(half.switch);
            measured.lost_between += half.lost_before;
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

/// Changes the path under traffic, then measures the new one.
fn half(lab: &Lab, product: &Product<'_>, operation: &str) -> Result<Half> {
    let dropped_before = Drops::read(lab)?;
    let probe = lab.start_probe(GUEST, RATE_PPS)?;
    wait(AROUND);
    let begun = now_ns();
    product.text(&["vm", operation, GUEST])?;
    let took_s = now_ns().saturating_sub(begun) as f64 / 1e9;
    wait(AROUND);
    let logs = probe.stop()?;
    let drops = Drops::read(lab)?.since(&dropped_before);
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
    Ok(Half {
        switch: SwitchOver {
            drops,
            ..switch_over(operation, took_s, &logs.between(begun, u64::MAX))
        },
        lost_before: logs.between(0, begun).lost,
        path: path(lab)?,
    })
}

fn path(lab: &Lab) -> Result<Path> {
    let idle = Spent::during(lab, NODE, PING)?;
    let pinging = lab.start_ping(GUEST, Pace::Rate { pps: PING_PPS })?;
    let spent = Spent::during(lab, NODE, PING)?;
    let pings = pinging.stop()?;
    let flood = Pace::Outstanding { count: OUTSTANDING };
    let flood = lab.ping(GUEST, FLOOD, flood)?;
    // Each echo goes there and back.
    let packets_per_s = |echoes: u64, seconds: f64| 2.0 * echoes as f64 / seconds.max(0.001);
    let ping_rate = packets_per_s(pings.sent, pings.seconds);
    Ok(Path {
        round_trips: pings.round_trips,
        packets_per_s: packets_per_s(flood.answered, flood.seconds),
        host_cpu_us_per_packet: spent.per_packet(&idle, ping_rate),
    })
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
        not_sent: to.not_sent + from.not_sent,
        refused_by_guest: from.send_errors,
        drops: BTreeMap::new(),
    }
}

fn middle(paths: &[Path]) -> Path {
    let of = |value: fn(&Path) -> f64| median(paths.iter().map(value));
    Path {
        round_trips: RoundTrips {
            rtt_p50_us: of(|path| path.round_trips.rtt_p50_us),
            rtt_p99_us: of(|path| path.round_trips.rtt_p99_us),
            jitter_us: of(|path| path.round_trips.jitter_us),
        },
        packets_per_s: of(|path| path.packets_per_s),
        host_cpu_us_per_packet: of(|path| path.host_cpu_us_per_packet),
    }
}
