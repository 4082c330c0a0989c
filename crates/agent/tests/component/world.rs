//! A node with its VMs, the wish for it, and the agent that is to fulfil it.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use accelnet_agent::{
    by_hand,
    event::{Effect, Event},
    ledger::Ledger,
    machine::Machine,
};
use accelnet_host::{
    Host, HostEvent,
    twin::{Arrival, Habits, HostTwin, Machine as Twin, Station},
};
use accelnet_hypervisor::{
    Hypervisor, HypervisorEvent,
    twin::{Hardware, HypervisorTwin, definition},
};
use accelnet_model::{
    BridgePort, ClusterEnable, Code, IfName, Intent, IntentType, Levels, MacAddr, NicPath,
    NodeDesired, NodeStatus, PciAddress, Performance, Problem, VfAttributes, VfCount, VfUser,
    VmDesired, VmStatus, WhenToCreateVfs,
};
use accelnet_rules::action::Lane;
use tempfile::TempDir;
use uuid::Uuid;

use crate::process::{Fault, Process, check};

/// Virtual time in which a look is over.
const PATIENCE: Duration = Duration::from_secs(60);
/// Steps of the agent at one moment: what is done for some dozen VMs is far from this.
const BUSY_AT_MOST: usize = 5_000;
/// Virtual time until everything is as wanted; the longest rest after failures is five minutes.
const VIRTUAL_LIMIT: Duration = Duration::from_secs(3600);

pub fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub fn uuid(vm: u8) -> Uuid {
    Uuid::from_u128(u128::from(vm))
}

pub fn mac(vm: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0x77, vm])
}

/// The host twin below the hypervisor twin.
struct Below {
    host: HostTwin,
    habits: Arc<Mutex<BTreeMap<MacAddr, Habits>>>,
}

impl Hardware for Below {
    fn start_nic(
        &self,
        pid: u32,
        mac: MacAddr,
        bridge: &IfName,
        tap: &IfName,
    ) -> Result<(), String> {
        let habits = self.habits.lock().unwrap().get(&mac).copied();
        let started = self
            .host
            .with(|machine| machine.start_guest(pid, mac, bridge, tap, habits.unwrap_or_default()));
        started.map_err(|error| error.to_string())
    }

    fn stopped(&self, pid: u32) {
        self.host.with(|machine| machine.stop_guest(pid));
    }

    fn plug(&self, pid: u32, mac: MacAddr, vf: PciAddress) -> Result<(), String> {
        self.host.with(|machine| machine.plug(pid, mac, vf))
    }

    fn unplugged(&self, pid: u32, vf: PciAddress) {
        self.host.with(|machine| machine.unplug(pid, vf));
    }

    fn pause(&self, time: Duration) {
        self.host.advance(time);
    }

    fn set_running(&self, pid: u32, runs: bool) {
        self.host.with(|machine| machine.set_running(pid, runs));
    }

    fn set_let_go(&self, pid: u32, let_go: bool) {
        self.host.with(|machine| machine.set_let_go(pid, let_go));
    }

    fn plug_stray(&self, pid: u32, device: PciAddress) -> Result<(), String> {
        self.host.with(|machine| machine.plug_stray(pid, device))
    }
}

/// Effects that take long, and how long.
type Slow = (fn(&Effect) -> bool, Duration);

/// An agent that runs: its step, driven by hand. Time is the twins', and effects are carried out one after
/// the other, so that the same test does the same every time.
struct Running {
    machine: Machine,
    process: Arc<Process>,
    /// Effects that are to be carried out, in order.
    effects: VecDeque<Effect>,
    /// Effects that take long, and when they are over. Nothing else waits for them.
    under_way: Vec<(Duration, Effect)>,
    of_host: mpsc::Receiver<HostEvent>,
    of_vms: mpsc::Receiver<HypervisorEvent>,
    reports: VecDeque<NodeStatus>,
    answers: BTreeMap<u64, NodeStatus>,
    tokens: u64,
}

