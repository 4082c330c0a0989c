use std::fs;

use clap::Parser;

use super::*;

const EXAMPLE: &str = include_str!("../../../../packaging/accelnetd.toml");
const PAGE: &str = include_str!("../../../../docs/reference/configuration.md");

fn keys() -> Keys {
    Keys::of(&Args::command())
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accelnetd.toml");
    fs::write(&path, text).unwrap();
    (place, path)
}

/// The command line with a file that says this.
fn parsed(text: &str, line: &str) -> Result<Role> {
    let (_place, path) = written(text);
    let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    words.extend(["--config".into(), path.into()]);
    let command = command_with_file(words.clone())?;
    Ok(Args::from_arg_matches(&command.try_get_matches_from(words)?)?.role)
}

fn faults(text: &str) -> String {
    let (_place, path) = written(text);
    let error = File::read(&path, true, &keys()).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "FILE")
}

#[test]
fn the_example_has_each_key_once_with_its_default() {
    let untouched = File::read(&written(EXAMPLE).1, false, &keys()).unwrap();
    assert_eq!(untouched.len(), 0);
    // A comment has a blank after its sign, a key has none.
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    });
    let all: Vec<&str> = lines.collect();
    let (_place, path) = written(&all.join("\n"));
    let file = File::read(&path, true, &keys()).unwrap();
    for key in keys().0 {
        let name = key.full_name();
        let value = file.value_of(&key);
        assert!(value.is_some(), "{name} is not in packaging/accelnetd.toml");
        let defaults = key.arg.get_default_values();
        match defaults.first().and_then(|value| value.to_str()) {
            None | Some("") => {}
            Some(default) => assert_eq!(value, Some(default), "{name}"),
        }
    }
    assert_eq!(file.len(), keys().0.len());
}

#[test]
fn the_page_is_as_the_options_are() {
    assert_eq!(reference::page(), PAGE, "make configuration");
}

/// All that can be said on the command line of a role that runs for long can be said in the file.
#[test]
fn each_option_is_a_key() {
    let keys = keys();
    let command = Args::command();
    let mut count = 0;
    for role in ["standalone", "agent", "server"] {
        let role = command.find_subcommand(role).unwrap();
        for option in role.get_arguments().filter_map(|arg| arg.get_long()) {
            count += 1;
            let found = keys.find(role.get_name(), option);
            assert!(found.is_some(), "{} --{option}", role.get_name());
        }
    }
    assert!(count >= 15, "only {count} options: are they still found?");
    assert!(keys.find("accelnetd", "log").is_some());
    assert!(keys.find("accelnetd", "config").is_none());
}

#[test]
fn the_command_line_goes_before_the_file_and_the_file_before_the_default() {
    let text =
        "[agent]\nsocket = '/from/file'\n[server]\nsocket = '/server'\naddress = ['a:1', 'b:2']\n";
    let Role::Agent(agent) = parsed(text, "accelnetd agent").unwrap() else {
        panic!()
    };
    let shown = format!("{agent:?}");
    assert!(shown.contains("/from/file"), "{shown}");
    assert!(shown.contains("/var/lib/accelnet\""), "{shown}");
    let line = "accelnetd agent --socket /from/line";
    let shown = format!("{:?}", parsed(text, line).unwrap());
    assert!(
        shown.contains("/from/line") && !shown.contains("/from/file"),
        "{shown}"
    );
    for role in ["server", "init"] {
        let shown = format!("{:?}", parsed(text, &format!("accelnetd {role}")).unwrap());
        assert!(shown.contains("[\"a:1\", \"b:2\"]"), "{shown}");
    }
    // The server's own are not the agent's.
    let shown = format!("{:?}", parsed(text, "accelnetd standalone").unwrap());
    assert!(
        shown.contains("/from/file") && !shown.contains("/server"),
        "{shown}"
    );
}

