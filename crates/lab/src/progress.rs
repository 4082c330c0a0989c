//! Progress on standard error: a line per step with the time since the start.

use std::time::Instant;

/// Tells what is being done.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    start: Instant,
    quiet: bool,
}

impl Progress {
    /// Starts the clock.
    pub fn new(quiet: bool) -> Self {
        Self {
            start: Instant::now(),
            quiet,
        }
    }

    /// Begins a step.
    pub fn step(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!(
                "[{:6.1} s] {}",
                self.start.elapsed().as_secs_f64(),
                text.as_ref()
            );
        }
    }
}
