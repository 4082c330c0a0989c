//! Round trips between backends, interrupted ones, older copies, and bad files.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use accelnet_api::{
    Role,
    backup::{BackupHeader, BackupItem, BackupWriter, FORMAT},
};
use accelnet_model::{ClusterEnable, Intent, Name, Performance, VmDesired};
use accelnet_pki::Secret;
use accelnet_store::{
    Listing, MemoryStore, SqliteOptions, SqliteStore, StoreError, Watch, limits::TXN_OPS_MAX,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    membership,
    state::{OnIntent, Park, State, Stored, TokenSpec, Wanted, Wish, Write},
};

/// What is wanted for a VM in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vm {
    Unknown,
    Software,
    Accelerated(Performance, bool),
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn intent(name: &str) -> Intent {
    serde_json::from_value(serde_json::json!({
        "name": name, "types": ["compute"], "adapters": ["pf0"], "bridge": "br0", "vfs": "auto"
    }))
    .unwrap()
}

fn token(of: &str) -> TokenSpec {
    TokenSpec {
        name: name(of),
        role: Role::Admin,
        hash: Secret::generate().unwrap().hash(),
        created: now(),
        by: Actor::default(),
        expires: None,
    }
}

fn writes(vms: &[Vm]) -> Vec<Write> {
    let vms = vms.iter().enumerate().map(|(number, vm)| {
        let uuid = Uuid::from_u128(number as u128);
        let on = |level, parked: bool| Write::Vm {
            uuid,
            wanted: Wanted {
                intents: [(
                    name("compute"),
                    OnIntent {
                        level,
                        ..OnIntent::default()
                    },
                )]
                .into(),
                park: parked.then(|| Park::asked(None, now(), None)),
                name: format!("vm{number}"),
            },
        };
        match *vm {
            Vm::Unknown => Write::NoVm(uuid),
            Vm::Software => on(None, false),
            Vm::Accelerated(level, parked) => on(Some(level), parked),
        }
    });
    vms.collect()
}

async fn write<S: Store>(store: &Arc<S>, writes: Vec<Write>) -> Wish {
    let state = Stored::open(Arc::clone(store)).await.unwrap();
    let asked = Asked {
        by: Actor::default(),
        operation: "test",
        subject: String::new(),
        dry_run: false,
    };
    let mut wish = State::load(&state).await.unwrap();
    for part in writes.chunks(TXN_OPS_MAX - 10) {
        let change = vec![(part.to_vec(), Entry::new(&asked, Timestamp::UNIX_EPOCH))];
        wish = State::commit(&state, &wish, change).await.unwrap().unwrap();
    }
    wish
}

/// A cluster with some of everything.
async fn sample<S: Store>(store: &Arc<S>, vms: &[Vm]) -> Wish {
    membership::found(&**store).await.unwrap();
    let member = |node: &str, id| {
        let member = crate::nodes::Member {
            id: Uuid::from_u128(id),
            name: name(node),
            joined: now(),
        };
        put(&format!("nodes/{node}/spec"), &member).unwrap()
    };
    let others = vec![
        member("node1", 1),
        member("node2", 2),
        put("nodes/node1/status", &serde_json::json!({"old": true})).unwrap(),
        put("servers/a:1", &serde_json::json!({})).unwrap(),
        put("join-tokens/00", &serde_json::json!({})).unwrap(),
        put(
            "something/new",
            &serde_json::json!({"of": ["a", "newer", "version"]}),
        )
        .unwrap(),
    ];
    store.txn(Vec::new(), others).await.unwrap();
    let enabled = ClusterEnable {
        intent: name("compute"),
        node_reserve_percentage: 50,
        nodes_down: None,
        when: Default::default(),
    };
    let mut all = vec![
        Write::Intent(intent("compute")),
        Write::Intent(intent("storage")),
        Write::Cluster(Some(enabled)),
        Write::Token(token("alice")),
    ];
    all.extend(writes(vms));
    write(store, all).await
}

