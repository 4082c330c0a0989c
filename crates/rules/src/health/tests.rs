//! Scenes that rules' tests are made from, and what must hold of all rules whatever they see.

use std::{collections::BTreeMap, time::Duration};

use accelnet_model::{
    AdapterFacts, Code, FaultObject, Name, NicPath, NodeDesired, NodeStatus, PcieLink, Performance,
    Problem, Support, UnseenVm, VfUser, VmState, VmStatus, Waiver,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::fixture;

/// The fixture's node, on which acceleration is enabled and nothing is wrong.
pub struct Bench {
    pub status: NodeStatus,
    pub desired: NodeDesired,
    pub wishes: BTreeMap<Uuid, VmWish>,
    name: Name,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            status: fixture::report(&fixture::observed()),
            desired: fixture::desired(),
            wishes: BTreeMap::new(),
            name: "node1".parse().unwrap(),
        }
    }

    /// The node whose uplink is a bond.
    pub fn bonded() -> Self {
        let mut bench = Self {
            status: fixture::report(&fixture::bonded()),
            ..Self::new()
        };
        bench.desired.intents[0]
            .adapters
            .push("pf1".parse().unwrap());
        bench
    }

    pub fn adapter(&mut self) -> &mut AdapterFacts {
        &mut self.status.adapters[0].facts
    }

    pub fn wish(&mut self, vm: u8, level: Option<Performance>) {
        let uuid = fixture::vm(vm).uuid;
        let parked = false;
        self.wishes.insert(uuid, VmWish { level, parked });
    }

    pub fn path(&mut self, vm: u8, path: NicPath) {
        self.status.vms[usize::from(vm) - 1].nics[0].path = path;
    }

    pub fn found(&self) -> Found {
        of_node(&NodeScene {
            name: &self.name,
            status: &self.status,
            desired: &self.desired,
            wishes: &self.wishes,
            server_version: "1.0",
        })
    }

    pub fn codes(&self) -> Vec<Code> {
        wrong(&self.found()).map(|(key, _)| key.code).collect()
    }

    /// What is found, which is this alone.
    #[track_caller]
    pub fn only(&self, code: Code) -> Finding {
        assert_eq!(self.codes(), [code]);
        let found = self.found();
        let only = wrong(&found).next().unwrap();
        only.1.clone()
    }
}

fn wrong(found: &Found) -> impl Iterator<Item = (&Key, &Finding)> {
    found
        .verdicts
        .iter()
        .filter_map(|(key, verdict)| match verdict {
            Verdict::Wrong(finding) => Some((key, finding)),
            Verdict::Counted(..) | Verdict::NotSeen => None,
        })
}

/// Two nodes with which nothing is wrong.
pub struct Cluster {
    pub now: Timestamp,
    pub statuses: [NodeStatus; 2],
    /// Both report.
    pub reports: bool,
    pub silent: Option<Problem>,
    pub clock_ahead: Option<SignedDuration>,
    pub certified_until: Option<Timestamp>,
    pub twice: Vec<(Uuid, String, Vec<Name>)>,
    pub perhaps_twice: Vec<(Uuid, String)>,
    pub nowhere: Vec<(Uuid, String)>,
    pub perhaps_nowhere: Vec<(Uuid, String)>,
    pub parked: Vec<(FaultObject, Timestamp, String)>,
    pub waivers: Vec<(FaultObject, Vec<Waiver>)>,
    pub switches: BTreeMap<Uuid, Switches>,
    pub shortage: Option<Problem>,
    pub fragments: Vec<crate::capacity::Fragments>,
    /// What is wanted of all nodes.
    pub desired: NodeDesired,
    pub tokens: Vec<TokenEnd>,
    pub store_took: Duration,
    pub took_over: u32,
    pub silent_servers: Vec<(String, String)>,
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            statuses: [
                fixture::report(&fixture::observed()),
                fixture::report(&fixture::observed()),
            ],
            reports: true,
            silent: None,
            clock_ahead: None,
            certified_until: None,
            twice: Vec::new(),
            perhaps_twice: Vec::new(),
            nowhere: Vec::new(),
            perhaps_nowhere: Vec::new(),
            parked: Vec::new(),
            waivers: Vec::new(),
            switches: BTreeMap::new(),
            shortage: None,
            fragments: Vec::new(),
            desired: fixture::desired(),
            tokens: Vec::new(),
            store_took: Duration::ZERO,
            took_over: 1,
            silent_servers: Vec::new(),
        }
    }

    /// All is of the first node; the second only reports.
    pub fn found(&self) -> Found {
        let names: [Name; 2] = ["node1".parse().unwrap(), "node2".parse().unwrap()];
        let speaks = self.reports && self.silent.is_none();
        let nodes = [
            NodeSeen {
                name: &names[0],
                current: speaks.then_some(&self.statuses[0]),
                silent: self.silent.as_ref(),
                clock_ahead: self.clock_ahead,
                certified_until: self.certified_until,
            },
            NodeSeen {
                name: &names[1],
                current: Some(&self.statuses[1]),
                silent: None,
                clock_ahead: None,
                certified_until: None,
            },
        ];
        let waivers: Vec<(FaultObject, &[Waiver])> = self
            .waivers
            .iter()
            .map(|(vm, waivers)| (vm.clone(), waivers.as_slice()))
            .collect();
        of_cluster(&ClusterScene {
            now: self.now,
            nodes: &nodes,
            desired: &self.desired,
            twice: &self.twice,
            perhaps_twice: &self.perhaps_twice,
            nowhere: &self.nowhere,
            perhaps_nowhere: &self.perhaps_nowhere,
            parked: &self.parked,
            waivers: &waivers,
            switches: &self.switches,
            shortage: self.shortage.as_ref(),
            fragments: &self.fragments,
            tokens: &self.tokens,
            store_took: self.store_took,
            took_over: self.took_over,
            silent_servers: &self.silent_servers,
        })
    }

    pub fn codes(&self) -> Vec<Code> {
        wrong(&self.found()).map(|(key, _)| key.code).collect()
    }
}

