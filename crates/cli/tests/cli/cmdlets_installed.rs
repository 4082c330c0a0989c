//! Cmdlets in a directory: made, moved, removed.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    rig::{program, run},
    shell::{Shell, names},
};

#[test]
fn cmdlets_are_installed_and_removed() {
    let shell = Shell::new();
    let place = shell.place();
    let again = shell.rig.call(&["cmdlet", "install", &place]).done();
    assert!(
        again.starts_with("Nothing to change: 15 cmdlets"),
        "{again}"
    );
    let file = |name: &str| shell.rig.directory.path().join("cmd lets'").join(name);
    let mode = fs::metadata(file("Get-VM")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    // Each in two spellings; nine of them only say what is used instead.
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2 * (15 + 9));
    let list = shell.rig.call(&["cmdlet", "list"]).done();
    for name in list.lines().map(|line| line.split(' ').next().unwrap()) {
        assert!(
            file(name).exists() && file(&name.to_lowercase()).exists(),
            "{name}"
        );
        let help = shell.types(&format!("{name} -?")).done();
        assert!(help.contains("Examples:"), "{help}");
    }
    // It is moved, and so is the program.
    let elsewhere = shell.rig.directory.path().join("elsewhere");
    fs::rename(&place, &elsewhere).unwrap();
    let script = fs::read_to_string(elsewhere.join("Get-VM")).unwrap();
    let moved = script.replace(env!("CARGO_BIN_EXE_accelnet"), "/nowhere/accelnet");
    assert_ne!(script, moved);
    fs::write(elsewhere.join("Get-VM"), moved).unwrap();
    let bin = env!("CARGO_BIN_EXE_accelnet").trim_end_matches("/accelnet");
    let line = format!("PATH='{}:{bin}':$PATH; Get-VM MyVM01", elsewhere.display());
    assert_eq!(names(&shell.types(&line).done()), ["MyVM01"]);

    let elsewhere = elsewhere.to_str().unwrap();
    fs::write(format!("{elsewhere}/mine"), "#!/bin/sh\n").unwrap();
    fs::write(format!("{elsewhere}/Get-VM"), "#!/bin/sh\necho mine\n").unwrap();
    let refused = shell.rig.call(&["cmdlet", "install", elsewhere]).with(2);
    refused.says(&["Get-VM exists and is not ours", "cure: "]);
    let out = shell.rig.call(&["cmdlet", "uninstall", elsewhere]).done();
    assert!(out.starts_with("15 cmdlets are removed"), "{out}");
    let mut left: Vec<_> = fs::read_dir(elsewhere)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["Get-VM", "mine"]);
    for line in [
        ["cmdlet", "uninstall", "/nowhere"],
        ["cmdlet", "install", "/dev/null/x"],
    ] {
        shell.rig.call(&line).with(2).says(&["cure: "]);
    }
    // As the scripts do it: no word is taken for an option of the program.
    let cmdlet = |words: &[&str]| {
        let line = [&["cmdlet", "run", "get-vm", "--"], words].concat();
        shell.rig.call(&line)
    };
    for words in [&["-VMName", "MyVM02"][..], &["--", "MyVM02"]] {
        assert_eq!(names(&cmdlet(words).done()), ["MyVM02"]);
    }
    for (word, said) in [
        ("-o", "has no parameter '-o'"),
        ("--output", "has no parameter '--output'"),
        ("-v", "could be -VMName, -Verbose"),
    ] {
        cmdlet(&[word, "json"]).with(2).says(&[said]);
    }
    let mut command = program();
    command.args(["cmdlet", "run", "Get-Nothing"]);
    run(command, b"").with(2).says(&["'Get-Nothing'"]);
}
