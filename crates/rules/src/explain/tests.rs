//! The chain of a VM in each of its states, and that it leaves nothing out.

use accelnet_model::{Code, NicStatus, PolicyFinding, PolicyKind};
use proptest::prelude::*;

use super::*;
use crate::{Observed, fixture};

/// The fixture's node with its first VM, and what is wished for it.
struct Bench {
    observed: Observed,
    idle: Vec<accelnet_model::IdleVf>,
    problems: Vec<Problem>,
    staged: Vec<String>,
    path: NicPath,
    level: Option<Performance>,
    parked: Option<String>,
    pending: bool,
    policy_seen: bool,
    desired: NodeDesired,
    name: Name,
}

impl Bench {
    fn new() -> Self {
        Self {
            observed: fixture::observed(),
            idle: Vec::new(),
            problems: Vec::new(),
            staged: Vec::new(),
            path: NicPath::Synthetic,
            level: Some(Performance::Low),
            parked: None,
            pending: false,
            policy_seen: true,
            desired: fixture::desired(),
            name: "node1".parse().unwrap(),
        }
    }

    /// On its VF.
    fn on_vf() -> Self {
        let mut bench = Self::new();
        bench.path = NicPath::Vf;
        fixture::put_on_vf(&mut bench.observed, 0, 0);
        bench
    }

    fn explained(&self) -> VmExplanation {
        let facts = self.observed.vms[0].clone();
        let nic = &facts.nics[0];
        let on_host = self.observed.policy.get(&(facts.uuid, nic.mac));
        let mut vm = VmStatus {
            level: self.level,
            policy: on_host.cloned().unwrap_or_default(),
            policy_seen: self.policy_seen,
            problems: self.problems.clone(),
            staged: self.staged.clone(),
            ..VmStatus::of(facts.clone())
        };
        vm.nics.truncate(1);
        vm.nics[0] = NicStatus {
            path: self.path,
            managed: true,
            level: self.level,
            ..vm.nics[0].clone()
        };
        let status = NodeStatus {
            vms: vec![vm],
            idle_vfs: self.idle.clone(),
            ..fixture::report(&self.observed)
        };
        self.at(At::On {
            node: &self.name,
            status: &status,
            vm: &status.vms[0],
            pending: self.pending,
        })
    }

    fn at(&self, at: At<'_>) -> VmExplanation {
        explain(&Scene {
            name: "vm1",
            uuid: self.observed.vms[0].uuid,
            desired: &self.desired,
            level: self.level,
            parked: self.parked.clone(),
            waived: &[],
            shortage: None,
            at,
            counted: Err("nobody was asked"),
        })
    }

    /// The only link in that state, and its words.
    #[track_caller]
    fn only(&self, state: LinkState) -> (String, String) {
        let explained = self.explained();
        let mut links = of_state(&explained, state);
        assert_eq!(links.len(), 1, "{explained:#?}");
        links.remove(0)
    }
}

fn of_state(explained: &VmExplanation, state: LinkState) -> Vec<(String, String)> {
    let nics = explained.nics.iter().flat_map(|nic| &nic.links);
    let all = explained.links.iter().chain(nics);
    all.filter(|link| link.state == state)
        .map(|link| (link.link.clone(), link.text.clone()))
        .collect()
}

const CHAIN: [&str; 10] = [
    "switch",
    "policy",
    "adapter",
    "vf",
    "iommu_group",
    "vfio",
    "device",
    "guest",
    "change",
    "traffic",
];

#[test]
fn of_a_vm_on_its_vf_every_link_holds() {
    let explained = Bench::on_vf().explained();
    assert_eq!(explained.summary, "'vm1' goes by its VF, as wanted.");
    let links: Vec<&str> = explained.nics[0]
        .links
        .iter()
        .map(|link| link.link.as_str())
        .collect();
    assert_eq!(links, CHAIN);
    assert_eq!(
        of_state(&explained, LinkState::Holds).len(),
        3 + CHAIN.len()
    );
}

#[test]
fn a_guest_that_sends_by_its_tap_all_the_same_breaks_the_traffic() {
    let bench = Bench::on_vf();
    let idle = accelnet_model::IdleVf {
        vm: bench.observed.vms[0].uuid,
        mac: bench.observed.vms[0].nics[0].mac,
        vf: bench.observed.adapters[0].vfs[0].pci,
    };
    let explained = Bench {
        idle: vec![idle],
        ..bench
    }
    .explained();
    let traffic = explained.nics[0].links.last().unwrap();
    assert_eq!(traffic.state, LinkState::Broken);
    assert_eq!(traffic.code, Some(Code::VfIdle));
    let evidence = traffic.evidence.as_deref().unwrap();
    assert!(evidence.contains("nobody was asked"), "{evidence}");
}

