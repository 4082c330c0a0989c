//! One host by itself: the wish changes, VMs come and go, guests, links and libvirt fail, others use VFs, and the agent
//! dies, in any order and at any moment; then all of it stops, and everything must be as wanted.

use std::{collections::BTreeMap, time::Duration};

use accelnet_agent::event::Event;
use accelnet_host::{HostEvent, twin::Machine};
use accelnet_hypervisor::HypervisorEvent;
use accelnet_model::{
    ClusterEnable, IfName, Intent, IntentType, Levels, MacAddr, NicPath, NodeDesired, Performance,
    PolicyFinding, PolicyKind, VfAttributes, VfCount, VfDriver, VfUser, VmDesired, VmJob, VmState,
    WhenToCreateVfs,
};

use crate::{
    auditor::{Auditor, STRANGER, not_settled},
    node::{Node, VmId, bridge, uplink},
    scene::{Dangers, Scene},
    turns::Idle,
};

/// VMs of the host.
const VMS: u8 = 4;
/// VFs that somebody else may take, so that one is left for each VM.
const FOREIGN: usize = 3;
/// The second byte of addresses that guests make up.
const INVENTED: u8 = 0xaa;
/// All is as wanted within this after the last thing that happened; the longest rest after failures is five minutes.
const PATIENCE: Duration = Duration::from_secs(1800);
/// After trouble the agent has seen what there is to see within this.
const WELL_AFTER: Duration = Duration::from_secs(4);
/// A VM that has just started is known to the agent within this.
const NEWS_TRAVEL: Duration = Duration::from_secs(4);
/// A save or a migration, and what follows it.
const NEED_LASTS: Duration = Duration::from_secs(20);
/// Things at one moment: far from what there is to do for some VMs.
const AT_ONCE: u64 = 20_000;

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Happening {
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
}

/// One run.
pub struct Alone {
    scene: Scene,
    idle: Idle,
    node: Node,
    auditor: Auditor,
    desired: NodeDesired,
    later: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    /// VMs of which there is something that the agent cannot know yet: since when.
    news: BTreeMap<VmId, Duration>,
    /// VMs that something happens to that only an agent that is well gets them over: until when.
    in_need: BTreeMap<VmId, Duration>,
    link: bool,
    libvirt: bool,
    /// So much has happened at this moment.
    at_once: (Duration, u64),
}

/// What a run is.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// So many things befall the host.
    pub happenings: usize,
    /// Everything is said as it happens.
    pub aloud: bool,
}

/// Runs a seed.
///
/// # Errors
/// What must never be and was.
pub fn run(seed: u64, length: Length) -> (Scene, Result<(), String>) {
    let scene = Scene::new(seed, length.aloud);
    let mut alone = Alone::new(&scene);
    let ended = alone.all(length.happenings);
    alone.node.kill(&mut alone.idle);
    (scene, ended)
}

impl Alone {
    fn new(scene: &Scene) -> Self {
        let (bridge, uplink) = (bridge(), uplink());
        let vms = || (1..=VMS).map(VmId);
        let mut machine = Machine::igb("node1", &bridge, &uplink);
        if scene.one_in(4) {
            let in_vlan = [1, 2].map(|vm| (VmId(vm).mac(), 42));
            machine.filter_by_vlan(&bridge, in_vlan);
        }
        let mut node = Node::new("node1", scene, machine);
        vms().for_each(|vm| node.define(vm));
        node.start();
        let mut alone = Self {
            scene: scene.clone(),
            idle: Idle::default(),
            node,
            auditor: Auditor::default(),
            desired: enabled(&bridge),
            later: BTreeMap::new(),
            next: 0,
            news: BTreeMap::new(),
            in_need: BTreeMap::new(),
            link: true,
            libvirt: true,
            at_once: (Duration::ZERO, 0),
        };
        for vm in vms() {
            alone.happen(Happening::Start(vm));
        }
        alone
    }

    fn all(&mut self, happenings: usize) -> Result<(), String> {
        self.tell();
        self.pass(Duration::from_secs(30))?;
        for _ in 0..happenings {
            let happening = self.any();
            self.happen(happening);
            let pause = self.pause();
            self.pass(pause)?;
        }
        // What has begun comes to its end.
        while let Some(((at, _), _)) = self.later.first_key_value() {
            let wait = at.saturating_sub(self.node.now());
            self.pass(wait + Duration::from_millis(1))?;
        }
        self.calm();
        let end = self.node.now() + PATIENCE;
        let expected: BTreeMap<VmId, NicPath> = (1..=VMS)
            .map(|vm| (VmId(vm), self.expected(VmId(vm))))
            .collect();
        loop {
            let wrong = not_settled(&self.node, &expected);
            if wrong.is_empty() {
                return Ok(());
            }
            if self.node.now() > end {
                return Err(format!("it does not come to rest: {wrong:#?}"));
            }
            self.pass(Duration::from_secs(1))?;
        }
    }

