//! A bundle for whoever looks for a fault: what the server says is in it, and no secret.

use std::{fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;

use crate::rig::Rig;

fn part(file: &Path, wanted: &str) -> String {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(file).unwrap()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if path.ends_with(wanted) {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            return text;
        }
    }
    panic!("no {wanted}")
}

#[test]
fn what_the_server_says_is_in_it_and_tokens_are_not() {
    let rig = Rig::enabled(|_| {});
    let line = ["token", "create", "ops", "--role", "operator", "-o", "json"];
    let token = rig.call(&line).json()["token"].as_str().unwrap().to_owned();
    // Somebody called a VM so.
    rig.nodes
        .sees("node1", |seen| seen.vms[1].name = format!("web {token}"));
    let file = rig.directory.path().join("bundle.tar.gz");
    let said = rig.call(&["support-bundle", file.to_str().unwrap()]).done();
    assert!(said.contains("readable by you alone"), "{said}");
    let vms = part(&file, "server/vms.json");
    assert!(
        vms.contains("\"vm1\"") && vms.contains("web [removed]"),
        "{vms}"
    );
    for (name, what) in [
        ("status", "node_reserve_percentage"),
        ("nodes", "node1"),
        ("intents", "br0"),
        ("capacity", "vfs"),
        ("faults", "items"),
        ("events", "items"),
        ("audit", "operation"),
    ] {
        let text = part(&file, &format!("server/{name}.json"));
        assert!(text.contains(what), "{name}: {text}");
        let (_, secret) = token.rsplit_once('.').unwrap();
        assert!(!text.contains(secret), "{name}");
    }
    assert!(part(&file, "server/audit.json").contains("ops"));
}
