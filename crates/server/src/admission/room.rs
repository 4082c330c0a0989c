//! Capacity as it is kept from one decision to the next.
//!
//! Admissions are the truth, and capacity follows from them and from the nodes' reports. Making it anew
//! for each decision would take as long as the cluster is large, most of it for sums that have not
//! changed. So what was made last is kept, in the rules' terms, and brought up to date by what differs:
//! VMs one by one, a node that went down or came back by itself; only where nodes, adapters, the intent
//! or the reserve changed it is made anew.
//!
//! Nothing depends on it: a server that has just started, or has lost it, makes it again. Builds for
//! tests hold every use of it against one made anew.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use accelnet_model::{Name, Problem};
use accelnet_rules::capacity::{self, Capacity, Reserve};

/// The cluster in the rules' terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The intent whose adapters are counted.
    pub intent: Name,
    /// The reserve that is kept.
    pub reserve: Reserve,
    /// Its nodes.
    pub nodes: Vec<capacity::Node>,
    /// VMs that are admitted, by their names there.
    pub vms: BTreeMap<String, capacity::Vm>,
}

impl Terms {
    /// The cluster's capacity.
    ///
    /// # Errors
    /// If it cannot be: two nodes of a name.
    fn capacity(&self) -> Result<Capacity, Problem> {
        let mut capacity = Capacity::new(self.nodes.clone(), self.reserve)?;
        for vm in self.vms.values() {
            capacity.put(vm.clone())?;
        }
        Ok(capacity)
    }
}

struct Kept {
    terms: Terms,
    capacity: Capacity,
}

/// The capacity that was made last.
#[derive(Default)]
pub struct Room(Mutex<Option<Kept>>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl Room {
    /// Asks the capacity of these terms something short. Whatever is changed for the question has to be
    /// taken back.
    ///
    /// # Errors
    /// If the terms cannot be.
    pub fn ask<T>(
        &self,
        terms: Terms,
        question: impl FnOnce(&mut Capacity) -> T,
    ) -> Result<T, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What fails half-way is not kept.
        let before = kept.take();
        let mut now = match before {
            Some(before) => before.updated(terms)?,
            None => Kept::anew(terms)?,
        };
        debug_assert!(now.is_as_made_anew(), "{:?}", now.terms);
        let answer = question(&mut now.capacity);
        *kept = Some(now);
        Ok(answer)
    }

    /// A copy of it, for long questions: others do not wait for their answers.
    ///
    /// # Errors
    /// If the terms cannot be.
    pub fn copy(&self, terms: Terms) -> Result<Capacity, Problem> {
        self.ask(terms, |capacity| capacity.clone())
    }
}

impl Kept {
    fn anew(terms: Terms) -> Result<Self, Problem> {
        let capacity = terms.capacity()?;
        Ok(Self { terms, capacity })
    }

    /// The same brought to other terms.
    fn updated(mut self, terms: Terms) -> Result<Self, Problem> {
        let Some(turned) = self.turned(&terms) else {
            return Self::anew(terms);
        };
        for (name, down) in turned {
            self.capacity.set_down(&name, down)?;
        }
        let gone = self.terms.vms.iter();
        let gone = gone.filter(|(name, vm)| terms.vms.get(*name) != Some(vm));
        for (name, _) in gone {
            self.capacity.remove(name);
        }
        let came = terms.vms.iter();
        let came = came.filter(|(name, vm)| self.terms.vms.get(*name) != Some(vm));
        for (_, vm) in came {
            self.capacity.put(vm.clone())?;
        }
        Ok(Self { terms, ..self })
    }

    /// Nodes that went down or came back, if that is all that changed of the nodes and not much of it.
    fn turned(&self, terms: &Terms) -> Option<Vec<(String, bool)>> {
        let before = &self.terms;
        let same = before.intent == terms.intent
            && before.reserve == terms.reserve
            && before.nodes.len() == terms.nodes.len();
        let mut turned = Vec::new();
        for (old, new) in before.nodes.iter().zip(&terms.nodes) {
            if old.name != new.name || old.adapters != new.adapters {
                return None;
            }
            if old.down != new.down {
                turned.push((new.name.clone(), new.down));
            }
        }
        // For each of them all sums are made anew, as they are for a new cluster.
        (same && turned.len() < 2).then_some(turned)
    }

    /// What the kept one says is what one made anew would say.
    fn is_as_made_anew(&self) -> bool {
        self.terms.capacity().is_ok_and(|mut anew| {
            let mut kept = self.capacity.clone();
            anew.figures() == kept.figures()
                && anew.nodes_down_tolerated() == kept.nodes_down_tolerated()
                && anew.holds().is_ok() == kept.holds().is_ok()
                && anew.fits_more_of_each() == kept.fits_more_of_each()
        })
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Performance;
    use accelnet_rules::capacity::{Adapter, Node, Queues, Vm};

    use super::*;

    fn terms(vms: &[(&str, Performance, Option<&str>)], down: &[&str]) -> Terms {
        let node = |name: &str| Node {
            name: name.to_owned(),
            adapters: vec![Adapter {
                name: "pf0".to_owned(),
                vfs: 4,
                queues: Queues::pool(8),
            }],
            down: down.contains(&name),
        };
        let vm = |(name, level, node): &(&str, Performance, Option<&str>)| {
            let vm = Vm {
                name: (*name).to_owned(),
                level: *level,
                nics: 1,
                node: node.map(str::to_owned),
                adapters: node.map(|_| vec!["pf0".to_owned()]),
            };
            (vm.name.clone(), vm)
        };
        Terms {
            intent: "compute".parse().unwrap(),
            reserve: Reserve::NodesDown(1),
            nodes: ["n1", "n2", "n3"].map(node).to_vec(),
            vms: vms.iter().map(vm).collect(),
        }
    }

    #[test]
    fn what_is_kept_follows_what_changed() {
        use Performance::{High, Low, Medium};
        let room = Room::default();
        let mut more = terms(&[("a", Low, None)], &[]);
        more.nodes[2].adapters[0].vfs = 9;
        let all = [
            terms(&[], &[]),
            terms(&[("a", Low, None), ("b", High, Some("n1"))], &[]),
            terms(&[("a", High, None), ("b", High, Some("n2"))], &[]),
            terms(&[("b", High, Some("n2"))], &["n2"]),
            terms(
                &[("b", High, None), ("c", Medium, Some("n3"))],
                &["n1", "n3"],
            ),
            terms(&[("b", High, None)], &[]),
            more,
        ];
        for terms in all.into_iter().cycle().take(20) {
            let expected = terms.capacity().unwrap().figures();
            // Of what a question leaves behind, and of a refused one, nothing stays.
            let seen = room.ask(terms, |capacity| {
                let asked = |name: &str, level| Vm {
                    name: name.to_owned(),
                    level,
                    nics: 1,
                    node: None,
                    adapters: None,
                };
                drop(capacity.would_admit(asked("x", High)));
                drop(capacity.would_admit(asked("y", Low)));
                capacity.figures()
            });
            assert_eq!(seen.unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_is_not_kept() {
        let room = Room::default();
        let good = terms(&[], &[]);
        let mut twice = good.clone();
        twice.nodes[1].name = "n1".to_owned();
        assert!(room.copy(good.clone()).is_ok());
        assert!(room.copy(twice).is_err());
        assert_eq!(room.copy(good).unwrap().figures().len(), 3);
    }
}
