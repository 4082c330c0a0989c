//! A whole server of fake nodes, in virtual time: what opens, closes, is kept, and is said to it.

mod acting;

use std::{sync::Arc, time::Duration};

use accelnet_model::{Code, Fault, FaultSeverity, Name};
use accelnet_rules::{Observed, fixture};
use accelnet_store::{MemoryStore, Page, Store};
use axum::{
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{Request, header::CONTENT_TYPE},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::*;
use crate::{
    Actor, Nodes, Sender,
    fake::{
        FakeNodes,
        simulated::{SimulatedNode, Size, fill},
    },
    reports::Reports,
    state::Stored,
};

struct Rig {
    nodes: Arc<FakeNodes>,
    store: Arc<MemoryStore>,
    announcer: Announcer,
    acts: Acts,
    server: Server,
    work: JoinHandle<()>,
}

/// VMs and bridge ports with other numbers than the fixture's.
fn second() -> Observed {
    let mut observed = fixture::observed();
    observed.vms = vec![fixture::vm(3)];
    observed.bridges[0].ports.truncate(1);
    let nic = &observed.vms[0].nics[0];
    let port = fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac));
    observed.bridges[0].ports.push(port);
    observed
}

async fn started(
    nodes: &Arc<FakeNodes>,
    store: &Arc<MemoryStore>,
    announcer: &Announcer,
    acts: &Acts,
) -> (Server, JoinHandle<()>) {
    let nodes = Arc::clone(nodes) as Arc<dyn Nodes>;
    let settings = Settings {
        announcer: announcer.clone(),
        acts: acts.clone(),
        ..Settings::default()
    };
    let server = Server::with(Arc::clone(store), nodes, settings).await;
    let server = server.unwrap();
    let work = tokio::spawn({
        let server = server.clone();
        async move { server.work(std::future::pending()).await }
    });
    (server, work)
}

impl Rig {
    /// Two nodes on which acceleration is enabled.
    async fn new() -> Self {
        Self::announcing(Announcer::default()).await
    }

    /// The same; faults are announced.
    async fn announcing(announcer: Announcer) -> Self {
        let nodes = [("node1", fixture::observed()), ("node2", second())];
        Self::of(nodes, announcer, Acts::default()).await
    }

