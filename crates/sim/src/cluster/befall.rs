//! What befalls a cluster, and what follows from it.

use std::time::Duration;

use accelnet_host::twin::Machine;
use serde_json::{Value, json};

use super::{Cluster, NODES, VMS};
use crate::node::{VmId, uplink};

/// Seconds that the server's clock may be off.
const CLOCK_OFF: i32 = 1000;
/// Seconds that somebody parks a VM for at most.
const PARKED_FOR: usize = 300;

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Happening {
    Enable(VmId),
    Disable(VmId),
    Park(VmId),
    Unpark(VmId),
    /// Somebody stops it, and it may start elsewhere.
    Stop(VmId),
    Start(VmId, usize),
    Reboot(VmId),
    BackUp(VmId, u32),
    KillAgent(usize),
    Revive(usize),
    PowerCut(usize),
    KillServer,
    Depose,
    EndDeposed,
    StartServer,
    Cut(usize, bool, bool),
    Heal(usize),
    ReadNodes,
    /// Somebody is about to work on a host.
    Drain(usize),
    /// He has done so.
    Uncordon(usize),
    /// Somebody has it moved, live.
    Move(VmId, usize),
    /// It runs on where it came to.
    Resume(VmId, u32),
    /// Somebody moves it with a tool of his own.
    Carry(VmId, usize),
    /// Its guest lets go of its VF, for QEMU.
    LetGo(VmId, u32),
    /// It is stopped for the last time where it was.
    LastStop(VmId, u32),
    /// It is gone from there.
    Leaves(VmId, u32),
    /// It is moved no longer.
    StaysHere(VmId, u32),
    /// The server's machine tells another time of day, so many seconds off.
    SetClock(i32),
}

impl Cluster {
    pub(super) fn any(&self) -> Happening {
        let scene = &self.scene;
        let vm = VmId(1 + scene.below(VMS.into()) as u8);
        let number = scene.below(NODES);
        let (up, down) = [(true, true), (true, false), (false, true)][scene.below(3)];
        match scene.below(84) {
            0..=23 => Happening::Enable(vm),
            24..=31 => Happening::Disable(vm),
            32..=33 => Happening::Park(vm),
            34..=35 => Happening::Unpark(vm),
            36..=39 => Happening::Stop(vm),
            40..=43 => Happening::Start(vm, number),
            44..=45 => Happening::Reboot(vm),
            46..=48 => Happening::KillAgent(number),
            49..=50 => Happening::PowerCut(number),
            51..=52 => Happening::KillServer,
            53..=54 => Happening::Depose,
            55..=57 => Happening::Cut(number, up, down),
            58..=59 => Happening::Heal(number),
            60..=63 => Happening::ReadNodes,
            64..=69 => Happening::Move(vm, number),
            // One that is on its VF, if there is one: others are moved as if we were not there.
            70..=77 => Happening::Carry(self.one_on_vf().unwrap_or(vm), number),
            78..=80 => Happening::Drain(number),
            81 => Happening::Uncordon(number),
            _ => Happening::SetClock(CLOCK_OFF * (scene.below(3) as i32 - 1)),
        }
    }

    fn one_on_vf(&self) -> Option<VmId> {
        let on_vf = |vm: &VmId| {
            let host = self.host_of(*vm).map(|number| &self.hosts[number]);
            host.is_some_and(|host| !host.node.vfs_of(*vm).is_empty())
        };
        let all: Vec<VmId> = (1..=VMS).map(VmId).filter(on_vf).collect();
        all.get(self.scene.below(all.len())).copied()
    }

