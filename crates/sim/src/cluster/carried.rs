//! VMs that some tool moves to another host without a word to us: at the destination libvirt's hook asks, at the source
//! QEMU has the guest let go of its VF (docs/reference/switch-over.md).
//!
//! ```text
//!   judged ─► promised ─► comes in there, lets go here ─► last stop ─► runs there
//!     │ refused  │ refused, or silent     │                  │
//!     ▼          ▼                        ▼                  ▼
//!   runs on, on its VF                 runs on, and what was there of it is gone
//! ```

use std::{
    mem,
    sync::{Arc, PoisonError},
    time::Duration,
};

use accelnet_agent::event::{Event, Expected};
use accelnet_api::incoming::{Admitted, IncomingVm};
use accelnet_model::{PciAddress, Performance, Problem, VmJob};

use super::{Cluster, Happening};
use crate::node::VmId;

/// Server and agent have so long each to answer the hook (crates/daemon/src/incoming.rs).
const LIMIT: Duration = Duration::from_secs(5);
/// Between two of its stages at most.
const STAGE: Duration = Duration::from_secs(4);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The server is asked whether it may come.
    Judged,
    /// The agent of the destination is asked for VFs, under this number, until then.
    Promised(u64, Duration),
    /// It comes in at the destination, as this process.
    Comes(u32),
}

/// A VM that is on its way.
#[derive(Debug)]
pub(super) struct Carried {
    vm: VmId,
    from: usize,
    /// Its process there.
    pid: u32,
    to: usize,
    stage: Stage,
}

/// What became of the hook's question to the server.
pub(super) type Judgement = (VmId, Result<Admitted, Problem>);

impl Cluster {
    /// Somebody begins to move it.
    pub(super) fn carry(&mut self, vm: VmId, to: usize) {
        let underway = self.carried.iter().any(|carried| carried.vm == vm);
        let Some(from) = self.host_of(vm).filter(|from| *from != to && !underway) else {
            return;
        };
        let node = &self.hosts[from].node;
        let Some(pid) = node.pid(vm).filter(|_| !self.is_busy(from, vm)) else {
            return;
        };
        let mut carried = Carried {
            vm,
            from,
            pid,
            to,
            stage: Stage::Judged,
        };
        // The hook lets a definition without a VF of ours pass at once.
        if node.vfs_of(vm).is_empty() {
            if self.comes_in(&mut carried, None) {
                self.carried.push(carried);
            }
            return;
        }
        self.carried.push(carried);
        let coming = IncomingVm {
            uuid: vm.uuid(),
            name: vm.name(),
            nics: vec![vm.mac()],
        };
        let credentials = self.hosts[to].credentials.clone();
        let (net, judged) = (self.net.clone(), Arc::clone(&self.judged));
        let wake = Arc::clone(&self.wake);
        tokio::spawn(async move {
            let judgement = net.may_come(&credentials, &coming, LIMIT).await;
            let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
            judged.push((vm, judgement));
            wake.notify_one();
        });
    }

    fn is_busy(&self, number: usize, vm: VmId) -> bool {
        let vms = &self.hosts[number].node.vms;
        vms.with(|vms| vms.vm(vm.uuid()).is_none_or(|vm| vm.busy))
    }

    /// What the hook was answered, and what nobody can go on with any more.
    pub(super) fn carry_on(&mut self) {
        let judged = {
            let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
            mem::take(&mut *judged)
        };
        for (vm, judgement) in judged {
            self.judged(vm, judgement);
        }
        for mut carried in mem::take(&mut self.carried) {
            let goes_on = match carried.stage {
                Stage::Judged => true,
                Stage::Promised(number, until) => self.promised(&mut carried, number, until),
                Stage::Comes(there) => self.both_live(&carried, there),
            };
            if goes_on {
                self.carried.push(carried);
            }
        }
    }

    fn judged(&mut self, vm: VmId, judgement: Result<Admitted, Problem>) {
        let waits = |carried: &Carried| carried.vm == vm && carried.stage == Stage::Judged;
        let Some(at) = self.carried.iter().position(waits) else {
            return;
        };
        match judgement {
            Err(problem) => {
                self.refused(vm, &problem.code.to_string());
                self.carried.remove(at);
            }
            Ok(admitted) => {
                self.next += 1;
                let number = self.next;
                self.carried[at].stage = Stage::Promised(number, self.now() + LIMIT);
                let expected = Expected {
                    vm: vm.uuid(),
                    name: vm.name(),
                    level: admitted.level.unwrap_or(Performance::Low),
                    nics: vec![vm.mac()],
                };
                let to = self.carried[at].to;
                let event = Event::Expected(number, expected);
                self.hosts[to].node.tell(event);
            }
        }
    }

    fn refused(&self, vm: VmId, why: &str) {
        self.scene
            .step(&format!("the hook refuses {}: {why}", vm.name()));
        self.scene.reached("the hook refuses");
    }