#[test]
fn of_a_node_and_a_cluster_in_order_nothing_is_told() {
    assert_eq!(Bench::new().codes(), []);
    assert_eq!(Bench::bonded().codes(), []);
    assert_eq!(Cluster::new().codes(), []);
}

/// Something that befalls a node's report.
#[derive(Debug, Clone)]
enum Befalls {
    Carrier(bool),
    Up(bool),
    Losses(Option<u64>),
    Errors(Option<u64>),
    Pcie(u32, u32),
    Speed(Option<u32>),
    Repairs(u64),
    Vf(usize, u8),
    Path(u8, u8),
    Idle(bool),
    Drops(u64, u64),
    Wish(u8, Option<u8>, bool),
    Runs(u8, u8),
    Hides(u8),
    Shows,
    Blind(bool),
    Bridge,
    NoBridge,
    Reports(usize),
    Quiet,
    Generation(u64),
    Enabled(bool),
    Version(Option<String>),
    NoAdapters,
    NoVms,
}

fn befalls() -> impl Strategy<Value = Befalls> {
    use Befalls::*;
    let count = || proptest::option::of(0..20_u64);
    prop_oneof![
        any::<bool>().prop_map(Carrier),
        any::<bool>().prop_map(Up),
        count().prop_map(Losses),
        count().prop_map(Errors),
        (0..40_000_u32, 0..40_u32).prop_map(|(speed, lanes)| Pcie(speed, lanes)),
        proptest::option::of(any::<u32>()).prop_map(Speed),
        (0..9_u64).prop_map(Repairs),
        (0..7_usize, 0..8_u8).prop_map(|(vf, how)| Vf(vf, how)),
        (1..3_u8, 0..3_u8).prop_map(|(vm, path)| Path(vm, path)),
        any::<bool>().prop_map(Idle),
        (0..20_u64, 0..20_u64).prop_map(|(adapter, vf)| Drops(adapter, vf)),
        (1..3_u8, proptest::option::of(0..3_u8), any::<bool>())
            .prop_map(|(vm, level, parked)| Wish(vm, level, parked)),
        (1..3_u8, 0..3_u8).prop_map(|(vm, state)| Runs(vm, state)),
        (1..4_u8).prop_map(Hides),
        Just(Shows),
        any::<bool>().prop_map(Blind),
        Just(Bridge),
        Just(NoBridge),
        (0..Code::ALL.len()).prop_map(Reports),
        Just(Quiet),
        (0..4_u64).prop_map(Generation),
        any::<bool>().prop_map(Enabled),
        proptest::option::of("[0-9.]{0,4}").prop_map(Version),
        Just(NoAdapters),
        Just(NoVms),
    ]
}

