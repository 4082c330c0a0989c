//! What befalls a host, and what follows from it.

use std::time::Duration;

use accelnet_host::{HostEvent, twin::Machine};
use accelnet_hypervisor::HypervisorEvent;
use accelnet_model::{
    Isolated, MacAddr, Performance, PolicyFinding, PolicyKind, VfFacts, VfUser, VmDesired, VmJob,
    VmState,
};

use super::{Alone, INVENTED, VMS};
use crate::{
    auditor::STRANGER,
    node::{VmId, uplink},
};

/// VFs that somebody else may take, so that one is left for each VM.
const FOREIGN: usize = 3;
/// The address that he gives them.
const STRANGERS: MacAddr = MacAddr([2, 0, 0, 0, 0x99, 1]);

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Happening {
    Want(VmId, Option<Performance>),
    Park(VmId, bool),
    Stop(VmId),
    Start(VmId),
    /// The guest restarts, and is away for a while.
    Reboot(VmId),
    BackUp(VmId, u32),
    Kill,
    Revive,
    PowerCut,
    Take,
    Open,
    Release,
    Link(bool),
    Driver(VmId, bool),
    /// The driver that came back takes the VF.
    DriverTakes(VmId, u32),
    Freeze(VmId, VmJob),
    /// A save that got to its end.
    Saved(VmId, u32),
    /// QEMU asks the guest for its VF.
    Leave(VmId),
    LetGo(VmId, u32),
    LastStop(VmId, u32),
    Gone(VmId, u32),
    Fails(VmId, u32),
    Arrive(VmId),
    Resume(VmId, u32),
    Unreadable(VmId, bool),
    Libvirt(bool),
    TapAnew(VmId),
    Discipline(VmId, bool),
    Policy(VmId, bool),
    Invent(VmId),
    Forget(VmId),
    /// Its only adapter is taken out of the pool, or let back.
    Isolate(bool),
    /// The host is to go down, and stays up.
    GoesDown,
}

/// Names of all that may happen.
pub fn kinds() -> impl Iterator<Item = String> {
    let vm = VmId(1);
    [
        Happening::Want(vm, None),
        Happening::Park(vm, true),
        Happening::Stop(vm),
        Happening::Start(vm),
        Happening::Reboot(vm),
        Happening::BackUp(vm, 0),
        Happening::Kill,
        Happening::Revive,
        Happening::PowerCut,
        Happening::Take,
        Happening::Open,
        Happening::Release,
        Happening::Link(true),
        Happening::Driver(vm, true),
        Happening::DriverTakes(vm, 0),
        Happening::Freeze(vm, VmJob::Saving),
        Happening::Saved(vm, 0),
        Happening::Leave(vm),
        Happening::LetGo(vm, 0),
        Happening::LastStop(vm, 0),
        Happening::Gone(vm, 0),
        Happening::Fails(vm, 0),
        Happening::Arrive(vm),
        Happening::Resume(vm, 0),
        Happening::Unreadable(vm, true),
        Happening::Libvirt(true),
        Happening::TapAnew(vm),
        Happening::Discipline(vm, true),
        Happening::Policy(vm, true),
        Happening::Invent(vm),
        Happening::Forget(vm),
        Happening::Isolate(true),
        Happening::GoesDown,
    ]
    .into_iter()
    .map(kind)
}

fn kind(happening: Happening) -> String {
    let words = format!("{happening:?}");
    let end = words.find('(').unwrap_or(words.len());
    words[..end].to_owned()
}

impl Alone {
    pub(super) fn any(&self) -> Happening {
        let scene = &self.scene;
        let vm = VmId(1 + scene.below(VMS.into()) as u8);
        let either = scene.one_in(2);
        let level = [Performance::Low, Performance::Medium][scene.below(2)];
        let job = [VmJob::Saving, VmJob::Dumping, VmJob::Outgoing][scene.below(3)];
        match scene.below(47) {
            0..=9 => Happening::Want(vm, Some(level)),
            10..=13 => Happening::Want(vm, None),
            14..=15 => Happening::Park(vm, either),
            16..=17 => Happening::Stop(vm),
            18..=20 => Happening::Start(vm),
            21..=22 => Happening::Reboot(vm),
            23..=24 => Happening::Kill,
            25 => Happening::PowerCut,
            26 => Happening::Take,
            27 => Happening::Release,
            28..=29 => Happening::Link(either),
            30 => Happening::Driver(vm, either),
            31..=32 => Happening::Freeze(vm, job),
            33..=34 => Happening::Leave(vm),
            35..=36 => Happening::Arrive(vm),
            37 => Happening::Unreadable(vm, either),
            38 => Happening::Libvirt(either),
            39 => Happening::TapAnew(vm),
            40 => Happening::Discipline(vm, either),
            41 => Happening::Policy(vm, either),
            42 => Happening::Invent(vm),
            43 => Happening::Forget(vm),
            44..=45 => Happening::Isolate(either),
            _ => Happening::GoesDown,
        }
    }