    /// Acceleration is enabled on these nodes; faults are announced, and acted on.
    async fn of(nodes: [(&'static str, Observed); 2], announcer: Announcer, acts: Acts) -> Self {
        let adapters = nodes[0].1.adapters.iter();
        let adapters: Vec<String> = adapters.map(|pf| pf.ifname.to_string()).collect();
        let nodes = FakeNodes::new(nodes);
        let store = Arc::new(MemoryStore::new());
        let (server, work) = started(&nodes, &store, &announcer, &acts).await;
        nodes.speak_to(&server);
        let rig = Self {
            nodes,
            store,
            announcer,
            acts,
            server,
            work,
        };
        let intent =
            json!({"name": "compute", "types": ["compute"], "adapters": adapters, "bridge": "br0"});
        rig.done("POST", "/intents", intent).await;
        let enable = json!({"intent": "compute", "node_reserve_percentage": 0});
        rig.done("PUT", "/acceleration", enable).await;
        rig
    }

    /// The server dies, and another begins on its state; nodes have not found it yet.
    async fn dies(self) -> Self {
        self.work.abort();
        drop(self.server);
        let (server, work) = started(&self.nodes, &self.store, &self.announcer, &self.acts).await;
        Self {
            server,
            work,
            ..self
        }
    }

    async fn asked(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let sender = Sender::Local(Actor {
            uid: Some(0),
            ..Actor::default()
        });
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", accelnet_api::BASE))
            .header(CONTENT_TYPE, "application/json")
            .extension(ConnectInfo(sender))
            .body(body)
            .unwrap();
        let answer = self.server.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.asked(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {body}");
        body
    }

    async fn faults(&self) -> Vec<Fault> {
        let mut list = self.done("GET", "/faults", Value::Null).await;
        serde_json::from_value(list["items"].take()).unwrap()
    }

    async fn codes(&self) -> Vec<Code> {
        self.faults().await.iter().map(|fault| fault.code).collect()
    }

    async fn events(&self) -> Vec<Value> {
        let mut list = self.done("GET", "/events?limit=2000", Value::Null).await;
        serde_json::from_value(list["items"].take()).unwrap()
    }

    fn link(&self, up: bool) {
        self.nodes
            .sees("node1", |seen| seen.adapters[0].carrier = up);
    }

    async fn kept(&self, part: &str) -> Vec<Value> {
        let prefix = format!("accelnet/v1/{part}");
        let page = Page::first(1000);
        let listing = self.store.list(&prefix, page).await.unwrap();
        let items = listing.items.iter();
        items
            .map(|item| serde_json::from_slice(&item.value).unwrap())
            .collect()
    }
}

async fn passes(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_opens_is_kept_and_closes_and_both_are_events() {
    let rig = Rig::new().await;
    passes(60).await;
    assert_eq!(rig.codes().await, [], "all is in order");
    rig.link(false);
    passes(8).await;
    assert_eq!(rig.codes().await, [], "not for long enough");
    passes(6).await;
    let [fault] = &rig.faults().await[..] else {
        panic!("one is open");
    };
    assert_eq!(
        (fault.code, fault.severity),
        (Code::AdapterLinkDown, FaultSeverity::Warning)
    );
    assert_eq!(fault.object.id, "node1/pf0");
    assert!(fault.last_seen.is_none());
    let kept = rig.kept("faults/").await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["fault"]["id"], fault.id.as_str());
    let one = rig
        .done("GET", &format!("/faults/{}", fault.id), Value::Null)
        .await;
    assert_eq!(serde_json::from_value::<Fault>(one).unwrap(), *fault);
    rig.link(true);
    passes(5).await;
    assert!(rig.faults().await[0].last_seen.is_some());
    passes(40).await;
    assert_eq!(rig.codes().await, []);
    assert_eq!(rig.kept("faults/").await, [] as [Value; 0]);
    let events = rig.events().await;
    let of_it: Vec<&str> = events
        .iter()
        .filter(|event| event["fault"] == fault.id.as_str())
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(of_it, ["fault_opened", "fault_closed"]);
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    // What people asked for is among them.
    assert!(
        kinds.contains(&"asked") && kinds.contains(&"server_started"),
        "{kinds:?}"
    );
    assert_eq!(rig.kept("events/").await.len(), 3);
}

/// Somebody who is told of faults: how he answers, and what he was told.
#[derive(Default)]
struct Receiver {
    answer: Mutex<Answer>,
    taken: Mutex<Vec<(String, EventKind)>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Answer {
    #[default]
    Takes,
    Refuses,
    Hangs,
}

impl Announce for Receiver {
    fn announce<'a>(
        &'a self,
        announcement: &'a accelnet_api::Announcement,
    ) -> crate::Pending<'a, Result<(), NotTaken>> {
        let answer = *self.answer.lock().unwrap();
        Box::pin(async move {
            match answer {
                Answer::Takes => {
                    let event = &announcement.event;
                    assert_eq!(announcement.title, event.code.unwrap().title());
                    let told = (event.fault.clone().unwrap(), event.kind);
                    self.taken.lock().unwrap().push(told);
                    Ok(())
                }
                Answer::Refuses => Err(NotTaken("not now".to_owned())),
                Answer::Hangs => std::future::pending().await,
            }
        })
    }
}

impl Receiver {
    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn told(&self) -> Vec<EventKind> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|(_, kind)| *kind).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn faults_are_announced_once_also_over_a_server_s_death() {
    use EventKind::{FaultClosed, FaultOpened};
    let receiver = Arc::new(Receiver::default());
    let announcer = Announcer(Some(Arc::clone(&receiver) as Arc<dyn Announce>));
    let rig = Rig::announcing(announcer).await;
    rig.link(false);
    passes(20).await;
    assert_eq!(receiver.told(), [FaultOpened]);
    // One that does not take it is asked again.
    receiver.answers(Answer::Refuses);
    rig.link(true);
    passes(42).await;
    assert_eq!(rig.codes().await, []);
    assert_eq!(receiver.told(), [FaultOpened]);
    // Its server dies meanwhile, and the next one goes on there.
    let rig = rig.dies().await;
    receiver.answers(Answer::Takes);
    passes(5).await;
    assert_eq!(receiver.told(), [FaultOpened, FaultClosed]);
    let rig = rig.dies().await;
    // Nodes have not found it yet, and none counts as silent.
    passes(5).await;
    assert_eq!(receiver.told(), [FaultOpened, FaultClosed], "nothing twice");
    drop(rig);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_given_up_and_the_next_have_their_turn() {
    use EventKind::{FaultClosed, FaultOpened};
    let receiver = Arc::new(Receiver::default());
    receiver.answers(Answer::Hangs);
    let announcer = Announcer(Some(Arc::clone(&receiver) as Arc<dyn Announce>));
    let rig = Rig::announcing(announcer).await;
    rig.link(false);
    // Five tries of ten seconds, and the rests between them; nothing else waits for that.
    passes(100).await;
    assert_eq!(rig.codes().await, [Code::AdapterLinkDown]);
    passes(120).await;
    receiver.answers(Answer::Takes);
    rig.link(true);
    passes(60).await;
    assert_eq!(receiver.told(), [FaultClosed]);
    // What is muted is not told.
    rig.link(false);
    passes(20).await;
    let id = rig.faults().await[0].id.clone();
    rig.done(
        "POST",
        &format!("/faults/{id}/mute"),
        json!({"for_s": 3600}),
    )
    .await;
    let before = receiver.told();
    assert_eq!(before, [FaultClosed, FaultOpened]);
    rig.link(true);
    passes(60).await;
    assert_eq!(rig.codes().await, []);
    // Nor that it has closed.
    assert_eq!(receiver.told(), before);
    let closed = rig.events().await.pop().unwrap();
    assert_eq!(
        (&closed["kind"], &closed["muted"]),
        (&json!("fault_closed"), &json!(true))
    );
    drop(rig);
}

#[tokio::test(start_paused = true)]
async fn faults_survive_a_server_and_none_closes_before_its_object_was_seen() {
    let rig = Rig::new().await;
    rig.link(false);
    passes(20).await;
    let before = rig.faults().await;
    assert_eq!(before.len(), 1);
    let rig = rig.dies().await;
    passes(5).await;
    let after = rig.faults().await;
    assert_eq!(
        (&after[0].id, after[0].since, after[0].opened),
        (&before[0].id, before[0].since, before[0].opened)
    );
    // Nobody has come back: nodes are down then, and what was open stays.
    passes(120).await;
    let codes = rig.codes().await;
    assert!(codes.contains(&Code::AdapterLinkDown), "{codes:?}");
    assert_eq!(
        codes
            .iter()
            .filter(|code| **code == Code::AgentUnreachable)
            .count(),
        2
    );
    // They come back with a link.
    rig.link(true);
    rig.nodes.speak_to(&rig.server);
    passes(90).await;
    assert_eq!(rig.codes().await, []);
    let started = rig.events().await;
    let started = started
        .iter()
        .filter(|event| event["kind"] == "server_started");
    assert_eq!(started.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_people_say_to_a_fault_is_recorded_and_kept() {
    let rig = Rig::new().await;
    rig.link(false);
    passes(20).await;
    let id = rig.faults().await[0].id.clone();
    let path = |what: &str| format!("/faults/{id}/{what}");
    let planned = rig
        .done("POST", &path("acknowledge?dry_run=true"), json!({}))
        .await;
    assert_eq!(planned["object"]["acknowledged"]["by"], "uid 0");
    assert!(rig.faults().await[0].is_unattended(), "only planned");
    let note = json!({"note": "cable\nordered"});
    let known = rig.done("POST", &path("acknowledge"), note).await;
    assert_eq!(known["object"]["acknowledged"]["note"], "cable\\nordered");
    let mute = json!({"for_s": 3600});
    rig.done("POST", &path("mute"), mute.clone()).await;
    let operations: Vec<Value> = rig.kept("audit/").await;
    let operations: Vec<&str> = operations
        .iter()
        .map(|entry| entry["operation"].as_str().unwrap())
        .collect();
    assert_eq!(
        operations[operations.len() - 2..],
        ["fault acknowledge", "fault mute"]
    );
    for (body, status) in [
        (json!({"for_s": 0}), 422),
        (json!({"for_s": 7_776_001}), 422),
        (json!({}), 400),
    ] {
        assert_eq!(rig.asked("POST", &path("mute"), body).await.0, status);
    }
    let (status, problem) = rig.asked("POST", "/faults/0123/mute", mute).await;
    assert_eq!((status, &problem["code"]), (404, &json!("fault_not_found")));
    let rig = rig.dies().await;
    rig.nodes.speak_to(&rig.server);
    passes(5).await;
    let fault = rig.faults().await.remove(0);
    assert!(
        fault.acknowledged.is_some() && fault.muted.is_some(),
        "{fault:?}"
    );
    let told = rig.done("DELETE", &path("mute"), Value::Null).await;
    assert_eq!(told["changed"], true);
    assert_eq!(
        rig.done("DELETE", &path("mute"), Value::Null).await["changed"],
        false
    );
}

#[tokio::test(start_paused = true)]
async fn of_a_silent_node_that_is_told_and_nothing_else_changes() {
    let rig = Rig::new().await;
    rig.link(false);
    passes(20).await;
    rig.nodes.silent("node1", true);
    passes(30).await;
    let codes = rig.codes().await;
    assert_eq!(codes, [Code::AgentUnreachable, Code::AdapterLinkDown]);
    rig.nodes.silent("node1", false);
    passes(40).await;
    assert_eq!(rig.codes().await, [Code::AdapterLinkDown]);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_changes_its_path_or_its_node_is_an_event_with_why() {
    let rig = Rig::new().await;
    let vm = fixture::vm(1).uuid;
    let path = |what: &str| format!("/vms/{vm}/{what}");
    rig.done("PUT", &path("acceleration"), json!({"performance": "low"}))
        .await;
    passes(3).await;
    rig.done("PUT", &path("park"), json!({})).await;
    passes(3).await;
    rig.done("DELETE", &path("park"), Value::Null).await;
    passes(3).await;
    // Somebody moves it.
    let facts = rig.nodes.seen("node1").vms[0].clone();
    rig.nodes.sees("node1", |seen| drop(seen.vms.remove(0)));
    rig.nodes.sees("node2", |seen| seen.vms.push(facts));
    passes(3).await;
    let events = rig.events().await;
    let texts: Vec<&str> = events
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    for words in [
        "NIC 02:00:00:00:77:01 of 'vm1' goes by VF 0000:01:10.0 of pf0.",
        "goes by the switch: it is parked until it is unparked.",
        "'vm1' runs on 'node2', after 'node1'.",
        "vm park vm1",
    ] {
        assert!(
            texts.iter().any(|text| text.contains(words)),
            "{words}: {texts:#?}"
        );
    }
    let ids: BTreeSet<&str> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), events.len());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_quiet_writes_nothing() {
    let rig = Rig::new().await;
    passes(120).await;
    let before = rig
        .store
        .list("accelnet/v1/", Page::first(1))
        .await
        .unwrap()
        .revision;
    passes(3600).await;
    let after = rig
        .store
        .list("accelnet/v1/", Page::first(1))
        .await
        .unwrap()
        .revision;
    assert_eq!(before, after);
}

#[tokio::test(start_paused = true)]
async fn a_reserve_that_is_short_and_a_vm_that_is_twice_are_told() {
    let rig = Rig::new().await;
    let accelerate = |number: u8| {
        let path = format!("/vms/{}/acceleration", fixture::vm(number).uuid);
        let rig = &rig;
        async move { rig.done("PUT", &path, json!({"performance": "low"})).await }
    };
    accelerate(1).await;
    accelerate(3).await;
    let facts = rig.nodes.seen("node1").vms[1].clone();
    rig.nodes.sees("node2", |seen| seen.vms.push(facts));
    passes(60).await;
    assert_eq!(rig.codes().await, [Code::VmOnTwoNodes]);
    // Neither has a VF for the other's VM.
    rig.done(
        "PATCH",
        "/acceleration",
        json!({"node_reserve_percentage": 50}),
    )
    .await;
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].vfs.truncate(1));
    passes(90).await;
    let codes = rig.codes().await;
    assert!(codes.contains(&Code::ReserveShort), "{codes:?}");
    // Somebody has both, and knows why a VM is not on its VF.
    rig.nodes.sees("node1", |seen| drop(seen.vms.remove(1)));
    passes(60).await;
    assert!(!rig.codes().await.contains(&Code::VmOnTwoNodes));
}

/// Of 1,000 nodes with 20 VMs each the rules of the one run again that has changed.
#[tokio::test]
async fn a_look_costs_what_has_changed() {
    let size = Size {
        nodes: 1000,
        accelerated: 10,
        others: 10,
    };
    let store = MemoryStore::new();
    fill(&store, size).await;
    let stored = Stored::open(store).await.unwrap();
    let wish = crate::state::State::load(&stored).await.unwrap();
    let mut nodes: Vec<(Name, SimulatedNode)> = SimulatedNode::all(size).collect();
    let names: Arc<[Name]> = nodes.iter().map(|(name, _)| name.clone()).collect();
    let reports = Reports::default();
    for (name, node) in &mut nodes {
        reports.put(name.clone(), node.report());
    }
    let mut looked = Looked::default();
    let mut state = State::default();
    let now = Moment {
        at: Timestamp::UNIX_EPOCH,
        up: Duration::ZERO,
    };
    let mut look = |what: &str, changed: usize| {
        let seen = reports.of(Arc::clone(&names));
        assert_eq!(looked.changed(&wish, &seen).len(), changed, "{what}");
        let begun = std::time::Instant::now();
        looked.look(&wish, &seen, &Extras::default(), None, now);
        let of_rules = begun.elapsed();
        looked.step(&mut state, now, &Tuning::default());
        eprintln!(
            "{what}: rules {of_rules:?}, with what follows {:?}",
            begun.elapsed()
        );
    };
    look("all nodes", 1000);
    let (name, node) = &mut nodes[7];
    node.breathe();
    reports.put(name.clone(), node.report());
    look("one node", 1);
    look("none", 0);
}
