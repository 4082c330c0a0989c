//! The daemon ends, or is refused, at each step of an operation: what was wanted is reached all the same, nobody is
//! out of reach longer than a VM that is not accelerated, and what nobody uses is clean.
//!
//! Points are those of the crate `accelnet-crash`, compiled into what tests run only.

use std::collections::BTreeSet;

use accelnet_lab::lab::Place;

use crate::{
    beside::beside,
    connectivity::{MORE_S, gave_up_after_s},
    reach::longer_s,
    rig::{Rig, words},
};

/// Points of one unit on one node.
pub struct Points {
    node: &'static str,
    unit: &'static str,
    directory: String,
}

/// Told of a point that was not passed.
pub const NOTHING: &str = "nothing happened";

/// What happens at a point.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// The process is killed.
    Dies,
    /// What was about to be done fails.
    Fails,
}

impl Points {
    /// The unit passes points from here on.
    pub fn of(rig: &Rig, node: &'static str, unit: &'static str) -> Self {
        let directory = format!("/run/points/{unit}");
        let drop_in = format!("/run/systemd/system/{unit}.service.d");
        rig.on(
            node,
            &format!(
                "mkdir -p {drop_in} {directory}; chmod 777 {directory}\n\
                 printf '[Service]\\nEnvironment=ACCELNET_CRASH_POINTS={directory}\\nReadWritePaths={directory}\\n' > {drop_in}/points.conf\n\
                 systemctl daemon-reload; systemctl restart {unit}"
            ),
        );
        Self {
            node,
            unit,
            directory,
        }
    }

    /// It passes none any more.
    pub fn end(self, rig: &Rig) {
        let Self {
            node,
            unit,
            directory,
        } = self;
        rig.on(
            node,
            &format!(
                "rm /run/systemd/system/{unit}.service.d/points.conf; systemctl daemon-reload\n\
                 systemctl restart {unit}; rm -r {directory}"
            ),
        );
    }

    /// What was passed until now is forgotten, and nothing happens any more.
    pub fn clear(&self, rig: &Rig) {
        rig.on(self.node, &format!("rm -f {}/*", self.directory));
    }

    /// In words, those that were passed since.
    pub fn passed(&self, rig: &Rig) -> Vec<String> {
        let passed = rig.on(
            self.node,
            &format!("touch {0}/passed; cat {0}/passed", self.directory),
        );
        passed.lines().map(str::to_owned).collect()
    }

    /// From here on, after so many others, once.
    pub fn arm(&self, rig: &Rig, others: usize, how: How) {
        self.clear(rig);
        let how = match how {
            How::Dies => "die",
            How::Fails => "fail",
        };
        rig.on(
            self.node,
            // A unit that is not root counts in it.
            &format!(
                "echo '{others} {how}' > {0}/armed; chmod 666 {0}/armed",
                self.directory
            ),
        );
    }

    /// What has happened since, in words; and nothing does any more.
    pub fn disarm(&self, rig: &Rig) -> String {
        let happened = rig.on(
            self.node,
            &format!("touch {0}/happened; cat {0}/happened", self.directory),
        );
        self.clear(rig);
        match happened.trim() {
            "" => NOTHING.to_owned(),
            happened => happened.to_owned(),
        }
    }
}

/// Where the first and the last of each kind are: what differs in numbers alone is of one kind.
pub fn kinds(points: &[String]) -> Vec<usize> {
    let kind = |what: &String| what.replace(|letter: char| letter.is_ascii_hexdigit(), "");
    let all: Vec<String> = points.iter().map(kind).collect();
    let of_each = all.iter().flat_map(|kind| {
        let is = |other: &String| other == kind;
        [all.iter().position(is), all.iter().rposition(is)]
    });
    let places: BTreeSet<usize> = of_each.flatten().collect();
    places.into_iter().collect()
}

const HOST: Place<'static> = Place::Node("node1");
/// How long it may take until all is as it was wanted: the daemon starts again, a guest is asked again.
const REACHED_S: u32 = 90;

/// One thing that an operator, or the machine, does.
struct Operation {
    name: &'static str,
    /// A command line on the node.
    does: &'static str,
    /// It is done: a condition of the node's shell.
    reached: &'static str,
    /// VFs that a VM has then.
    used: usize,
    /// Its VF leads nowhere until the agent is back and has taken it away. The PF does not answer meanwhile: giving up
    /// its VF the guest's driver waits a second for each answer, and its kernel takes nothing by the tap until that is
    /// over.
    guest_waits: bool,
}

const HOWS: [How; 2] = [How::Dies, How::Fails];

/// A VM's way to its VF and back.
const TO_ITS_VF: [Operation; 2] = [
    Operation {
        name: "enable a VM",
        does: "accelnet vm enable vm1 -p Low",
        reached: "accelnet vm show vm1 -o json | grep -q '\"path\": \"vf\"'",
        used: 1,
        guest_waits: false,
    },
    Operation {
        name: "disable a VM",
        does: "accelnet vm disable vm1",
        reached: "accelnet vm show vm1 -o json | grep -q '\"path\": \"synthetic\"'",
        used: 0,
        guest_waits: false,
    },
];

