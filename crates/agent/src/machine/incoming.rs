//! VMs that are on their way here with a VF in their definition: a VF of this node is kept for each NIC, so that the
//! one who migrates can let the definition name it, and QEMU plugs nothing while the VM stands still.
//!
//! ```text
//!   asked ─► chosen, noted in the ledger ─► kept (the plan) ─► promised ─► the VM is seen ─► it runs, without them
//!              │ none is free                │ refused           │ not seen in time  │ gone      │
//!              ▼                             ▼                   ▼                   ▼           ▼
//!            told why                      told why              let go ◄────────────┴───────────┘
//! ```
//!
//! What its definition names is taken off the VM when it runs here (it cannot be used, as QEMU could not open it), and
//! it is given a VF as any other.

use std::{collections::BTreeMap, time::Duration};

use accelnet_hypervisor::VmSeen;
use accelnet_model::{Code, PciAddress, Problem, VfUser, VmState};
use accelnet_rules::plan;
use uuid::Uuid;

use super::Machine;
use crate::{
    event::{Effect, Expected, Promised},
    ledger::Incoming,
};

/// libvirt knows of a VM within a second of its hook's answer. On a machine that is emulated, or where other hooks
/// follow, it may take longer.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// What is known of those that are expected; which they are is in the ledger.
#[derive(Debug, Default)]
pub struct Awaited {
    /// Since when, and whether libvirt has them.
    of: BTreeMap<Uuid, (Duration, bool)>,
    /// Who waits for the promise, of which VM, and what it will be.
    asked: Vec<(u64, Uuid, Result<Promised, Problem>)>,
}

/// The VFs that are kept, and for whom.
pub fn promised(incoming: &[Incoming]) -> BTreeMap<PciAddress, Uuid> {
    let pairs = incoming
        .iter()
        .flat_map(|its| its.vfs.iter().map(|vf| (*vf, its.vm)));
    pairs.collect()
}

impl Machine {
    /// VFs are chosen for one that comes. Whoever asks again, after an attempt that failed, is given the same.
    pub(super) fn expect(
        &mut self,
        now: Duration,
        token: u64,
        vm: &Expected,
        effects: &mut Vec<Effect>,
    ) {
        self.prepare_memory(now);
        match self.kept_for(vm).map_or_else(|| self.choose(vm), Ok) {
            Ok(chosen) => {
                tracing::info!(vm = vm.name, ?chosen, "a VM is on its way here");
                self.forget_incoming(vm.vm);
                self.ledger.incoming.push(Incoming {
                    vm: vm.vm,
                    vfs: chosen.iter().map(|(_, vf)| *vf).collect(),
                });
                self.awaited.of.insert(vm.vm, (now, false));
                self.awaited.asked.push((token, vm.vm, Ok(chosen)));
                self.save(effects);
            }
            Err(problem) => {
                let problem = problem.about("vm", &vm.name);
                tracing::warn!(vm = vm.name, %problem, "a VM cannot come here");
                effects.push(Effect::Promise(token, Err(problem)));
            }
        }
        self.changed = true;
    }

    fn kept_for(&self, vm: &Expected) -> Option<Promised> {
        let mut incoming = self.ledger.incoming.iter();
        let vfs = &incoming.find(|its| its.vm == vm.vm)?.vfs;
        let pairs = vm.nics.iter().copied().zip(vfs.iter().copied());
        (vfs.len() == vm.nics.len()).then(|| pairs.collect())
    }

    fn choose(&self, vm: &Expected) -> Result<Promised, Problem> {
        let intent = self.held.enabled_intent().ok_or_else(|| {
            let text = "No intent is enabled on this node.";
            Problem::new(Code::AccelNetNotEnabled, text)
        })?;
        let mut memory = self.memory.clone();
        let mut chosen = Promised::new();
        for mac in &vm.nics {
            let found = plan::free_vf(&self.observed, intent, &memory, &self.plan, vm.level);
            let Some((_, vf)) = found else {
                let text = format!(
                    "Node '{}' has {} free VFs for VM '{}', which needs {}.",
                    self.observed.node.hostname,
                    chosen.len(),
                    vm.name,
                    vm.nics.len()
                );
                return Err(Problem::new(Code::NoFreeVf, text));
            };
            memory.promised.insert(vf.pci, vm.vm);
            chosen.push((*mac, vf.pci));
        }
        Ok(chosen)
    }

    /// Whoever waits is told once all VFs of the VM are kept.
    pub(super) fn promise(&mut self, effects: &mut Vec<Effect>) {
        let observed = &self.observed;
        let is_kept = |vf: &PciAddress| {
            let its = observed.vf(*vf);
            its.is_some_and(|(_, vf)| vf.user == VfUser::Reserved)
        };
        let is_known = |promised: &Result<Promised, Problem>| match promised {
            Ok(promised) => promised.iter().all(|(_, vf)| is_kept(vf)),
            Err(_) => true,
        };
        let (told, waits): (Vec<_>, Vec<_>) = std::mem::take(&mut self.awaited.asked)
            .into_iter()
            .partition(|(_, _, promised)| is_known(promised));
        self.awaited.asked = waits;
        let told = told.into_iter();
        effects.extend(told.map(|(token, _, promised)| Effect::Promise(token, promised)));
    }

    /// A VF cannot be kept: somebody has it. The VM's other VFs are of no use alone.
    pub(super) fn not_kept(&mut self, vf: PciAddress, problem: &Problem) {
        let mut incoming = self.ledger.incoming.iter();
        let Some(vm) = incoming.find(|its| its.vfs.contains(&vf)).map(|its| its.vm) else {
            return;
        };
        self.forget_incoming(vm);
        let asked = self.awaited.asked.iter_mut();
        for (_, _, promised) in asked.filter(|(_, its, _)| *its == vm) {
            *promised = Err(problem.clone());
        }
    }

    /// A look at the VMs: who is here now, and who does not come any more.
    pub(super) fn await_them(
        &mut self,
        now: Duration,
        found: &[VmSeen],
        effects: &mut Vec<Effect>,
    ) {
        let mut over = Vec::new();
        for Incoming { vm, vfs } in &self.ledger.incoming {
            // After a start of our own nobody knows since when.
            let (since, seen) = self.awaited.of.entry(*vm).or_insert((now, false));
            let here = found.iter().find(|its| its.uuid == *vm);
            match here.filter(|its| its.state != VmState::Off) {
                None if *seen || now.saturating_sub(*since) >= COMES_WITHIN => over.push(*vm),
                None => {}
                Some(its) => {
                    *seen = true;
                    let has = |facts: &accelnet_model::VmFacts| {
                        facts.hostdevs.iter().any(|has| vfs.contains(&has.pci))
                    };
                    let runs = its.state == VmState::Running;
                    if runs && its.facts.as_ref().is_ok_and(|facts| !has(facts)) {
                        over.push(*vm);
                    }
                }
            }
        }
        for vm in &over {
            tracing::info!(%vm, "nothing is kept for it any more");
            self.forget_incoming(*vm);
        }
        if !over.is_empty() {
            self.save(effects);
        }
    }

    fn forget_incoming(&mut self, vm: Uuid) {
        self.ledger.incoming.retain(|its| its.vm != vm);
        self.awaited.of.remove(&vm);
    }
}
