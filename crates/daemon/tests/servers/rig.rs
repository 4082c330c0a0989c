//! A node's line, and what the tests ask of servers.

use std::path::Path;

use accelnet_link::{Node, Pending};
use accelnet_model::{AdapterStatus, NicPath, NodeDesired, NodeStatus, Problem, VmStatus};
use accelnet_rules::fixture;
use tokio::{sync::watch, time::timeout};

use crate::certificates::Certificates;
pub use crate::shared::{AGAIN, Founded, LIMIT, Place, Process, etcd, found, until};

/// An etcd that speaks TLS with those who show a certificate of this authority.
pub fn secure_etcd(directory: &Path, certificates: &Certificates) -> (Process, String) {
    let Certificates { ca, cert, key } = certificates;
    let more = [
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", ca.display()),
        format!("--cert-file={}", cert.display()),
        format!("--key-file={}", key.display()),
    ];
    crate::shared::start_etcd(&directory.join("secure-etcd"), "https", &more)
}

impl Place {
    /// The same, which shows these to etcd.
    pub fn with_files(self, certificates: &Certificates) -> Self {
        let file = |option: &str, file: &Path| format!("--etcd-{option}={}", file.display());
        let files = vec![
            file("ca", &certificates.ca),
            file("cert", &certificates.cert),
            file("key", &certificates.key),
        ];
        Self { files, ..self }
    }

    /// The same place, on another store.
    pub fn moved_to(&self, store: &str) -> Self {
        Self {
            address: self.address.clone(),
            socket: self.socket.clone(),
            state: self.state.clone(),
            store: store.to_owned(),
            files: Vec::new(),
        }
    }
}

/// Two servers on an etcd, and the cluster that they serve.
pub struct Two {
    pub etcd: Process,
    pub founded: Founded,
    pub places: [Place; 2],
    pub running: [Process; 2],
}

impl Two {
    pub async fn start(directory: &Path) -> Self {
        let (etcd, store) = etcd(directory);
        let places = ["a", "b"].map(|name| Place::new(directory, name, &store));
        let founded = found(&places[0]).await;
        let running = [places[0].start(), places[1].start()];
        Self {
            etcd,
            founded,
            places,
            running,
        }
    }
}

/// The number of the one that decides, and that of the other.
pub async fn roles(places: &[Place; 2]) -> [usize; 2] {
    let first = active(places).await;
    let number = usize::from(first.address == places[1].address);
    [number, 1 - number]
}

/// Which of them decides.
pub async fn active(places: &[Place; 2]) -> &Place {
    let look = async || {
        for place in places {
            if place.decides().await {
                return Some(place);
            }
        }
        None
    };
    until("one decides", look).await.0
}

pub struct Twin(pub watch::Sender<Option<NodeDesired>>);

impl Node for Twin {
    fn set_desired(&self, desired: NodeDesired) {
        self.0.send_replace(Some(desired));
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        Box::pin(std::future::ready(Ok(status())))
    }
}

/// A node as the rules' fixture sees it, with its VM on a VF.
pub fn status() -> NodeStatus {
    let observed = fixture::observed();
    let mut vm = VmStatus::of(observed.vms[0].clone());
    vm.nics[0].path = NicPath::Vf;
    let adapters = observed.adapters.iter().cloned().map(AdapterStatus::of);
    NodeStatus {
        sequence: 1,
        node: observed.node.clone(),
        bridges: observed.bridges.clone(),
        adapters: adapters.collect(),
        vms: vec![vm],
        ..NodeStatus::default()
    }
}

pub async fn is_up(place: &Place) -> Option<()> {
    let node = place.admin().node("node1").await.ok()?;
    node.summary.reachable.then_some(())
}

pub async fn add_intent(place: &Place) {
    let intent = serde_json::json!({
        "name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0", "vfs": "auto"
    });
    let intent = serde_json::from_value(intent).unwrap();
    place.admin().add_intent(&intent, false).await.unwrap();
}

/// Waits until the node was told so many intents.
pub async fn told(twin: &Twin, intents: usize) {
    let mut told = twin.0.subscribe();
    let so = |told: &Option<NodeDesired>| {
        told.as_ref()
            .is_some_and(|told| told.intents.len() == intents)
    };
    let told = timeout(LIMIT, told.wait_for(so)).await;
    drop(
        told.unwrap_or_else(|_| panic!("not told {intents} intents"))
            .unwrap(),
    );
}
