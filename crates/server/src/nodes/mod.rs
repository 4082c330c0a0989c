//! The nodes: which machines belong to the cluster, and the port to their agents.
//!
//! | module | holds |
//! |---|---|
//! | [`registry`] | the cluster's authority, members and join tokens, in the store |
//! | [`membership`] | who may join, and who is a member: the registry and the hub together |
//! | [`servers`] | the cluster's servers, and whether those that stand by answer |
//! | [`hub`] | agents that are connected: what each is told, what it said last, and when |

mod hub;
pub mod membership;
mod questions;
mod registry;
mod servers;

use std::sync::Arc;

use accelnet_model::{Code, Name, NicCounted, NodeDesired, NodeStatus, Problem};
use uuid::Uuid;

pub use registry::{Founding, Member, is_spec};

pub use hub::{Following, Taken};
pub use questions::Question;

use crate::Pending;

/// How the server reaches its nodes. Whoever has the connections also tells the server what comes by them:
/// [`Server::report`](crate::Server::report), and [`Server::lost`](crate::Server::lost) when a node
/// cannot be reached any more.
pub trait Nodes: Send + Sync + 'static {
    /// All nodes of the cluster, in the order of their names; the same list as long as they are the
    /// same nodes.
    fn names(&self) -> Arc<[Name]>;

    /// A fresh observation of a node.
    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>>;

    /// What was counted of a VM's packets; nothing if the node does not see the VM. It may never answer.
    fn traffic<'a>(
        &'a self,
        node: &'a Name,
        _vm: Uuid,
    ) -> Pending<'a, Result<Vec<NicCounted>, Problem>> {
        let text = format!("Node '{node}' cannot be asked for it.");
        let problem = Problem::new(Code::AgentUnreachable, text);
        Box::pin(std::future::ready(Err(problem)))
    }

    /// What the node shall be, with the VMs that it has. Returns at once; the agent's report says when it has taken it up.
    fn set_desired(&self, node: &Name, desired: NodeDesired);
}

fn not_member(name: &Name) -> Problem {
    let text =
        format!("Node '{name}' is not of this cluster, or another machine has its name now.");
    Problem::new(Code::NodeNotMember, text).about("node", name)
}