pub struct World {
    pub host: HostTwin,
    pub hypervisor: HypervisorTwin,
    pub desired: NodeDesired,
    habits: Arc<Mutex<BTreeMap<MacAddr, Habits>>>,
    directory: TempDir,
    running: Option<Running>,
    slow: Vec<Slow>,
    call_time: Duration,
    /// How much was done since time passed last.
    busy: (Duration, usize),
    /// How much virtual time all may take until it is as wanted.
    pub patience: Duration,
    /// Everything that the agent told to be wrong since its start.
    pub told: Vec<Problem>,
    /// The most switch-overs that it told to be under way at the same time.
    pub most_busy: usize,
}

impl World {
    /// VMs 1 to `vms` run; acceleration is wanted on their network and VFs may be made at once; no
    /// agent runs yet.
    pub fn new(vms: u8) -> Self {
        Self::on(Twin::igb("node1", &name("br0"), &name("pf0")), vms)
    }

    /// The same with two adapters in an active-backup bond `bond0`, of which `pf0` is used; both are
    /// the intent's.
    pub fn bonded(vms: u8) -> Self {
        let members = [&name("pf0"), &name("pf1")];
        let mut world = Self::on(
            Twin::bonded("node1", &name("br0"), &name("bond0"), members),
            vms,
        );
        world.desired.intents[0].adapters.push(name("pf1"));
        world
    }

    /// The same with a card whose VFs share so many vectors.
    pub fn pool(vms: u8, vectors: u32) -> Self {
        let machine = Twin::mlx5("node1", &name("br0"), &name("pf0"), vectors);
        Self::on(machine, vms)
    }

    fn on(machine: Twin, vms: u8) -> Self {
        let host = HostTwin::new(machine);
        let habits = Arc::new(Mutex::new(BTreeMap::new()));
        let below = Below {
            host: host.clone(),
            habits: Arc::clone(&habits),
        };
        let hypervisor = HypervisorTwin::new(Arc::new(below));
        let world = Self {
            host,
            hypervisor,
            desired: enabled(),
            habits,
            directory: tempfile::tempdir().unwrap(),
            running: None,
            slow: Vec::new(),
            call_time: Duration::ZERO,
            busy: (Duration::ZERO, 0),
            patience: VIRTUAL_LIMIT,
            told: Vec::new(),
            most_busy: 0,
        };
        for vm in 1..=vms {
            world.add_vm(vm);
        }
        world.advance(Duration::from_secs(1));
        world
    }

    /// A node with nothing but an adapter that nobody manages, and is down; the intent's bridge is to
    /// be made. No VM, no agent.
    pub fn without_bridge() -> Self {
        let mut world = Self::new(0);
        world.desired.intents[0].create = true;
        world.host.with(|machine| {
            machine.bridges.clear();
            let facts = &mut machine.adapters[0];
            (facts.master, facts.up, facts.carrier) = (None, false, false);
        });
        world
    }

    /// One more VM that runs.
    pub fn add_vm(&self, vm: u8) {
        let facts = definition(uuid(vm), &format!("vm{vm}"), mac(vm), &name("br0"));
        self.hypervisor.define(facts);
        self.hypervisor.start(uuid(vm)).unwrap();
    }

    /// The same with an agent that has put everything in order.
    pub fn settled(vms: u8) -> Self {
        let mut world = Self::new(vms);
        world.settle();
        world
    }

    /// Lets an agent put everything in order.
    pub fn settle(&mut self) {
        self.start(None);
        self.tell();
        self.wait("the node is in order", |status| {
            status.converged && vfs(status) == 7
        });
    }

    /// VMs 1 to `vms` are on VFs.
    pub fn accelerated(vms: u8) -> Self {
        let mut world = Self::settled(vms);
        for vm in 1..=vms {
            world.want(vm, Some(Performance::Low));
        }
        world.tell();
        for vm in 1..=vms {
            world.wait_path(vm, NicPath::Vf);
        }
        world
    }

    /// VMs 1 and 3 are on VFs, and 2, which is compared with them, on its tap. Calls take a millisecond.
    pub fn beside() -> Self {
        let mut world = Self::new(3);
        world.set_call_time(Duration::from_millis(1));
        world.settle();
        for vm in [1, 3] {
            world.want(vm, Some(Performance::Low));
        }
        world.tell();
        for vm in [1, 3] {
            world.wait_path(vm, NicPath::Vf);
        }
        world.no_excuse();
        world
    }