    /// VMs keep the VFs that they have, and nobody is given one until it is let back.
    pub(super) fn isolate(&mut self, out: bool) {
        let adapter = self.node.host.with(|machine| {
            let mut adapters = machine.adapters.iter();
            let its = adapters.find(|adapter| adapter.ifname == uplink());
            its.map(|adapter| (adapter.ifname.clone(), adapter.id.clone()))
        });
        let isolated = adapter.filter(|_| out).map(|(adapter, id)| Isolated {
            node: self.node.name.parse().expect("a node's name"),
            adapter,
            id,
            since: jiff::Timestamp::UNIX_EPOCH,
            detection: None,
            because: "it is taken out".to_owned(),
        });
        self.desired.isolated = isolated.into_iter().collect();
        self.tell();
    }

    fn state(&self, vm: VmId) -> (VmState, Option<VmJob>) {
        let facts = self.node.vm(vm);
        facts.map_or((VmState::Off, None), |facts| (facts.state, facts.job))
    }

    fn runs(&self, vm: VmId) -> bool {
        let busy = self
            .node
            .vms
            .with(|vms| vms.vm(vm.uuid()).is_some_and(|vm| vm.busy || vm.let_go));
        self.state(vm) == (VmState::Running, None) && !busy
    }

    /// It is the same start of a VM as when something began.
    fn is_still(&self, vm: VmId, pid: u32) -> bool {
        self.node.pid(vm) == Some(pid)
    }

