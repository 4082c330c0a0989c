//! The queue on the real kernel, with guards and agents that are processes of their own. They are this
//! test program again, with the name of one of its tests ([`guard_process`], [`agent_process`]).

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use accelnet_model::MacAddr;

use super::*;
use crate::{
    Host,
    linux::{
        Linux, hold_guard, link,
        own_network::{Listener, cable, in_own_network, name, send, skipped},
        uapi::RTM_DELLINK,
    },
};

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const LONG: Duration = Duration::from_secs(50);

fn arguments(test: &str) -> Vec<String> {
    // Two threads: with one the runner writes before the test's first line.
    let all = ["--ignored", "--exact", "--nocapture", "--test-threads=2"].map(str::to_owned);
    let test = format!("linux::hold_queue::tests::{test}");
    all.into_iter().chain([test]).collect()
}

fn agent() -> Linux {
    let program = std::env::current_exe().unwrap();
    Linux::new().with_guard(program, arguments("guard_process"))
}

#[test]
#[ignore = "the guard of other tests"]
fn guard_process() {
    hold_guard::serve().unwrap();
}

#[test]
#[ignore = "the agent of other tests, which is killed"]
fn agent_process() {
    let agent = agent();
    hold(&agent, LONG);
    println!("held");
    // Until it is killed.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn hold(agent: &Linux, limit: Duration) {
    let wanted = HoldQueue::Hold { limit };
    agent.ensure_hold_queue(&name("t0"), wanted).unwrap();
}

fn pass(agent: &Linux) {
    let done = agent.ensure_hold_queue(&name("t0"), HoldQueue::Pass);
    done.unwrap();
}

/// A tap `t0` and its guest `g0`.
fn tap() {
    cable("t0", Some("g0"));
    for end in ["t0", "g0"] {
        link::set_up(&name(end)).unwrap();
    }
}

/// With an agent and a tap in a network of their own, if the kernel has the discipline.
fn with_tap(test: impl FnOnce(Linux) + Send + 'static) {
    in_own_network(|_| {
        tap();
        let agent = agent();
        match agent.ensure_hold_queue(&name("t0"), HoldQueue::Pass) {
            Err(error) if error.is_unsupported() => {
                skipped("the hold queue", &error.to_string());
            }
            other => {
                other.unwrap();
                test(agent);
            }
        }
    });
}

fn to_guest() {
    send("t0", GUEST, GUEST);
}

#[test]
fn frames_wait_and_pass_on_in_order() {
    with_tap(|agent| {
        let guest = Listener::at("g0");
        to_guest();
        assert!(guest.hears(5000), "a new queue passes");
        hold(&agent, LONG);
        for _ in 0..3 {
            to_guest();
        }
        assert!(!guest.hears(200));
        hold(&agent, LONG);
        pass(&agent);
        for _ in 0..3 {
            assert!(guest.hears(5000));
        }
        to_guest();
        assert!(guest.hears(5000));
    });
}

#[test]
fn an_agent_that_hangs_holds_until_the_deadline_only() {
    with_tap(|agent| {
        let guest = Listener::at("g0");
        let begun = Instant::now();
        hold(&agent, Duration::from_millis(700));
        to_guest();
        assert!(guest.hears(5000));
        let held = begun.elapsed();
        assert!(held >= Duration::from_millis(690), "{held:?}");
        assert!(held < Duration::from_millis(1700), "{held:?}");
        // The next hold is another one.
        hold(&agent, LONG);
        to_guest();
        assert!(!guest.hears(1000));
    });
}

