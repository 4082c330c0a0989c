//! Pure decisions: what is eligible, what a VF must carry, what to do next.
//!
//! Nothing here sees a clock, a file, the network or another thread: observations and wishes come in
//! as values, problems and plans go out as values.

pub mod action;
pub mod capacity;
pub mod counts;
pub mod eligibility;
pub mod explain;
pub mod foreign;
pub mod handle;
pub mod health;
pub mod intent_fit;
pub mod intent_status;
pub mod isolation;
pub mod l2;
pub mod membership;
pub mod moves;
pub mod new_nic;
pub mod observed;
pub mod own_bridge;
pub mod pair;
pub mod phase;
pub mod plan;
pub mod policy;
pub mod prereq;
pub mod profile;
pub mod reach;
pub mod setting_up;
pub mod staging;

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;

pub use observed::Observed;
