//! The command lines of README, tutorial and guides: taken from the documents, typed, and their effects looked
//! at. A line that is not typed here is a failure, and so is one that a document does not have any more.
//!
//! Where a document says `eth2`, `web1` or a card's name, the lab's are typed.

use accelnet_lab::lab::{Guest, Lab, guests::Shape};
use serde_json::Value;

use crate::{document::Document, rig::Rig};

fn intents(rig: &Rig) -> Vec<Value> {
    let list = rig.json(&["intent", "list"]);
    list["items"].as_array().unwrap().clone()
}

#[track_caller]
fn is_on(rig: &Rig, vm: &str, path: &str) {
    let shown = rig.vm(vm);
    assert_eq!(shown["nics"][0]["path"], path, "{shown}");
}

/// The tutorial, step by step.
pub fn tutorial(rig: &mut Rig) {
    let mut tutorial = Document::open("docs/guide/tutorial.md");
    tutorial.of_make("make demo");
    tutorial.of_make("make build");
    tutorial.elsewhere(
        "alias lab=target/debug/accelnet-lab",
        "the test calls that program",
    );
    tutorial.elsewhere("lab up", "every test of the lab begins with it");
    let lab = "lab exec node1 -- accelnet";
    let (met, checks) = tutorial.of_lab(rig, &format!("{lab} prereq --intent compute"));
    assert!(met && checks.contains("passed"), "{checks}");
    let (_, waits) = tutorial.of_lab(rig, &format!("{lab} enable --intent compute"));
    assert!(rig.vfs("pf0").is_empty(), "no VFs by themselves: {waits}");
    let (enabled, text) =
        tutorial.of_lab(rig, &format!("{lab} enable --intent compute --when now"));
    assert!(enabled && rig.vfs("pf0").len() == 7, "{text}");
    let (_, adapter) = tutorial.of_lab(rig, &format!("{lab} adapter show pf0"));
    assert!(
        adapter.contains("igb") && adapter.contains("0000:01:10.0"),
        "{adapter}"
    );
    // In the document the probe runs in the background.
    tutorial.next("lab probe vm1 --seconds 20 --rate 300 &");
    let running = rig.lab.start_probe("vm1", 50).unwrap();
    let (done, text) = tutorial.of_lab(rig, &format!("{lab} vm enable vm1 --performance Medium"));
    assert!(done, "{text}");
    tutorial.next("wait");
    let report = running.stop().unwrap().all();
    assert_eq!(report.to_guest.lost, 0, "{report:?}");
    let (_, shown) = tutorial.of_lab(rig, &format!("{lab} vm show vm1"));
    assert!(shown.contains("Medium") && shown.contains("VF"), "{shown}");
    let (_, links) = tutorial.of_lab(rig, "lab guest vm1 -- ip link");
    assert_eq!(
        links.matches("52:54:00:77:00:65").count(),
        3,
        "one and two halves: {links}"
    );
    let (done, text) = tutorial.of_lab(rig, &format!("{lab} vm enable vm1 --performance High"));
    assert!(
        !done && text.contains("cannot_provision_performance"),
        "{text}"
    );
    assert_eq!(rig.vm("vm1")["level"], "medium");
    let (done, text) = tutorial.of_lab(rig, &format!("{lab} explain cannot_provision_performance"));
    assert!(done && text.contains("level"), "{text}");
    tutorial.of_lab(rig, "lab exec node1 -- nft add table bridge t");
    tutorial.of_lab(
        rig,
        "lab exec node1 -- nft add chain bridge t f '{ type filter hook forward priority 0; policy drop; }'",
    );
    rig.until_path("vm1", "synthetic", 30);
    rig.until(
        30,
        "accelnet vm list | grep vm1 | grep -q policy_not_offloadable",
    );
    let (_, list) = tutorial.of_lab(rig, &format!("{lab} vm list"));
    assert!(list.contains("policy_not_offloadable"), "{list}");
    tutorial.of_lab(rig, "lab exec node1 -- nft delete table bridge t");
    rig.until_path("vm1", "vf", 60);
    let (done, text) = tutorial.of_lab(rig, "lab kill node1 && lab start node1");
    assert!(done, "{text}");
    // Its sshd is found at another port now.
    rig.lab = Lab::open(&rig.lab.name).unwrap();
    rig.lab.wait_for_node("node1").unwrap();
    rig.until(120, "virsh -q start vm1 2>/dev/null; virsh -q start vm2 2>/dev/null; virsh domstate vm1 | grep -q running");
    rig.until_path("vm1", "vf", 180);
    let (_, list) = tutorial.of_lab(rig, &format!("{lab} vm list"));
    assert!(list.contains("vm1"), "{list}");
    let (done, text) = tutorial.of_lab(rig, &format!("{lab} vm disable vm1"));
    assert!(done, "{text}");
    is_on(rig, "vm1", "synthetic");
    tutorial.elsewhere("lab down", "every test of the lab ends with it");
    tutorial.ends();
}

