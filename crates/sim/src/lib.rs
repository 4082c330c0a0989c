//! Production code in virtual time, on twins that fail; and an auditor that looks from outside.
//!
//! ```text
//!   seed ─► chance ─┬─► what befalls machines, VMs and links      (alone/, cluster/)
//!                   ├─► whose turn it is, and how long calls take (agent.rs, process.rs, turns.rs)
//!                   ├─► what fails, and who dies                  (scene.rs, store.rs, net.rs)
//!                   └─► what else is random                       (os_random.rs)
//!                            after each step: auditor.rs
//! ```
//!
//! A run is its seed: the same seed does the same, step by step, which its hash shows. A simulator for async code
//! would see but half of this: the agent is threads that wait for the kernel. Here they are threads too, of which one
//! runs at a time, as it is told.

pub mod agent;
pub mod alone;
pub mod auditor;
pub mod below;
pub mod cluster;
pub mod net;
pub mod node;
mod os_random;
pub mod points;
pub mod process;
pub mod scene;
pub mod store;
pub mod turns;
