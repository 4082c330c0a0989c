//! Which machines belong to the cluster, and how they come to.
//!
//! | key | value |
//! |---|---|
//! | `accelnet/v1/authority` | [`Founding`]: the cluster's identity and its certificate authority |
//! | `accelnet/v1/servers/ADDRESS` | [`Announced`]: a server, whether it decides or stands by |
//! | `accelnet/v1/nodes/NAME/spec` | [`Member`] |
//! | `accelnet/v1/join-tokens/HASH` | [`Invitation`], by the hash of the token's secret |
//!
//! A token lets one machine in, once. A request that is repeated because its answer was lost is the same
//! request: it comes from the same key, and is given the same identity.

use std::time::Duration;

use accelnet_model::{Code, Name, Problem};
use accelnet_store::{Compare, KeyValue, Op, Revision, Store, TxnOutcome, limits};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    restore::finished,
    state::{PREFIX, decode, known, put, within},
};

/// How often something is decided anew that others change meanwhile.
const ATTEMPTS: u32 = 5;

/// What a cluster is founded on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster's identity.
    pub cluster: Uuid,
    /// The authority's certificate.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl std::fmt::Debug for Founding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Founding")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// A server of the cluster, which says so itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Where it is, `HOST:PORT`.
    pub address: String,
    /// Since when it has been there.
    pub since: Timestamp,
    /// Its version.
    pub version: String,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its identity: a machine that takes its place has another.
    pub id: Uuid,
    /// Its name.
    pub name: Name,
    /// When it joined.
    pub joined: Timestamp,
}

/// A token that was made and not used, or used a moment ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Invitation {
    /// The only machine that it is for, if it is for one; that may take the place of a node that is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Name>,
    expires: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<Used>,
}

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    /// Hash of the key that came with it.
    key: String,
    node: Uuid,
}

/// A machine that asks to join.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Hash of the token's secret.
    pub token: &'a str,
    /// Hash of the machine's public key.
    pub key: &'a str,
    /// What it is called.
    pub name: &'a Name,
    /// A node of this name gives signs of life.
    pub is_up: bool,
}

fn founding_key() -> String {
    format!("{PREFIX}authority")
}

fn member_key(name: &Name) -> String {
    format!("{PREFIX}nodes/{name}/spec")
}

/// The first part of what a node said, without which the others are nothing.
fn report_key(name: &Name) -> String {
    format!("{PREFIX}nodes/{name}/status")
}

fn token_key(hash: &str) -> String {
    format!("{PREFIX}join-tokens/{hash}")
}

/// A value with the revision that wrote it; absent, [`Revision::ABSENT`].
fn unchanged(key: &str, found: Option<&KeyValue>) -> Compare {
    let revision = found.map_or(Revision::ABSENT, |found| found.mod_revision);
    Compare::unchanged(key, revision)
}

/// The authority of the cluster whose state this is, if it was founded.
///
/// # Errors
/// If it cannot be read.
pub async fn founding<S: Store>(store: &S) -> Result<Option<Founding>, Problem> {
    finished(store).await?;
    let key = founding_key();
    let found = within(store.get(&key, None)).await?;
    found.map(|found| decode(&key, &found.value)).transpose()
}

/// Founds the cluster, unless it is; what it is founded on then.
///
/// # Errors
/// If it cannot be read or written.
pub async fn found<S: Store>(store: &S, new: Founding) -> Result<Founding, Problem> {
    let key = founding_key();
    let written = vec![put("authority", &new)?];
    match within(store.txn(vec![Compare::absent(&key)], written)).await? {
        TxnOutcome::Committed { .. } => Ok(new),
        TxnOutcome::Conflict { .. } => founding(store).await?.ok_or_else(busy),
    }
}

