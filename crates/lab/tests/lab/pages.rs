//! The reference's pages on a cluster: their command lines, taken from the page, typed on whichever node, and what each
//! does.

use serde_json::Value;

use crate::{
    document::Document,
    joined::{on, until_path, until_reachable},
    rig::Rig,
};

/// Somebody on node2, who is nobody to the cluster until he logs in.
const SOMEBODY: &str = "export HOME=/root/somebody; mkdir -p $HOME; cd $HOME; ";
const ACCESS: &str = "docs/reference/access.md";
const CLUSTER: &str = "docs/reference/cluster.md";

/// Each heading's lines are typed by one of these tests; the first is what all have done.
pub fn are_whole(_: &mut Rig) {
    assert_eq!(
        Document::headings(ACCESS),
        [
            "## Tokens",
            "## Logging in, and profiles",
            "## The record of changes",
            "## Nodes and servers",
        ]
    );
    assert_eq!(
        Document::headings(CLUSTER),
        ["## From nothing", "## Moving a VM", "## Restore",]
    );
    let mut nothing = Document::section(CLUSTER, "## From nothing");
    for line in [
        "# on the machine that serves (it may be one of the nodes)",
        "accelnetd init --address server1.example:7643",
        "systemctl enable --now accelnet-server",
        "# anywhere: who one is from now on (see access.md)",
        "accelnet login https://server1.example:7643 --fingerprint HEX",
        "# for each node",
        "accelnet node join-token",
        "accelnetd join https://server1.example:7643 TOKEN",
        "accelnetd hook install",
        "systemctl restart libvirtd",
        "systemctl enable --now accelnet-agent",
        "accelnet login --local",
    ] {
        nothing.elsewhere(line, "the lab's cluster is made so");
    }
    nothing.ends();
}

/// Who somebody is taken for.
#[track_caller]
fn is(rig: &Rig, what: &str, who: Option<(&str, &str)>) {
    let said = rig.on(
        "node2",
        &format!("{SOMEBODY} {what} accelnet whoami -o json 2>&1 || true"),
    );
    match who {
        Some((name, role)) => {
            let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
            assert_eq!(said["name"], name, "{said}");
            assert_eq!(said["role"], role, "{said}");
        }
        None => assert!(said.contains("not_authenticated"), "{said}"),
    }
}

