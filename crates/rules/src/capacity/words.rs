//! Refusals in words.

use std::sync::Arc;

use accelnet_model::{Code, Performance, Problem};

use super::{
    Capacity,
    cluster::VmState,
    levels::position,
    model::{Refusal, Shortage},
    node::Kind,
};

/// Nodes named in a reason; a counterexample names them all.
const NODES_SHOWN: usize = 8;

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Catalogue entry.
    pub code: Code,
    /// What is missing.
    pub reason: String,
    /// Nodes that would leave too little if they were down. Empty if no node need be down for it.
    pub counterexample: Vec<Arc<str>>,
}

impl Explained {
    /// The refusal as a problem, with the nodes that prove it.
    pub fn into_problem(self, kind: &str, about: &str) -> Problem {
        let problem = Problem::new(self.code, self.reason).about(kind, about);
        let nodes = self.counterexample.iter();
        nodes.fold(problem, |problem, node| problem.about("node", node))
    }
}

impl Capacity {
    /// A refusal of this cluster in words: of the VM that asked, or of what there is.
    pub fn explain(&self, refusal: &Refusal, vm: Option<&str>) -> Explained {
        let reason = match refusal {
            Refusal::Invalid(problem) => problem.detail.clone(),
            Refusal::LevelTooHigh { level, queue_pairs } => {
                format!("{level} needs {queue_pairs} queue pairs a VF, which no adapter can give.")
            }
            Refusal::TooManyDown { down, tolerated } => format!(
                "{} nodes are down and the reserve tolerates {tolerated}; nothing new is admitted until \
                 they are back.",
                down.len()
            ),
            Refusal::Overdrawn { node, .. } => {
                let name = &self.nodes[*node as usize].name;
                match vm {
                    Some(vm) => format!(
                        "With VM '{vm}', node '{name}' would give out more VFs or queue pairs than it has."
                    ),
                    None => format!(
                        "Node '{name}' gives out more VFs or queue pairs than it has, so there is no \
                         reserve to speak of."
                    ),
                }
            }
            Refusal::Short(shortage) => {
                let mut text = self.shortage(shortage, vm);
                text.extend(self.left_without(&shortage.lost));
                text
            }
        };
        Explained {
            code: refusal.code(),
            reason,
            counterexample: self.names(refusal.counterexample()),
        }
    }

    /// A VM with several NICs that would have to move and that no node is left for, in words: sums of VFs say
    /// nothing then.
    fn left_without(&self, lost: &[u32]) -> Option<String> {
        let moves = |vm: &VmState| {
            let place = vm.place.as_ref();
            place.is_none_or(|place| lost.contains(&place.node) || self.down.contains(&place.node))
        };
        let mut moving = self.vms.iter().filter(|(_, vm)| moves(vm));
        moving.find_map(|(name, vm)| self.nowhere(lost, name, vm.kind))
    }

    /// That a VM's NICs fit together on no node that is left, in words; nothing if they do somewhere, each
    /// level alone.
    pub(super) fn nowhere(&self, lost: &[u32], vm: &str, (level, nics): Kind) -> Option<String> {
        let number = position(level);
        let left = self.nodes.iter().zip(0u32..);
        let left = left.filter(|(node, number)| !node.down && !lost.contains(number));
        let places = left.map(|(node, _)| {
            let rests = node.rests(self.costs).into_iter();
            rests
                .map(|rest| rest.places(number, self.costs))
                .sum::<u64>()
        });
        let most = places.max().unwrap_or(0);
        (nics > 1 && most < nics.into()).then(|| {
            format!(" VM '{vm}' needs {nics} VFs on one node; no node that is left has more than {most}.")
        })
    }

    fn names(&self, numbers: &[u32]) -> Vec<Arc<str>> {
        let nodes = numbers.iter().map(|number| &self.nodes[*number as usize]);
        nodes.map(|node| node.name.clone()).collect()
    }

    /// What would have to find room without these nodes, and what room there is.
    fn shortage(&self, shortage: &Shortage, vm: Option<&str>) -> String {
        let (shown, more) = shortage.lost.split_at(shortage.lost.len().min(NODES_SHOWN));
        let shown = self.names(shown).join(", ");
        let down = match (shown.is_empty(), more.len()) {
            (true, _) => "with no node down".to_owned(),
            (false, 0) => format!("if {shown} were down"),
            (false, more) => format!("if {shown} and {more} more were down"),
        };
        let one = shortage.demand.iter().sum::<u64>() == 1;
        let (what, need) = match one {
            true => ("the NIC", "it needs"),
            false => ("the NICs", "they need"),
        };
        let verb = match (shortage.proved, one) {
            (true, true) => "does not fit",
            (true, false) => "do not fit",
            (false, _) => "cannot be shown to fit",
        };
        let with = match vm {
            Some(vm) => format!("With VM '{vm}', "),
            None => String::new(),
        };
        let text = format!(
            "{with}{down}, {what} to be placed {verb} on the other nodes: {need} {}; there is room for {}, \
             each level alone.",
            in_words(shortage.demand),
            in_words(shortage.places)
        );
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect()
    }
}

fn in_words(nics: [u64; 3]) -> String {
    let levels = Performance::ALL.into_iter().zip(nics);
    let words: Vec<String> = levels
        .map(|(level, count)| format!("{count} {level}"))
        .collect();
    words.join(", ")
}
