//! Changes of the wish, one after the other, several with one write.
//!
//! A change is decided on the wish as those before it leave it, written or not. While one write is under
//! way, whatever is decided meanwhile waits for the next; so eight who ask at once wait for one or two
//! syncs of the disk and not for eight. Every write compares the wish's generation: if somebody else
//! changed it, all that was decided on it is void, and is decided again. Nobody is answered before all
//! that the answer rests on is written.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use accelnet_model::{Code, Problem};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::timeout;

use crate::{
    Changed, Server,
    admission::Decided,
    apart::apart,
    audit::{Asked, Entry},
    one,
    state::{self, Wish, Write},
};

/// How often a change that lost a race against another server's is decided anew.
const ATTEMPTS: u32 = 20;
/// Requests of one write. Each has a VM's wish and an entry of the record with the end of an old one,
/// and a transaction holds 128 of these.
const CHANGES_AT_ONCE: usize = 40;

/// Who asked waits so long for the store: less than clients wait for an answer (60 s).
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What became of a write: the wish after it, or `None` if the race was lost.
type Outcome = Shared<BoxFuture<'static, Result<Option<Wish>, Problem>>>;

/// Changes that are not written yet; `None` once that has begun.
type Batch = Arc<Mutex<Option<Vec<state::Change>>>>;

/// The end of the line.
struct Tail {
    /// The wish as all changes in the line leave it.
    draft: Wish,
    batch: Batch,
    outcome: Outcome,
}

/// Changes under way.
#[derive(Default)]
pub struct Line(tokio::sync::Mutex<Option<Tail>>);

/// Joins those that are written together, if they are still waiting and there is a place; else the change
/// comes back.
fn join(batch: &Batch, change: state::Change) -> Option<state::Change> {
    let mut waiting = batch.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *waiting {
        // What is not for one VM may be larger.
        Some(all) if all.len() < CHANGES_AT_ONCE && change.0.len() == 1 => {
            all.push(change);
            None
        }
        _ => Some(change),
    }
}

impl Server {
    pub(crate) async fn try_change<T: Send>(
        &self,
        asked: &Asked,
        decide: &mut (impl FnMut(&Wish) -> Result<Decided<T>, Vec<Problem>> + Send),
    ) -> Result<Changed<T>, Vec<Problem>> {
        for _ in 0..ATTEMPTS {
            let mut line = self.shared.line.0.lock().await;
            // What is written, or came to nothing, is read from the state again.
            let under_way = |tail: &Tail| tail.outcome.clone().now_or_never().is_none();
            let tail = line.take().filter(under_way);
            let wish = match &tail {
                Some(tail) => tail.draft.clone(),
                None => self.wish().await.map_err(one)?,
            };
            let before = tail.as_ref().map(|tail| tail.outcome.clone());
            let decided = apart(|| decide(&wish));
            let (writes, answer) = match decided {
                Ok(decided) => (decided.writes, Ok((decided.plan, decided.about))),
                Err(problems) => (Vec::new(), Err(problems)),
            };
            let changed = !writes.is_empty();
            let (own, rests_on) = if changed && !asked.dry_run {
                let tail = self.queue(tail, &wish, (writes, Entry::new(asked)));
                let outcome = tail.outcome.clone();
                *line = Some(tail);
                (true, Some(outcome))
            } else {
                *line = tail;
                (false, before)
            };
            drop(line);
            let wish = match rests_on {
                None => wish,
                Some(outcome) => {
                    let outcome = timeout(ANSWER_LIMIT, outcome).await;
                    let outcome = outcome.map_err(|_| one(state::not_known_yet(ANSWER_LIMIT)))?;
                    match outcome {
                        Ok(Some(written)) => written,
                        Err(problem) if own => return Err(one(problem)),
                        // It was decided on something that came to nothing.
                        Ok(None) | Err(_) => continue,
                    }
                }
            };
            let (plan, about) = answer?;
            return Ok(Changed {
                wish,
                changed,
                plan,
                about,
            });
        }
        let text = "Others kept changing the cluster's state.";
        Err(one(Problem::new(Code::Conflict, text)))
    }

    /// Puts a change that was decided on `wish` at the end of the line.
    fn queue(&self, tail: Option<Tail>, wish: &Wish, change: state::Change) -> Tail {
        let draft = wish.draft(&change.0, &change.1);
        let (change, before) = match tail {
            None => (change, None),
            Some(tail) => match join(&tail.batch, change) {
                None => return Tail { draft, ..tail },
                Some(change) => (change, Some(tail.outcome)),
            },
        };
        let batch: Batch = Arc::new(Mutex::new(Some(vec![change])));
        let written = self.clone().write(wish.clone(), before, Arc::clone(&batch));
        // On its own: it must not end with the request that happened to begin it.
        let written = tokio::spawn(written);
        let outcome = written.map(|written| {
            written.unwrap_or_else(|error| {
                let text = format!("The change was not written: {error}.");
                Err(Problem::new(Code::Internal, text))
            })
        });
        Tail {
            draft,
            batch,
            outcome: outcome.boxed().shared(),
        }
    }

    /// Writes what is waiting, after what it was decided on, and tells the nodes.
    async fn write(
        self,
        wish: Wish,
        before: Option<Outcome>,
        batch: Batch,
    ) -> Result<Option<Wish>, Problem> {
        let base = match before {
            None => wish,
            Some(before) => match before.await {
                Ok(Some(written)) => written,
                // Its own requests are told why; these are decided again.
                Ok(None) | Err(_) => return Ok(None),
            },
        };
        let taken = batch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let changes = taken.unwrap_or_default();
        let writes: Vec<Write> = changes
            .iter()
            .flat_map(|(writes, _)| writes.clone())
            .collect();
        let written = self.shared.state.commit(&base, changes).await?;
        if let Some(mut wish) = written {
            wish.room = Arc::clone(&self.shared.room);
            self.hand_out_writes(&wish, writes.iter());
            return Ok(Some(wish));
        }
        Ok(None)
    }
}
