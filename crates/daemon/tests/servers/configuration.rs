//! The file with options, as the program itself reads it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn accelnetd(file: &Path, variables: &[(&str, &str)], line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelnetd"));
    command.env_clear().env("ACCELNET_CONFIG", file);
    command.envs(variables.iter().copied()).args(line);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn command_line_environment_file_default() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("accelnetd.toml");
    fs::write(
        &file,
        "[agent]\nsocket = '/from/file'\nlibvirt = 'test:///default'\n",
    )
    .unwrap();
    let shown = |variables: &[(&str, &str)]| {
        let output = accelnetd(&file, variables, &["config", "show"]);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let row = |text: &str, key: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let of_file = shown(&[]);
    let line = format!("agent.socket /from/file {}, line 2", file.display());
    assert_eq!(row(&of_file, "agent.socket"), line);
    assert_eq!(
        row(&of_file, "agent.state-dir"),
        "agent.state-dir /var/lib/accelnet default"
    );
    let of_both = shown(&[("ACCELNET_SOCKET", "/from/environment")]);
    assert_eq!(
        row(&of_both, "agent.socket"),
        "agent.socket /from/environment environment, ACCELNET_SOCKET"
    );
    // The command line goes before both.
    let state = place.path().join("state");
    let line = ["boot", "--state-dir", state.to_str().unwrap()];
    let done = accelnetd(&file, &[("ACCELNET_STATE_DIR", "/dev/null/x")], &line);
    assert!(done.status.success(), "{done:?}");
    let failed = accelnetd(&file, &[("ACCELNET_STATE_DIR", "/dev/null/x")], &["boot"]);
    assert!(text(&failed.stderr).contains("/dev/null/x"), "{failed:?}");
    fs::write(&file, "[agent]\nstate-dir = '/dev/null/y'\n").unwrap();
    let failed = accelnetd(&file, &[], &["boot"]);
    assert!(text(&failed.stderr).contains("/dev/null/y"), "{failed:?}");
}

#[test]
fn what_is_wrong_in_the_file_keeps_from_starting_and_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("accelnetd.toml");
    fs::write(&file, "[server]\n\nlisten_on = '[::]:1'\n").unwrap();
    for line in [&["server"][..], &["init"], &["config", "check"]] {
        let output = accelnetd(&file, &[], line);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        for part in [
            &format!("{}, line 3: ", file.display()),
            "there is no key 'listen_on' in [server]",
            "the nearest is 'listen' in [server]",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    // What is named has to be there.
    let absent = place.path().join("absent.toml");
    let output = accelnetd(&absent, &[], &["config", "check"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stderr).contains("cannot be read"),
        "{output:?}"
    );
    fs::write(&file, "log = 'debug'\n").unwrap();
    let output = accelnetd(&absent, &[], &["config", "check", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text(&output.stdout).ends_with("can be used; it sets 1 key.\n"),
        "{output:?}"
    );
}
