//! What is watched, once for all who watch it.
//!
//! ```text
//!   a change of wish or reports ──► look at everything, once ──► what differs, as lines with numbers
//!                                                                      │
//!                              reader ◄── what it has not read ◄───────┤  kept: the newest state,
//!                              reader ◄── what it has not read ◄───────┘  and the last lines
//! ```
//!
//! A board is of one list. Someone looks at the list after each change, or after some of them together, and
//! writes down what differs from what was there before; readers copy it from there, each at its own pace. So a
//! change costs the same however many watch, and a reader holds no more than the lines that it is just sending.
//! One that is further behind than what is kept is told to start over.
//!
//! A *revision* is a board's own number, that no other board ever has (of another list, another server, or of the
//! same one started again), with the number of a line.
//!
//! While nobody reads, nothing is looked at; a board that nobody comes back to is taken down.

mod history;

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_api::{Adapter, ClusterStatus, IntentStatus, NodeSummary, Vm, WatchEvent, WatchLine};
use accelnet_model::{Code, Fault, Problem};
use axum::body::Bytes;
use serde::Serialize;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{Server, apart::apart, reports::Seen, state::Wish};
use history::History;

/// So many watches at a time, of all kinds. Each holds a connection, and at most one old state of its list.
const WATCHES_MAX: usize = 1_000;
/// A board that nobody reads stays so long: who lost a connection comes back within this.
const LINGER: Duration = Duration::from_secs(60);
/// What could not be looked at is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Shorter rests than this are none: timers are no finer.
const REST_MIN: Duration = Duration::from_millis(1);
/// What a reader is given at once, about.
const CHUNK_BYTES: usize = 256 << 10;
/// A watch says that it lives this often.
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Objects by their identities.
pub type Objects<T> = BTreeMap<String, T>;
/// Everything that a board shows.
pub type View<T> = fn(&Wish, &Seen) -> Objects<T>;

/// All boards, and the places of those who watch.
pub struct Boards {
    /// The VMs.
    pub vms: Slot<Vm>,
    /// The nodes.
    pub nodes: Slot<NodeSummary>,
    /// The cluster at a glance.
    pub status: Slot<ClusterStatus>,
    /// The intents.
    pub intents: Slot<IntentStatus>,
    /// The adapters.
    pub adapters: Slot<Adapter>,
    /// The open faults.
    pub faults: Slot<Fault>,
    places: Arc<Semaphore>,
}

impl Default for Boards {
    fn default() -> Self {
        Self {
            vms: Slot::default(),
            nodes: Slot::default(),
            status: Slot::default(),
            intents: Slot::default(),
            adapters: Slot::default(),
            faults: Slot::default(),
            places: Arc::new(Semaphore::new(WATCHES_MAX)),
        }
    }
}

impl Boards {
    /// A place for one who watches, given back when it is dropped.
    ///
    /// # Errors
    /// `too_many_watches`.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| {
            let text = format!("There are {WATCHES_MAX}.");
            Problem::new(Code::TooManyWatches, text)
        })
    }

    /// How many watch.
    pub fn watches(&self) -> usize {
        WATCHES_MAX.saturating_sub(self.places.available_permits())
    }
}

/// The place of a board, which may be empty.
pub struct Slot<T>(Mutex<Option<Arc<Board<T>>>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Board<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the board down, unless somebody has come to read it.
    fn take_down(&self) -> bool {
        let mut slot = self.lock();
        let read = slot.as_ref().is_some_and(|board| board.is_read());
        if !read {
            *slot = None;
        }
        !read
    }
}

/// One list, as all see it who watch it.
pub struct Board<T> {
    /// What no other board has.
    origin: String,
    state: Mutex<State<T>>,
    /// The count of changes that the last look has seen; none was made yet if `None`.
    looked: watch::Sender<Option<u64>>,
    /// Somebody has come to read.
    came: Notify,
}

struct State<T> {
    objects: Arc<Objects<T>>,
    history: History,
}

impl<T: Serialize + PartialEq> Board<T> {
    fn new() -> Self {
        let state = State {
            objects: Arc::default(),
            history: History::default(),
        };
        Self {
            origin: format!("{:016x}", Uuid::new_v4().as_u64_pair().0),
            state: Mutex::new(state),
            looked: watch::Sender::new(None),
            came: Notify::new(),
        }
    }

