//! The agent's end of the guard's pipe.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// How long the guard may take to start, or to answer: a process is started and two pipes are written
/// to, some milliseconds on a machine that can do anything at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the guard, and tells it what is held.
#[derive(Debug, Default)]
pub struct Guard {
    /// Program and arguments; without them there is no guard.
    command: Option<(PathBuf, Vec<String>)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    /// What the guard was told, to tell it the next if it dies: deadlines by interface.
    holds: BTreeMap<u32, Instant>,
}

impl Guard {
    /// A guard that this program is, when it is called with these arguments.
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            command: Some((program, arguments)),
            state: Mutex::default(),
        }
    }

    /// The guard knows of a hold that begins now, and lets go of it at its end. The error says in words
    /// why there is no guard; nothing must be held then.
    pub fn hold(&self, interface: u32, limit: Duration) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let now = Instant::now();
        state.holds.retain(|_, end| *end > now);
        let told = state.running.as_mut().map(|one| one.hold(interface, limit));
        if !matches!(told, Some(Ok(()))) {
            if let Some(Err(error)) = told {
                tracing::warn!(%error, "the guard of the hold queues is gone, another is started");
            }
            let mut new = self.start()?;
            let failed = |error: io::Error| format!("the guard: {error}");
            new.hold(interface, limit).map_err(failed)?;
            for (other, end) in state.holds.iter().filter(|(other, _)| **other != interface) {
                let left = end.saturating_duration_since(Instant::now());
                new.hold(*other, left).map_err(failed)?;
            }
            // The one before hangs, or is dead: all that it had to let go of is the new one's now.
            if let Some(mut before) = state.running.replace(new) {
                before.kill();
            }
        }
        state.holds.insert(interface, now + limit);
        Ok(())
    }

    /// Starts one that does not run, and waits for nothing: to load a program takes a busy machine longer
    /// than a switch-over has time. While something is held the next hold does it, and waits until the new one
    /// knows of all of them.
    pub fn ready(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.holds.is_empty() {
            return;
        }
        let runs = |one: &mut Running| matches!(one.child.try_wait(), Ok(None));
        if self.command.is_none() || state.running.as_mut().is_some_and(runs) {
            return;
        }
        match self.start() {
            Ok(new) => state.running = Some(new),
            Err(why) => tracing::warn!(why, "no frames can be held"),
        }
    }

    fn start(&self) -> Result<Running, String> {
        let Some((program, arguments)) = &self.command else {
            return Err("none is set up".to_owned());
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What is typed to end the agent is not for it.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{}: no pipes", program.display()));
        };
        Ok(Running {
            requests: Some(requests),
            answers,
            child,
            unread: Vec::new(),
            answered: false,
        })
    }

    /// The queue on this interface passes again. A guard that is gone has nothing to forget.
    pub fn released(&self, interface: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.holds.remove(&interface);
        if let Some(running) = &mut state.running
            && let Err(error) = running.tell(&format!("released {interface}\n"))
        {
            tracing::debug!(%error, "the guard of the hold queues");
        }
    }
}

/// A guard process.
#[derive(Debug)]
struct Running {
    child: Child,
    /// None at its end only.
    requests: Option<ChildStdin>,
    answers: ChildStdout,
    unread: Vec<u8>,
    /// It has said once that it holds something.
    answered: bool,
}

impl Running {
    fn tell(&mut self, line: &str) -> io::Result<()> {
        let Some(requests) = &mut self.requests else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // A guard that does not read must not stop the agent too.
        rustix::io::ioctl_fionbio(&*requests, true)?;
        requests.write_all(line.as_bytes())
    }

    /// Tells of a hold, and waits until the guard says that it knows.
    fn hold(&mut self, interface: u32, limit: Duration) -> io::Result<()> {
        let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.tell(&format!("hold {interface} {milliseconds}\n"))?;
        let (wanted, deadline) = (format!("holding {interface}"), Instant::now() + PATIENCE);
        while let Some(line) = self.line(deadline)? {
            if line == wanted.as_bytes() {
                self.answered = true;
                return Ok(());
            }
        }
        Err(io::Error::other("it does not answer"))
    }

