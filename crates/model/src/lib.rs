//! The nouns of accelnet.
//!
//! Everything here is a value: validated primitives, what was *observed* on a machine ("facts"),
//! what is *wanted* ("intent", "desired"), what is *shown* ("status") and what went wrong
//! ("problem"). No I/O, no clock, no async. Decisions over these values live in `accelnet-rules`.
//!
//! Conventions: facts may be partial and say so ([`Support`]); `Unsupported` is not `false`;
//! units come last in a name (`rate_mbps`, `delay_ms`).

pub mod adapter;
pub mod adapter_match;
pub mod bridge;
pub mod capabilities;
pub mod check;
pub mod desired;
pub mod devlink;
pub mod explanation;
pub mod fault;
pub mod ids;
pub mod intent;
pub mod intent_status;
pub mod levels;
pub mod node;
pub mod numa;
pub mod performance;
mod policy;
pub mod problem;
pub mod staging;
pub mod status;
pub mod support;
pub mod traffic;
pub mod vm;

pub use adapter::{
    AdapterFacts, AdapterId, EswitchMode, PcieLink, SriovSupport, VfAttributes, VfFacts, VfLink,
    VfUser,
};
pub use adapter_match::AdapterMatch;
pub use bridge::{BondFacts, BridgeFacts, BridgePort, FdbEntry, FdbKey, VlanOf};
pub use capabilities::DomainCapabilities;
pub use check::{CheckResult, Severity};
pub use desired::{ClusterEnable, Isolated, NodeDesired, VmDesired};
pub use devlink::DevlinkFacts;
pub use explanation::{ChainLink, LinkState, NicChain, VmExplanation};
pub use fault::{Acknowledged, Fault, FaultObject, FaultSeverity, Muted, fault_id};
pub use ids::{AdapterName, DriverName, IfName, MacAddr, Name, PciAddress, VfDriver};
pub use intent::{Intent, IntentType, VfCount, WhenToCreateVfs};
pub use intent_status::{IntentOnNode, IntentState};
pub use levels::{LevelQueuePairs, LevelTxRates, Levels};
pub use node::{Hook, NoAdapter, NodeFacts};
pub use numa::{Bound, NumaNode, Numbers};
pub use performance::Performance;
pub use policy::{PolicyFinding, PolicyKind, Waiver};
pub use problem::{Code, ObjectRef, Problem};
pub use staging::Staging;
pub use status::{
    AdapterStatus, NicPath, NicStatus, NodeStatus, Progress, QueuePairs, UnseenVm, VmStatus,
};
pub use support::Support;
pub use traffic::{
    AdapterDrops, Counted, Counters, IdleVf, Interrupts, NicCounted, PortCounters, Traffic, VfDrops,
};
pub use vm::{HostdevFacts, NicFacts, VmFacts, VmJob, VmState, is_virtio};
