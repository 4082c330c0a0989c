//! The real `accelnet` against a server whose nodes see what a test says.
//!
//! | module | shows |
//! |---|---|
//! | `tables` | what people read |
//! | `documents` | what programs read |
//! | `intents` | adapters by rule, bridges that are made, adapters in two intents |
//! | `levels` | queue pairs and limits of an intent |
//! | `many` | several VMs: patterns, standard input, partial success |
//! | `parking` | VMs that are kept on the software path, VMs that could not be looked at |
//! | `adding` | a NIC for a VM that has none on the bridge |
//! | `backup` | the state as a file: whole, private |
//! | `bad_input` | what is mistyped, for every verb: one problem, nothing changed |
//! | `capacity` | room with the reserve held back: of files, of the cluster |
//! | `people` | logging in over TLS, profiles, tokens, the record; nodes and servers |
//! | `waiting` | `--wait`, `--no-wait`, `--timeout`, what cannot be done yet |
//! | `health` | faults and events |
//! | `isolation` | adapters that are taken out of the pool |
//! | `failing` | exit codes, usage, a server that is not there or not for us |
//! | `cmdlets` | the reference's command lines, typed into bash |
//! | `cmdlets_wrong` | the same typed wrong, planned only, given nothing |
//! | `cmdlets_installed` | made, moved, removed |
//! | `itself` | help, completion, manual pages, the catalogue |

mod adding;
mod backup;
mod bad_input;
mod capacity;
mod cmdlets;
mod cmdlets_installed;
mod cmdlets_wrong;
mod documents;
mod failing;
mod health;
mod intents;
mod isolation;
mod itself;
mod levels;
mod many;
mod parking;
mod people;
mod rig;
mod shell;
mod support;
mod tables;
mod waiting;