#[test]
fn each_fault_breaks_its_own_link() {
    let mut unbound = Bench::on_vf();
    unbound.observed.adapters[0].vfs[0].driver = Some("igbvf".into());
    let mut another = Bench::on_vf();
    another.observed.vms[0].pid = Some(7);
    another.observed.vms[0].hostdevs.clear();
    another.observed.adapters[0].vfs.truncate(1);
    let mut shared = Bench::on_vf();
    shared.observed.adapters[0].vfs[0].group_peers = vec!["0000:01:10.2".parse().unwrap()];
    let mut idle = Bench::on_vf();
    idle.observed.adapters[0].vfs[0].active_vectors = 0;
    let mut cut = Bench::on_vf();
    cut.observed.adapters[0].carrier = false;
    let mut gone = Bench::on_vf();
    gone.observed.bridges.clear();
    let mut full = Bench::new();
    full.observed.adapters[0].vfs.clear();
    let mut ruled = Bench::on_vf();
    let nic = ruled.observed.vms[0].nics[0].mac;
    let rule = PolicyFinding {
        kind: PolicyKind::Firewall,
        place: "bridge".into(),
        rule: "drop".into(),
        name: Some("nft:filter".into()),
    };
    let id = (ruled.observed.vms[0].uuid, nic);
    ruled.observed.policy.insert(id, vec![rule]);
    for (bench, at, words) in [
        (unbound, "vfio", "bound to igbvf"),
        (another, "vf", "0 of 1 are free"),
        (shared, "iommu_group", "0000:01:10.2 in it too"),
        (idle, "guest", "No driver in the guest"),
        (cut, "adapter", "has no link"),
        (gone, "switch", "br0 is not there"),
        (full, "vf", "0 of 0 are free"),
        (ruled, "policy", "[nft:filter]"),
    ] {
        let explained = bench.explained();
        let broken = of_state(&explained, LinkState::Broken);
        let (first, text) = broken
            .first()
            .unwrap_or_else(|| panic!("{at}: {explained:#?}"));
        assert_eq!(first, at, "{explained:#?}");
        assert!(text.contains(words), "{at}: {text}");
        assert!(
            explained.summary.contains(&format!("Broken at {at}: ")),
            "{}",
            explained.summary
        );
    }
}

#[test]
fn what_its_node_tells_of_stands_where_it_belongs() {
    let mut bench = Bench::on_vf();
    let problem = Problem::new(Code::GuestWithoutFailover, "No driver took the VF.");
    bench.problems.push(problem);
    let explained = bench.explained();
    let mut links = explained.nics[0].links.iter();
    let guest = links.find(|link| link.link == "guest").unwrap();
    assert_eq!(guest.code, Some(Code::GuestWithoutFailover));
    assert_eq!(
        guest.cure.as_deref(),
        Some(Code::GuestWithoutFailover.cure())
    );
    assert_eq!(bench.only(LinkState::Broken).0, "guest");
}

#[test]
fn what_comes_by_itself_is_waited_for() {
    let mut parked = Bench::new();
    parked.parked = Some("parked until it is unparked".into());
    let explained = parked.explained();
    assert_eq!(of_state(&explained, LinkState::Broken), []);
    assert_eq!(explained.summary, "'vm1' goes by the switch, as wanted.");
    assert_eq!(parked.only(LinkState::Waits).0, "wish");

    let mut off = Bench::new();
    off.observed.vms[0].state = VmState::Off;
    off.path = NicPath::None;
    off.problems = vec![Problem::new(Code::VmNotRunning, "VM 'vm1' is off.")];
    let explained = off.explained();
    assert_eq!(of_state(&explained, LinkState::Broken), []);
    assert_eq!(explained.summary, "'vm1' is off.");

    let mut pending = Bench::new();
    pending.pending = true;
    let explained = pending.explained();
    assert_eq!(of_state(&explained, LinkState::Broken), []);
    assert!(
        explained.summary.contains("Waits at node"),
        "{}",
        explained.summary
    );

    let mut staged = Bench::new();
    let problem = Problem::new(Code::VmNeedsColdStart, "It offers no standby.");
    staged.problems = vec![problem];
    assert_eq!(staged.only(LinkState::Broken).0, "device");
    staged.staged = vec!["a standby".into()];
    assert_eq!(of_state(&staged.explained(), LinkState::Broken), []);
}

#[test]
fn what_is_not_wanted_is_not_missed() {
    let mut bench = Bench::new();
    bench.level = None;
    let explained = bench.explained();
    assert_eq!(explained.summary, "'vm1' goes by the switch, as wanted.");
    for state in [LinkState::Broken, LinkState::Waits] {
        assert_eq!(of_state(&explained, state), []);
    }
    bench.desired.enabled = None;
    let explained = bench.explained();
    assert!(explained.nics.is_empty());
    assert!(
        explained.summary.contains("goes the way it has"),
        "{}",
        explained.summary
    );
}

#[test]
fn what_could_not_be_looked_at_is_said_so() {
    let bench = Bench::new();
    let problem = Problem::new(Code::AgentUnreachable, "Node 'node1' is silent.");
    let explained = bench.at(At::NotSeen {
        node: &bench.name,
        because: problem.clone(),
    });
    assert_eq!(of_state(&explained, LinkState::NotSeen)[0].0, "node");
    assert!(
        explained
            .summary
            .contains("cannot be looked at: Node 'node1' is silent.")
    );
    let explained = bench.at(At::Nowhere(problem));
    assert_eq!(of_state(&explained, LinkState::Broken)[0].0, "node");
    let mut bench = Bench::on_vf();
    bench.policy_seen = false;
    assert_eq!(bench.only(LinkState::NotSeen).0, "policy");
}

proptest! {
    /// Whatever a node tells of, it is in the chain, in the catalogue's words, and what is broken is in the summary.
    #[test]
    fn no_problem_is_left_out(code in proptest::sample::select(Code::ALL), on_vf in any::<bool>()) {
        let mut bench = if on_vf { Bench::on_vf() } else { Bench::new() };
        bench.problems = vec![Problem::new(code, "What was found.")];
        let explained = bench.explained();
        let links = &explained.nics[0].links;
        let told = links.iter().filter(|link| link.code == Some(code));
        prop_assert_eq!(told.count(), 1);
        let broken = of_state(&explained, LinkState::Broken);
        if on_vf && code != Code::VmNotRunning {
            prop_assert_eq!(broken.len(), 1);
            prop_assert!(explained.summary.contains("What was found."));
        }
        let names: Vec<&str> = links.iter().map(|link| link.link.as_str()).collect();
        prop_assert_eq!(names, CHAIN);
    }
}
