//! Waiting for what the kernel gives no event for, and for the kernel itself.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{HostError, Result};

/// How long between two looks. Short against what is waited for (0.1 s to minutes), long against
/// the cost of a look (some microseconds).
const STEP: Duration = Duration::from_millis(20);

/// Looks until there is something, or `limit` has passed. `operation` says in words what is waited
/// for. An error ends it.
pub fn wait_for<T>(
    operation: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(HostError::Deadline {
                operation: operation.to_owned(),
                seconds: limit.as_secs(),
            });
        }
        pause(STEP);
    }
}

/// How many calls may be in the kernel at once: more than come together in good times, few enough that
/// those which are overdue do not pile up.
const MOST_AT_ONCE: usize = 64;

/// Calls that are in the kernel now.
static AT_ONCE: AtomicUsize = AtomicUsize::new(0);

/// Counts a call until it is over.
struct Counted;

impl Counted {
    fn new() -> Self {
        AT_ONCE.fetch_add(1, Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        AT_ONCE.fetch_sub(1, Relaxed);
    }
}

/// Makes a call into the kernel that may keep its thread for longer than anybody wants to wait. One that
/// is overdue goes on in its thread, and what it does may still be done; its result is lost.
pub fn bounded<T: Send + 'static>(
    operation: &str,
    limit: Duration,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let overdue = || HostError::Deadline {
        operation: operation.to_owned(),
        seconds: limit.as_secs(),
    };
    if AT_ONCE.load(Relaxed) >= MOST_AT_ONCE {
        return Err(overdue());
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let counted = Counted::new();
    let call = move || {
        let result = call();
        drop(counted);
        // Who does not wait any more has been told that it is overdue.
        let _ = sender.send(result);
    };
    thread::Builder::new()
        .name("kernel".into())
        .spawn(call)
        .map_err(|error| HostError::io(operation, &error))?;
    // Also an error if the call panicked.
    receiver
        .recv_timeout(limit)
        .unwrap_or_else(|_| Err(overdue()))
}

/// Sleeps.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that sleeps: sysfs attributes have no event to wait for"
)]
pub fn pause(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_thing_the_error_or_the_deadline() {
        let mut looks = 0;
        let third = wait_for("x", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(third, Ok(3));
        let never = wait_for::<()>("x", Duration::ZERO, || Ok(None));
        assert!(matches!(never, Err(HostError::Deadline { .. })));
        let failed = wait_for::<()>("x", Duration::from_secs(5), || {
            Err(HostError::Gone("y".into()))
        });
        assert_eq!(failed, Err(HostError::Gone("y".into())));
    }

    #[test]
    fn a_call_that_does_not_come_back_is_overdue_and_too_many_are_refused() {
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        let call = |limit| {
            let held = std::sync::Arc::clone(&held);
            // Until all senders are gone.
            bounded("x", limit, move || Ok(held.lock().unwrap().recv().is_err()))
        };
        for _ in 0..3 {
            let overdue = call(Duration::from_millis(1));
            assert!(matches!(overdue, Err(HostError::Deadline { .. })));
        }
        drop(release);
        assert_eq!(call(Duration::from_secs(10)), Ok(true));
        assert_eq!(
            bounded("x", Duration::from_secs(10), || -> Result<()> {
                Err(HostError::Gone("y".into()))
            }),
            Err(HostError::Gone("y".into()))
        );
    }
}
