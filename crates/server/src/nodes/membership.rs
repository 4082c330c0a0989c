//! A cluster's nodes as its server has them: who may join, under which certificate, and who is there.

use std::{sync::Arc, time::Duration};

use accelnet_api::agents::{JoinRequest, Joined};
use accelnet_model::{Code, Name, Problem};
use accelnet_pki::{Authority, AuthorityPem, JoinToken, NodePeer, PkiError, PrivateKey, Secret};
use accelnet_store::Store;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    hub::Hub,
    registry::{self, Announced, Candidate, Founding, Member},
    servers::Standbys,
};
use crate::{
    Clock, NodePeerInfo, Pending, Server,
    audit::{Actor, Asked},
    state,
};

/// A node's certificate is good for so long. Short, as nothing but the registry takes one back; long enough for a
/// machine that is off over a weekend.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The registry in a store whose kind does not matter.
trait Register: Send + Sync {
    fn invite<'a>(
        &'a self,
        hash: &'a str,
        node: Option<Name>,
        now: Timestamp,
        lasts: Duration,
    ) -> Pending<'a, Result<Timestamp, Problem>>;

    fn admit<'a>(
        &'a self,
        candidate: Candidate<'a>,
        now: Timestamp,
    ) -> Pending<'a, Result<Member, Problem>>;

    fn remove<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<bool, Problem>>;

    fn servers(&self) -> Pending<'_, Result<Vec<Announced>, Problem>>;

    fn withdraw<'a>(&'a self, address: &'a str) -> Pending<'a, Result<(), Problem>>;
}

struct In<S>(S);

impl<S: Store> Register for In<S> {
    fn invite<'a>(
        &'a self,
        hash: &'a str,
        node: Option<Name>,
        now: Timestamp,
        lasts: Duration,
    ) -> Pending<'a, Result<Timestamp, Problem>> {
        Box::pin(registry::invite(&self.0, hash, node, now, lasts))
    }

    fn admit<'a>(
        &'a self,
        candidate: Candidate<'a>,
        now: Timestamp,
    ) -> Pending<'a, Result<Member, Problem>> {
        Box::pin(registry::admit(&self.0, candidate, now))
    }

    fn remove<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<bool, Problem>> {
        Box::pin(registry::remove(&self.0, name))
    }

    fn servers(&self) -> Pending<'_, Result<Vec<Announced>, Problem>> {
        Box::pin(registry::servers(&self.0))
    }

    fn withdraw<'a>(&'a self, address: &'a str) -> Pending<'a, Result<(), Problem>> {
        Box::pin(registry::withdraw(&self.0, address))
    }
}

/// Who belongs to the cluster.
pub struct Membership {
    register: Box<dyn Register>,
    /// Who is connected.
    pub hub: Arc<Hub>,
    authority: Arc<Authority>,
    /// Where this server is, `HOST:PORT`.
    pub own: Vec<String>,
    /// Whether the others answer.
    pub standbys: Standbys,
    pub(super) since: Timestamp,
    clock: Clock,
}

/// Founds a cluster in a store, unless it is; its authority.
///
/// # Errors
/// If it cannot be made, read or written.
pub async fn found<S: Store>(store: &S) -> Result<Authority, Problem> {
    if let Some(founding) = registry::founding(store).await? {
        return authority(founding);
    }
    let cluster = Uuid::new_v4();
    let made = Authority::create(cluster, Timestamp::now()).map_err(failed)?;
    let pem = made.to_pem();
    let founding = Founding {
        cluster,
        certificate_pem: pem.certificate,
        key_pem: pem.key.pem().to_owned(),
    };
    authority(registry::found(store, founding).await?)
}

/// The authority of a cluster that was founded.
///
/// # Errors
/// If it was not, or cannot be read.
pub async fn founded<S: Store>(store: &S) -> Result<Authority, Problem> {
    let founding = registry::founding(store).await?.ok_or_else(|| {
        Problem::new(Code::StoreFailed, "There is no cluster in the store yet.")
            .with_cure("Found one: 'accelnetd init --address HOST:PORT'.")
    })?;
    authority(founding)
}

/// True if there is a cluster in the store.
///
/// # Errors
/// If it cannot be read.
pub async fn is_founded<S: Store>(store: &S) -> Result<bool, Problem> {
    Ok(registry::founding(store).await?.is_some())
}

/// A server says where it is, before it decides: agents that lose the active one look for it there.
///
/// # Errors
/// If it cannot be written.
pub async fn announce<S: Store>(store: &S, addresses: &[String]) -> Result<(), Problem> {
    registry::announce(store, addresses, Timestamp::now()).await
}

