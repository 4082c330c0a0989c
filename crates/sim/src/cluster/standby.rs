//! A server that stands by: it follows what is kept, and answers those who take what may be old.
//!
//! It has chances and dangers of its own, so that what it meets makes no other runs of all seeds.

use std::sync::Arc;

use accelnet_server::{KEPT_BELOW, Server, Settings, membership};
use accelnet_store::{
    KeyValue, MemoryStore, Page, Replica, Revision, Snapshot, Store, StoreError, limits,
};
use serde_json::Value;
use tokio::sync::watch;

use super::{Cluster, people, verdict::HEARD_WITHIN};
use crate::{
    net::Serving,
    scene::{Dangers, Scene},
    store::{Leash, SimStore},
};

/// After one of so many things that happen somebody reads from it,
const READ: u32 = 3;
/// and one reading of so many is the last before it is started anew.
const STARTED_ANEW: u32 = 3;

/// Its process.
pub(super) struct Standby {
    scene: Scene,
    under: Arc<MemoryStore>,
    leash: Arc<Leash>,
    replica: Replica,
    /// Of what was read last: whatever is read later is not older.
    read: Option<Revision>,
}

impl Standby {
    /// It begins to follow.
    pub(super) fn new(seed: u64, under: Arc<MemoryStore>) -> Self {
        let scene = Scene::new(seed, false);
        let (leash, replica) = follow(&scene, &under);
        Self {
            scene,
            under,
            leash,
            replica,
            read: None,
        }
    }

    /// Nothing goes wrong any more; what went wrong is counted with the rest.
    pub(super) fn calm(&self, counted: &Scene) {
        self.scene.set_dangers(Dangers::NONE);
        for (point, count) in self.scene.summary().reached {
            (0..count).for_each(|_| counted.reached(&format!("standby: {point}")));
        }
    }

    fn start_anew(&mut self) {
        self.leash.kill();
        (self.leash, self.replica) = follow(&self.scene, &self.under);
    }
}

fn follow(scene: &Scene, under: &Arc<MemoryStore>) -> (Arc<Leash>, Replica) {
    let leash = Arc::new(Leash::default());
    let store = SimStore::new(Arc::clone(under), scene.clone(), Arc::clone(&leash));
    (leash, Replica::follow(Arc::new(store), KEPT_BELOW))
}

/// All that was kept at a revision; `None` if that is not known any more.
async fn kept_at(store: &impl Store, at: Revision) -> Result<Option<Vec<Arc<KeyValue>>>, String> {
    let most = limits::PAGE_ITEMS_MAX;
    let mut page = Some(Page {
        at: Some(at),
        ..Page::first(most)
    });
    let mut all = Vec::new();
    while let Some(next) = page {
        match store.list(KEPT_BELOW, next).await {
            Ok(listed) => {
                page = listed.next_page(most);
                all.extend(listed.items);
            }
            Err(StoreError::Compacted { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Some(all))
}

/// What is wanted of each VM, as a list of VMs tells it.
fn wishes(listed: &Value) -> Vec<[&Value; 3]> {
    let items = listed["items"].as_array().into_iter().flatten();
    items
        .map(|vm| ["uuid", "level", "parked"].map(|of| &vm[of]))
        .collect()
}

impl Cluster {
    /// Somebody may take what may be old: it was so once, and is no older than what was read before.
    ///
    /// # Errors
    /// It was never so.
    pub(super) async fn reads_copy(&mut self) -> Result<(), String> {
        if !self.standby.scene.one_in(READ) {
            return Ok(());
        }
        let Some(copy) = self.copy() else {
            self.scene.reached("standby: nothing read yet");
            return Ok(());
        };
        let revision = copy.revision();
        if self.standby.read > Some(revision) {
            return Err(format!("a copy went back to {revision:?}"));
        }
        self.standby.read = Some(revision);
        match kept_at(&*self.store, revision).await? {
            Some(kept) if kept_at(&copy, revision).await? != Some(kept.clone()) => {
                return Err(format!("a copy of {revision:?} is not what was kept"));
            }
            Some(_) => self.scene.reached("standby: as it was"),
            None => self.scene.reached("standby: far behind"),
        }
        self.answer_of(copy, "/vms").await?;
        if self.standby.scene.one_in(STARTED_ANEW) {
            self.scene.reached("standby: started anew");
            self.standby.start_anew();
        }
        Ok(())
    }

    /// When all has stopped, what it answers is what the one that decides does.
    ///
    /// # Errors
    /// It is not, in time.
    pub(super) async fn copy_is_of_now(&mut self) -> Result<(), String> {
        let end = self.now() + HEARD_WITHIN;
        loop {
            let decided = self.done("GET", "/vms", Value::Null).await?;
            let copied = match self.copy() {
                Some(copy) => self.answer_of(copy, "/vms").await?,
                None => Value::Null,
            };
            let (decided, copied) = (wishes(&decided), wishes(&copied));
            if decided == copied {
                return Ok(());
            }
            if self.now() > end {
                return Err(format!("a copy says {copied:?}, it is {decided:?}"));
            }
            self.pass(std::time::Duration::from_millis(100)).await?;
        }
    }

    fn copy(&self) -> Option<Snapshot> {
        self.standby.replica.snapshot()
    }

    /// What a server that was made of a copy says.
    async fn answer_of(&self, copy: Snapshot, path: &str) -> Result<Value, String> {
        let words = |problem: accelnet_model::Problem| problem.to_string();
        let authority = membership::founded(&*self.store).await.map_err(words)?;
        let settings = Settings {
            clock: self.clock(),
            ..Settings::default()
        };
        let server = Server::of_copy(copy, Arc::new(authority), settings);
        let server = server.await.map_err(words)?;
        let (_lives, watched) = watch::channel(true);
        let serving = Serving {
            router: server.router(),
            lives: watched,
        };
        match people::answer(&serving, people::of_people("GET", path, &Value::Null)).await {
            Some((200, body)) => Ok(body),
            other => Err(format!("a copy answers {path}: {other:?}")),
        }
    }
}
