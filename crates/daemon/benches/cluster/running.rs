//! A server that is started again when it ends, as systemd does: one that could not keep its lease, on a machine that
//! is too busy, gives up its lead and ends.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::shared::{AGAIN, Place, Process};

/// Between two looks at whether one has ended that was told to: its end is measured.
const SOON: Duration = Duration::from_millis(2);

/// A server.
pub struct Running {
    pub place: Arc<Place>,
    process: Arc<Mutex<Process>>,
    /// Somebody has ended it.
    ended: Arc<AtomicBool>,
    /// How often it ended by itself.
    times: Arc<AtomicU64>,
    keeper: JoinHandle<()>,
}

impl Running {
    pub fn start(place: Place) -> Self {
        let place = Arc::new(place);
        let process = Arc::new(Mutex::new(place.start()));
        let (ended, times) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let keeper = tokio::spawn(keep(
            Arc::clone(&place),
            Arc::clone(&process),
            Arc::clone(&ended),
            Arc::clone(&times),
        ));
        Self {
            place,
            process,
            ended,
            times,
            keeper,
        }
    }

    pub fn pid(&self) -> u32 {
        self.with(|process| process.0.id())
    }

    /// Ends it; when it had ended.
    pub async fn end(&self, signal: Signal) -> Instant {
        self.ended.store(true, SeqCst);
        self.with(|process| process.signal(signal));
        while self
            .with(|process| process.0.try_wait())
            .expect("its end")
            .is_none()
        {
            tokio::time::sleep(SOON).await;
        }
        Instant::now()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        act(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts one that was ended.
    pub fn start_again(&self) {
        self.with(|process| *process = self.place.start());
        self.ended.store(false, SeqCst);
    }

    /// Says how often it ended by itself, if it did.
    pub fn say(&self) {
        let times = self.times.load(SeqCst);
        if times > 0 {
            println!(
                "the server at {} gave up its lead {times} times and was started again: this machine was too busy to \
                 keep the lease, and the figures above are of that",
                self.place.address
            );
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(
    place: Arc<Place>,
    process: Arc<Mutex<Process>>,
    ended: Arc<AtomicBool>,
    times: Arc<AtomicU64>,
) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = matches!(process.0.try_wait(), Ok(Some(_)));
        if gone && !ended.load(SeqCst) {
            times.fetch_add(1, SeqCst);
            *process = place.start();
        }
    }
}