fn authority(founding: Founding) -> Result<Authority, Problem> {
    let key = PrivateKey::from_pem(&founding.key_pem).map_err(failed)?;
    let certificate = founding.certificate_pem;
    Authority::from_pem(&AuthorityPem { certificate, key }).map_err(failed)
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn failed(error: PkiError) -> Problem {
    Problem::new(Code::Internal, format!("{error}."))
}

/// What a key is told apart by; whose it is the request's signature shows.
fn key_of(request_pem: &str) -> String {
    accelnet_pki::Fingerprint::of_der(request_pem.as_bytes()).to_string()
}

impl Membership {
    /// Reads who belongs to the cluster.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn open<S: Store>(
        store: S,
        authority: Arc<Authority>,
        own: Vec<String>,
        clock: Clock,
    ) -> Result<Self, Problem> {
        let members = registry::members(&store).await?;
        // Sessions of the server before have other numbers.
        let first = Uuid::new_v4().as_u64_pair().0 >> 16;
        Ok(Self {
            hub: Arc::new(Hub::new(members, first)),
            register: Box::new(In(store)),
            authority,
            own,
            standbys: Standbys::default(),
            since: clock.now(),
            clock,
        })
    }

    /// It is read from a copy of what servers keep, none of which is this one.
    pub fn is_copy(&self) -> bool {
        self.own.is_empty()
    }

    /// The cluster's identity.
    pub fn cluster(&self) -> Uuid {
        self.authority.cluster()
    }

    /// Where servers are: this one, which decides, and those that stand by.
    pub async fn servers(&self) -> Vec<String> {
        let mut all = self.own.clone();
        match self.others().await {
            Ok(others) => all.extend(others.into_iter().map(|other| other.address)),
            // They are told with the next session.
            Err(problem) => tracing::warn!(%problem, "which servers there are"),
        }
        all
    }

    /// Servers that stand by.
    pub(super) async fn others(&self) -> Result<Vec<Announced>, Problem> {
        let mut servers = self.register.servers().await?;
        servers.retain(|server| !self.own.contains(&server.address));
        Ok(servers)
    }

    /// Forgets what a server has said.
    pub(super) async fn withdraw(&self, address: &str) -> Result<(), Problem> {
        self.register.withdraw(address).await
    }

    /// Looks whether the others answer.
    pub(crate) async fn look_at_standbys(&self) -> Result<(), Problem> {
        let others = self.others().await?;
        let addresses = others.iter().map(|server| server.address.as_str());
        self.standbys.look(addresses).await;
        Ok(())
    }

    /// Makes a token with which one machine can join.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn invite(
        &self,
        node: Option<Name>,
        lasts: Duration,
    ) -> Result<(JoinToken, Timestamp), Problem> {
        let token = JoinToken {
            ca: self.authority.fingerprint(),
            secret: Secret::generate().map_err(failed)?,
        };
        let hash = token.secret.hash().to_string();
        let invited = self.register.invite(&hash, node, self.clock.now(), lasts);
        Ok((token, invited.await?))
    }

    /// Lets a machine in that has a token.
    ///
    /// # Errors
    /// `join_refused`, `conflict` if there is a node of its name.
    async fn admit(&self, request: &JoinRequest) -> Result<(Member, Joined), Problem> {
        let token: Result<JoinToken, _> = request.token.parse();
        let token = token.map_err(|error| Problem::new(Code::JoinRefused, format!("{error}.")))?;
        let now = self.clock.now();
        // A request that no certificate could be made for uses up no token.
        let sample = Uuid::nil();
        let lifetime = CERTIFICATE_LIFETIME;
        let name = &request.name;
        let tried = self
            .authority
            .issue_node(&request.request_pem, sample, name, lifetime, now);
        tried.map_err(unusable)?;
        let candidate = Candidate {
            token: &token.secret.hash().to_string(),
            key: &key_of(&request.request_pem),
            name,
            is_up: self.hub.is_up(name),
        };
        let member = self.register.admit(candidate, now).await?;
        let joined = Joined {
            cluster: self.authority.cluster(),
            node: member.id,
            name: member.name.clone(),
            certificate_pem: self.certificate(&request.request_pem, &member, now)?,
            authority_pem: self.authority.certificate_pem(),
            servers: self.servers().await,
        };
        self.hub.add(member.clone());
        Ok((member, joined))
    }

    fn certificate(
        &self,
        request_pem: &str,
        member: &Member,
        now: Timestamp,
    ) -> Result<String, Problem> {
        let (id, name) = (member.id, &member.name);
        let issued = self
            .authority
            .issue_node(request_pem, id, name, CERTIFICATE_LIFETIME, now);
        issued.map_err(unusable)
    }

    /// The member that a certificate is of, if it is one still.
    ///
    /// # Errors
    /// `node_not_member`.
    pub fn member(&self, peer: &NodePeerInfo) -> Result<Member, Problem> {
        let member = self.hub.member(&peer.name);
        member
            .filter(|member| member.id == peer.id)
            .ok_or_else(|| super::not_member(&peer.name))
    }

    /// A new certificate for a member, by the server's clock from now on.
    ///
    /// # Errors
    /// `node_not_member`, `invalid_argument` if the request cannot be used.
    pub fn renew(&self, peer: &NodePeerInfo, request_pem: &str) -> Result<String, Problem> {
        let member = self.member(peer)?;
        let pem = self.certificate(request_pem, &member, self.clock.now())?;
        if let Ok(peer) = NodePeer::from_pem(&pem) {
            tracing::info!(node = %member.name, expires = %peer.expires, "certificate renewed");
            self.hub.note_renewal(&member.name, peer.expires);
        }
        Ok(pem)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn unusable(error: PkiError) -> Problem {
    Problem::new(
        Code::InvalidArgument,
        format!("The request for a certificate: {error}."),
    )
}

impl Server {
    /// Lets a machine in that has a token, whether or not it waits for the answer.
    pub(crate) async fn join(&self, request: JoinRequest) -> Result<Joined, Problem> {
        let server = self.clone();
        state::awaited(async move { server.let_in(&request).await }).await
    }

    async fn let_in(&self, request: &JoinRequest) -> Result<Joined, Problem> {
        let membership = self.membership()?;
        // No report is kept meanwhile: it could be the one of who had this name before.
        let mut kept = self.shared.kept.lock().await;
        let (member, joined) = membership.admit(request).await?;
        // Nothing that another machine of this name said before is true of it.
        kept.remove(&member.name);
        self.shared.reports.forget(&member.name);
        self.shared.told.leave(&member.name);
        drop(kept);
        let asked = Asked {
            by: Actor {
                node: Some(member.name.clone()),
                ..Actor::default()
            },
            operation: "node join",
            subject: format!("{} {}", member.name, member.id),
            dry_run: false,
        };
        if let Err(problem) = self.record(&asked).await {
            tracing::warn!(%problem, "what was done is not in the record");
        }
        self.changed();
        Ok(joined)
    }

    /// Forgets a node, whether or not anybody waits for that: its certificate is worth nothing any more. Its VMs keep
    /// what they have.
    ///
    /// # Errors
    /// `node_not_found`; if it cannot be written.
    pub(crate) async fn remove_node(&self, name: Name) -> Result<(), Problem> {
        let server = self.clone();
        state::awaited(async move { server.let_go(&name).await }).await
    }

    async fn let_go(&self, name: &Name) -> Result<(), Problem> {
        let membership = self.membership()?;
        // No report is kept meanwhile: it would stay for whoever has this name next.
        let mut kept = self.shared.kept.lock().await;
        let was_written = membership.register.remove(name).await?;
        kept.remove(name);
        let was_known = membership.hub.remove(name);
        self.shared.reports.forget(name);
        self.shared.told.leave(name);
        drop(kept);
        if !was_written && !was_known {
            let text = format!("There is no node '{name}'.");
            return Err(Problem::new(Code::NodeNotFound, text));
        }
        self.changed();
        Ok(())
    }

    /// Who belongs to the cluster.
    ///
    /// # Errors
    /// `conflict` on a host that is none of a cluster.
    pub(crate) fn membership(&self) -> Result<&Membership, Problem> {
        self.shared.membership.as_ref().ok_or_else(|| {
            let text = "This host is alone: server and agent are one process, and no node can join or leave.";
            Problem::new(Code::Conflict, text).with_cure(
                "For a cluster run 'accelnetd init' and accelnet-server on one machine, and join the others.",
            )
        })
    }

    /// Calls nodes down that have given no sign of life for too long, until the server stops.
    pub(crate) async fn watch_signs(&self) {
        let Ok(membership) = self.membership() else {
            return;
        };
        let hub = &membership.hub;
        let stopping = self.stopping();
        tokio::pin!(stopping);
        loop {
            let next = hub.next_end(Instant::now());
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(next) => {}
            }
            for (name, problem) in hub.end_silent(Instant::now()) {
                tracing::warn!(node = %name, "gives no sign of life any more");
                self.lost(&name, problem);
            }
        }
    }
}