    /// Shows other objects, as they are after so many changes.
    fn show(&self, objects: Objects<T>, changes: u64) {
        let (before, mut number) = {
            let state = self.lock();
            (Arc::clone(&state.objects), state.history.newest())
        };
        let mut lines: Vec<Bytes> = Vec::new();
        // Whoever was there before the first look was told nothing yet.
        if self.looked.borrow().is_some() {
            let mut write = |event| {
                number += 1;
                lines.push(self.line(event, Some(number)).into());
            };
            for (identity, object) in &objects {
                if before.get(identity) != Some(object) {
                    write(WatchEvent::Put(object));
                }
            }
            let gone = before.keys().filter(|key| !objects.contains_key(*key));
            gone.for_each(|identity| write(WatchEvent::Gone(identity.clone())));
        }
        let mut state = self.lock();
        state.objects = Arc::new(objects);
        lines.into_iter().for_each(|line| state.history.push(line));
        drop(state);
        self.looked.send_replace(Some(changes));
    }
}

impl<T> Board<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_read(&self) -> bool {
        self.looked.receiver_count() > 0
    }

    fn revision(&self, number: u64) -> String {
        format!("{}.{number}", self.origin)
    }

    /// The number of a revision that this board has told, if it knows all that came after it.
    fn number_of(&self, revision: &str) -> Option<u64> {
        let (origin, number) = revision.split_once('.')?;
        let number = number.parse().ok().filter(|_| origin == self.origin)?;
        self.lock().history.knows(number).then_some(number)
    }

    fn line(&self, event: WatchEvent<&T>, number: Option<u64>) -> Vec<u8>
    where
        T: Serialize,
    {
        line(&WatchLine {
            event,
            revision: number.map(|number| self.revision(number)),
        })
    }
}

/// One line of a watch.
pub fn line<T: Serialize>(line: &WatchLine<T>) -> Vec<u8> {
    // Our own types have no map keys but text, so this cannot fail; an empty line says nothing.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// How far a reader has come.
enum At<T> {
    /// It waits for a look that has seen so many changes.
    Door { changes: u64, from: Option<u64> },
    /// It is being told what there is, and has been told up to this identity.
    List {
        objects: Arc<Objects<T>>,
        told: Option<String>,
        number: u64,
    },
    /// It knows the state up to this line; whether it knows that this was all there was.
    Line { number: u64, synced: bool },
    /// It is told nothing more.
    End,
}

/// One who watches.
pub struct Reader<T> {
    board: Arc<Board<T>>,
    looked: watch::Receiver<Option<u64>>,
    stopping: watch::Receiver<bool>,
    at: At<T>,
    _place: OwnedSemaphorePermit,
}

impl Server {
    /// Begins to read a board, from a revision on or from the beginning; the board is put up if there is none.
    ///
    /// # Errors
    /// `watch_too_old`, `too_many_watches`.
    pub(crate) fn read<T: Serialize + PartialEq + Send + Sync + 'static>(
        &self,
        slot: fn(&Boards) -> &Slot<T>,
        view: View<T>,
        from: Option<&str>,
    ) -> Result<Reader<T>, Problem> {
        let boards = &self.shared.boards;
        let place = boards.place()?;
        let mut there = slot(boards).lock();
        let known = from.map(|revision| {
            let number = there.as_ref().and_then(|board| board.number_of(revision));
            let text = "The revision is none that this server can go on from.";
            number.ok_or_else(|| Problem::new(Code::WatchTooOld, text))
        });
        let from = known.transpose()?;
        let board = there.get_or_insert_with(|| {
            let board = Arc::new(Board::new());
            let kept_up = self.clone().keep_up(Arc::clone(&board), slot, view);
            drop(tokio::spawn(kept_up));
            board
        });
        let board = Arc::clone(board);
        let looked = board.looked.subscribe();
        drop(there);
        board.came.notify_one();
        Ok(Reader {
            board,
            looked,
            stopping: self.shared.stopping.subscribe(),
            at: At::Door {
                changes: *self.shared.changes.borrow(),
                from,
            },
            _place: place,
        })
    }

    /// Keeps a board as it has to be, as long as somebody reads it.
    async fn keep_up<T: Serialize + PartialEq + Send + Sync + 'static>(
        self,
        board: Arc<Board<T>>,
        slot: fn(&Boards) -> &Slot<T>,
        view: View<T>,
    ) {
        let work = async {
            let mut changes = self.shared.changes.subscribe();
            loop {
                if !board.is_read() {
                    tokio::select! {
                        () = board.came.notified() => {}
                        () = sleep(LINGER) => if slot(&self.shared.boards).take_down() { return },
                    }
                    continue;
                }
                let count = *changes.borrow_and_update();
                if *board.looked.borrow() == Some(count) {
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() { return },
                        () = board.looked.closed() => {}
                    }
                    continue;
                }
                let begun = Instant::now();
                match self.wish().await {
                    Ok(wish) => {
                        let seen = self.seen();
                        apart(|| board.show(view(&wish, &seen), count));
                    }
                    Err(problem) => {
                        tracing::warn!(%problem, "a watch cannot look");
                        sleep(LOOK_AGAIN).await;
                    }
                }
                // Changes that come meanwhile are one for the next look: half a core at most, however many
                // there are.
                let took = begun.elapsed();
                if took >= REST_MIN {
                    sleep(took).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.stopping() => {}
        }
    }
}

