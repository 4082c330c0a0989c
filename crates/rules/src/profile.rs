//! What cards can give: queue pairs of a VF, levels, and how many VFs to make.
//!
//! Three things are kept apart: what a VF *can have* (the card), what it *is allotted* at a level, and
//! what the guest's driver *really uses* (Linux's igbvf uses one pair of two). A card that is not
//! known gives Low only: a VF that works at all has one queue pair.

mod cards;

use accelnet_model::{AdapterFacts, Code, Performance, Problem, QueuePairs, VfCount, VfUser};
use cards::Rule;

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
    },
    /// This kind of card is not known. Every VF has one pair at least.
    Unknown,
}

impl QueuePairProfile {
    /// The profile of an adapter as if it had `vfs` VFs.
    pub fn with_vfs(adapter: &AdapterFacts, vfs: u32) -> Self {
        match cards::of(adapter).map(|card| card.rule) {
            None => Self::Unknown,
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
                },
                _ => Self::Unknown,
            },
        }
    }

    /// The profile of an adapter with the VFs it has, or would be given if it has none yet.
    pub fn of(adapter: &AdapterFacts) -> Self {
        let existing = adapter.vfs.len() as u32;
        let vfs = if existing > 0 {
            existing
        } else {
            automatic(adapter).0
        };
        Self::with_vfs(adapter, vfs)
    }

    /// True if a VF can have what the level needs.
    pub fn can_provision(self, level: Performance) -> bool {
        let wanted = level.queue_pairs();
        match self {
            Self::Fixed { pairs } => pairs >= wanted,
            Self::Pool {
                vectors,
                overhead,
                most,
            } => most >= wanted && vectors >= wanted + overhead,
            Self::Unknown => wanted <= 1,
        }
    }

    /// Queue pairs that a VF has when it is given out at a level; `None` if nobody can tell.
    pub fn allotted(self, level: Performance) -> Option<u32> {
        match self {
            Self::Fixed { pairs } => Some(pairs),
            Self::Pool { .. } => Some(level.queue_pairs()),
            Self::Unknown => None,
        }
    }

    /// How many VFs can have the level at once, of `total`.
    fn vfs_at(self, level: Performance, total: u32) -> u32 {
        match self {
            _ if !self.can_provision(level) => 0,
            Self::Fixed { .. } | Self::Unknown => total,
            Self::Pool {
                vectors, overhead, ..
            } => total.min(vectors / (level.queue_pairs() + overhead)),
        }
    }
}

/// Queue pairs of each of an adapter's VFs and how many of them Linux's driver uses; `None` if this
/// kind of card is not known, or a VF has what its level needs.
pub fn queue_pairs(adapter: &AdapterFacts) -> Option<QueuePairs> {
    match QueuePairProfile::of(adapter) {
        QueuePairProfile::Fixed { pairs } => Some(QueuePairs {
            allotted: pairs,
            effective: usable_in_linux(adapter, pairs),
        }),
        QueuePairProfile::Pool { .. } | QueuePairProfile::Unknown => None,
    }
}

/// True if a VF of the adapter can have what the level needs.
pub fn can_provision(adapter: &AdapterFacts, level: Performance) -> bool {
    QueuePairProfile::of(adapter).can_provision(level)
}

/// Levels that VFs of the adapter can give, lowest first.
pub fn levels(adapter: &AdapterFacts) -> Vec<Performance> {
    levels_of(QueuePairProfile::of(adapter))
}

fn levels_of(profile: QueuePairProfile) -> Vec<Performance> {
    let possible = |level: &Performance| profile.can_provision(*level);
    Performance::ALL.into_iter().filter(possible).collect()
}

/// What Linux's driver for this kind of VF makes of `pairs` queue pairs.
fn usable_in_linux(adapter: &AdapterFacts, pairs: u32) -> u32 {
    let most = cards::of(adapter).and_then(|card| card.linux_most);
    most.map_or(pairs, |most| most.min(pairs))
}

/// Queue pairs a Linux guest with so many vCPUs uses at a level: what its VF is allotted, what its
/// driver can use, and one per vCPU at most (all the drivers of the table limit themselves to the
/// CPUs that are online). `None` if the card is not known.
pub fn effective_in_linux(adapter: &AdapterFacts, level: Performance, vcpus: u32) -> Option<u32> {
    let allotted = QueuePairProfile::of(adapter).allotted(level)?;
    Some(usable_in_linux(adapter, allotted).min(vcpus.max(1)))
}

/// Queue pairs really in use, by evidence: the MSI-X vectors that the guest's driver has enabled on
/// the VF. Each pair has one, and some are for other things; igbvf has one for TX, one for RX and one
/// for messages. 0 if no driver drives the VF; `None` if the card is not known.
pub fn in_use(adapter: &AdapterFacts, active_vectors: u32) -> Option<u32> {
    let card = cards::of(adapter)?;
    if active_vectors == 0 {
        return Some(0);
    }
    let pairs = active_vectors.saturating_sub(card.vectors_beside).max(1);
    // A driver that shares a vector between pairs, or polls, cannot be told from here.
    Some(match QueuePairProfile::of(adapter) {
        QueuePairProfile::Fixed { pairs: has } => pairs.min(has),
        QueuePairProfile::Pool { most, .. } => pairs.min(most),
        QueuePairProfile::Unknown => pairs,
    })
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
pub fn choose_vf_count(adapter: &AdapterFacts, wanted: VfCount) -> Result<VfCountPlan, Problem> {
    let (total, existing) = (adapter.total_vfs, adapter.vfs.len() as u32);
    let name = &adapter.ifname;
    let refused =
        |detail: String| Err(Problem::new(Code::VfCountNotPossible, detail).about("adapter", name));
    let plan = |count: u32, because: String| {
        Ok(VfCountPlan {
            count,
            levels: levels_of(QueuePairProfile::with_vfs(adapter, count)),
            because,
        })
    };
    match wanted {
        VfCount::Keep if existing == 0 => refused(format!(
            "The VFs of {name} are to be kept as they are, but it has none."
        )),
        VfCount::Auto if existing == 0 => {
            let (count, because) = automatic(adapter);
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
    let used = |vf: &&accelnet_model::VfFacts| vf.user != VfUser::Nobody || vf.vm.is_some();
    adapter.vfs.iter().filter(used).count()
}

/// The largest number of VFs at which High is possible for all of them, else Medium, else Low; 0 if
/// the card offers none.
fn automatic(adapter: &AdapterFacts) -> (u32, String) {
    let total = adapter.total_vfs;
    if matches!(
        QueuePairProfile::with_vfs(adapter, total),
        QueuePairProfile::Unknown
    ) {
        let because = format!(
            "all {total} that the card offers; its queue pairs are not known, so only Low is sure"
        );
        return (total, because);
    }
    for level in Performance::ALL.into_iter().rev() {
        // The more VFs the fewer queue pairs for each: the first number that fits is the largest.
        let fits = |count: &u32| {
            QueuePairProfile::with_vfs(adapter, *count).vfs_at(level, *count) == *count
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
