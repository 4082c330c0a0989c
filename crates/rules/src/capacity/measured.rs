//! How often a VM is refused that brute force would admit, in clusters made by a fixed rule.
//!
//! The bar: none for VMs with one NIC, at most 2 % of those that fit otherwise, and never the contrary.
//! One cluster after the other is filled until it is full, and a while longer; brute force says of each
//! VM what is right.

use accelnet_model::{Code, Performance};

use super::{
    Adapter, Capacity, LevelCosts, Node, Queues, Refusal, Reserve, Vm,
    brute::{self, Costs},
};

/// A deterministic sequence that looks like chance (xorshift64).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % u64::from(limit)) as u32
    }
}

/// What clusters are made of.
#[derive(Clone, Copy)]
struct Sort {
    nodes: u32,
    most_nics: u32,
    adapter: fn(&mut Sequence) -> (u32, Queues),
    /// Running VMs tell their adapters.
    known: bool,
    costs: Costs,
}

#[derive(Debug, Default)]
struct Count {
    fit: u32,
    refused_wrongly: u32,
    refused: u32,
    /// Refusals that do not prove what they say.
    unproved: u32,
}

fn fixed(sequence: &mut Sequence) -> (u32, Queues) {
    let pairs = 1 + sequence.below(5);
    (1 + sequence.below(4), Queues::PerVf { pairs })
}

fn bound_by_queues(sequence: &mut Sequence) -> (u32, Queues) {
    let total = 1 + sequence.below(10);
    (total + sequence.below(3), pool(total, sequence))
}

fn pool(total: u32, sequence: &mut Sequence) -> Queues {
    let most_per_vf = (sequence.below(4) == 0).then(|| 1 + sequence.below(4));
    Queues::Pool { total, most_per_vf }
}

/// VFs and queue pairs can both run out.
fn bound_by_both(sequence: &mut Sequence) -> (u32, Queues) {
    let vfs = 2 + sequence.below(4);
    let total = vfs + sequence.below(3 * vfs);
    (vfs, pool(total, sequence))
}

fn simple(sequence: &mut Sequence) -> (u32, Queues) {
    match sequence.below(2) {
        0 => fixed(sequence),
        _ => bound_by_queues(sequence),
    }
}

fn any(sequence: &mut Sequence) -> (u32, Queues) {
    match sequence.below(3) {
        0 => fixed(sequence),
        1 => bound_by_queues(sequence),
        _ => bound_by_both(sequence),
    }
}

const SIMPLE: Sort = Sort {
    nodes: 8,
    most_nics: 1,
    adapter: simple,
    known: true,
    costs: brute::DEFAULT,
};

fn nodes(sort: Sort, sequence: &mut Sequence) -> Vec<Node> {
    let count = 2 + sequence.below(sort.nodes - 1);
    let mut nodes = Vec::new();
    for number in 0..count {
        let adapters = (0..1 + sequence.below(2)).map(|port| {
            let (vfs, queues) = (sort.adapter)(sequence);
            let name = format!("pf{port}");
            Adapter { name, vfs, queues }
        });
        nodes.push(Node {
            name: format!("node{number}"),
            adapters: adapters.collect(),
            down: sequence.below(12) == 0,
        });
    }
    nodes
}

