//! Changes of the wish: one task decides on them, in the order in which they were asked for, and writes what waits
//! as one transaction.
//!
//! ```text
//!   requests ──► queue ──► decide each on the wish as those before it leave it ──► write ──► hand out ──► answer
//!                  │                        ▲                                        │
//!      full: ask again in a moment          └──── lost a race, or rested on what failed
//! ```
//!
//! While a write is under way whoever asks waits in the queue; so eight who ask at once wait for one or two syncs of
//! the disk and not for eight. Every write compares the wish's generation: if somebody else changed it, all that was
//! decided on it is void, and is decided again. Nobody is answered before all that the answer rests on is written.

use std::sync::{Arc, Weak};

use accelnet_model::{Code, Problem};
use accelnet_store::limits;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    Changed, Server, Shared,
    admission::Decided,
    apart::apart,
    audit::{Asked, Entry},
    one,
    state::{self, Wish, Write},
};

/// So many can wait. A store that takes a second for a write gets through them before they are told that it gives no
/// answer.
const WAITING_MAX: usize = 1000;
/// What one change takes of a transaction beside its own writes: an entry of the record, and the end of an old one.
const RECORD_OPS: usize = 2;
/// Decided on together. Most change one VM, and a transaction holds so many of these.
const AT_ONCE: usize = limits::TXN_OPS_MAX / (1 + RECORD_OPS);
/// How often what lost a race against another server is decided anew.
const ATTEMPTS: u32 = 20;

/// The end of the queue.
pub struct Line(mpsc::Sender<Box<dyn Turn>>);

/// Its front.
pub type Front = mpsc::Receiver<Box<dyn Turn>>;

impl Line {
    /// Nobody waits yet.
    pub fn new() -> (Self, Front) {
        let (line, front) = mpsc::channel(WAITING_MAX);
        (Self(line), front)
    }
}

/// A change that was asked for.
pub trait Turn: Send {
    /// Somebody waits for the answer.
    fn is_waited_for(&self) -> bool;
    /// Decides on the wish; what is to be written, if anything is.
    fn decide(&mut self, wish: &Wish, now: Timestamp) -> Option<state::Change>;
    /// It was decided that something is written.
    fn changes(&self) -> bool;
    /// Says what was decided, with the wish after it, or why that could not be.
    fn answer(self: Box<Self>, wish: Result<Wish, Problem>);
}

struct Asking<T, D> {
    asked: Asked,
    decide: D,
    decided: Option<Result<Decided<T>, Vec<Problem>>>,
    changes: bool,
    answer: oneshot::Sender<Result<Changed<T>, Vec<Problem>>>,
}

impl<T, D> Turn for Asking<T, D>
where
    T: Send,
    D: FnMut(&Wish) -> Result<Decided<T>, Vec<Problem>> + Send,
{
    fn is_waited_for(&self) -> bool {
        !self.answer.is_closed()
    }

    fn decide(&mut self, wish: &Wish, now: Timestamp) -> Option<state::Change> {
        let mut decided = (self.decide)(wish);
        let writes = match &mut decided {
            Ok(decided) => std::mem::take(&mut decided.writes),
            Err(_) => Vec::new(),
        };
        self.changes = !writes.is_empty();
        self.decided = Some(decided);
        let written = self.changes && !self.asked.dry_run;
        written.then(|| (writes, Entry::new(&self.asked, now)))
    }

    fn changes(&self) -> bool {
        self.changes && !self.asked.dry_run
    }

    fn answer(self: Box<Self>, wish: Result<Wish, Problem>) {
        let answer = match (wish, self.decided) {
            (Ok(wish), Some(decided)) => decided.map(|decided| Changed {
                wish,
                changed: self.changes,
                plan: decided.plan,
                about: decided.about,
            }),
            (Ok(_), None) => Err(one(never_decided())),
            (Err(problem), _) => Err(one(problem)),
        };
        // Whoever has gone away is told nothing.
        let _ = self.answer.send(answer);
    }
}

