//! The agent in this process: how it is started, and how it is ended.

use std::{path::Path, sync::Arc, time::Duration};

use accelnet_agent::{Agent, Config};
use accelnet_api::metrics::{Text, table};
use accelnet_host::linux::Linux;
use accelnet_hypervisor::libvirt::Libvirt;
use accelnet_link::{Connected, Node, Pending};
use accelnet_model::{Code, NicCounted, NodeDesired, NodeStatus, Problem};
use accelnet_server::metrics::Measured;
use anyhow::Result;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{alive::Dead, lock};

/// A look at the whole machine took 1 s in the lab's software emulation; switch-overs do not hold it
/// up.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// Switch-overs under way come to their end within this (`TimeoutStopSec` of the unit), or not at all.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What the agent of this machine holds, whatever its socket and state directory: two would undo what the other does.
const ONLY_AGENT: &str = "/run/accelnet/agent.lock";

/// The agent of this machine.
pub struct OwnAgent {
    /// It.
    pub agent: Arc<Agent>,
    /// What it reports last; nothing before its first look.
    pub reports: watch::Receiver<Option<NodeStatus>>,
    /// Kept until it has ended, so that the next one begins when nothing of this one is under way.
    pub only: lock::Held,
}

/// The right to do what an agent does on this machine.
///
/// # Errors
/// If this machine has an agent.
pub fn lock() -> Result<lock::Held> {
    lock::take(Path::new(ONLY_AGENT), |who| {
        format!(
            "this machine has an agent, and two would undo each other's work: {who}; stop it first"
        )
    })
}

/// That right, or who has it.
///
/// # Errors
/// If that cannot be known.
pub fn lock_or_who() -> Result<Result<lock::Held, String>> {
    lock::take_or_who(Path::new(ONLY_AGENT))
}

/// The machine. What outlives the agent is this program, also when an update has put another in its place.
pub fn machine() -> Linux {
    Linux::new().with_guard("/proc/self/exe".into(), vec!["hold-guard".to_owned()])
}

/// Starts it, as this node of a cluster or as a host by itself.
///
/// # Errors
/// If this machine has an agent.
pub fn start(state_dir: &Path, member: Option<Uuid>, libvirt: Libvirt) -> Result<OwnAgent> {
    let only = lock()?;
    let (reports, last) = watch::channel(None);
    let config = Config {
        state_dir: state_dir.to_owned(),
        member,
    };
    let (host, hypervisor) = (Arc::new(machine()), Arc::new(libvirt));
    let agent = Agent::start(config, host, hypervisor, move |status| {
        reports.send_replace(Some(status));
    });
    Ok(OwnAgent {
        agent: Arc::new(agent),
        reports: last,
        only,
    })
}

/// A fresh look at the machine.
pub async fn refresh(agent: Arc<Agent>) -> Result<NodeStatus, Problem> {
    let looked = tokio::task::spawn_blocking(move || agent.refresh(LOOK_LIMIT)).await;
    looked.unwrap_or_else(|error| {
        Err(Problem::new(
            Code::AgentUnreachable,
            format!("The look at the node failed: {error}."),
        ))
    })
}

/// What Prometheus is told of the node, and of its line if it has one.
pub fn measured(
    agent: Arc<Agent>,
    reports: watch::Receiver<Option<NodeStatus>>,
    line: Option<watch::Receiver<Option<Connected>>>,
) -> Measured<Text> {
    Arc::new(move || {
        let (agent, last) = (Arc::clone(&agent), reports.borrow().clone());
        let connected = line.as_ref().map(|line| line.borrow().is_some());
        Box::pin(async move {
            let looked = tokio::task::spawn_blocking(move || agent.measure(last.as_ref())).await;
            let mut text = looked.unwrap_or_else(|error| {
                tracing::error!(%error, "metrics");
                Text::default()
            });
            text.put_known(&table::AGENT_CONNECTED, &[], connected);
            text
        })
    })
}

/// What was counted of a VM's packets.
pub async fn traffic(
    agent: Arc<Agent>,
    last: Option<NodeStatus>,
    vm: Uuid,
) -> Result<Vec<NicCounted>, Problem> {
    let Some(last) = last else {
        let text = "The node has not been looked at yet.";
        return Err(Problem::new(Code::AgentUnreachable, text));
    };
    let counted = tokio::task::spawn_blocking(move || agent.traffic(&last, vm)).await;
    counted.map_err(|error| Problem::new(Code::Internal, format!("Counters: {error}.")))
}

/// The agent at its end of the line, and its last report.
pub struct AtLine(pub Arc<Agent>, pub watch::Receiver<Option<NodeStatus>>);

impl Node for AtLine {
    fn set_desired(&self, desired: NodeDesired) {
        self.0.set_desired(desired);
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        Box::pin(refresh(Arc::clone(&self.0)))
    }

    fn traffic(&self, vm: Uuid) -> Pending<'static, Vec<NicCounted>> {
        let counting = traffic(Arc::clone(&self.0), self.1.borrow().clone(), vm);
        Box::pin(async {
            // Told as what it is: the node sees nothing of the VM.
            counting.await.unwrap_or_else(|problem| {
                tracing::warn!(%problem, "counters that the server asked for");
                Vec::new()
            })
        })
    }
}

/// Ends it, by whoever holds it last: its end waits for switch-overs under way.
pub async fn end(agent: Arc<Agent>, dead: Option<Dead>) -> Result<()> {
    let ended = tokio::task::spawn_blocking(move || drop(agent));
    let Some(dead) = dead else {
        return Ok(ended.await?);
    };
    // What has made it useless may keep it from its end as well.
    if tokio::time::timeout(END_LIMIT, ended).await.is_err() {
        tracing::warn!("the agent does not come to its end");
    }
    Err(dead.into())
}