/// The same without a change of what it is allowed.
const PARKED: [Operation; 2] = [
    Operation {
        name: "park a VM",
        does: "accelnet vm park vm1 --for 1h",
        reached: "accelnet vm show vm1 -o json | grep -q '\"path\": \"synthetic\"'",
        used: 0,
        guest_waits: false,
    },
    Operation {
        name: "unpark a VM",
        does: "accelnet vm unpark vm1",
        reached: "accelnet vm show vm1 -o json | grep -q '\"path\": \"vf\"'",
        used: 1,
        guest_waits: false,
    },
];

/// The wire is gone, and there again.
const UPLINK: [Operation; 2] = [
    Operation {
        name: "the uplink goes down",
        does: "ip link set pf0 down",
        reached: "accelnet vm show vm1 -o json | grep -q '\"path\": \"synthetic\"'",
        used: 0,
        guest_waits: true,
    },
    Operation {
        name: "the uplink comes up",
        does: "ip link set pf0 up",
        reached: "accelnet vm show vm1 -o json | grep -q '\"path\": \"vf\"'",
        used: 1,
        guest_waits: false,
    },
];

/// Another level, on the same card.
const LEVELS: [Operation; 2] = [
    Operation {
        name: "raise a VM's level",
        does: "accelnet vm set vm1 -p Medium",
        reached: "accelnet vm show vm1 -o json | grep -q '\"level\": \"medium\"'",
        used: 1,
        guest_waits: false,
    },
    Operation {
        name: "lower a VM's level",
        does: "accelnet vm set vm1 -p Low",
        reached: "accelnet vm show vm1 -o json | grep -q '\"level\": \"low\"'",
        used: 1,
        guest_waits: false,
    },
];

/// The cluster's: VFs are made, and left alone.
const CLUSTER: [Operation; 2] = [
    Operation {
        name: "enable the cluster",
        does: "accelnet enable --intent compute --when now",
        reached: "[ $(ls -d /sys/class/net/pf0/device/virtfn*/driver | wc -l) = 7 ]",
        used: 0,
        guest_waits: false,
    },
    Operation {
        name: "disable the cluster",
        does: "accelnet disable",
        reached: "accelnet status -o json | grep -q '\"enabled\": null'",
        used: 0,
        guest_waits: false,
    },
];

/// The host starts: what is in the ledger is made again, before there is an agent.
const START: [Operation; 1] = [Operation {
    name: "the host starts",
    does: "systemctl reset-failed accelnet-boot; systemctl restart accelnet-boot",
    reached: "systemctl is-active accelnet-boot && [ $(ls -d /sys/class/net/pf0/device/virtfn*/driver | wc -l) = 7 ]",
    used: 0,
    guest_waits: false,
}];

/// There are no VFs, as at a start. The link goes with them for a moment.
const WITHOUT_VFS: &str = "echo 0 > /sys/class/net/pf0/device/sriov_numvfs\n\
    timeout 30 sh -c 'until grep -q 1 /sys/class/net/pf0/carrier; do sleep 0.1; done'";

/// The daemon of one host.
fn of_the_daemon(rig: &Rig) -> Points {
    let points = Points::of(rig, "node1", "accelnetd");
    rig.until(60, "accelnet status > /dev/null");
    points
}

/// VFs are made.
pub fn the_cluster(rig: &mut Rig) {
    let points = of_the_daemon(rig);
    // Without VFs again, as at the first time: they stay when a cluster is disabled.
    each_kind(rig, &points, &CLUSTER, WITHOUT_VFS, &HOWS);
    rig.json(&words("enable --intent compute --when now"));
}

/// VFs are made again when the host starts.
pub fn the_start_of_the_host(rig: &mut Rig) {
    // It is already, unless this is run by itself.
    rig.json(&words("enable --intent compute --when now"));
    rig.until(REACHED_S, CLUSTER[0].reached);
    let points = Points::of(rig, "node1", "accelnet-boot");
    rig.node("systemctl stop accelnetd");
    rig.node(WITHOUT_VFS);
    each_kind(rig, &points, &START, WITHOUT_VFS, &HOWS);
    done(rig, &START[0]);
    points.end(rig);
    rig.node("systemctl start accelnetd");
    rig.until(REACHED_S, "accelnet status > /dev/null");
    settled(rig, &CLUSTER[0]);
}

/// A VM goes to its VF and comes back.
pub fn a_vm(rig: &mut Rig) {
    let points = of_the_daemon(rig);
    each_kind(rig, &points, &TO_ITS_VF, "true", &HOWS);
}

