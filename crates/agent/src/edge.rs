//! The edge of the step: threads, clock and I/O.
//!
//! | thread | does |
//! |---|---|
//! | loop | steps, writes the ledger, reports |
//! | frames | everything about frames, in order, and glances at counters |
//! | two that look | at the machine, and at its VMs |
//! | one for each adapter or VM that is worked on, or migrated | what may take long |
//! | two of [`Watches`] | forward events |
//!
//! No thread waits for another, and the loop for none: a call that does not come back blinds nobody.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use accelnet_host::Host;
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, NodeStatus, Problem};
use accelnet_rules::action::Lane;

use crate::{
    Config, Message, carry_out,
    event::{Effect, Event, GlanceScope, HostScope, Promised},
    figures::Figures,
    ledger::Ledger,
    look,
    machine::Machine,
    watches::Watches,
};

/// The loop goes round at least this often, so that whoever watches it sees that it lives.
const ROUND: Duration = Duration::from_secs(1);

/// Switch-overs that are under way at the end have so long to come to theirs; what is interrupted then is
/// gone on with at the next start.
const LAST_ROUNDS: Duration = Duration::from_secs(40);

type Actions = Vec<(
    Option<accelnet_rules::moves::NicId>,
    accelnet_rules::action::Action,
)>;

/// What the frames thread does next.
enum FramesJob {
    Glance(GlanceScope),
    Do(Actions),
}

/// The loop and its threads.
pub struct Edge {
    machine: Machine,
    state_dir: PathBuf,
    host: Arc<dyn Host>,
    hypervisor: Arc<dyn Hypervisor>,
    messages: mpsc::Sender<Message>,
    report: Box<dyn FnMut(NodeStatus) + Send>,
    asked: Vec<(u64, mpsc::Sender<NodeStatus>)>,
    expecting: Vec<(u64, mpsc::Sender<Result<Promised, Problem>>)>,
    tokens: u64,
    /// Milliseconds on the host's clock at the last round.
    beat: Arc<AtomicU64>,
    figures: Arc<Figures>,
    frames: mpsc::Sender<FramesJob>,
    looks: mpsc::Sender<HostScope>,
    vms: mpsc::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Edge {
    pub fn new(
        Config { state_dir, member }: Config,
        host: Arc<dyn Host>,
        hypervisor: Arc<dyn Hypervisor>,
        messages: mpsc::Sender<Message>,
        report: Box<dyn FnMut(NodeStatus) + Send>,
        beat: Arc<AtomicU64>,
        figures: Arc<Figures>,
    ) -> Self {
        let (mut ledger, problem) = Ledger::open(&state_dir);
        ledger.of_member(member);
        let (frames, jobs) = mpsc::channel();
        let (looks, scopes) = mpsc::channel();
        let (vms, turns) = mpsc::channel();
        let threads = vec![
            frames_thread(
                Arc::clone(&host),
                Arc::clone(&hypervisor),
                jobs,
                messages.clone(),
                Arc::clone(&figures),
            ),
            host_thread(
                Arc::clone(&host),
                scopes,
                messages.clone(),
                Arc::clone(&figures),
            ),
            vms_thread(
                (Arc::clone(&host), Arc::clone(&hypervisor)),
                turns,
                messages.clone(),
                Arc::clone(&figures),
            ),
        ];
        Self {
            machine: Machine::new(ledger, problem),
            state_dir,
            host,
            hypervisor,
            messages,
            report,
            asked: Vec::new(),
            expecting: Vec::new(),
            tokens: 0,
            beat,
            figures,
            frames,
            looks,
            vms,
            threads,
        }
    }

    /// Runs until it is told to stop, and everything that is under way is over.
    pub fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        // Ended and joined when the loop ends, however it does.
        let _watches = Watches::start(&*self.host, &*self.hypervisor, &self.messages);
        let mut event = Event::Tick;
        let mut ends: Option<Duration> = None;
        loop {
            let now = self.host.now();
            self.beat.store(now.as_millis() as u64, Ordering::Relaxed);
            self.step(now, event);
            if ends.is_some_and(|ends| now >= ends || self.machine.is_idle()) {
                break;
            }
            let wait = self.machine.wake_at(now).saturating_sub(now).min(ROUND);
            event = match inbox.recv_timeout(wait) {
                Ok(Message::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.machine.stop();
                    ends = ends.or(Some(now + LAST_ROUNDS));
                    Event::Tick
                }
                Ok(Message::Desired(desired)) => Event::Wished(desired),
                Ok(Message::Refresh(answer)) => {
                    self.tokens += 1;
                    self.asked.push((self.tokens, answer));
                    Event::Asked(self.tokens)
                }
                Ok(Message::Expect(vm, answer)) => {
                    self.tokens += 1;
                    self.expecting.push((self.tokens, answer));
                    Event::Expected(self.tokens, vm)
                }
                Ok(Message::GoesDown) => Event::GoesDown,
                Ok(Message::Event(event)) => event,
                Err(mpsc::RecvTimeoutError::Timeout) => Event::Tick,
            };
        }
        drop((self.frames, self.looks, self.vms));
        for thread in self.threads {
            // Panics of its work were caught and told.
            let _ = thread.join();
        }
    }

