//! The agent's step, driven by hand: time is the twins', and effects are carried out one after the other, so
//! that the same test does the same every time. What takes long is carried out when its time is over.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::Duration,
};

use accelnet_agent::{
    by_hand,
    event::{Effect, Event, Expected, Promised},
    ledger::Ledger,
    machine::Machine,
};
use accelnet_host::{Host, HostEvent, twin::Station};
use accelnet_hypervisor::{Hypervisor, HypervisorEvent};
use accelnet_model::{Code, NicPath, NodeStatus, PciAddress, Performance, Problem};
use accelnet_rules::action::Lane;

use super::{World, codes, is_quiet, mac, path, uuid};
use crate::process::{Fault, Process, check};

/// Virtual time in which a look is over.
const PATIENCE: Duration = Duration::from_secs(60);
/// Steps of the agent at one moment: what is done for some dozen VMs is far from this.
const BUSY_AT_MOST: usize = 5_000;
/// Virtual time until everything is as wanted; the longest rest after failures is five minutes.
pub(super) const VIRTUAL_LIMIT: Duration = Duration::from_secs(3600);

/// Effects that take long, and how long.
pub(super) type Slow = (fn(&Effect) -> bool, Duration);

/// What takes long.
enum UnderWay {
    /// It is carried out at its end.
    Effect(Effect),
    /// What was seen at its beginning is told at its end.
    Answer(Event),
}

/// An agent that runs.
pub(super) struct Running {
    machine: Machine,
    pub(super) process: Arc<Process>,
    /// Effects that are to be carried out, in order.
    effects: VecDeque<Effect>,
    /// What takes long, and when it is over. Nothing else waits for it.
    under_way: Vec<(Duration, UnderWay)>,
    of_host: mpsc::Receiver<HostEvent>,
    of_vms: mpsc::Receiver<HypervisorEvent>,
    reports: VecDeque<NodeStatus>,
    answers: BTreeMap<u64, NodeStatus>,
    promises: BTreeMap<u64, Result<Promised, Problem>>,
    tokens: u64,
}

impl World {
    /// Tells an agent the same once more.
    pub fn repeat(&mut self) {
        let desired = Box::new(self.desired.clone());
        self.step(Event::Wished(desired));
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
        let (mut ledger, problem) = Ledger::open(self.directory.path());
        ledger.of_member(self.member);
        self.running = Some(Running {
            machine: Machine::new(ledger, problem),
            process,
            effects: VecDeque::new(),
            under_way: Vec::new(),
            of_host,
            of_vms,
            reports: VecDeque::new(),
            answers: BTreeMap::new(),
            promises: BTreeMap::new(),
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
        if let Some(ended) = self.ended() {
            return match ended {
                UnderWay::Effect(effect) => self.carry_out(effect),
                UnderWay::Answer(event) => {
                    self.step(event);
                    true
                }
            };
        }
        let Some(effect) = self.running_mut().effects.pop_front() else {
            return false;
        };
        let slow = self.slow.iter().find(|(is_slow, _)| is_slow(&effect));
        if let Some(time) = slow.map(|(_, time)| *time) {
            self.making(&effect, true);
            let end = self.now().saturating_add(time);
            let under_way = match effect {
                // What libvirt is asked it says of the moment in which it was asked.
                Effect::LookAtVms => UnderWay::Answer(self.vms_seen()),
                effect => UnderWay::Effect(effect),
            };
            self.running_mut().under_way.push((end, under_way));
            return true;
        }
        self.carry_out(effect)
    }

    fn vms_seen(&self) -> Event {
        Event::VmsSeen(Box::new(by_hand::at_vms(&*self.process())))
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
    fn ended(&mut self) -> Option<UnderWay> {
        let now = self.now();
        let under_way = &mut self.running_mut().under_way;
        let at = under_way.iter().position(|(end, _)| *end <= now)?;
        let (_, ended) = under_way.remove(at);
        if let UnderWay::Effect(effect) = &ended {
            self.making(effect, false);
        }
        Some(ended)
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
            Effect::LookAtVms => self.vms_seen(),
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
            Effect::Promise(token, promised) => {
                self.running_mut().promises.insert(token, promised);
                return true;
            }
        };
        self.step(event);
        true
    }

    fn reported(&mut self, status: NodeStatus) {
        let kept_back = status.adapters.iter();
        let kept_back = kept_back.flat_map(|adapter| &adapter.quarantined);
        self.told.extend(kept_back.chain(&status.problems).cloned());
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

    /// The host goes down, and no server could be told.
    pub fn goes_down(&mut self) {
        self.step(Event::GoesDown);
    }

    /// libvirt asks before a VM comes in; the VF that is kept for its NIC.
    pub fn expect(&mut self, vm: u8) -> Result<PciAddress, Problem> {
        let running = self.running_mut();
        running.tokens += 1;
        let token = running.tokens;
        let expected = Expected {
            vm: uuid(vm),
            name: format!("vm{vm}"),
            level: Performance::Low,
            nics: vec![mac(vm)],
        };
        self.step(Event::Expected(token, expected));
        let end = self.now() + PATIENCE;
        loop {
            while self.advance_agent() {}
            if let Some(promised) = self.running_mut().promises.remove(&token) {
                return promised.map(|promised| {
                    assert_eq!(promised.len(), 1);
                    assert_eq!(promised[0].0, mac(vm));
                    promised[0].1
                });
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
}