    pub(super) async fn happen(&mut self, happening: Happening) {
        self.scene.step(&format!("{happening:?}"));
        let words = format!("cluster {happening:?}");
        let end = words.find('(').unwrap_or(words.len());
        self.scene.reached(&words[..end]);
        match happening {
            Happening::Enable(vm) => {
                let body = json!({"performance": "low"});
                self.asks(vm, "PUT", "acceleration", body, Some(true));
            }
            Happening::Disable(vm) => {
                self.asks(vm, "DELETE", "acceleration", Value::Null, Some(false));
            }
            Happening::Park(vm) => {
                let seconds = 1 + self.scene.below(PARKED_FOR);
                let body = match self.scene.one_in(2) {
                    true => json!({}),
                    false => json!({"for_seconds": seconds}),
                };
                self.asks(vm, "PUT", "park", body, None);
            }
            Happening::Unpark(vm) => self.asks(vm, "DELETE", "park", Value::Null, None),
            Happening::Stop(vm) => {
                if let Some(number) = self.host_of(vm) {
                    let node = &self.hosts[number].node;
                    node.vms.stop(vm.uuid());
                    let to = self.scene.below(NODES);
                    self.after(Duration::from_secs(60), Happening::Start(vm, to));
                }
            }
            Happening::Start(vm, number) => self.start_vm(vm, number),
            Happening::Reboot(vm) => {
                let Some(number) = self.host_of(vm) else {
                    return;
                };
                let node = &self.hosts[number].node;
                if let Some(pid) = node.pid(vm) {
                    node.host.with(|machine| machine.set_guest_up(pid, false));
                    node.vms.reboot(vm.uuid());
                    self.after(Duration::from_secs(5), Happening::BackUp(vm, pid));
                }
            }
            Happening::BackUp(vm, pid) => {
                for host in &self.hosts {
                    if host.node.pid(vm) == Some(pid) {
                        host.node
                            .host
                            .with(|machine| machine.set_guest_up(pid, true));
                    }
                }
            }
            Happening::KillAgent(number) => {
                self.kill_agent(number);
                self.after(Duration::from_secs(20), Happening::Revive(number));
            }
            Happening::Revive(number) => self.revive(number),
            Happening::PowerCut(number) => self.power_cut(number),
            Happening::KillServer => {
                self.kill_server();
                self.after(Duration::from_secs(10), Happening::StartServer);
            }
            Happening::Depose => self.depose().await,
            Happening::EndDeposed => self.end_deposed(),
            Happening::StartServer => self.start_server().await,
            Happening::Cut(number, up, down) => {
                self.cut(number, up, down);
                self.after(Duration::from_secs(40), Happening::Heal(number));
            }
            Happening::ReadNodes => self.reads_nodes(),
            Happening::Drain(number) => {
                self.asks_node(number, true);
                // It is worked on for a while, and is not always shut down.
                let next = match self.scene.one_in(2) {
                    true => Happening::Uncordon(number),
                    false => Happening::PowerCut(number),
                };
                self.after(Duration::from_secs(300), next);
            }
            Happening::Uncordon(number) => self.asks_node(number, false),
            Happening::Move(vm, number) => {
                let to = json!({"to": self.hosts[number].node.name});
                self.asks(vm, "PUT", "move", to, None);
            }
            Happening::Resume(vm, pid) => {
                for host in &self.hosts {
                    if host.node.pid(vm) == Some(pid) {
                        host.node.vms.resume(vm.uuid());
                    }
                }
            }
            Happening::Carry(vm, number) => self.carry(vm, number),
            Happening::LetGo(..)
            | Happening::LastStop(..)
            | Happening::Leaves(..)
            | Happening::StaysHere(..) => self.carry_further(happening),
            Happening::SetClock(off) => self.set_clock(off),
            Happening::Heal(number) => self.heal(number),
        }
    }

    /// It starts on a host, unless it runs somewhere: it is defined there from now on, and nowhere else.
    pub(super) fn start_vm(&mut self, vm: VmId, number: usize) {
        if self.host_of(vm).is_some() {
            return;
        }
        for host in &self.hosts {
            host.node
                .vms
                .with(|vms| vms.vms.retain(|its| its.facts.uuid != vm.uuid()));
        }
        let node = &self.hosts[number].node;
        node.define(vm);
        // Its bridge is there: it starts.
        let _ = node.vms.start(vm.uuid());
    }

    pub(super) fn power_cut(&mut self, number: usize) {
        self.kill_agent(number);
        let node = &mut self.hosts[number].node;
        let mut fell = Vec::new();
        for vm in (1..=VMS).map(VmId) {
            if node.pid(vm).is_some() {
                node.vms.stop(vm.uuid());
                fell.push(vm);
            }
        }
        node.host.with(Machine::reboot);
        node.host.with(|machine| machine.set_link(&uplink(), true));
        node.boot();
        self.after(Duration::from_secs(60), Happening::Revive(number));
        // Somebody starts them elsewhere, or here when it is back.
        for vm in fell {
            let to = self.scene.below(NODES);
            self.after(Duration::from_secs(60), Happening::Start(vm, to));
        }
    }
}
