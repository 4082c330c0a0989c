//! Pacemaker on the nodes: a VM is handed over to it, started by it, and started elsewhere when its node dies, where
//! accelnet's placement says; on its VF there by itself. The command lines are those of docs/guide/pacemaker.md.
//!
//! Fencing is real: a node's power is the lab's, which listens for the fence agent of the nodes' images.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    document::Document,
    joined::{on, until_path, until_reachable},
    rig::Rig,
};
use accelnet_lab::{
    lab::{Lab, Network},
    shell::quote,
};

const GUIDE: &str = "docs/guide/pacemaker.md";
const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// What the guide has, and the lab's instead. Its guests do not hear the power button: the agent would wait for that
/// until five seconds before the end of its time, and what is left is too little for an emulated machine.
const NAMES: [(&str, &str); 2] = [
    ("web1", "vm2"),
    (
        "hypervisor=qemu:///system",
        "hypervisor=qemu:///system force_stop=true",
    ),
];
const FENCED: &str = "stonith:fence_ipmilan params ip=$node-bmc username=fencer \
                      password_script=/etc/pacemaker/bmc-password lanplus=1";
const FILES: [&str; 3] = [
    "accelnet-pacemaker",
    "accelnet-pacemaker.service",
    "accelnet-pacemaker.timer",
];

/// The next line of the guide, typed on a node; what it prints. It must succeed.
#[track_caller]
fn done(rig: &Rig, node: &str, guide: &mut Document, line: &str) -> String {
    guide.next(line);
    let mut here = line.to_owned();
    for (theirs, ours) in NAMES {
        here = here.replace(theirs, ours);
    }
    typed(rig, node, &here)
}

#[track_caller]
fn typed(rig: &Rig, node: &str, line: &str) -> String {
    let run = rig.command_on(node, &["bash", "-c", line]);
    assert_eq!(run.code, 0, "{node}: {line}: {run:?}");
    run.out
}

/// Switches the power of nodes when Pacemaker asks for it.
pub struct Power {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Power {
    /// Listens from now on. A lab that is used again is answered at the port that its nodes know.
    pub fn of(rig: &Rig) -> Self {
        let kept = rig.directory().join("fence-port");
        let port = std::fs::read_to_string(&kept).map_or(0, |port| port.parse().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::fs::write(kept, port.to_string()).unwrap();
        let name = rig.lab.name.clone();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // The agent tells Pacemaker that nobody answered.
                if let Err(error) = stream
                    .map_err(Into::into)
                    .and_then(|s| answer(&name, s, &noted))
                {
                    eprintln!("           a question about power was not answered: {error:#}");
                }
            }
        });
        Self { port, asked }
    }

    /// Nodes that were to be switched off.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Each node can be fenced, by the others.
    pub fn fencing(&self, rig: &mut Rig) {
        let mut guide = Document::section(GUIDE, "## Fencing");
        let line = format!(
            "for node in node1 node2 node3; do crm configure primitive fence-$node {FENCED} \
             pcmk_host_list=$node; done"
        );
        guide.next(&line);
        let ours = format!("stonith:fence_lab params ipport={}", self.port);
        typed(rig, "node1", &line.replace(FENCED, &ours));
        done(
            rig,
            "node1",
            &mut guide,
            "crm configure property stonith-action=off stonith-enabled=true",
        );
        guide.ends();
        for node in NODES {
            rig.until_on("node1", 120, &runs(&format!("fence-{node}")));
        }
    }
}

/// One question: `monitor`, `status NODE` or `off NODE`.
fn answer(lab: &str, mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let answer = match line.trim().split_once(' ') {
        None => "ok",
        Some(("off", node)) => {
            Lab::open(lab)?.kill_node(node)?;
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(node.to_owned());
            "ok"
        }
        Some((_, node)) => {
            let lab = Lab::open(lab)?;
            if lab.node_runs(lab.node(node)?) {
                "on"
            } else {
                "off"
            }
        }
    };
    Ok(writeln!(stream, "{answer}")?)
}

/// Condition of a node's shell: Pacemaker has the resource running.
fn runs(resource: &str) -> String {
    format!("crm_resource --resource {resource} --locate 2> /dev/null | grep -q 'is running on'")
}

