//! Hosts, the agents on them, and the lines that connect these.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, PoisonError},
    time::Duration,
};

use accelnet_agent::event::Event;
use accelnet_api::{
    ServerUrl,
    agents::{BASE, JoinRequest, Joined},
};
use accelnet_host::twin::Machine;
use accelnet_link::{Credentials, Line, Node as AtNode, Pending};
use accelnet_model::{Code, NodeDesired, NodeStatus, Problem};
use accelnet_pki::node_request;
use accelnet_server::Sender;
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, header::CONTENT_TYPE},
};
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{Cluster, Happening, VFS, people::ask, words};
use crate::{
    agent::Ready,
    auditor::Auditor,
    node::{Node, VmId, bridge, uplink},
};

/// What the line tells the agent of its node.
enum ToAgent {
    Wish(Box<NodeDesired>),
    Look(oneshot::Sender<NodeStatus>),
}

/// The agent as its line has it.
struct Ear {
    to_agent: mpsc::UnboundedSender<ToAgent>,
    wake: Arc<Notify>,
}

impl AtNode for Ear {
    fn set_desired(&self, desired: NodeDesired) {
        // The agent may be dead; its line is soon, too.
        let _ = self.to_agent.send(ToAgent::Wish(Box::new(desired)));
        self.wake.notify_one();
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        let (asker, answer) = oneshot::channel();
        let _ = self.to_agent.send(ToAgent::Look(asker));
        self.wake.notify_one();
        Box::pin(async move {
            let gone = |_| Problem::new(Code::AgentUnreachable, "The agent is dead.");
            let late = |_| Problem::new(Code::AgentUnreachable, "The agent gave no answer.");
            let answer = timeout(Duration::from_secs(40), answer);
            answer.await.map_err(late)?.map_err(gone)
        })
    }
}

/// What connects an agent that runs.
pub(super) struct Connected {
    line: JoinHandle<()>,
    said: mpsc::UnboundedReceiver<ToAgent>,
    reports: watch::Sender<Option<NodeStatus>>,
    asked: BTreeMap<u64, oneshot::Sender<NodeStatus>>,
    tokens: u64,
}

/// A host of the cluster.
pub(super) struct Host {
    pub(super) node: Node,
    auditor: Auditor,
    pub(super) credentials: Credentials,
    directory: tempfile::TempDir,
    connected: Option<Connected>,
}

impl Cluster {
    pub(super) async fn join(&mut self, number: usize) -> Result<Host, String> {
        let name = format!("node{}", number + 1);
        let token = self
            .done("POST", "/join-tokens", json!({"ttl_s": 900}))
            .await?;
        let own = node_request().map_err(|error| error.to_string())?;
        let request = JoinRequest {
            token: token["token"].as_str().unwrap_or_default().to_owned(),
            request_pem: own.request_pem.clone(),
            name: name.parse().map_err(|error| format!("{error}"))?,
        };
        let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method("POST")
            .uri(format!("{BASE}/join"))
            .header(CONTENT_TYPE, "application/json")
            .extension(ConnectInfo(Sender::Remote {
                address: ([192, 0, 2, 1], 7643).into(),
                node: None,
            }))
            .body(Body::from(body))
            .unwrap_or_default();
        let answer = ask(&self.net, request).await;
        let Some((200, joined)) = answer else {
            return Err(format!("{name} cannot join: {answer:?}"));
        };
        let joined: Joined = serde_json::from_value(joined).map_err(|error| error.to_string())?;
        let server: ServerUrl = "https://server1:7643"
            .parse()
            .map_err(|error| format!("{error}"))?;
        let credentials =
            Credentials::given(joined, &own.key, &server).map_err(|problem| words(&problem))?;
        let mut machine = Machine::igb(&name, &bridge(), &uplink());
        machine.adapters[0].total_vfs = VFS;
        Ok(Host {
            node: Node::new(&name, &self.scene, machine),
            auditor: Auditor::default(),
            credentials,
            directory: tempfile::tempdir().map_err(|error| error.to_string())?,
            connected: None,
        })
    }

