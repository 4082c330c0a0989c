//! VMs that are parked no longer: their time is over, or their node has started again.
//!
//! What is stored is the end itself, so that a server that was not there in between ends at its start
//! what ended meanwhile.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    Server, admission,
    audit::{Actor, Asked},
};

/// An end is of the wall clock, which can be set and goes on while the machine is suspended; timers
/// cannot be waited for longer than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What could not be written is tried again after this.
const REST: Duration = Duration::from_secs(5);

impl Server {
    /// Ends what is over, until the server stops.
    pub(crate) async fn end_parks(&self) {
        let mut changes = self.shared.changes.subscribe();
        let stopping = self.stopping();
        tokio::pin!(stopping);
        loop {
            let (over, next) = self.parks(Timestamp::now());
            let ended = join_all(over.into_iter().map(|vm| self.end_park(vm))).await;
            if ended.contains(&false) {
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
    fn parks(&self, now: Timestamp) -> (Vec<Uuid>, Option<Duration>) {
        let Some(wish) = self.shared.told.newest() else {
            return Default::default();
        };
        let (mut over, mut next) = (Vec::new(), None::<Timestamp>);
        let mut parked = wish.specs.parked().peekable();
        if parked.peek().is_none() {
            return Default::default();
        }
        let seen = self.seen();
        for (spec, park) in parked {
            let ended = admission::park_ended(&wish, &seen, spec.uuid, now);
            if ended.writes.is_empty() {
                next = next.into_iter().chain(park.end()).min();
            } else {
                over.push(spec.uuid);
            }
        }
        let left = next.map(|next| next.duration_since(now).unsigned_abs());
        (over, left)
    }

    /// True if it is written, or somebody else was faster.
    async fn end_park(&self, vm: Uuid) -> bool {
        let name = self
            .shared
            .told
            .newest()
            .map(|wish| wish.name_of(vm).to_owned());
        let asked = Asked {
            by: Actor::default(),
            operation: "vm park ends",
            subject: name.unwrap_or_else(|| vm.to_string()),
            dry_run: false,
        };
        let ended = self.change(&asked, |wish| {
            Ok(admission::park_ended(
                wish,
                &self.seen(),
                vm,
                Timestamp::now(),
            ))
        });
        match ended.await {
            Ok(_) => true,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                tracing::warn!(%vm, problem = problems.join("; "), "a VM stays parked");
                false
            }
        }
    }
}