/// Where Pacemaker has vm2, as node1 knows it.
fn located(rig: &Rig) -> String {
    let said = rig.on("node1", "crm_resource --resource vm2 --locate");
    let node = said.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(NODES.contains(&node.as_str()), "{said}");
    node
}

/// Where accelnet's placement has vm2, if this node is gone.
fn published(rig: &Rig, without: &str) -> String {
    let capacity = on(rig, "node1", &format!("capacity --without {without}"));
    let places = capacity["without"]["placements"].as_array().unwrap();
    let place = places.iter().find(|place| place["vm"] == "vm2");
    let place = place.unwrap_or_else(|| panic!("{capacity}"));
    assert_eq!(place["from"], without, "{capacity}");
    place["to"].as_str().unwrap().to_owned()
}

/// Waits until a command of Pacemaker's prints this number.
fn until_prints(rig: &Rig, command: &str, number: u32) {
    let condition = format!("[ \"$({command} 2> /dev/null)\" = {number} ]");
    rig.until_on("node1", 400, &condition);
}

/// Waits until Pacemaker was told to prefer this node for vm2.
fn until_told(rig: &Rig, node: &str) {
    let path = format!("//rsc_location[@rsc='vm2'][@node='{node}'][@score='100']");
    let query = format!("cibadmin --query --xpath {} > /dev/null 2>&1", quote(&path));
    rig.until_on("node1", 400, &query);
}

/// The process that vm2 is on a node.
fn process(rig: &Rig, node: &str) -> String {
    rig.on(node, "pgrep -f 'guest=[v]m2,'")
}

/// Nodes that have vm2 running, of those that run.
fn nodes_with_it(rig: &Rig, nodes: &[&str]) -> Vec<String> {
    let has = |node: &&&str| {
        rig.on(node, "virsh list --name")
            .lines()
            .any(|vm| vm == "vm2")
    };
    nodes.iter().filter(has).map(ToString::to_string).collect()
}

fn all_online(rig: &Rig) {
    let online = "crm_mon --one-shot | grep -q 'Online: \\[ node1 node2 node3 \\]'";
    for node in NODES {
        rig.until_on(node, 240, online);
    }
}

/// One node may be down; vm1 has the only VF of node1.
pub fn with_a_reserve(rig: &mut Rig) {
    rig.node("accelnet enable --intent compute --nodes-down 1 --when now > /dev/null");
    rig.node("accelnet vm enable vm1 --performance Low > /dev/null");
    until_path(rig, "node1", "vm1", "vf", "node1");
}

/// As an administrator has it, before the guide begins.
pub fn on_the_nodes(rig: &mut Rig) {
    let nodes = rig.lab.nodes.iter().map(|node| {
        let address = Network::Management.address(node.number);
        format!(
            " node {{\n  ring0_addr: {address}\n  name: {}\n  nodeid: {}\n }}\n",
            node.name, node.number
        )
    });
    // An emulated machine may stand still for seconds.
    let settings = format!(
        "totem {{\n version: 2\n cluster_name: lab\n transport: knet\n crypto_cipher: aes256\n \
         crypto_hash: sha256\n token: 20000\n}}\n\
         nodelist {{\n{}}}\n\
         quorum {{\n provider: corosync_votequorum\n}}\n\
         logging {{\n to_syslog: yes\n}}\n",
        nodes.collect::<String>()
    );
    rig.node("corosync-keygen -l > /dev/null");
    for node in NODES {
        let settings = quote(&settings);
        rig.on(
            node,
            &format!("printf %s {settings} > /etc/corosync/corosync.conf"),
        );
        rig.on(
            node,
            "[ $(hostname) = node1 ] || scp -q node1:/etc/corosync/authkey /etc/corosync/\n\
             systemctl -q enable --now corosync pacemaker",
        );
    }
    all_online(rig);
}

