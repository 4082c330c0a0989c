//! Who reaches whom: VF, software-switched guest and the host's own address, on one node.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::rig::Rig;

/// Name, IPv4 and IPv6 address of everybody on the network but the wire's host.
const HOST: (&str, &str, &str) = ("the host", "10.77.0.11", "fd77::11");
const VM1: (&str, &str, &str) = ("vm1", "10.77.0.101", "fd77::101");
const VM2: (&str, &str, &str) = ("vm2", "10.77.0.102", "fd77::102");

fn run_at(rig: &Rig, place: &str, script: &str) -> String {
    match place {
        "the host" => rig.node(script),
        guest => rig.guest(guest, script),
    }
}

fn interface(place: &str) -> &'static str {
    if place == "the host" { "br0" } else { "eth0" }
}

/// Everybody reaches everybody by IPv4 and IPv6 with empty neighbour tables (so by ARP and neighbour
/// discovery too), and is reached by broadcast and multicast.
pub fn everybody(rig: &mut Rig) {
    rig.node("sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0");
    let all = [HOST, VM1, VM2];
    for from in all {
        let device = interface(from.0);
        let flush = format!("ip -4 neigh flush dev {device}; ip -6 neigh flush dev {device}");
        run_at(rig, from.0, &flush);
        for to in all.iter().filter(|to| to.0 != from.0) {
            let local = link_local(rig, to.0);
            let pings = format!(
                "ping -c 3 -i 0.2 -W 5 {} && ping -6 -c 3 -i 0.2 -W 5 {} && \
                 ping -6 -c 3 -i 0.2 -W 5 -I {device} {local}",
                to.1, to.2
            );
            let script = format!("{{ {pings}; }} >/tmp/ping 2>&1 || cat /tmp/ping");
            let heard = run_at(rig, from.0, &script);
            assert_eq!(heard, "", "{} to {}", from.0, to.0);
        }
        let heard = call_to_all(rig, from.0);
        for to in all.iter().filter(|to| to.0 != from.0) {
            let local = link_local(rig, to.0);
            for (address, call) in [(to.1, "broadcast"), (&local, "multicast")] {
                assert!(
                    heard.contains(address),
                    "{} does not hear {} ({address}) answer a {call}: {heard}",
                    from.0,
                    to.0
                );
            }
        }
    }
}

/// Answers to a broadcast and to a multicast; both iputils and busybox name whoever answers.
fn call_to_all(rig: &Rig, from: &str) -> String {
    let device = interface(from);
    let broadcast = if from == HOST.0 { "-b" } else { "" };
    let script = format!(
        "ping {broadcast} -c 3 -i 0.5 -W 2 10.77.0.255 2>&1; \
         ping -6 -c 3 -i 0.5 -W 2 -I {device} ff02::1 2>&1; true"
    );
    run_at(rig, from, &script)
}

/// The address that answers to ff02::1 come from.
pub fn link_local(rig: &Rig, place: &str) -> String {
    let script = format!(
        "ip -6 addr show dev {} scope link | sed -n 's/.*inet6 \\(fe80[^/]*\\).*/\\1/p' | head -n 1",
        interface(place)
    );
    run_at(rig, place, &script).trim().to_owned()
}

const PINGS_PER_S: f64 = 2.0;

/// A ping twice a second between two places: how many answers are missing.
fn missing(rig: &Rig, from: &str, to: &str, stop: &AtomicBool) -> u64 {
    let mut lost = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = run_at(
            rig,
            from,
            &format!("ping -c 10 -i 0.5 -W 9 -w 14 {to} 2>&1; true"),
        );
        let received = text
            .lines()
            .find_map(|line| {
                let (_, rest) = line.split_once("transmitted, ")?;
                rest.split_whitespace().next()?.parse::<u64>().ok()
            })
            .unwrap_or_else(|| panic!("{from} to {to}: {text}"));
        lost += 10 - received.min(10);
    }
    lost
}