    fn kill(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::debug!(%error, "a guard of the hold queues that was given up");
        }
    }

    /// The next line of its answers; None if there is none by then, or it ended.
    fn line(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if !self.ready(deadline)? {
                return Ok(None);
            }
            let mut bytes = [0; 256];
            match self.answers.read(&mut bytes)? {
                0 => return Ok(None),
                length => self.unread.extend(&bytes[..length]),
            }
        }
    }

    /// Something can be read of it, or it ended.
    fn ready(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let answers = self.answers.as_fd();
            match poll(&mut [PollFd::new(&answers, PollFlags::IN)], Some(&timeout)) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Running {
    /// It lets go of what is held and ends, since its pipe does. One that does not end is left to itself:
    /// killed it would let go of nothing. One that never answered has nothing to let go of.
    fn drop(&mut self) {
        self.requests = None;
        if !self.answered {
            self.kill();
        }
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            match self.line(deadline) {
                Ok(Some(_)) => {}
                Ok(None) => break Instant::now() < deadline,
                Err(_) => break false,
            }
        };
        let reaped = if ended {
            self.child.wait().map(Some)
        } else {
            self.child.try_wait()
        };
        if let Err(error) = reaped {
            tracing::debug!(%error, "the guard of the hold queues");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::linux::deadline;

    /// A guard that only notes what it is told.
    fn scribe(directory: &std::path::Path, answer: &str) -> (Guard, PathBuf) {
        let notes = directory.join("notes");
        let script = format!(
            "while read verb rest; do echo $verb $rest >> {0}; set -- $rest; {answer}; done; \
             echo end >> {0}",
            notes.display()
        );
        let arguments = vec!["-c".to_owned(), script];
        (Guard::new("/bin/sh".into(), arguments), notes)
    }

    fn lines(notes: &std::path::Path, count: usize) -> Vec<String> {
        deadline::wait_for("notes", Duration::from_secs(10), || {
            let text = fs::read_to_string(notes).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            Ok((lines.len() >= count).then_some(lines))
        })
        .unwrap()
    }

    const ANSWER: &str = "test $verb != hold || echo holding $1";
    const LIMIT: Duration = Duration::from_secs(50);

    #[test]
    fn a_guard_is_told_and_ends_with_its_client() {
        let directory = tempfile::tempdir().unwrap();
        let (guard, notes) = scribe(directory.path(), ANSWER);
        guard.hold(7, LIMIT).unwrap();
        guard.hold(8, Duration::from_millis(1500)).unwrap();
        guard.released(7);
        drop(guard);
        let told = lines(&notes, 4);
        assert_eq!(told, ["hold 7 50000", "hold 8 1500", "released 7", "end"]);
    }

    #[test]
    fn one_that_died_is_replaced_and_the_next_told_of_what_is_still_held() {
        let directory = tempfile::tempdir().unwrap();
        let (guard, notes) = scribe(directory.path(), ANSWER);
        guard.hold(7, LIMIT).unwrap();
        guard.hold(8, LIMIT).unwrap();
        guard.hold(9, Duration::ZERO).unwrap();
        guard.released(8);
        lines(&notes, 4);
        {
            let mut state = guard.state.lock().unwrap();
            let running = state.running.as_mut().unwrap();
            running.kill();
            running.child.wait().unwrap();
        }
        fs::remove_file(&notes).unwrap();
        guard.released(6);
        guard.hold(5, LIMIT).unwrap();
        let told = lines(&notes, 2);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "hold 5 50000");
        let left: u64 = told[1].strip_prefix("hold 7 ").unwrap().parse().unwrap();
        assert!(left < 50_000 && left > 20_000, "what is left of it: {left}");
    }

    #[test]
    fn one_is_there_before_it_is_needed_and_again_after_it_died() {
        let directory = tempfile::tempdir().unwrap();
        let (guard, notes) = scribe(directory.path(), ANSWER);
        let process = || {
            let mut state = guard.state.lock().unwrap();
            state.running.as_mut().map(|running| running.child.id())
        };
        guard.ready();
        let first = process();
        assert!(first.is_some());
        guard.ready();
        guard.hold(7, LIMIT).unwrap();
        assert_eq!(process(), first);
        assert_eq!(lines(&notes, 1), ["hold 7 50000"]);
        {
            let mut state = guard.state.lock().unwrap();
            let running = state.running.as_mut().unwrap();
            running.kill();
            running.child.wait().unwrap();
        }
        // The next hold tells it of what is held.
        guard.ready();
        assert_eq!(process(), first);
        guard.released(7);
        guard.ready();
        assert_ne!(process(), first);
    }

    #[test]
    fn nothing_is_held_without_a_guard_that_answers() {
        let error = Guard::default().hold(7, LIMIT).unwrap_err();
        assert_eq!(error, "none is set up");
        let absent = Guard::new("/no/such/program".into(), Vec::new());
        let error = absent.hold(7, LIMIT).unwrap_err();
        assert!(error.contains("/no/such/program"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        for answer in ["exit", "true"] {
            let (mute, _) = scribe(directory.path(), answer);
            let error = mute.hold(7, LIMIT).unwrap_err();
            assert!(error.contains("does not answer"), "{error}");
        }
    }
}
