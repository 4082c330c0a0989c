//! A backup: all of one moment, whatever is written meanwhile.

use accelnet_api::backup::Backup;
use accelnet_store::{Op, Store};
use reqwest::Method;

use crate::rig::Rig;

/// More than two pages of the store.
const MANY: usize = 2500;

#[tokio::test]
async fn a_backup_of_many_pages_is_of_one_revision() {
    let rig = Rig::one().await;
    let many: Vec<Op> = (0..MANY)
        .map(|number| {
            Op::put(
                format!("accelnet/v1/something/{number:04}"),
                "{\"schema\":1}",
            )
        })
        .collect();
    for batch in many.chunks(100) {
        rig.store.txn(Vec::new(), batch.to_vec()).await.unwrap();
    }
    let asked = rig.http.request(Method::GET, "/backup").send();
    let mut answer = asked.await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
        // What comes after its beginning is not in it, and takes nothing from it.
        let later = vec![
            Op::put("accelnet/v1/something/later", "{}"),
            Op::delete(format!("accelnet/v1/something/{:04}", MANY - 1)),
        ];
        rig.store.txn(Vec::new(), later).await.unwrap();
    }
    let backup = Backup::read(&bytes).unwrap();
    let keys = backup.items.iter().map(|item| item.key.as_str());
    let of_test: Vec<&str> = keys.filter(|key| key.starts_with("something/")).collect();
    assert_eq!(of_test.len(), MANY);
    assert_eq!(of_test.last().copied(), Some("something/2499"));
    rig.stop().await;
}