    /// Of two VMs the first is wanted on a VF; the agent has not been told.
    pub fn before_attach() -> Self {
        let mut world = Self::settled(2);
        world.want(1, Some(Performance::Low));
        world
    }

    /// Of two VMs on VFs the first is wanted back; the agent has not been told.
    pub fn before_detach() -> Self {
        let mut world = Self::accelerated(2);
        world.want(1, None);
        world
    }

    /// Effects of this kind take so long from now on; what else there is to do goes on meanwhile.
    pub fn take_long(&mut self, kind: fn(&Effect) -> bool, time: Duration) {
        self.slow.push((kind, time));
    }

    /// From now on nothing takes long that has not begun to.
    pub fn take_no_time(&mut self) {
        self.slow.clear();
    }

    /// Each changing call of the next agent takes so long.
    pub fn set_call_time(&mut self, time: Duration) {
        self.call_time = time;
    }

    pub fn pid(&self, vm: u8) -> u32 {
        self.hypervisor.pid(uuid(vm)).expect("the VM runs")
    }

    /// A frame that another machine sends to a VM, or the host, or another VM.
    pub fn frame(&self, vm: u8, from: Station) -> Arrival {
        self.host
            .with(|machine| machine.frame_to_guest(mac(vm), from))
    }

    /// How long it takes until frames from all of these reach all of these VMs.
    pub fn until_reached(&mut self, vms: &[u8], from: &[Station], limit: Duration) -> Duration {
        let begun = self.now();
        let reached = |world: &Self| {
            let mut ways = vms
                .iter()
                .flat_map(|vm| from.iter().map(move |from| (vm, from)));
            ways.all(|(vm, from)| {
                *from == Station::Guest(mac(*vm)) || world.frame(*vm, *from).arrives()
            })
        };
        self.until("frames arrive", limit, reached) - begun
    }

