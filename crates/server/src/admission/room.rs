//! Capacity as it is kept from one decision to the next.
//!
//! Admissions are the truth, and capacity follows from them and from the nodes' reports. Making it anew
//! for each decision would take as long as the cluster is large, most of it for sums that have not
//! changed. So what was made last is kept, with the wish and the reports that it was made of, and
//! brought up to date by what differs: VMs and nodes one by one. Only where the list of nodes, the
//! intent or the reserve changed it is made anew.
//!
//! Nothing depends on it: a server that has just started, or has lost it, makes it again. Builds for
//! tests hold every use of a small one against one made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use accelnet_model::{Intent, Isolated, Name, Problem};
use accelnet_rules::capacity::{Capacity, Reserve};
use uuid::Uuid;

use super::capacity::{made, of_node, of_vm};
use crate::{
    reports::{Known, Seen},
    state::{Specs, Wish},
    whereabouts,
};

/// Larger clusters are not made a second time to see whether they are the same.
const CHECKED_VMS: usize = 200;

struct Kept {
    intent: Intent,
    reserve: Reserve,
    specs: Specs,
    /// Adapters that are taken out of the pool.
    isolated: Vec<Isolated>,
    seen: Seen,
    capacity: Capacity,
}

/// The capacity that was made last.
#[derive(Default)]
pub struct Room(Mutex<Option<Kept>>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl Room {
    /// Asks the capacity of an intent something short.
    ///
    /// # Errors
    /// If there cannot be such a cluster.
    pub fn ask<T>(
        &self,
        wish: &Wish,
        seen: &Seen,
        (intent, reserve): (&Intent, Reserve),
        question: impl FnOnce(&Capacity) -> T,
    ) -> Result<T, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What fails half-way is not kept.
        let before = kept.take().filter(|before| {
            let same = before.intent == *intent && before.reserve == reserve;
            // Which is rare, and concerns all VMs of a node.
            let pool = before.isolated == wish.desired.isolated;
            same && pool && before.has_nodes_of(seen)
        });
        let now = match before {
            Some(before) => before.brought_to(wish, seen)?,
            None => Kept {
                capacity: made(wish, seen, intent, reserve)?,
                intent: intent.clone(),
                reserve,
                specs: wish.specs.clone(),
                isolated: wish.desired.isolated.clone(),
                seen: seen.clone(),
            },
        };
        debug_assert!(now.is_as_made_anew(wish, seen), "{wish:?} {seen:?}");
        let answer = question(&now.capacity);
        *kept = Some(now);
        Ok(answer)
    }

    /// A copy of it, for long questions: others do not wait for their answers.
    ///
    /// # Errors
    /// If there cannot be such a cluster.
    pub fn copy(
        &self,
        wish: &Wish,
        seen: &Seen,
        of: (&Intent, Reserve),
    ) -> Result<Capacity, Problem> {
        self.ask(wish, seen, of, Capacity::clone)
    }
}

impl Kept {
    fn has_nodes_of(&self, seen: &Seen) -> bool {
        let (before, now) = (self.seen.names(), seen.names());
        Arc::ptr_eq(before, now) || before == now
    }

    /// The same brought to another wish and other reports.
    fn brought_to(mut self, wish: &Wish, seen: &Seen) -> Result<Self, Problem> {
        let written: Vec<Uuid> = wish.specs.differing(&self.specs).collect();
        let mut nodes: BTreeSet<&Name> = seen.differing(&self.seen).collect();
        let mut vms: BTreeSet<Uuid> = written.iter().copied().collect();
        // A VM is where nodes have it, or had it.
        for name in &nodes {
            for known in [seen.node(*name), self.seen.node(*name)] {
                let status = known.and_then(|known: &Known| known.status.as_deref());
                let there = status.into_iter().flat_map(whereabouts::there);
                vms.extend(there.map(|(uuid, _)| uuid));
            }
        }
        // Whether a VF can be given out depends on what is wanted for the VM that has it.
        for uuid in written {
            nodes.extend(seen.places_of(uuid).map(|node| &node.name));
        }
        let intent = &self.intent;
        let nodes = nodes.into_iter().filter_map(|name| seen.node(name));
        let nodes = nodes.map(|node| of_node(wish, node, intent)).collect();
        let vms = vms.into_iter().filter_map(|uuid| {
            let level = wish.on(uuid, &intent.name).and_then(|wanted| wanted.level);
            let now = level.map(|level| of_vm(wish, seen, intent, uuid, level));
            let name = uuid.to_string();
            let same = self.capacity.vm(&name) == now;
            (!same).then_some((name, now))
        });
        let vms: BTreeMap<_, _> = vms.collect();
        self.capacity.change(nodes, vms)?;
        (self.specs, self.seen) = (wish.specs.clone(), seen.clone());
        Ok(self)
    }

    /// What the kept one says is what one made anew would say.
    fn is_as_made_anew(&self, wish: &Wish, seen: &Seen) -> bool {
        if wish.specs.iter().count() > CHECKED_VMS {
            return true;
        }
        made(wish, seen, &self.intent, self.reserve).is_ok_and(|anew| {
            let kept = &self.capacity;
            anew.figures() == kept.figures()
                && anew.nodes_down_tolerated() == kept.nodes_down_tolerated()
                && anew.holds().is_ok() == kept.holds().is_ok()
                && anew.fits_more_of_each() == kept.fits_more_of_each()
        })
    }
}

#[cfg(test)]
mod tests;
