//! One connection to libvirt, renewed when it breaks.
//!
//! It is opened by a thread of its own, since nothing bounds that: a daemon that stands still takes the
//! connection and never answers. Whoever needs it waits for a while and goes on without. No lock is held
//! across a call to libvirt, so that a call that does not come back holds up nobody else's.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use virt::connect::Connect;

use super::{
    events::{self, Sink},
    refusal::unsupported,
};
use crate::{HypervisorError, HypervisorEvent, Result};

/// Seconds between keepalive messages, and how many may go unanswered: a daemon that hangs is given
/// up after about half a minute (libvirt's own default for clients is 5 s × 5).
pub const KEEPALIVE: (i32, u32) = (5, 6);

/// How long a caller waits for the connection: a daemon that is being started by its socket takes
/// a few seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connection.
#[derive(Debug)]
pub struct Connection {
    uri: String,
    shared: Arc<Shared>,
    sink: Arc<Sink>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Connect>,
    /// A thread is opening it.
    opening: bool,
    /// How the last attempt failed, and how many attempts have come to an end.
    failed: Option<HypervisorError>,
    attempts: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// To this URI; not connected yet.
    pub fn new(uri: &str, sink: Arc<Sink>) -> Self {
        Self {
            uri: uri.to_owned(),
            shared: Arc::default(),
            sink,
        }
    }

    /// The connection, opened (again) if need be; an error after [`PATIENCE`] at the latest.
    pub fn get(&self) -> Result<Connect> {
        let current = self.shared.lock().current.clone();
        if let Some(connection) = current {
            // What the client knows; asks nobody.
            if connection.is_alive().unwrap_or(false) {
                return Ok(connection);
            }
            self.forget(&connection);
        }
        self.open()
    }

    /// Forgets a connection that broke, unless it has been renewed meanwhile.
    fn forget(&self, broken: &Connect) {
        let mut state = self.shared.lock();
        // Told in the order in which it happens: under the lock.
        if state
            .current
            .take_if(|current| same(current, broken))
            .is_some()
        {
            self.sink.publish(HypervisorEvent::Disconnected);
        }
    }

    /// Has it opened, or waits for whoever does already.
    fn open(&self) -> Result<Connect> {
        let start = Instant::now();
        let mut state = self.shared.lock();
        let attempts = state.attempts;
        if state.current.is_none() && !state.opening {
            state.opening = true;
            let (uri, shared) = (self.uri.clone(), Arc::clone(&self.shared));
            let sink = Arc::clone(&self.sink);
            thread::spawn(move || shared.end(connect(&uri, &sink), &sink));
        }
        loop {
            if let Some(connection) = &state.current {
                return Ok(connection.clone());
            }
            if let Some(error) = state.failed.as_ref().filter(|_| state.attempts > attempts) {
                return Err(error.clone());
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            if left.is_zero() {
                let text = "it takes the connection, and says nothing";
                return Err(HypervisorError::Unavailable(text.to_owned()));
            }
            (state, _) = self
                .shared
                .opened
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    /// The attempt is over.
    fn end(&self, attempt: Result<Connect>, sink: &Sink) {
        let mut state = self.lock();
        state.opening = false;
        state.attempts += 1;
        match attempt {
            Ok(connection) => {
                state.current = Some(connection);
                sink.publish(HypervisorEvent::Connected);
            }
            Err(error) => state.failed = Some(error),
        }
        drop(state);
        self.opened.notify_all();
    }
}

fn connect(uri: &str, sink: &Arc<Sink>) -> Result<Connect> {
    events::start_loop();
    let unavailable =
        |error: virt::error::Error| HypervisorError::Unavailable(error.message().to_owned());
    let connection = Connect::open(Some(uri)).map_err(unavailable)?;
    // Drivers within the process (the test driver) know no keepalive, and need none.
    if let Err(error) = connection.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1)
        && !unsupported(&error)
    {
        return Err(unavailable(error));
    }
    events::register(&connection, sink)?;
    Ok(connection)
}

/// The same connection, not just to the same daemon.
fn same(one: &Connect, other: &Connect) -> bool {
    // SAFETY: the pointers are compared only.
    unsafe { one.as_ptr() == other.as_ptr() }
}