/// How many VFs nodes have, by script and timer on each.
pub fn it_is_told(rig: &mut Rig) {
    let mut guide = Document::section(GUIDE, "## VFs as utilization");
    for line in [
        "crm configure property placement-strategy=balanced",
        "crm configure rsc_defaults resource-stickiness=1000",
    ] {
        done(rig, "node1", &mut guide, line);
    }
    let install = [
        "install -m755 packaging/pacemaker/accelnet-pacemaker /usr/local/sbin/",
        "install -m644 packaging/pacemaker/accelnet-pacemaker.service \
         packaging/pacemaker/accelnet-pacemaker.timer /etc/systemd/system/",
        "systemctl daemon-reload && systemctl enable --now accelnet-pacemaker.timer",
    ];
    install.iter().for_each(|line| guide.next(line));
    for node in NODES {
        rig.on(node, "mkdir -p packaging/pacemaker");
        for name in FILES {
            let path = format!("packaging/pacemaker/{name}");
            let ours = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(ours).unwrap();
            rig.on(node, &format!("printf %s {} > {path}", quote(&text)));
        }
        for line in install {
            typed(rig, node, line);
        }
    }
    // vm1 is none of Pacemaker's, and has node1's.
    for (node, vfs) in NODES.iter().zip([0, 1, 1]) {
        let query = format!("crm_attribute --utilization --name vfs --node {node} --query --quiet");
        until_prints(rig, &query, vfs);
    }
    let shown = done(
        rig,
        "node1",
        &mut guide,
        "crm node utilization node2 show vfs",
    );
    assert!(shown.contains("vfs") && shown.contains('1'), "{shown}");
    guide.ends();
}