    fn promised(&mut self, carried: &mut Carried, number: u64, until: Duration) -> bool {
        let agent = &mut self.hosts[carried.to].node.agent;
        let promise = agent
            .as_mut()
            .and_then(|agent| agent.promises.remove(&number));
        match promise {
            Some(Ok(promised)) => {
                let device = promised.first().map(|(_, vf)| *vf);
                self.comes_in(carried, device)
            }
            Some(Err(problem)) => {
                self.refused(carried.vm, &problem.code.to_string());
                false
            }
            None if self.now() >= until => {
                self.refused(carried.vm, "no answer");
                false
            }
            None => true,
        }
    }

    /// It is made at the destination, and the source is told to begin.
    fn comes_in(&mut self, carried: &mut Carried, device: Option<PciAddress>) -> bool {
        let &mut Carried {
            vm, from, pid, to, ..
        } = carried;
        let source = &self.hosts[from].node;
        let target = &self.hosts[to].node;
        let facts = source.vm(vm).filter(|facts| facts.pid == Some(pid));
        let Some(facts) = facts.filter(|_| !self.is_busy(from, vm)) else {
            return false;
        };
        target.vms.define(facts);
        // Its bridge is there: it comes in.
        let _ = match device {
            Some(device) => target.vms.arrive_with(vm.uuid(), device),
            None => target.vms.arrive(vm.uuid()),
        };
        let Some(there) = target.pid(vm) else {
            return false;
        };
        carried.stage = Stage::Comes(there);
        self.scene.reached(match device {
            Some(_) => "a VM comes in on its VF",
            None => "a VM comes in without a VF",
        });
        source.vms.unplug_primary(vm.uuid());
        self.after(STAGE, Happening::LetGo(vm, pid));
        true
    }

    /// Of a migration nothing is left if either end of it dies.
    fn both_live(&self, carried: &Carried, there: u32) -> bool {
        let source = &self.hosts[carried.from].node;
        let target = &self.hosts[carried.to].node;
        let source_lives = source.pid(carried.vm) == Some(carried.pid);
        let target_lives = target.pid(carried.vm) == Some(there);
        if source_lives && target_lives {
            return true;
        }
        self.scene.reached("one end of a migration dies");
        if source_lives {
            source.vms.migration_fails(carried.vm.uuid());
        }
        self.forget(carried.to, carried.vm);
        false
    }

    /// It is not on that host any more, and not defined there.
    fn forget(&self, number: usize, vm: VmId) {
        let vms = &self.hosts[number].node.vms;
        vms.stop(vm.uuid());
        vms.with(|vms| vms.vms.retain(|its| its.facts.uuid != vm.uuid()));
    }

    /// Its next stage, of the migration that this process is in.
    pub(super) fn carry_further(&mut self, happening: Happening) {
        let (Happening::LetGo(vm, pid)
        | Happening::LastStop(vm, pid)
        | Happening::Leaves(vm, pid)
        | Happening::StaysHere(vm, pid)) = happening
        else {
            return;
        };
        let is_it = |carried: &Carried| (carried.vm, carried.pid) == (vm, pid);
        let Some(at) = self.carried.iter().position(is_it) else {
            return;
        };
        let (from, to) = (self.carried[at].from, self.carried[at].to);
        let source = &self.hosts[from].node;
        if source.pid(vm) != Some(pid) {
            return;
        }
        let next = match self.scene.one_in(5) {
            true => Happening::StaysHere(vm, pid),
            false => match happening {
                Happening::LetGo(..) => Happening::LastStop(vm, pid),
                _ => Happening::Leaves(vm, pid),
            },
        };
        match happening {
            Happening::LetGo(..) => {
                source.vms.let_go(vm.uuid());
                self.after(STAGE, next);
            }
            Happening::LastStop(..) => {
                source.vms.stop_to_leave(vm.uuid());
                self.after(STAGE, next);
            }
            Happening::StaysHere(..) => {
                self.carried.remove(at);
                source.vms.migration_fails(vm.uuid());
                self.forget(to, vm);
            }
            _ => {
                self.carried.remove(at);
                self.forget(from, vm);
                self.hosts[to].node.vms.resume(vm.uuid());
                self.scene.reached("a VM was moved unannounced");
            }
        }
    }

    /// Where it runs; where it comes in, if it runs nowhere.
    pub(super) fn host_of(&self, vm: VmId) -> Option<usize> {
        let has = |incoming: bool| {
            self.hosts.iter().position(|host| {
                let facts = host.node.vm(vm).filter(|facts| facts.pid.is_some());
                facts.is_some_and(|facts| (facts.job == Some(VmJob::Incoming)) == incoming)
            })
        };
        has(false).or_else(|| has(true))
    }
}
