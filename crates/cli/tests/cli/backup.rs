//! A backup: whole, private, of those who may have it.

use std::{fs, os::unix::fs::PermissionsExt};

use accelnet_api::backup::Backup;

use crate::rig::{Rig, run};

#[test]
fn a_backup_is_whole_and_private_and_says_what_it_holds() {
    let rig = Rig::bare();
    rig.add_intent();
    let file = rig.directory.path().join("state.backup");
    let path = file.to_str().unwrap();
    // A file that was there is replaced, whoever could read it.
    fs::write(&file, "before").unwrap();
    let said = rig.call(&["admin", "backup", path]).done();
    assert!(said.contains("readable by you alone"), "{said}");
    assert!(said.contains("private key"), "{said}");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let backup = Backup::read(&fs::read(&file).unwrap()).unwrap();
    let keys: Vec<&str> = backup.items.iter().map(|item| item.key.as_str()).collect();
    assert!(
        keys.contains(&"intents/compute") && keys.contains(&"generation"),
        "{keys:?}"
    );
    let saved = rig.call(&["admin", "backup", path, "-o", "json"]).json();
    let again = Backup::read(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(saved["sha256"], again.sha256);
    let out = rig.call(&["admin", "backup", "-"]).done();
    Backup::read(out.as_bytes()).unwrap();
    // It is in the record.
    let audit = rig.call(&["audit", "-o", "json"]).json();
    let entries = audit["items"].as_array().unwrap();
    let taken = entries
        .iter()
        .filter(|entry| entry["operation"] == "backup");
    assert_eq!(taken.count(), 3);
    let left = fs::read_dir(rig.directory.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let part = |name: &&std::ffi::OsString| name.to_string_lossy().ends_with(".part");
    assert_eq!(left.iter().find(part), None);
}

#[test]
fn one_that_cannot_be_had_or_kept_leaves_what_was_there() {
    let mut rig = Rig::bare();
    let nowhere = rig.call(&["admin", "backup", "/nowhere/state.backup"]);
    nowhere.says(&["/nowhere/state.backup cannot be written", "No such file"]);
    let file = rig.directory.path().join("state.backup");
    fs::write(&file, "before").unwrap();
    let path = file.to_str().unwrap();
    let token = rig.call(&["token", "create", "ops", "--role", "operator", "-o", "json"]);
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let mut command = rig.command(&["admin", "backup", path]);
    command.env("ACCELNET_TOKEN", token);
    run(command, b"").with(5).says(&["the role 'admin'"]);
    rig.stop();
    assert_ne!(rig.call(&["admin", "backup", path]).code, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
}
