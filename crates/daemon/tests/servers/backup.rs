//! A cluster on a file goes on on an etcd, from its backup; a node of it follows. An older copy, bad files.

use std::{fs, path::Path, process::Output, sync::Arc};

use accelnet_link::{Line, Node, join};
use tokio::{sync::watch, time::timeout};

use crate::{
    certificates::Certificates,
    rig::{LIMIT, Place, Twin, add_intent, is_up, secure_etcd, status, told, until},
};

async fn save(place: &Place, file: &Path) {
    let mut bytes = Vec::new();
    let admin = place.admin();
    let taken = admin.backup(|chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    });
    taken.await.unwrap();
    fs::write(file, bytes).unwrap();
}

fn restore(place: &Place, more: &[&str], file: &Path) -> Output {
    let mut command = place.on_store("restore");
    command.args(more).arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn done(output: &Output) -> serde_json::Value {
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_from_its_backup_on_another_kind_of_store() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.backup");
    let kept = format!("sqlite:{}", directory.path().join("a.sqlite").display());
    let on_file = Place::new(directory.path(), "a", &kept);
    assert!(on_file.accelnetd("init").output().unwrap().status.success());
    let server = on_file.start();
    until("it decides", async || on_file.decides().await.then_some(())).await;
    let token = on_file.join_token().await;
    let name = "node1".parse().unwrap();
    let credentials = join(&on_file.url(), &token, &name).await.unwrap();
    let twin = Arc::new(Twin(watch::Sender::new(None)));
    let reports = watch::Sender::new(Some(status()));
    let line = Line::new(
        credentials,
        directory.path().join("node"),
        Arc::clone(&twin) as Arc<dyn Node>,
        reports.subscribe(),
    );
    let line = tokio::spawn(line.run());
    until("the node is up", async || is_up(&on_file).await).await;
    add_intent(&on_file).await;
    told(&twin, 1).await;
    save(&on_file, &file).await;
    // More is decided afterwards, and the node is told.
    on_file
        .admin()
        .remove_intent("compute", false)
        .await
        .unwrap();
    told(&twin, 0).await;
    let newest = twin.0.borrow().as_ref().unwrap().generation;

    // Not while a server decides.
    let refused = restore(&on_file, &["--yes"], &file);
    let said = text(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("in use"),
        "{said}"
    );
    assert!(said.contains("stop accelnet-server"), "{said}");
    drop(server);

    // Nobody is asked where nobody is, and what cannot be used changes nothing.
    let said = text(&restore(&on_file, &[], &file).stderr);
    assert!(said.contains("--dry-run"), "{said}");
    let bytes = fs::read(&file).unwrap();
    let bad = directory.path().join("bad.backup");
    for (content, words) in [
        (bytes[..bytes.len() - 10].to_vec(), "its end is missing"),
        (b"SQLite format 3\0".to_vec(), "no backup of accelnet"),
        (
            text(&bytes).replace("compute", "compete").into_bytes(),
            "checksum",
        ),
        (
            text(&bytes)
                .replacen("\"accelnet_backup\":1", "\"accelnet_backup\":9", 1)
                .into_bytes(),
            "newer",
        ),
    ] {
        fs::write(&bad, content).unwrap();
        let refused = restore(&on_file, &["--yes"], &bad);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(words), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
    }

    // What differs is said, and nothing is done.
    let planned = done(&restore(&on_file, &["--dry-run", "-o", "json"], &file));
    assert_eq!(planned["into_empty"], false);
    let differences = planned["differences"].as_array().unwrap();
    assert!(
        differences
            .iter()
            .any(|one| one["kind"] == "intent" && one["name"] == "compute")
    );

    // To an etcd, from its backup alone: the node finds it under the address that it knows.
    let certificates = Certificates::new(directory.path(), "etcd");
    let (_etcd, store) = secure_etcd(directory.path(), &certificates);
    let on_etcd = on_file.moved_to(&store).with_files(&certificates);
    let moved = async || {
        let output = restore(&on_etcd, &["--yes", "-o", "json"], &file);
        output.status.success().then(|| done(&output))
    };
    let (moved, _) = until("it is put back", moved).await;
    assert_eq!(moved["into_empty"], true);
    let _server = on_etcd.start();
    until("it decides", async || on_etcd.decides().await.then_some(())).await;
    until("the node is up", async || is_up(&on_etcd).await).await;
    let mut follows = twin.0.subscribe();
    let later = follows.wait_for(|told| {
        told.as_ref()
            .is_some_and(|told| told.generation > newest && told.intents.len() == 1)
    });
    let later = timeout(LIMIT, later)
        .await
        .expect("the node is told")
        .unwrap();
    assert_eq!(moved["generation"], later.as_ref().unwrap().generation);
    drop(later);
    let record = on_etcd.admin().audit(None, None).await.unwrap();
    let restores = record
        .items
        .iter()
        .filter(|entry| entry.operation == "restore");
    assert_eq!(restores.count(), 1);

    // There too not while a server decides.
    let refused = restore(&on_etcd, &["--yes"], &file);
    let said = text(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("decides at present"),
        "{said}"
    );
    line.abort();
}
