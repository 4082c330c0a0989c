//! What counters say of NICs on VFs, from one look to the next.
//!
//! Counters change all the time, and a report is sent when it changes: what is told of them is what was found, which
//! seldom changes. A guest that drives its VF and sends by its tap alone is told when that was so at several looks;
//! what was dropped is summed up here, and told anew once in a while.
//!
//! A counter that has gone back is that of an interface or a VF that was made anew, of a driver that was loaded again,
//! or of a card whose counter is narrow: of the time since the last look nothing is known then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{
    AdapterDrops, AdapterFacts, Counters, IdleVf, IfName, NicFacts, NodeDesired, PciAddress,
    Traffic, VfDrops, VfFacts, VmFacts, VmState,
};

use crate::{Observed, handle::Handle, moves::NicId, observed::tap_port};

/// Looks at which a guest sent by its tap and not by its VF, with none at which it sent by the VF between them, before
/// that is told. One or two are a switch-over.
const LOOKS: u32 = 3;
/// What was dropped is told anew at most this often: a card that drops all the time would make each report a new one.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// VFs that guests drive and do not send by.
    pub idle_vfs: Vec<IdleVf>,
    /// What adapters had no buffer for, where it is anything.
    pub adapter_drops: Vec<AdapterDrops>,
    /// What was dropped at VFs, where it is anything.
    pub vf_drops: Vec<VfDrops>,
}

/// Counters of the last look, and what came of them so far.
#[derive(Debug, Default)]
pub struct Counts {
    nics: BTreeMap<NicId, OfNic>,
    adapters: BTreeMap<IfName, OfAdapter>,
    told: Told,
    dropped_told: Option<Duration>,
}

#[derive(Debug, Clone)]
struct OfNic {
    vf: PciAddress,
    /// Frames that came by the tap, and the VF's counters.
    last: Option<(u64, Counters)>,
    /// Looks at which it sent by its tap alone.
    by_tap: u32,
    to_guest: u64,
    from_guest: u64,
    /// What its driver had said of the VF at the last look, and how often it did since then.
    said: Option<u64>,
    misused: u64,
}

#[derive(Debug, Clone, Default)]
struct OfAdapter {
    missed: Option<u64>,
    no_buffer: u64,
    said: Option<u64>,
    misused: u64,
}

/// A NIC that has a VF.
struct OnVf<'a> {
    id: NicId,
    vm: &'a VmFacts,
    facts: &'a NicFacts,
    adapter: &'a AdapterFacts,
    vf: &'a VfFacts,
}

/// NICs of VMs with a level that have a VF.
fn on_vfs<'a>(
    observed: &'a Observed,
    desired: &'a NodeDesired,
) -> impl Iterator<Item = OnVf<'a>> + use<'a> {
    let vms = observed.vms.iter().filter(|vm| {
        let wish = desired.vm(vm.uuid);
        wish.is_some_and(|wish| wish.level.is_some()) && !observed.stale.contains(&vm.uuid)
    });
    let nics = vms.flat_map(|vm| vm.nics.iter().map(move |facts| (vm, facts)));
    nics.filter_map(move |(vm, facts)| {
        let Some(Handle::Vfio(adapter, vf)) = Handle::of(observed, vm, facts) else {
            return None;
        };
        let id = NicId {
            vm: vm.uuid,
            mac: facts.mac,
        };
        Some(OnVf {
            id,
            vm,
            facts,
            adapter,
            vf,
        })
    })
}

/// Adapters whose counters are worth a look: VMs with a level have VFs of them.
pub fn adapters(observed: &Observed, desired: &NodeDesired) -> BTreeSet<IfName> {
    on_vfs(observed, desired)
        .map(|nic| nic.adapter.ifname.clone())
        .collect()
}

/// How far a counter has gone; `None` if that is not known.
fn grown(before: u64, now: u64) -> Option<u64> {
    now.checked_sub(before)
}

/// The same of one that not every driver has.
fn dropped(before: Option<u64>, now: Option<u64>) -> u64 {
    let grown = before.zip(now).and_then(|(before, now)| grown(before, now));
    grown.unwrap_or(0)
}

/// The same, where a look that says nothing is passed over.
fn gone_on(last: &mut Option<u64>, now: Option<u64>) -> u64 {
    match now {
        Some(now) => dropped(last.replace(now), Some(now)),
        None => 0,
    }
}

/// How often the adapter's driver has spoken of a VF: a log in which it is not has not spoken of it.
fn said_of(read: &Traffic, vf: Option<u32>) -> Option<u64> {
    let misuse = read.misuse.as_ref()?;
    Some(misuse.get(&vf).copied().unwrap_or(0))
}

impl Counts {
    /// Nothing is known, and nothing told.
    pub fn is_empty(&self) -> bool {
        self.nics.is_empty() && self.adapters.is_empty() && self.told == Told::default()
    }

