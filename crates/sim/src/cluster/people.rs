//! People who want things, and what they know of what became of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use accelnet_server::{Actor, Sender};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, header::CONTENT_TYPE},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

use super::{ADMITTED_AT_MOST, Cluster};
use crate::{
    net::{Net, Serving},
    node::VmId,
};

/// Whoever asks gives up after this.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A node whose agent is dead is called down within this: ten seconds, and as long as a message may take.
const DOWN_WITHIN: Duration = Duration::from_secs(20);

/// What people know of VMs that they asked something for.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Levels that a VM may have: more than one while an answer is missing.
    pub(super) levels: BTreeMap<VmId, Vec<bool>>,
    /// VMs that somebody is asking for at present: of one VM one thing at a time.
    pub(super) asking: Vec<VmId>,
    /// Hosts without an agent: since when.
    pub(super) silent: BTreeMap<String, Duration>,
    /// Hosts of which the server hears nothing: since when.
    pub(super) cut: BTreeMap<String, Duration>,
    /// Starts of hosts (`boot_id`) that were drained, and were not taken back into service for certain.
    pub(super) drained: BTreeMap<String, Drained>,
}

/// What people know of a host that was drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// Somebody asks for it, or for its end, at present.
    Asking,
    Certain,
    /// An answer was lost: what was asked for may be done whenever it will.
    Doubtful,
}

pub(super) fn of_people(method: &str, path: &str, body: &Value) -> Request<Body> {
    let sender = Sender::Local(Actor {
        uid: Some(0),
        ..Actor::default()
    });
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", accelnet_api::BASE))
        .header(CONTENT_TYPE, "application/json")
        .extension(ConnectInfo(sender))
        .body(body)
        .unwrap_or_default()
}

/// Status and body of an answer; `None` if there was none.
pub(super) async fn ask(net: &Net, request: Request<Body>) -> Option<(u16, Value)> {
    answer(&net.serving()?, request).await
}

/// What a server says to it, with its status.
pub(super) async fn answer(serving: &Serving, request: Request<Body>) -> Option<(u16, Value)> {
    let answered = async {
        let answer = serving.ask(request).await.ok()?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some((status, body))
    };
    timeout(ANSWER_LIMIT, answered).await.ok()?
}

impl Cluster {
    /// Something that must be possible.
    pub(super) async fn done(
        &mut self,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Value, String> {
        let net = self.net.clone();
        let request = of_people(method, path, &body);
        let asked = tokio::spawn(async move { ask(&net, request).await });
        while !asked.is_finished() {
            self.pass(Duration::from_millis(20)).await?;
        }
        match asked.await.ok().flatten() {
            Some((200, body)) => Ok(body),
            other => Err(format!("{method} {path}: {other:?}")),
        }
    }

    /// Somebody asks for something about a VM, while everything goes on.
    pub(super) fn asks(
        &self,
        vm: VmId,
        method: &'static str,
        what: &str,
        body: Value,
        level: Option<bool>,
    ) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.asking.contains(&vm) {
                return;
            }
            known.asking.push(vm);
            if let Some(level) = level {
                let levels = known.levels.entry(vm).or_insert_with(|| vec![false]);
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
        }
        let path = format!("/vms/{}/{what}", vm.uuid());
        let (net, scene, known) = (
            self.net.clone(),
            self.scene.clone(),
            Arc::clone(&self.known),
        );
        tokio::spawn(async move {
            let answer = ask(&net, of_people(method, &path, &body)).await;
            let said = answer.as_ref().map(|(status, body)| {
                let code = body["code"].as_str().unwrap_or("done").to_owned();
                (*status, code)
            });
            scene.step(&format!("{method} {path}: {said:?}"));
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.asking.retain(|its| *its != vm);
            let Some(level) = level else { return };
            let levels = known.levels.entry(vm).or_default();
            match said {
                Some((200, _)) => *levels = vec![level],
                // It was refused: nothing was done, of this request.
                Some((status, code)) if status < 500 => {
                    scene.reached(&format!("refused: {code}"));
                    if levels.len() > 1 && levels.last() == Some(&level) {
                        levels.pop();
                    }
                }
                // Nobody knows.
                _ => scene.reached("an answer was lost"),
            }
            let certain = known.levels.values().filter(|levels| **levels == [true]);
            if certain.count() > ADMITTED_AT_MOST {
                scene.violation("more VMs were admitted than the reserve allows".into());
            }
        });
    }

    fn boot_of(&self, number: usize) -> String {
        let host = &self.hosts[number].node.host;
        host.with(|machine| machine.node.boot_id.clone())
    }

    /// Somebody drains a host, or takes it back into service: what it had of VMs goes to VFs again then. Of one host one
    /// thing at a time.
    pub(super) fn asks_node(&self, number: usize, drain: bool) {
        let boot = self.boot_of(number);
        let before = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.drained.insert(boot.clone(), Drained::Asking)
        };
        if before == Some(Drained::Asking) {
            return;
        }
        let what = if drain { "drain" } else { "uncordon" };
        let path = format!("/nodes/{}/{what}", self.hosts[number].node.name);
        let (net, scene, known) = (
            self.net.clone(),
            self.scene.clone(),
            Arc::clone(&self.known),
        );
        tokio::spawn(async move {
            let answer = ask(&net, of_people("POST", &path, &Value::Null)).await;
            let said = answer.map(|(status, body)| (status, body["code"].to_string()));
            scene.step(&format!("POST {path}: {said:?}"));
            let after = match said {
                Some((200, _)) if drain => Some(Drained::Certain),
                Some((200, _)) => None,
                Some((status, _)) if status < 500 => before,
                _ => Some(Drained::Doubtful),
            };
            let doubtful = before.filter(|before| *before == Drained::Doubtful);
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            match doubtful.or(after) {
                Some(after) => known.drained.insert(boot, after),
                None => known.drained.remove(&boot),
            };
        });
    }

    /// Whether a host is drained, as far as anybody knows.
    pub(super) fn may_be_drained(&self, known: &Known, number: usize) -> bool {
        known.drained.contains_key(&self.boot_of(number))
    }

    /// A host's cable is unplugged: what it says, or what it is told, does not arrive.
    pub(super) fn cut(&self, number: usize, up: bool, down: bool) {
        let name = &self.hosts[number].node.name;
        self.net.cut(name, up, down);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match up {
            true => known.cut.insert(name.clone(), self.now()),
            false => known.cut.remove(name),
        };
    }

    pub(super) fn heal(&self, number: usize) {
        let name = &self.hosts[number].node.name;
        self.net.heal(name);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.cut.remove(name);
    }

    /// Somebody reads which nodes there are.
    pub(super) fn reads_nodes(&self) {
        let (net, scene, known) = (
            self.net.clone(),
            self.scene.clone(),
            Arc::clone(&self.known),
        );
        tokio::spawn(async move {
            let asked = scene.now();
            let answer = ask(&net, of_people("GET", "/nodes", &Value::Null)).await;
            let Some((200, nodes)) = answer else { return };
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            for node in nodes["items"].as_array().into_iter().flatten() {
                let name = node["name"].as_str().unwrap_or_default();
                for (silent, what) in [(&known.silent, "has no agent"), (&known.cut, "is cut off")]
                {
                    let since = silent.get(name);
                    let long = since.is_some_and(|since| asked > *since + DOWN_WITHIN);
                    if long && node["reachable"] != false {
                        scene.violation(format!("{name} is called reachable, and {what}"));
                    }
                }
            }
        });
    }
}
