//! What root asks on a node besides the API: libvirt's hook that VFs are kept for a VM that is on its way here, and
//! `accelnetd drain` that all VMs leave their VFs because the host goes down.

use std::{sync::Arc, time::Duration};

use accelnet_agent::{Agent, event::Expected};
use accelnet_api::{
    draining::{self, DrainRequest, Drained, Left, Parked},
    incoming::{self, Admitted, IncomingVm, KeptVf, KeptVfs},
};
use accelnet_link::{Connected, ask};
use accelnet_model::{Code, Name, NodeStatus, Performance, Problem, VfUser};
use accelnet_server::{Failure, Sender, Server};
use axum::{
    Json, Router,
    extract::{ConnectInfo, FromRequestParts, State},
    http::request::Parts,
    routing::post,
};
use tokio::{sync::watch, time::timeout};

use crate::own_agent;

/// A server parks many VMs within this, each with a write.
const PARKING: Duration = Duration::from_secs(20);
/// libvirt, and whoever waits for it, waits for all of this: the server has this long to answer, and the agent too.
const LIMIT: Duration = Duration::from_secs(5);

/// Who decides what a node asks.
#[derive(Clone)]
pub enum Judge {
    /// The server of the cluster that the node is connected with, if it is.
    Cluster(watch::Receiver<Option<Connected>>),
    /// The server in this process.
    Own(Server),
}

/// The node that is asked.
#[derive(Clone)]
pub struct Desk {
    /// Its name.
    pub node: Name,
    /// Its agent.
    pub agent: Arc<Agent>,
    /// What that reports last.
    pub reports: watch::Receiver<Option<NodeStatus>>,
    /// Whom it asks.
    pub judge: Judge,
}

impl Desk {
    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route(incoming::HOST_PATH, post(expect))
            .route(draining::HOST_PATH, post(drain))
            .with_state(self)
    }
}

/// Whoever asks is root on this host: VFs that are kept are nobody's meanwhile, and VMs that are parked go slower.
struct Root;

impl<S: Sync> FromRequestParts<S> for Root {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<ConnectInfo<Sender>>() {
            Some(ConnectInfo(Sender::Local(actor))) if actor.uid == Some(0) => Ok(Self),
            _ => {
                let text =
                    "This is for libvirt's hook and for services of this host, which run as root.";
                Err(Problem::new(Code::NotPermitted, text).into())
            }
        }
    }
}

async fn expect(
    State(desk): State<Desk>,
    _root: Root,
    Json(vm): Json<IncomingVm>,
) -> Result<Json<KeptVfs>, Failure> {
    let admitted = desk.may_come(&vm).await?;
    let expected = Expected {
        vm: vm.uuid,
        name: vm.name,
        // What it comes with is taken off it: any VF will do.
        level: admitted.level.unwrap_or(Performance::Low),
        nics: vm.nics,
    };
    let agent = Arc::clone(&desk.agent);
    let kept = tokio::task::spawn_blocking(move || agent.expect(expected, LIMIT)).await;
    let kept = kept.map_err(|error| Problem::new(Code::Internal, format!("{error}.")))??;
    let vfs = kept.into_iter().map(|(nic, vf)| KeptVf { nic, vf });
    Ok(Json(KeptVfs { vfs: vfs.collect() }))
}

async fn drain(
    State(desk): State<Desk>,
    _root: Root,
    Json(request): Json<DrainRequest>,
) -> Result<Json<Drained>, Failure> {
    // A server that is gone, or shut down before, must not keep VMs on VFs that nothing can save or stop them on.
    let parked = desk.park().await.unwrap_or_else(|problem| {
        desk.agent.goes_down();
        Parked {
            generation: 0,
            problems: vec![problem],
        }
    });
    // What was reported before that says nothing.
    let mut status = own_agent::refresh(Arc::clone(&desk.agent)).await?;
    let emptied = emptied(&mut status, desk.reports, parked.generation);
    // Whatever is left after that time is told.
    let _ = timeout(Duration::from_secs(request.timeout_s), emptied).await;
    Ok(Json(Drained {
        left: left(&status),
        problems: parked.problems,
    }))
}

