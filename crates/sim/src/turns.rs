//! Work that waits, as threads of which never two run: each goes on when it is told to, until it waits or ends.
//!
//! The agent's work calls kernel and libvirt and waits for their answers. On a real machine several do at a time; here
//! whoever holds the [`Job`]s chooses whose turn it is, and with that the order of everything. A thread that is told to
//! die unwinds from where it waits: nothing of it happens any more, as with a process that is killed.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use accelnet_agent::event::Event;

/// What is done; what comes of it is told the agent's loop.
pub type Work = Box<dyn FnOnce() -> Event + Send>;

/// What became of a turn.
#[derive(Debug)]
pub enum Turn {
    /// It waits for so long.
    Waits(Duration),
    /// It is over.
    Ended(Box<Event>),
}

enum Order {
    Begin(Work),
    GoOn,
    Die,
}

enum Said {
    Waits(Duration),
    Ended(Box<Event>),
    Died,
    Panicked(Box<dyn Any + Send>),
}

/// What a thread that was told to die unwinds with.
struct Death;

struct Seat {
    orders: Receiver<Order>,
    said: Sender<Said>,
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Waits for so long in virtual time. Not in a [`Job`] it returns at once: false then.
pub fn wait(time: Duration) -> bool {
    let goes_on = SEAT.with_borrow(|seat| {
        let seat = seat.as_ref()?;
        let told = seat.said.send(Said::Waits(time)).is_ok();
        Some(told && matches!(seat.orders.recv(), Ok(Order::GoOn)))
    });
    if goes_on == Some(false) {
        resume_unwind(Box::new(Death));
    }
    goes_on.is_some()
}

#[derive(Debug)]
struct Worker {
    orders: Sender<Order>,
    said: Receiver<Said>,
}

impl Worker {
    fn new() -> Self {
        let (orders, its_orders) = channel();
        let (its_said, said) = channel();
        thread::spawn(move || {
            SEAT.set(Some(Seat {
                orders: its_orders,
                said: its_said,
            }));
            while work_once() {}
        });
        Self { orders, said }
    }

    /// A worker's thread never ends before its orders do.
    fn order(&self, order: Order) -> Said {
        let told = self.orders.send(order).ok();
        told.and_then(|()| self.said.recv().ok())
            .unwrap_or_else(|| Said::Panicked(Box::new("a worker has ended")))
    }
}

/// False if there is nobody any more who gives orders.
fn work_once() -> bool {
    let order = SEAT.with_borrow(|seat| seat.as_ref().and_then(|seat| seat.orders.recv().ok()));
    let Some(Order::Begin(work)) = order else {
        return order.is_some();
    };
    let said = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(event) => Said::Ended(Box::new(event)),
        Err(panic) if panic.is::<Death>() => Said::Died,
        Err(panic) => Said::Panicked(panic),
    };
    SEAT.with_borrow(|seat| {
        seat.as_ref()
            .is_some_and(|seat| seat.said.send(said).is_ok())
    })
}

/// Threads that have nothing to do; making one for each piece of work would take most of the time.
#[derive(Debug, Default)]
pub struct Idle(Vec<Worker>);

/// A piece of work that has not come to its end.
pub struct Job {
    worker: Worker,
    work: Option<Work>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("has_begun", &self.work.is_none())
            .finish_non_exhaustive()
    }
}

impl Job {
    /// Work that begins with its first turn.
    pub fn new(idle: &mut Idle, work: Work) -> Self {
        Self {
            worker: idle.0.pop().unwrap_or_else(Worker::new),
            work: Some(work),
        }
    }

    /// Lets it go on until it waits or ends; itself again if it waits.
    ///
    /// # Panics
    /// If the work does.
    pub fn turn(mut self, idle: &mut Idle) -> (Turn, Option<Self>) {
        let order = self.work.take().map_or(Order::GoOn, Order::Begin);
        match self.worker.order(order) {
            Said::Waits(time) => (Turn::Waits(time), Some(self)),
            Said::Ended(event) => {
                idle.0.push(self.worker);
                (Turn::Ended(event), None)
            }
            Said::Panicked(panic) => resume_unwind(panic),
            Said::Died => resume_unwind(Box::new("work ended that nobody had ended")),
        }
    }

    /// Ends it where it waits.
    pub fn die(self, idle: &mut Idle) {
        if self.work.is_none() {
            self.worker.order(Order::Die);
        }
        idle.0.push(self.worker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn noting(notes: &Arc<Mutex<Vec<&'static str>>>, words: [&'static str; 2]) -> Work {
        let notes = Arc::clone(notes);
        Box::new(move || {
            for word in words {
                notes.lock().unwrap().push(word);
                wait(Duration::from_secs(1));
            }
            Event::Tick
        })
    }

    #[test]
    fn the_order_is_that_in_which_they_are_told_to_go_on() {
        let notes = Arc::default();
        let mut idle = Idle::default();
        let one = Job::new(&mut idle, noting(&notes, ["a", "b"]));
        let other = Job::new(&mut idle, noting(&notes, ["c", "d"]));
        let (turn, other) = other.turn(&mut idle);
        assert!(matches!(turn, Turn::Waits(time) if time == Duration::from_secs(1)));
        let (_, one) = one.turn(&mut idle);
        let (_, one) = one.unwrap().turn(&mut idle);
        let (turn, one) = one.unwrap().turn(&mut idle);
        assert!(matches!(turn, Turn::Ended(_)) && one.is_none());
        other.unwrap().die(&mut idle);
        assert_eq!(*notes.lock().unwrap(), ["c", "a", "b"]);
        assert_eq!(idle.0.len(), 2, "both can work again");
        let again = Job::new(&mut idle, noting(&notes, ["e", "f"]));
        again.turn(&mut idle).1.unwrap().die(&mut idle);
        assert_eq!(notes.lock().unwrap().last(), Some(&"e"));
    }
}
