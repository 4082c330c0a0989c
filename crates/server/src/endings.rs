//! What ends by itself: parks whose time is over or whose node has started again, and waivers of rules that are
//! gone.
//!
//! What is stored is the end itself, so that a server that was not there in between ends at its start
//! what ended meanwhile.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    Server,
    admission::{self, Decided},
    audit::{Actor, Asked},
    reports::Seen,
    state::Wish,
};

/// An end is of the wall clock, which can be set and goes on while the machine is suspended; timers
/// cannot be waited for longer than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What could not be written is tried again after this.
const REST: Duration = Duration::from_secs(5);

/// What can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Park,
    Waivers,
}

impl Ending {
    fn operation(self) -> &'static str {
        match self {
            Self::Park => "vm park ends",
            Self::Waivers => "vm waiver ends",
        }
    }

    /// Nothing if it has not ended.
    fn decide(self, wish: &Wish, seen: &Seen, vm: Uuid, now: Timestamp) -> Decided {
        match self {
            Self::Park => admission::park_ended(wish, seen, vm, now),
            Self::Waivers => admission::waivers_ended(wish, seen, vm),
        }
    }
}

impl Server {
    /// Ends what is over, until the server stops.
    pub(crate) async fn end_what_is_over(&self) {
        let mut changes = self.shared.changes.subscribe();
        let stopping = self.stopping();
        tokio::pin!(stopping);
        loop {
            let (over, next) = self.over(self.now());
            let ended = over.into_iter().map(|(ending, vm)| self.end(ending, vm));
            if join_all(ended).await.contains(&false) {
                tokio::select! {
                    () = &mut stopping => return,
                    () = sleep(REST) => continue,
                }
            }
            let in_time = async {
                match next {
                    Some(next) => sleep(next.min(LOOK_AGAIN)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stopping => return,
                () = in_time => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// VMs of which something is over, and how long it is to the next end.
    fn over(&self, now: Timestamp) -> (Vec<(Ending, Uuid)>, Option<Duration>) {
        let Some(wish) = self.shared.told.newest() else {
            return Default::default();
        };
        let parked = wish
            .specs
            .parked()
            .map(|(spec, _)| (Ending::Park, spec.uuid));
        let waiving = wish
            .specs
            .waiving()
            .map(|spec| (Ending::Waivers, spec.uuid));
        let mut all = parked.chain(waiving).peekable();
        if all.peek().is_none() {
            return Default::default();
        }
        let seen = self.seen();
        let (over, stay): (Vec<_>, Vec<_>) =
            all.partition(|(ending, vm)| !ending.decide(&wish, &seen, *vm, now).writes.is_empty());
        let stay = stay.iter().filter(|(ending, _)| *ending == Ending::Park);
        let next = stay.filter_map(|(_, vm)| wish.park_of(*vm)?.end()).min();
        let left = next.map(|next| next.duration_since(now).unsigned_abs());
        (over, left)
    }

    /// True if it is written, or somebody else was faster.
    async fn end(&self, ending: Ending, vm: Uuid) -> bool {
        let name = self
            .shared
            .told
            .newest()
            .map(|wish| wish.name_of(vm).to_owned());
        let asked = Asked {
            by: Actor::default(),
            operation: ending.operation(),
            subject: name.unwrap_or_else(|| vm.to_string()),
            dry_run: false,
        };
        let server = self.clone();
        let ended = self.change(&asked, move |wish| {
            Ok(ending.decide(wish, &server.seen(), vm, server.now()))
        });
        match ended.await {
            Ok(_) => true,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let operation = ending.operation();
                tracing::warn!(%vm, operation, problem = problems.join("; "), "what is over goes on");
                false
            }
        }
    }
}
