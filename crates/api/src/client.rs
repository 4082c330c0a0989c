//! A typed client: over the local unix socket, or over TLS to a server of which is known who it is.
//!
//! ```text
//!   client.rs       the calls, one for each operation
//!   making.rs       a client of a socket, of a server
//!   asking.rs       a request: sent on to the server that decides, repeated while it asks for patience
//!   following.rs    a watch: goes on where it was when the connection is lost
//!   paths.rs        names in addresses
//! ```

mod asking;
mod following;
mod making;
mod paths;

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use accelnet_model::{Code, Fault, Intent, Isolated, Name, Performance, Problem, VmExplanation};
use jiff::Timestamp;
pub use making::http_on;
use paths::encode;
use reqwest::header::HeaderValue;

use crate::{
    backup::{Backup, BackupReader, BadBackup},
    capacity::{Capacity, VmPlaces},
    health::{AcknowledgeRequest, Event, MuteRequest},
    node::{JoinToken, JoinTokenRequest, NodeDetail, ServerSummary},
    people::{AuditEntry, IssuedToken, Token, TokenRequest, WhoAmI},
    place::{Place, ServerUrl},
    types::{
        AccelerateRequest, Adapter, ChangeIntent, ClusterStatus, EnableRequest, IntentStatus,
        IsolateRequest, Items, MoveRequest, NodeSummary, Outcome, ParkRequest, SetRequest, Vm,
    },
};

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, or could not be reached; in the catalogue's words.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
}

impl ClientError {
    /// One of the problems has this code.
    fn has(&self, code: Code) -> bool {
        let Self::Problems(problems) = self;
        problems.iter().any(|problem| problem.code == code)
    }

    /// The problems, at least one.
    pub fn into_problems(self) -> Vec<Problem> {
        let Self::Problems(problems) = self;
        problems
    }
}

impl From<Problem> for ClientError {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem])
    }
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, ClientError>;

/// A connection to the server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    place: Place,
    /// The server that decides, once another has pointed to it; copies of the client learn it together.
    active: Arc<Mutex<Option<ServerUrl>>>,
    /// What is shown of who asks; marked so that it is never printed.
    authorization: Option<HeaderValue>,
    /// Answers may be old.
    may_be_old: bool,
    /// The server whose copy an answer was from, if one was.
    copy: Arc<Mutex<Option<String>>>,
}

impl Client {
    /// The cluster at a glance.
    pub async fn status(&self) -> Result<ClusterStatus> {
        self.get("/status").await
    }

    /// Prerequisite checks, with an intent or without.
    pub async fn prereq(&self, intent: Option<&str>) -> Result<Items<accelnet_model::CheckResult>> {
        match intent {
            None => self.get("/prereq").await,
            Some(name) => self.get(&format!("/prereq?intent={}", encode(name))).await,
        }
    }

    /// All intents.
    pub async fn intents(&self) -> Result<Items<IntentStatus>> {
        self.all("/intents?").await
    }

    /// One intent.
    pub async fn intent(&self, name: &str) -> Result<IntentStatus> {
        self.get(&format!("/intents/{}", paths::intent(name)?))
            .await
    }

    /// Adds an intent; the same intent again changes nothing.
    pub async fn add_intent(&self, intent: &Intent, dry_run: bool) -> Result<Outcome<Intent>> {
        self.send(
            reqwest::Method::POST,
            &format!("/intents?dry_run={dry_run}"),
            Some(intent),
        )
        .await
    }

    /// Changes an intent.
    pub async fn change_intent(
        &self,
        name: &str,
        change: &ChangeIntent,
        dry_run: bool,
    ) -> Result<Outcome<Intent>> {
        let path = format!("/intents/{}?dry_run={dry_run}", paths::intent(name)?);
        self.send(reqwest::Method::PATCH, &path, Some(change)).await
    }

