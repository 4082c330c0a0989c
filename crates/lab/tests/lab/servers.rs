//! Three servers on an etcd of three members: the one that decides goes in every way, and so does etcd's majority. VMs
//! keep what they have, commands are typed on whichever node, and whoever decides next does what is asked for.

use std::time::Instant;

use accelnet_lab::{lab::Place, probe::analysis::Echoes};

use crate::{
    beside::PPS,
    document::Document,
    joined::{NODES, VMS, on, until_path, until_reachable},
    rig::Rig,
};

/// The server that decides, as a node tells it.
fn active(rig: &Rig, from: &str) -> String {
    let listed = on(rig, from, "server list");
    let listed = listed["items"].as_array().unwrap();
    let active: Vec<_> = listed
        .iter()
        .filter(|server| server["active"] == true)
        .collect();
    assert_eq!(active.len(), 1, "{listed:?}");
    active[0]["name"].as_str().unwrap().to_owned()
}

/// So many servers answer, one of them decides, and it is one of these nodes'.
fn until_lead(rig: &Rig, from: &str, count: usize, one_of: &[&str]) {
    let one_of = one_of.join("|");
    let condition = format!(
        "x=$(accelnet server list -o json | tr -d ' \\n') && \
         test $(echo \"$x\" | grep -o '\"active\":true' | wc -l) = 1 && \
         test $(echo \"$x\" | grep -o '\"reachable\":true' | wc -l) = {count} && \
         echo \"$x\" | grep -qE '\"name\":\"({one_of})\",\"address\":\"[^\"]*\",\"active\":true'"
    );
    rig.until_on(from, 60, &condition);
}

fn others(than: &str) -> Vec<&'static str> {
    NODES.into_iter().filter(|node| *node != than).collect()
}

/// The wire asks the VMs of these nodes meanwhile.
fn asked_on(rig: &mut Rig, nodes: &[&str], happens: impl FnOnce(&mut Rig)) -> Vec<Echoes> {
    let vms: Vec<_> = VMS
        .iter()
        .zip(NODES)
        .filter(|(_, node)| nodes.contains(node))
        .map(|(vm, _)| rig.lab.guest(vm).unwrap().address())
        .collect();
    let calling = rig.lab.start_calling(Place::Wire, &vms, PPS).unwrap();
    happens(rig);
    calling.stop().unwrap()
}

#[track_caller]
fn nothing_lost(all: &[Echoes]) {
    for echoes in all {
        assert!(echoes.sent > 0 && echoes.lost() == 0, "{all:?}");
    }
}

fn all_on_vfs(rig: &Rig, from: &str, nodes: &[&str]) {
    for (vm, node) in VMS.iter().zip(NODES) {
        if nodes.contains(&node) {
            until_path(rig, from, vm, "vf", node);
        }
    }
}

/// Asks for something that no VM of the lab has.
fn ask(rate: u32) -> String {
    format!("timeout 20 accelnet intent set compute --max-tx-rate High={rate} -o json 2>&1")
}

/// How long it takes until what is asked for on a node is accepted.
fn accepted_s(rig: &Rig, from: &str, rate: u32) -> f64 {
    let begun = Instant::now();
    rig.until_on(from, 120, &format!("{} > /root/said", ask(rate)));
    begun.elapsed().as_secs_f64()
}

fn rate(rig: &Rig) -> u64 {
    let intent = on(rig, "node1", "intent show compute");
    let rate = intent["levels"]["max_tx_rate_mbps"]["high"].as_u64();
    rate.unwrap_or_else(|| panic!("{intent}"))
}

/// Without a word, and in good order.
pub fn the_active_one_goes(rig: &mut Rig) {
    let first = active(rig, "node2");
    let asks = others(&first)[0];
    let missed = asked_on(rig, &NODES, |rig| {
        rig.on(&first, "systemctl kill -s KILL accelnet-server");
        let killed = accepted_s(rig, asks, 900);
        until_lead(rig, asks, 3, &NODES);
        let second = active(rig, asks);
        let asks = others(&second)[0];
        rig.on(&second, "systemctl stop accelnet-server");
        let stopped = accepted_s(rig, asks, 800);
        until_lead(rig, asks, 2, &others(&second));
        rig.on(&second, "systemctl start accelnet-server");
        until_lead(rig, asks, 3, &others(&second));
        eprintln!(
            "           {first} was killed, and the next change is accepted {killed:.1} s after; {second} was stopped, \
             and it is {stopped:.1} s"
        );
        for node in NODES {
            until_reachable(rig, asks, node, true, 60);
        }
        all_on_vfs(rig, asks, &NODES);
    });
    nothing_lost(&missed);
    assert_eq!(rate(rig), 800);
}

