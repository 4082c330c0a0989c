//! What is free, what the reserve holds back, and where VMs could go. Nothing is decided here: these
//! are the rules' answers to "what if".

use accelnet_api::{
    Capacity, CapacityFigures, LargestReserve, NodeCapacity, PerLevel, Vm, VmMove, VmPlace,
    VmPlaces, VmWithoutRoom, Without,
};
use accelnet_model::{ClusterEnable, Code, Intent, Name, Performance, Problem};
use accelnet_rules::capacity::{self as rules, FitsMore};
use uuid::Uuid;

use super::capacity::{of_vm, shortage_now};
use crate::{reports::Seen, state::Wish, view};

/// A VM that is not accelerated is asked about at this level, which is the command line's default.
const DEFAULT_LEVEL: Performance = Performance::Medium;

fn enabled(wish: &Wish) -> Result<(&ClusterEnable, &Intent), Problem> {
    let enabled = wish.desired.enabled.as_ref();
    let found = enabled.zip(wish.desired.enabled_intent());
    found.ok_or_else(|| Problem::new(Code::AccelNetNotEnabled, "No intent is enabled."))
}

/// Room in the cluster, and what would become of VMs without these nodes, if any are named.
///
/// # Errors
/// `accel_net_not_enabled`, `node_not_found`.
pub fn look(wish: &Wish, seen: &Seen, without: &[String]) -> Result<Capacity, Problem> {
    let (enable, intent) = enabled(wish)?;
    let reserve = rules::Reserve::from(enable);
    let capacity = wish.room.copy(wish, seen, (intent, reserve))?;
    let by_node = capacity.fits_more_by_node();
    let figures = capacity.figures();
    let of_nodes: Vec<NodeCapacity> = seen
        .iter()
        .zip(figures.iter().zip(by_node))
        .map(|(node, (figures, more))| NodeCapacity {
            name: node.name.clone(),
            down: figures.down,
            figures: of_node(figures, more),
        })
        .collect();
    let asked = match without {
        [] => None,
        names => Some(without_nodes(&capacity, (wish, seen), names)?),
    };
    let short = shortage_now(wish, seen);
    let largest = capacity.largest_reserve();
    Ok(Capacity {
        intent: intent.name.clone(),
        node_reserve_percentage: reserve.percentage(seen.names().len()),
        nodes_down_tolerated: capacity.nodes_down_tolerated() as u32,
        holds: short.is_none(),
        largest_reserve: largest.map(|(nodes_down, percentage)| LargestReserve {
            node_reserve_percentage: percentage,
            nodes_down: nodes_down as u32,
        }),
        total: total(
            of_nodes.iter().map(|node| node.figures),
            per_level(capacity.fits_more_of_each()),
        ),
        nodes: of_nodes,
        without: asked,
        problems: short.into_iter().collect(),
    })
}

/// All nodes together, and how many may be down.
///
/// # Errors
/// `accel_net_not_enabled`.
pub fn total_now(wish: &Wish, seen: &Seen) -> Result<(CapacityFigures, u32), Problem> {
    let (enable, intent) = enabled(wish)?;
    let reserve = rules::Reserve::from(enable);
    let capacity = wish.room.copy(wish, seen, (intent, reserve))?;
    let figures = capacity.figures();
    let of_nodes = figures
        .iter()
        .map(|figures| of_node(figures, FitsMore::default()));
    let fits_more = per_level(capacity.fits_more_of_each());
    Ok((
        total(of_nodes, fits_more),
        capacity.nodes_down_tolerated() as u32,
    ))
}

fn per_level(FitsMore { low, medium, high }: FitsMore) -> PerLevel {
    PerLevel { low, medium, high }
}

fn held_back(free: PerLevel, more: PerLevel) -> PerLevel {
    PerLevel {
        low: free.low.saturating_sub(more.low),
        medium: free.medium.saturating_sub(more.medium),
        high: free.high.saturating_sub(more.high),
    }
}

fn of_node(figures: &rules::Figures, more: FitsMore) -> CapacityFigures {
    let (free, fits_more) = (per_level(figures.free), per_level(more));
    CapacityFigures {
        vfs: figures.vfs,
        vfs_used: figures.vfs_used,
        queue_pairs: figures.queue_pairs,
        queue_pairs_used: figures.queue_pairs_used,
        free,
        held_back: held_back(free, fits_more),
        fits_more,
    }
}

