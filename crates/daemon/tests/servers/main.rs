//! Servers as processes, on a file and on a real etcd.
//!
//! | module | shows |
//! |---|---|
//! | `taking_over` | two servers on one etcd: one decides, the other points to it and takes over |
//! | `standing_by` | what may be old is read from a server that stands by, also when the store is away |
//! | `crowd` | the active one is killed in the middle of a hundred changes |
//! | `configuration` | the file with options, and what goes before it |
//! | `secure` | an etcd that speaks TLS and asks for certificates; files that are wrong |
//! | `metrics` | the page for Prometheus, of a server that decides and of one that stands by |
//! | `backup` | a backup is put back on another kind of store, and a node follows |
//! | `secrets` | secrets are nowhere but where they are meant to be; TLS 1.3 only |
#![cfg(feature = "etcd")]

mod backup;
mod certificates;
mod configuration;
mod crowd;
mod metrics;
mod rig;
mod secrets;
mod secure;
#[path = "../shared/servers.rs"]
mod shared;
mod standing_by;
mod taking_over;