/// A backup as a server writes it, without the server.
async fn copy<S: Store>(store: &S) -> Backup {
    let mut writer = BackupWriter::default();
    let header = BackupHeader {
        accelnet_backup: FORMAT,
        cluster: None,
        taken: now(),
        version: "0".to_owned(),
        revision: 0,
        holds: Vec::new(),
    };
    let mut bytes = writer.header(&header).unwrap();
    for kv in everything(store).await.unwrap() {
        let key = kv.key.strip_prefix(PREFIX).unwrap().to_owned();
        if crate::backup::is_of_the_moment(&key) {
            continue;
        }
        let item = BackupItem {
            key,
            revision: kv.mod_revision.get(),
            value: serde_json::from_slice(&kv.value).unwrap(),
        };
        bytes.extend(writer.item(&item).unwrap());
    }
    bytes.extend(writer.end().unwrap());
    Backup::read(&bytes).unwrap()
}

async fn restore<S: Store>(store: &Arc<S>, backup: &Backup) -> Result<Report, Problem> {
    let plan = plan(&**store, backup, now()).await?;
    carry_out(&**store, &plan, Actor::default()).await?;
    Ok(plan.report)
}

async fn wish<S: Store>(store: &Arc<S>) -> Wish {
    let state = Stored::open(Arc::clone(store)).await.unwrap();
    State::load(&state).await.unwrap()
}

/// What a node that has the VM is told.
fn told_of(wish: &Wish, vm: Uuid) -> Option<VmDesired> {
    let enabled = wish.desired.enabled.as_ref()?;
    let node = "node1".parse().unwrap();
    wish.specs.get(vm)?.desired(&enabled.intent, &node)
}

fn level(wish: &Wish, vm: usize) -> Option<Performance> {
    wish.level_of(Uuid::from_u128(vm as u128))
}

async fn sqlite() -> (tempfile::TempDir, Arc<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.sqlite");
    let store = SqliteStore::open(file, SqliteOptions::default()).await;
    (directory, Arc::new(store.unwrap()))
}

const MANY: usize = 300;

fn many() -> Vec<Vm> {
    let levels = [Performance::Low, Performance::Medium, Performance::High];
    let vm = |number: usize| Vm::Accelerated(levels[number % 3], false);
    (0..MANY).map(vm).collect()
}

#[tokio::test]
async fn a_cluster_goes_from_one_backend_to_another_and_back() {
    let memory = Arc::new(MemoryStore::new());
    let before = sample(&memory, &many()).await;
    let (_directory, file) = sqlite().await;
    let report = restore(&file, &copy(&*memory).await).await.unwrap();
    assert!(report.into_empty);
    let back = Arc::new(MemoryStore::new());
    restore(&back, &copy(&*file).await).await.unwrap();
    let mut last = before.generation();
    let at_first = membership::founded(&*memory).await.unwrap();
    for (store, after) in [("file", wish(&file).await), ("memory", wish(&back).await)] {
        assert!(after.generation() > last, "{store} goes on");
        last = after.generation();
        assert_eq!(after.desired.enabled, before.desired.enabled);
        assert_eq!(after.desired.intents, before.desired.intents);
        assert_eq!(after.tokens, before.tokens);
        for vm in 0..MANY {
            assert_eq!(level(&after, vm), level(&before, vm), "{store}");
        }
    }
    // Agents know it again.
    let founded = membership::founded(&*back).await.unwrap();
    assert_eq!(founded.fingerprint(), at_first.fingerprint());
    let keys = |items: Vec<Arc<KeyValue>>| -> Vec<String> {
        let keys = items.iter().map(|kv| kv.key.clone());
        keys.filter(|key| !key.contains("/audit/")).collect()
    };
    let all = everything(&*memory).await.unwrap();
    let moved = keys(everything(&*back).await.unwrap());
    let mut expected = keys(all);
    expected.retain(|key| !crate::backup::is_of_the_moment(&key[PREFIX.len()..]));
    assert_eq!(moved, expected);
    let stored = Stored::open(Arc::clone(&back)).await.unwrap();
    let entries = State::entries(&stored).await.unwrap();
    let restores = entries
        .iter()
        .filter(|(_, entry)| entry.operation == "restore");
    assert_eq!(restores.count(), 2, "one entry each time, and those before");
}

