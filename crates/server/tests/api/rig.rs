//! A server of fake nodes on a socket in a directory of its own, and raw HTTP to it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Once},
};

use accelnet_api::incoming::{Admitted, IncomingVm};
use accelnet_model::Problem;
use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::{MemoryStore, Page, Store};
use reqwest::Method;
use serde_json::{Value, json};

/// Everything that the server keeps of what is wanted.
const WISH: [&str; 4] = ["cluster", "generation", "intents/", "vms/"];

pub struct Rig {
    pub nodes: Arc<FakeNodes>,
    pub store: Arc<MemoryStore>,
    pub http: Http,
    running: Running,
    directory: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: Value,
}

#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
}

/// The HTTP client asks for a kind of cryptography, also where none is used.
fn builder() -> reqwest::ClientBuilder {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().no_proxy()
}

impl Http {
    pub fn on(socket: PathBuf) -> Self {
        Self {
            client: builder().unix_socket(socket).build().unwrap(),
            base: "http://accelnet".to_owned(),
        }
    }

    pub fn over_tcp(address: SocketAddr) -> Self {
        Self {
            client: builder().build().unwrap(),
            base: format!("http://{address}"),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v1{path}", self.base);
        self.client.request(method, url)
    }

    /// What is beside the API.
    pub fn outside_the_api(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap();
        Answer {
            status: response.status().as_u16(),
            kind: kind.to_owned(),
            body: response.json().await.unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body))
            .await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body))
            .await
    }

    pub async fn accelerate(&self, vm: &str, level: &str) -> Answer {
        let path = format!("/vms/{vm}/acceleration");
        self.put(&path, json!({"performance": level})).await
    }

    pub async fn enable(&self, reserve: i64) -> Answer {
        let body = json!({"intent": "compute", "node_reserve_percentage": reserve});
        self.put("/acceleration", body).await
    }
}

impl Rig {
    /// What a node asks before a VM comes to it.
    pub async fn incoming(&self, node: &str, vm: &IncomingVm) -> Result<Admitted, Problem> {
        self.running.incoming(node, vm).await
    }
}

impl Answer {
    /// The body of a request that was done.
    pub fn done(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The problems of a request that was refused, each with all its parts.
    pub fn problems(&self) -> Vec<Value> {
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        let kind = format!(
            "urn:accelnet:problem:{}",
            self.body["code"].as_str().unwrap()
        );
        assert_eq!(self.body["type"], kind);
        let problems = match self.body["problems"].as_array() {
            Some(problems) => {
                assert!(problems.len() > 1, "{problems:?}");
                assert_eq!(self.body["code"], problems[0]["code"]);
                problems.clone()
            }
            None => vec![self.body.clone()],
        };
        for problem in &problems {
            for part in ["code", "title", "detail", "cure"] {
                let text = problem[part].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{part} is missing in {problem}");
                assert!(!text.chars().any(char::is_control), "{problem}");
            }
        }
        problems
    }

    /// Its problems' codes.
    pub fn codes(&self) -> Vec<String> {
        let problems = self.problems().into_iter();
        let codes = problems.map(|problem| problem["code"].as_str().unwrap().to_owned());
        codes.collect()
    }

    /// Asserts that it was refused so.
    #[track_caller]
    pub fn refused(&self, status: u16, codes: &[&str]) {
        assert_eq!(self.codes(), codes, "{}", self.body);
        assert_eq!(self.status, status, "{}", self.body);
    }
}

impl Rig {
    /// A server of these nodes; nothing is wanted yet.
    pub async fn of(nodes: Arc<FakeNodes>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("accelnet.sock");
        let store = Arc::new(MemoryStore::new());
        let running = Running::start(Arc::clone(&store), &nodes, &socket).await;
        Self {
            nodes,
            store,
            http: Http::on(socket),
            running,
            directory,
        }
    }

    /// One node as the rules' fixture has it.
    pub async fn one() -> Self {
        Self::of(FakeNodes::one()).await
    }

    /// One node with acceleration enabled.
    pub async fn enabled() -> Self {
        let rig = Self::one().await;
        rig.enable(50).await;
        rig
    }

    /// `vm1` and `vm2` on `node1`, `vm3` and `vm4` on `node2`; acceleration is enabled.
    pub async fn two(reserve: i64) -> Self {
        let nodes = FakeNodes::new([("node1", fixture::observed()), ("node2", with_vms(&[3, 4]))]);
        let rig = Self::of(nodes).await;
        rig.enable(reserve).await;
        rig
    }

    pub async fn enable(&self, reserve: i64) {
        self.http.post("/intents", intent()).await.done();
        self.http.enable(reserve).await.done();
    }

    /// The server.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Where the server listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("accelnet.sock")
    }

    /// Everything that is wanted, as it is kept.
    pub async fn wish(&self) -> Vec<(String, u64)> {
        let mut wish = Vec::new();
        for part in WISH {
            let prefix = format!("accelnet/v1/{part}");
            let listing = self.store.list(&prefix, Page::first(100)).await.unwrap();
            let keys = listing.items.iter();
            wish.extend(keys.map(|item| (item.key.clone(), item.mod_revision.get())));
        }
        wish
    }

    /// The record of changes.
    pub async fn entries(&self) -> Vec<Value> {
        let page = Page::first(100);
        let listing = self.store.list("accelnet/v1/audit/", page).await.unwrap();
        let entries = listing.items.iter();
        entries
            .map(|item| serde_json::from_slice(&item.value).unwrap())
            .collect()
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// The fixture's intent, as it is asked for.
pub fn intent() -> Value {
    json!({"name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0"})
}

/// The fixture's node with other VMs.
pub fn with_vms(numbers: &[u8]) -> Observed {
    let mut observed = fixture::observed();
    observed.vms = numbers.iter().map(|number| fixture::vm(*number)).collect();
    let ports = &mut observed.bridges[0].ports;
    ports.truncate(1);
    ports.extend(observed.vms.iter().map(|vm| {
        let nic = &vm.nics[0];
        fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac))
    }));
    observed
}
