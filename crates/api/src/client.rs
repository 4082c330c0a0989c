//! A typed client, over the local unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use accelnet_model::{Code, Intent, Performance, Problem};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    capacity::{Capacity, VmPlaces},
    node::{JoinToken, JoinTokenRequest, NodeDetail, ServerSummary},
    types::{
        AccelerateRequest, Adapter, ChangeIntent, ClusterStatus, EnableRequest, IntentStatus,
        Items, NodeSummary, Outcome, ParkRequest, ProblemDocument, SetRequest, Vm, WatchLine,
    },
};

/// How long one answer may take. Enabling reads the whole machine afresh, which took up to 4 s in
/// the lab's software emulation; an order of magnitude more means that something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, or could not be reached; in the catalogue's words.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
}

impl ClientError {
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
    socket: PathBuf,
}

impl Client {
    /// A client of the server behind this unix socket. Nothing is sent yet.
    pub fn on_socket(socket: &Path) -> Result<Self> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(DEADLINE)
            .no_proxy()
            .build()
            .map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        Ok(Self {
            http,
            socket: socket.to_owned(),
        })
    }

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
        self.get("/intents").await
    }

    /// One intent.
    pub async fn intent(&self, name: &str) -> Result<IntentStatus> {
        self.get(&format!("/intents/{}", intent(name)?)).await
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
        let path = format!("/intents/{}?dry_run={dry_run}", intent(name)?);
        self.send(reqwest::Method::PATCH, &path, Some(change)).await
    }

    /// Removes an intent. The bridge stays.
    pub async fn remove_intent(&self, name: &str, dry_run: bool) -> Result<Outcome<Intent>> {
        let path = format!("/intents/{}?dry_run={dry_run}", intent(name)?);
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
        self.get("/vms").await
    }

    /// All VMs, after a fresh look at the nodes: also one that was defined a moment ago.
    pub async fn vms_now(&self) -> Result<Items<Vm>> {
        self.get("/vms?fresh=true").await
    }

    /// One VM by name or UUID.
    pub async fn vm(&self, vm: &str) -> Result<Vm> {
        self.get(&format!("/vms/{}", self::vm(vm)?)).await
    }

    /// Accelerates a VM, or changes its level.
    pub async fn accelerate(
        &self,
        vm: &str,
        request: &AccelerateRequest,
        dry_run: bool,
    ) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/acceleration?dry_run={dry_run}", self::vm(vm)?);
        self.send(reqwest::Method::PUT, &path, Some(request)).await
    }

    /// Brings a VM back to the software path.
    pub async fn decelerate(&self, vm: &str, dry_run: bool) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/acceleration?dry_run={dry_run}", self::vm(vm)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Keeps a VM on its software path for a while.
    pub async fn park(
        &self,
        vm: &str,
        request: &ParkRequest,
        dry_run: bool,
    ) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/park?dry_run={dry_run}", self::vm(vm)?);
        self.send(reqwest::Method::PUT, &path, Some(request)).await
    }

    /// Lets a VM go to its VF again.
    pub async fn unpark(&self, vm: &str, dry_run: bool) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/park?dry_run={dry_run}", self::vm(vm)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Stages on a VM's definition what acceleration needs.
    pub async fn prepare(&self, vm: &str, dry_run: bool) -> Result<Outcome<Vm>> {
        let path = format!("/vms/{}/prepare?dry_run={dry_run}", self::vm(vm)?);
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
        let path = format!("/vms/{}/where", self::vm(vm)?);
        match level {
            None => self.get(&path).await,
            Some(level) => self.get(&format!("{path}?performance={level}")).await,
        }
    }

    /// All adapters of all nodes.
    pub async fn adapters(&self) -> Result<Items<Adapter>> {
        self.get("/adapters").await
    }

    /// All nodes.
    pub async fn nodes(&self) -> Result<Items<NodeSummary>> {
        self.get("/nodes").await
    }

    /// One node.
    pub async fn node(&self, name: &str) -> Result<NodeDetail> {
        self.get(&format!("/nodes/{}", node(name)?)).await
    }

    /// Takes a node out of the cluster: its certificate is no longer taken.
    pub async fn remove_node(&self, name: &str, dry_run: bool) -> Result<Outcome<NodeDetail>> {
        let path = format!("/nodes/{}?dry_run={dry_run}", node(name)?);
        self.send(reqwest::Method::DELETE, &path, None::<&()>).await
    }

    /// Empties a node of VFs, for maintenance.
    pub async fn drain(&self, name: &str, dry_run: bool) -> Result<Outcome<NodeDetail>> {
        let path = format!("/nodes/{}/drain?dry_run={dry_run}", node(name)?);
        self.send(reqwest::Method::POST, &path, None::<&()>).await
    }

    /// Lets a node give VFs again.
    pub async fn uncordon(&self, name: &str, dry_run: bool) -> Result<Outcome<NodeDetail>> {
        let path = format!("/nodes/{}/uncordon?dry_run={dry_run}", node(name)?);
        self.send(reqwest::Method::POST, &path, None::<&()>).await
    }

    /// Makes a token that a node joins with.
    pub async fn join_token(&self, request: &JoinTokenRequest) -> Result<JoinToken> {
        self.send(reqwest::Method::POST, "/join-tokens", Some(request))
            .await
    }

    /// The cluster's servers.
    pub async fn servers(&self) -> Result<Items<ServerSummary>> {
        self.get("/servers").await
    }

    /// Follows one VM: `each` is given the VM as it is at every change and says whether to go on.
    /// Ends with an error if the connection breaks or the VM goes.
    pub async fn follow_vm(&self, vm: &str, each: impl FnMut(&Vm) -> bool) -> Result<()> {
        self.follow(&format!("/vms/{}?watch=true", self::vm(vm)?), each)
            .await
    }

    /// Follows the cluster's status in the same way.
    pub async fn follow_status(&self, each: impl FnMut(&ClusterStatus) -> bool) -> Result<()> {
        self.follow("/status?watch=true", each).await
    }

    async fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(&T) -> bool,
    ) -> Result<()> {
        let mut response = self
            .request(reqwest::Method::GET, path, None::<&()>, None)
            .await?;
        let mut buffer = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(&error))?
        {
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                match decode(&line)? {
                    WatchLine::Put(object) if !each(&object) => return Ok(()),
                    WatchLine::Gone(identity) => {
                        let text = format!("'{identity}' is gone.");
                        return Err(Problem::new(Code::VmNotFound, text).into());
                    }
                    WatchLine::Put(_) | WatchLine::Synced | WatchLine::Alive => {}
                }
            }
        }
        Err(self.lost().into())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(reqwest::Method::GET, path, None::<&()>).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let response = self.request(method, path, body, Some(DEADLINE)).await?;
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        decode(&bytes)
    }

    async fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Option<Duration>,
    ) -> Result<reqwest::Response> {
        // The host part is never looked up: every connection goes to the socket.
        let url = format!("http://accelnet{}{path}", crate::BASE);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        // A watch has no end; the builder's general deadline must not cut it.
        request = request.timeout(deadline.unwrap_or(Duration::from_secs(24 * 3600)));
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice::<ProblemDocument>(&bytes) {
            Ok(document) => Err(ClientError::Problems(document.into_problems())),
            Err(_) => Err(Problem::new(
                Code::Internal,
                format!("The server answered {status} with something that is no problem document."),
            )
            .into()),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Problem {
        if error.is_timeout() {
            let seconds = DEADLINE.as_secs();
            let text = format!(
                "The server gave no answer within {seconds} s; what was asked for may yet be done."
            );
            return Problem::new(Code::Timeout, text)
                .with_cure("Look at the current state ('accelnet status') before asking again.");
        }
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return self.io_problem(io);
            }
            source = cause.source();
        }
        Problem::new(
            Code::ServerNotRunning,
            format!("{}: {error}.", self.socket.display()),
        )
    }

    fn io_problem(&self, error: &io::Error) -> Problem {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Problem::new(
                Code::PermissionDenied,
                format!("The socket {socket} may not be opened."),
            ),
            io::ErrorKind::NotFound => Problem::new(
                Code::ServerNotRunning,
                format!("There is no socket {socket}."),
            ),
            _ => Problem::new(Code::ServerNotRunning, format!("{socket}: {error}.")),
        }
    }

    fn lost(&self) -> Problem {
        let socket = self.socket.display();
        Problem::new(
            Code::ServerNotRunning,
            format!("The server behind {socket} closed the connection."),
        )
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            Code::Internal,
            format!("The server's answer cannot be read: {error}."),
        )
        .with_cure("Use the same version of 'accelnet' and 'accelnetd'.")
        .into()
    })
}