/// Fills one cluster, and counts.
fn fill(sort: Sort, sequence: &mut Sequence, count: &mut Count) {
    let nodes = nodes(sort, sequence);
    let down = nodes.iter().filter(|node| node.down).count();
    let tolerated = (1 + sequence.below(3)) as usize;
    let tolerated = tolerated.min(nodes.len() - 1);
    let costs = LevelCosts::new(sort.costs).unwrap();
    let reserve = Reserve::NodesDown(tolerated);
    let mut capacity = Capacity::with_costs(nodes.clone(), reserve, costs).unwrap();
    let mut present: Vec<Vm> = Vec::new();
    let mut unknown = 0;
    let mut since_full = 0;
    for number in 0.. {
        let level = Performance::ALL[sequence.below(3) as usize];
        let vm = Vm {
            name: format!("vm{number}"),
            level,
            nics: 1 + sequence.below(sort.most_nics),
            node: None,
            adapters: None,
        };
        present.push(vm.clone());
        let fits = down <= tolerated && brute::holds_down(&nodes, &present, tolerated, sort.costs);
        count.fit += u32::from(fits);
        match capacity.admit(vm.clone()) {
            Ok(()) => assert!(
                fits,
                "admitted what does not fit: {vm:?} {nodes:?} {present:?}"
            ),
            Err(refusal) => {
                count.refused += 1;
                count.refused_wrongly += u32::from(fits);
                let set = refusal.counterexample();
                if refusal.code() == Code::ClusterNotEnoughResources {
                    assert_eq!(set.len(), tolerated.max(down), "{refusal:?}");
                }
                let unproved = matches!(&refusal, Refusal::Short(short) if !short.proved);
                count.unproved += u32::from(unproved);
                if !set.is_empty() && !unproved && sort.known {
                    let lost = |node: usize| set.contains(&(node as u32));
                    let proved = down > tolerated
                        || !brute::fits_without_at(&nodes, &present, lost, sort.costs);
                    assert!(proved, "{refusal:?} {nodes:?} {present:?}");
                }
                present.pop();
                since_full += 1;
            }
        }
        if since_full == 4 || present.len() == 16 {
            return;
        }
        // Some are started, where there is room for them as they are.
        if let Some(last) = present.last().filter(|_| sequence.below(2) == 0) {
            let offers = capacity.offers(&last.clone());
            let able: Vec<_> = offers
                .into_iter()
                .filter(|offer| offer.keeps_reserve)
                .collect();
            if !able.is_empty() && last.node.is_none() {
                let offer = &able[sequence.below(able.len() as u32) as usize];
                let mut running = last.clone();
                running.node = Some(offer.node.clone());
                if sort.known || unknown == 3 {
                    running.adapters.clone_from(&offer.adapters);
                } else {
                    unknown += 1;
                }
                capacity.remove(&running.name).unwrap();
                capacity.put(running.clone()).unwrap();
                *present.last_mut().unwrap() = running;
            }
        }
    }
}

fn measure(sort: Sort, clusters: u32) -> Count {
    let mut count = Count::default();
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    for _ in 0..clusters {
        fill(sort, &mut sequence, &mut count);
    }
    // As the test's output, for who wants to know.
    println!("{count:?}");
    assert!(count.refused > clusters, "clusters are filled: {count:?}");
    count
}

#[test]
fn one_nic_on_fixed_or_queue_bound_adapters() {
    assert_eq!(measure(SIMPLE, 400).refused_wrongly, 0);
}

#[test]
fn one_nic_where_both_can_run_out() {
    let sort = Sort {
        adapter: any,
        ..SIMPLE
    };
    assert_eq!(measure(sort, 300).refused_wrongly, 0);
}

#[test]
fn one_nic_on_adapters_that_are_not_known() {
    let sort = Sort {
        known: false,
        ..SIMPLE
    };
    assert_eq!(measure(sort, 200).refused_wrongly, 0);
}

#[test]
fn one_nic_at_other_costs() {
    for costs in [[1, 1, 3], [1, 3, 3], [2, 4, 4]] {
        let sort = Sort {
            adapter: any,
            costs,
            ..SIMPLE
        };
        assert_eq!(measure(sort, 100).refused_wrongly, 0, "{costs:?}");
    }
}

#[test]
fn several_nics() {
    let sort = Sort {
        adapter: any,
        most_nics: 4,
        ..SIMPLE
    };
    let count = measure(sort, 300);
    assert!(count.refused_wrongly * 50 <= count.fit, "{count:?}");
}

#[test]
fn several_nics_on_adapters_that_are_not_known() {
    let sort = Sort {
        adapter: any,
        most_nics: 3,
        known: false,
        ..SIMPLE
    };
    let count = measure(sort, 150);
    assert!(count.refused_wrongly * 50 <= count.fit, "{count:?}");
}