fn total(nodes: impl Iterator<Item = CapacityFigures>, fits_more: PerLevel) -> CapacityFigures {
    let mut total = CapacityFigures::default();
    for figures in nodes {
        total.vfs += figures.vfs;
        total.vfs_used += figures.vfs_used;
        total.queue_pairs += figures.queue_pairs;
        total.queue_pairs_used += figures.queue_pairs_used;
        total.free.low += figures.free.low;
        total.free.medium += figures.free.medium;
        total.free.high += figures.free.high;
    }
    CapacityFigures {
        held_back: held_back(total.free, fits_more),
        fits_more,
        ..total
    }
}

fn without_nodes(
    capacity: &rules::Capacity,
    (wish, seen): (&Wish, &Seen),
    names: &[String],
) -> Result<Without, Problem> {
    let mut lost: Vec<Name> = Vec::new();
    for name in names {
        let name = find(seen, name)?;
        if !lost.contains(name) {
            lost.push(name.clone());
        }
    }
    let words: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let recovery = capacity.recover(&words)?;
    // The rules know VMs by their UUIDs, nodes by their names.
    let who = |uuid: &str| view::one(wish, seen, Uuid::try_parse(uuid).ok()?);
    let mut result = Without {
        nodes: lost,
        placements: Vec::new(),
        without_room: Vec::new(),
    };
    for place in recovery.placements {
        let (vm, level, from, uuid) = moved(who(&place.vm).as_ref(), &place.vm);
        result.placements.push(VmMove {
            vm,
            uuid,
            level,
            from,
            to: find(seen, &place.node)?.clone(),
            adapters: place.adapters,
        });
    }
    for name in recovery.without_room {
        let (vm, level, from, uuid) = moved(who(&name).as_ref(), &name);
        result.without_room.push(VmWithoutRoom {
            vm,
            uuid,
            level,
            from,
        });
    }
    Ok(result)
}

/// Name, level, present node and identity of a VM that is admitted.
fn moved(vm: Option<&Vm>, uuid: &str) -> (String, Performance, Option<Name>, Uuid) {
    let from = |vm: &Vm| {
        let runs = vm.state != accelnet_model::VmState::Off;
        vm.node.clone().filter(|_| runs)
    };
    (
        vm.map_or_else(|| uuid.to_owned(), |vm| vm.name.clone()),
        vm.and_then(|vm| vm.level).unwrap_or(DEFAULT_LEVEL),
        vm.and_then(from),
        vm.map_or_else(Uuid::nil, |vm| vm.uuid),
    )
}

fn find<'a>(seen: &'a Seen, word: &str) -> Result<&'a Name, Problem> {
    let mut names = seen.names().iter();
    names.find(|name| name.as_str() == word).ok_or_else(|| {
        let shown = crate::audit::printable(word);
        let text = format!("No node is called '{shown}'.");
        Problem::new(Code::NodeNotFound, text).about("node", word)
    })
}

/// Which nodes could take a VM now.
///
/// # Errors
/// `accel_net_not_enabled`.
pub fn places(
    wish: &Wish,
    seen: &Seen,
    vm: &Vm,
    level: Option<Performance>,
) -> Result<VmPlaces, Problem> {
    let (enable, intent) = enabled(wish)?;
    let reserve = rules::Reserve::from(enable);
    let level = level.or(vm.level).unwrap_or(DEFAULT_LEVEL);
    let capacity = wish.room.copy(wish, seen, (intent, reserve))?;
    let asked = of_vm(wish, seen, intent, vm.uuid, level);
    let offers = capacity.offers(&asked);
    let places = seen.iter().zip(offers).map(|(node, offer)| VmPlace {
        node: node.name.clone(),
        present: vm.node.as_ref() == Some(&node.name),
        down: node.down(),
        fits: offer.adapters.is_some(),
        keeps_reserve: offer.keeps_reserve,
        adapters: offer.adapters.unwrap_or_default(),
    });
    Ok(VmPlaces {
        vm: vm.name.clone(),
        uuid: vm.uuid,
        level,
        nics: asked.nics,
        nodes: places.collect(),
    })
}