/// A VM's name or UUID as a part of a path.
fn vm(word: &str) -> Result<String> {
    segment(word, Code::VmNotFound)
}

/// A node's name as a part of a path.
fn node(name: &str) -> Result<String> {
    segment(name, Code::NodeNotFound)
}

/// An intent's name as a part of a path.
fn intent(name: &str) -> Result<String> {
    segment(name, Code::IntentNotFound)
}

/// URLs have no such part as `..`, however it is encoded (WHATWG URL, "double-dot URL path segment"):
/// `vms/../acceleration` would be the cluster's.
fn segment(word: &str, code: Code) -> Result<String> {
    if matches!(word, "" | "." | "..") {
        return Err(Problem::new(code, format!("'{word}' cannot be asked for.")).into());
    }
    Ok(encode(word))
}

/// Percent-encodes a path segment or query value (RFC 3986 unreserved characters stay).
fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_urls() {
        assert_eq!(encode("web 1/ä"), "web%201%2F%C3%A4");
        assert_eq!(encode("web-1_a.b~"), "web-1_a.b~");
    }

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

    #[tokio::test]
    async fn a_missing_socket_is_a_clear_problem() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::on_socket(&directory.path().join("none.sock")).unwrap();
        let problems = client.status().await.unwrap_err().into_problems();
        assert_eq!(problems[0].code, Code::ServerNotRunning, "{problems:?}");
    }
}
