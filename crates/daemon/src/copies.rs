//! What a server that stands by answers from: a copy of what is kept, for those who take what may be old.
//!
//! A copy follows the store as long as that answers, so what is wanted is of now, and what nodes said is as the server
//! that decides has kept it. Where nobody decides, or the store is away, it is what there was last.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_model::{Code, Problem};
use accelnet_pki::Authority;
use accelnet_server::{KEPT_BELOW, Server, Settings};
use accelnet_store::{Replica, Revision, Store};
use axum::Router;
use tokio::time::Instant;

/// However often something changes, and however many ask: a server is made of a copy at most so often,
const MAKE_EVERY: Duration = Duration::from_secs(1);
/// and not before so many times as long as that took.
const REST: u32 = 4;

/// Copies of what is kept, one after the other.
pub struct Copies {
    authority: Arc<Authority>,
    settings: Settings,
    /// Until this server decides: then it answers itself.
    following: Mutex<Option<Replica>>,
    made: tokio::sync::Mutex<Option<Made>>,
}

/// A server that was made of a copy.
struct Made {
    of: Revision,
    /// It is good for so long, whatever has changed.
    until: Instant,
    answers: Router,
}

impl Copies {
    /// Follows a store.
    pub fn of<S: Store>(store: Arc<S>, authority: Arc<Authority>, settings: Settings) -> Self {
        Self {
            authority,
            settings,
            following: Mutex::new(Some(Replica::follow(store, KEPT_BELOW))),
            made: tokio::sync::Mutex::default(),
        }
    }

    /// Follows it no more, and keeps nothing.
    pub async fn end(&self) {
        *self.following() = None;
        *self.made.lock().await = None;
    }

    fn following(&self) -> MutexGuard<'_, Option<Replica>> {
        self.following
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers, from the newest copy or from one that is hardly older.
    ///
    /// # Errors
    /// If there is none yet, or it cannot be understood.
    pub async fn answers(&self) -> Result<Router, Problem> {
        let mut made = self.made.lock().await;
        let newest = self.following().as_ref().and_then(Replica::snapshot);
        let newest = newest.ok_or_else(|| {
            let text = "This server stands by, and has not read yet what is kept.";
            Problem::new(Code::ServerNotActive, text)
        })?;
        if let Some(made) = &*made
            && (made.of == newest.revision() || Instant::now() < made.until)
        {
            return Ok(made.answers.clone());
        }
        let begun = Instant::now();
        let (of, authority) = (newest.revision(), Arc::clone(&self.authority));
        let server = Server::of_copy(newest, authority, self.settings.clone()).await?;
        let answers = server.router();
        *made = Some(Made {
            of,
            until: Instant::now() + (begun.elapsed() * REST).max(MAKE_EVERY),
            answers: answers.clone(),
        });
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use accelnet_server::membership;
    use accelnet_store::MemoryStore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_is_an_answer_once_all_was_read_and_until_this_server_decides() {
        let store = Arc::new(MemoryStore::new());
        let authority = Arc::new(membership::found(&*store).await.unwrap());
        let copies = Copies::of(store, authority, Settings::default());
        let problem = copies.answers().await.unwrap_err();
        assert_eq!(problem.code, Code::ServerNotActive);
        // The task that reads has its turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(copies.answers().await.unwrap());
        copies.end().await;
        copies.answers().await.unwrap_err();
    }
}
