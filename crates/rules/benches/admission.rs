//! One admission decision at 10,000 nodes and 200,000 VMs (bar: p99 below 1 ms).
//!
//! `cargo bench -p accelnet-rules`. The cluster is made by a fixed rule, so that runs compare.

use std::time::{Duration, Instant};

use accelnet_model::Performance;
use accelnet_rules::capacity::{Adapter, Capacity, Node, Queues, Reserve, Vm};

const NODES: usize = 10_000;
const VMS: usize = 200_000;
const DECISIONS: usize = 20_000;

/// A deterministic sequence that looks like chance (xorshift64).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn nodes(queues: impl Fn(usize) -> (u32, Queues)) -> Vec<Node> {
    let node = |number: usize| Node {
        name: format!("node{number}"),
        adapters: (0..2)
            .map(|port| {
                let (vfs, queues) = queues(number);
                Adapter {
                    name: format!("pf{port}"),
                    vfs,
                    queues,
                }
            })
            .collect(),
        down: false,
    };
    (0..NODES).map(node).collect()
}

fn vm(number: usize, most_nics: usize, sequence: &mut Sequence) -> Vm {
    Vm {
        name: format!("vm{number}"),
        level: Performance::ALL[sequence.below(3)],
        nics: 1 + sequence.below(most_nics) as u32,
        node: None,
        adapters: None,
    }
}

fn run(what: &str, nodes: Vec<Node>, most_nics: usize) {
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    let mut capacity = Capacity::new(nodes, Reserve::Percentage(50)).expect("a valid cluster");
    let begin = Instant::now();
    for number in 0..VMS {
        let mut vm = vm(number, most_nics, &mut sequence);
        vm.node = Some(format!("node{}", number % NODES));
        let port = |_| format!("pf{}", number / NODES % 2);
        vm.adapters = Some((0..vm.nics).map(port).collect());
        capacity.put(vm).expect("a valid VM");
    }
    let loaded = begin.elapsed();
    let mut times: Vec<Duration> = Vec::with_capacity(DECISIONS);
    let (mut admitted, mut refused) = (0, 0);
    for number in VMS..VMS + DECISIONS {
        let vm = vm(number, most_nics, &mut sequence);
        let begin = Instant::now();
        let answer = capacity.admit(vm);
        times.push(begin.elapsed());
        match answer {
            Ok(()) => admitted += 1,
            Err(_) => refused += 1,
        }
        // Every other decision is followed by a VM that is switched off.
        if number % 2 == 0 {
            let other = format!("vm{}", sequence.below(VMS));
            if let Some(mut moved) = capacity.remove(&other) {
                moved.adapters = None;
                moved.node = None;
                capacity.put(moved).expect("a valid VM");
            }
        }
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!(
        "{what}: {VMS} VMs loaded in {loaded:.1?}; {admitted} admitted, {refused} refused; p50 {:.1?} \
         p99 {:.1?} p99.9 {:.1?} max {:.1?}",
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    let begin = Instant::now();
    let recovery = capacity
        .recover(&["node1".to_owned()])
        .expect("a known node");
    println!(
        "{what}: recovery plan for {} VMs ({} without room) in {:.1?}",
        recovery.placements.len(),
        recovery.without_room.len(),
        begin.elapsed()
    );
}

fn main() {
    let fixed = |_| (64, Queues::PerVf { pairs: 4 });
    run("one NIC, fixed", nodes(fixed), 1);
    let mixed = |number: usize| match number % 3 {
        0 => (64, Queues::PerVf { pairs: 4 }),
        1 => (64, Queues::PerVf { pairs: 2 }),
        _ => (256, Queues::Pool { total: 256 }),
    };
    run("one NIC, mixed", nodes(mixed), 1);
    run("up to 3 NICs, mixed", nodes(mixed), 3);
    let both = |_| (64, Queues::Pool { total: 160 });
    run("up to 3 NICs, pools", nodes(both), 3);
    let short = |_| (20, Queues::PerVf { pairs: 4 });
    run("one NIC, full", nodes(short), 1);
    let short = |_| (40, Queues::Pool { total: 120 });
    run("up to 2 NICs, pools, full", nodes(short), 2);
}