/// Intents, and what their levels mean.
pub fn intents_and_levels(rig: &mut Rig) {
    rig.json(&["disable"]);
    rig.json(&["intent", "remove", "compute"]);
    let mut guide = Document::open("docs/guide/intents.md");
    let add = "accelnet intent add compute --type compute --bridge br0 --adapter eth2";
    guide.done(rig, &format!("{add} --dry-run"));
    assert!(intents(rig).is_empty());
    guide.done(rig, add);
    assert_eq!(intents(rig)[0]["adapters"][0], "pf0");
    assert!(guide.done(rig, "accelnet intent list").contains("compute"));
    assert!(
        guide
            .done(rig, "accelnet intent show compute")
            .contains("br0")
    );
    guide.done(rig, "accelnet intent set compute --vfs 4 --dry-run");
    assert_ne!(intents(rig)[0]["vfs"], 4, "{:?}", intents(rig));
    guide.done(
        rig,
        "accelnet intent set compute --queue-pairs Low=1,Medium=2,High=8 --max-tx-rate Low=1000",
    );
    assert!(
        intents(rig)[0].to_string().contains("1000"),
        "{:?}",
        intents(rig)
    );
    guide.done(rig, "accelnet intent remove compute");
    assert!(intents(rig).is_empty());
    guide.done(
        rig,
        "accelnet intent add compute --bridge br0 --match driver=ice,speed=25000",
    );
    guide.done(rig, "accelnet intent set compute --match pci=8086:159b");
    assert!(
        intents(rig)[0].to_string().contains("8086:10c9"),
        "{:?}",
        intents(rig)
    );
    guide.done(rig, "accelnet intent set compute --adapter eth2");
    assert_eq!(intents(rig)[0]["adapters"][0], "pf0");
    guide.done(
        rig,
        "accelnet intent set compute --exclude-vf 0000:01:10.2,0000:01:10.4",
    );
    assert!(
        intents(rig)[0].to_string().contains("0000:01:10.4"),
        "{:?}",
        intents(rig)
    );
    guide.done(rig, "accelnet intent set compute --vf-driver vfio-pci");
    assert!(
        intents(rig)[0].to_string().contains("vfio-pci"),
        "{:?}",
        intents(rig)
    );
    guide.done(rig, "accelnet intent set compute --vf-driver auto");
    assert!(
        !intents(rig)[0].to_string().contains("vfio-pci"),
        "{:?}",
        intents(rig)
    );
    rig.json(&["intent", "remove", "compute"]);
    let why = "intents.rs has an adapter that nobody uses or manages";
    let make = "accelnet intent add compute --bridge br1 --adapter eth2 --create";
    guide.elsewhere(&format!("{make} --dry-run"), why);
    guide.elsewhere(make, why);
    guide.elsewhere(
        "accelnet intent add compute --bridge br0 --adapter eth2 --adapter eth3",
        "bonds.rs has two adapters",
    );
    guide.ends();

    let mut levels = Document::open("docs/reference/levels.md");
    levels.done(
        rig,
        "accelnet intent add compute --bridge br0 --adapter eth2 --queue-pairs Low=1,Medium=2,High=8",
    );
    levels.done(
        rig,
        "accelnet intent set compute --max-tx-rate Low=1000,Medium=5000",
    );
    assert!(
        intents(rig)[0].to_string().contains("5000"),
        "{:?}",
        intents(rig)
    );
    levels.done(
        rig,
        "accelnet intent set compute --queue-pairs default --max-tx-rate none",
    );
    assert!(
        !intents(rig)[0].to_string().contains("5000"),
        "{:?}",
        intents(rig)
    );
    levels.ends();
    rig.json(&["intent", "remove", "compute"]);
}