#[test]
fn what_needs_no_option_reads_no_file() {
    for line in [
        "accelnetd openapi",
        "accelnetd hook install",
        "accelnetd config show",
    ] {
        parsed("this is = = no toml", line).unwrap();
    }
    for line in [
        "accelnetd agent",
        "accelnetd boot",
        "accelnetd hook call vm1 migrate begin",
    ] {
        assert!(parsed("this is = = no toml", line).is_err(), "{line}");
    }
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
    let text = faults(
        "log = 'debug'\n\n[agent]\nsokcet = '/x'\nlisten = '[::]:1'\n[nothing]\n[server]\nzzz = 1\n",
    );
    for part in [
        "FILE, line 4: there is no key 'sokcet' in [agent]\n  cure: the nearest is 'socket' in [agent]",
        "FILE, line 5: there is no key 'listen' in [agent]\n  cure: the nearest is 'listen' in [server]",
        "FILE, line 6: there is no table [nothing]\n  cure: the tables are [agent] and [server]",
        "FILE, line 8: there is no key 'zzz' in [server]\n  cure: 'accelnetd config show' lists all keys",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = faults("[agent]\nstate_dir = '/x'\n");
    assert!(
        text.contains("the nearest is 'state-dir' in [agent]"),
        "{text}"
    );
    let text = faults("socket = '/x'\n");
    assert!(text.contains("no key 'socket' outside of tables"), "{text}");
}

#[test]
fn a_value_that_its_option_does_not_take_is_told_with_its_line() {
    let text = faults(
        "log = 'a=b=c'\n[server]\nlisten = 'here'\nstore = ['a', 'b']\nfault-windows = 'nonsense=1/2'\n",
    );
    for part in [
        "FILE, line 1: 'log' cannot be 'a=b=c'",
        "FILE, line 3: 'listen' cannot be 'here': invalid socket address syntax\n  cure: listen: Where it listens",
        "FILE, line 4: 'store' takes text, not array",
        "FILE, line 5: 'fault-windows' cannot be 'nonsense=1/2'",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = faults("[agent\n");
    assert!(text.contains("FILE, line 1: this is not TOML"), "{text}");
    let text = faults("[agent]\nsocket = '/a'\nsocket = '/b'\n");
    assert!(text.contains("FILE, line 3: this is not TOML"), "{text}");
}

#[test]
fn it_is_checked_by_a_command() {
    let said = |text: &str| {
        let (_place, path) = written(text);
        let mut out = Vec::new();
        let done = check(&mut out, Some(&path), Path::new(PATH));
        let said = String::from_utf8(out).unwrap();
        (done.map_err(|error| format!("{error:#}")), said)
    };
    let (done, text) = said("[server]\nlisten = '127.0.0.1:1'\n");
    assert_eq!(done, Ok(()));
    assert!(text.ends_with("can be used; it sets 1 key.\n"), "{text}");
    let (done, _) = said("[server]\netcd-ca = '/ca'\netcd-key = '/key'\nstore = 'etcd://h:1'\n");
    assert!(
        done.unwrap_err()
            .contains("--etcd-cert (its certificate) is missing")
    );
    let (done, _) = said("[server]\naddress = 'no address'\n");
    assert!(done.unwrap_err().contains("--address no address"));
    let (done, _) = said("[server]\nwebhook = 'https://h'\n");
    assert!(
        done.unwrap_err()
            .contains("--webhook-secret-file is missing")
    );
    let (done, _) = said("x = 1\n");
    assert!(done.unwrap_err().contains("line 1"));
    let absent = Path::new("/nonexistent/accelnetd.toml");
    assert!(check(&mut Vec::new(), Some(absent), Path::new(PATH)).is_err());
}

#[test]
fn what_is_in_effect_is_shown_with_where_it_comes_from() {
    let (_place, path) = written("[server]\nlisten = '127.0.0.1:1'\n");
    let mut out = Vec::new();
    show::show(&mut out, &path).unwrap();
    let text = String::from_utf8(out).unwrap();
    let row = |key: &str| {
        let mut lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find(|words| words[0] == key).unwrap().join(" ")
    };
    let from = format!("server.listen 127.0.0.1:1 {}, line 2", path.display());
    assert_eq!(row("server.listen"), from);
    assert_eq!(
        row("agent.peer-libvirt"),
        "agent.peer-libvirt qemu+tls://{node}/system default"
    );
    assert_eq!(row("server.etcd-key"), "server.etcd-key - not set");
    assert_eq!(text.lines().count(), keys().0.len() + 1);
}

#[test]
fn the_roles_can_be_parsed_without_a_file() {
    assert!(Args::try_parse_from(["accelnetd", "server"]).is_ok());
}
