//! What looks and glances tell is taken in. What could not be seen stays as it was last seen, and
//! is known to be old.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_host::{HostError, LinkSeen};
use accelnet_hypervisor::VmSeen;
use accelnet_model::{
    BridgeFacts, Code, IfName, PolicyFinding, PolicyKind, Problem, Traffic, UnseenVm, VfFacts,
    VfUser, VmFacts, VmJob, VmState,
};
use accelnet_rules::{action::Lane, foreign, isolation, phase::Past, profile};
use uuid::Uuid;

use super::Machine;
use crate::{
    event::{AdaptersLook, Effect, GlanceSeen, HostLook, VmsLook},
    ledger::AdapterEntry,
    look::host_problem,
};

impl Machine {
    /// A look at the machine is over.
    pub(super) fn host_seen(&mut self, now: Duration, look: HostLook, effects: &mut Vec<Effect>) {
        let mut problems = Vec::new();
        match look.node {
            Ok(node) => {
                let before = std::mem::replace(&mut self.observed.node, node);
                let node = &mut self.observed.node;
                (node.libvirt, node.qemu) = (before.libvirt, before.qemu);
                node.domain_capabilities = before.domain_capabilities;
            }
            Err(error) => problems.push(host_problem(&error)),
        }
        // What was changed meanwhile is known better than what was seen of it.
        let touched = std::mem::take(&mut self.looks.touched_frames);
        match look.adapters {
            Ok(_) if touched => {}
            Ok(found) => self.adapters_seen(now, found, &mut problems),
            Err(error) => problems.push(host_problem(&error)),
        }
        match look.bridges {
            Ok(_) if touched => {}
            Ok(bridges) => self.bridges_seen(bridges),
            Err(error) => problems.push(host_problem(&error)),
        }
        self.policy_seen(look.policy);
        let whole = problems.is_empty() && self.observed.unseen_adapters.is_empty();
        // Ports were read some time after this.
        if let Some(counted) = self.looks.host.began().filter(|_| !touched) {
            let nics = self.memory.pasts.keys().map(|nic| (*nic, counted));
            self.memory.counted = nics.collect();
        }
        let began = self.looks.host.ends(now, self.number, problems);
        if touched {
            self.looks.owe_host(now);
        } else {
            self.looks.whole = Some(began);
            let of_host = |lane: &Lane| matches!(lane, Lane::Adapter(_) | Lane::Frames);
            self.unseen_work
                .retain(|lane, done| !of_host(lane) || *done > began);
        }
        self.assign();
        self.count(now, &look.counted);
        self.remember(whole && !touched, effects);
        self.changed = true;
    }

    fn count(&mut self, now: Duration, read: &BTreeMap<IfName, Traffic>) {
        if read.is_empty() && self.counts.is_empty() {
            return;
        }
        let pasts = &self.memory.pasts;
        let given_up = |nic| pasts.get(&nic).is_some_and(|past: &Past| past.given_up);
        let (observed, desired) = (&self.observed, &self.ledger.desired);
        self.counts.take(now, observed, desired, read, given_up);
    }

    fn adapters_seen(&mut self, now: Duration, found: AdaptersLook, problems: &mut Vec<Problem>) {
        let old = std::mem::take(&mut self.observed.adapters);
        let busy = self.adapters_worked_on();
        let touched = std::mem::take(&mut self.looks.touched_adapters);
        let keeps = |name: &IfName| found.unseen.iter().any(|(unseen, _)| unseen == name);
        let mut adapters = found.seen;
        for before in old {
            let now = adapters.iter_mut().find(|now| now.pci == before.pci);
            match now {
                Some(now) if touched.contains(&before.pci) => *now = before,
                Some(_) => {}
                None if keeps(&before.ifname) => adapters.push(before),
                None => {}
            }
        }
        adapters.sort_by_key(|adapter| adapter.pci);
        let worked_on = |name: &IfName| {
            let mut all = adapters.iter();
            all.any(|adapter| adapter.ifname == *name && busy.contains(&adapter.pci))
        };
        for (name, because) in &found.unseen {
            if !worked_on(name) {
                let text = format!("Adapter {name} cannot be looked at: {because}.");
                let problem = Problem::new(Code::HostOperationFailed, text);
                problems.push(problem.about("adapter", name));
            }
        }
        self.observed.unseen_adapters = found.unseen;
        self.observed.adapters = adapters;
        self.ledger.vectors.fill(&mut self.observed);
        let adapters = &self.observed.adapters;
        self.setting_up.see(now, adapters, &self.ledger.ours);
    }