/// README, and the way in on a host of one's own.
pub fn readme_and_host(rig: &mut Rig) {
    let mut readme = Document::open("README.md");
    readme.of_make("make demo");
    readme.of_make("make test");
    begin(rig, &mut readme, false);
    for goal in ["make test", "make sim", "make bench", "make check"] {
        readme.of_make(goal);
    }
    readme.ends();
    rig.json(&["intent", "remove", "compute"]);

    let mut host = Document::open("docs/guide/host.md");
    for line in [
        "apt-get install gcc pkg-config libvirt-dev",
        "cargo build --release",
        "install -m755 target/release/accelnet target/release/accelnetd /usr/local/bin/",
        "install -m644 packaging/systemd/*.service /etc/systemd/system/",
        "groupadd --system accelnet",
    ] {
        host.elsewhere(line, "the lab's node is made so");
    }
    host.done(
        rig,
        "systemctl enable --now accelnet-boot accelnetd accelnet-park",
    );
    rig.until(30, "accelnet status >/dev/null");
    begin(rig, &mut host, true);
    rig.until(
        30,
        "accelnet status | grep -q \"enabled on intent 'compute'\"",
    );
    host.done(rig, "accelnet vm prepare web1");
    shut_down(rig, &mut host);
    host.done(rig, "virsh start web1");
    rig.node(&accelnet_lab::lab::guests::wait_until_up(
        rig.lab.guest("vm1").unwrap(),
    ));
    host.done(rig, "accelnet vm enable web1 --performance Medium");
    is_on(rig, "vm1", "vf");
    assert!(host.done(rig, "accelnet vm list").contains("Medium"));
    host.ends();
}

/// The lab's guests do not hear the power button.
fn shut_down(rig: &Rig, document: &mut Document) {
    document.elsewhere("virsh shutdown web1", "it is the power button");
    rig.node("virsh -q destroy vm1");
}

fn begin(rig: &Rig, document: &mut Document, enables: bool) {
    document.done(
        rig,
        "accelnet intent add compute --type compute --bridge br0 --adapter eth2",
    );
    assert_eq!(intents(rig).len(), 1);
    assert!(
        document
            .done(rig, "accelnet prereq --intent compute")
            .contains("passed")
    );
    document.done(rig, "accelnet enable --intent compute --dry-run");
    assert!(rig.json(&["status"])["enabled"].is_null());
    if enables {
        document.done(rig, "accelnet enable --intent compute");
    }
}

/// VMs: vm1 has its VF, vm2 has none; `db1` has no NIC, and is off.
pub fn vms(rig: &mut Rig) {
    let db1 = Guest {
        name: "db1".into(),
        node: "node1".into(),
        host: 150,
        mac: "52:54:00:77:01:96".into(),
    };
    let shape = Shape {
        nic: false,
        ..Shape::default()
    };
    rig.lab.define(db1, &shape, true, false).unwrap();
    rig.lab.guests.retain(|guest| guest.name != "db1");
    rig.until(20, "accelnet vm list | grep -q db1");
    let mut guide = Document::open("docs/guide/vms.md");
    assert!(guide.done(rig, "accelnet vm list").contains("db1"));
    assert!(guide.done(rig, "accelnet vm show web1").contains("Medium"));
    let chain = guide.done(rig, "accelnet vm explain web1");
    assert!(
        chain.contains("goes by its VF, as wanted.") && !chain.contains("BROKEN"),
        "{chain}"
    );
    // db1 has no NIC there, and the others have their answers all the same.
    let run = guide.typed(rig, "accelnet vm enable 'web*' db1 -p Low");
    assert_eq!(run.code, 7, "{run:?}");
    is_on(rig, "vm2", "vf");
    assert_eq!(rig.vm("vm1")["level"], "low");
    guide.done(rig, "virsh list --name | accelnet vm enable -");
    assert_eq!(rig.vm("vm2")["level"], "medium");
    guide.refused(rig, "accelnet vm set 'web*' -p High");
    guide.done(rig, "accelnet vm disable web1");
    is_on(rig, "vm1", "synthetic");
    assert!(
        guide
            .done(rig, "accelnet vm park web1")
            .contains("nothing to park")
    );
    guide.done(rig, "accelnet vm prepare web1");
    shut_down(rig, &mut guide);
    guide.done(rig, "virsh start web1");
    rig.node(&accelnet_lab::lab::guests::wait_until_up(
        rig.lab.guest("vm1").unwrap(),
    ));
    guide.done(rig, "accelnet vm enable db1 --add-adapter --dry-run");
    assert!(!rig.node("virsh dumpxml db1").contains("<interface"));
    guide.done(rig, "accelnet vm enable db1 --add-adapter");
    rig.until(
        30,
        "virsh dumpxml --inactive db1 | grep -q \"bridge='br0'\"",
    );
    rig.json(&["vm", "enable", "vm1", "-p", "Low"]);
    policy(rig, &mut guide);
    guide.done(rig, "accelnet vm park web1");
    is_on(rig, "vm1", "synthetic");
    guide.done(rig, "accelnet vm park 'web*' --for 10m");
    is_on(rig, "vm2", "synthetic");
    guide.done(rig, "accelnet vm park --all --until-boot");
    assert!(guide.done(rig, "accelnet vm list").contains("parked"));
    guide.done(rig, "accelnet vm park web1 && virsh managedsave web1");
    assert!(rig.node("virsh list --all").contains("shut off"));
    guide.done(rig, "virsh start web1");
    guide.done(rig, "accelnet vm unpark web1");
    rig.until_path("vm1", "vf", 120);
    guide.ends();
    in_the_guest(rig);
}