/// Waits until the node follows this wish, and no VM has a VF of ours; `status` is what it reported last then.
async fn emptied(
    status: &mut NodeStatus,
    mut reports: watch::Receiver<Option<NodeStatus>>,
    generation: u64,
) {
    while status.generation < generation || !left(status).is_empty() {
        if reports.changed().await.is_err() {
            break;
        }
        let report = reports.borrow_and_update().clone();
        if let Some(newer) = report.filter(|report| report.sequence > status.sequence) {
            *status = newer;
        }
    }
}

/// VMs that have a VF of ours, or are on their way; and whatever QEMU has a VF and is no VM that libvirt tells of now,
/// as the kernel says: nobody knows of it that it has none.
fn left(status: &NodeStatus) -> Vec<Left> {
    let vms = status.vms.iter().filter(|vm| {
        let on_vf = vm.nics.iter().any(|nic| nic.vf.is_some());
        vm.progress.is_some() || vm.level.is_some() && on_vf
    });
    let vms = vms.map(|vm| {
        let mut problems = vm.problems.iter();
        let because = problems.find(|problem| problem.code != Code::VmParked);
        Left {
            vm: vm.facts.name.clone(),
            because: because.cloned(),
        }
    });
    let seen = |pid: u32| status.vms.iter().any(|vm| vm.facts.pid == Some(pid));
    let vfs = status.adapters.iter();
    let vfs = vfs.flat_map(|adapter| &adapter.facts.vfs);
    let unseen = vfs.filter_map(|vf| match &vf.user {
        VfUser::Process { pid, command } if command.contains("qemu") && !seen(*pid) => Some(Left {
            vm: format!("{command} (process {pid}, VF {})", vf.pci),
            because: status.problems.first().cloned(),
        }),
        _ => None,
    });
    vms.chain(unseen).collect()
}

impl Desk {
    async fn may_come(&self, vm: &IncomingVm) -> Result<Admitted, Problem> {
        match &self.judge {
            Judge::Own(server) => server.incoming(&self.node, vm).await,
            Judge::Cluster(connected) => {
                let why = format!("which knows whether VM '{}' may come", vm.name);
                ask::may_come(&self.line(connected, &why)?, vm, LIMIT).await
            }
        }
    }

    async fn park(&self) -> Result<Parked, Problem> {
        match &self.judge {
            Judge::Own(server) => server.goes_down(&self.node).await,
            Judge::Cluster(connected) => {
                let line = self.line(connected, "which parks VMs")?;
                ask::goes_down(&line, PARKING).await
            }
        }
    }

    fn line(
        &self,
        connected: &watch::Receiver<Option<Connected>>,
        what_for: &str,
    ) -> Result<Connected, Problem> {
        connected.borrow().clone().ok_or_else(|| {
            let text = format!(
                "Node '{}' has no line to a server of its cluster, {what_for}.",
                self.node
            );
            Problem::new(Code::ServerNotRunning, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use accelnet_rules::fixture;

    use super::*;

    fn names(status: &NodeStatus) -> Vec<String> {
        left(status).into_iter().map(|left| left.vm).collect()
    }

    #[test]
    fn a_vm_is_left_as_long_as_it_has_its_vf_or_nobody_knows() {
        let mut status = fixture::report(&fixture::observed());
        assert_eq!(names(&status), [""; 0]);
        // VM 1 is on a VF.
        let (pid, pci) = (4711, status.adapters[0].facts.vfs[0].pci);
        status.adapters[0].facts.vfs[0].user = VfUser::Process {
            pid,
            command: "qemu-system-x86".into(),
        };
        status.vms[0].facts.pid = Some(pid);
        status.vms[0].nics[0].vf = Some(pci);
        // It is not one of ours.
        assert_eq!(names(&status), [""; 0]);
        status.vms[0].level = Some(Performance::Low);
        assert_eq!(names(&status), ["vm1"]);
        // libvirt does not answer: nothing is told of VMs.
        status.vms.clear();
        let silent = Problem::new(Code::HypervisorUnavailable, "It is silent.");
        status.problems.push(silent.clone());
        let told = left(&status);
        assert!(told[0].vm.contains("process 4711"), "{told:?}");
        assert_eq!((told.len(), &told[0].because), (1, &Some(silent)));
    }
}
