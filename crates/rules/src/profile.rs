//! What cards can give: queue pairs of a VF, levels, and how many VFs to make.
//!
//! Three things are kept apart: what a VF *can have* (the card), what it *is allotted* at a level, and
//! what the guest's driver *really uses* (Linux's igbvf uses one pair of two). A card that is not
//! known gives what one queue pair is enough for: a VF that works at all has one.
//!
//! How many pairs a level is comes from the intent ([`Levels`]).

mod address_filter;
mod cards;
mod room;
mod tx_rate;
mod vectors;

use accelnet_model::{
    AdapterFacts, Code, EswitchMode, Levels, Performance, Problem, QueuePairs, Support, VfCount,
    VfFacts, VfUser,
};
pub use address_filter::{filter_room, shares_addresses};
use cards::Rule;
pub use room::room;
pub use tx_rate::{limited, tx_rate_problem};
pub use vectors::{idle_vectors, vectors_left, wanted_vectors};

/// How an adapter's VFs come by queue pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuePairProfile {
    /// Every VF has this many, whatever the level.
    Fixed {
        /// Queue pairs of a VF.
        pairs: u32,
    },
    /// A VF is given as many as its level needs, from a pool of MSI-X vectors.
    Pool {
        /// Vectors in the pool, all VFs together.
        vectors: u32,
        /// Vectors a VF needs besides one for each pair.
        overhead: u32,
        /// The most pairs of a VF.
        most: u32,
        /// VFs that share the pool. One that is idle has vectors for one pair all the same.
        vfs: u32,
    },
    /// Nobody can tell. Every VF has one pair at least.
    Unknown,
}

impl QueuePairProfile {
    /// The profile of an adapter as if it had `vfs` VFs.
    pub fn with_vfs(adapter: &AdapterFacts, vfs: u32) -> Self {
        match cards::of(adapter).map(|card| card.rule) {
            None | Some(Rule::NotTold) => Self::Unknown,
            Some(Rule::Fixed(pairs)) => Self::Fixed { pairs },
            Some(Rule::ByVfCount {
                many,
                vfs_with_many,
                few,
            }) => Self::Fixed {
                pairs: if vfs <= vfs_with_many { many } else { few },
            },
            // An older kernel or firmware divides the vectors itself and does not tell.
            Some(Rule::Pool { overhead, most }) => match adapter.vf_total_msix.value() {
                Some(&vectors) if vectors > 0 => Self::Pool {
                    vectors,
                    overhead,
                    most,
                    vfs,
                },
                _ => Self::Unknown,
            },
        }
    }

    /// The profile of an adapter with the VFs it has, or would be given if it has none yet.
    pub fn of(adapter: &AdapterFacts, levels: &Levels) -> Self {
        let existing = adapter.vfs.len() as u32;
        let vfs = if existing > 0 {
            existing
        } else {
            automatic(adapter, levels).0
        };
        Self::with_vfs(adapter, vfs)
    }

    /// True if a VF can have so many queue pairs, the others being idle.
    pub fn can_provision(self, pairs: u32) -> bool {
        match self {
            Self::Fixed { pairs: has } => has >= pairs,
            Self::Pool { most, vfs, .. } => most >= pairs && self.vfs_with(pairs, vfs.max(1)) > 0,
            Self::Unknown => pairs <= 1,
        }
    }

    /// How many VFs can have so many queue pairs at once, of `total`, the others being idle.
    fn vfs_with(self, pairs: u32, total: u32) -> u32 {
        match self {
            Self::Fixed { pairs: has } => total * u32::from(has >= pairs),
            Self::Unknown => total * u32::from(pairs <= 1),
            Self::Pool { most, .. } if most < pairs => 0,
            Self::Pool {
                vectors, overhead, ..
            } => {
                let idle = total.saturating_mul(overhead + 1);
                match (vectors.checked_sub(idle), pairs.saturating_sub(1)) {
                    (None, _) => 0,
                    (Some(_), 0) => total,
                    (Some(left), more) => total.min(left / more),
                }
            }
        }
    }
}

