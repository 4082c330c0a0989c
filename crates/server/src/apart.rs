//! Work that takes its time, apart from those who wait for something else.
//!
//! A question about a large cluster can take seconds of computing. On the threads that serve requests
//! and reports, everybody would wait for it.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does the work on this thread, while another takes over what else it had to do. Where there is one
/// thread only, as in tests, there is nobody to take over.
pub fn apart<T>(work: impl FnOnce() -> T) -> T {
    let handle = Handle::try_current();
    match handle.map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_meanwhile() {
        let (sender, receiver) = mpsc::channel();
        // The only thread works, and yet the other task comes to run.
        let work = tokio::spawn(async move {
            tokio::spawn(async move { sender.send("done") });
            apart(|| receiver.recv_timeout(Duration::from_secs(30)))
        });
        assert_eq!(work.await.unwrap(), Ok("done"));
    }

    #[tokio::test]
    async fn one_thread_does_it_itself() {
        assert_eq!(apart(|| 1), 1);
    }
}
