//! The report for people: a table, and a picture of before and after.

use std::fmt::Write;

use super::{Path, Report, SwitchOver};

/// Longest bar, in characters.
const BAR: usize = 40;

/// `write!` to a string never fails.
macro_rules! put {
    ($text:expr, $($format:tt)*) => {{ let _ = writeln!($text, $($format)*); }};
}

/// Draws everything.
pub fn draw(report: &Report) -> String {
    let mut text = String::new();
    let (before, after) = (&report.paths.synthetic, &report.paths.vf);
    way(&mut text, report);
    text.push('\n');
    table(&mut text, before, after);
    put!(
        text,
        "{} of {} rounds count; {} echoes a second kept the node {:.0} % busy by the switch, {:.0} % by the VF",
        report.rounds - report.rounds_left_out,
        report.rounds,
        report.echoes_per_s,
        before.busy_percent,
        after.busy_percent
    );
    text.push('\n');
    for (operation, title) in [
        ("enable", "to the VF (vm enable)"),
        ("disable", "back (vm disable)"),
    ] {
        switches(&mut text, report, operation, title);
    }
    if let Some(attach) = &report.attach {
        put!(
            text,
            "from the command to the VF: {:.0} ms with accelnet, {:.0} ms by hand",
            attach.accelnet_ms,
            attach.by_hand_ms
        );
    }
    text
}

fn way(text: &mut String, report: &Report) {
    let (before, after) = (&report.paths.synthetic, &report.paths.vf);
    let us = |value: f64| format!("{value:.0} us");
    put!(text, "        before                              after");
    put!(text, "  ┌──────────┐                       ┌──────────┐");
    put!(
        text,
        "  │  guest   │                       │  guest   │   one interface, same address"
    );
    put!(text, "  └────┬─────┘                       └─┬─────┬──┘");
    put!(
        text,
        "       │ virtio, vhost              VF │     ┆ virtio stands by"
    );
    put!(
        text,
        "  ┌────┴─────┐                         │ ┌───┴──────┐"
    );
    put!(
        text,
        "  │  bridge  │                         │ │  bridge  │"
    );
    put!(
        text,
        "  └────┬─────┘                         │ └───┬──────┘"
    );
    put!(text, "  ┌────┴─────┐                       ┌─┴─────┴──┐");
    put!(text, "  │   card   │                       │   card   │");
    put!(text, "  └────┬─────┘                       └────┬─────┘");
    put!(
        text,
        "   {:<10} median round trip     {:<10}",
        us(before.round_trips.rtt_p50_us),
        us(after.round_trips.rtt_p50_us)
    );
    put!(
        text,
        "   {:<10} host CPU a packet     {:<10}",
        us(before.host_cpu_us_per_packet),
        us(after.host_cpu_us_per_packet)
    );
}

fn table(text: &mut String, before: &Path, after: &Path) {
    put!(
        text,
        "{:<28} {:>12} {:>12} {:>8}",
        "",
        "switch",
        "VF",
        "ratio"
    );
    for (name, unit, value) in rows() {
        let (a, b) = (value(before), value(after));
        // As many packets as go is what a path does when it has no time left: a ratio of that says nothing.
        let ratio = match (unit, a > 0.0) {
            ("1/s at most", _) | (_, false) => String::new(),
            _ => format!("{:.2}x", b / a),
        };
        put!(
            text,
            "{:<28} {a:>12.0} {b:>12.0} {ratio:>8}",
            format!("{name}, {unit}")
        );
        let most = a.max(b).max(1.0);
        for (label, value) in [("switch", a), ("VF", b)] {
            let length = (value / most * BAR as f64).round() as usize;
            put!(text, "  {label:<7}{}", "█".repeat(length.clamp(1, BAR)));
        }
    }
}

type Row = (&'static str, &'static str, fn(&Path) -> f64);

fn rows() -> [Row; 5] {
    [
        ("round trip p50", "us", |path| path.round_trips.rtt_p50_us),
        ("round trip p99", "us", |path| path.round_trips.rtt_p99_us),
        ("jitter", "us", |path| path.round_trips.jitter_us),
        ("packets", "1/s at most", |path| path.packets_per_s),
        ("host CPU a packet", "us", |path| {
            path.host_cpu_us_per_packet
        }),
    ]
}

fn switches(text: &mut String, report: &Report, operation: &str, title: &str) {
    let all: Vec<&SwitchOver> = report
        .switches
        .iter()
        .filter(|switch| switch.operation == operation)
        .collect();
    let sum = |value: fn(&SwitchOver) -> u64| all.iter().map(|switch| value(switch)).sum::<u64>();
    let most = |value: fn(&SwitchOver) -> f64| all.iter().map(|s| value(s)).fold(0.0, f64::max);
    put!(
        text,
        "{} x {title}, {} packets/s each way: to the guest {} of {} lost, from the guest {} of {} \
         (what its own kernel drops); longest delay {:.0} ms",
        all.len(),
        report.rate_pps,
        sum(|switch| switch.lost_to_guest),
        sum(|switch| switch.sent_to_guest),
        sum(|switch| switch.lost_from_guest),
        sum(|switch| switch.sent_from_guest),
        most(|switch| switch.max_delay_ms),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ratios_and_losses_are_in_it() {
        let mut report = Report {
            rate_pps: 300,
            ..Report::default()
        };
        report.paths.synthetic.round_trips.rtt_p50_us = 2000.0;
        report.paths.vf.round_trips.rtt_p50_us = 1000.0;
        for operation in ["enable", "enable", "disable"] {
            report.switches.push(SwitchOver {
                operation: operation.into(),
                sent_to_guest: 100,
                sent_from_guest: 50,
                lost_from_guest: 1,
                ..SwitchOver::default()
            });
        }
        let text = draw(&report);
        assert!(text.contains("2000") && text.contains("0.50x"), "{text}");
        assert!(
            text.contains("2 x to the VF")
                && text.contains("0 of 200 lost, from the guest 2 of 100"),
            "{text}"
        );
    }
}