#[tokio::test]
async fn an_older_copy_undoes_nothing_unsaid_and_lets_nobody_in_again() {
    use Vm::{Accelerated, Software, Unknown};
    let high = Accelerated(Performance::High, false);
    let low = Accelerated(Performance::Low, false);
    let store = Arc::new(MemoryStore::new());
    sample(&store, &[Unknown, Software, low, high, high]).await;
    let backup = copy(&*store).await;
    let mut later = writes(&[high, high, high, Unknown, high]);
    later.extend([
        Write::NoIntent(name("storage")),
        Write::NoToken(name("alice")),
        Write::Token(token("bob")),
    ]);
    let before = write(&store, later).await;
    let gone = vec![Op::delete(format!("{PREFIX}nodes/node2/spec"))];
    store.txn(Vec::new(), gone).await.unwrap();

    let report = restore(&store, &backup).await.unwrap();
    let after = wish(&store).await;
    assert!(!report.into_empty && after.generation() > before.generation());
    assert_eq!(after.generation(), report.generation);
    // Not wanted any more, and not told to come off either: nodes leave alone what is not wanted at all.
    for vm in [0, 1] {
        assert_eq!(told_of(&after, Uuid::from_u128(vm)), None);
    }
    assert_eq!(level(&after, 2), Some(Performance::Low));
    assert_eq!(level(&after, 3), Some(Performance::High));
    assert!(after.intent("storage").is_some());
    assert!(after.tokens.keys().eq([&name("bob")]), "{:?}", after.tokens);
    let said = |kind, of: &str| {
        let mut all = report.differences.iter();
        let found = all.find(|one| one.kind == kind && one.name.starts_with(of));
        found.map(|found| found.then)
    };
    for (kind, of, words) in [
        (Kind::Vm, "vm0", "keeps the VF"),
        (Kind::Vm, "vm1", "keeps the VF"),
        (Kind::Vm, "vm2", "copy's level"),
        (Kind::Vm, "vm3", "copy's level"),
        (Kind::Intent, "storage", "as in the copy"),
        (Kind::Node, "node2", "does not come back"),
        (Kind::Token, "alice", "stays revoked"),
        (Kind::Token, "bob", "stays good"),
    ] {
        let then = said(kind, of).unwrap_or_else(|| panic!("{of} is not listed"));
        assert!(then.contains(words), "{of}: {then}");
    }
    assert_eq!(report.differences.len(), 8, "{:#?}", report.differences);
    // What is so already is said to be, and still the number grows.
    let again = restore(&store, &backup).await.unwrap();
    assert!(again.generation > report.generation);
    assert!(again.differences.iter().all(|one| one.kind != Kind::Intent));
}

/// A store that fails after so many transactions.
struct Failing {
    store: Arc<MemoryStore>,
    left: AtomicUsize,
}