/// Queue pairs of each of an adapter's VFs and how many of them Linux's driver uses; `None` if this
/// kind of card is not known, or a VF has what its level needs.
pub fn queue_pairs(adapter: &AdapterFacts, levels: &Levels) -> Option<QueuePairs> {
    match QueuePairProfile::of(adapter, levels) {
        QueuePairProfile::Fixed { pairs } => Some(QueuePairs {
            allotted: pairs,
            effective: usable_in_linux(adapter, pairs),
        }),
        QueuePairProfile::Pool { .. } | QueuePairProfile::Unknown => None,
    }
}

/// Queue pairs of a VF that a VM has, by evidence: what it was allotted, and what the guest's driver
/// uses. `None` if nobody can tell.
pub fn queue_pairs_of_vf(adapter: &AdapterFacts, vf: &VfFacts) -> Option<QueuePairs> {
    let allotted = match QueuePairProfile::with_vfs(adapter, adapter.vfs.len() as u32) {
        QueuePairProfile::Fixed { pairs } => pairs,
        QueuePairProfile::Pool { overhead, most, .. } => {
            vf.msix_vectors.value()?.saturating_sub(overhead).min(most)
        }
        QueuePairProfile::Unknown => return None,
    };
    Some(QueuePairs {
        allotted,
        effective: in_use(adapter, vf.active_vectors)?.min(allotted),
    })
}

/// True if a VF of the adapter can have what the level needs.
pub fn can_provision(adapter: &AdapterFacts, levels: &Levels, level: Performance) -> bool {
    QueuePairProfile::of(adapter, levels).can_provision(levels.queue_pairs(level))
}

/// Levels that VFs of the adapter can give, lowest first.
pub fn levels(adapter: &AdapterFacts, levels: &Levels) -> Vec<Performance> {
    levels_of(QueuePairProfile::of(adapter, levels), levels)
}

fn levels_of(profile: QueuePairProfile, levels: &Levels) -> Vec<Performance> {
    let possible = |level: &Performance| profile.can_provision(levels.queue_pairs(*level));
    Performance::ALL.into_iter().filter(possible).collect()
}

/// What Linux's driver for this kind of VF makes of `pairs` queue pairs.
fn usable_in_linux(adapter: &AdapterFacts, pairs: u32) -> u32 {
    let most = cards::of(adapter).and_then(|card| card.linux_most);
    most.map_or(pairs, |most| most.min(pairs))
}

/// Queue pairs really in use, by evidence: the MSI-X vectors that the guest's driver has enabled on
/// the VF. Each pair has one, and some are for other things; igbvf has one for TX, one for RX and one
/// for messages. 0 if no driver drives the VF; `None` if the card is not known.
pub fn in_use(adapter: &AdapterFacts, active_vectors: u32) -> Option<u32> {
    let card = cards::of(adapter).filter(|card| card.rule != Rule::NotTold)?;
    if active_vectors == 0 {
        return Some(0);
    }
    let pairs = active_vectors.saturating_sub(card.vectors_beside).max(1);
    // A driver that shares a vector between pairs, or polls, cannot be told from here.
    Some(
        match QueuePairProfile::with_vfs(adapter, adapter.vfs.len() as u32) {
            QueuePairProfile::Fixed { pairs: has } => pairs.min(has),
            QueuePairProfile::Pool { most, .. } => pairs.min(most),
            QueuePairProfile::Unknown => pairs,
        },
    )
}

/// Why the card's own switch cannot be used as it is set now. A driver without such a setting has the legacy
/// one; a mode that could not be read may be any.
pub fn eswitch_refused(adapter: &AdapterFacts) -> Option<String> {
    let found = match adapter.eswitch {
        Support::Unsupported | Support::Supported(EswitchMode::Legacy) => return None,
        Support::Supported(EswitchMode::Switchdev) => "is in mode switchdev",
        Support::Supported(EswitchMode::Other) => {
            "is in a mode that is neither legacy nor switchdev"
        }
        Support::Unknown => "has a mode that could not be read",
    };
    let pci = adapter.pci;
    Some(format!(
        "the card's switch {found} (devlink dev eswitch show pci/{pci})"
    ))
}

