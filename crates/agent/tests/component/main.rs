//! The real agent on simulated twins of host and hypervisor.
//!
//! After every single call that changes something, and whenever time passes, the twins are asked
//! whether every guest is still in reach ([`process`]); a test cannot end while anything was lost.

mod addresses;
mod bond;
mod cards;
mod counters;
mod crash;
mod drift;
mod failure;
mod foreign;
mod guest;
mod hold;
mod incoming;
mod intents;
mod levels;
mod life;
mod many;
mod migrate;
mod new_nic;
mod own_bridge;
mod park;
mod process;
mod random;
mod reset;
mod saves;
mod strays;
mod threads;
mod travel;
mod unseen;
mod uplink;
mod weather;
mod wish;
mod world;
