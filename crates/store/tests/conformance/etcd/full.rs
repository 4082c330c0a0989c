//! An etcd that has reached its quota: it raises an alarm, refuses writes, and goes on reading.

use accelnet_store::{EtcdStore, Op, Store, StoreError};
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions, DeleteOptions};

use super::{PATIENT, cluster::Cluster};
use crate::backend::{get, put, revision};

/// What is written until it is full.
const VALUE_BYTES: usize = 256 * 1024;
const QUOTA_BYTES: u64 = 4 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn e60_a_full_etcd_refuses_writes_and_loses_nothing() {
    let cluster = Cluster::start_small(QUOTA_BYTES).await;
    let options = accelnet_store::EtcdOptions {
        deadline: PATIENT,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let mut written = 0;
    let error = loop {
        assert!(written < 100, "it takes all");
        let ops = vec![Op::put(format!("k/{written:03}"), vec![b'x'; VALUE_BYTES])];
        match store.txn(vec![], ops).await {
            Ok(outcome) => {
                outcome.committed().expect("nothing was compared");
                written += 1;
            }
            Err(error) => break error,
        }
    };
    // Known to have done nothing, told with what helps.
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    for words in ["has no room", "etcdctl alarm disarm", "nothing was written"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(store.list_all("k/").await.unwrap().items.len(), written);
    // A small one is refused too, as long as the alarm stands.
    let small = store.txn(vec![], vec![Op::put("small", "")]).await;
    assert!(
        matches!(small, Err(StoreError::Refused { .. })),
        "{small:?}"
    );
    let before = revision(&store).await;
    // Whoever runs it makes room.
    let mut others = cluster.client().await;
    let rest = DeleteOptions::new().with_range("accelnet/state/l");
    let kept = 4;
    let first = format!("accelnet/state/k/{kept:03}");
    others.delete(first, Some(rest)).await.unwrap();
    let now = i64::try_from(revision(&store).await.get()).unwrap();
    let physical = CompactionOptions::new().with_physical();
    others.compact(now, Some(physical)).await.unwrap();
    others.defragment().await.unwrap();
    // The alarm is of a member.
    let raised = others
        .alarm(AlarmAction::Get, AlarmType::Nospace, None)
        .await;
    let member = raised.unwrap().alarms()[0].member_id();
    let mut of_member = AlarmOptions::new();
    of_member.with_member(member);
    let disarm = others.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of_member));
    disarm.await.unwrap();
    assert!(put(&store, "small", "fits").await > before);
    assert_eq!(get(&store, "small").await.unwrap().value, b"fits");
    assert_eq!(store.list_all("k/").await.unwrap().items.len(), kept);
}
