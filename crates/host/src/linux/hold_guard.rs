//! What outlives the agent and lets go of the hold queues: a process of its own, at the end of a pipe.
//!
//! | who dies, or hangs | who lets go |
//! |---|---|
//! | agent hangs | guard, at each hold's deadline |
//! | agent dies (`kill -9`, out of memory) | guard, at once: its pipe ends |
//! | guard | agent at its end of the switch-over; the next hold starts another guard, which is told of those under way |
//! | both, by systemd | `accelnetd release-holds` (`ExecStopPost=`) |
//! | both | the next agent, which drains what it finds |
//!
//! A hold is registered, and that acknowledged, before its queue holds. Lines of text:
//!
//! ```text
//!   agent ─► guard   hold INTERFACE MILLISECONDS     (a second one for the same interface replaces it)
//!   agent ◄─ guard   holding INTERFACE
//!   agent ─► guard   released INTERFACE
//! ```
//!
//! Interfaces go by number, which the kernel does not give again to another one soon
//! (net/core/dev.c, `dev_index_reserve`); and where there is no queue of ours nothing is released.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{deadline, hold_queue, netlink::Netlink};
use crate::{HostError, Result};

/// No hold is longer, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(60);
/// How long until a release that failed (no memory) is tried again, and how often at the end.
const AGAIN: Duration = Duration::from_millis(50);
const TRIES_AT_THE_END: u32 = 100;

/// Lets go of every hold queue of ours on this machine, whoever made it hold, and says how many there
/// are.
pub fn release_all() -> Result<usize> {
    hold_queue::release_all()
}

/// Guards the holds that are told by standard input, until it ends; then lets go of those that are left.
///
/// Signals by which a service or a terminal is ended do not end it: the agent, which gets them too, may
/// have holds to come to the end of.
pub fn serve() -> Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Opened now, so that no shortage of anything keeps it from letting go later.
    let mut netlink = Netlink::route_alone()?;
    guard(io::stdin().as_fd(), &mut io::stdout(), &mut |interface| {
        hold_queue::release(&mut netlink, interface)
    })
}

/// Deadlines by interface.
type Holds = BTreeMap<u32, Instant>;
type Release<'a> = &'a mut dyn FnMut(u32) -> Result<()>;

fn guard(requests: BorrowedFd<'_>, answers: &mut dyn Write, release: Release<'_>) -> Result<()> {
    let mut holds = Holds::new();
    let told = follow(requests, answers, release, &mut holds);
    for _ in 0..TRIES_AT_THE_END {
        holds.retain(|interface, _| let_go(release, *interface).is_err());
        if holds.is_empty() {
            break;
        }
        deadline::pause(AGAIN);
    }
    told
}

/// Until the requests end.
fn follow(
    requests: BorrowedFd<'_>,
    answers: &mut dyn Write,
    release: Release<'_>,
    holds: &mut Holds,
) -> Result<()> {
    let (mut line, mut bytes) = (Vec::new(), [0; 512]);
    loop {
        let left = next(holds).map(|end| end.saturating_duration_since(Instant::now()));
        if readable(requests, left)? {
            let length = match rustix::io::read(requests, &mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(Errno::INTR | Errno::AGAIN) => 0,
                Err(errno) => return Err(failed(errno)),
            };
            for byte in &bytes[..length] {
                if *byte == b'\n' {
                    take(&line, answers, holds)?;
                    line.clear();
                } else {
                    line.push(*byte);
                }
            }
        }
        let now = Instant::now();
        holds.retain(|interface, end| {
            if *end > now {
                return true;
            }
            let failed = let_go(release, *interface).is_err();
            *end = now + AGAIN;
            failed
        });
    }
}

fn next(holds: &Holds) -> Option<Instant> {
    holds.values().min().copied()
}

fn let_go(release: Release<'_>, interface: u32) -> Result<()> {
    release(interface).inspect_err(|error| tracing::warn!(%error, "frames are held too long"))
}

/// Waits for so long, or for ever.
fn readable(requests: BorrowedFd<'_>, left: Option<Duration>) -> Result<bool> {
    let timeout = left.map(Timespec::try_from).transpose();
    let timeout = timeout.map_err(|_| HostError::Malformed(format!("{left:?} is too long")))?;
    let mut ready = [PollFd::new(&requests, PollFlags::IN)];
    match poll(&mut ready, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

fn failed(errno: Errno) -> HostError {
    HostError::io("read what to hold", &errno.into())
}

fn take(line: &[u8], answers: &mut dyn Write, holds: &mut Holds) -> Result<()> {
    let text = String::from_utf8_lossy(line);
    let nonsense = || HostError::Malformed(format!("the guard was told '{text}'"));
    let mut words = text.split(' ');
    let verb = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse().ok());
    let interface: u32 = number().ok_or_else(nonsense)?;
    match (verb, number()) {
        ("hold", Some(milliseconds)) => {
            let limit = Duration::from_millis(milliseconds.into()).min(LONGEST);
            holds.insert(interface, Instant::now() + limit);
            // Who cannot be answered is gone, which the next read shows.
            let answer = format!("holding {interface}\n");
            if let Err(error) = answers.write_all(answer.as_bytes()).and(answers.flush()) {
                tracing::debug!(%error, "nobody hears the guard");
            }
        }
        ("released", None) => drop(holds.remove(&interface)),
        _ => return Err(nonsense()),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