    /// What is told now.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Takes in what was read of adapters; one that could not be read is not there. A NIC that `is_on_tap` is known to
    /// have been left on its tap: there is nothing to find out of it.
    pub fn take(
        &mut self,
        now: Duration,
        observed: &Observed,
        desired: &NodeDesired,
        read: &BTreeMap<IfName, Traffic>,
        is_on_tap: impl Fn(NicId) -> bool,
    ) {
        let nics: Vec<OnVf<'_>> = on_vfs(observed, desired).collect();
        let there: BTreeSet<NicId> = nics.iter().map(|nic| nic.id).collect();
        self.nics.retain(|id, _| there.contains(id));
        for nic in &nics {
            self.take_nic(nic, observed, read, is_on_tap(nic.id));
        }
        let used: BTreeSet<&IfName> = nics.iter().map(|nic| &nic.adapter.ifname).collect();
        self.adapters.retain(|name, _| used.contains(name));
        for name in used {
            let Some(read) = read.get(name) else {
                continue;
            };
            let own = read.interfaces.get(name);
            let missed = own.and_then(|counters| counters.rx_missed);
            let known = self.adapters.entry(name.clone()).or_default();
            known.no_buffer += gone_on(&mut known.missed, missed);
            known.misused += gone_on(&mut known.said, said_of(read, None));
        }
        self.tell(now);
    }

    fn take_nic(
        &mut self,
        nic: &OnVf<'_>,
        observed: &Observed,
        read: &BTreeMap<IfName, Traffic>,
        is_on_tap: bool,
    ) {
        let new = OfNic {
            vf: nic.vf.pci,
            last: None,
            by_tap: 0,
            to_guest: 0,
            from_guest: 0,
            said: None,
            misused: 0,
        };
        let known = self.nics.entry(nic.id).or_insert_with(|| new.clone());
        if known.vf != nic.vf.pci {
            *known = new;
        }
        let runs = nic.vm.state == VmState::Running && nic.vm.job.is_none();
        let usable = runs && nic.vf.active_vectors > 0 && nic.adapter.up && nic.adapter.carrier;
        let judged = usable && !is_on_tap;
        if !judged {
            known.by_tap = 0;
        }
        let name = &nic.adapter.ifname;
        let said = read
            .get(name)
            .and_then(|read| said_of(read, Some(nic.vf.index)));
        known.misused += gone_on(&mut known.said, said);
        let vfs = read.get(name).and_then(|read| read.vfs.get(name));
        let bridge = nic.facts.bridge.as_ref();
        let bridge = bridge.and_then(|bridge| observed.bridge(bridge));
        let port = bridge.and_then(|bridge| tap_port(bridge, nic.facts));
        let of_vf = vfs.and_then(|vfs| vfs.get(&nic.vf.index));
        let (Some(vfs), Some(of_vf), Some(port)) = (vfs, of_vf, port) else {
            return;
        };
        let Some((frames, before)) = known.last.replace((port.rx_packets, *of_vf)) else {
            return;
        };
        known.to_guest += dropped(before.rx_dropped, of_vf.rx_dropped);
        known.from_guest += dropped(before.tx_dropped, of_vf.tx_dropped);
        // A driver that counts nothing, or nothing that is sent, says zero of every VF.
        let counts = vfs.values().any(|vf| vf.tx_packets > 0);
        let by_vf = grown(before.tx_packets, of_vf.tx_packets);
        let by_tap = grown(frames, port.rx_packets);
        match (by_vf, by_tap) {
            (Some(1..), _) => known.by_tap = 0,
            (Some(0), Some(1..)) if judged && counts => {
                known.by_tap = (known.by_tap + 1).min(LOOKS);
            }
            // It was silent, or nothing is known of the time since.
            _ => {}
        }
    }

    fn tell(&mut self, now: Duration) {
        let idle = self.nics.iter().filter(|(_, nic)| nic.by_tap >= LOOKS);
        let idle = idle.map(|(id, nic)| IdleVf {
            vm: id.vm,
            mac: id.mac,
            vf: nic.vf,
        });
        self.told.idle_vfs = idle.collect();
        let due = self
            .dropped_told
            .is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY);
        if !due {
            return;
        }
        let adapters = self.adapters.iter();
        let adapters = adapters.filter(|(_, of)| of.no_buffer > 0 || of.misused > 0);
        let adapter_drops: Vec<AdapterDrops> = adapters
            .map(|(adapter, of)| AdapterDrops {
                adapter: adapter.clone(),
                no_buffer: of.no_buffer,
                misused: of.misused,
            })
            .collect();
        let nics = self.nics.iter();
        let nics = nics.filter(|(_, nic)| [nic.to_guest, nic.from_guest, nic.misused] != [0; 3]);
        let vf_drops: Vec<VfDrops> = nics
            .map(|(id, nic)| VfDrops {
                vm: id.vm,
                mac: id.mac,
                vf: nic.vf,
                to_guest: nic.to_guest,
                from_guest: nic.from_guest,
                misused: nic.misused,
            })
            .collect();
        if (&adapter_drops, &vf_drops) != (&self.told.adapter_drops, &self.told.vf_drops) {
            (self.told.adapter_drops, self.told.vf_drops) = (adapter_drops, vf_drops);
            self.dropped_told = Some(now);
        }
    }
}

#[cfg(test)]
mod tests;
