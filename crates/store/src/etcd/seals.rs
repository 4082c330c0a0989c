//! Seals: how a transaction whose answer did not come is kept from happening later.
//!
//! A request can lie in a socket of a member that hangs, and be carried out long after its sender
//! gave up, and after somebody has looked and seen that it had not happened. So every transaction
//! compares that the seal of the store's current epoch is absent. Once the outcome of one is not
//! known, the seal is written before anything else is read or written, and a new epoch begins:
//!
//! ```text
//!   epoch 0: txn … txn … txn, no answer ──► write seal 0 ──► epoch 1: reads and txns go on
//!                                              │
//!                           what has not happened by here never will
//! ```
//!
//! Other transactions of the epoch that are under way lose against the seal too; they are known to
//! have done nothing, and are made again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use etcd_client::PutOptions;
use tokio::time::{Instant, timeout_at};

use super::{fault::Fault, keys::Keys, members::Members};

/// How long a seal is kept, in seconds: a day, far longer than a request can lie anywhere.
const SEAL_TTL_SECONDS: i64 = 24 * 60 * 60;

/// The epochs of one store.
#[derive(Debug)]
pub(super) struct Seals {
    /// No other store has it.
    id: String,
    epoch: Mutex<Epoch>,
    /// Held while a seal is written.
    busy: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Epoch {
    number: u64,
    /// The outcome of one of its transactions is not known.
    doubtful: bool,
}

impl Seals {
    /// The first epoch begins.
    pub(super) fn new() -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            epoch: Mutex::new(Epoch {
                number: 0,
                doubtful: false,
            }),
            busy: tokio::sync::Mutex::default(),
        }
    }

    /// Makes sure that no outcome is open, and says which epoch it is.
    pub(super) async fn settle(
        &self,
        end: Instant,
        members: &Members,
        keys: &Keys,
    ) -> Result<u64, Fault> {
        if let Some(number) = self.sure() {
            return Ok(number);
        }
        let _busy = timeout_at(end, self.busy.lock())
            .await
            .map_err(|_| Fault::NotDone("an unknown outcome could not be settled".to_owned()))?;
        if let Some(number) = self.sure() {
            return Ok(number);
        }
        let number = self.epoch().number;
        let name = self.name(keys, number);
        let grant = members
            .ask(end, |mut client| async move {
                client.lease_grant(SEAL_TTL_SECONDS, None).await
            })
            .await?;
        members
            .ask(end, |mut client| {
                let name = name.clone();
                let options = PutOptions::new().with_lease(grant.id());
                async move { client.put(name, "", Some(options)).await }
            })
            .await?;
        tracing::info!(
            seal = name,
            "what has not been written by now never will be"
        );
        *self.epoch() = Epoch {
            number: number + 1,
            doubtful: false,
        };
        Ok(number + 1)
    }

    /// The name of an epoch's seal.
    pub(super) fn name(&self, keys: &Keys, epoch: u64) -> String {
        keys.seal(&self.id, epoch)
    }

    /// A transaction of this epoch is sent.
    pub(super) fn sent(&self, epoch: u64) -> Sent<'_> {
        Sent {
            seals: self,
            epoch: Some(epoch),
        }
    }

    fn sure(&self) -> Option<u64> {
        let epoch = *self.epoch();
        (!epoch.doubtful).then_some(epoch.number)
    }

    fn epoch(&self) -> MutexGuard<'_, Epoch> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction that is under way. If it is dropped before its outcome is known, by a caller that
/// does not wait any longer too, the epoch is doubtful.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    seals: &'a Seals,
    epoch: Option<u64>,
}

impl Sent<'_> {
    /// Its outcome is known.
    pub(super) fn answered(mut self) {
        self.epoch = None;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut current = self.seals.epoch();
        if self.epoch == Some(current.number) {
            current.doubtful = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transaction_of_the_current_epoch_without_an_answer_makes_it_doubtful() {
        let seals = Seals::new();
        seals.sent(0).answered();
        assert_eq!(seals.sure(), Some(0));
        let late = seals.sent(0);
        drop(seals.sent(0));
        assert_eq!(seals.sure(), None);
        *seals.epoch() = Epoch {
            number: 1,
            doubtful: false,
        };
        drop(late);
        assert_eq!(seals.sure(), Some(1), "the seal has settled that one too");
    }
}