#[test]
fn frames_pass_when_the_agent_is_killed() {
    with_tap(|_| {
        let guest = Listener::at("g0");
        let mut killed = Command::new(std::env::current_exe().unwrap())
            .args(arguments("agent_process"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(killed.stdout.take().unwrap()).lines();
        let mut lines = lines.map(|line| line.unwrap());
        let held = lines.any(|line| line == "held");
        assert!(held);
        to_guest();
        assert!(!guest.hears(300));
        // SIGKILL
        killed.kill().unwrap();
        assert!(guest.hears(1000), "the guard lets go at once");
        killed.wait().unwrap();
    });
}

#[test]
fn whoever_comes_after_lets_go_of_what_was_left() {
    with_tap(|agent| {
        let guest = Listener::at("g0");
        hold(&agent, LONG);
        to_guest();
        assert!(!guest.hears(200));
        assert_eq!(hold_guard::release_all(), Ok(1));
        assert!(guest.hears(5000));
    });
}

#[test]
fn without_guard_nothing_is_held() {
    with_tap(|_| {
        let guest = Listener::at("g0");
        let wanted = HoldQueue::Hold { limit: LONG };
        let error = Linux::new()
            .ensure_hold_queue(&name("t0"), wanted)
            .unwrap_err();
        assert!(matches!(error, HostError::Unguarded { .. }), "{error}");
        to_guest();
        assert!(guest.hears(5000));
    });
}

/// Another's discipline at the root: kind, handle, options.
fn put_another(kind: &str, handle: u32, options: &[u8]) -> Result<()> {
    let mut message = tcmsg(ifindex(&name("t0"))?, handle, TC_H_ROOT);
    push(&mut message, TCA_KIND, format!("{kind}\0").as_bytes());
    push(&mut message, TCA_OPTIONS, options);
    let mut netlink = Netlink::route()?;
    netlink.request("another's", RTM_NEWQDISC, CREATE | REPLACE, &message)?;
    Ok(())
}

/// What is at the root of `t0`.
fn root() -> String {
    let found = qdisc::of(ifindex(&name("t0")).unwrap()).unwrap();
    found.iter().map(Qdisc::in_words).collect()
}

#[test]
fn what_others_put_there_is_not_replaced() {
    in_own_network(|_| {
        tap();
        let agent = agent();
        // struct tc_fifo_qopt: the limit.
        put_another("pfifo", 0x1_0000, &10u32.to_ne_bytes()).unwrap();
        for wanted in [HoldQueue::Pass, HoldQueue::Hold { limit: LONG }] {
            let error = agent.ensure_hold_queue(&name("t0"), wanted).unwrap_err();
            assert!(matches!(error, HostError::ForeignQdisc { .. }), "{error}");
        }
        assert!(root().starts_with("qdisc pfifo 1: root"), "{}", root());
    });
}

#[test]
fn the_harmless_is_replaced() {
    with_tap(|_| {
        let libvirts = 0x1_0000;
        put_another("pfifo", libvirts, &1000u32.to_ne_bytes()).unwrap();
        pass(&agent());
        assert_eq!(root(), "qdisc plug acc1: root");
    });
}

#[test]
fn anothers_queue_is_not_let_go_of() {
    with_tap(|_| {
        let guest = Listener::at("g0");
        let mut options = TCQ_PLUG_LIMIT.to_ne_bytes().to_vec();
        options.extend(LIMIT_BYTES.to_ne_bytes());
        put_another("plug", 0x8001_0000, &options).unwrap();
        to_guest();
        let mut netlink = Netlink::route().unwrap();
        let index = ifindex(&name("t0")).unwrap();
        assert_eq!(release(&mut netlink, index), Ok(()));
        assert_eq!(hold_guard::release_all(), Ok(0));
        assert!(!guest.hears(300));
        assert_eq!(release(&mut netlink, 4711), Ok(()), "no such interface");
    });
}

#[test]
fn a_tap_made_anew_under_its_name_is_held_until_its_own_deadline_only() {
    with_tap(|agent| {
        hold(&agent, Duration::from_millis(600));
        let mut netlink = Netlink::route().unwrap();
        let old = ifinfomsg(ifindex(&name("t0")).unwrap(), 0, 0);
        netlink.request("unmake", RTM_DELLINK, 0, &old).unwrap();
        tap();
        let guest = Listener::at("g0");
        to_guest();
        assert!(guest.hears(5000), "nothing is on it");
        let begun = Instant::now();
        hold(&agent, Duration::from_millis(1200));
        to_guest();
        assert!(guest.hears(5000));
        let held = begun.elapsed();
        assert!(held >= Duration::from_millis(1190), "{held:?}");
        assert!(held < Duration::from_millis(2200), "{held:?}");
    });
}
