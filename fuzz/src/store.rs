//! The store's keys and values as a server finds them at its start, and a backup of them.

use std::sync::Arc;

use accelnet_api::backup::{Backup, BackupReader, BackupWriter};
use accelnet_server::{Actor, Nodes, Sender, Server, fake::FakeNodes, restore};
use accelnet_store::{MemoryStore, Op, Store, limits};
use axum::{body::Body, extract::ConnectInfo, http::Request};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tower::ServiceExt;

use crate::net::{alone, ask};

/// What all keys begin with.
const PREFIX: &str = "accelnet/v1/";

/// Lines `KEY VALUE`. A server starts on them or says why not; one that started answers, and what it gives as a backup
/// is one, whole.
pub fn store(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let put = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some(Op::put(format!("{PREFIX}{key}"), value))
    };
    let mut ops: Vec<Op> = Vec::new();
    for op in text.lines().filter_map(put).take(limits::TXN_OPS_MAX) {
        ops.retain(|other| other.key() != op.key());
        ops.push(op);
    }
    alone(async {
        let store = MemoryStore::new();
        // A key that no store takes is none that is found there.
        if store.txn(Vec::new(), ops).await.is_err() {
            return;
        }
        let nodes = FakeNodes::one() as Arc<dyn Nodes>;
        let Ok(server) = Server::new(store, nodes).await else {
            return;
        };
        let router = server.router();
        let local = |method: &str, path: &str| {
            let sender = Sender::Local(Actor {
                uid: Some(0),
                ..Actor::default()
            });
            let path = format!("{}{path}", accelnet_api::BASE);
            let request = Request::builder().method(method).uri(path);
            let request = request.extension(ConnectInfo(sender));
            request.body(Body::empty()).expect("a request")
        };
        for path in [
            "/vms",
            "/intents",
            "/cluster",
            "/capacity",
            "/tokens",
            "/audit",
        ] {
            ask(&router, local("GET", path)).await;
        }
        let Ok(answer) = router.oneshot(local("GET", "/backup")).await;
        if answer.status().is_success() {
            let copy = answer.into_body().collect().await;
            let copy = copy.expect("it comes to its end").to_bytes();
            if let Err(bad) = Backup::read(&copy) {
                panic!("{bad}: {}", String::from_utf8_lossy(&copy));
            }
        }
    });
}

/// A file that shall be put back. What is read is the same when it is written again, and comes in pieces as whole; what
/// would become of it is planned, or refused.
pub fn backup_file(bytes: &[u8]) {
    let whole = Backup::read(bytes);
    let mut pieces = BackupReader::default();
    let taken = bytes.chunks(5).try_for_each(|piece| pieces.take(piece));
    assert_eq!(taken.and_then(|()| pieces.finish()), whole);
    let read = match whole {
        Ok(backup) => backup,
        // A checksum is never found by chance: what has one is made of the lines.
        Err(_) => match with_a_sum(bytes) {
            Some(backup) => backup,
            None => return,
        },
    };
    alone(async {
        let store = MemoryStore::new();
        let _ = restore::plan(&store, &read, Timestamp::UNIX_EPOCH).await;
    });
}

/// The header and items of a file, with the end that they should have.
fn with_a_sum(bytes: &[u8]) -> Option<Backup> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut writer = BackupWriter::default();
    let header = serde_json::from_slice(lines.next()?).ok()?;
    let mut whole = writer.header(&header).ok()?;
    for item in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
        whole.extend(writer.item(&item).ok()?);
    }
    whole.extend(writer.end().ok()?);
    match Backup::read(&whole) {
        Ok(backup) => Some(backup),
        // A form of another version.
        Err(_) if header.accelnet_backup != accelnet_api::backup::FORMAT => None,
        Err(bad) => panic!("{bad}: {}", String::from_utf8_lossy(&whole)),
    }
}
