//! The end of a store's thread, told to those who do not use the store.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

/// Tells when a store's thread has ended: because the store was closed, the file failed, or it panicked.
/// From then on the store refuses everything, so whoever cannot do without it need not go on.
#[derive(Debug, Clone)]
pub struct StoreEnd {
    /// Nothing is ever sent; the thread drops its end last of all.
    running: watch::Receiver<()>,
    stopped: Arc<OnceLock<String>>,
}

impl StoreEnd {
    /// The end of whoever holds the sender; `stopped` is where it says why, if it can.
    pub(super) fn new(running: watch::Receiver<()>, stopped: Arc<OnceLock<String>>) -> Self {
        Self { running, stopped }
    }

    /// True if the thread has ended.
    pub fn has_come(&self) -> bool {
        self.running.has_changed().is_err()
    }

    /// Waits for it, and says why.
    pub async fn wait(&mut self) -> String {
        while self.running.changed().await.is_ok() {}
        self.reason()
    }

    /// Why the thread has ended, once it has.
    pub(super) fn reason(&self) -> String {
        let reason = self.stopped.get().cloned();
        reason.unwrap_or_else(|| "its thread has ended".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_has_ended_too() {
        let (sender, running) = watch::channel(());
        let mut end = StoreEnd::new(running, Arc::default());
        assert!(!end.has_come());
        let thread = std::thread::spawn(move || {
            let _running = sender;
            panic!("as a store's thread could");
        });
        assert_eq!(end.wait().await, "its thread has ended");
        assert!(end.has_come() && thread.join().is_err());
    }
}