/// The same because it is parked, or has no wire; and its level.
pub fn what_befalls_it(rig: &mut Rig) {
    let points = of_the_daemon(rig);
    // It is already, unless this is run by itself.
    rig.json(&words("enable --intent compute --when now"));
    rig.json(&words("vm enable vm1 -p Low"));
    rig.until_path("vm1", "vf", 60);
    for pair in [&UPLINK, &LEVELS, &PARKED] {
        each_kind(rig, &points, pair, "true", &HOWS);
    }
    rig.json(&words("vm disable vm1"));
}

/// The daemon dies while a VM goes to its VF, and while it comes back: for whoever has little time.
pub fn in_short(rig: &mut Rig) {
    let points = of_the_daemon(rig);
    let passed = TO_ITS_VF.each_ref().map(|way| rehearsed(rig, &points, way));
    for ((way, passed), what) in TO_ITS_VF.iter().zip(&passed).zip(["plug ", "unplug "]) {
        let at = passed.iter().position(|passed| passed.starts_with(what));
        let at = at.unwrap_or_else(|| panic!("no '{what}' in {passed:?}"));
        interrupted(rig, &points, way, at, How::Dies);
    }
    points.end(rig);
}

/// Goes all ways, one after the other, and is interrupted at the first and the last point of each kind, each way.
fn each_kind(rig: &mut Rig, points: &Points, ways: &[Operation], anew: &str, hows: &[How]) {
    let rehearsed = |way| kinds(&rehearsed(rig, points, way));
    let places: Vec<_> = ways.iter().map(rehearsed).collect();
    rig.node(anew);
    for how in hows {
        let rounds = places.iter().map(Vec::len).max().unwrap_or_default();
        for round in 0..rounds {
            for (way, places) in ways.iter().zip(&places) {
                match places.get(round) {
                    Some(at) => interrupted(rig, points, way, *at, *how),
                    None => done(rig, way),
                }
            }
            rig.node(anew);
        }
    }
}

/// The points that an operation passes.
fn rehearsed(rig: &mut Rig, points: &Points, operation: &Operation) -> Vec<String> {
    points.clear(rig);
    done(rig, operation);
    let passed = points.passed(rig);
    eprintln!(
        "           {} passes {} points: {passed:?}",
        operation.name,
        passed.len()
    );
    assert!(!passed.is_empty());
    passed
}

/// Done by whoever may be told to do it again: an answer that never came says nothing.
fn done(rig: &mut Rig, operation: &Operation) {
    let does = operation.does;
    rig.until(
        REACHED_S,
        &format!("{does} > /tmp/said 2>&1 || {{ cat /tmp/said >&2; false; }}"),
    );
    settled(rig, operation);
}

/// It is reached, and VFs that nobody has are clean.
fn settled(rig: &mut Rig, operation: &Operation) {
    rig.until(REACHED_S, operation.reached);
    let clean = format!(
        "[ $(ip link show pf0 | grep -c 'vf .*00:00:00:00:00:00.*spoof checking on.*trust off') = $(($(cat /sys/class/net/pf0/device/sriov_numvfs) - {})) ]",
        operation.used
    );
    rig.until(REACHED_S, &clean);
    let plugged = rig.node("virsh dumpxml vm1 | grep -c '<hostdev\\|type=.hostdev' || true");
    assert_eq!(
        plugged.trim(),
        operation.used.to_string(),
        "{}",
        operation.name
    );
}

/// Something happens at a point of an operation.
fn interrupted(rig: &mut Rig, points: &Points, operation: &Operation, at: usize, how: How) {
    points.arm(rig, at, how);
    let longer_before_s = longer_s(rig);
    let results = beside(rig, &[HOST], |rig| done(rig, operation));
    let happened = points.disarm(rig);
    eprintln!("           {}, point {at}: {happened}", operation.name);
    // How long a guest takes that has no processor is not ours.
    let mut longer_s = longer_s(rig) - longer_before_s;
    if operation.guest_waits {
        longer_s += gave_up_after_s(rig);
        if matches!(how, How::Dies) {
            longer_s += away_s(rig);
        }
    }
    results
        .iter()
        .for_each(|result| result.no_worse_by(MORE_S + longer_s));
    frames_pass(rig, "node1");
}

/// How long the daemon was away the last time, in seconds.
pub fn away_s(rig: &Rig) -> f64 {
    let away = rig.node(
        "journalctl -u accelnetd -o short-monotonic --no-pager | tr -d '[]' | awk '\
             /Main process exited/ { ended = $1 }\n\
             /systemd.*Started / { away = $1 - ended }\n\
             END { print away }'",
    );
    away.trim().parse().unwrap()
}

/// No hold queue has anything that waits.
pub fn frames_pass(rig: &Rig, node: &str) {
    let waits = rig.on(
        node,
        "for tap in $(ls /sys/class/net/br0/brif | grep -v pf0); do tc -s qdisc show dev $tap root; done | grep -c 'backlog [1-9]' || true",
    );
    assert_eq!(waits.trim(), "0");
}