    /// Ports of switches that no intent names and no adapter is a port of are nobody's business here, and
    /// would make every report a new one.
    fn bridges_seen(&mut self, mut bridges: Vec<BridgeFacts>) {
        let intents = self.ledger.desired.intents.iter();
        let mut ours: BTreeSet<IfName> = intents.map(|intent| intent.bridge.clone()).collect();
        let adapters = self.observed.adapters.iter();
        ours.extend(adapters.filter_map(|adapter| adapter.master.clone()));
        let above = bridges
            .iter()
            .filter(|bridge| ours.contains(&bridge.ifname));
        let above: Vec<IfName> = above.filter_map(|bridge| bridge.master.clone()).collect();
        ours.extend(above);
        for bridge in &mut bridges {
            if !ours.contains(&bridge.ifname) {
                bridge.ports.clear();
            }
        }
        self.observed.bridges = bridges;
        let ports = self
            .observed
            .bridges
            .iter()
            .flat_map(|bridge| &bridge.ports);
        let held: BTreeSet<&IfName> = ports
            .clone()
            .filter(|port| port.hold_queue)
            .map(|port| &port.ifname)
            .collect();
        let there: BTreeSet<&IfName> = ports.map(|port| &port.ifname).collect();
        // A tap that was made anew under its name is another.
        self.memory.told.retain(|tap, _| held.contains(tap));
        self.memory.roomy.retain(|tap| there.contains(tap));
        self.memory
            .without_hold
            .retain(|tap| there.contains(tap) && !held.contains(tap));
    }

    /// What cannot be read is a finding: nobody may say that there is none.
    fn policy_seen(
        &mut self,
        policy: Vec<(
            accelnet_rules::moves::NicId,
            Result<Vec<PolicyFinding>, HostError>,
        )>,
    ) {
        let read = |(nic, found): (accelnet_rules::moves::NicId, Result<_, HostError>)| {
            let findings = found.unwrap_or_else(|error| {
                vec![PolicyFinding {
                    kind: PolicyKind::TrafficControl,
                    place: format!("path of NIC {}", nic.mac),
                    rule: format!("cannot be read: {error}"),
                    name: None,
                }]
            });
            ((nic.vm, nic.mac), findings)
        };
        self.observed.policy = policy.into_iter().map(read).collect();
        // Once the discipline that was in the way is gone there is a place again.
        let policy = &self.observed.policy;
        let in_the_way = |tap: &IfName| {
            let mut all = policy.values().flatten();
            all.any(|one| one.kind == PolicyKind::TrafficControl && one.place == tap.as_str())
        };
        self.memory.without_hold.retain(in_the_way);
    }

    /// Tells VFs which VM has them, and which needs them at its next start.
    fn assign(&mut self) {
        let has: Vec<_> = self
            .observed
            .vms
            .iter()
            .flat_map(|vm| vm.hostdevs.iter().map(|hostdev| (hostdev.pci, vm.uuid)))
            .collect();
        let adapters = self.observed.adapters.iter_mut();
        for vf in adapters.flat_map(|adapter| &mut adapter.vfs) {
            let its = has.iter().find(|(pci, _)| *pci == vf.pci);
            vf.vm = its.map(|(_, vm)| *vm);
            let mut vms = self.observed.vms.iter();
            let promised = vms.find(|vm| vm.hostdevs_config.contains(&vf.pci));
            let comes = || self.memory.promised.get(&vf.pci).copied();
            vf.promised = promised.map(|vm| vm.uuid).or_else(comes);
        }
        isolation::mark(&mut self.observed, &self.ledger.desired.isolated);
        let ours = &mut self.ledger.ours;
        ours.since(&self.observed.node.boot_id);
        let given = self.observed.vms.iter().flat_map(|vm| &vm.hostdevs);
        given
            .filter(|has| has.is_ours())
            .for_each(|has| ours.have(has.pci, has.mac));
        // One that a VM has which was not seen may look as if nobody had it.
        if self.observed.all_vms_seen() {
            foreign::mark(&mut self.observed, &self.ledger.desired.intents, ours);
        }
    }

    /// Notes in the ledger what the node's next start, or our own, needs to know.
    fn remember(&mut self, whole: bool, effects: &mut Vec<Effect>) {
        let before = self.ledger.clone();
        self.remember_adapters();
        // What could not be seen is not gone.
        if whole {
            self.ledger.remember_bridges(&self.observed);
            if self.lanes.is_empty() && self.memory.moves.is_empty() {
                self.ledger.forget_gone(&self.observed);
            }
        }
        if self.ledger != before {
            self.save(effects);
        }
    }

