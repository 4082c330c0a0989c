//! packaging/ansible against nodes, by this machine's ansible-playbook: what a check tells, what a run does, and that a
//! second one does nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    document::Document,
    joined::{on, until_path, until_reachable},
    packages::{bring_to, made, nothing_is_on},
    rig::Rig,
};

/// The guide's: a check, and a run.
const LINES: [&str; 2] = [
    "ansible-playbook -i inventory packaging/ansible/site.yml --check",
    "ansible-playbook -i inventory packaging/ansible/site.yml",
];
const VERSION: &str = "0.0.1-3";

/// Everything that a check must leave as it is.
const STATE: &str = "dpkg-query -W 'accelnet*' 2>/dev/null || true; md5sum /etc/accelnet/* 2>/dev/null || true; \
     ls /var/cache/accelnet 2>/dev/null || true; cat /sys/class/net/pf0/device/sriov_numvfs; \
     systemctl show -p ActiveState,ActiveEnterTimestampMonotonic,UnitFileState accelnetd accelnet-boot accelnet-park; \
     ! command -v accelnet > /dev/null || { accelnet intent list -o json; accelnet status -o json; }";

/// Ansible wants Python on the node, which has no network: what it lacks is fetched here.
pub fn python_on_the_node(rig: &mut Rig) {
    python_on(rig, "node1");
}

fn python_on(rig: &Rig, node: &str) {
    let place = rig.directory().join("python");
    fs::create_dir_all(place.join("partial")).unwrap();
    let status = place.join("status");
    fs::write(&status, rig.on(node, "cat /var/lib/dpkg/status")).unwrap();
    let set = |name: &str, path: &Path| format!("{name}={}", path.display());
    let output = Command::new("apt-get")
        .args(["-q", "-y", "--no-install-recommends", "--download-only"])
        .args(["-o", &set("Dir::State::status", &status)])
        .args(["-o", &set("Dir::Cache::archives", &place)])
        .args(["-o", "Debug::NoLocking=1", "install", "python3"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    bring_to(rig, node, "python", &place);
    rig.on(node, "apt-get -q -y install ./*.deb > /dev/null 2>&1 < /dev/null; rm -f *.deb; python3 --version");
}

/// What a run told of its nodes.
#[derive(Debug)]
struct Recap {
    changed: u32,
    failed: u32,
    out: String,
}

/// The lab's nodes as Ansible reaches them, and what they shall become.
struct Play {
    place: PathBuf,
    variables: Value,
}

impl Play {
    /// With these nodes in these groups.
    fn of(rig: &Rig, groups: &[(&str, &[&str])]) -> Self {
        let place = rig.directory().join("ansible");
        fs::create_dir_all(&place).unwrap();
        let keys = rig.directory().join("keys");
        let mut inventory = String::new();
        for node in &rig.lab.nodes {
            inventory += &format!(
                "{} ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_become=false \
                 ansible_ssh_private_key_file={keys}/client_key ansible_ssh_common_args=\"-F /dev/null \
                 -o UserKnownHostsFile={keys}/known_hosts -o HostKeyAlias=accelnet-lab-node\"\n",
                node.name,
                node.ssh_port,
                keys = keys.display(),
            );
        }
        for (group, nodes) in groups {
            inventory += &format!("[{group}]\n{}\n", nodes.join("\n"));
        }
        fs::write(place.join("inventory"), inventory).unwrap();
        let variables = json!({
            "accelnet_packages": made(rig, VERSION),
            "accelnet_intents": [{"name": "compute", "bridge": "br0", "adapters": ["pf0"]}],
            "accelnet_enable": "compute",
            "accelnet_when": "now",
        });
        Self { place, variables }
    }

    /// The playbook, as it is; with `--check`, or not.
    fn run(&self, check: bool) -> Recap {
        let line = LINES[usize::from(!check)];
        let variables = self.place.join("variables.json");
        fs::write(&variables, self.variables.to_string()).unwrap();
        let here = line.replace(
            "inventory",
            &self.place.join("inventory").display().to_string(),
        );
        let output = Command::new("bash")
            .current_dir(format!("{}/../..", env!("CARGO_MANIFEST_DIR")))
            .env("ANSIBLE_HOME", &self.place)
            .env("ANSIBLE_LOCAL_TEMP", self.place.join("temp"))
            .env("ANSIBLE_PIPELINING", "1")
            .env("ANSIBLE_NOCOLOR", "1")
            .args(["-c", &format!("{here} -e @{}", variables.display())])
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let recap: Vec<&str> = out
            .lines()
            .skip_while(|line| !line.starts_with("PLAY RECAP"))
            .filter(|line| line.starts_with("node"))
            .collect();
        assert!(
            !recap.is_empty(),
            "no recap (scripts/install-deps ansible): {output:?}"
        );
        let count = |name: &str| -> u32 {
            let told = recap.iter().map(|line| {
                let told = line
                    .split_whitespace()
                    .find_map(|word| word.strip_prefix(name));
                let told = told.unwrap_or_else(|| panic!("{name}: {line}"));
                told.parse::<u32>().unwrap()
            });
            told.sum()
        };
        let (changed, failed) = (count("changed="), count("failed=") + count("unreachable="));
        Recap {
            changed,
            failed,
            out,
        }
    }

    #[track_caller]
    fn succeeds(&self, check: bool) -> Recap {
        let recap = self.run(check);
        assert_eq!(recap.failed, 0, "{}", recap.out);
        recap
    }
}

/// A check on a node without accelnet tells what would be done, and does nothing; a run does it, once.
pub fn a_host(rig: &mut Rig) {
    let mut guide = Document::open("docs/guide/integrations.md");
    LINES.iter().for_each(|line| guide.next(line));
    guide.elsewhere(
        "apt-get install ./accelnet-cockpit_*.deb",
        "scripts/cockpit-test has Cockpit",
    );
    guide.ends();
    let mut play = Play::of(rig, &[("accelnet_hosts", &["node1"])]);
    let before = rig.node(STATE);
    let told = play.succeeds(true);
    assert!(
        told.changed > 0 && told.out.contains("accelnetd.service"),
        "{}",
        told.out
    );
    assert_eq!(rig.node(STATE), before, "a check changes nothing");

    let done = play.succeeds(false);
    assert!(done.changed > 0, "{}", done.out);
    let status = rig.json(&["status"]);
    assert_eq!(status["enabled"]["intent"], "compute", "{status}");
    assert_eq!(
        rig.node("cat /sys/class/net/pf0/device/sriov_numvfs"),
        "7\n"
    );
    assert_eq!(
        rig.node("systemctl is-active accelnetd accelnet-park; systemctl is-enabled accelnet-boot accelnetd accelnet-park"),
        "active\nactive\nenabled\nenabled\nenabled\n"
    );
    let version = rig.node("dpkg-query -W -f '${Version}' accelnet-agent");
    assert_eq!(version, VERSION);
    let again = play.succeeds(false);
    assert_eq!(again.changed, 0, "nothing is done twice: {}", again.out);

    // An option changes: told first, then done, and the daemon started anew for it.
    play.variables["accelnet_config"] = json!({"log": "debug"});
    let before = rig.node(STATE);
    let told = play.succeeds(true);
    assert!(told.changed > 0, "{}", told.out);
    assert_eq!(rig.node(STATE), before, "a check changes nothing");
    let done = play.succeeds(false);
    assert!(done.changed > 0, "{}", done.out);
    let shown = rig.node("accelnetd config show");
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("log ") && line.contains("debug")),
        "{shown}"
    );
    let since = |state: &str| {
        state
            .lines()
            .find(|line| line.starts_with("ActiveEnter"))
            .map(str::to_owned)
    };
    assert_ne!(
        since(&rig.node(STATE)),
        since(&before),
        "it was started anew"
    );
    rig.until(60, "accelnet status > /dev/null");
    let again = play.succeeds(false);
    assert_eq!(again.changed, 0, "nothing is done twice: {}", again.out);

    // What cannot be used is refused before it is there.
    play.variables["accelnet_config"] = json!({"nonsense": 1});
    let refused = play.run(false);
    assert!(
        refused.failed > 0 && refused.out.contains("nonsense"),
        "{}",
        refused.out
    );
    assert!(
        !rig.node("cat /etc/accelnet/accelnetd.toml")
            .contains("nonsense")
    );
}