impl<T: Serialize> Reader<T> {
    /// The next lines; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let alive_at = Instant::now() + ALIVE_EVERY;
        loop {
            if let Some(lines) = self.read() {
                return Some(lines);
            }
            if matches!(self.at, At::End) {
                return None;
            }
            let knows = self.knows();
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(alive_at) => {
                    return Some(self.board.line(WatchEvent::Alive, knows));
                }
                looked = self.looked.changed() => looked.ok()?,
            }
        }
    }

    /// The line up to which it has been told everything.
    fn knows(&self) -> Option<u64> {
        match self.at {
            At::Line { number, .. } => Some(number),
            At::Door { .. } | At::List { .. } | At::End => None,
        }
    }

    /// What there is to read; `None` if there is nothing now.
    fn read(&mut self) -> Option<Vec<u8>> {
        loop {
            match std::mem::replace(&mut self.at, At::End) {
                At::Door { changes, from } => {
                    let looked = *self.looked.borrow_and_update();
                    if looked.is_none_or(|looked| looked < changes) {
                        self.at = At::Door { changes, from };
                        return None;
                    }
                    let state = self.board.lock();
                    self.at = match from {
                        Some(number) => At::Line {
                            number,
                            synced: false,
                        },
                        None => At::List {
                            objects: Arc::clone(&state.objects),
                            told: None,
                            number: state.history.newest(),
                        },
                    };
                }
                At::List {
                    objects,
                    told,
                    number,
                } => {
                    let after = told.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                    let mut rest = objects.range::<String, _>((after, Bound::Unbounded));
                    let (mut text, mut last) = (Vec::new(), None);
                    while text.len() < CHUNK_BYTES
                        && let Some((identity, object)) = rest.next()
                    {
                        text.extend(self.board.line(WatchEvent::Put(object), None));
                        last = Some(identity.clone());
                    }
                    if last.is_none() {
                        self.at = At::Line {
                            number,
                            synced: false,
                        };
                        continue;
                    }
                    self.at = At::List {
                        objects,
                        told: last,
                        number,
                    };
                    return Some(text);
                }
                At::Line { number, synced } => {
                    self.looked.mark_unchanged();
                    let next = self.board.lock().history.after(number, CHUNK_BYTES);
                    let Some((text, last)) = next else {
                        return Some(self.board.line(WatchEvent::StartOver, None));
                    };
                    if !text.is_empty() {
                        self.at = At::Line {
                            number: last,
                            synced,
                        };
                        return Some(text);
                    }
                    self.at = At::Line {
                        number,
                        synced: true,
                    };
                    return (!synced).then(|| self.board.line(WatchEvent::Synced, Some(number)));
                }
                At::End => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