    /// Notes how many VFs to make at the node's next start.
    fn remember_adapters(&mut self) {
        let Some(intent) = self.ledger.desired.enabled_intent() else {
            return;
        };
        let wanted = |adapter| {
            profile::choose_vf_count(adapter, &intent.levels, intent.vfs)
                .ok()
                .map(|plan| plan.count)
        };
        let entries: Vec<AdapterEntry> = self
            .observed
            .uplinks(intent)
            .filter_map(|adapter| {
                Some(AdapterEntry {
                    id: adapter.id.clone(),
                    vfs: wanted(adapter)?,
                })
            })
            .filter(|entry| entry.vfs > 0)
            .collect();
        if !entries.is_empty() {
            self.ledger.adapters = entries;
        }
    }

    /// A look at the VMs is over.
    pub(super) fn vms_seen(&mut self, now: Duration, look: VmsLook, effects: &mut Vec<Effect>) {
        let mut problems = Vec::new();
        let taps = self.taps();
        match (look.versions, look.vms) {
            (Ok(versions), Ok(vms)) => {
                let node = &mut self.observed.node;
                (node.libvirt, node.qemu) = (Some(versions.libvirt), Some(versions.qemu));
                node.domain_capabilities = look.capabilities;
                self.observed.hypervisor_answers = true;
                self.await_them(now, &vms, effects);
                self.vms_found(now, vms);
            }
            (Err(error), _) | (_, Err(error)) => {
                let text = format!("{error}.");
                problems.push(Problem::new(Code::HypervisorUnavailable, text));
                self.observed.hypervisor_answers = false;
                let node = &mut self.observed.node;
                (node.libvirt, node.qemu) = (None, None);
                node.domain_capabilities = None;
                let all = self.observed.vms.iter().map(|vm| vm.uuid);
                self.observed.stale = all.collect();
            }
        }
        let began = self.looks.vms.ends(now, self.number, problems);
        self.unseen_work
            .retain(|lane, done| !matches!(lane, Lane::Vm(_)) || *done > began);
        self.assign();
        // Policy on the path of a NIC that is new is not known yet.
        if taps != self.taps() || self.doubts_devices() {
            self.looks.want_host_soon(now);
        }
        self.changed = true;
    }

    /// A definition says one thing of a VF and QEMU another, or seemed to when the machine was seen last: which
    /// of them is so can be told only by what is seen of it after the definition.
    fn doubts_devices(&self) -> bool {
        let observed = &self.observed;
        let vfs = || observed.adapters.iter().flat_map(|adapter| &adapter.vfs);
        let open =
            |vf: &VfFacts, its: u32| matches!(vf.user, VfUser::Process { pid, .. } if pid == its);
        observed.vms.iter().any(|vm| {
            let Some(pid) = vm.pid else { return false };
            let has = |vf: &VfFacts| vm.hostdevs.iter().any(|has| has.pci == vf.pci);
            vfs().any(|vf| open(vf, pid) != has(vf))
        })
    }

    /// What a change of calls for a look at the machine: NICs, and devices of VMs.
    fn taps(&self) -> BTreeSet<(Option<IfName>, usize)> {
        let vms = self.observed.vms.iter();
        let nics = vms.flat_map(|vm| {
            vm.nics
                .iter()
                .map(|nic| (nic.tap.clone(), vm.hostdevs.len()))
        });
        nics.collect()
    }

