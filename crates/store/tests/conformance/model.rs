//! Random operations against a naive model: a map for every revision.
//!
//! Both backends must agree with the model, and so with each other, on every answer; afterwards a
//! watch from the start must tell how each revision became the next.

use std::collections::BTreeMap;

use accelnet_store::{
    Compare, Conflict, Event, HistoryLimits, KeyValue, MemoryStore, Op, Page, Revision,
    SqliteOptions, SqliteStore, Store, TxnOutcome,
};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::backend::{file, next};

const KEYS: [&str; 7] = ["a", "a/", "a/b", "a/b/c", "a0", "b", "ä"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "a/b", "b/", "ä"];

/// A revision to read at, as far back from now; `None` is now.
type Back = Option<u64>;

#[derive(Debug, Clone)]
enum Action {
    Txn {
        compares: Vec<(&'static str, Guess)>,
        ops: BTreeMap<&'static str, Option<u8>>,
    },
    Get {
        key: &'static str,
        at: Back,
    },
    List {
        prefix: &'static str,
        after: Option<&'static str>,
        limit: usize,
        at: Back,
    },
    /// Closes the file and opens it again; nothing for the memory.
    Restart,
}

/// What a compare expects.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Right,
    Absent,
    Revision(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let key = || select(&KEYS[..]);
    let at = || prop::option::weighted(0.3, 0..20_u64);
    let guess = prop_oneof![
        8 => Just(Guess::Right),
        1 => Just(Guess::Absent),
        1 => (1..20_u64).prop_map(Guess::Revision)
    ];
    let ops = prop::collection::btree_map(key(), prop::option::weighted(0.7, any::<u8>()), 0..4);
    prop_oneof![
        10 => (vec((key(), guess), 0..3), ops)
            .prop_map(|(compares, ops)| Action::Txn { compares, ops }),
        3 => (key(), at()).prop_map(|(key, at)| Action::Get { key, at }),
        3 => (select(&PREFIXES[..]), prop::option::of(key()), 1..5_usize, at())
            .prop_map(|(prefix, after, limit, at)| Action::List { prefix, after, limit, at }),
        1 => Just(Action::Restart),
    ]
}

type Keys = BTreeMap<String, KeyValue>;

/// The state after each revision, the first one's first.
struct Model(Vec<Keys>);

impl Model {
    fn revision(&self) -> u64 {
        self.0.len() as u64
    }

    fn now(&self) -> &Keys {
        &self.0[self.0.len() - 1]
    }

    fn at(&self, revision: Revision) -> &Keys {
        &self.0[usize::try_from(revision.get()).unwrap() - 1]
    }

    fn back(&self, back: Back) -> Option<Revision> {
        back.map(|back| Revision::new(self.revision().saturating_sub(back).max(1)))
    }

    fn mod_revision(&self, key: &str) -> Revision {
        self.now()
            .get(key)
            .map_or(Revision::ABSENT, |kv| kv.mod_revision)
    }

    fn txn(&mut self, compares: &[Compare], ops: &[Op]) -> TxnOutcome {
        let conflicts: Vec<Conflict> = compares
            .iter()
            .filter(|compare| self.mod_revision(&compare.key) != compare.mod_revision)
            .map(|Compare { key, .. }| {
                let found = self.now().get(key).cloned().map(Into::into);
                Conflict {
                    key: key.clone(),
                    found,
                }
            })
            .collect();
        let revision = Revision::new(self.revision());
        if !conflicts.is_empty() {
            return TxnOutcome::Conflict {
                revision,
                conflicts,
            };
        }
        let (before, mut keys, next) = (self.now(), self.now().clone(), revision.next());
        for op in ops {
            match op {
                Op::Put { key, value } => {
                    let old = before.get(key);
                    let kv = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: old.map_or(next, |old| old.create_revision),
                        mod_revision: next,
                        version: old.map_or(0, |old| old.version) + 1,
                    };
                    keys.insert(key.clone(), kv);
                }
                Op::Delete { key } => drop(keys.remove(key)),
            }
        }
        if keys == *before {
            return TxnOutcome::Committed { revision };
        }
        self.0.push(keys);
        TxnOutcome::Committed { revision: next }
    }
}

