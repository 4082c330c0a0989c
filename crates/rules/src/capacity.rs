//! Capacity and reserve: may this VM be accelerated, so that with the reserve's number of nodes down
//! every accelerated VM still has its VFs somewhere?
//!
//! # The promise
//! `N` nodes, of which `k` may be down ([`nodes_down_tolerated`]); `D` are down now. The cluster
//! *holds* if **for every set S of max(k, |D|) nodes that contains D, the VMs on S and the VMs that are
//! off fit on the other nodes**, VFs and queue pairs counted for each adapter; VMs on surviving nodes
//! keep their node and their adapters; all NICs of a VM are on one node. A VM is admitted if the
//! cluster holds with it. If more nodes are down than the reserve tolerates, nothing new is admitted.
//!
//! # How it is decided
//! ```text
//!   a case ──▶ enough? ──yes──▶ admitted
//!                │ no                              (kept up to date, no set is enumerated)
//!                ▼
//!              a bound exceeded? ──yes──▶ refused, with the set S that proves it
//!                │ no                              (kept up to date too)
//!                ▼
//!              placed for every S? ──yes, no──▶ admitted, or refused with S
//!                │ not known                       (small clusters, bounded work)
//!                ▼
//!              refused: "cannot be shown"
//! ```
//! * [`case`]: the cluster as it is, or as it would be. What is asked is changed there, not in the cluster.
//! * [`criteria`]: a greedy placement (High first, then Medium, Low; in each level VMs with many NICs
//!   first; VFs with queues of their own before pools) cannot get stuck if, for a handful of weights
//!   of the levels, the survivors' supply is at least the demand. Each weight is a sum over nodes, so
//!   the worst S is simply the k nodes with the largest supply plus load ([`sums`], [`top`]). For VMs
//!   with one NIC on adapters with a fixed number of queue pairs, or whose VFs outnumber their queue
//!   pairs, or whose queue pairs are plenty, this is also necessary: the decision is exact at any size.
//! * [`bounds`]: weights that no placement whatever can exceed, to prove a refusal.
//! * [`everywhere`]: every S (up to nodes that are alike), each with a placement ([`place`]), within a
//!   budget of steps. Where running VMs' adapters are not known, one choice of them has to do for every S.
//!
//! What is never done: admit what does not fit. The tests prove it against brute force. A refusal is data;
//! [`words`] has the sentences.

mod balance;
mod bounds;
mod budget;
mod case;
mod cluster;
mod criteria;
mod decision;
mod everywhere;
mod fragments;
mod levels;
mod makeup;
mod model;
mod node;
mod offline;
mod place;
mod planning;
mod recovery;
mod sizes;
mod sums;
mod supply;
mod top;
mod words;

pub use cluster::Capacity;
pub use fragments::Fragments;
pub use levels::LevelCosts;
use levels::{LEVELS, PerLevel, position};
pub use model::{Adapter, Node, Queues, Refusal, Reserve, Shortage, Vm};
pub use offline::{
    AdapterEntry, CapacityFile, CapacityReport, FitsMore, LevelQueuePairs, NodeEntry, Refused,
    VmEntry,
};
pub use planning::{Figures, Offer};
pub use recovery::{Placement, Recovery};
pub use words::Explained;

/// How many of `nodes` nodes may be down at once with a reserve of `percent` percent: ⌈N·p/100⌉, but
/// one node is left at least.
pub fn nodes_down_tolerated(nodes: usize, percent: u8) -> usize {
    let share = (nodes * usize::from(percent)).div_ceil(100);
    share.min(nodes.saturating_sub(1))
}

#[cfg(test)]
mod brute;
#[cfg(test)]
mod measured;
#[cfg(test)]
mod tests;
