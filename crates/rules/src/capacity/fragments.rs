//! Room that is there in pieces only: what adapters have left adds up to another NIC of a level, and no adapter has all
//! of it. The reserve is left aside: it is room that somebody keeps.

use accelnet_model::Performance;

use super::{Capacity, LEVELS, levels::PerLevel, position, supply::Rest};

/// A level that no adapter has room for, and what is left in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    /// The level.
    pub level: Performance,
    /// Queue pairs that a NIC of it needs.
    pub needed_queue_pairs: u64,
    /// VFs that adapters for this level have left.
    pub vfs: u64,
    /// Queue pairs that they have left.
    pub queue_pairs: u64,
}

impl Capacity {
    /// Levels for which what is left on nodes that are up would be enough in sum, and is on no adapter; the lowest first.
    pub fn fragments(&self) -> Vec<Fragments> {
        let costs = self.costs;
        let mut left: PerLevel<(u64, u64)> = [(0, 0); LEVELS];
        let mut has_place = [false; LEVELS];
        for node in self.nodes.iter().filter(|node| !node.down) {
            for rest in node.assumed(costs).rests {
                for level in 0..LEVELS {
                    has_place[level] |= rest.places(level, costs) > 0;
                    if let Rest::Pool { vfs, units, most } = rest
                        && level <= most
                    {
                        left[level].0 += vfs;
                        left[level].1 += units;
                    }
                }
            }
            // Of a large cluster most is told by its first nodes.
            if has_place.iter().all(|has| *has) {
                break;
            }
        }
        let of = |level: Performance| {
            let at = position(level);
            let (vfs, units) = left[at];
            let enough = vfs > 0 && units >= costs.units()[at];
            (enough && !has_place[at]).then(|| Fragments {
                level,
                needed_queue_pairs: costs.at(at),
                vfs,
                queue_pairs: units * costs.unit(),
            })
        };
        Performance::ALL.into_iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{Adapter, Node, Queues, Reserve, Vm};

    fn node(name: &str, vfs: u32, queues: Queues) -> Node {
        let adapter = Adapter {
            name: "pf0".into(),
            vfs,
            queues,
        };
        Node {
            name: name.into(),
            adapters: vec![adapter],
            down: false,
        }
    }

    fn with(nodes: Vec<Node>, vms: &[(&str, Performance)]) -> Capacity {
        let mut capacity = Capacity::new(nodes, Reserve::NodesDown(0)).unwrap();
        for (number, (node, level)) in vms.iter().enumerate() {
            let vm = Vm {
                name: format!("vm{number}"),
                level: *level,
                nics: 1,
                node: Some((*node).to_owned()),
                adapters: Some(vec!["pf0".to_owned()]),
            };
            capacity.put(vm).unwrap();
        }
        capacity
    }

    #[test]
    fn queue_pairs_left_over_on_two_nodes_are_pieces() {
        use Performance::{High, Low, Medium};
        // Six pairs each, four of them taken: two and two are left, and High needs four.
        let nodes = || vec![node("a", 8, Queues::pool(6)), node("b", 8, Queues::pool(6))];
        let capacity = with(nodes(), &[("a", High), ("b", High)]);
        let found = capacity.fragments();
        let levels: Vec<_> = found.iter().map(|left| left.level).collect();
        assert_eq!(levels, [High]);
        assert_eq!(
            (
                found[0].vfs,
                found[0].queue_pairs,
                found[0].needed_queue_pairs
            ),
            (14, 4, 4)
        );
        // One node has all of it, or both together have not enough.
        assert_eq!(with(nodes(), &[("a", High)]).fragments(), []);
        let full = [("a", High), ("a", Medium), ("b", High), ("b", Low)];
        assert_eq!(with(nodes(), &full).fragments(), []);
        // What is down has nothing left.
        let mut down = nodes();
        down[1].down = true;
        assert_eq!(with(down, &[("a", High)]).fragments(), []);
    }

    #[test]
    fn a_vf_that_can_never_have_as_much_is_no_piece() {
        let nodes = vec![
            node("a", 7, Queues::PerVf { pairs: 2 }),
            node("b", 7, Queues::PerVf { pairs: 2 }),
        ];
        assert_eq!(with(nodes, &[]).fragments(), []);
    }

    #[test]
    fn vfs_here_and_queue_pairs_there_are_pieces_too() {
        // One adapter has no VF left, the other no queue pair.
        let nodes = vec![node("a", 1, Queues::pool(8)), node("b", 8, Queues::pool(4))];
        let vms = [("a", Performance::Low), ("b", Performance::High)];
        let found = with(nodes, &vms).fragments();
        let levels: Vec<_> = found.iter().map(|left| left.level).collect();
        assert_eq!(levels, Performance::ALL);
        assert_eq!((found[0].vfs, found[0].queue_pairs), (7, 7));
    }
}