/// It runs on as it ran, on its VF, and Pacemaker knows where it would go.
pub fn a_vm_is_handed_over(rig: &mut Rig) {
    let mut guide = Document::section(GUIDE, "## A VM is handed over");
    done(
        rig,
        "node2",
        &mut guide,
        "accelnet vm enable web1 --performance Low",
    );
    until_path(rig, "node2", "vm2", "vf", "node2");
    let before = process(rig, "node2");
    for line in [
        "virsh dumpxml --inactive web1 > /etc/pacemaker/web1.xml",
        "crm cluster copy /etc/pacemaker/web1.xml",
        "virsh undefine web1",
        "crm configure primitive web1 ocf:heartbeat:VirtualDomain params config=/etc/pacemaker/web1.xml \
         hypervisor=qemu:///system autoset_utilization_cpu=false autoset_utilization_host_memory=false \
         autoset_utilization_hv_memory=false op start timeout=300s op stop timeout=300s \
         op monitor interval=30s timeout=120s",
    ] {
        done(rig, "node2", &mut guide, line);
    }
    rig.until_on("node1", 400, &runs("vm2"));
    rig.on("node1", "crm_resource --wait");
    assert_eq!(located(rig), "node2");
    assert_eq!(process(rig, "node2"), before, "it was started anew");
    let report = rig.lab.probe("vm2", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    until_path(rig, "node1", "vm2", "vf", "node2");
    let place = published(rig, "node2");
    until_told(rig, &place);
    let shown = done(
        rig,
        "node1",
        &mut guide,
        "accelnet capacity --without node2",
    );
    assert!(shown.contains("vm2") && shown.contains(&place), "{shown}");
    let line = "crm_simulate --live-check --simulate --node-down node2";
    let shown = done(rig, "node1", &mut guide, line);
    let goes = |line: &str| line.contains("vm2") && line.contains(&format!("Started {place}"));
    assert!(shown.lines().any(goes), "to {place}: {shown}");
    guide.ends();
}

/// Started by Pacemaker, it is on a VF with nobody at the keyboard.
pub fn stopped_and_started(rig: &mut Rig) {
    let mut guide = Document::section(GUIDE, "## A VM is moved, or stopped");
    done(rig, "node1", &mut guide, "crm resource stop web1");
    rig.until_on("node1", 400, &format!("! {}", runs("vm2")));
    rig.on("node1", "crm_resource --wait");
    assert!(nodes_with_it(rig, &NODES).is_empty());
    let vm = on(rig, "node1", "vm show vm2");
    assert_eq!(vm["level"], "low", "its room is held: {vm}");
    done(rig, "node1", &mut guide, "crm resource start web1");
    guide.ends();
    let started = Instant::now();
    rig.until_on("node1", 400, &runs("vm2"));
    let node = located(rig);
    assert_ne!(node, "node1", "whose only VF is vm1's");
    rig.lab.is_now_on("vm2", &node).unwrap();
    let running = started.elapsed();
    until_path(rig, "node1", "vm2", "vf", &node);
    eprintln!(
        "           started on {node} in {:.0} s, on its VF {:.0} s later",
        running.as_secs_f64(),
        (started.elapsed() - running).as_secs_f64()
    );
    assert_eq!(nodes_with_it(rig, &NODES), [node]);
}

/// Fenced, and its VM started where the placement said, on the VF that was held for it.
pub fn its_node_dies(rig: &mut Rig, power: &Power) {
    let node = located(rig);
    let place = published(rig, &node);
    until_told(rig, &place);
    let held = on(rig, "node1", "capacity");
    let held = held["nodes"].as_array().unwrap().iter();
    let mut held = held.filter(|one| one["name"] == place.as_str());
    let of_place = held.next().unwrap();
    assert_eq!(of_place["held_back"]["low"], 1, "the reserve: {of_place}");
    let before = Instant::now();
    let since = |before: Instant| before.elapsed().as_secs_f64();
    rig.lab.kill_node(&node).unwrap();
    until_reachable(rig, "node1", &node, false, 60);
    let down = since(before);
    let there = "virsh domstate vm2 2> /dev/null | grep -q running";
    rig.until_on(&place, 240, there);
    let running = since(before);
    assert_eq!(power.asked(), std::slice::from_ref(&node), "fenced before");
    rig.lab.is_now_on("vm2", &place).unwrap();
    until_path(rig, "node1", "vm2", "vf", &place);
    eprintln!(
        "           {node} died: called down after {down:.0} s, vm2 runs on {place} after {running:.0} s, \
         on its VF {:.0} s later",
        since(before) - running
    );
    assert_eq!(located(rig), place);
    let report = rig.lab.probe("vm2", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// It has nothing that runs elsewhere, and nothing moves for it.
pub fn the_node_is_back(rig: &mut Rig) {
    let place = located(rig);
    let before = process(rig, &place);
    let node = NODES
        .iter()
        .find(|node| ![place.as_str(), "node1"].contains(node));
    let node = *node.unwrap();
    let started = rig.program(&["start", node]);
    assert!(started.status.success(), "{started:?}");
    // Its sshd is found at another port now.
    rig.lab = Lab::open(&rig.lab.name).unwrap();
    until_reachable(rig, "node1", node, true, 120);
    all_online(rig);
    rig.on("node1", "crm_resource --wait");
    // And it is told of the next loss: now the node that is back has the VF that is held.
    let next = published(rig, &place);
    assert_eq!(next, node);
    until_told(rig, node);
    rig.on("node1", "crm_resource --wait");
    assert_eq!(located(rig), place);
    assert_eq!(nodes_with_it(rig, &NODES), std::slice::from_ref(&place));
    assert_eq!(process(rig, &place), before, "it was started anew");
    until_path(rig, "node1", "vm2", "vf", &place);
    let report = rig.lab.probe("vm2", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// VMs without a VF would be left off: how that is ended. Nothing moves for it.
pub fn beyond_the_reserve(rig: &mut Rig) {
    let place = located(rig);
    let mut guide = Document::section(GUIDE, "## A node dies");
    let full = "crm_simulate --live-check --simulate --node-down node2 --node-down node3";
    let goes = |said: &str| {
        let mut lines = said.lines().filter(|line| line.contains("vm2"));
        lines.any(|line| line.contains("Started node1"))
    };
    let said = typed(rig, "node1", full);
    assert!(!goes(&said), "it would go where there is no VF: {said}");
    done(
        rig,
        "node1",
        &mut guide,
        "crm configure property placement-strategy=default",
    );
    guide.ends();
    let said = typed(rig, "node1", full);
    assert!(goes(&said), "{said}");
    rig.on("node1", "crm_resource --wait");
    assert_eq!(located(rig), place);
}

/// Every section of the guide that has command lines was typed.
pub fn the_guide_is_whole(_: &mut Rig) {
    assert_eq!(
        Document::headings(GUIDE),
        [
            "## Fencing",
            "## VFs as utilization",
            "## A VM is handed over",
            "## A node dies",
            "## A VM is moved, or stopped",
        ]
    );
}
