//! A request that arrives long after its sender gave up.
//!
//! A proxy between store and etcd keeps back what the store sends, and lets it go on when the store
//! has looked up, by another way, that it did not happen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use accelnet_store::{Compare, EtcdOptions, EtcdStore, Op, Store};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, watch},
};

use super::{cluster::Cluster, is_open};
use crate::backend::{get, in_time, next, put};

const DEADLINE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn e25_what_was_looked_up_stays_though_the_request_arrives_later() {
    let cluster = Cluster::start(1).await;
    let direct = cluster.endpoints().remove(0);
    let proxy = Proxy::start(direct.trim_start_matches("http://")).await;
    let options = EtcdOptions {
        endpoints: vec![proxy.url.clone(), direct],
        deadline: DEADLINE,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let first = put(&store, "a", "first").await;
    proxy.keeps.store(true, Ordering::SeqCst);
    let late = {
        let store = store.clone();
        tokio::spawn(async move {
            let compare = vec![Compare::unchanged("a", first)];
            store.txn(compare, vec![Op::put("a", "late")]).await
        })
    };
    // Without the notice that the sender gave up, which comes after it.
    let request = proxy.request().await;
    let error = in_time(late).await.unwrap().unwrap_err();
    assert!(is_open(&error), "{error}");
    let found = in_time(get(&store, "a")).await.unwrap();
    assert_eq!(found.mod_revision, first, "it has not happened");
    let mut watch = store.watch("a", first.next()).await.unwrap();
    proxy.let_go(request).await;
    let kv = get(&store, "a").await.unwrap();
    assert_eq!(kv.mod_revision, first, "it does not happen later either");
    let second = put(&store, "a", "second").await;
    assert_eq!(next(&mut watch).await.revision, second);
}

/// Passes on all connections, until it keeps back what comes on them from the store.
struct Proxy {
    url: String,
    keeps: Arc<AtomicBool>,
    kept: watch::Receiver<Vec<u8>>,
    /// The way to etcd of the connection on which something was kept back.
    way: Arc<Mutex<Option<OwnedWriteHalf>>>,
    /// Bytes from etcd.
    answered: watch::Receiver<usize>,
}

impl Proxy {
    async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keeps = Arc::new(AtomicBool::new(false));
        let way = Arc::new(Mutex::new(None));
        let (keeping, kept) = watch::channel(Vec::new());
        let (answering, answered) = watch::channel(0);
        let (to, keeps_here, way_here) = (to.to_owned(), Arc::clone(&keeps), Arc::clone(&way));
        tokio::spawn(async move {
            while let Ok((store, _)) = listener.accept().await {
                let (from_store, to_store) = store.into_split();
                let etcd = TcpStream::connect(&to).await.unwrap();
                let (from_etcd, to_etcd) = etcd.into_split();
                let (keeps, way) = (Arc::clone(&keeps_here), Arc::clone(&way_here));
                tokio::spawn(forth(from_store, to_etcd, keeps, keeping.clone(), way));
                tokio::spawn(back(from_etcd, to_store, answering.clone()));
            }
        });
        Self {
            url,
            keeps,
            kept,
            way,
            answered,
        }
    }

    /// What was kept back, once no more comes for a while.
    async fn request(&self) -> Vec<u8> {
        let mut kept = self.kept.clone();
        in_time(kept.wait_for(|kept| !kept.is_empty()))
            .await
            .unwrap();
        while let Ok(more) = tokio::time::timeout(DEADLINE / 6, kept.changed()).await {
            more.unwrap();
        }
        kept.borrow().clone()
    }

    /// Passes it on, and waits until etcd has answered.
    async fn let_go(&self, request: Vec<u8>) {
        let mut answered = self.answered.clone();
        answered.mark_unchanged();
        let mut way = self.way.lock().await;
        way.as_mut().unwrap().write_all(&request).await.unwrap();
        in_time(answered.changed()).await.unwrap();
        while let Ok(more) = tokio::time::timeout(DEADLINE / 6, answered.changed()).await {
            more.unwrap();
        }
    }
}

async fn forth(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    keeps: Arc<AtomicBool>,
    kept: watch::Sender<Vec<u8>>,
    way: Arc<Mutex<Option<OwnedWriteHalf>>>,
) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if keeps.load(Ordering::SeqCst) {
            kept.send_modify(|kept| kept.extend(&buffer[..count]));
            *way.lock().await = Some(to);
            // The rest is never passed on, and neither is the end.
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                kept.send_modify(|kept| kept.extend(&buffer[..count]));
            }
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answered: watch::Sender<usize>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        answered.send_modify(|bytes| *bytes += count);
        // The store may have closed its end.
        let _ = to.write_all(&buffer[..count]).await;
    }
}