impl Store for Failing {
    async fn get(
        &self,
        key: &str,
        at: Option<Revision>,
    ) -> accelnet_store::Result<Option<Arc<KeyValue>>> {
        self.store.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> accelnet_store::Result<Listing> {
        self.store.list(prefix, page).await
    }

    async fn txn(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
    ) -> accelnet_store::Result<TxnOutcome> {
        let one_less = |left: usize| left.checked_sub(1);
        let (order, all) = (Ordering::SeqCst, &self.left);
        if all.fetch_update(order, order, one_less).is_err() {
            let reason = "it was killed".to_owned();
            return Err(StoreError::Closed { reason });
        }
        self.store.txn(compares, ops).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> accelnet_store::Result<Watch> {
        self.store.watch(prefix, from).await
    }
}

#[tokio::test]
async fn one_that_was_interrupted_is_seen_by_nobody_and_ends_when_it_is_run_again() {
    let other = Arc::new(MemoryStore::new());
    sample(&other, &many()).await;
    let backup = copy(&*other).await;
    let older = {
        let mut older = writes(&[Vm::Unknown; MANY]);
        older.push(Write::NoIntent(name("storage")));
        older
    };
    for into_empty in [true, false] {
        for kept in 0.. {
            let store = Arc::new(MemoryStore::new());
            if !into_empty {
                // The same cluster, with a later state.
                restore(&store, &backup).await.unwrap();
                write(&store, older.clone()).await;
            }
            let before = wish(&store).await;
            let failing = Arc::new(Failing {
                store: Arc::clone(&store),
                left: AtomicUsize::new(kept),
            });
            if restore(&failing, &backup).await.is_ok() {
                assert!(kept > 3, "it takes several transactions");
                break;
            }
            if kept == 0 {
                assert_eq!(wish(&store).await.generation(), before.generation());
                continue;
            }
            let refused = Stored::open(Arc::clone(&store)).await.err().unwrap();
            assert!(refused.detail.contains("interrupted"), "{refused}");
            let refused = membership::founded(&*store).await.err().unwrap();
            assert!(refused.detail.contains("interrupted"), "{refused}");
            restore(&store, &backup).await.unwrap();
            let after = wish(&store).await;
            assert!(after.generation() > before.generation());
            assert!((0..MANY).all(|vm| level(&after, vm).is_some()));
            assert!(after.intent("storage").is_some());
            assert_eq!(after.tokens.len(), 1);
            membership::founded(&*store).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_cannot_be_put_back_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    sample(&store, &[Vm::Software]).await;
    let before = everything(&*store).await.unwrap();
    let another = Arc::new(MemoryStore::new());
    sample(&another, &[Vm::Software]).await;
    let of_another = copy(&*another).await;
    let alone = Arc::new(MemoryStore::new());
    write(&alone, vec![Write::Intent(intent("compute"))]).await;
    let of_alone = copy(&*alone).await;
    let mut newer = copy(&*store).await;
    for item in &mut newer.items {
        if item.key == "intents/compute" {
            item.value["schema"] = 99.into();
        }
    }
    for (backup, word) in [
        (of_another, "of cluster"),
        (of_alone, "stands alone"),
        (newer, "schema is 99"),
    ] {
        let refused = restore(&store, &backup).await.unwrap_err();
        assert!(refused.detail.contains(word), "{refused}");
    }
    assert_eq!(everything(&*store).await.unwrap(), before);
    // Somebody else writes between the plan and its execution.
    let backup = copy(&*store).await;
    let plan = plan(&*store, &backup, now()).await.unwrap();
    write(&store, vec![Write::NoIntent(name("storage"))]).await;
    let before = everything(&*store).await.unwrap();
    let refused = carry_out(&*store, &plan, Actor::default()).await;
    assert_eq!(refused.unwrap_err().code, Code::Conflict);
    assert_eq!(everything(&*store).await.unwrap(), before);
}

fn any_vm() -> impl Strategy<Value = Vm> {
    let level = prop_oneof![Just(Performance::Low), Just(Performance::High)];
    prop_oneof![
        Just(Vm::Unknown),
        Just(Vm::Software),
        (level, any::<bool>()).prop_map(|(level, parked)| Vm::Accelerated(level, parked)),
    ]
}

proptest! {
    /// Whatever was wanted then and is wanted now.
    #[test]
    fn no_copy_takes_a_vm_off_its_vf(
        then in prop::collection::vec(any_vm(), 12),
        now in prop::collection::vec(any_vm(), 12),
        is_there in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(MemoryStore::new());
            sample(&store, &then).await;
            let backup = copy(&*store).await;
            let before = write(&store, writes(&now)).await;
            let target = if is_there { store } else { Arc::new(MemoryStore::new()) };
            let report = restore(&target, &backup).await.unwrap();
            let after = wish(&target).await;
            prop_assert!(after.generation() > before.generation());
            for (vm, at_first) in then.iter().enumerate() {
                let uuid = Uuid::from_u128(vm as u128);
                let was = told_of(&before, uuid);
                let told = told_of(&after, uuid);
                let accelerated = was.as_ref().is_some_and(|was| was.level.is_some() && !was.parked);
                let told_off = told.as_ref().is_some_and(|told| told.level.is_none() || told.parked);
                prop_assert!(!(accelerated && told_off), "vm{vm}: {was:?}, then {told:?}");
                // What the copy wants is wanted.
                if let Vm::Accelerated(wanted, _) = *at_first {
                    prop_assert_eq!(told.and_then(|told| told.level), Some(wanted));
                }
                let changes = was.as_ref().and_then(|was| was.level) != level(&after, vm);
                let listed = report.differences.iter().any(|one| one.name.starts_with(&format!("vm{vm} ")));
                prop_assert!(!is_there || listed || !changes, "vm{vm} is not listed");
            }
            Ok(())
        })?;
    }
}

#[test]
fn ops_are_put_into_batches_that_every_backend_takes() {
    let put = |number: usize, bytes| Op::put(number.to_string(), vec![0; bytes]);
    let small: Vec<Op> = (0..300).map(|number| put(number, 1)).collect();
    let sizes: Vec<usize> = batches(&small).iter().map(Vec::len).collect();
    assert_eq!(sizes, [128, 128, 44]);
    let large: Vec<Op> = (0..3).map(|number| put(number, 1024 * 1024)).collect();
    assert_eq!(batches(&large).len(), 3);
    assert!(batches(&[]).is_empty());
}