impl Bench {
    fn befalls(&mut self, what: Befalls) {
        let support = |count: Option<u64>| count.map_or(Support::Unknown, Support::Supported);
        let vm = |status: &mut NodeStatus, vm: u8, change: &mut dyn FnMut(&mut VmStatus)| {
            if let Some(vm) = status.vms.get_mut(usize::from(vm) - 1) {
                change(vm);
            }
        };
        if self.status.adapters.is_empty() {
            self.status.adapters = fixture::report(&fixture::observed()).adapters;
        }
        match what {
            Befalls::Carrier(carrier) => self.adapter().carrier = carrier,
            Befalls::Up(up) => self.adapter().up = up,
            Befalls::Losses(losses) => self.adapter().link_losses = support(losses),
            Befalls::Errors(errors) => self.adapter().pcie_errors = support(errors),
            Befalls::Pcie(speed_mts, lanes) => {
                self.adapter().pcie = Support::Supported(PcieLink {
                    speed_mts,
                    lanes,
                    best_speed_mts: 16_000,
                    best_lanes: 16,
                });
            }
            Befalls::Speed(speed) => self.adapter().speed_mbps = speed,
            Befalls::Repairs(repairs) => self.status.repairs = repairs,
            Befalls::Vf(number, how) => {
                let vf = &mut self.adapter().vfs[number];
                let command = if how == 1 { "qemu-system-x86" } else { "dpdk" };
                (vf.user, vf.vm) = match how {
                    0 => (VfUser::Nobody, None),
                    1 | 2 => {
                        let command = command.to_owned();
                        (VfUser::Process { pid: 1, command }, None)
                    }
                    3 => (VfUser::Nobody, Some(Uuid::from_u128(1))),
                    4 => (VfUser::Reserved, None),
                    _ => (
                        VfUser::HostDriver {
                            driver: "igbvf".into(),
                        },
                        None,
                    ),
                };
                vf.attributes.vlan = u16::from(how);
            }
            Befalls::Path(number, path) => vm(&mut self.status, number, &mut |vm| {
                let paths = [NicPath::Vf, NicPath::Synthetic, NicPath::None];
                vm.nics[0].path = paths[usize::from(path)];
            }),
            Befalls::Idle(idle) => {
                let idle = idle.then(|| accelnet_model::IdleVf {
                    vm: fixture::vm(1).uuid,
                    mac: fixture::vm(1).nics[0].mac,
                    vf: fixture::adapter(1).vfs[0].pci,
                });
                self.status.idle_vfs = idle.into_iter().collect();
            }
            Befalls::Drops(no_buffer, dropped) => {
                self.status.adapter_drops = vec![accelnet_model::AdapterDrops {
                    adapter: fixture::adapter(0).ifname,
                    no_buffer,
                    misused: no_buffer,
                }];
                self.status.vf_drops = vec![accelnet_model::VfDrops {
                    vm: fixture::vm(1).uuid,
                    mac: fixture::vm(1).nics[0].mac,
                    vf: fixture::adapter(1).vfs[0].pci,
                    to_guest: dropped,
                    from_guest: dropped,
                    misused: dropped,
                }];
            }
            Befalls::Wish(number, level, parked) => {
                let levels = [Performance::Low, Performance::Medium, Performance::High];
                let level = level.map(|level| levels[usize::from(level)]);
                let uuid = fixture::vm(number).uuid;
                self.wishes.insert(uuid, VmWish { level, parked });
            }
            Befalls::Runs(number, state) => vm(&mut self.status, number, &mut |vm| {
                let states = [VmState::Running, VmState::Paused, VmState::Off];
                vm.facts.state = states[usize::from(state)];
            }),
            Befalls::Hides(number) => self.status.unseen_vms.push(UnseenVm {
                uuid: fixture::vm(number).uuid,
                name: format!("vm{number}"),
                state: VmState::Running,
                job: None,
                because: String::new(),
            }),
            Befalls::Shows => self.status.unseen_vms.clear(),
            Befalls::Blind(blind) => {
                self.status.node.libvirt = (!blind).then_some((11, 0, 0));
            }
            Befalls::Bridge => self.status.bridges = fixture::observed().bridges,
            Befalls::NoBridge => self.status.bridges.clear(),
            Befalls::Reports(code) => {
                let problem = Problem::new(Code::ALL[code], "So.");
                self.status.problems.push(problem.clone());
                vm(&mut self.status, 1, &mut |vm| {
                    vm.problems.push(problem.clone());
                });
            }
            Befalls::Quiet => {
                self.status.problems.clear();
                vm(&mut self.status, 1, &mut |vm| vm.problems.clear());
            }
            Befalls::Generation(generation) => self.status.generation = generation,
            Befalls::Enabled(enabled) => {
                self.desired.enabled = fixture::desired().enabled.filter(|_| enabled);
            }
            Befalls::Version(version) => self.status.agent_version = version,
            Befalls::NoAdapters => self.status.adapters.clear(),
            Befalls::NoVms => self.status.vms.clear(),
        }
    }
}

