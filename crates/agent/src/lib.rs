//! The agent: makes one node what it is asked to be, and tells what it is.
//!
//! ```text
//!   desired state ─┐                                    ┌─► frames     looks, entries, filters, VFs in use
//!   host events ───┼─► step: (state, now, event) ──────►├─► adapters   VFs that nobody uses
//!   VM events ─────┤         → (state, effects)         ├─► VMs        plug, unplug, definitions
//!   time ──────────┘      ▲                             └─► report, ledger
//!                         └──────────── what became of it ◄──┘
//! ```
//!
//! State is derived from the machine at every look; the [`ledger`] keeps what the machine cannot
//! tell. Whatever is interrupted is found half done at the next pass, and finished or undone. The step
//! ([`machine`]) is without clock, thread or I/O; all of these are at its [`edge`].

pub mod boot;
mod carry_out;
mod edge;
pub mod event;
mod failures;
pub mod figures;
pub mod ledger;
mod look;
pub mod machine;
mod metrics;
mod repairs;
mod report;
pub mod reset;
mod traffic;
mod watches;
mod words;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use accelnet_api::metrics::Text;
use accelnet_host::Host;
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, IfName, NicCounted, NodeDesired, NodeStatus, Problem, Traffic};
pub use boot::boot;
use figures::Figures;
use uuid::Uuid;

/// Carries out effects by hand, for whoever drives the step itself: tests and the simulator.
pub mod by_hand {
    pub use crate::{
        carry_out::all as carry_out,
        look::{at_glance, at_host, at_vms},
    };
}

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the ledger.
    pub state_dir: PathBuf,
    /// Which node of a cluster it is; `None` on a host by itself.
    pub member: Option<Uuid>,
}

/// What wakes the loop.
#[derive(Debug)]
enum Message {
    Desired(Box<NodeDesired>),
    Refresh(mpsc::Sender<NodeStatus>),
    Expect(
        event::Expected,
        mpsc::Sender<Result<event::Promised, Problem>>,
    ),
    GoesDown,
    Event(event::Event),
    Stop,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("beat", &self.beat).finish()
    }
}

/// A running agent.
pub struct Agent {
    messages: mpsc::Sender<Message>,
    host: Arc<dyn Host>,
    beat: Arc<AtomicU64>,
    figures: Arc<Figures>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts the loop. `report` is called with every status that differs from the last one.
    pub fn start(
        config: Config,
        host: Arc<dyn Host>,
        hypervisor: Arc<dyn Hypervisor>,
        report: impl FnMut(NodeStatus) + Send + 'static,
    ) -> Self {
        let (messages, inbox) = mpsc::channel();
        let own = messages.clone();
        let beat = Arc::new(AtomicU64::new(host.now().as_millis() as u64));
        let (its_host, its_beat) = (Arc::clone(&host), Arc::clone(&beat));
        let figures = Arc::<Figures>::default();
        let its_figures = Arc::clone(&figures);
        let thread = std::thread::spawn(move || {
            let report = Box::new(report);
            edge::Edge::new(
                config,
                its_host,
                hypervisor,
                own,
                report,
                its_beat,
                its_figures,
            )
            .run(&inbox);
        });
        Self {
            messages,
            host,
            beat,
            figures,
            thread: Some(thread),
        }
    }

    /// How long ago the loop went round last; it does so at least every second. More than some seconds
    /// mean that it hangs.
    pub fn beat(&self) -> Duration {
        let last = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.host.now().saturating_sub(last)
    }

    /// The loop has ended although nobody stopped it: it panicked.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Tells the agent what its node shall be. Older generations than the accepted one are ignored.
    pub fn set_desired(&self, desired: NodeDesired) {
        // A loop that has ended says so through `refresh`.
        let _ = self.messages.send(Message::Desired(Box::new(desired)));
    }

    /// A fresh look at the node, within `limit`.
    ///
    /// # Errors
    /// `agent_unreachable` if there is no answer in time.
    pub fn refresh(&self, limit: Duration) -> Result<NodeStatus, Problem> {
        self.ask(limit, Message::Refresh)
    }

    /// A VM is on its way here: VFs are kept for it, so that QEMU plugs none while the VM stands still. They are
    /// kept until it runs here, or does not come; waits for that within `limit`.
    ///
    /// # Errors
    /// `no_free_vf` and what else keeps a VF from being given; `agent_unreachable` if there is no answer in time.
    pub fn expect(&self, vm: event::Expected, limit: Duration) -> Result<event::Promised, Problem> {
        self.ask(limit, |answer| Message::Expect(vm, answer))?
    }

    /// The host goes down, and no server could be told: the agent parks all VMs here by itself, until its own end.
    pub fn goes_down(&self) {
        // A loop that has ended says so through `refresh`.
        let _ = self.messages.send(Message::GoesDown);
    }

    /// What Prometheus is told of this node, whose last report this is. Waits for the kernel, within its own limit, and
    /// for nothing else.
    pub fn measure(&self, last: Option<&NodeStatus>) -> Text {
        let (figures, now) = (self.figures.snapshot(), self.host.now());
        let mut text = metrics::of_agent(&figures, self.beat(), now);
        if let Some(status) = last {
            let counters = self.counters(status);
            text.append(metrics::of_node(status, &counters, &figures, now));
        }
        text
    }

    /// What was counted of the NICs of a VM that is in the last report; nothing if it is not. Waits for the kernel.
    pub fn traffic(&self, last: &NodeStatus, vm: Uuid) -> Vec<NicCounted> {
        let mut vms = last.vms.iter();
        let Some(vm) = vms.find(|known| known.facts.uuid == vm) else {
            return Vec::new();
        };
        traffic::of_vm(last, vm, &self.counters(last))
    }

    fn counters(&self, status: &NodeStatus) -> Result<Traffic, String> {
        let with_vfs = status.adapters.iter().map(|adapter| &adapter.facts);
        let with_vfs = with_vfs.filter(|facts| !facts.vfs.is_empty());
        let pfs: Vec<IfName> = with_vfs.map(|facts| facts.ifname.clone()).collect();
        let read = self.host.observe_traffic(&pfs);
        read.map_err(|error| {
            tracing::warn!(%error, "counters");
            error.to_string()
        })
    }

    fn ask<T>(
        &self,
        limit: Duration,
        message: impl FnOnce(mpsc::Sender<T>) -> Message,
    ) -> Result<T, Problem> {
        let (sender, receiver) = mpsc::channel();
        let gone = |text: &str| Problem::new(Code::AgentUnreachable, text);
        self.messages
            .send(message(sender))
            .map_err(|_| gone("The agent's loop has ended."))?;
        receiver.recv_timeout(limit).map_err(|_| {
            gone(&format!(
                "The agent gave no answer within {} s.",
                limit.as_secs()
            ))
        })
    }

    /// Ends the loop and waits for it. Switch-overs under way come to their end first.
    pub fn stop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the agent's loop panicked");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}
