//! A write whose outcome is not known is found out. It is made once more, and compares the same generation: of all
//! tries at most one can count, and when one has an answer no earlier one can come true any more.

use std::time::Duration;

use accelnet_model::{Code, Problem};
use accelnet_store::{Compare, KeyValue, Op, Revision, Store, StoreError, TxnOutcome};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{LIMIT, decode, failed};

/// Between two tries.
const REST: Duration = Duration::from_secs(1);

/// What the key `generation` says: written with every change of the wish.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Generation {
    /// It grows by one with each change, whatever the store's own revision does. An older version wrote none: the
    /// revision at which it wrote the key stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Made up for each write, so that it can be told from others' later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Uuid>,
}

impl Generation {
    /// What the key holds.
    ///
    /// # Errors
    /// `store_failed` if it cannot be read.
    pub fn read(item: &KeyValue) -> Result<Self, Problem> {
        decode(&item.key, &item.value)
    }
}

/// Makes a change if the wish's generation, which `compare` is about, has not changed, and waits until it is known
/// whether it was made; `None` if the generation has changed.
///
/// # Errors
/// If it was not made, and will not be.
pub async fn settled<S: Store>(
    store: &S,
    compare: Compare,
    ops: Vec<Op>,
    write: Uuid,
) -> Result<Option<Revision>, Problem> {
    match known(store, vec![compare], ops).await? {
        TxnOutcome::Committed { revision } => Ok(Some(revision)),
        TxnOutcome::Conflict { conflicts, .. } => {
            let found = conflicts.into_iter().find_map(|conflict| conflict.found);
            found.map_or(Ok(None), |found| is_ours(&found, write))
        }
    }
}

/// Tries until it is known what became of a transaction. A conflict may be with an earlier try of it: whoever asks has
/// to look at what is there now. One that compares nothing that it changes may be made more than once.
///
/// # Errors
/// If it was not made, and will not be.
pub async fn known<S: Store>(
    store: &S,
    compares: Vec<Compare>,
    ops: Vec<Op>,
) -> Result<TxnOutcome, Problem> {
    let mut unknown = false;
    loop {
        let why = match timeout(LIMIT, store.txn(compares.clone(), ops.clone())).await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(error @ StoreError::OutcomeUnknown { .. })) => error.to_string(),
            // It has ended, and with it whatever was under way.
            Ok(Err(error @ StoreError::Closed { .. })) => return Err(failed(&error)),
            Ok(Err(error)) if !unknown => return Err(failed(&error)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
        };
        unknown = true;
        tracing::warn!(%why, "whether a change was written is not known; it is tried again");
        sleep(REST).await;
    }
}

/// An earlier try counted after all, unless somebody else was faster.
fn is_ours(found: &KeyValue, write: Uuid) -> Result<Option<Revision>, Problem> {
    let ours = Generation::read(found)?.write == Some(write);
    Ok(ours.then_some(found.mod_revision))
}

/// Who asked for a change waits so long for the store: less than clients wait for an answer (60 s).
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Waits for what goes on in any case, but not for ever.
///
/// # Errors
/// Its own; `store_failed` if it is not known yet; `internal` if it will not be, as the server stops.
pub async fn awaited<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match timeout(ANSWER_LIMIT, tokio::spawn(work)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(Problem::new(Code::Internal, format!("{error}."))),
        Err(_) => Err(not_known_yet()),
    }
}

/// What those are told who wait no longer.
pub fn not_known_yet() -> Problem {
    let text = format!(
        "The store gave no answer within {} s. The change is made as soon as it does, or not at all.",
        ANSWER_LIMIT.as_secs()
    );
    Problem::new(Code::StoreFailed, text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accelnet_model::{ClusterEnable, Intent};
    use jiff::Timestamp;

    use super::*;
    use crate::{
        audit::{Actor, Asked, Entry},
        state::{
            State, Stored, Write,
            odd::{Odd, Way},
        },
    };

    fn entry() -> Entry {
        let asked = Asked {
            by: Actor::default(),
            operation: "test",
            subject: String::new(),
            dry_run: false,
        };
        Entry::new(&asked, Timestamp::UNIX_EPOCH)
    }

    fn enables(intent: &str) -> Vec<Write> {
        let intent: Intent = serde_json::from_value(serde_json::json!({
            "name": intent, "types": ["compute"], "adapters": ["pf0"], "bridge": "br0", "vfs": "auto"
        }))
        .unwrap();
        let enabled = ClusterEnable {
            intent: intent.name.clone(),
            node_reserve_percentage: 0,
            nodes_down: None,
            when: Default::default(),
        };
        vec![Write::Intent(intent), Write::Cluster(Some(enabled))]
    }

    async fn after(ways: &[Way]) -> (Arc<Odd>, Result<Option<crate::state::Wish>, Problem>) {
        let store = Arc::new(Odd::new(ways));
        let state = Stored::open(Arc::clone(&store)).await.unwrap();
        let seen = State::load(&state).await.unwrap();
        let made = State::commit(&state, &seen, vec![(enables("compute"), entry())]).await;
        (store, made)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_in_silence_is_found_and_what_was_lost_is_made() {
        use Way::{Late, Lost, MadeInSilence, Refused};
        let all: [&[Way]; 5] = [
            &[MadeInSilence],
            &[Lost, Lost],
            &[Lost, MadeInSilence],
            &[Late],
            &[Lost, Refused],
        ];
        for ways in all {
            let (store, made) = after(ways).await;
            let made = made.unwrap().expect("nobody else wrote");
            assert_eq!(made.generation(), 1);
            // Another server reads the same, and goes on from there.
            let state = Stored::open(store).await.unwrap();
            let read = State::load(&state).await.unwrap();
            assert_eq!(read.generation(), 1);
            assert_eq!(read.desired.enabled, made.desired.enabled);
            let next = vec![(vec![Write::Cluster(None)], entry())];
            let next = State::commit(&state, &read, next).await.unwrap().unwrap();
            assert_eq!(next.generation(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_refused_at_once_is_not_tried_again() {
        let (store, made) = after(&[Way::Refused]).await;
        assert_eq!(made.unwrap_err().code, Code::StoreFailed);
        assert!(
            store
                .get("accelnet/v1/generation", None)
                .await
                .unwrap()
                .is_none()
        );
    }

    /// Somebody else writes while it is not known: that is no success.
    #[tokio::test(start_paused = true)]
    async fn anothers_change_is_not_taken_for_it() {
        let store = Arc::new(Odd::new(&[Way::Lost]));
        let (one, other) = (
            Stored::open(Arc::clone(&store)).await.unwrap(),
            Stored::open(Arc::clone(&store)).await.unwrap(),
        );
        let seen = State::load(&one).await.unwrap();
        let first = State::commit(&one, &seen, vec![(enables("compute"), entry())]);
        let second = async {
            // The first one's try has been lost by then.
            sleep(Duration::from_secs(1)).await;
            State::commit(&other, &seen, vec![(enables("other"), entry())]).await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.unwrap().is_none());
        assert_eq!(second.unwrap().unwrap().generation(), 1);
    }

    #[test]
    fn what_an_older_version_wrote_has_no_number() {
        let old = KeyValue {
            key: "accelnet/v1/generation".into(),
            value: br#"{"schema":1}"#.to_vec(),
            create_revision: Revision::FIRST,
            mod_revision: Revision::FIRST.next(),
            version: 2,
        };
        assert_eq!(Generation::read(&old).unwrap().number, None);
    }
}