    /// Removes an intent. The bridge stays.
    pub async fn remove_intent(&self, name: &str, dry_run: bool) -> Result<Outcome<Intent>> {
        let path = format!("/intents/{}?dry_run={dry_run}", paths::intent(name)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Enables acceleration.
    pub async fn enable(
        &self,
        request: &EnableRequest,
        dry_run: bool,
    ) -> Result<Outcome<ClusterStatus>> {
        self.send(
            reqwest::Method::PUT,
            &format!("/acceleration?dry_run={dry_run}"),
            Some(request),
        )
        .await
    }

    /// Changes how acceleration is enabled.
    pub async fn set(&self, request: &SetRequest, dry_run: bool) -> Result<Outcome<ClusterStatus>> {
        let path = format!("/acceleration?dry_run={dry_run}");
        self.send(reqwest::Method::PATCH, &path, Some(request))
            .await
    }

    /// Disables acceleration; VMs keep what they have.
    pub async fn disable(&self, dry_run: bool) -> Result<Outcome<ClusterStatus>> {
        let path = format!("/acceleration?dry_run={dry_run}");
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// All VMs, as the nodes reported them last.
    pub async fn vms(&self) -> Result<Items<Vm>> {
        self.all("/vms?").await
    }

    /// All VMs, after a fresh look at the nodes: also one that was defined a moment ago.
    pub async fn vms_now(&self) -> Result<Items<Vm>> {
        self.all("/vms?fresh=true&").await
    }

    /// One VM by name or UUID.
    pub async fn vm(&self, vm: &str) -> Result<Vm> {
        self.get(&format!("/vms/{}", paths::vm(vm)?)).await
    }

    /// Why a VM's packets go the way they go.
    pub async fn explain(&self, vm: &str) -> Result<VmExplanation> {
        self.get(&format!("/vms/{}/explanation", paths::vm(vm)?))
            .await
    }

    /// One VM by name or UUID, with what was counted of its packets. A server that does not know the question tells of the VM
    /// without.
    pub async fn vm_with_traffic(&self, vm: &str) -> Result<Vm> {
        let path = format!("/vms/{}?traffic=true", paths::vm(vm)?);
        match self.get(&path).await {
            Err(error) if error.has(Code::InvalidArgument) => self.vm(vm).await,
            answer => answer,
        }
    }

    /// Accelerates a VM, or changes its level.
    pub async fn accelerate(
        &self,
        vm: &str,
        request: &AccelerateRequest,
        dry_run: bool,
    ) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/acceleration?dry_run={dry_run}", paths::vm(vm)?);
        self.send(reqwest::Method::PUT, &path, Some(request)).await
    }

    /// Brings a VM back to the software path.
    pub async fn decelerate(&self, vm: &str, dry_run: bool) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/acceleration?dry_run={dry_run}", paths::vm(vm)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Keeps a VM on its software path for a while.
    pub async fn park(
        &self,
        vm: &str,
        request: &ParkRequest,
        dry_run: bool,
    ) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/park?dry_run={dry_run}", paths::vm(vm)?);
        self.send(reqwest::Method::PUT, &path, Some(request)).await
    }

    /// Lets a VM go to its VF again.
    pub async fn unpark(&self, vm: &str, dry_run: bool) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/park?dry_run={dry_run}", paths::vm(vm)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Moves a VM to another node.
    pub async fn move_vm(
        &self,
        vm: &str,
        request: &MoveRequest,
        dry_run: bool,
    ) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/move?dry_run={dry_run}", paths::vm(vm)?);
        self.send(reqwest::Method::PUT, &path, Some(request)).await
    }