    fn step(&mut self, now: Duration, event: Event) {
        for effect in self.machine.step(now, event) {
            match effect {
                // The threads live as long as these senders.
                Effect::LookAtHost(scope) => drop(self.looks.send(scope)),
                Effect::Glance(at) => self.give_frames(FramesJob::Glance(at)),
                Effect::Do(Lane::Frames, actions) => self.give_frames(FramesJob::Do(actions)),
                Effect::LookAtVms => drop(self.vms.send(())),
                Effect::Do(lane, actions) => self.spawn(lane, actions),
                Effect::Save(ledger) => self.save(&ledger),
                Effect::Report(status) => {
                    self.figures.reported(&status, now);
                    (self.report)(*status);
                }
                Effect::Answer(token, status) => answer(&mut self.asked, token, *status),
                Effect::Promise(token, promised) => answer(&mut self.expecting, token, promised),
            }
        }
    }

    fn give_frames(&self, job: FramesJob) {
        // The thread lives as long as this sender.
        let _ = self.frames.send(job);
    }

    fn save(&self, ledger: &Ledger) {
        let problem = ledger.save(&self.state_dir).err().map(|error| {
            Problem::new(
                Code::StoreFailed,
                format!("The ledger cannot be written: {error}."),
            )
        });
        let _ = self.messages.send(Message::Event(Event::Saved(problem)));
    }

    fn spawn(&mut self, lane: Lane, actions: Actions) {
        self.threads.retain(|thread| !thread.is_finished());
        let (host, hypervisor) = (Arc::clone(&self.host), Arc::clone(&self.hypervisor));
        let messages = self.messages.clone();
        // libvirt's daemons bring a migration to its end by themselves: nobody waits for it at the agent's end.
        let ends_alone = matches!(lane, Lane::Migration(_));
        let thread = thread::spawn(move || {
            let done = carry_out_all(actions, &*host, &*hypervisor);
            let _ = messages.send(Message::Event(Event::Done(lane, done)));
        });
        if !ends_alone {
            self.threads.push(thread);
        }
    }
}

/// Whoever asked may have given up.
fn answer<T>(asked: &mut Vec<(u64, mpsc::Sender<T>)>, token: u64, answer: T) {
    let at = asked.iter().position(|(asked, _)| *asked == token);
    if let Some(at) = at {
        let _ = asked.swap_remove(at).1.send(answer);
    }
}

/// A panic must not leave the lane taken for ever.
fn carry_out_all(
    actions: Actions,
    host: &dyn Host,
    hypervisor: &dyn Hypervisor,
) -> Vec<crate::event::Done> {
    let run = AssertUnwindSafe(|| carry_out::all(actions.clone(), host, hypervisor));
    catch_unwind(run).unwrap_or_else(|_| carry_out::panicked(actions))
}

fn frames_thread(
    host: Arc<dyn Host>,
    hypervisor: Arc<dyn Hypervisor>,
    jobs: mpsc::Receiver<FramesJob>,
    messages: mpsc::Sender<Message>,
    figures: Arc<Figures>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for job in jobs {
            let event = match job {
                FramesJob::Glance(at) => Event::Glanced(look::at_glance(&*host, at)),
                FramesJob::Do(actions) => {
                    let began = host.now();
                    let done = carry_out_all(actions, &*host, &*hypervisor);
                    figures.did(began, &done);
                    Event::Done(Lane::Frames, done)
                }
            };
            if messages.send(Message::Event(event)).is_err() {
                return;
            }
        }
    })
}

fn host_thread(
    host: Arc<dyn Host>,
    scopes: mpsc::Receiver<HostScope>,
    messages: mpsc::Sender<Message>,
    figures: Arc<Figures>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for scope in scopes {
            let began = host.now();
            let event = Event::HostSeen(Box::new(look::at_host(&*host, &scope)));
            figures.looked_at_machine(began, host.now());
            if messages.send(Message::Event(event)).is_err() {
                return;
            }
        }
    })
}

fn vms_thread(
    (host, hypervisor): (Arc<dyn Host>, Arc<dyn Hypervisor>),
    looks: mpsc::Receiver<()>,
    messages: mpsc::Sender<Message>,
    figures: Arc<Figures>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for () in looks {
            let began = host.now();
            let event = Event::VmsSeen(Box::new(look::at_vms(&*hypervisor)));
            figures.looked_at_vms(began, host.now());
            if messages.send(Message::Event(event)).is_err() {
                return;
            }
        }
    })
}
