//! A VM is moved, and the agent that it leaves, the one that it comes to, or the server dies at each step of that. It
//! arrives all the same, on a VF, was reached meanwhile, and nothing of it is left where it was.

use crate::{
    beside::said,
    crash::{How, NOTHING, Points, frames_pass, kinds},
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

const HOWS: [How; 2] = [How::Dies, How::Fails];

/// Who dies, or is refused something.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// The agent that the VM leaves.
    Leaves,
    /// The agent that it comes to.
    ComesTo,
    Server,
}

/// At each step that this one has in it.
pub fn at_each_step(rig: &mut Rig, who: Who) {
    let agents = NODES.map(|node| Points::of(rig, node, "accelnet-agent"));
    let server = Points::of(rig, "node1", "accelnet-server");
    for node in NODES {
        until_path(rig, node, "vm1", "vf", "node1");
    }
    let points_of = |from: usize| match who {
        Who::Leaves => &agents[from],
        Who::ComesTo => &agents[1 - from],
        Who::Server => &server,
    };
    // To and fro, and back at the end.
    let mut ends = [0, 1].into_iter().cycle();
    let mut from = || ends.next().expect("it goes on for ever");
    agents
        .iter()
        .chain([&server])
        .for_each(|points| points.clear(rig));
    let first = from();
    moved(rig, first);
    let passed = points_of(first).passed(rig);
    eprintln!(
        "           {who:?} passes {} points: {passed:?}",
        passed.len()
    );
    assert!(!passed.is_empty());
    let all = kinds(&passed);
    let mut happened_at = 0;
    let ways = HOWS
        .iter()
        .flat_map(|how| all.iter().map(move |at| (*how, at)));
    for (how, at) in ways {
        let from = from();
        let points = points_of(from);
        points.arm(rig, *at, how);
        let reached = asked(rig, |rig| moved(rig, from));
        let happened = points.disarm(rig);
        happened_at += usize::from(happened != NOTHING);
        let stood = stood_still(rig, NODES[1 - from]);
        eprintln!(
            "           {who:?}, point {at}: {happened}; missed {}, {stood:.1} s of which it stood still",
            said(&reached)
        );
        assert!(
            reached.longest_outage_s - stood <= MORE_S + RESTART_S,
            "{reached:?}"
        );
    }
    // Not each move passes as many.
    assert!(
        happened_at > all.len(),
        "{happened_at} of twice {}",
        all.len()
    );
    let next = from();
    if next != 0 {
        moved(rig, next);
    }
    for points in agents.into_iter().chain([server]) {
        points.end(rig);
    }
}

/// It is told to go until that is said to be done; who asked may have been told nothing.
fn moved(rig: &mut Rig, from: usize) {
    let (from, to) = (NODES[from], NODES[1 - from]);
    rig.until_on(
        "node3",
        300,
        &format!("accelnet vm show vm1 -o json | grep -q '\"node\": \"{to}\"' || accelnet vm move vm1 {to}"),
    );
    until_path(rig, "node3", "vm1", "vf", to);
    rig.lab.is_now_on("vm1", to).unwrap();
    // Nothing of it is left, no VF but those of the VMs that are there carries an address, and nothing waits.
    rig.until_on(
        from,
        60,
        &format!("! {{ virsh list --all --name | grep -q vm1 || ip link show pf0 | grep -q {MAC} || bridge fdb show dev pf0 | grep {MAC} | grep -q self; }}"),
    );
    for node in NODES {
        let its = rig
            .lab
            .guests
            .iter()
            .filter(|guest| guest.node == node)
            .count();
        rig.until_on(
            node,
            60,
            &format!(
                "[ $(ip link show pf0 | grep 'vf [0-9]' | grep -vc 00:00:00:00:00:00) = {its} ]"
            ),
        );
        frames_pass(rig, node);
    }
}