/// With it a member of etcd, and a node of the cluster.
pub fn its_node_loses_power(rig: &mut Rig) {
    let dead = active(rig, "node1");
    let alive = others(&dead);
    let missed = asked_on(rig, &alive, |rig| {
        rig.lab.kill_node(&dead).unwrap();
        let took = accepted_s(rig, alive[0], 700);
        eprintln!(
            "           {dead} has lost its power, and the next change is accepted {took:.1} s after"
        );
        until_lead(rig, alive[0], 2, &alive);
        until_reachable(rig, alive[1], &dead, false, 60);
        all_on_vfs(rig, alive[1], &alive);
    });
    nothing_lost(&missed);
    rig.lab.start_node(&dead).unwrap();
    rig.lab.wait_for_node(&dead).unwrap();
    until_reachable(rig, alive[0], &dead, true, 120);
    until_lead(rig, &dead, 3, &alive);
    rig.all_guests_are_up();
    all_on_vfs(rig, alive[0], &NODES);
}

/// Nobody decides, which is said; what is there stays. Then somebody does again, with nothing typed.
pub fn etcd_without_majority(rig: &mut Rig) {
    let missed = asked_on(rig, &NODES, |rig| {
        for node in ["node2", "node3"] {
            rig.on(node, "systemctl stop lab-etcd");
        }
        rig.until_on("node1", 90, &format!("! {} > /root/said", ask(600)));
        let said = rig.on("node1", &format!("{} || echo exit $?", ask(600)));
        // As long as the line of the one that decided seems to be there, it does not answer.
        let because = ["quorum", "no line to a server", "did not answer"];
        let told = because.iter().any(|why| said.contains(why));
        assert!(told && said.contains("exit"), "{said}");
        what_was_kept_is_shown(rig);
        for node in ["node2", "node3"] {
            rig.on(node, "systemctl start lab-etcd");
        }
        let took = accepted_s(rig, "node3", 500);
        eprintln!(
            "           etcd has its majority again, and the next change is accepted {took:.1} s after"
        );
        until_lead(rig, "node1", 3, &NODES);
        for node in NODES {
            until_reachable(rig, "node1", node, true, 60);
        }
        all_on_vfs(rig, "node2", &NODES);
    });
    nothing_lost(&missed);
    assert_eq!(rate(rig), 500);
}

/// By whichever server stands by, to who takes what may be old.
fn what_was_kept_is_shown(rig: &Rig) {
    let from_copy = "accelnet --stale status 2>&1 | grep -q 'from the copy of'";
    rig.until_on("node1", 90, from_copy);
    let mut page = Document::section("docs/reference/cluster.md", "## Several servers");
    let shown = page.typed(rig, "accelnet --stale vm list");
    page.ends();
    assert!(shown.code == 0 && shown.err.contains("copy"), "{shown:?}");
    for vm in VMS {
        let mut lines = shown.out.lines();
        let line = lines.find(|line| line.trim_start().starts_with(vm));
        assert!(line.is_some_and(|line| line.contains("VF")), "{shown:?}");
    }
}

/// Nobody looks for it any more; and it is there again once it runs.
pub fn one_is_gone_for_good(rig: &mut Rig) {
    let active = active(rig, "node1");
    let gone = others(&active)[0];
    let address = format!("{gone}:7643");
    let refused = rig.on(
        &active,
        &format!("accelnet server remove {address} -o json 2>&1 || echo exit $?"),
    );
    assert!(refused.contains("exit"), "it answers: {refused}");
    rig.on(gone, "systemctl disable -q --now accelnet-server");
    until_lead(rig, &active, 2, &[&active]);
    let mut page = Document::section("docs/reference/access.md", "## Nodes and servers")
        .with("server2.example:7643", address.as_str());
    page.skip_to("accelnet server remove server2.example:7643");
    page.done(rig, "accelnet server remove server2.example:7643");
    page.ends();
    let listed = on(rig, "node3", "server list").to_string();
    assert!(!listed.contains(&address), "{listed}");
    rig.on(gone, "systemctl enable -q --now accelnet-server");
    until_lead(rig, gone, 3, &[&active]);
}
