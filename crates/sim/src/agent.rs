//! An agent that runs: the production step, with the threads of its edge as [`Job`]s whose turns are chosen.
//!
//! | at its edge (crates/agent/src/edge.rs) | here |
//! |---|---|
//! | loop | one event at a time, from its inbox |
//! | frames, looks at the machine, looks at VMs: a thread each, in order | a [`Queue`] each |
//! | a thread for each adapter, VM, migration | a job each |
//! | the ledger's file | bytes that outlive the process |

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, mpsc},
    time::Duration,
};

use accelnet_agent::{
    by_hand,
    event::{Effect, Event, Promised},
    ledger::Ledger,
    machine::Machine,
};
use accelnet_host::{Host, HostEvent};
use accelnet_hypervisor::{Hypervisor, HypervisorEvent};
use accelnet_model::{Code, NodeStatus, Problem};
use accelnet_rules::action::Lane;

use crate::{
    process::Process,
    scene::Scene,
    turns::{Idle, Job, Turn, Work},
};

/// A thread of the edge that does one thing after the other.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    at: Option<(Duration, Job)>,
}

/// What an agent may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Be told of something on the machine.
    HostEvent,
    /// Be told of something about VMs.
    VmEvent,
    /// Take in the next event.
    Inbox,
    /// Find that time has passed.
    Tick,
    /// Let one of its three queues go on.
    Queue(usize),
    /// Let one of its other threads go on.
    Job(usize),
}

/// An agent's process that lives.
pub struct Agent {
    node: String,
    scene: Scene,
    /// Its ports.
    pub process: Arc<Process>,
    machine: Machine,
    inbox: VecDeque<Event>,
    of_host: mpsc::Receiver<HostEvent>,
    of_vms: mpsc::Receiver<HypervisorEvent>,
    host_event: Option<HostEvent>,
    vm_event: Option<HypervisorEvent>,
    queues: [Queue; 3],
    jobs: Vec<(Duration, Job)>,
    next_tick: Duration,
    /// What it reported last, and how often it did.
    pub reported: Option<NodeStatus>,
    /// Answers to questions, by their numbers.
    pub answers: BTreeMap<u64, NodeStatus>,
    /// VFs that it promised, by the numbers of questions.
    pub promises: BTreeMap<u64, Result<Promised, Problem>>,
}

