//! A VM is moved, and the agent that it leaves, the one that it comes to, or the server dies at each step of that. It
//! arrives all the same, on a VF, was reached meanwhile, and nothing of it is left where it was.

use crate::{
    crash::{How, Points, kinds},
    joined::until_path,
    moving::{MORE_S, asked, stood_still},
    rig::Rig,
};

/// Between these two it goes to and fro.
const NODES: [&str; 2] = ["node1", "node2"];
/// Its address.
const MAC: &str = "52:54:00:77:00:65";
/// What it may be out of reach for longer when an agent dies: it starts again after a second, and looks around.
const RESTART_S: f64 = 3.0;

/// From where it is to the other one.
struct Way<'a> {
    /// The agents: that of the node that it leaves, and the other.
    agents: [&'a Points; 2],
    nodes: [&'static str; 2],
}

impl<'a> Way<'a> {
    /// Of whoever has this part in it: after the two agents that is the server.
    fn points_of(&self, role: usize, server: &'a Points) -> &'a Points {
        self.agents.get(role).copied().unwrap_or(server)
    }
}

/// At each step of each of the three.
pub fn at_each_step(rig: &mut Rig) {
    let agents = NODES.map(|node| Points::of(rig, node, "accelnet-agent"));
    let server = Points::of(rig, "node1", "accelnet-server");
    for node in NODES {
        until_path(rig, node, "vm1", "vf", "node1");
    }
    let ways = [[0, 1], [1, 0]].map(|ends| Way {
        agents: ends.map(|end| &agents[end]),
        nodes: ends.map(|end| NODES[end]),
    });
    let all = [&agents[0], &agents[1], &server];
    let mut turn = ways.iter().cycle();
    let mut way = || turn.next().expect("it goes on for ever");
    for (role, name) in [
        "the agent that it leaves",
        "the agent that it comes to",
        "the server",
    ]
    .iter()
    .enumerate()
    {
        all.iter().for_each(|points| points.clear(rig));
        let rehearsed = way();
        moved(rig, rehearsed);
        let passed = rehearsed.points_of(role, &server).passed(rig);
        eprintln!(
            "           {name} passes {} points: {passed:?}",
            passed.len()
        );
        assert!(!passed.is_empty());
        for at in kinds(&passed) {
            let way = way();
            let points = way.points_of(role, &server);
            points.arm(rig, at, How::Dies);
            let reached = asked(rig, |rig| moved(rig, way));
            let happened = points.disarm(rig);
            let stood = stood_still(rig, way.nodes[1]);
            eprintln!(
                "           {name}, point {at}: {happened}; missed {} of {}, {:.1} s at a time, {stood:.1} s of which it stood still",
                reached.lost(),
                reached.sent,
                reached.longest_outage_s
            );
            assert!(
                reached.longest_outage_s - stood <= MORE_S + RESTART_S,
                "{reached:?}"
            );
        }
    }
    let next = way();
    if next.nodes[0] != NODES[0] {
        moved(rig, next);
    }
}

/// It is told to go until that is said to be done; who asked may have been told nothing.
fn moved(rig: &mut Rig, way: &Way<'_>) {
    let [from, to] = way.nodes;
    rig.until_on(
        "node3",
        300,
        &format!("accelnet vm show vm1 -o json | grep -q '\"node\": \"{to}\"' || accelnet vm move vm1 {to}"),
    );
    until_path(rig, "node3", "vm1", "vf", to);
    rig.lab.is_now_on("vm1", to).unwrap();
    // Nothing of it is left.
    rig.until_on(
        from,
        60,
        &format!("! {{ virsh list --all --name | grep -q vm1 || ip link show pf0 | grep -q {MAC} || bridge fdb show dev pf0 | grep {MAC} | grep -q self; }}"),
    );
}
