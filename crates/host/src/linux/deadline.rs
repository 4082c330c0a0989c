//! Waiting for what the kernel gives no event for.

use std::time::{Duration, Instant};

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

/// Sleeps.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that sleeps: sysfs attributes have no event to wait for"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
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
}