/// A cluster that somebody founds: its server, which is a node as well, and one that is that alone.
pub fn a_cluster(rig: &mut Rig) {
    let play = Play::of(
        rig,
        &[
            ("accelnet_server", &["node1"]),
            ("accelnet_nodes", &["node1", "node2"]),
        ],
    );
    for node in ["node1", "node2"] {
        nothing_is_on(rig, node);
        python_on(rig, node);
    }
    bring_to(rig, "node1", VERSION, &made(rig, VERSION));
    // docs/reference/cluster.md: who founds it is told the authority's fingerprint and a token.
    let said = rig.node(
        "apt-get install ./accelnet_*.deb ./accelnetd_*.deb ./accelnet-server_*.deb > /dev/null 2>&1 < /dev/null
         accelnetd init --address node1:7643 && systemctl enable -q --now accelnet-server",
    );
    let word = |is: &dyn Fn(&&str) -> bool| said.split_whitespace().find(is);
    let token = word(&|word| word.starts_with("accelnet-1."));
    let fingerprint =
        word(&|word| word.len() == 64 && u128::from_str_radix(&word[..32], 16).is_ok());
    let (Some(token), Some(fingerprint)) = (token, fingerprint) else {
        panic!("{said}");
    };
    rig.node(&format!(
        "echo {token} | accelnet login https://node1:7643 --fingerprint {fingerprint} > /dev/null"
    ));
    let there = "accelnet node list -o json; ls /var/lib/accelnet/node 2>/dev/null || true";
    let before = rig.node(there);
    let told = play.succeeds(true);
    assert!(told.changed > 0, "{}", told.out);
    assert_eq!(rig.node(there), before, "a check lets nobody in");

    let done = play.succeeds(false);
    assert!(done.changed > 0, "{}", done.out);
    for node in ["node1", "node2"] {
        until_reachable(rig, "node1", node, true, 60);
        let units = rig.on(
            node,
            "systemctl is-active accelnet-agent accelnet-park; systemctl is-enabled accelnet-boot",
        );
        assert_eq!(units, "active\nactive\nenabled\n", "{node}");
        rig.until_on(
            node,
            120,
            "grep -qx 7 /sys/class/net/pf0/device/sriov_numvfs",
        );
    }
    let status = on(rig, "node1", "status");
    assert_eq!(status["enabled"]["intent"], "compute", "{status}");
    for (vm, node) in [("vm1", "node1"), ("vm2", "node2")] {
        rig.node(&format!(
            "accelnet vm enable {vm} --performance Low > /dev/null"
        ));
        until_path(rig, "node1", vm, "vf", node);
        let report = rig.lab.probe(vm, 2.0, 100).unwrap();
        assert_eq!(report.lost, 0, "{vm}: {report:?}");
    }
    let again = play.succeeds(false);
    assert_eq!(again.changed, 0, "nothing is done twice: {}", again.out);
    // The token was seen by nobody but the two ends.
    assert!(!(told.out + &done.out + &again.out).contains("accelnet-join-"));
}