fn tokens(rig: &Rig) -> Vec<String> {
    let listed = on(rig, "node1", "token list");
    let listed = listed["items"].as_array().unwrap().iter();
    let names = listed.filter_map(|token| token["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Who may do what: tokens, profiles, the record.
pub fn access(rig: &mut Rig) {
    let mut page = Document::section(ACCESS, "## Tokens")
        .on("node2", "cd /root; ")
        // The lab's nodes have no jq.
        .with(
            "jq -r .token",
            "sed -n 's/.*\"token\": \"\\(.*\\)\".*/\\1/p'",
        );
    let made = page.done(rig, "accelnet token create alice --role operator");
    let mut words = made.split_whitespace();
    let alice = words.find(|word| word.starts_with("accelnet-1.alice."));
    let alice = alice.unwrap_or_else(|| panic!("{made}"));
    page.done(
        rig,
        "accelnet token create ci --role operator --ttl 8h -o json | jq -r .token > ci.token",
    );
    let by_ci = "ACCELNET_TOKEN=$(cat /root/ci.token)";
    is(rig, by_ci, Some(("ci", "operator")));
    let listed = page.done(rig, "accelnet token list");
    assert!(
        listed.contains("alice") && listed.contains("ci"),
        "{listed}"
    );
    page.done(rig, "accelnet token revoke ci");
    is(rig, by_ci, None);
    assert!(tokens(rig).contains(&"alice".to_owned()) && !tokens(rig).contains(&"ci".to_owned()));
    page.ends();

    let fingerprint = authority(rig, alice);
    let mut page = Document::section(ACCESS, "## Logging in, and profiles")
        .on("node2", SOMEBODY)
        .with("https://server1:7643", "https://node1:7643")
        // On a terminal it asks for the token.
        .with(
            "--fingerprint 5f2c0d…",
            format!("--fingerprint {fingerprint} < token"),
        )
        .with("login --local", "login --local < token");
    is(rig, "", None);
    page.done(
        rig,
        "accelnet login https://server1:7643 --fingerprint 5f2c0d…",
    );
    is(rig, "", Some(("alice", "operator")));
    page.done(
        rig,
        "cat token | accelnet login https://server1:7643 --ca ca.pem --name production",
    );
    page.done(rig, "accelnet login --local");
    let whoami = page.done(rig, "accelnet whoami");
    assert!(
        whoami.contains("alice") && whoami.contains("operator"),
        "{whoami}"
    );
    let profiles = page.done(rig, "accelnet profile list");
    assert!(
        profiles.contains("production") && profiles.contains("https://node1:7643"),
        "{profiles}"
    );
    assert!(!profiles.contains(alice), "{profiles}");
    page.done(rig, "accelnet profile use production");
    let file = rig.on("node2", "cat /root/somebody/.config/accelnet/config.json");
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["current"], "production");
    let status = page.done(rig, "accelnet status --cluster production");
    assert!(status.contains("compute"), "{status}");
    page.done(rig, "accelnet logout production");
    is(rig, "", None);
    page.ends();
    record(rig);
    rig.on("node1", "accelnet token revoke alice > /dev/null");
}

/// What somebody needs to log in: his token and the authority's certificate, in files; its fingerprint.
fn authority(rig: &Rig, token: &str) -> String {
    let node = rig.on("node2", "cat /var/lib/accelnet/node/node.json");
    let node: Value = serde_json::from_str(&node).unwrap();
    let pem = node["authority_pem"].as_str().unwrap();
    let made = rig.on(
        "node2",
        &format!(
            "{SOMEBODY} echo {token} > token; echo '{pem}' > ca.pem\n\
             sed '/-----/d' ca.pem | base64 -d | sha256sum"
        ),
    );
    made.split(' ').next().unwrap().to_owned()
}

fn record(rig: &Rig) {
    let mut page = Document::section(ACCESS, "## The record of changes").on("node2", "");
    let whole = page.done(rig, "accelnet audit");
    let made = |record: &str| {
        let mut entries = record.lines();
        entries.any(|entry| entry.contains("token") && entry.contains("alice"))
    };
    assert!(made(&whole), "{whole}");
    assert!(made(&page.done(rig, "accelnet audit --since 24h")));
    // It has no end.
    let follow = page.as_here("accelnet audit --follow");
    rig.on(
        "node2",
        &format!("{follow} > /root/followed 2>&1 & echo $! > /root/follows"),
    );
    let change = "accelnet intent set compute --max-tx-rate";
    rig.on("node3", &format!("{change} Low=1000 > /dev/null"));
    rig.until_on("node2", 30, "grep -q 'intent set' /root/followed");
    rig.on("node2", "kill $(cat /root/follows)");
    rig.on("node3", &format!("{change} none > /dev/null"));
    page.ends();
}

/// Nodes and servers, as an administrator on node3 sees to them.
pub fn nodes(rig: &mut Rig) {
    let mut page = Document::section(ACCESS, "## Nodes and servers").on("node3", "");
    for line in ["accelnet node list", "accelnet node show node2"] {
        let told = page.done(rig, line);
        assert!(told.contains("node2"), "{line}: {told}");
    }
    let invited = page.done(rig, "accelnet node join-token --node node4 --ttl 15m");
    let mut lines = invited.lines().map(str::trim);
    let join = lines.find(|line| line.starts_with("accelnetd join "));
    let join = join.unwrap_or_else(|| panic!("{invited}"));
    rig.on(
        "node3",
        &format!("{join} --name node4 --state-dir /root/node4 > /dev/null"),
    );
    page.done(rig, "accelnet node drain node2");
    let vm = on(rig, "node1", "vm show vm2");
    assert_eq!(vm["nics"][0]["path"], "synthetic", "{vm}");
    page.done(rig, "accelnet node uncordon node2");
    until_path(rig, "node1", "vm2", "vf", "node2");
    let known = || on(rig, "node1", "node list").to_string().contains("node4");
    assert!(known());
    page.done(rig, "accelnet node remove node4");
    assert!(!known());
    let servers = page.done(rig, "accelnet server list");
    assert!(servers.contains("node1:7643"), "{servers}");
    page.elsewhere(
        "accelnet server remove server2.example:7643",
        "servers.rs has one that dies",
    );
    page.ends();
}

/// It has what is needed, and nobody's token.
pub fn support_bundle(rig: &mut Rig) {
    rig.on(
        "node2",
        "accelnet support-bundle /root/bundle.tar.gz > /dev/null",
    );
    let has = |what: &str| {
        let count = format!("tar -xzOf /root/bundle.tar.gz | grep -c -- {what} || true");
        rig.on("node2", &count).trim().parse::<u32>().unwrap()
    };
    assert!(has("vm2") > 0 && has("igb") > 0);
    assert_eq!(has("accelnet-1[.][a-z]*[.]"), 0, "a token is in it");
    assert_eq!(has("PRIVATE"), 0, "a key is in it");
}

/// A VM moves, and the cluster's state is put back.
pub fn cluster(rig: &mut Rig) {
    let mut page = Document::section(CLUSTER, "## Moving a VM").on("node3", "");
    let room = page.done(rig, "accelnet vm where web1");
    assert!(room.contains("node2") && room.contains("node3"), "{room}");
    page.done(rig, "accelnet vm move web1 node2");
    until_path(rig, "node1", "vm1", "vf", "node2");
    rig.lab.is_now_on("vm1", "node2").unwrap();
    page.done(rig, "accelnet vm unpark web1");
    for line in [
        "ACCELNET_PEER_LIBVIRT=qemu+ssh://root@{node}/system",
        "ACCELNET_PEER_MEMORY=tcp://{node}.storage.example",
    ] {
        page.elsewhere(line, "the lab's agents have such lines");
    }
    page.ends();
    restore(rig);
    on(rig, "node1", "vm move vm1 node1");
    rig.lab.is_now_on("vm1", "node1").unwrap();
}

/// What was wanted when the backup was made is wanted again, and nobody is off his VF by that.
fn restore(rig: &Rig) {
    let level = |vm: &str| on(rig, "node2", &format!("vm show {vm}"))["level"].clone();
    rig.on("node1", "cd /root; accelnet admin backup state.backup");
    rig.on("node1", "accelnet vm disable vm3 > /dev/null");
    assert!(level("vm3").is_null());
    let mut page = Document::section(CLUSTER, "## Restore")
        .on("node1", "cd /root; ")
        .with(
            "accelnetd restore state.backup",
            "accelnetd restore --yes state.backup",
        );
    page.done(rig, "systemctl stop accelnet-server");
    let differs = page.done(rig, "accelnetd restore --dry-run state.backup");
    assert!(differs.contains("vm3"), "{differs}");
    page.done(rig, "accelnetd restore state.backup");
    page.done(rig, "systemctl start accelnet-server");
    page.ends();
    for node in ["node1", "node2", "node3"] {
        until_reachable(rig, "node2", node, true, 60);
    }
    until_path(rig, "node2", "vm3", "vf", "node3");
    assert_eq!(level("vm3"), "low");
    until_path(rig, "node2", "vm2", "vf", "node2");
    // It can write.
    rig.on("node2", "accelnet vm unpark vm2 > /dev/null");
}
