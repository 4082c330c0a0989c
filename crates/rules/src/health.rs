//! What is wrong and lasts: detections, each a pure rule, and the state that they are kept in.
//!
//! ```text
//!   report, wishes ──► rules of one node ──┐
//!                                          ├─► Found: wrong, so many times, not seen ──► state.rs ──► faults that
//!   all nodes, server ─► rules of all ─────┘                                  window, hysteresis      opened, closed
//! ```
//!
//! A rule says of an object that it is wrong, with evidence, how often something has happened so far, or that it could
//! not be seen; of what it does not name nothing is wrong. When that is told is not the rule's to say, but its
//! detection's ([`Detection::window`]).

mod act;
mod clocks;
mod decided;
mod detection;
mod drift;
mod drops;
mod exhausted;
mod found;
mod fragments;
mod intents;
mod isolated;
mod level;
mod likeness;
mod link;
mod nowhere;
mod numa;
mod pcie;
mod places;
mod reported;
mod reserve;
mod scene;
mod server;
mod silent;
mod state;
mod switches;
mod tokens;
mod unseen;
mod version;
mod vf_idle;
mod vf_path;
mod vfs;

pub use act::{Act, Acts, DISABLE, ISOLATE};
pub use detection::{BadTuning, Detection, Tuning, Window, all, of};
pub use found::{Finding, Found, Key, Verdict};
pub use scene::{ClusterScene, NodeScene, NodeSeen, Switches, TokenEnd, VmWish};
pub use state::{Changed, Kept, Moment, Phase, Sight, State, Stepped, UPDATED_EVERY};

/// Everything that one node shows.
pub fn of_node(scene: &NodeScene<'_>) -> Found {
    let mut found = Found::default();
    for rule in [
        unseen::check,
        vf_path::check,
        vf_idle::check,
        level::check,
        link::check,
        pcie::check,
        vfs::check,
        exhausted::check,
        numa::check,
        intents::check,
        drift::check,
        drops::check,
        version::check,
        reported::check,
    ] {
        rule(scene, &mut found);
    }
    found
}

/// Everything that only all nodes together show, or the server itself.
pub fn of_cluster(scene: &ClusterScene<'_>) -> Found {
    let mut found = Found::default();
    for rule in [
        silent::check,
        clocks::check,
        likeness::check,
        places::check,
        nowhere::check,
        decided::check,
        isolated::check,
        fragments::check,
        switches::check,
        reserve::check,
        server::check,
        tokens::check,
    ] {
        rule(scene, &mut found);
    }
    found
}

#[cfg(test)]
mod tests;
