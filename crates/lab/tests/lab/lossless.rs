//! A VM goes to its VF and back, again and again, under every kind of traffic: what is lost, and in which step.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use accelnet_lab::{kvm::Accel, probe::analysis::Direction};

use crate::{
    reach::{link_local, longer_s},
    rig::{Rig, words},
};

/// How often it goes there or back; another number: `ACCELNET_LAB_SWITCHES`.
const SWITCHES: u32 = 50;
/// Numbered packets a second each way; another number: `ACCELNET_LAB_PPS`.
const PPS: u32 = 1000;
/// Frames that the guest's own kernel drops are counted there, but for what its emulated VF does a moment after it came
/// up, which nobody outside can see: so many a hundred switches.
const UNSEEN_PER_100: u64 = 10;
/// A step is told of up to so long after it: who receives is a guest, on the same processors.
const AFTER_S: f64 = 0.5;

/// Less than 64 KiB of packets wait in the guest for who counts them (/proc/net/udp: `tx_queue:rx_queue`, hexadecimal;
/// its port is 5001). An emulated processor that is on a switch-over has no time for them, and there is room for a
/// minute of them only.
const CAUGHT_UP: &str = "for n in $(seq 300); do \
     awk '$2 ~ /:1389$/ { exit substr($5, 10, 4) != \"0000\" }' /proc/net/udp && exit 0; sleep 0.2; done; exit 1";

fn number(variable: &str, usual: u32) -> u32 {
    let said = std::env::var(variable).ok();
    said.map_or(usual, |said| said.parse().unwrap())
}

/// What the host calls all the time, and from where vm1 answers.
struct Call {
    name: &'static str,
    ping: &'static str,
    answers_from: String,
}

fn calls(rig: &Rig) -> Vec<Call> {
    let link_local = link_local(rig, "vm1");
    let call = |name, ping, from: &str| Call {
        name,
        ping,
        answers_from: from.to_owned(),
    };
    vec![
        call("IPv4", "ping -i 0.2 10.77.0.101", "10.77.0.101"),
        call("IPv6", "ping -6 -i 0.2 fd77::101", "fd77::101"),
        call("broadcast", "ping -b -i 0.5 10.77.0.255", "10.77.0.101"),
        call("multicast", "ping -6 -i 0.5 -I br0 ff02::1", &link_local),
    ]
}

/// There and back under numbered packets both ways, calls of the host by IPv4, IPv6, broadcast and multicast, and a TCP
/// stream to the guest.
pub fn many_switches(rig: &mut Rig) {
    let pps = number("ACCELNET_LAB_PPS", PPS);
    let switches = number("ACCELNET_LAB_SWITCHES", SWITCHES);
    // The first time costs what no later one does: memory is pinned, drivers are loaded.
    rig.json(&words("vm enable vm1 -p Low"));
    rig.json(&words("vm disable vm1"));

    let calls = calls(rig);
    rig.guest("vm1", "sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0");
    rig.guest(
        "vm1",
        "(nc -l -p 5002 | wc -c > /tmp/stream) > /dev/null 2>&1 < /dev/null &",
    );
    rig.node(
        "rm -f /tmp/stream.*; cat > /tmp/stream.sh <<'SH'\n\
         exec 3<>/dev/tcp/10.77.0.101/5002 || exit 1\n\
         n=0; until [ -e /tmp/stream.stop ]; do head -c 1000 /dev/zero >&3 || exit 1; n=$((n + 1)); sleep 0.05; done\n\
         echo $((n * 1000)) > /tmp/stream.sent\n\
         SH\n\
         bash /tmp/stream.sh > /dev/null 2>&1 < /dev/null &",
    );
    for Call { name, ping, .. } in &calls {
        rig.node(&format!(
            "{ping} > /tmp/call.{name} 2>&1 < /dev/null & echo $! > /tmp/call.{name}.pid"
        ));
    }
    if rig.lab.accel == Accel::Tcg {
        // An emulated node has one processor: two of a guest's only take it from each other.
        rig.guest("vm1", "echo 0 > /sys/devices/system/cpu/cpu1/online");
        // What it is late with waits, instead of being lost by who counts: 64 MiB in pages.
        rig.guest("vm1", "sysctl -qw net.ipv4.udp_mem='16384 16384 16384'");
    }
    let ahead_s = ahead_s(rig);
    let longer_before_s = longer_s(rig);
    let dropped_before = dropped_by_the_guest(rig);
    let probe = rig.lab.start_probe("vm1", pps).unwrap();
    for number in 0..switches {
        let line = ["vm enable vm1 -p Low", "vm disable vm1"][number as usize % 2];
        let run = rig.accelnet(&words(line));
        assert_eq!(run.code, 0, "{line}: {run:?}");
        rig.guest("vm1", CAUGHT_UP);
    }
    let report = probe.stop().unwrap().all();
    let dropped = dropped_by_the_guest(rig).saturating_sub(dropped_before);
    let longer_s = longer_s(rig) - longer_before_s;
    rig.node("touch /tmp/stream.stop");

    let steps = Steps::since(rig, report.began_unix_s + ahead_s);
    eprintln!(
        "           {switches} switches at {pps}/s each way in {:.0} s: lost {} of {} to the guest, whose kernel dropped \
         {dropped}, and {} of {} from it, which had no time to send {} more",
        report.seconds,
        report.to_guest.lost,
        report.to_guest.sent,
        report.from_guest.lost,
        report.from_guest.sent,
        report.from_guest.not_sent,
    );
    for (way, direction) in [("to", &report.to_guest), ("from", &report.from_guest)] {
        for (step, packets) in steps.of(direction, report.began_unix_s + ahead_s) {
            eprintln!("           {way} the guest: {packets} lost {step}");
            // What the guest's kernel drops while it takes its VF or gives it up is its own; anything else would be ours
            // (docs/reference/switch-over.md).
            let its_own = way == "from" && ["Plug", "Unplug"].iter().any(|its| step.contains(its));
            assert!(way == "to" || its_own, "{way} the guest: {packets} {step}");
            assert_ne!(step, BETWEEN, "{way} the guest: {packets}");
        }
    }
    let slow = (longer_s * f64::from(pps)) as u64;
    let unseen = u64::from(switches) * UNSEEN_PER_100 / 100;
    assert!(
        report.to_guest.lost <= dropped + unseen + slow,
        "{:?}",
        report.to_guest
    );
    for call in &calls {
        let (sent, answered) = ended(rig, call);
        eprintln!(
            "           {}: {answered} of {sent} are answered",
            call.name
        );
        let may_miss = f64::from(switches) / 5.0 + 4.0 + longer_s * 5.0;
        assert!(
            sent > 0 && sent.saturating_sub(answered) <= may_miss as u64,
            "{}",
            call.name
        );
    }
    rig.until(30, "test -s /tmp/stream.sent");
    let sent = rig.node("cat /tmp/stream.sent");
    let received = rig.guest(
        "vm1",
        "for n in $(seq 50); do [ -s /tmp/stream ] && break; sleep 0.2; done; cat /tmp/stream",
    );
    eprintln!("           TCP: {} bytes", sent.trim());
    assert_eq!(sent.trim(), received.trim());
}