/// While a VM goes to a VF and back, it is reached from host, neighbour and wire all the time; what
/// is lost is counted.
pub fn while_switching(rig: &mut Rig) {
    let stop = AtomicBool::new(false);
    let longer_before_s = longer_s(rig);
    let running = rig.lab.start_probe("vm1", RATE).unwrap();
    let pairs = [
        ("the host", "10.77.0.101"),
        ("the host", "fd77::101"),
        ("vm2", "10.77.0.101"),
        ("vm2", "fd77::101"),
    ];
    let shared: &Rig = rig;
    let lost = std::thread::scope(|scope| {
        let stop = &stop;
        let pingers: Vec<_> = pairs
            .iter()
            .map(|(from, to)| scope.spawn(move || (*from, *to, missing(shared, from, to, stop))))
            .collect();
        for level in ["Low", "Medium"] {
            for verb in [
                vec!["vm", "enable", "vm1", "-p", level],
                vec!["vm", "disable", "vm1"],
            ] {
                let run = shared.accelnet(&verb);
                // Whatever became of it, nobody goes on for ever.
                stop.store(run.code != 0, Ordering::Relaxed);
                assert_eq!(run.code, 0, "{verb:?}: {run:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        let joined = pingers.into_iter().map(|pinger| pinger.join().unwrap());
        joined.collect::<Vec<_>>()
    });
    let report = running.stop().unwrap().all();
    eprintln!(
        "           4 switches at {RATE}/s each way: lost {} of {} to and {} of {} from the guest, \
         longest delay {:.0} ms; pings without answer: {lost:?}",
        report.to_guest.lost,
        report.to_guest.sent,
        report.from_guest.lost,
        report.from_guest.sent,
        report.to_guest.max_delay_ms
    );
    // Frames wait for two seconds, however long a guest takes that has no processor.
    let longer_s = longer_s(rig) - longer_before_s;
    eprintln!(
        "           guests took {longer_s:.1} s longer to give up their VFs than frames may wait"
    );
    let allowed = ALLOWED_TO_GUEST + (longer_s * f64::from(RATE)) as u64;
    assert!(report.to_guest.lost <= allowed, "{:?}", report.to_guest);
    // What the guest's own kernel drops while it sends is the guest's, and only reported
    // (docs/reference/switch-over.md), as is how long it takes to give up the VF; a way that stays closed
    // besides would be ours.
    let longest = report
        .from_guest
        .outages
        .iter()
        .map(|outage| outage.length_ms);
    assert!(
        longest.fold(0.0, f64::max) < 1500.0 + longer_s * 1000.0,
        "{:?}",
        report.from_guest
    );
    let allowed = 4 + (longer_s * PINGS_PER_S) as u64;
    for (from, to, lost) in lost {
        assert!(
            lost <= allowed,
            "{from} to {to}: {lost} pings without answer"
        );
    }
}

/// How much longer than frames may wait guests have taken to give up their VFs, by the agent's log: also one that was
/// asked again, but not one whose agent has died meanwhile.
pub fn longer_s(rig: &Rig) -> f64 {
    let sum = rig.node(
        "journalctl -u accelnetd -o short-monotonic --no-pager | tr -d '[]' | awk '\
             / ready / { begun = 0 }\n\
             /action=Unplug/ && !begun { begun = $1 }\n\
             /switch-over is over.*Back/ { if (begun && $1 - begun > 2) longer += $1 - begun - 2; begun = 0 }\n\
             END { print longer + 0 }'",
    );
    sum.trim().parse().unwrap()
}

/// Packets a second each way: more leave one emulated processor no time for the guest to take its VF.
const RATE: u32 = 50;

/// Nothing may be lost towards the guest. In software emulation the guest's own driver now and then
/// resets the VF a moment after it came up, which nobody outside can see.
const ALLOWED_TO_GUEST: u64 = 4;
