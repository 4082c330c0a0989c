//! Where libvirt's hook asks on a node: VFs are kept for a VM that is on its way here.

use std::{sync::Arc, time::Duration};

use accelnet_agent::{Agent, event::Expected};
use accelnet_api::incoming::{Admitted, HOST_PATH, IncomingVm, KeptVf, KeptVfs};
use accelnet_link::Connected;
use accelnet_model::{Code, Name, Performance, Problem};
use accelnet_server::{Failure, Sender, Server};
use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    routing::post,
};
use tokio::sync::watch;

/// libvirt, and whoever waits for it, waits for all of this: the server has this long to answer, and the agent too.
const LIMIT: Duration = Duration::from_secs(5);

/// Who decides whether a VM may come.
#[derive(Clone)]
pub enum Judge {
    /// The server of the cluster that the node is connected with, if it is.
    Cluster(watch::Receiver<Option<Connected>>),
    /// The server in this process.
    Own(Server),
}

#[derive(Clone)]
struct Desk {
    node: Name,
    agent: Arc<Agent>,
    judge: Judge,
}

/// The route.
pub fn router(node: Name, agent: Arc<Agent>, judge: Judge) -> Router {
    Router::new()
        .route(HOST_PATH, post(expect))
        .with_state(Desk { node, agent, judge })
}

async fn expect(
    State(desk): State<Desk>,
    ConnectInfo(sender): ConnectInfo<Sender>,
    Json(vm): Json<IncomingVm>,
) -> Result<Json<KeptVfs>, Failure> {
    // VFs that are kept are nobody's meanwhile.
    let root = matches!(&sender, Sender::Local(actor) if actor.uid == Some(0));
    if !root {
        let text = "This is for libvirt's hook, which runs as root.";
        return Err(Problem::new(Code::NotPermitted, text).into());
    }
    let admitted = desk.judged(&vm).await?;
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

impl Desk {
    async fn judged(&self, vm: &IncomingVm) -> Result<Admitted, Problem> {
        match &self.judge {
            Judge::Own(server) => server.incoming(&self.node, vm).await,
            Judge::Cluster(connected) => {
                let connected = connected.borrow().clone();
                let Some(connected) = connected else {
                    let text = format!(
                        "Node '{}' has no line to a server of its cluster, which knows whether VM '{}' may come.",
                        self.node, vm.name
                    );
                    return Err(Problem::new(Code::ServerNotRunning, text));
                };
                accelnet_link::incoming::ask(&connected, vm, LIMIT).await
            }
        }
    }
}