/// How far the node's clock is ahead of this machine's.
fn ahead_s(rig: &Rig) -> f64 {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    };
    let before = now();
    let there: f64 = rig.node("date +%s.%N").trim().parse().unwrap();
    there - (before + now()) / 2.0
}

/// Frames that the guest's kernel took and dropped: net_failover discards what comes by the standby while there is a
/// primary.
fn dropped_by_the_guest(rig: &Rig) -> u64 {
    let dropped = rig.guest(
        "vm1",
        "cat /sys/class/net/*/statistics/rx_dropped | awk '{ n += $1 } END { print n }'",
    );
    dropped.trim().parse().unwrap()
}

/// Ends a call: how many went out, and how many of them the VM answered.
fn ended(rig: &Rig, call: &Call) -> (u64, u64) {
    let Call {
        name, answers_from, ..
    } = call;
    let counted = rig.node(&format!(
        "kill -INT $(cat /tmp/call.{name}.pid); until grep -q transmitted /tmp/call.{name}; do sleep 0.1; done\n\
         sed -n 's/^\\([0-9]*\\) packets transmitted.*/\\1/p' /tmp/call.{name}\n\
         grep 'from {answers_from}' /tmp/call.{name} | grep -o 'seq=[0-9]*' | sort -u | wc -l"
    ));
    let mut counted = counted.lines().map(|count| count.trim().parse().unwrap());
    (counted.next().unwrap(), counted.next().unwrap())
}

const BETWEEN: &str = "while nothing was done";
const OVER: &str = "as it was over";

/// What the agent did, and when, by the node's clock.
struct Steps(Vec<(f64, String)>);

impl Steps {
    fn since(rig: &Rig, unix_s: f64) -> Self {
        let log = rig.node(&format!(
            "journalctl -u accelnetd -o short-unix --no-pager --since @{unix_s:.0} | grep -E 'action=|switch-over'"
        ));
        let mut going = String::new();
        let steps = log.lines().filter_map(|line| {
            let at: f64 = line.split_whitespace().next()?.parse().ok()?;
            let after = |what: &str| {
                let rest = line.split_once(what)?.1;
                Some(rest.split([' ', '{']).next()?.to_owned())
            };
            let step = match (after("action="), after("going=")) {
                (Some(action), _) => format!("after {action}{going}"),
                (None, Some(way)) if line.contains("begins") => {
                    going = format!(", going {way}");
                    format!("as it began{going}")
                }
                _ => {
                    let step = format!("{OVER}{going}");
                    going.clear();
                    step
                }
            };
            Some((at, step))
        });
        Self(steps.collect())
    }

    /// How many packets were lost after which step.
    fn of(&self, direction: &Direction, began_unix_s: f64) -> BTreeMap<String, u32> {
        let mut lost = BTreeMap::new();
        for outage in &direction.outages {
            let from = began_unix_s + outage.start_s;
            let step = self.at(from, from + outage.length_ms / 1000.0);
            *lost.entry(step).or_default() += outage.packets;
        }
        lost
    }

    /// The last step before; where there was none for long, the first one until the end.
    fn at(&self, from: f64, end: f64) -> String {
        let next = self.0.partition_point(|(at, _)| *at <= from);
        let last = next.checked_sub(1).map(|last| &self.0[last]);
        match last {
            Some((at, step)) if !step.starts_with(OVER) || from <= at + AFTER_S => step.clone(),
            _ => match self.0.get(next).filter(|(at, _)| *at <= end + AFTER_S) {
                Some((_, step)) => format!("before: {step}"),
                None => BETWEEN.to_owned(),
            },
        }
    }
}