impl Server {
    /// Puts a change at the end of the queue, and waits until it is decided on and written.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        asked: &Asked,
        decide: impl FnMut(&Wish) -> Result<Decided<T>, Vec<Problem>> + Send + 'static,
    ) -> Result<Changed<T>, Vec<Problem>> {
        let (answer, answered) = oneshot::channel();
        let turn = Box::new(Asking {
            asked: asked.clone(),
            decide,
            decided: None,
            changes: false,
            answer,
        });
        self.shared.line.0.try_send(turn).map_err(|error| {
            one(match error {
                mpsc::error::TrySendError::Full(_) => busy(),
                mpsc::error::TrySendError::Closed(_) => never_decided(),
            })
        })?;
        match timeout(state::ANSWER_LIMIT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(one(never_decided())),
            Err(_) => Err(one(state::not_known_yet())),
        }
    }

    /// Decides on those who wait, together; none is left without an answer.
    async fn decide_on(self, mut turns: Vec<Box<dyn Turn>>) {
        let mut lost = 0;
        loop {
            turns.retain(|turn| turn.is_waited_for());
            if turns.is_empty() {
                return;
            }
            if lost == ATTEMPTS {
                let text = "Others kept changing the cluster's state.";
                return answer(turns, &Err(Problem::new(Code::Conflict, text)));
            }
            let wish = match self.wish().await {
                Ok(wish) => wish,
                Err(problem) => return answer(turns, &Err(problem)),
            };
            let (decided, changes) = apart(|| decide_each(&wish, &mut turns, self.now()));
            let mut later = turns.split_off(decided);
            if changes.is_empty() {
                answer(turns, &Ok(wish));
                turns = later;
                continue;
            }
            let writes: Vec<Write> = changes.iter().flat_map(|change| change.0.clone()).collect();
            match self.shared.state.commit(&wish, changes).await {
                Ok(Some(mut written)) => {
                    written.room = Arc::clone(&self.shared.room);
                    self.hand_out_writes(&written, writes.iter());
                    answer(turns, &Ok(written));
                    turns = later;
                }
                Ok(None) => {
                    lost += 1;
                    turns.append(&mut later);
                }
                Err(problem) => {
                    // The others were decided on something that came to nothing.
                    let (own, mut others): (Vec<_>, Vec<_>) =
                        turns.into_iter().partition(|turn| turn.changes());
                    answer(own, &Err(problem));
                    others.append(&mut later);
                    turns = others;
                }
            }
        }
    }
}

/// Decides on each as those before leave the wish, as far as one transaction goes; how many that are.
fn decide_each(
    wish: &Wish,
    turns: &mut [Box<dyn Turn>],
    now: Timestamp,
) -> (usize, Vec<state::Change>) {
    let (mut draft, mut changes) = (wish.clone(), Vec::new());
    // The generation is written with every change.
    let mut ops = 1;
    for (number, turn) in turns.iter_mut().enumerate() {
        let Some(change) = turn.decide(&draft, now) else {
            continue;
        };
        ops += change.0.len() + RECORD_OPS;
        if ops > limits::TXN_OPS_MAX && !changes.is_empty() {
            return (number, changes);
        }
        draft = draft.draft(&change.0, &change.1);
        changes.push(change);
    }
    (turns.len(), changes)
}

fn answer(turns: Vec<Box<dyn Turn>>, with: &Result<Wish, Problem>) {
    for turn in turns {
        turn.answer(with.clone());
    }
}

/// Decides on whoever asks, as long as somebody could.
pub async fn decide_in_turn(server: Weak<Shared>, mut front: Front) {
    while let Some(first) = front.recv().await {
        let mut turns = vec![first];
        while turns.len() < AT_ONCE
            && let Ok(next) = front.try_recv()
        {
            turns.push(next);
        }
        let Some(shared) = server.upgrade() else {
            return;
        };
        // Apart: what panics there must not be the end of all changes.
        let decided = tokio::spawn(Server { shared }.decide_on(turns)).await;
        if let Err(error) = decided {
            tracing::error!(%error, "a decision was not made");
        }
    }
}

fn busy() -> Problem {
    let text = format!("{WAITING_MAX} changes wait to be decided on already.");
    Problem::new(Code::ServerBusy, text)
}

fn never_decided() -> Problem {
    Problem::new(Code::Internal, "The change was not decided on.")
}

#[cfg(test)]
mod tests {
    use accelnet_store::MemoryStore;
    use futures::future::join_all;

    use super::*;
    use crate::{audit::Actor, fake::FakeNodes};

    async fn server() -> Server {
        let server = Server::new(MemoryStore::new(), FakeNodes::new([])).await;
        server.unwrap()
    }

    fn asked() -> Asked {
        Asked {
            by: Actor::default(),
            operation: "test",
            subject: String::new(),
            dry_run: false,
        }
    }

    /// On one thread nobody is decided on before all have asked.
    #[tokio::test]
    async fn more_than_can_wait_are_asked_to_come_again() {
        let (server, asked) = (server().await, asked());
        let ask = || server.change(&asked, |_| Ok(Decided::nothing()));
        let answers = join_all((0..WAITING_MAX + 2).map(|_| ask())).await;
        let (done, refused) = answers.split_at(WAITING_MAX);
        assert!(done.iter().all(Result::is_ok));
        for refused in refused {
            let problems = refused.as_ref().err().unwrap();
            assert_eq!(problems[0].code, Code::ServerBusy);
        }
        assert!(ask().await.is_ok(), "there is a place again");
    }

    #[tokio::test]
    async fn a_decision_that_panics_is_not_the_end_of_all() {
        let (server, asked) = (server().await, asked());
        let fails = server.change::<()>(&asked, |_| panic!("told to fail"));
        let problems = fails.await.err().unwrap();
        assert_eq!(problems[0].code, Code::Internal);
        let next = server.change(&asked, |_| Ok(Decided::nothing()));
        assert!(next.await.is_ok());
    }
}