    #[allow(
        clippy::too_many_lines,
        reason = "a line or some for each thing that may happen"
    )]
    pub(super) fn happen(&mut self, happening: Happening) {
        self.scene.step(&format!("{happening:?}"));
        self.scene.reached(&kind(happening));
        let (host, vms) = (self.node.host.clone(), self.node.vms.clone());
        match happening {
            Happening::Want(vm, level) => self.want(vm, level),
            Happening::Park(vm, parked) => {
                let mut wishes = self.desired.vms.iter_mut();
                if let Some(wish) = wishes.find(|wish| wish.uuid == vm.uuid()) {
                    wish.parked = parked;
                    self.tell();
                }
            }
            Happening::Isolate(out) => self.isolate(out),
            Happening::GoesDown => self.node.goes_down(),
            Happening::Stop(vm) => vms.stop(vm.uuid()),
            Happening::Start(vm) => {
                let off = self.state(vm).0 == VmState::Off;
                // Its bridge is there: it starts.
                if vms.start(vm.uuid()).is_ok() && off {
                    self.news.insert(vm, self.node.now());
                }
            }
            Happening::Reboot(vm) => {
                if let Some(pid) = self.node.pid(vm).filter(|_| self.runs(vm)) {
                    host.with(|machine| machine.set_guest_up(pid, false));
                    vms.reboot(vm.uuid());
                    self.needs_the_agent(vm);
                    self.after(Duration::from_secs(5), Happening::BackUp(vm, pid));
                }
            }
            Happening::BackUp(vm, pid) => {
                if self.is_still(vm, pid) {
                    host.with(|machine| machine.set_guest_up(pid, true));
                }
            }
            Happening::Kill => {
                self.node.kill(&mut self.idle);
                self.after(Duration::from_secs(5), Happening::Revive);
            }
            Happening::Revive => self.revive(),
            Happening::PowerCut => self.power_cut(),
            Happening::Take => self.take(),
            Happening::Open => self.open(),
            Happening::Release => self.release(),
            Happening::Link(carrier) => self.set_link(carrier),
            Happening::Driver(vm, there) => self.driver(vm, there),
            Happening::DriverTakes(vm, pid) => {
                // It takes nothing by its tap from now on, and nobody was told.
                if self.is_still(vm, pid) {
                    self.news.insert(vm, self.node.now());
                }
            }
            Happening::Freeze(vm, job) => {
                if self.runs(vm) {
                    vms.freeze(vm.uuid(), job);
                    self.needs_the_agent(vm);
                    if let Some(pid) = self
                        .node
                        .pid(vm)
                        .filter(|_| self.node.vfs_of(vm).is_empty())
                    {
                        self.after(Duration::from_secs(3), Happening::Saved(vm, pid));
                    }
                }
            }
            Happening::Saved(vm, pid) => {
                if self.is_still(vm, pid) && self.state(vm).0 == VmState::Paused {
                    vms.stop(vm.uuid());
                }
            }
            Happening::Leave(vm) => self.leave(vm),
            Happening::LetGo(vm, pid) => {
                if self.is_still(vm, pid) {
                    self.needs_the_agent(vm);
                    vms.let_go(vm.uuid());
                    self.on_its_way(vm, pid);
                }
            }
            Happening::LastStop(vm, pid) => {
                if self.is_still(vm, pid) {
                    vms.stop_to_leave(vm.uuid());
                    let end = match self.scene.one_in(2) {
                        true => Happening::Gone(vm, pid),
                        false => Happening::Fails(vm, pid),
                    };
                    self.after(Duration::from_secs(2), end);
                }
            }
            Happening::Gone(vm, pid) => {
                if self.is_still(vm, pid) {
                    vms.stop(vm.uuid());
                }
            }
            Happening::Fails(vm, pid) => {
                if self.is_still(vm, pid) {
                    // It runs before anybody can know.
                    self.news.insert(vm, self.node.now());
                    vms.migration_fails(vm.uuid());
                }
            }
            Happening::Arrive(vm) => {
                if self.state(vm).0 == VmState::Off && self.libvirt {
                    // Its bridge is there: it comes in.
                    let _ = vms.arrive(vm.uuid());
                    if let Some(pid) = self.node.pid(vm) {
                        self.after(Duration::from_secs(40), Happening::Resume(vm, pid));
                    }
                }
            }
            Happening::Resume(vm, pid) => {
                if self.is_still(vm, pid) && self.state(vm).1 == Some(VmJob::Incoming) {
                    vms.resume(vm.uuid());
                    self.news.insert(vm, self.node.now());
                }
            }
            Happening::Unreadable(vm, odd) => self.unreadable(vm, odd),
            Happening::Libvirt(up) => self.set_libvirt(up),
            Happening::TapAnew(vm) => {
                if let Some(tap) = self.node.tap(vm) {
                    host.with(|machine| machine.make_tap_anew(&tap));
                    self.needs_the_agent(vm);
                }
            }
            Happening::Discipline(vm, there) => self.discipline(vm, there),
            Happening::Policy(vm, there) => self.policy(vm, there),
            Happening::Invent(vm) => {
                if let Some(tap) = self.node.tap(vm) {
                    host.with(|machine| {
                        for number in 0..40 {
                            let mac = MacAddr([2, INVENTED, 0, 0, vm.0, number]);
                            machine.learn(&tap, mac);
                        }
                    });
                }
            }
            Happening::Forget(vm) => {
                if self.runs(vm) {
                    vms.forget_device(vm.uuid());
                    self.news.insert(vm, self.node.now());
                }
            }
        }
    }

    fn want(&mut self, vm: VmId, level: Option<Performance>) {
        let parked = self.desired.vm(vm.uuid()).is_some_and(|wish| wish.parked);
        self.desired.vms.retain(|wish| wish.uuid != vm.uuid());
        self.desired.vms.push(VmDesired {
            uuid: vm.uuid(),
            level,
            prepare: false,
            add_nic: None,
            parked,
            migrate_to: None,
            waived: Vec::new(),
        });
        self.tell();
    }

    pub(super) fn revive(&mut self) {
        if self.node.agent.is_none() {
            self.node.start();
            self.repeat();
        }
    }

    fn power_cut(&mut self) {
        self.node.kill(&mut self.idle);
        for vm in (1..=VMS).map(VmId) {
            self.node.vms.stop(vm.uuid());
        }
        self.node.host.with(Machine::reboot);
        self.link = true;
        self.node
            .host
            .with(|machine| machine.set_link(&uplink(), true));
        self.node.boot();
        self.after(Duration::from_secs(5), Happening::Revive);
        for vm in (1..=VMS).map(VmId) {
            self.after(Duration::from_secs(20), Happening::Start(vm));
        }
    }

    /// Somebody takes a VF that nobody uses: he gives it an address, and opens it a moment later.
    fn take(&mut self) {
        self.node.host.with(|machine| {
            let vfs = &mut machine.adapters[0].vfs;
            let taken = vfs.iter().filter(|vf| is_strangers(vf)).count();
            // The agent may be about to give it to a VM: nobody else knows that.
            let free = |vf: &&mut VfFacts| vf.user == VfUser::Nobody && vf.is_on_vfio();
            let room = taken + machine.opening.len() < FOREIGN;
            if let Some(vf) = vfs.iter_mut().rev().find(free).filter(|_| room) {
                vf.attributes.mac = STRANGERS;
                machine.opening.insert(vf.pci, STRANGERS);
            }
        });
        let opens = (Duration::from_millis(300), Duration::from_secs(5));
        self.within(self.scene.time(opens.0, opens.1), Happening::Open);
    }

    /// He has it from now on, unless the agent gave it to a VM before it saw that.
    fn open(&mut self) {
        self.node.host.with(|machine| {
            if let Some((pci, mac)) = machine.opening.pop_first() {
                let command = "dpdk-app".into();
                machine.open(pci, mac, STRANGER, command);
            }
        });
    }

    fn release(&mut self) {
        self.node.host.with(|machine| {
            let mut vfs = machine.adapters[0].vfs.iter_mut();
            if let Some(vf) = vfs.find(|vf| is_strangers(vf)) {
                vf.user = VfUser::Nobody;
                vf.attributes.vlan = 9;
            }
        });
    }

    pub(super) fn set_link(&mut self, carrier: bool) {
        if self.link != carrier {
            self.link = carrier;
            self.node
                .host
                .with(|machine| machine.set_link(&uplink(), carrier));
            self.excuse_all();
        }
    }

    /// What has its frames by a VF is cut off with it, and open for its tap when that was seen.
    fn excuse_all(&mut self) {
        let now = self.node.now();
        self.news.extend((1..=VMS).map(|vm| (VmId(vm), now)));
    }

    pub(super) fn set_libvirt(&mut self, up: bool) {
        if self.libvirt == up {
            return;
        }
        self.libvirt = up;
        self.node.vms.with(|vms| {
            vms.down = !up;
            vms.tell(match up {
                true => HypervisorEvent::Connected,
                false => HypervisorEvent::Disconnected,
            });
        });
    }

    pub(super) fn driver(&mut self, vm: VmId, there: bool) {
        let Some(pid) = self.node.pid(vm) else { return };
        let mut changes = None;
        self.node.on_guest(vm, |guest| {
            changes = (guest.habits.vf_driver != there).then_some(guest.habits.takes);
        });
        let Some(takes) = changes else { return };
        self.node
            .host
            .with(|machine| machine.set_vf_driver(pid, there));
        self.needs_the_agent(vm);
        if there {
            let just_before = takes.saturating_sub(Duration::from_micros(1));
            self.within(just_before, Happening::DriverTakes(vm, pid));
        }
    }

    fn leave(&mut self, vm: VmId) {
        let Some(pid) = self.node.pid(vm).filter(|_| self.runs(vm) && self.libvirt) else {
            return;
        };
        if self.node.vfs_of(vm).is_empty() {
            self.on_its_way(vm, pid);
            return;
        }
        self.needs_the_agent(vm);
        self.node.vms.unplug_primary(vm.uuid());
        // No guest was faster in the lab than 200 ms.
        self.next += 1;
        let at = self.node.now()
            + self
                .scene
                .time(Duration::from_millis(200), Duration::from_secs(3));
        self.later
            .insert((at, self.next), Happening::LetGo(vm, pid));
    }

    /// A migration fails, or comes to the VM's last stop here.
    fn on_its_way(&mut self, vm: VmId, pid: u32) {
        let next = match self.scene.one_in(3) {
            true => Happening::Fails(vm, pid),
            false => Happening::LastStop(vm, pid),
        };
        self.after(Duration::from_secs(5), next);
    }

    pub(super) fn unreadable(&self, vm: VmId, odd: bool) {
        self.node.vms.with(|vms| {
            if let Some(found) = vms.vm_mut(vm.uuid()) {
                found.unreadable = odd.then(|| "its XML is odd".to_owned());
            }
            vms.tell(HypervisorEvent::Vm(vm.uuid()));
        });
    }

    /// Somebody's discipline on a VM's tap.
    pub(super) fn discipline(&mut self, vm: VmId, there: bool) {
        let Some(tap) = self.node.tap(vm) else { return };
        self.node.host.with(|machine| {
            if there {
                machine.foreign_qdiscs.insert(tap.clone());
                machine.holds.remove(&tap);
                if let Some(port) = machine.port_mut(&tap) {
                    port.hold_queue = false;
                }
            } else {
                machine.foreign_qdiscs.remove(&tap);
            }
            machine.tell(&HostEvent::TrafficControl(tap.to_string()));
        });
        // What waited in ours is lost with it.
        self.node.excuse(vm);
        self.needs_the_agent(vm);
    }

    /// Somebody's rule on a VM's tap, which no VF enforces.
    pub(super) fn policy(&mut self, vm: VmId, there: bool) {
        let Some(tap) = self.node.tap(vm) else { return };
        let finding = PolicyFinding {
            kind: PolicyKind::Firewall,
            place: tap.to_string(),
            rule: "drop".into(),
            name: None,
        };
        self.node.host.with(|machine| {
            match there {
                true => drop(machine.policy.insert(tap.clone(), vec![finding])),
                false => drop(machine.policy.remove(&tap)),
            }
            machine.tell(&HostEvent::Firewall);
        });
    }
}

fn is_strangers(vf: &VfFacts) -> bool {
    matches!(vf.user, VfUser::Process { pid: STRANGER, .. })
}