    fn vms_found(&mut self, now: Duration, found: Vec<VmSeen>) {
        let old = std::mem::take(&mut self.observed.vms);
        let touched = std::mem::take(&mut self.looks.touched_vms);
        let there: BTreeSet<Uuid> = found.iter().map(|vm| vm.uuid).collect();
        self.observed.unseen_vms.clear();
        self.observed.stale.clear();
        for seen in found {
            let before = old.iter().find(|vm| vm.uuid == seen.uuid);
            self.note_arrival(now, &seen);
            self.note_start(&seen, before);
            // While we work on it ourselves libvirt may keep everybody else waiting.
            let ours = self.lanes.contains_key(&Lane::Vm(seen.uuid));
            let kept = before
                .filter(|_| ours || touched.contains(&seen.uuid))
                .cloned();
            match (seen.facts, kept) {
                (Ok(_), Some(kept)) => self.observed.vms.push(kept),
                (Ok(facts), None) => self.observed.vms.push(facts),
                (Err(_), Some(kept)) if ours => self.observed.vms.push(VmFacts {
                    state: seen.state,
                    job: seen.job,
                    ..kept
                }),
                (Err(because), _) => {
                    self.observed.unseen_vms.push(UnseenVm {
                        uuid: seen.uuid,
                        name: seen.name,
                        state: seen.state,
                        job: seen.job,
                        because,
                    });
                    // Its frames go on as they did, on what was seen of it last.
                    let is_on = seen.state != VmState::Off && seen.job != Some(VmJob::Incoming);
                    if let Some(before) = before.filter(|vm| is_on && vm.state != VmState::Off) {
                        let (state, job) = (seen.state, seen.job);
                        self.observed.stale.insert(seen.uuid);
                        let before = before.clone();
                        self.observed.vms.push(VmFacts {
                            state,
                            job,
                            ..before
                        });
                    }
                }
            }
        }
        self.observed.vms.sort_by_key(|vm| vm.uuid);
        self.incoming.retain(|vm| there.contains(vm));
        let running = |vm: &Uuid| {
            let mut vms = self.observed.vms.iter();
            vms.any(|facts| facts.uuid == *vm && facts.state != VmState::Off)
        };
        self.memory.departing.retain(running);
        self.memory.undressed.retain(|nic| running(&nic.vm));
        self.memory.left.retain(|nic| running(&nic.vm));
        self.staged.retain(|vm, _| there.contains(vm));
    }

    /// A VM that came in and runs now is here, and was not before.
    fn note_arrival(&mut self, now: Duration, seen: &VmSeen) {
        if seen.job == Some(VmJob::Incoming) {
            self.incoming.insert(seen.uuid);
            self.arrived.remove(&seen.uuid);
        } else if self.incoming.remove(&seen.uuid) && seen.state == VmState::Running {
            self.arrived.insert(seen.uuid, now);
            self.looks.want_host_soon(now);
        }
    }

    /// A VM that has been started since: what was staged on it is in effect, and what was heard of the process before
    /// says nothing of this one, although nobody has seen it off between.
    fn note_start(&mut self, seen: &VmSeen, before: Option<&VmFacts>) {
        let (Ok(facts), Some(before)) = (&seen.facts, before) else {
            return;
        };
        if facts.pid.is_some() && facts.pid != before.pid {
            self.staged.remove(&seen.uuid);
            self.memory.departing.remove(&seen.uuid);
            self.memory.undressed.retain(|nic| nic.vm != seen.uuid);
            self.memory.left.retain(|nic| nic.vm != seen.uuid);
        }
    }

    /// A glance at counters is over.
    pub(super) fn glanced(&mut self, now: Duration, seen: GlanceSeen) {
        let counted = self.looks.glance_began();
        for (name, link) in seen.links {
            self.link_seen(&name, link);
        }
        for glance in seen.nics {
            if let Some(frames) = glance.frames {
                self.memory.counted.insert(glance.at.nic, counted);
                let ports = self
                    .observed
                    .bridges
                    .iter_mut()
                    .flat_map(|bridge| &mut bridge.ports);
                for port in ports.filter(|port| port.ifname == glance.at.tap) {
                    port.rx_packets = frames;
                }
            }
            if let (Some(device), Some(vectors)) = (glance.at.vf, glance.vectors) {
                let vfs = self
                    .observed
                    .adapters
                    .iter_mut()
                    .flat_map(|its| &mut its.vfs);
                for vf in vfs.filter(|vf| vf.pci == device) {
                    vf.active_vectors = vectors;
                }
            }
        }
        self.glance_ends(now);
    }

    fn link_seen(&mut self, name: &IfName, link: LinkSeen) {
        let mut adapters = self.observed.adapters.iter_mut();
        if let Some(adapter) = adapters.find(|adapter| adapter.ifname == *name) {
            adapter.carrier = link.carrier;
        }
        let mut bridges = self.observed.bridges.iter_mut();
        let bond = bridges.find(|bridge| bridge.ifname == *name);
        if let Some(bond) = bond.and_then(|bridge| bridge.bond.as_mut()) {
            bond.active = link.active;
        }
    }

    /// Drivers in a VM's guest drive nothing now.
    pub(super) fn forget_vectors(&mut self, vm: Uuid) {
        let vfs = self
            .observed
            .adapters
            .iter_mut()
            .flat_map(|its| &mut its.vfs);
        for vf in vfs.filter(|vf| vf.vm == Some(vm)) {
            vf.active_vectors = 0;
        }
    }
}
