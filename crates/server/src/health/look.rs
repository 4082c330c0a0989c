//! One look at everything, which costs what has changed: rules about a node run again when its report, or a wish for one
//! of its VMs, is another; rules about the cluster at each look.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_api::{Event, EventKind};
use accelnet_model::{
    FaultObject, Name, NicPath, NicStatus, NodeStatus, Problem, VmState, VmStatus, Waiver,
};
use accelnet_rules::{
    capacity::Fragments,
    health::{
        ClusterScene, Found, Key, Moment, NodeScene, NodeSeen, Sight, State, Stepped, Switches,
        TokenEnd, Tuning, Verdict, VmWish, of_cluster, of_node,
    },
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{events, paths::PathChange};
use crate::{
    reports::{Known, Seen},
    state::Wish,
    whereabouts::{self, Place},
};

/// Events of VMs that are told one by one at a look; of more, how many.
const VMS_TOLD: usize = 50;
/// A VM that has not switched for so long is not counted any more: longer than its detection looks back.
const SWITCHES_KEPT: Duration = Duration::from_secs(2 * 3600);

/// VMs of which it is remembered where they ran: twice as many as a large cluster has. More are those that were; then
/// all are forgotten, which costs an event if one moves at this moment.
const RAN_MAX: usize = 400_000;

/// What is known beside wish and reports.
#[derive(Debug, Default)]
pub struct Extras {
    /// Nodes' clocks less ours, and the ends of their certificates.
    pub of_sessions: BTreeMap<Name, (Option<SignedDuration>, Option<Timestamp>)>,
    /// How long the store took at most, lately.
    pub store_took: Duration,
    /// Servers that stand by and give no answer: where, and why.
    pub silent_servers: Vec<(String, String)>,
    /// How often a server has begun to decide, lately.
    pub took_over: u32,
    /// Levels that no adapter has room for, while what is left in pieces would be enough.
    pub fragments: Vec<Fragments>,
}

/// What was looked at last, and what rules said of it.
#[derive(Debug, Default)]
pub struct Looked {
    wish: Option<Wish>,
    seen: Seen,
    by_node: BTreeMap<Name, Found>,
    of_cluster: Found,
    /// VMs whose path has changed lately, and when that was last.
    switches: BTreeMap<Uuid, Switches>,
    switched_at: BTreeMap<Uuid, Duration>,
    /// How often a NIC's path was another one, ever.
    switched: u64,
    /// Where VMs run.
    run_on: BTreeMap<Uuid, Name>,
    happened: Vec<(EventKind, FaultObject, String)>,
    path_changes: Vec<PathChange>,
}

impl Looked {
    /// Looks at what has changed.
    pub fn look(
        &mut self,
        wish: &Wish,
        seen: &Seen,
        extras: &Extras,
        shortage: Option<&Problem>,
        now: Moment,
    ) {
        for name in self.changed(wish, seen) {
            self.notice(wish, seen, &name, now);
            match seen.node(&name).and_then(Known::current) {
                Some(status) => {
                    let found = look_at_node(wish, &name, status);
                    self.by_node.insert(name, found);
                }
                None => drop(self.by_node.remove(&name)),
            }
        }
        if self.run_on.len() > RAN_MAX {
            self.run_on.clear();
        }
        self.switched_at
            .retain(|_, at| now.up < *at + SWITCHES_KEPT);
        self.switches
            .retain(|vm, _| self.switched_at.contains_key(vm));
        self.of_cluster = self.look_at_cluster(wish, seen, extras, shortage, now.at);
        self.wish = Some(wish.clone());
        self.seen = seen.clone();
    }

    /// How often a NIC's path was another one than before.
    pub fn switched(&self) -> u64 {
        self.switched
    }

    /// Changes of paths since this was asked last.
    pub fn path_changes(&mut self) -> Vec<PathChange> {
        std::mem::take(&mut self.path_changes)
    }

    /// Nodes of which something may have become otherwise.
    pub fn changed(&self, wish: &Wish, seen: &Seen) -> BTreeSet<Name> {
        let Some(before) = &self.wish else {
            return seen.names().iter().cloned().collect();
        };
        let for_all = before.desired != wish.desired;
        let mut names: BTreeSet<Name> = match for_all {
            true => seen.names().iter().cloned().collect(),
            false => seen.differing(&self.seen).cloned().collect(),
        };
        let gone = self
            .by_node
            .keys()
            .filter(|name| seen.node(*name).is_none());
        names.extend(gone.cloned());
        for vm in wish.specs.differing(&before.specs) {
            names.extend(seen.places_of(vm).map(|node| node.name.clone()));
        }
        names
    }

    /// What happened to VMs of a node since the last look.
    fn notice(&mut self, wish: &Wish, seen: &Seen, name: &Name, now: Moment) {
        let Some(status) = seen.node(name).and_then(Known::current) else {
            return;
        };
        let before = self.seen.node(name).and_then(Known::current);
        let before: BTreeMap<Uuid, &VmStatus> = before
            .into_iter()
            .flat_map(|status| &status.vms)
            .map(|vm| (vm.facts.uuid, vm))
            .collect();
        let mut switched = Vec::new();
        for vm in &status.vms {
            let uuid = vm.facts.uuid;
            let object = FaultObject::vm(uuid, &vm.facts.name, Some(name));
            if vm.facts.state == VmState::Running && vm.facts.job.is_none() {
                let was = self.run_on.insert(uuid, name.clone());
                if let Some(was) = was.filter(|was| was != name) {
                    let text = format!("'{}' runs on '{name}', after '{was}'.", vm.facts.name);
                    self.happened
                        .push((EventKind::VmMoved, object.clone(), text));
                }
            }
            let Some(before) = before.get(&uuid) else {
                continue;
            };
            for nic in &vm.nics {
                let was = before.nics.iter().find(|was| was.mac == nic.mac);
                let text = was.and_then(|was| switch(wish, vm, was, nic));
                if was.is_some_and(|was| was.path != nic.path) {
                    self.path_changes.push(PathChange {
                        vm: uuid,
                        mac: nic.mac,
                        switched: text.is_some(),
                    });
                }
                if let Some(text) = text {
                    switched.push((uuid, vm.facts.name.clone(), object.clone(), text));
                }
            }
        }
        for (uuid, vm, object, text) in switched {
            self.switched_at.insert(uuid, now.up);
            let count = self.switches.entry(uuid).or_insert_with(|| Switches {
                name: vm,
                node: name.clone(),
                total: 0,
            });
            count.node = name.clone();
            count.total += 1;
            self.switched += 1;
            self.happened.push((EventKind::VmSwitched, object, text));
        }
    }

    fn look_at_cluster(
        &self,
        wish: &Wish,
        seen: &Seen,
        extras: &Extras,
        shortage: Option<&Problem>,
        now: Timestamp,
    ) -> Found {
        let nodes = seen.iter().map(|known| {
            let of_session = extras.of_sessions.get(&known.name);
            NodeSeen {
                name: &known.name,
                current: known.current(),
                silent: known.silent.as_ref().filter(|_| !known.awaited),
                clock_ahead: of_session.and_then(|(ahead, _)| *ahead),
                certified_until: of_session.and_then(|(_, until)| *until),
            }
        });
        let nodes: Vec<NodeSeen<'_>> = nodes.collect();
        let all_seen = seen.iter().all(|known| known.blind().is_none());
        let lost = wish.specs.iter().filter(|spec| {
            wish.level_of(spec.uuid).is_some() && seen.places_of(spec.uuid).next().is_none()
        });
        let lost: Vec<(Uuid, String)> = lost.map(|spec| (spec.uuid, spec.name.clone())).collect();
        let (nowhere, perhaps_nowhere) = if all_seen {
            (lost, Vec::new())
        } else {
            (Vec::new(), lost)
        };
        let parked = wish
            .specs
            .parked()
            .filter(|(spec, _)| wish.level_of(spec.uuid).is_some());
        let parked: Vec<(FaultObject, Timestamp, String)> = parked
            .map(|(spec, park)| {
                (
                    vm(seen, spec.uuid, &spec.name),
                    park.since(),
                    park.to_string(),
                )
            })
            .collect();
        let waiving = wish.specs.waiving().filter_map(|spec| {
            let waivers: &[Waiver] = &wish.enabled_for(spec.uuid)?.waivers;
            Some((vm(seen, spec.uuid, &spec.name), waivers))
        });
        let waivers: Vec<(FaultObject, &[Waiver])> = waiving.collect();
        let tokens = wish.tokens.values().filter_map(|token| {
            Some(TokenEnd {
                name: token.name.clone(),
                created: token.created,
                expires: token.expires?,
            })
        });
        let (twice, perhaps_twice) = twice(seen);
        of_cluster(&ClusterScene {
            now,
            nodes: &nodes,
            desired: &wish.desired,
            twice: &twice,
            perhaps_twice: &perhaps_twice,
            nowhere: &nowhere,
            perhaps_nowhere: &perhaps_nowhere,
            parked: &parked,
            waivers: &waivers,
            switches: &self.switches,
            shortage,
            fragments: &extras.fragments,
            tokens: &tokens.collect::<Vec<_>>(),
            store_took: extras.store_took,
            silent_servers: &extras.silent_servers,
            took_over: extras.took_over,
        })
    }

    /// What follows for faults.
    pub fn step(&self, state: &mut State, now: Moment, tuning: &Tuning) -> Stepped {
        let found = self.by_node.values().chain([&self.of_cluster]);
        // In the order of their keys, so that the same is told in the same order.
        let all: BTreeMap<&Key, &Verdict> =
            found.clone().flat_map(|found| &found.verdicts).collect();
        let unseen = found
            .flat_map(|found| found.unseen.iter().cloned())
            .collect();
        let silent = self.seen.iter().filter(|known| known.current().is_none());
        let silent = silent.map(|known| known.name.clone()).collect();
        let elsewhere = |id: &str| {
            let vm = id.parse().ok();
            let mut places = vm.into_iter().flat_map(|vm: Uuid| self.seen.places_of(vm));
            places.any(|known| known.blind().is_none())
        };
        let sight = Sight {
            silent: &silent,
            unseen: &unseen,
            vm_elsewhere: &elsewhere,
        };
        state.step(all, &sight, now, tuning)
    }

    /// What happened to VMs, as events; once.
    pub fn happened(&mut self, now: Timestamp) -> Vec<Event> {
        let mut happened = std::mem::take(&mut self.happened);
        let more = happened.len().saturating_sub(VMS_TOLD);
        happened.truncate(VMS_TOLD);
        let told = happened.into_iter().map(|(kind, object, text)| Event {
            object: Some(object),
            ..events::of(kind, now, text)
        });
        let more = (more > 0).then(|| {
            let text = format!("{more} more switches and moves of VMs at the same time.");
            events::of(EventKind::VmSwitched, now, text)
        });
        told.chain(more).collect()
    }
}

/// A VM, where it is.
fn vm(seen: &Seen, uuid: Uuid, name: &str) -> FaultObject {
    let place = whereabouts::of(seen, uuid);
    let name = place.as_ref().map_or(name, Place::name);
    let node = place.as_ref().map(|place| &place.node.name);
    FaultObject::vm(uuid, name, node)
}

fn look_at_node(wish: &Wish, name: &Name, status: &NodeStatus) -> Found {
    let wishes = whereabouts::there(status).filter_map(|(uuid, _)| {
        let level = wish.enabled_for(uuid)?.level;
        let park = wish.park_of(uuid);
        let parked = park.is_some_and(|park| park.holds_on(name));
        Some((uuid, VmWish { level, parked }))
    });
    of_node(&NodeScene {
        name,
        status,
        desired: &wish.desired,
        wishes: &wishes.collect(),
        server_version: env!("CARGO_PKG_VERSION"),
    })
}

/// VMs that run on more than one node, and those of which nobody knows: a node that cannot be seen had it running too.
type Twice = (Vec<(Uuid, String, Vec<Name>)>, Vec<(Uuid, String)>);

fn twice(seen: &Seen) -> Twice {
    let (mut surely, mut perhaps) = (Vec::new(), Vec::new());
    for uuid in seen.in_several_places() {
        let runs = whereabouts::all_of(seen, uuid).filter(|place| {
            let incoming = place.last().is_some_and(|vm| vm.facts.job.is_some());
            place.state() == VmState::Running && !incoming
        });
        let runs: Vec<Place<'_>> = runs.collect();
        let visible = runs.iter().filter(|place| place.node.blind().is_none());
        let nodes: Vec<Name> = visible.map(|place| place.node.name.clone()).collect();
        let Some(first) = runs.first().filter(|_| runs.len() > 1) else {
            continue;
        };
        let name = first.name().to_owned();
        match nodes.len() {
            0 | 1 => perhaps.push((uuid, name)),
            _ => surely.push((uuid, name, nodes)),
        }
    }
    (surely, perhaps)
}

/// What a change of a NIC's path was, and why; `None` if it was none.
fn switch(wish: &Wish, vm: &VmStatus, was: &NicStatus, is: &NicStatus) -> Option<String> {
    let (name, mac) = (&vm.facts.name, is.mac);
    match (was.path, is.path) {
        (NicPath::Synthetic, NicPath::Vf) => {
            let vf = is.vf.map(|vf| format!(" {vf}")).unwrap_or_default();
            let of = is.adapter.as_ref().map(|adapter| format!(" of {adapter}"));
            let of = of.unwrap_or_default();
            Some(format!("NIC {mac} of '{name}' goes by VF{vf}{of}."))
        }
        (NicPath::Vf, NicPath::Synthetic) => {
            let park = wish.park_of(vm.facts.uuid);
            let wanted = wish
                .enabled_for(vm.facts.uuid)
                .and_then(|wanted| wanted.level);
            let problem = vm.problems.first();
            let why = match (wanted, park, problem) {
                (None, _, _) => "acceleration is not wanted for it".to_owned(),
                (Some(_), Some(park), _) => format!("it is {park}"),
                (Some(_), None, Some(problem)) => format!("[{}] {}", problem.code, problem.detail),
                (Some(_), None, None) => match &is.reason {
                    Some(reason) => reason.clone(),
                    None => "its node does not say why".to_owned(),
                },
            };
            let why = why.trim_end_matches('.');
            Some(format!("NIC {mac} of '{name}' goes by the switch: {why}."))
        }
        _ => None,
    }
}