/// A server says where it is.
///
/// # Errors
/// If it cannot be written.
pub async fn announce<S: Store>(
    store: &S,
    addresses: &[String],
    now: Timestamp,
) -> Result<(), Problem> {
    let written: Result<Vec<Op>, Problem> = addresses
        .iter()
        .map(|address| {
            let announced = Announced {
                address: address.clone(),
                since: now,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            put(&format!("servers/{address}"), &announced)
        })
        .collect();
    within(store.txn(Vec::new(), written?)).await.map(drop)
}

/// All servers that have said so.
///
/// # Errors
/// If they cannot be read.
pub async fn servers<S: Store>(store: &S) -> Result<Vec<Announced>, Problem> {
    let listing = within(store.list_all(&format!("{PREFIX}servers/"))).await?;
    let servers = listing.items.iter();
    servers.map(|item| decode(&item.key, &item.value)).collect()
}

/// Forgets what a server has said.
///
/// # Errors
/// If it cannot be written.
pub async fn withdraw<S: Store>(store: &S, address: &str) -> Result<(), Problem> {
    let forget = Op::delete(format!("{PREFIX}servers/{address}"));
    within(store.txn(Vec::new(), vec![forget])).await.map(drop)
}

/// All members, in the order of their names.
///
/// # Errors
/// If they cannot be read: a node that is not understood is not left out.
pub async fn members<S: Store>(store: &S) -> Result<Vec<Member>, Problem> {
    let listing = within(store.list_all(&format!("{PREFIX}nodes/"))).await?;
    let specs = listing.items.iter().filter(|item| is_spec(&item.key));
    let members: Result<Vec<Member>, Problem> =
        specs.map(|item| decode(&item.key, &item.value)).collect();
    let mut members = members?;
    members.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(members)
}

/// True of a key below `nodes/` that holds a member, not a report.
pub fn is_spec(key: &str) -> bool {
    key.ends_with("/spec")
}

/// Lets a machine in that shows the token with this hash, for a while.
///
/// # Errors
/// If it cannot be written.
pub async fn invite<S: Store>(
    store: &S,
    hash: &str,
    node: Option<Name>,
    now: Timestamp,
    lasts: Duration,
) -> Result<Timestamp, Problem> {
    let expires = SignedDuration::try_from(lasts)
        .ok()
        .and_then(|lasts| now.checked_add(lasts).ok())
        .ok_or_else(|| Problem::new(Code::InvalidArgument, "The token would last too long."))?;
    let invitation = Invitation {
        node,
        expires,
        used: None,
    };
    forget_expired(store, now).await?;
    let written = vec![put(&format!("join-tokens/{hash}"), &invitation)?];
    within(store.txn(Vec::new(), written)).await?;
    Ok(expires)
}

/// Nobody asks for those any more.
async fn forget_expired<S: Store>(store: &S, now: Timestamp) -> Result<(), Problem> {
    let listing = within(store.list_all(&format!("{PREFIX}join-tokens/"))).await?;
    for item in &listing.items {
        let token: Invitation = decode(&item.key, &item.value)?;
        if token.expires < now {
            within(store.txn(Vec::new(), vec![Op::delete(&item.key)])).await?;
        }
    }
    Ok(())
}

/// Makes a machine a member.
///
/// # Errors
/// `join_refused` if its token is not one, has expired or was used, or is for another machine; `conflict` if there is
/// a node of its name.
pub async fn admit<S: Store>(
    store: &S,
    candidate: Candidate<'_>,
    now: Timestamp,
) -> Result<Member, Problem> {
    let (token_key, member_key) = (token_key(candidate.token), member_key(candidate.name));
    for _ in 0..ATTEMPTS {
        let token = within(store.get(&token_key, None)).await?;
        let member = within(store.get(&member_key, None)).await?;
        let invitation = token
            .as_deref()
            .map(|token| decode::<Invitation>(&token_key, &token.value))
            .transpose()?;
        let present = member
            .as_deref()
            .map(|member| decode::<Member>(&member_key, &member.value))
            .transpose()?;
        let mut invitation = invited(invitation, &candidate, now)?;
        if let Some(used) = &invitation.used {
            return again(used, &candidate, present);
        }
        may_take_place(&invitation, &candidate, present.as_ref())?;
        let new = Member {
            id: Uuid::new_v4(),
            name: candidate.name.clone(),
            joined: now,
        };
        invitation.used = Some(Used {
            key: candidate.key.to_owned(),
            node: new.id,
        });
        let compares = vec![
            unchanged(&token_key, token.as_deref()),
            unchanged(&member_key, member.as_deref()),
        ];
        let ops = vec![
            put(&format!("join-tokens/{}", candidate.token), &invitation)?,
            put(&format!("nodes/{}/spec", new.name), &new)?,
            // Nothing that another machine of this name said is true of it.
            Op::delete(report_key(&new.name)),
        ];
        // If it counted after all, the next round finds the token used by this machine.
        if let TxnOutcome::Committed { .. } = known(store, compares, ops).await? {
            return Ok(new);
        }
    }
    Err(busy())
}

fn refused(text: &str) -> Problem {
    Problem::new(Code::JoinRefused, text)
}

fn invited(
    invitation: Option<Invitation>,
    candidate: &Candidate<'_>,
    now: Timestamp,
) -> Result<Invitation, Problem> {
    let invitation = invitation
        .ok_or_else(|| refused("The token is none of this cluster's, or was removed."))?;
    if invitation.expires < now {
        return Err(refused(&format!(
            "The token expired at {}.",
            invitation.expires
        )));
    }
    match &invitation.node {
        Some(node) if node != candidate.name => Err(refused(&format!(
            "The token is for node '{node}', and this machine is called '{}'.",
            candidate.name
        ))),
        _ => Ok(invitation),
    }
}

/// The answer to a request that was repeated.
fn again(
    used: &Used,
    candidate: &Candidate<'_>,
    present: Option<Member>,
) -> Result<Member, Problem> {
    let same = present.filter(|member| member.id == used.node && candidate.key == used.key);
    same.ok_or_else(|| refused("The token was used already: a token lets one machine in."))
}

fn may_take_place(
    invitation: &Invitation,
    candidate: &Candidate<'_>,
    present: Option<&Member>,
) -> Result<(), Problem> {
    let Some(present) = present else {
        return Ok(());
    };
    if invitation.node.is_some() && !candidate.is_up {
        return Ok(());
    }
    let text = format!(
        "There is a node '{}' already{}.",
        present.name,
        if candidate.is_up {
            ", and it is up"
        } else {
            ""
        }
    );
    let cure = "Give the machine another host name (hostnamectl), or, if it takes that node's place, stop that node \
                and use a token for this name: 'accelnet node join-token --node NAME'.";
    Err(Problem::new(Code::Conflict, text)
        .about("node", &present.name)
        .with_cure(cure))
}

/// Forgets a node, and what it said; `false` if there is none of this name. Waits until it is known.
///
/// # Errors
/// If it is not forgotten.
pub async fn remove<S: Store>(store: &S, name: &Name) -> Result<bool, Problem> {
    let key = member_key(name);
    for _ in 0..ATTEMPTS {
        let Some(found) = within(store.get(&key, None)).await? else {
            return Ok(false);
        };
        let unchanged = vec![unchanged(&key, Some(&found))];
        let itself = vec![Op::delete(&key), Op::delete(report_key(name))];
        let forgotten = match known(store, unchanged, itself).await? {
            TxnOutcome::Committed { .. } => true,
            // By an earlier try, or by another server.
            TxnOutcome::Conflict { .. } => within(store.get(&key, None)).await?.is_none(),
        };
        if forgotten {
            if let Err(problem) = forget_parts(store, name).await {
                tracing::warn!(%problem, %name, "further parts of its report stay, and are nothing without the first");
            }
            return Ok(true);
        }
    }
    Err(busy())
}

/// Forgets what is left of a node's report.
async fn forget_parts<S: Store>(store: &S, name: &Name) -> Result<(), Problem> {
    let parts = within(store.list_all(&format!("{}/", report_key(name)))).await?;
    let parts: Vec<Op> = parts
        .items
        .iter()
        .map(|part| Op::delete(&part.key))
        .collect();
    for ops in parts.chunks(limits::TXN_OPS_MAX) {
        within(store.txn(Vec::new(), ops.to_vec())).await?;
    }
    Ok(())
}

fn busy() -> Problem {
    Problem::new(Code::Conflict, "Others kept changing the cluster's nodes.")
}

#[cfg(test)]
mod tests {
    use accelnet_store::MemoryStore;

    use super::*;
    use crate::state::odd::{Odd, Way};

    const LASTS: Duration = Duration::from_secs(900);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn candidate<'a>(token: &'a str, key: &'a str, name: &'a Name) -> Candidate<'a> {
        Candidate {
            token,
            key,
            name,
            is_up: false,
        }
    }

    async fn invited_store(node: Option<&str>) -> MemoryStore {
        let store = MemoryStore::new();
        let node = node.map(name);
        invite(&store, "t1", node, now(), LASTS).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_token_lets_one_machine_in_and_a_repeated_request_is_the_same() {
        let store = invited_store(None).await;
        let (one, two) = (name("node1"), name("node2"));
        let first = admit(&store, candidate("t1", "k1", &one), now())
            .await
            .unwrap();
        let again = admit(&store, candidate("t1", "k1", &one), now())
            .await
            .unwrap();
        assert_eq!(first, again);
        // Another key, or another name.
        for other in [candidate("t1", "k2", &one), candidate("t1", "k1", &two)] {
            let problem = admit(&store, other, now()).await.unwrap_err();
            assert_eq!(problem.code, Code::JoinRefused);
            assert!(problem.detail.contains("used"), "{problem}");
        }
        assert_eq!(members(&store).await.unwrap(), [first]);
    }

    #[tokio::test]
    async fn tokens_expire_are_of_this_cluster_and_for_a_machine() {
        let store = invited_store(Some("node1")).await;
        let (one, two) = (name("node1"), name("node2"));
        for (candidate, at, word) in [
            (candidate("t2", "k", &one), now(), "none of this cluster's"),
            (candidate("t1", "k", &two), now(), "is for node 'node1'"),
            (
                candidate("t1", "k", &one),
                now() + SignedDuration::from_mins(16),
                "expired",
            ),
        ] {
            let problem = admit(&store, candidate, at).await.unwrap_err();
            assert_eq!(problem.code, Code::JoinRefused);
            assert!(problem.detail.contains(word), "{problem}");
        }
        assert!(members(&store).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_node_is_replaced_only_by_one_that_is_meant_and_while_it_is_down() {
        let store = invited_store(None).await;
        let one = name("node1");
        let first = admit(&store, candidate("t1", "k1", &one), now())
            .await
            .unwrap();
        invite(&store, "t2", None, now(), LASTS).await.unwrap();
        let problem = admit(&store, candidate("t2", "k2", &one), now()).await;
        assert_eq!(problem.unwrap_err().code, Code::Conflict);
        invite(&store, "t3", Some(one.clone()), now(), LASTS)
            .await
            .unwrap();
        let up = Candidate {
            is_up: true,
            ..candidate("t3", "k2", &one)
        };
        let problem = admit(&store, up, now()).await.unwrap_err();
        assert!(problem.detail.contains("is up"), "{problem}");
        let second = admit(&store, candidate("t3", "k2", &one), now())
            .await
            .unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(members(&store).await.unwrap(), [second]);
    }

    #[tokio::test]
    async fn of_two_that_use_a_token_at_once_one_is_let_in() {
        let store = invited_store(None).await;
        let (one, two) = (name("node1"), name("node2"));
        let (first, second) = tokio::join!(
            admit(&store, candidate("t1", "k1", &one), now()),
            admit(&store, candidate("t1", "k2", &two), now())
        );
        assert!(first.is_ok() != second.is_ok());
        assert_eq!(members(&store).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_node_that_is_removed_leaves_nothing() {
        let store = invited_store(None).await;
        let one = name("node1");
        admit(&store, candidate("t1", "k1", &one), now())
            .await
            .unwrap();
        let report = vec![Op::put(format!("{PREFIX}nodes/node1/status"), "{}")];
        store.txn(Vec::new(), report).await.unwrap();
        let other = vec![Op::put(format!("{PREFIX}nodes/node10/status"), "{}")];
        store.txn(Vec::new(), other).await.unwrap();
        assert!(remove(&store, &one).await.unwrap());
        assert!(!remove(&store, &one).await.unwrap());
        let left = store.list_all(&format!("{PREFIX}nodes/")).await.unwrap();
        let left: Vec<&str> = left.items.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(left, [format!("{PREFIX}nodes/node10/status")]);
        // Its certificate's owner is no member, nor does its used token make it one.
        let again = admit(&store, candidate("t1", "k1", &one), now()).await;
        assert_eq!(again.unwrap_err().code, Code::JoinRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_is_let_in_and_a_node_forgotten_once_whatever_answers_are_lost() {
        use Way::{Late, Lost, MadeInSilence};
        let all: [&[Way]; 4] = [&[MadeInSilence], &[Lost], &[Late], &[Lost, MadeInSilence]];
        for ways in all {
            let one = name("node1");
            let store = Odd::new(&[]);
            invite(&store, "t1", None, now(), LASTS).await.unwrap();
            // Of a machine that had this name.
            let report = vec![Op::put(report_key(&one), "{}")];
            store.txn(Vec::new(), report).await.unwrap();
            store.treats_so(ways);
            let let_in = admit(&store, candidate("t1", "k1", &one), now());
            let member = let_in.await.unwrap();
            assert_eq!(members(&store).await.unwrap(), [member]);
            assert_eq!(store.get(&report_key(&one), None).await.unwrap(), None);
            let report = vec![Op::put(report_key(&one), "{}")];
            store.txn(Vec::new(), report).await.unwrap();
            store.treats_so(ways);
            assert!(remove(&store, &one).await.unwrap());
            let left = store.list_all(&format!("{PREFIX}nodes/")).await.unwrap();
            assert_eq!(left.items, []);
        }
    }

    #[tokio::test]
    async fn a_cluster_is_founded_once_and_expired_tokens_are_forgotten() {
        let store = MemoryStore::new();
        let new = |number| Founding {
            cluster: Uuid::from_u128(number),
            certificate_pem: "c".to_owned(),
            key_pem: "k".to_owned(),
        };
        assert_eq!(founding(&store).await.unwrap(), None);
        assert_eq!(found(&store, new(1)).await.unwrap(), new(1));
        assert_eq!(found(&store, new(2)).await.unwrap(), new(1));
        invite(&store, "t1", None, now(), LASTS).await.unwrap();
        let later = now() + SignedDuration::from_hours(1);
        invite(&store, "t2", None, later, LASTS).await.unwrap();
        let tokens = store.list_all(&format!("{PREFIX}join-tokens/")).await;
        assert_eq!(tokens.unwrap().items.len(), 1);
    }
}