    /// When this is so for the first time; time passes in steps of a millisecond.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        reached: impl Fn(&Self) -> bool,
    ) -> Duration {
        let end = self.now() + limit;
        loop {
            if reached(self) {
                return self.now();
            }
            assert!(
                self.now() < end,
                "'{what}' took longer than {limit:?}: {:#?}",
                self.process().calls()
            );
            if !self.advance_agent() {
                self.go_on(Duration::from_millis(1));
            }
        }
    }

    /// From here on nothing that happened is an excuse.
    pub fn no_excuse(&self) {
        self.host.with(|machine| {
            let guests = machine.guests.iter_mut();
            guests.for_each(|guest| guest.excused = false);
        });
    }

    pub fn state_dir(&self) -> &Path {
        self.directory.path()
    }

    /// How a VM's guest behaves from its next start on.
    pub fn set_habits(&self, vm: u8, habits: Habits) {
        self.habits.lock().unwrap().insert(mac(vm), habits);
    }

    /// Changes the wish for a VM; [`World::tell`] tells it.
    pub fn want(&mut self, vm: u8, level: Option<Performance>) {
        self.desired.vms.retain(|wish| wish.uuid != uuid(vm));
        self.desired.vms.push(VmDesired {
            uuid: uuid(vm),
            level,
            prepare: false,
            add_nic: None,
            parked: false,
        });
    }

    /// Tells the agent the wish, as a new generation.
    pub fn tell(&mut self) {
        self.desired.generation += 1;
        self.repeat();
    }

    /// Tells an agent the same once more.
    pub fn repeat(&mut self) {
        let desired = Box::new(self.desired.clone());
        self.step(Event::Wished(desired));
    }

    pub fn process(&self) -> Arc<Process> {
        Arc::clone(&self.running().process)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("an agent runs")
    }

    fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().expect("an agent runs")
    }

    /// Starts an agent; one that runs is killed before.
    pub fn start(&mut self, fault: Option<Fault>) {
        self.kill();
        self.told.clear();
        let process = Arc::new(Process::new(
            self.host.clone(),
            self.hypervisor.clone(),
            fault,
            self.call_time,
        ));
        let (to_agent, of_host) = mpsc::channel();
        Host::watch(&*process, to_agent).unwrap();
        let (to_agent, of_vms) = mpsc::channel();
        Hypervisor::watch(&*process, to_agent).unwrap();
        let (ledger, problem) = Ledger::open(self.directory.path());
        self.running = Some(Running {
            machine: Machine::new(ledger, problem),
            process,
            effects: VecDeque::new(),
            under_way: Vec::new(),
            of_host,
            of_vms,
            reports: VecDeque::new(),
            answers: BTreeMap::new(),
            tokens: 0,
        });
        self.step(Event::Tick);
    }

    /// Kills the agent.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.process.kill();
        }
        self.host.with(|machine| {
            machine.end_watches();
            machine.making.clear();
        });
        self.hypervisor
            .with(accelnet_hypervisor::twin::Vms::end_watches);
    }

    pub fn now(&self) -> Duration {
        self.host.with(|machine| machine.now())
    }

    fn step(&mut self, event: Event) {
        let now = self.now();
        let running = self.running_mut();
        if !running.process.is_dead() {
            let effects = running.machine.step(now, event);
            running.effects.extend(effects);
        }
    }

    /// Takes in what happened, or carries out one effect; false if there is neither.
    fn advance_agent(&mut self) -> bool {
        self.assert_time_passes();
        let running = self.running_mut();
        if running.process.is_dead() {
            return false;
        }
        if let Ok(event) = running.of_host.try_recv() {
            self.step(Event::Host(event));
            return true;
        }
        if let Ok(event) = running.of_vms.try_recv() {
            self.step(Event::Vms(event));
            return true;
        }
        if let Some(effect) = self.ended() {
            return self.carry_out(effect);
        }
        let Some(effect) = self.running_mut().effects.pop_front() else {
            return false;
        };
        let slow = self.slow.iter().find(|(is_slow, _)| is_slow(&effect));
        if let Some(time) = slow.map(|(_, time)| *time) {
            self.making(&effect, true);
            let end = self.now().saturating_add(time);
            self.running_mut().under_way.push((end, effect));
            return true;
        }
        self.carry_out(effect)
    }

    /// An agent that is busy without end while no time passes works in vain.
    fn assert_time_passes(&mut self) {
        let now = self.now();
        let (since, steps) = self.busy;
        self.busy = if since == now {
            (now, steps + 1)
        } else {
            (now, 0)
        };
        assert!(
            steps < BUSY_AT_MOST,
            "{steps} steps at {now:?}: {:#?}",
            self.process()
                .calls()
                .split_off(self.process().calls().len().saturating_sub(40))
        );
    }

    /// What took long and is over now.
    fn ended(&mut self) -> Option<Effect> {
        let now = self.now();
        let under_way = &mut self.running_mut().under_way;
        let at = under_way.iter().position(|(end, _)| *end <= now)?;
        let (_, effect) = under_way.remove(at);
        self.making(&effect, false);
        Some(effect)
    }

    /// The kernel tells nothing of an adapter while it makes VFs.
    fn making(&self, effect: &Effect, begins: bool) {
        let Effect::Do(Lane::Adapter(pf), _) = effect else {
            return;
        };
        self.host.with(|machine| match begins {
            true => machine.making.insert(*pf),
            false => machine.making.remove(pf),
        });
    }

    fn carry_out(&mut self, effect: Effect) -> bool {
        let process = self.process();
        let event = match effect {
            Effect::LookAtHost(scope) => {
                Event::HostSeen(Box::new(by_hand::at_host(&*process, &scope)))
            }
            Effect::LookAtVms => Event::VmsSeen(Box::new(by_hand::at_vms(&*process))),
            Effect::Glance(at) => Event::Glanced(by_hand::at_glance(&*process, at)),
            Effect::Do(lane, actions) => {
                let run = AssertUnwindSafe(|| by_hand::carry_out(actions, &*process, &*process));
                match catch_unwind(run) {
                    Ok(done) => Event::Done(lane, done),
                    // It died in the middle.
                    Err(_) if process.is_dead() => return false,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Effect::Save(ledger) => {
                ledger.save(self.directory.path()).unwrap();
                Event::Saved(None)
            }
            Effect::Report(status) => {
                self.reported(*status);
                return true;
            }
            Effect::Answer(token, status) => {
                self.running_mut().answers.insert(token, *status);
                return true;
            }
        };
        self.step(event);
        true
    }

    fn reported(&mut self, status: NodeStatus) {
        self.told.extend(status.problems.iter().cloned());
        let vms = status.vms.iter().flat_map(|vm| &vm.problems);
        self.told.extend(vms.cloned());
        let busy = status.vms.iter().filter(|vm| vm.progress.is_some());
        self.most_busy = self.most_busy.max(busy.count());
        self.running_mut().reports.push_back(status);
    }

    /// Everything that happens until the agent next waits for time to pass; then that time passes, but no
    /// more than `most`.
    fn go_on(&mut self, most: Duration) {
        while self.advance_agent() {}
        if self.running().process.is_dead() {
            return;
        }
        let now = self.now();
        let running = self.running();
        let ends = running.under_way.iter().map(|(end, _)| *end);
        let wake = ends.fold(running.machine.wake_at(now), Duration::min);
        let wait = wake.saturating_sub(now).min(most);
        self.advance(wait.max(Duration::from_millis(1)));
        self.step(Event::Tick);
    }

    /// Lets time pass for everybody.
    pub fn advance(&self, time: Duration) {
        self.host.advance(time);
        check(&self.host, "some time");
    }

    /// Lets so much time pass while the agent does what it does.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end && !self.running().process.is_dead() {
            self.go_on(end.saturating_sub(self.now()));
        }
        while self.advance_agent() {}
        self.assert_nothing_lost();
    }

    /// Waits for a status, letting virtual time pass.
    pub fn wait(&mut self, what: &str, mut reached: impl FnMut(&NodeStatus) -> bool) -> NodeStatus {
        match self.wait_or_death(&mut reached) {
            Ok(status) => status,
            Err(Some(status)) => panic!("'{what}' was not reached: {status:#?}"),
            Err(None) => panic!(
                "the agent died before '{what}': {:#?}",
                self.process().calls()
            ),
        }
    }

    /// Like [`World::wait`], for an agent that may die: `Err(None)` if it did, the last status if
    /// nothing came of it.
    pub fn wait_or_death(
        &mut self,
        reached: &mut dyn FnMut(&NodeStatus) -> bool,
    ) -> Result<NodeStatus, Option<Box<NodeStatus>>> {
        let begun = self.now();
        loop {
            self.assert_nothing_lost();
            let Some(status) = self.look() else {
                return Err(None);
            };
            if status.generation == self.desired.generation && reached(&status) {
                self.assert_nothing_lost();
                return Ok(status);
            }
            if self.now() > begun + self.patience {
                return Err(Some(Box::new(status)));
            }
            self.go_on(Duration::from_secs(1));
        }
    }

    /// Lets the agent look; `None` if it is dead.
    pub fn look(&mut self) -> Option<NodeStatus> {
        let running = self.running_mut();
        running.tokens += 1;
        let token = running.tokens;
        self.step(Event::Asked(token));
        let end = self.now() + PATIENCE;
        loop {
            while self.advance_agent() {}
            let running = self.running_mut();
            if let Some(status) = running.answers.remove(&token) {
                return Some(status);
            }
            if running.process.is_dead() {
                return None;
            }
            assert!(self.now() < end, "no answer");
            self.go_on(Duration::from_secs(1));
        }
    }

    /// Waits for the next report that fulfils something, without asking for one.
    pub fn wait_report(&mut self, what: &str, reached: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
        let end = self.now() + PATIENCE;
        loop {
            while let Some(status) = self.running_mut().reports.pop_front() {
                if reached(&status) {
                    return status;
                }
            }
            assert!(self.now() < end, "'{what}' was not reported");
            self.go_on(Duration::from_millis(100));
        }
    }

    pub fn wait_path(&mut self, vm: u8, path: NicPath) -> NodeStatus {
        let reached = |status: &NodeStatus| self::path(status, vm) == path && is_quiet(status);
        self.wait(&format!("VM {vm} on {path:?}"), reached)
    }

    pub fn wait_problem(&mut self, vm: u8, code: Code) -> NodeStatus {
        self.wait(&format!("{code} of VM {vm}"), |status| {
            codes(status, vm).contains(&code)
        })
    }

    /// What must never happen did not.
    pub fn assert_nothing_lost(&self) {
        let violations = self.host.with(|machine| machine.violations.clone());
        let calls = self.running.as_ref().map(|running| running.process.calls());
        assert!(violations.is_empty(), "{violations:#?} in {calls:#?}");
    }

    /// The VF that a VM has.
    pub fn vf_of(&self, vm: u8) -> Option<PciAddress> {
        self.vfs_of(vm).first().copied()
    }

    /// All its VFs.
    pub fn vfs_of(&self, vm: u8) -> Vec<PciAddress> {
        let hostdevs = self
            .hypervisor
            .with(|vms| vms.vm(uuid(vm)).map(|vm| vm.facts.hostdevs.clone()));
        let hostdevs = hostdevs.unwrap_or_default().into_iter();
        hostdevs.map(|hostdev| hostdev.pci).collect()
    }

    pub fn tap_of(&self, vm: u8) -> IfName {
        let facts = self
            .hypervisor
            .with(|vms| vms.vm(uuid(vm)).unwrap().facts.clone());
        facts.nics[0].tap.clone().expect("the VM runs")
    }

    fn port(&self, name: &IfName) -> BridgePort {
        self.host
            .with(|machine| machine.port(name).unwrap().clone())
    }

    /// The VM uses no VF, and nothing that it needed for one is left.
    pub fn assert_synthetic(&self, vm: u8) {
        assert_eq!(self.vf_of(vm), None);
        let (tap, uplink) = (self.port(&self.tap_of(vm)), self.port(&name("pf0")));
        let here = |port: &BridgePort| port.fdb.iter().any(|entry| entry.mac == mac(vm));
        assert!(
            tap.learning && tap.flood && here(&tap) && !here(&uplink),
            "{tap:?} {uplink:?}"
        );
        self.host.with(|machine| {
            let held = machine.holds.get(&tap.ifname);
            assert!(!matches!(held, Some(accelnet_host::HoldQueue::Hold { .. })));
            assert!(machine.adapters[0].filter.contains(&mac(vm)));
        });
    }

    /// Only the VM's VF carries its address and everything goes there.
    pub fn assert_on_vf(&self, vm: u8) {
        let vf = self.vf_of(vm).expect("the VM has a VF");
        assert!(!self.port(&self.tap_of(vm)).flood);
        self.host.with(|machine| {
            let found = machine.vf(vf).unwrap();
            assert_eq!(found.attributes, VfAttributes::for_mac(mac(vm)));
            assert!(!machine.adapters[0].filter.contains(&mac(vm)));
        });
    }

    /// Every VF that nobody uses is bound, clean and free.
    pub fn assert_free_vfs_clean(&self) {
        let vfs = self.host.with(|machine| machine.adapters[0].vfs.clone());
        assert_eq!(vfs.len(), 7);
        for vf in vfs.iter().filter(|vf| vf.user == VfUser::Nobody) {
            assert_eq!(vf.attributes, VfAttributes::baseline(), "{}", vf.pci);
            assert_eq!(vf.driver.as_deref(), Some("vfio-pci"), "{}", vf.pci);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            self.assert_nothing_lost();
        }
    }
}

fn enabled() -> NodeDesired {
    let intent = Intent {
        name: "compute".parse().unwrap(),
        types: vec![IntentType::Compute],
        adapters: vec![name("pf0")],
        matching: None,
        bridge: name("br0"),
        create: false,
        vfs: VfCount::Auto,
        levels: Levels::default(),
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

pub fn vm(status: &NodeStatus, number: u8) -> &VmStatus {
    let mut vms = status.vms.iter();
    vms.find(|vm| vm.facts.uuid == uuid(number))
        .expect("the VM is reported")
}

pub fn path(status: &NodeStatus, number: u8) -> NicPath {
    vm(status, number).nics[0].path
}

pub fn codes(status: &NodeStatus, number: u8) -> Vec<Code> {
    vm(status, number)
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect()
}

pub fn vfs(status: &NodeStatus) -> usize {
    status.adapters[0].facts.vfs.len()
}

/// Nothing is left to do, and nothing is wrong.
pub fn is_quiet(status: &NodeStatus) -> bool {
    let well = status.vms.iter().all(|vm| vm.problems.is_empty());
    let clean = status
        .adapters
        .iter()
        .all(|adapter| adapter.quarantined.is_empty());
    status.converged && well && clean && status.problems.is_empty()
}