    pub(super) fn revive(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.connected.is_some() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.silent.remove(&host.node.name);
        drop(known);
        host.node.start();
        let (to_agent, said) = mpsc::unbounded_channel();
        let (reports, its_reports) = watch::channel(None);
        let ear = Ear {
            to_agent,
            wake: Arc::clone(&self.wake),
        };
        let directory = host.directory.path().to_path_buf();
        let line = Line::new(
            host.credentials.clone(),
            directory,
            Arc::new(ear),
            its_reports,
        );
        let line = line.by(Arc::new(self.net.clone()));
        host.connected = Some(Connected {
            line: tokio::spawn(line.run()),
            said,
            reports,
            asked: BTreeMap::new(),
            tokens: 0,
        });
    }

    pub(super) fn kill_agent(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.node.kill(&mut self.idle);
        if let Some(connected) = host.connected.take() {
            connected.line.abort();
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.began.elapsed();
            known.silent.insert(host.node.name.clone(), now);
        }
    }

    /// Time has passed for hosts as for everybody.
    pub(super) fn clocks(&mut self) {
        let now = self.now();
        for host in &self.hosts {
            let its = host.node.now();
            if its < now {
                host.node.host.advance(now - its);
            }
        }
        self.scene.set_now(now);
    }

    /// What lines have said comes to their agents, and what agents report to their lines.
    pub(super) fn hear(&mut self) {
        for host in &mut self.hosts {
            let Some(connected) = &mut host.connected else {
                continue;
            };
            while let Ok(said) = connected.said.try_recv() {
                match said {
                    ToAgent::Wish(desired) => host.node.tell(Event::Wished(desired)),
                    ToAgent::Look(asker) => {
                        connected.tokens += 1;
                        connected.asked.insert(connected.tokens, asker);
                        host.node.tell(Event::Asked(connected.tokens));
                    }
                }
            }
        }
    }

    pub(super) fn go_on(&mut self, number: usize, ready: Ready) {
        self.hosts[number].node.go_on(ready, &mut self.idle);
        self.migrate(number);
        let host = &mut self.hosts[number];
        let Some(agent) = &mut host.node.agent else {
            self.kill_agent(number);
            self.after(Duration::from_secs(5), Happening::Revive(number));
            return;
        };
        let Some(connected) = &mut host.connected else {
            return;
        };
        let answers = mem::take(&mut agent.answers);
        for (token, status) in answers {
            if let Some(asker) = connected.asked.remove(&token) {
                // Whoever asked may have given up.
                let _ = asker.send(status);
            }
        }
        let reported = &agent.reported;
        connected.reports.send_if_modified(|last| {
            let differs = last != reported;
            if differs {
                last.clone_from(reported);
            }
            differs
        });
    }

    /// VMs that left a host come in where they were sent, and run there after a while.
    fn migrate(&mut self, number: usize) {
        let left = self.hosts[number]
            .node
            .vms
            .with(|vms| mem::take(&mut vms.migrated));
        for (vm, to) in left {
            let mut hosts = self.hosts.iter();
            let Some(target) = hosts.find(|host| host.node.name == to.as_str()) else {
                continue;
            };
            let uuid = vm.facts.uuid;
            target.node.vms.define(vm.facts);
            // Its bridge is there: it comes in.
            let _ = target.node.vms.arrive(uuid);
            let vm = VmId(uuid.as_u128() as u8);
            if let Some(pid) = target.node.pid(vm) {
                self.after(Duration::from_secs(5), Happening::Resume(vm, pid));
            }
        }
    }

    pub(super) fn audit(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        // Here it is about who has which VF; whether frames arrive is looked at where a host is alone.
        host.node.host.with(|machine| {
            machine
                .guests
                .iter_mut()
                .for_each(|guest| guest.excused = true);
        });
        host.auditor.look(&host.node, &self.scene, false);
    }
}