const FRAMES: usize = 0;
const HOST: usize = 1;
const VMS: usize = 2;

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts with the ledger that a process before it left.
    pub fn start(process: Process, node: &str, scene: &Scene, disk: Option<&[u8]>) -> Self {
        let process = Arc::new(process);
        let (to_agent, of_host) = mpsc::channel();
        // The twins' never fail.
        let _ = Host::watch(&*process, to_agent);
        let (to_agent, of_vms) = mpsc::channel();
        let _ = Hypervisor::watch(&*process, to_agent);
        let (ledger, problem) = match disk.map(serde_json::from_slice::<Ledger>) {
            None => (Ledger::default(), None),
            Some(Ok(ledger)) => (ledger, None),
            Some(Err(error)) => {
                let text = format!("The ledger is damaged: {error}.");
                (
                    Ledger::default(),
                    Some(Problem::new(Code::StoreFailed, text)),
                )
            }
        };
        Self {
            node: node.to_owned(),
            scene: scene.clone(),
            process,
            machine: Machine::new(ledger, problem),
            inbox: VecDeque::from([Event::Tick]),
            of_host,
            of_vms,
            host_event: None,
            vm_event: None,
            queues: Default::default(),
            jobs: Vec::new(),
            next_tick: Duration::MAX,
            reported: None,
            answers: BTreeMap::new(),
            promises: BTreeMap::new(),
        }
    }

    /// Tells it something, as its line does.
    pub fn tell(&mut self, event: Event) {
        self.inbox.push_back(event);
    }

    /// What it may do now.
    pub fn ready(&mut self, now: Duration) -> Vec<Ready> {
        self.host_event = self
            .host_event
            .take()
            .or_else(|| self.of_host.try_recv().ok());
        self.vm_event = self.vm_event.take().or_else(|| self.of_vms.try_recv().ok());
        let mut ready = Vec::new();
        if self.host_event.is_some() {
            ready.push(Ready::HostEvent);
        }
        if self.vm_event.is_some() {
            ready.push(Ready::VmEvent);
        }
        if !self.inbox.is_empty() {
            ready.push(Ready::Inbox);
        } else if self.next_tick <= now {
            ready.push(Ready::Tick);
        }
        let queues = self.queues.iter().enumerate();
        ready.extend(queues.filter_map(|(number, queue)| {
            let at = queue.at.as_ref();
            let due = at.map_or(!queue.waiting.is_empty(), |(at, _)| *at <= now);
            due.then_some(Ready::Queue(number))
        }));
        let jobs = self.jobs.iter().enumerate();
        let due = jobs.filter(|(_, (at, _))| *at <= now);
        ready.extend(due.map(|(number, _)| Ready::Job(number)));
        ready
    }

    /// When it has something to do next, if nothing is to be done now.
    pub fn wakes_at(&self) -> Duration {
        let queues = self.queues.iter().filter_map(|queue| queue.at.as_ref());
        let waits = queues.chain(&self.jobs).map(|(at, _)| *at);
        waits.fold(self.next_tick, Duration::min)
    }

    /// Does one thing that is ready. What it wrote to its disk, if it did.
    pub fn go_on(&mut self, ready: Ready, now: Duration, idle: &mut Idle) -> Option<Vec<u8>> {
        match ready {
            Ready::HostEvent => {
                let event = self.host_event.take().map(Event::Host);
                self.inbox.extend(event);
            }
            Ready::VmEvent => {
                let event = self.vm_event.take().map(Event::Vms);
                self.inbox.extend(event);
            }
            Ready::Inbox => {
                if let Some(event) = self.inbox.pop_front() {
                    return self.step(now, event, idle);
                }
            }
            Ready::Tick => return self.step(now, Event::Tick, idle),
            Ready::Queue(number) => self.queue(number, now, idle),
            Ready::Job(number) => {
                let (_, job) = self.jobs.swap_remove(number);
                let job = self.turn(job, now, idle);
                self.jobs.extend(job);
            }
        }
        None
    }

    fn queue(&mut self, number: usize, now: Duration, idle: &mut Idle) {
        let queue = &mut self.queues[number];
        let job = match queue.at.take() {
            Some((_, job)) => Some(job),
            None => queue.waiting.pop_front().map(|work| Job::new(idle, work)),
        };
        if let Some(job) = job {
            self.queues[number].at = self.turn(job, now, idle);
        }
    }

    fn turn(&mut self, job: Job, now: Duration, idle: &mut Idle) -> Option<(Duration, Job)> {
        match job.turn(idle) {
            (Turn::Waits(time), job) => job.map(|job| (now.saturating_add(time), job)),
            (Turn::Ended(event), _) => {
                self.inbox.push_back(*event);
                None
            }
        }
    }

    fn step(&mut self, now: Duration, event: Event, idle: &mut Idle) -> Option<Vec<u8>> {
        self.scene.step(&format!("{} {}", self.node, name(&event)));
        let mut written = None;
        for effect in self.machine.step(now, event) {
            if self.process.may_die("between two effects") {
                self.scene.reached("dies between two effects");
                break;
            }
            self.effect(effect, now, idle, &mut written);
        }
        self.next_tick = self.machine.wake_at(now);
        written
    }

    fn effect(
        &mut self,
        effect: Effect,
        now: Duration,
        idle: &mut Idle,
        written: &mut Option<Vec<u8>>,
    ) {
        let process = Arc::clone(&self.process);
        match effect {
            Effect::LookAtHost(scope) => self.queue_up(HOST, move || {
                Event::HostSeen(Box::new(by_hand::at_host(&*process, &scope)))
            }),
            Effect::LookAtVms => self.queue_up(VMS, move || {
                Event::VmsSeen(Box::new(by_hand::at_vms(&*process)))
            }),
            Effect::Glance(at) => self.queue_up(FRAMES, move || {
                Event::Glanced(by_hand::at_glance(&*process, at))
            }),
            Effect::Do(lane, actions) => {
                let its = lane.clone();
                for (_, action) in &actions {
                    self.scene.note(&format!("{} will {action:?}", self.node));
                }
                let work =
                    move || Event::Done(its, by_hand::carry_out(actions, &*process, &*process));
                match lane {
                    Lane::Frames => self.queue_up(FRAMES, work),
                    Lane::Vm(_) | Lane::Adapter(_) | Lane::Migration(_) => {
                        self.jobs.push((now, Job::new(idle, Box::new(work))));
                    }
                }
            }
            Effect::Save(ledger) => {
                // Text keys all through: it can be written.
                *written = serde_json::to_vec(&*ledger).ok();
                self.inbox.push_back(Event::Saved(None));
            }
            Effect::Report(status) => self.reported = Some(*status),
            Effect::Answer(token, status) => drop(self.answers.insert(token, *status)),
            Effect::Promise(token, promised) => drop(self.promises.insert(token, promised)),
        }
    }

    fn queue_up(&mut self, queue: usize, work: impl FnOnce() -> Event + Send + 'static) {
        self.queues[queue].waiting.push_back(Box::new(work));
    }

    /// Ends all of it where it is.
    pub fn die(mut self, idle: &mut Idle) {
        self.process.kill();
        for queue in &mut self.queues {
            if let Some((_, job)) = queue.at.take() {
                job.die(idle);
            }
        }
        for (_, job) in mem::take(&mut self.jobs) {
            job.die(idle);
        }
    }
}

fn name(event: &Event) -> String {
    match event {
        Event::Wished(desired) => format!("wished {}", desired.generation),
        Event::Asked(token) => format!("asked {token}"),
        Event::Expected(token, vm) => format!("expected {token} {}", vm.name),
        Event::GoesDown => "goes down".to_owned(),
        Event::Host(event) => format!("{event:?}"),
        Event::Vms(event) => format!("{event:?}"),
        Event::HostSeen(_) => "host seen".into(),
        Event::VmsSeen(_) => "VMs seen".into(),
        Event::Glanced(_) => "glanced".into(),
        Event::Done(lane, _) => format!("done {lane:?}"),
        Event::Saved(_) => "saved".into(),
        Event::Tick => "tick".into(),
    }
}