async fn check<S: Store>(store: &S, model: &mut Model, action: &Action) {
    match action {
        Action::Txn { compares, ops } => {
            let compare = |&(key, guess): &(&str, Guess)| match guess {
                Guess::Right => Compare::unchanged(key, model.mod_revision(key)),
                Guess::Absent => Compare::absent(key),
                Guess::Revision(number) => Compare::unchanged(key, Revision::new(number)),
            };
            let compares: Vec<Compare> = compares.iter().map(compare).collect();
            let op = |(&key, value): (&&str, &Option<u8>)| match value {
                Some(value) => Op::put(key, vec![*value]),
                None => Op::delete(key),
            };
            let ops: Vec<Op> = ops.iter().map(op).collect();
            let expected = model.txn(&compares, &ops);
            assert_eq!(store.txn(compares, ops).await.unwrap(), expected);
        }
        Action::Get { key, at } => {
            let at = model.back(*at);
            let expected = at.map_or(model.now(), |at| model.at(at)).get(*key);
            assert_eq!(store.get(key, at).await.unwrap().as_deref(), expected);
        }
        Action::List {
            prefix,
            after,
            limit,
            at,
        } => {
            let at = model.back(*at);
            let page = Page {
                after: after.map(str::to_owned),
                limit: *limit,
                at,
            };
            let listing = store.list(prefix, page).await.unwrap();
            let keys = at.map_or(model.now(), |at| model.at(at));
            let inside = |kv: &&KeyValue| {
                kv.key.starts_with(prefix) && after.is_none_or(|after| kv.key.as_str() > after)
            };
            let expected: Vec<&KeyValue> = keys.values().filter(inside).collect();
            assert!(
                listing
                    .items
                    .iter()
                    .map(|kv| &**kv)
                    .eq(expected.iter().take(*limit).copied())
            );
            assert_eq!(listing.more, expected.len() > *limit);
            assert_eq!(
                listing.revision,
                at.unwrap_or(Revision::new(model.revision()))
            );
        }
        Action::Restart => {}
    }
}

/// Replays the whole history and compares with each state on the way.
async fn check_watch(store: &impl Store, model: &Model) {
    let mut watch = store.watch("", Revision::FIRST.next()).await.unwrap();
    for pair in model.0.windows(2) {
        let mut keys = pair[0].clone();
        for event in next(&mut watch).await.events {
            assert_eq!(event.prev().map(|kv| &**kv), pair[0].get(event.key()));
            match event {
                Event::Put { kv, .. } => keys.insert(kv.key.clone(), (*kv).clone()),
                Event::Delete { key, .. } => keys.remove(&key),
            };
        }
        assert_eq!(keys, pair[1]);
    }
    assert_eq!(watch.try_recv().unwrap(), None);
}

async fn run(actions: &[Action]) {
    let memory = MemoryStore::with_history(HistoryLimits::default());
    let (mut model, mut twin) = (Model(vec![Keys::new()]), Model(vec![Keys::new()]));
    let (_directory, file) = file();
    let mut sqlite = SqliteStore::open(&file, SqliteOptions::default())
        .await
        .unwrap();
    for action in actions {
        if matches!(action, Action::Restart) {
            sqlite.close().await;
            sqlite = SqliteStore::open(&file, SqliteOptions::default())
                .await
                .unwrap();
        }
        check(&memory, &mut model, action).await;
        check(&sqlite, &mut twin, action).await;
    }
    check_watch(&memory, &model).await;
    check_watch(&sqlite, &twin).await;
}

proptest! {
    // Each case makes a file and syncs it with each change, which is what takes the time.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn m01_both_backends_do_what_the_model_does(actions in vec(action(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(&actions));
    }
}
