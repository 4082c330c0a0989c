//! The server over its socket, with nodes that see what a test says.
//!
//! | module | shows |
//! |---|---|
//! | `connections` | what is no HTTP, half of it, or nothing |
//! | `http` | routes, methods, bodies: whatever is wrong is a problem document |
//! | `intents` | adding and removing |
//! | `bond` | an active-backup bond as uplink |
//! | `intent_create` | bridges that are made |
//! | `intent_match` | adapters by rule, adapters in two intents, nodes that join |
//! | `levels` | queue pairs and limits of an intent, and what rests on them |
//! | `enabling` | prerequisites, reserve, enabling and disabling |
//! | `setting` | another reserve, another intent, and what becomes of VMs |
//! | `refusals` | each reason against a VM, with its words, and nothing written |
//! | `acceleration` | the reserve, races, levels, dry runs |
//! | `adding` | a NIC for a VM that has none on the bridge |
//! | `capacity` | what is free and held back, and where VMs could go |
//! | `crowd` | many at once, with a node that falls silent |
//! | `backup` | the state as a file, of one moment |
//! | `line` | what is decided while something else is being written |
//! | `parking` | VMs that are kept on their software path for a while |
//! | `people` | who may ask what, tokens, the record |
//! | `parts` | what each node is told |
//! | `metrics` | what Prometheus is told; what was counted of a VM's packets |
//! | `lists` | pages, conditional requests |
//! | `watching` | watches, `pending` |
//! | `young` | a server that has just started |
//! | `state` | what survives a restart |
//! | `unseen` | VMs that could not be looked at |

mod acceleration;
mod adding;
mod backup;
mod bond;
mod capacity;
mod connections;
mod crowd;
mod enabling;
mod http;
mod incoming;
mod intent_create;
mod intent_match;
mod intents;
mod levels;
mod line;
mod lists;
mod metrics;
mod moving;
mod parking;
mod parts;
mod people;
mod refusals;
mod rig;
mod setting;
mod state;
mod unseen;
mod watching;
mod young;
