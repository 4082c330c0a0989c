//! Room for accelerated VMs, with the reserve held back.
//!
//! Every VM that is wished accelerated holds its VFs, running or not. The rules decide; here wish and
//! reports are put into their terms.

use accelnet_api::Vm;
use accelnet_model::{
    AdapterStatus, IfName, Intent, Name, NodeStatus, Performance, Problem, VfFacts, VfUser,
    VmState, VmStatus,
};
use accelnet_rules::{
    capacity::{self, Capacity, Explained, Fragments, Queues, Reserve},
    observed::{nics_on, port_of},
    profile::room,
};
use uuid::Uuid;

use crate::{
    reports::{Known, Seen},
    state::{Park, Wish},
    whereabouts::{self, Place},
};

/// Why there is no room for a VM at a level; `None` if there is.
pub fn refused(
    wish: &Wish,
    seen: &Seen,
    intent: &Intent,
    vm: &Vm,
    level: Performance,
) -> Option<Problem> {
    let reserve = wish.desired.enabled.as_ref()?.into();
    let asked = of_vm(wish, seen, intent, vm.uuid, level);
    let answer = wish.room.ask(wish, seen, (intent, reserve), |capacity| {
        // What it has now is not counted: it asks for all that it would have.
        let refusal = capacity.would_admit(&asked).err()?;
        let mut refused = capacity.explain(&refusal, Some(&vm.name));
        // The rules know the VM by its UUID.
        refused.reason = refused.reason.replace(&asked.name, &vm.name);
        Some(refused)
    });
    match answer {
        Ok(refused) => refused.map(|refused| refused.into_problem("vm", &vm.name)),
        Err(problem) => Some(problem),
    }
}

/// How far the reserve would be short for the VMs that are admitted to an intent; `None` if it would not.
pub fn shortage(wish: &Wish, seen: &Seen, intent: &Intent, reserve: Reserve) -> Option<Problem> {
    short(
        made(wish, seen, intent, reserve).map(|capacity| shown(&capacity)),
        intent,
    )
}

/// How far the reserve is short now.
pub fn shortage_now(wish: &Wish, seen: &Seen) -> Option<Problem> {
    let reserve = wish.desired.enabled.as_ref()?.into();
    let intent = wish.desired.enabled_intent()?;
    let of = (intent, reserve);
    short(wish.room.ask(wish, seen, of, shown), intent)
}

/// Levels of the enabled intent that no adapter has room for, while what is left in pieces would be enough.
pub fn fragments_now(wish: &Wish, seen: &Seen) -> Vec<Fragments> {
    let enabled = wish.desired.enabled.as_ref();
    let Some((enabled, intent)) = enabled.zip(wish.desired.enabled_intent()) else {
        return Vec::new();
    };
    let of = (intent, Reserve::from(enabled));
    let found = wish.room.ask(wish, seen, of, Capacity::fragments);
    // A cluster that cannot be is told of as such.
    found.unwrap_or_else(|problem| {
        tracing::debug!(%problem, "what is left in pieces");
        Vec::new()
    })
}

/// Why the reserve is not kept, if it is not.
fn shown(capacity: &Capacity) -> Option<Explained> {
    let refusal = capacity.holds().err()?;
    Some(capacity.explain(&refusal, None))
}

fn short(held: Result<Option<Explained>, Problem>, intent: &Intent) -> Option<Problem> {
    match held {
        Ok(short) => short.map(|short| short.into_problem("intent", intent.name.as_str())),
        Err(problem) => Some(problem),
    }
}

/// The cluster with all VMs that are admitted to the intent.
///
/// # Errors
/// If it cannot be.
pub(super) fn made(
    wish: &Wish,
    seen: &Seen,
    intent: &Intent,
    reserve: Reserve,
) -> Result<Capacity, Problem> {
    let nodes = seen.iter().map(|node| of_node(wish, node, intent));
    let costs = intent.levels.queue_pairs.into();
    let mut capacity = Capacity::with_costs(nodes.collect(), reserve, costs)?;
    for (uuid, level) in wish.levels_on(&intent.name) {
        capacity.put(of_vm(wish, seen, intent, uuid, level))?;
    }
    Ok(capacity)
}

/// A node in the rules' terms.
pub(super) fn of_node(wish: &Wish, node: &Known, intent: &Intent) -> capacity::Node {
    let mut adapters: Vec<capacity::Adapter> = Vec::new();
    let status = node.status.as_deref();
    for (port, adapter) in status
        .into_iter()
        .flat_map(|status| giving(wish, &node.name, status, intent))
    {
        let vfs = ours(wish, intent, adapter);
        let queues = room(&adapter.facts, &intent.levels, |vf| {
            !usable(wish, intent, vf)
        });
        let name = port.to_string();
        // Members of a bond take each other's place: together they give what each can.
        match adapters.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                known.vfs = known.vfs.min(vfs);
                known.queues = fewer(known.queues, queues);
            }
            None => adapters.push(capacity::Adapter { name, vfs, queues }),
        }
    }
    capacity::Node {
        name: node.name.to_string(),
        adapters,
        down: node.down(),
    }
}

/// The intent's adapters, each with the bridge's port that it comes by: itself or its bond.
pub(super) fn uplinks<'a>(
    status: &'a NodeStatus,
    intent: &'a Intent,
) -> impl Iterator<Item = (&'a IfName, &'a AdapterStatus)> {
    let adapters = status.adapters.iter();
    adapters.filter_map(|adapter| {
        let facts = &adapter.facts;
        let port = port_of(&status.bridges, facts, &intent.bridge)?;
        intent.covers(facts).then_some((port, adapter))
    })
}