    /// Stages on a VM's definition what acceleration needs.
    pub async fn prepare(&self, vm: &str, dry_run: bool) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/prepare?dry_run={dry_run}", paths::vm(vm)?);
        self.send(reqwest::Method::POST, &path, None::<&()>).await
    }

    /// Room with the reserve held back, and what would become of VMs without these nodes, if any are
    /// named.
    pub async fn capacity(&self, without: &[String]) -> Result<Capacity> {
        if without.is_empty() {
            return self.get("/capacity").await;
        }
        let without = encode(&without.join(","));
        self.get(&format!("/capacity?without={without}")).await
    }

    /// Nodes that could take a VM now, at its own level or another.
    pub async fn places(&self, vm: &str, level: Option<Performance>) -> Result<VmPlaces> {
        let path = format!("/vms/{}/where", paths::vm(vm)?);
        match level {
            None => self.get(&path).await,
            Some(level) => self.get(&format!("{path}?performance={level}")).await,
        }
    }

    /// All adapters of all nodes.
    pub async fn adapters(&self) -> Result<Items<Adapter>> {
        self.all("/adapters?").await
    }

    /// Takes an adapter out of the pool: none of its VFs is given out any more.
    pub async fn isolate(
        &self,
        (node, adapter): (&str, &str),
        request: &IsolateRequest,
        dry_run: bool,
    ) -> Result<Outcome<Adapter>> {
        let path = format!(
            "{}/isolate?dry_run={dry_run}",
            paths::adapter(node, adapter)?
        );
        self.send(reqwest::Method::POST, &path, Some(request)).await
    }

    /// Lets an adapter back into the pool.
    pub async fn release(
        &self,
        (node, adapter): (&str, &str),
        dry_run: bool,
    ) -> Result<Outcome<Isolated>> {
        let path = format!(
            "{}/release?dry_run={dry_run}",
            paths::adapter(node, adapter)?
        );
        self.send(reqwest::Method::POST, &path, None::<&()>).await
    }

    /// All nodes.
    pub async fn nodes(&self) -> Result<Items<NodeSummary>> {
        self.all("/nodes?").await
    }

    /// One node.
    pub async fn node(&self, name: &str) -> Result<NodeDetail> {
        self.get(&format!("/nodes/{}", paths::node(name)?)).await
    }

    /// Takes a node out of the cluster: its certificate is no longer taken.
    pub async fn remove_node(&self, name: &str, dry_run: bool) -> Result<Outcome<NodeDetail>> {
        let path = format!("/nodes/{}?dry_run={dry_run}", paths::node(name)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Empties a node of VFs, for maintenance.
    pub async fn drain(&self, name: &str, dry_run: bool) -> Result<Outcome<NodeDetail>> {
        let path = format!("/nodes/{}/drain?dry_run={dry_run}", paths::node(name)?);
        self.send(reqwest::Method::POST, &path, None::<&()>).await
    }

    /// Lets a node give VFs again.
    pub async fn uncordon(&self, name: &str, dry_run: bool) -> Result<Outcome<NodeDetail>> {
        let path = format!("/nodes/{}/uncordon?dry_run={dry_run}", paths::node(name)?);
        self.send(reqwest::Method::POST, &path, None::<&()>).await
    }

    /// Makes a token that a node joins with.
    pub async fn join_token(&self, request: &JoinTokenRequest) -> Result<JoinToken> {
        self.send(reqwest::Method::POST, "/join-tokens", Some(request))
            .await
    }

    /// Open faults: the worst first.
    pub async fn faults(&self) -> Result<Items<Fault>> {
        self.all("/faults?").await
    }

    /// Says that somebody knows of a fault.
    pub async fn acknowledge(
        &self,
        fault: &str,
        request: &AcknowledgeRequest,
        dry_run: bool,
    ) -> Result<Outcome<Fault>> {
        let path = format!(
            "/faults/{}/acknowledge?dry_run={dry_run}",
            paths::fault(fault)?
        );
        self.send(reqwest::Method::POST, &path, Some(request)).await
    }

    /// Mutes a fault for a while.
    pub async fn mute(
        &self,
        fault: &str,
        request: &MuteRequest,
        dry_run: bool,
    ) -> Result<Outcome<Fault>> {
        let path = format!("/faults/{}/mute?dry_run={dry_run}", paths::fault(fault)?);
        self.send(reqwest::Method::POST, &path, Some(request)).await
    }

    /// Ends the mute of a fault.
    pub async fn unmute(&self, fault: &str, dry_run: bool) -> Result<Outcome<Fault>> {
        let path = format!("/faults/{}/mute?dry_run={dry_run}", paths::fault(fault)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Waits until one of the open faults is another, or is new or gone, beside these. One that went before it began to
    /// wait it does not notice: who waits long should ask again now and then.
    pub async fn until_faults_differ(&self, known: &[Fault]) -> Result<()> {
        let gone = Cell::new(false);
        let same = |fault: &Fault| !gone.get() && known.contains(fault);
        let ends = |_: &str| {
            gone.set(true);
            Err(Problem::new(Code::FaultNotFound, "A fault is gone.").into())
        };
        let followed = self.follow_all("/faults?watch=true", same, ends).await;
        if gone.get() { Ok(()) } else { followed }
    }

    /// What happened lately, the oldest of it first.
    pub async fn events(
        &self,
        since: Option<Timestamp>,
        limit: Option<u32>,
    ) -> Result<Items<Event>> {
        self.get(&paths::lately("/events", since, limit, false))
            .await
    }

    /// Follows what happens: what there is, then each event as it comes, until `each` says no.
    pub async fn follow_events(
        &self,
        since: Option<Timestamp>,
        mut each: impl FnMut(&Event) -> bool,
    ) -> Result<()> {
        let path = paths::lately("/events", since, None, true);
        // A watch that begins again tells what there is again; what is too old to be kept is nobody's loss.
        let mut told = BTreeSet::new();
        let new = |event: &Event| !told.insert(event.id.clone()) || each(event);
        self.follow_all(&path, new, |_| Ok(())).await
    }

    /// The cluster's servers.
    pub async fn servers(&self) -> Result<Items<ServerSummary>> {
        self.all("/servers?").await
    }

    /// Forgets a server that is gone for good, by its address or name.
    pub async fn remove_server(
        &self,
        server: &str,
        dry_run: bool,
    ) -> Result<Outcome<ServerSummary>> {
        let path = format!("/servers/{}?dry_run={dry_run}", paths::server(server)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Follows one VM: `each` is given the VM as it is at every change and says whether to go on.
    /// Ends with an error if the connection breaks or the VM goes.
    pub async fn follow_vm(&self, vm: &str, each: impl FnMut(&Vm) -> bool) -> Result<()> {
        self.follow(&format!("/vms/{}?watch=true", paths::vm(vm)?), each)
            .await
    }

    /// Follows the cluster's status in the same way.
    pub async fn follow_status(&self, each: impl FnMut(&ClusterStatus) -> bool) -> Result<()> {
        self.follow("/status?watch=true", each).await
    }

    /// Who the server takes us for.
    pub async fn whoami(&self) -> Result<WhoAmI> {
        self.get("/whoami").await
    }

    /// All tokens, without their secrets.
    pub async fn tokens(&self) -> Result<Items<Token>> {
        self.all("/tokens?").await
    }

    /// Makes a token; its secret is in this answer and nowhere else.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<IssuedToken> {
        self.send(reqwest::Method::POST, "/tokens", Some(request))
            .await
    }

    /// Revokes a token: it is refused from now on.
    pub async fn revoke_token(&self, name: &Name, dry_run: bool) -> Result<Outcome<Token>> {
        let path = format!("/tokens/{name}?dry_run={dry_run}");
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// The newest entries of the record of changes, the oldest of them first.
    pub async fn audit(
        &self,
        since: Option<Timestamp>,
        limit: Option<u32>,
    ) -> Result<Items<AuditEntry>> {
        self.get(&paths::lately("/audit", since, limit, false))
            .await
    }

    /// Follows the record: what there is, then each entry as it comes, until `each` says no.
    pub async fn follow_audit(
        &self,
        since: Option<Timestamp>,
        mut each: impl FnMut(&AuditEntry) -> bool,
    ) -> Result<()> {
        let path = paths::lately("/audit", since, None, true);
        // A watch that begins again tells what there is again; and what is too old to be kept is nobody's loss.
        let mut last = None;
        let new = |entry: &AuditEntry| {
            let new = last.is_none_or(|last| entry.number > last);
            last = last.max(Some(entry.number));
            !new || each(entry)
        };
        self.follow_all(&path, new, |_| Ok(())).await
    }

    /// Takes a backup of the cluster's state: gives `each` the bytes of the file as they come, and says what was
    /// taken, without its items. The file is whole if there is no error.
    pub async fn backup(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<Backup> {
        let bad = |bad: BadBackup| {
            let text = format!("What the server sent is no whole backup: {bad}.");
            let cure = "Take it again; 'journalctl -u accelnet-server' tells why it ended.";
            ClientError::from(Problem::new(Code::StoreFailed, text).with_cure(cure))
        };
        let mut response = self
            .request(reqwest::Method::GET, "/backup", None::<&()>, None)
            .await?;
        let mut reader = BackupReader::checking();
        // A connection that breaks leaves it without its end.
        while let Ok(Some(chunk)) = response.chunk().await {
            reader.take(&chunk).map_err(bad)?;
            each(&chunk)?;
        }
        reader.finish().map_err(bad)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_name_never_leads_to_another_address() {
        // Nobody listens: what is refused here was not sent.
        let client = Client::on_socket(Path::new("/nonexistent/none.sock")).unwrap();
        for word in ["", ".", ".."] {
            let refused = client.decelerate(word, false).await.unwrap_err();
            assert_eq!(refused.into_problems()[0].code, Code::VmNotFound);
            let refused = client.remove_intent(word, false).await.unwrap_err();
            assert_eq!(refused.into_problems()[0].code, Code::IntentNotFound);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_in_time_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("slow.sock");
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let client = Client::on_socket(&socket).unwrap();
        let problems = client.status().await.unwrap_err().into_problems();
        assert_eq!(problems[0].code, Code::Timeout, "{problems:?}");
    }

    #[test]
    fn a_token_is_not_in_what_is_logged() {
        let client = Client::on_socket(Path::new("/nonexistent/none.sock")).unwrap();
        let client = client.with_token("accelnet-1.alice.secret").unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        let refused = Client::on_socket(Path::new("/x"))
            .unwrap()
            .with_token("sec\nret")
            .unwrap_err();
        let problem = &refused.into_problems()[0];
        assert!(!problem.to_string().contains("ret"), "{problem}");
    }

    #[tokio::test]
    async fn a_missing_socket_is_a_clear_problem() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::on_socket(&directory.path().join("none.sock")).unwrap();
        let problems = client.status().await.unwrap_err().into_problems();
        assert_eq!(problems[0].code, Code::ServerNotRunning, "{problems:?}");
    }
}