/// How many VFs to make, what they can give, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VfCountPlan {
    /// The number.
    pub count: u32,
    /// Levels that VFs can give at this number; all of them at once unless there is a pool.
    pub levels: Vec<Performance>,
    /// The trade-off, in words.
    pub because: String,
}

/// Chooses the number of VFs. `Auto` keeps what is there; if there is nothing it takes the largest
/// number at which High is possible, else Medium, else Low.
///
/// # Errors
/// `vf_count_not_possible` if the adapter offers fewer, if nothing is there to keep, or if VFs in use
/// would have to go: a number is changed by going through 0 (kernel: drivers/pci/pci-sysfs.c,
/// `sriov_numvfs_store` answers EBUSY otherwise).
pub fn choose_vf_count(
    adapter: &AdapterFacts,
    levels: &Levels,
    wanted: VfCount,
) -> Result<VfCountPlan, Problem> {
    let (total, existing) = (adapter.total_vfs, adapter.vfs.len() as u32);
    let name = &adapter.ifname;
    let refused =
        |detail: String| Err(Problem::new(Code::VfCountNotPossible, detail).about("adapter", name));
    let plan = |count: u32, because: String| {
        Ok(VfCountPlan {
            count,
            levels: levels_of(QueuePairProfile::with_vfs(adapter, count), levels),
            because,
        })
    };
    match wanted {
        VfCount::Keep if existing == 0 => refused(format!(
            "The VFs of {name} are to be kept as they are, but it has none."
        )),
        VfCount::Auto if existing == 0 => {
            let (count, because) = automatic(adapter, levels);
            if count == 0 {
                return refused(format!("{name} offers no VFs."));
            }
            plan(count, because)
        }
        VfCount::Keep | VfCount::Auto => {
            plan(existing, format!("the {existing} that exist are kept"))
        }
        VfCount::Exactly(count) if u32::from(count) > total => refused(format!(
            "{count} VFs are asked for on {name}, which offers {total}."
        )),
        VfCount::Exactly(count) => {
            let (count, used) = (u32::from(count), vfs_in_use(adapter));
            if existing != count && used > 0 {
                return refused(format!(
                    "{name} has {existing} VFs, {count} are asked for, and {used} of them are in use."
                ));
            }
            plan(
                count,
                format!("{count} are asked for, {total} are possible"),
            )
        }
    }
}

fn vfs_in_use(adapter: &AdapterFacts) -> usize {
    let used = |vf: &&VfFacts| vf.user != VfUser::Nobody || vf.vm.is_some();
    adapter.vfs.iter().filter(used).count()
}

/// The largest number of VFs at which High is possible for all of them, else Medium, else Low; 0 if
/// the card offers none.
fn automatic(adapter: &AdapterFacts, levels: &Levels) -> (u32, String) {
    let total = adapter.total_vfs;
    if matches!(
        QueuePairProfile::with_vfs(adapter, total),
        QueuePairProfile::Unknown
    ) {
        let because = format!(
            "all {total} that the card offers; its queue pairs are not known, so only one is sure"
        );
        return (total, because);
    }
    for level in Performance::ALL.into_iter().rev() {
        // The more VFs the fewer queue pairs for each: the first number that fits is the largest.
        let fits = |count: &u32| {
            let pairs = levels.queue_pairs(level);
            QueuePairProfile::with_vfs(adapter, *count).vfs_with(pairs, *count) == *count
        };
        let Some(count) = (1..=total).rev().find(fits) else {
            continue;
        };
        let more =
            (count < total).then(|| format!(" ({total} possible, then with fewer queue pairs)"));
        let because = format!(
            "the most at which every VF can give {level}{}",
            more.unwrap_or_default()
        );
        return (count, because);
    }
    (0, "the card offers none".into())
}

#[cfg(test)]
mod tests;