/// What the guest shows of itself; its failover interface is `eth0` here.
fn in_the_guest(rig: &Rig) {
    let mut guide = Document::open("docs/guide/guests.md");
    guide.next("ip -br link");
    let links = rig.guest("vm1", "ip link");
    assert_eq!(links.matches("52:54:00:77:00:65").count(), 3, "{links}");
    guide.elsewhere("ethtool -i ens3", "the lab's guests have no ethtool");
    guide.next("ls -l /sys/class/net/*/master");
    let halves = rig.guest("vm1", "ls -l /sys/class/net/*/master");
    assert_eq!(halves.lines().count(), 2, "{halves}");
    guide.ends();
}

/// vm1's port is put into a VLAN, and so is its VF, where it stays.
fn vlan(rig: &Rig, guide: &mut Document, tap: &str) {
    guide.done(
        rig,
        "bridge vlan add dev eth2 vid 42 && ip link set br0 type bridge vlan_filtering 1",
    );
    guide.done(
        rig,
        "TAP=$(virsh domiflist web1 | awk '/br0/ { print $1 }'); bridge vlan add dev $TAP vid 42 pvid untagged; bridge vlan del dev $TAP vid 1",
    );
    let mac = &rig.lab.guest("vm1").unwrap().mac;
    rig.until(
        30,
        &format!("ip link show pf0 | grep -i {mac} | grep -q 'vlan 42'"),
    );
    guide.done(rig, "accelnet vm show web1");
    is_on(rig, "vm1", "vf");
    rig.node(&format!(
        "bridge vlan add dev {tap} vid 1 pvid untagged; bridge vlan del dev {tap} vid 42\n\
         ip link set br0 type bridge vlan_filtering 0; bridge vlan del dev pf0 vid 42"
    ));
    rig.until(
        30,
        &format!("ip link show pf0 | grep -i {mac} | grep -vq 'vlan 42'"),
    );
    is_on(rig, "vm1", "vf");
}

/// A rule on vm1's port, and that it need not hold.
fn policy(rig: &Rig, guide: &mut Document) {
    let tap = rig.node("virsh domiflist vm1 | awk '/br0/ { print $1 }'");
    vlan(rig, guide, tap.trim());
    let isolated =
        |on: &str| rig.node(&format!("bridge link set dev {} isolated {on}", tap.trim()));
    isolated("on");
    rig.until_path("vm1", "synthetic", 60);
    guide.done(
        rig,
        "accelnet vm enable web1 --waive tap/isolated --because 'alone on its host'",
    );
    is_on(rig, "vm1", "vf");
    assert!(
        guide
            .done(rig, "accelnet waiver list")
            .contains("alone on its host")
    );
    isolated("off");
    rig.until(30, "! accelnet waiver list | grep -q isolated");
}
