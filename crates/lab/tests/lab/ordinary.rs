//! Ordinary work, and what is told meanwhile: nothing, since nothing is wrong. A fault that opens here is a false alarm.

use std::time::{Duration, Instant};

use accelnet_lab::lab::{Place, guests::wait_until_up, wait};
use serde_json::Value;

use crate::rig::{Rig, words};

/// How long, in minutes: `ACCELNET_LAB_MINUTES`.
const MINUTES: u32 = 60;
/// Echoes a second to each VM all the time, as somebody's monitoring asks.
const PPS: u32 = 2;
/// What lasts for shorter than this after a piece of work is no fault by any detection.
const QUIET: Duration = Duration::from_secs(30);

/// A piece of work: its name, and how it is done.
type Work = (&'static str, fn(&mut Rig));

/// What people and their tools do with a host within that time, evenly spread: each VM changes its path fewer than
/// the ten times an hour that are told of (`vf_switches_often`), as nobody does more by hand.
const WORK: [Work; 8] = [
    ("another level", another_level),
    ("a guest starts anew", a_guest_starts_anew),
    ("VMs are stopped and started", stopped_and_started),
    ("off its VF and on it", off_and_on),
    ("somebody looks", somebody_looks),
    ("libvirt is restarted", libvirt_is_restarted),
    ("a VM is parked and saved", parked_and_saved),
    ("accelnetd is restarted", accelnetd_is_restarted),
];

/// One thing after the other; then what was told is counted.
pub fn work(rig: &mut Rig) {
    let minutes = std::env::var("ACCELNET_LAB_MINUTES");
    let minutes = minutes.map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let each = Duration::from_secs(60) * minutes / u32::try_from(WORK.len()).unwrap();
    let since = rig.node("date -u +%FT%TZ");
    rig.json(&words("vm enable vm2 -p Low"));
    rig.until_path("vm2", "vf", 60);
    let to: Vec<_> = ["vm1", "vm2"]
        .map(|vm| rig.lab.guest(vm).unwrap().address())
        .to_vec();
    let calling = rig.lab.start_calling(Place::Wire, &to, PPS).unwrap();
    let begun = Instant::now();
    for (name, does) in WORK {
        let started = Instant::now();
        eprintln!("           [{:4} s] {name}", begun.elapsed().as_secs());
        does(rig);
        wait(each.saturating_sub(started.elapsed()).max(QUIET));
    }
    calling.stop().unwrap();
    let alarms = opened_since(rig, since.trim());
    eprintln!(
        "           {} min of ordinary work, {} faults",
        begun.elapsed().as_secs() / 60,
        alarms.len()
    );
    assert!(alarms.is_empty(), "{alarms:#?}");
    let healthy = rig.command(&words("accelnet hud"));
    assert!(
        healthy.out.starts_with("Healthy, no faults."),
        "{healthy:?}"
    );
}

/// Faults that have opened since then, whether or not they closed.
fn opened_since(rig: &Rig, since: &str) -> Vec<Value> {
    let events = rig.json(&["events", "--since", since, "--limit", "1000"]);
    let events = events["items"].as_array().unwrap();
    assert!(
        events.iter().any(|event| event["kind"] == "vm_switched"),
        "nothing is told at all: {events:?}"
    );
    let opened = events
        .iter()
        .filter(|event| event["kind"] == "fault_opened");
    opened.cloned().collect()
}

fn another_level(rig: &mut Rig) {
    for level in ["Medium", "Low"] {
        rig.json(&["vm", "set", "vm1", "-p", level]);
    }
    rig.until_path("vm1", "vf", 60);
}

fn a_guest_starts_anew(rig: &mut Rig) {
    rig.guest(
        "vm2",
        "setsid sh -c 'sleep 1; reboot -f' < /dev/null > /dev/null 2>&1 &",
    );
    let guest = rig.lab.guest("vm2").unwrap().clone();
    // It is down before it is up.
    let answers = format!("ping -q -c 1 -W 1 {} > /dev/null", guest.address());
    rig.until(60, &format!("! {answers}"));
    rig.node(&wait_until_up(&guest));
    rig.until_path("vm2", "vf", 180);
}

fn stopped_and_started(rig: &mut Rig) {
    for vm in ["vm1", "vm2"] {
        rig.node(&format!("virsh -q destroy {vm}; virsh -q start {vm}"));
        let guest = rig.lab.guest(vm).unwrap().clone();
        rig.node(&wait_until_up(&guest));
    }
    for vm in ["vm1", "vm2"] {
        rig.until_path(vm, "vf", 180);
    }
}

fn off_and_on(rig: &mut Rig) {
    rig.json(&words("vm disable vm1"));
    rig.json(&words("vm enable vm1 -p Low"));
    rig.until_path("vm1", "vf", 60);
}

fn parked_and_saved(rig: &mut Rig) {
    rig.json(&words("vm park vm2 --for 10m"));
    rig.node("virsh -q managedsave vm2 && virsh -q start vm2");
    rig.until_path("vm2", "synthetic", 120);
    rig.json(&words("vm unpark vm2"));
    rig.until_path("vm2", "vf", 120);
}

/// What administrators and their monitoring ask of a host.
fn somebody_looks(rig: &mut Rig) {
    rig.node(
        "virsh domstats > /dev/null; virsh dumpxml vm1 > /dev/null; ip -s -d link > /dev/null; \
         tc -s qdisc > /dev/null; nft list ruleset > /dev/null; bridge -d link > /dev/null; \
         accelnet prereq > /dev/null; accelnet vm explain vm1 > /dev/null; accelnet capacity > /dev/null",
    );
}

fn accelnetd_is_restarted(rig: &mut Rig) {
    rig.node("systemctl restart accelnetd");
    rig.until(60, "accelnet status > /dev/null 2>&1");
    rig.until_path("vm1", "vf", 60);
}

fn libvirt_is_restarted(rig: &mut Rig) {
    rig.node("systemctl restart libvirtd");
    rig.until_path("vm1", "vf", 90);
}
