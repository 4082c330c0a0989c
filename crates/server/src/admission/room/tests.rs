//! Whatever changed of wish and reports, what is kept is what would be made anew.

use accelnet_model::{ClusterEnable, Code, NodeStatus, Performance, VmState, WhenToCreateVfs};
use accelnet_rules::fixture;
use futures::FutureExt;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    Nodes,
    audit::{Actor, Asked, Entry},
    fake::FakeNodes,
    reports::Reports,
    state::{OnIntent, Wanted, Write},
};

const NODES: [&str; 3] = ["node1", "node2", "node3"];
const VMS: u8 = 5;

/// One thing that changes.
#[derive(Debug, Clone)]
enum Step {
    /// A VM is wanted at a level, or not accelerated.
    Wanted(u8, Option<Performance>),
    Forgotten(u8),
    /// A VM is on a node in a state, on a VF or not, and nowhere else.
    At(u8, usize, VmState, Option<usize>),
    Nowhere(u8),
    /// A node has so many VFs.
    Vfs(usize, u32),
    /// A node falls silent.
    Silent(usize),
    /// It reports.
    Reports(usize),
    /// This many nodes may be down.
    Reserve(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let vm = || 1..=VMS;
    let node = || 0..NODES.len();
    let level = prop::option::weighted(0.8, prop::sample::select(Performance::ALL.to_vec()));
    let state = prop::sample::select(vec![VmState::Running, VmState::Paused, VmState::Off]);
    prop_oneof![
        4 => (vm(), level).prop_map(|(vm, level)| Step::Wanted(vm, level)),
        1 => vm().prop_map(Step::Forgotten),
        6 => (vm(), node(), state, prop::option::of(0..4_usize))
            .prop_map(|(vm, node, state, vf)| Step::At(vm, node, state, vf)),
        1 => vm().prop_map(Step::Nowhere),
        2 => (node(), 0..5_u32).prop_map(|(node, vfs)| Step::Vfs(node, vfs)),
        1 => node().prop_map(Step::Silent),
        2 => node().prop_map(Step::Reports),
        1 => (0..3_usize).prop_map(Step::Reserve),
    ]
}

struct World {
    nodes: Arc<FakeNodes>,
    reports: Reports,
    wish: Wish,
    reserve: Reserve,
}

impl World {
    fn new() -> Self {
        let mut empty = fixture::observed();
        empty.vms.clear();
        empty.adapters[0].vfs.truncate(4);
        let nodes = FakeNodes::new(NODES.map(|node| (node, empty.clone())));
        let enabled = ClusterEnable {
            intent: fixture::intent().name,
            node_reserve_percentage: 50,
            nodes_down: None,
            when: WhenToCreateVfs::default(),
        };
        let wish = Wish::nothing();
        let writes = [
            Write::Intent(fixture::intent()),
            Write::Cluster(Some(enabled)),
        ];
        Self {
            nodes,
            reports: Reports::default(),
            wish: wish.draft(&writes, &entry()),
            reserve: Reserve::NodesDown(1),
        }
    }

    fn write(&mut self, write: Write) {
        self.wish = self.wish.draft(&[write], &entry());
    }

    fn report(&self, node: &str) {
        let name: Name = node.parse().unwrap();
        let status: NodeStatus = self.nodes.refresh(&name).now_or_never().unwrap().unwrap();
        self.reports.put(name, status);
    }

    fn leaves(&self, vm: u8) {
        for node in NODES {
            let uuid = Uuid::from_u128(vm.into());
            let there = self.nodes.seen(node).vms.iter().any(|vm| vm.uuid == uuid);
            self.nodes.sees(node, |seen| {
                seen.vms.retain(|vm| vm.uuid != uuid);
                for vf in &mut seen.adapters[0].vfs {
                    vf.vm = vf.vm.filter(|vm| *vm != uuid);
                }
            });
            if there {
                self.report(node);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Wanted(vm, level) => {
                let wanted = OnIntent {
                    level,
                    ..OnIntent::default()
                };
                self.write(Write::Vm {
                    uuid: Uuid::from_u128(vm.into()),
                    wanted: Wanted {
                        intents: [(fixture::intent().name, wanted)].into(),
                        park: None,
                        name: format!("vm{vm}"),
                    },
                });
            }
            Step::Forgotten(vm) => self.write(Write::NoVm(Uuid::from_u128(vm.into()))),
            Step::At(vm, node, state, vf) => {
                self.leaves(vm);
                self.nodes.sees(NODES[node], |seen| {
                    let mut facts = fixture::vm(vm);
                    facts.state = state;
                    seen.vms.push(facts);
                    let number = seen.vms.len() - 1;
                    let free = |vf: &usize| {
                        seen.adapters[0]
                            .vfs
                            .get(*vf)
                            .is_some_and(|vf| vf.vm.is_none())
                    };
                    if let Some(vf) = vf.filter(free) {
                        fixture::put_on_vf(seen, number, vf);
                        seen.adapters[0].vfs[vf].vm = Some(Uuid::from_u128(vm.into()));
                    }
                });
                self.report(NODES[node]);
            }
            Step::Nowhere(vm) => self.leaves(vm),
            Step::Vfs(node, vfs) => {
                self.nodes.sees(NODES[node], |seen| {
                    let all = fixture::adapter(4).vfs;
                    let here = &mut seen.adapters[0].vfs;
                    here.truncate(vfs as usize);
                    here.extend(
                        all.into_iter()
                            .skip(here.len())
                            .take((vfs as usize).saturating_sub(here.len())),
                    );
                });
                self.report(NODES[node]);
            }
            Step::Silent(node) => {
                let problem = Problem::new(Code::AgentUnreachable, "It is silent.");
                self.reports.silence(&NODES[node].parse().unwrap(), problem);
            }
            Step::Reports(node) => self.report(NODES[node]),
            Step::Reserve(count) => self.reserve = Reserve::NodesDown(count),
        }
    }
}

fn entry() -> Entry {
    let asked = Asked {
        by: Actor::default(),
        operation: "test",
        subject: String::new(),
        dry_run: false,
    };
    Entry::new(&asked, Timestamp::UNIX_EPOCH)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_kept_follows_what_changed(steps in prop::collection::vec((any_step(), any::<bool>()), 1..40)) {
        let mut world = World::new();
        let intent = fixture::intent();
        let (room, mut before) = (Room::default(), None);
        for (step, asked) in steps {
            world.step(&step);
            if !asked {
                continue;
            }
            let seen = world.reports.of(world.nodes.names());
            let now = (world.wish.clone(), seen, world.reserve);
            // Of two who ask at the same time one may know what the other does not know yet.
            for (wish, seen, reserve) in [Some(&now), before.as_ref(), Some(&now)].into_iter().flatten() {
                let anew = made(wish, seen, &intent, *reserve).unwrap();
                let kept = room.ask(wish, seen, (&intent, *reserve), |capacity| {
                    let level = Performance::High;
                    let new = Uuid::from_u128(99);
                    // Of what a question leaves behind nothing stays.
                    drop(capacity.would_admit(&of_vm(wish, seen, &intent, new, level)));
                    (capacity.figures(), capacity.holds(), capacity.fits_more_of_each())
                });
                let expected = (anew.figures(), anew.holds(), anew.fits_more_of_each());
                prop_assert_eq!(kept.unwrap(), expected);
            }
            before = Some(now);
        }
    }
}
