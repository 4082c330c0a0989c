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

/// Numbered packets a second, each way, while paths change: at most, and on a slow machine at least. With
/// fewer a short outage would not be seen.
const PROBE_PPS: (u32, u32) = (300, 75);
/// Echoes a second when delays and processor time are measured. With fewer a measurement takes too long to
/// say anything.
const PING_PPS: (u32, u32) = (115, 10);
/// A node that is busier than this on either path queues, and delays and shares of it say nothing.
const MOST_BUSY_PERCENT: f64 = 60.0;
const PING: Duration = Duration::from_secs(5);
const TRIAL: Duration = Duration::from_secs(3);
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
    pub rate_pps: u32,
    pub echoes_per_s: u32,
    pub rounds_left_out: u32,
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
    // A VM's first VF costs what no later one does (memory is pinned, drivers are loaded), and what a machine
    // can carry is tried in the state in which it is measured.
    progress.step("once there and back, not measured");
    for operation in ["enable", "disable"] {
        product.text(&["vm", operation, GUEST])?;
    }
    let rate_pps = bearable("packets", PROBE_PPS, progress, |pps| {
        let probe = lab.start_probe(GUEST, pps)?;
        let spent = Spent::during(lab, NODE, TRIAL)?;
        probe.stop().map(|_| spent)
    })?;
    let echoes_per_s = bearable("echoes", PING_PPS, progress, |pps| {
        let pinging = lab.start_ping(GUEST, Pace::Rate { pps })?;
        let spent = Spent::during(lab, NODE, TRIAL)?;
        pinging.stop().map(|_| spent)
    })?;
    let mut measured = Measured {
        rate_pps,
        echoes_per_s,
        ..Measured::default()
    };
    for round in 1..=rounds {
        let mut of_round = Vec::new();
        for operation in ["enable", "disable"] {
            let half = half(lab, product, operation, &measured)?;
            let SwitchOver {
                lost_to_guest,
                lost_from_guest,
                took_s,
                ..
            } = half.switch;
            progress.step(format!(
                "round {round} of {rounds}: vm {operation} in {took_s:.1} s, lost {lost_to_guest} to \
                 and {lost_from_guest} from the guest; then p50 {:.0} us, p99 {:.0} us, {:.0} \
                 packets/s, host CPU {:.0} us a packet, node {:.0} % busy",
                half.path.round_trips.rtt_p50_us,
                half.path.round_trips.rtt_p99_us,
                half.path.packets_per_s,
                half.path.host_cpu_us_per_packet,
                half.path.busy_percent,
            ));
            measured.switches.push(half.switch);
            measured.lost_between += half.lost_before;
            of_round.push(half.path);
        }
        match <[Path; 2]>::try_from(of_round) {
            Ok(paths)
                if paths
                    .iter()
                    .all(|path| path.busy_percent <= MOST_BUSY_PERCENT) =>
            {
                let [on_vf, on_switch] = paths;
                vf.push(on_vf);
                synthetic.push(on_switch);
            }
            _ => {
                measured.rounds_left_out += 1;
                measured.echoes_per_s = (measured.echoes_per_s / 2).max(PING_PPS.1);
                progress.step(format!(
                    "the node was too busy in this round: it is left out; {} echoes a second from now on",
                    measured.echoes_per_s
                ));
            }
        }
    }
    measured.synthetic = middle(&synthetic);
    measured.vf = middle(&vf);
    Ok(measured)
}

/// How many a second leave the node time on the software path, where the guest begins: the most if it bears
/// them, else half of it and so on.
fn bearable(
    what: &str,
    (most, least): (u32, u32),
    progress: Progress,
    trial: impl Fn(u32) -> Result<Spent>,
) -> Result<u32> {
    let mut pps = most;
    loop {
        let busy = trial(pps)?.busy_percent();
        progress.step(format!(
            "by the switch {pps} {what} a second keep the node {busy:.0} % busy"
        ));
        // Rounds differ; what is just bearable now is not in each of them.
        if busy <= 0.8 * MOST_BUSY_PERCENT || pps <= least {
            return Ok(pps);
        }
        pps = (pps / 2).max(least);
    }
}

/// Changes the path under traffic, then measures the new one.
fn half(lab: &Lab, product: &Product<'_>, operation: &str, at: &Measured) -> Result<Half> {
    let dropped_before = Drops::read(lab)?;
    let probe = lab.start_probe(GUEST, at.rate_pps)?;
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
        path: path(lab, at.echoes_per_s)?,
    })
}

fn path(lab: &Lab, pps: u32) -> Result<Path> {
    let idle = Spent::during(lab, NODE, PING)?;
    let pinging = lab.start_ping(GUEST, Pace::Rate { pps })?;
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
        busy_percent: spent.busy_percent(),
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
        busy_percent: of(|path| path.busy_percent),
    }
}