proptest! {
    /// Whatever befalls a node, no rule gives up, all that is found has a detection, and no fault opens before its
    /// window, closes before its own, or is open twice.
    #[test]
    fn no_sequence_of_reports_makes_a_fault_flap(
        steps in proptest::collection::vec((befalls(), 0..200_u64, any::<bool>()), 1..120),
        windows in (0..90_u64, 1..90_u64, 1..4_u64),
    ) {
        let (opens, closes, times) = windows;
        let tuned = all().map(|detection| match detection.window {
            Window::Lasts { .. } => format!("{}={opens}/{closes}", detection.code),
            Window::Counts { .. } => format!("{}={times}/{closes}", detection.code),
        });
        let tuning: Tuning = tuned.collect::<Vec<_>>().join(",").parse().unwrap();
        let mut bench = Bench::new();
        let mut state = State::default();
        let mut up = Duration::ZERO;
        let silent = [bench.name.clone()].into();
        // When a fault opened or closed last, by its id.
        let mut open: BTreeMap<String, Duration> = BTreeMap::new();
        let mut closed: BTreeMap<String, Duration> = BTreeMap::new();
        let mut first_wrong: BTreeMap<Key, Duration> = BTreeMap::new();
        for (what, seconds, speaks) in steps {
            bench.befalls(what);
            up += Duration::from_secs(seconds);
            let now = Moment {
                at: Timestamp::from_second(1_800_000_000 + up.as_secs() as i64).unwrap(),
                up,
            };
            let found = if speaks { bench.found() } else { Found::default() };
            for key in found.verdicts.keys() {
                prop_assert!(of(key.code).is_some(), "{}", key.code);
            }
            let nobody = Default::default();
            let sight = Sight {
                silent: if speaks { &nobody } else { &silent },
                unseen: &found.unseen,
                vm_elsewhere: &|_| false,
            };
            for (key, verdict) in &found.verdicts {
                match verdict {
                    Verdict::Wrong(_) => drop(first_wrong.entry(key.clone()).or_insert(up)),
                    Verdict::Counted(..) | Verdict::NotSeen => {}
                }
            }
            if speaks {
                first_wrong.retain(|key, _| {
                    let seen = !found.unseen.contains(&(key.kind.clone(), key.id.clone()));
                    !seen || found.verdicts.contains_key(key)
                });
            }
            let stepped = state.step(&found.verdicts, &sight, now, &tuning);
            for change in &stepped.changes {
                match change {
                    Changed::Opened(fault) => {
                        prop_assert_eq!(open.insert(fault.id.clone(), up), None);
                        let key = Key::of(fault.code, &fault.object);
                        if let Some(since) = first_wrong.get(&key) {
                            prop_assert!(up - *since >= Duration::from_secs(opens));
                        }
                        if let Some(gone) = closed.get(&fault.id) {
                            let counted = matches!(of(fault.code).unwrap().window, Window::Counts { .. });
                            prop_assert!(counted || up - *gone >= Duration::from_secs(opens));
                        }
                    }
                    Changed::Updated(fault) => prop_assert!(open.contains_key(&fault.id)),
                    Changed::Closed(fault) => {
                        let since = open.remove(&fault.id);
                        prop_assert!(since.is_some_and(|since| up - since >= Duration::from_secs(closes)));
                        closed.insert(fault.id.clone(), up);
                    }
                }
            }
            let shown: Vec<String> = state.open().into_iter().map(|fault| fault.id).collect();
            prop_assert_eq!(shown.len(), open.len());
            prop_assert!(shown.iter().all(|id| open.contains_key(id)));
            if !speaks {
                prop_assert!(stepped.changes.is_empty(), "{:?}", stepped.changes);
            }
        }
    }
}