    /// Between two things: together, while the first one is worked on, or long after.
    fn pause(&self) -> Duration {
        let most = [5, 300, 4000, 40_000][self.scene.below(4)];
        self.scene.time(Duration::ZERO, Duration::from_millis(most))
    }

    /// Lets so much time pass, and all that is due in it happen.
    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.node.now() + time;
        loop {
            let now = self.node.now();
            self.bounded(now)?;
            if let Some(entry) = self
                .later
                .first_entry()
                .filter(|entry| entry.key().0 <= now)
            {
                let happening = entry.remove();
                self.happen(happening);
            } else {
                let ready = self.node.ready();
                if ready.is_empty() {
                    if now >= end {
                        return Ok(());
                    }
                    self.advance(end);
                } else {
                    let chosen = ready[self.scene.below(ready.len())];
                    self.node.go_on(chosen, &mut self.idle);
                    if self.node.agent.is_none() {
                        self.after(Duration::from_secs(3), Happening::Revive);
                    }
                }
            }
            self.excuse_what_nobody_can();
            let well = self.is_well();
            self.auditor.look(&self.node, &self.scene, well);
            let violations = self.scene.violations();
            if !violations.is_empty() {
                return Err(violations.join("\n"));
            }
        }
    }

    /// An agent that is busy without end while no time passes works in vain.
    fn bounded(&mut self, now: Duration) -> Result<(), String> {
        self.at_once = match self.at_once {
            (since, count) if since == now => (since, count + 1),
            _ => (now, 0),
        };
        match self.at_once.1 {
            AT_ONCE.. => Err(format!("{AT_ONCE} things at {now:?}")),
            _ => Ok(()),
        }
    }

    /// Time passes until something is due, but not beyond `end`.
    fn advance(&mut self, end: Duration) {
        let now = self.node.now();
        let later = self
            .later
            .keys()
            .next()
            .map_or(Duration::MAX, |(at, _)| *at);
        let next = self.node.wakes_at().min(later).min(end);
        // Guests send, queues let go, and drivers come up meanwhile.
        let most = Duration::from_millis(500);
        let time = next
            .saturating_sub(now)
            .clamp(Duration::from_micros(1), most);
        self.node.host.advance(time);
        self.scene.set_now(self.node.now());
    }

    fn after(&mut self, most: Duration, happening: Happening) {
        self.next += 1;
        let at = self.node.now() + self.scene.time(Duration::from_millis(1), most);
        self.later.insert((at, self.next), happening);
    }

    fn tell(&mut self) {
        self.desired.generation += 1;
        self.repeat();
    }

    fn repeat(&mut self) {
        let desired = Box::new(self.desired.clone());
        self.node.tell(Event::Wished(desired));
    }

    fn any(&self) -> Happening {
        let scene = &self.scene;
        let vm = VmId(1 + scene.below(VMS.into()) as u8);
        let either = scene.one_in(2);
        let level = [Performance::Low, Performance::Medium][scene.below(2)];
        let job = [VmJob::Saving, VmJob::Dumping, VmJob::Outgoing][scene.below(3)];
        match scene.below(44) {
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
            _ => Happening::Forget(vm),
        }
    }

    /// The agent does at once whatever a guest needs: nobody can be held to what an agent does not do that is dead, or
    /// whose calls fail.
    fn is_well(&self) -> bool {
        let calls = self.scene.dangers().call_fails == 0;
        calls && self.node.now() >= self.scene.last_trouble() + WELL_AFTER
    }

    /// A guest whose VF has no link takes nothing by its tap until the VF is unplugged
    /// (drivers/net/net_failover.c), and nobody can do that but an agent that lives, by a libvirt that answers.
    fn excuse_what_nobody_can(&mut self) {
        if self.node.agent.is_none() || !self.libvirt {
            self.scene.trouble();
        }
        self.excuse_those_in_need();
        self.excuse_news();
        if self.link || self.is_well() {
            return;
        }
        self.node.host.with(|machine| {
            for guest in machine.guests.iter_mut().filter(|guest| !guest.vf_link) {
                guest.excused = true;
            }
        });
    }

    /// VMs that need something of an agent that is not well, until it has been well for a while. VMs that are on their
    /// VFs reach a new one when the agent has put its address into the PF's filter.
    fn excuse_news(&mut self) {
        let (now, well) = (self.node.now(), self.is_well());
        let host = self.node.host.clone();
        self.news.retain(|vm, since| {
            if !well {
                *since = now;
            }
            host.with(|machine| {
                let mut guests = machine.guests.iter_mut();
                let guest = guests.find(|guest| guest.mac == vm.mac());
                guest.map(|guest| guest.excused = true).is_some() && now < *since + NEWS_TRAVEL
            })
        });
    }

    /// Something happens to it that it gets over only if the agent does something at once, and goes on for a while.
    fn needs_the_agent(&mut self, vm: VmId) {
        self.in_need.insert(vm, self.node.now() + NEED_LASTS);
    }

    fn is_readable(&self, vm: VmId) -> bool {
        self.node
            .vms
            .with(|vms| vms.vm(vm.uuid()).is_none_or(|vm| vm.unreadable.is_none()))
    }

    fn excuse_those_in_need(&mut self) {
        let now = self.node.now();
        self.in_need.retain(|_, until| now < *until);
        let well = self.is_well() && self.link;
        let in_need = self.in_need.keys().copied();
        let helpless: Vec<VmId> = in_need
            .filter(|vm| !well || !self.is_readable(*vm))
            .collect();
        self.news.extend(helpless.into_iter().map(|vm| (vm, now)));
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
    fn happen(&mut self, happening: Happening) {
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

    fn revive(&mut self) {
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

    /// Somebody takes a VF that nobody uses.
    fn take(&mut self) {
        let user = VfUser::Process {
            pid: STRANGER,
            command: "dpdk-app".into(),
        };
        self.node.host.with(|machine| {
            let vfs = &mut machine.adapters[0].vfs;
            let taken = vfs.iter().filter(|vf| vf.user == user).count();
            // What the agent works on just now nobody would take for free.
            let free = |vf: &&mut accelnet_model::VfFacts| {
                let clean = vf.attributes == VfAttributes::baseline() && vf.is_on_vfio();
                vf.user == VfUser::Nobody && clean
            };
            let free = vfs.iter_mut().rev().find(free);
            if let Some(vf) = free.filter(|_| taken < FOREIGN) {
                vf.user = user.clone();
            }
        });
    }

    fn release(&mut self) {
        self.node.host.with(|machine| {
            let mut vfs = machine.adapters[0].vfs.iter_mut();
            let taken = |vf: &&mut accelnet_model::VfFacts| {
                matches!(vf.user, VfUser::Process { pid: STRANGER, .. })
            };
            if let Some(vf) = vfs.find(taken) {
                vf.user = VfUser::Nobody;
                vf.attributes.vlan = 9;
            }
        });
    }

    fn set_link(&mut self, carrier: bool) {
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

    fn set_libvirt(&mut self, up: bool) {
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

    fn driver(&mut self, vm: VmId, there: bool) {
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
            self.next += 1;
            let just_before = takes.saturating_sub(Duration::from_micros(1));
            let at = (self.node.now() + just_before, self.next);
            self.later.insert(at, Happening::DriverTakes(vm, pid));
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

    fn unreadable(&self, vm: VmId, odd: bool) {
        self.node.vms.with(|vms| {
            if let Some(found) = vms.vm_mut(vm.uuid()) {
                found.unreadable = odd.then(|| "its XML is odd".to_owned());
            }
            vms.tell(HypervisorEvent::Vm(vm.uuid()));
        });
    }

    /// Somebody's discipline on a VM's tap.
    fn discipline(&mut self, vm: VmId, there: bool) {
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
    fn policy(&mut self, vm: VmId, there: bool) {
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

    /// Everything that stands in the way goes; what has happened has happened.
    fn calm(&mut self) {
        self.scene.step("calm");
        self.scene.set_dangers(Dangers::NONE);
        self.set_libvirt(true);
        self.set_link(true);
        self.revive();
        self.node.host.with(|machine| {
            // A VM with others behind its port stays on it, as long as the bridge knows them.
            for port in machine
                .bridges
                .iter_mut()
                .flat_map(|bridge| &mut bridge.ports)
            {
                port.fdb.retain(|entry| entry.mac.0[1] != INVENTED);
            }
        });
        for vm in (1..=VMS).map(VmId) {
            self.unreadable(vm, false);
            self.discipline(vm, false);
            self.policy(vm, false);
            self.driver(vm, true);
        }
        self.repeat();
    }

    fn expected(&self, vm: VmId) -> NicPath {
        let wish = self.desired.vm(vm.uuid());
        let wanted = wish.is_some_and(|wish| wish.level.is_some() && !wish.parked);
        match (self.node.pid(vm), wanted) {
            (None, _) => NicPath::None,
            (Some(_), true) => NicPath::Vf,
            (Some(_), false) => NicPath::Synthetic,
        }
    }
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
    ]
    .into_iter()
    .map(kind)
}

fn kind(happening: Happening) -> String {
    let words = format!("{happening:?}");
    let end = words.find('(').unwrap_or(words.len());
    words[..end].to_owned()
}

fn enabled(bridge: &IfName) -> NodeDesired {
    let intent = Intent {
        name: "compute".parse().expect("a name"),
        types: vec![IntentType::Compute],
        adapters: vec!["pf0".parse().expect("a name")],
        matching: None,
        bridge: bridge.clone(),
        create: false,
        vfs: VfCount::Auto,
        levels: Levels::default(),
        vf_driver: VfDriver::default(),
        exclude_vfs: Vec::new(),
    };
    NodeDesired {
        generation: 0,
        enabled: Some(ClusterEnable {
            intent: intent.name.clone(),
            node_reserve_percentage: 50,
            nodes_down: None,
            when: WhenToCreateVfs::Now,
        }),
        intents: vec![intent],
        vms: Vec::new(),
    }
}