/// Those of them whose VFs are given out: not what is taken out of the pool, nor a bond whose way out that is now.
pub(super) fn giving<'a>(
    wish: &Wish,
    node: &Name,
    status: &'a NodeStatus,
    intent: &'a Intent,
) -> Vec<(&'a IfName, &'a AdapterStatus)> {
    let isolated = |adapter: &AdapterStatus| {
        let its = wish.desired.isolation(node, &adapter.facts.id);
        its.is_some()
    };
    let all: Vec<_> = uplinks(status, intent).collect();
    let leads_out = |port: &IfName, adapter: &AdapterStatus| {
        used_member(status, port).is_some_and(|used| *used == adapter.facts.ifname)
    };
    let shut = all
        .iter()
        .filter(|(port, adapter)| isolated(adapter) && leads_out(port, adapter));
    let shut: Vec<&IfName> = shut.map(|(port, _)| *port).collect();
    let gives =
        |(port, adapter): &(&IfName, &AdapterStatus)| !isolated(adapter) && !shut.contains(port);
    all.into_iter().filter(gives).collect()
}

/// The member by which a bond's frames go now.
pub(super) fn used_member<'a>(status: &'a NodeStatus, port: &IfName) -> Option<&'a IfName> {
    let bond = status.bridges.iter().find(|found| found.ifname == *port)?;
    bond.backup_bond()?.active.as_ref()
}

/// What both give. Members of a bond are alike.
fn fewer(one: Queues, other: Queues) -> Queues {
    match (one, other) {
        (Queues::PerVf { pairs }, Queues::PerVf { pairs: others }) => Queues::PerVf {
            pairs: pairs.min(others),
        },
        (
            Queues::Pool { total, most_per_vf },
            Queues::Pool {
                total: others,
                most_per_vf: other_most,
            },
        ) => Queues::Pool {
            total: total.min(others),
            most_per_vf: most_per_vf.into_iter().chain(other_most).min(),
        },
        (Queues::PerVf { pairs }, Queues::Pool { .. })
        | (Queues::Pool { .. }, Queues::PerVf { pairs }) => Queues::PerVf { pairs },
    }
}

/// VFs that can be given to VMs: free, or held by a VM that is wished for on the intent. What others use or need
/// at their start, what is not isolated and what is quarantined is counted out.
pub(super) fn ours(wish: &Wish, intent: &Intent, adapter: &AdapterStatus) -> u32 {
    let vfs = adapter.facts.vfs.iter();
    let vfs = vfs.filter(|vf| usable(wish, intent, vf));
    vfs.count().saturating_sub(adapter.quarantined.len()) as u32
}

fn usable(wish: &Wish, intent: &Intent, vf: &VfFacts) -> bool {
    match vf.vm {
        Some(vm) => wish.on(vm, &intent.name).is_some(),
        None => {
            let nobodys = vf.user == VfUser::Nobody && vf.promised.is_none();
            nobodys && vf.group_peers.is_empty()
        }
    }
}

/// A VM in the rules' terms: where it is, and how many VFs it needs. It is where it runs, else where it
/// is defined. One that is being moved takes its room where it goes: nobody else is promised it.
pub(super) fn of_vm(
    wish: &Wish,
    seen: &Seen,
    intent: &Intent,
    uuid: Uuid,
    level: Performance,
) -> capacity::Vm {
    let place = whereabouts::of(seen, uuid);
    // What comes in by a migration is known where it comes from.
    let known = place
        .as_ref()
        .and_then(Place::last)
        .or_else(|| whereabouts::all_of(seen, uuid).find_map(|place| place.last()));
    let nics = known.map_or(1, |vm| nics_on(&vm.facts, &intent.bridge).count().max(1));
    let running = place.filter(|place| place.state() != VmState::Off);
    let is_at = running.map(|place| &place.node.name);
    let moves = wish.park_of(uuid).and_then(Park::moving_to);
    let goes = moves.filter(|to| is_at.is_some() && is_at != Some(to) && seen.node(to).is_some());
    let stays = running.filter(|_| goes.is_none());
    capacity::Vm {
        name: uuid.to_string(),
        level,
        nics: nics as u32,
        node: goes.or(is_at).map(Name::to_string),
        adapters: stays.and_then(|place| {
            adapters(
                wish,
                &place.node.name,
                (place.status, place.last()?),
                intent,
            )
        }),
    }
}

/// The adapter of each of the VM's NICs on the bridge, if all have one that counts: one that was taken
/// off the bridge gives the VM nothing to keep.
fn adapters(
    wish: &Wish,
    node: &Name,
    (status, vm): (&NodeStatus, &VmStatus),
    intent: &Intent,
) -> Option<Vec<String>> {
    let giving = giving(wish, node, status, intent);
    let on_bridge = nics_on(&vm.facts, &intent.bridge).map(|nic| {
        let seen = vm.nics.iter().find(|seen| seen.mac == nic.mac)?;
        let adapter = seen.adapter.as_ref()?;
        let mut known = uplinks(status, intent);
        let (port, _) = known.find(|(_, known)| &known.facts.ifname == adapter)?;
        // Members of a bond take each other's place.
        let counts = giving.iter().any(|(its, _)| *its == port);
        counts.then(|| port.to_string())
    });
    let found: Vec<String> = on_bridge.collect::<Option<_>>()?;
    (!found.is_empty()).then_some(found)
}
