//! The agent: makes one node what it is asked to be, and tells what it is.
//!
//! ```text
//!   desired state ─┐            ┌─► switch-overs (a thread each)
//!   host events ───┼─► one loop ┤      │ done
//!   VM events ─────┤   observe ─► plan ─► apply ─► report
//!   time ──────────┘      ▲                 │
//!                         └── look again ◄──┘
//! ```
//!
//! State is derived from the machine at every pass; the [`ledger`] keeps what the machine cannot
//! tell. Whatever is interrupted is found half done at the next pass, and finished or undone.
//!
//! Threads, all owned and joined: the loop ([`Agent`]), two that forward events of host and hypervisor
//! ([`watches`]), and at most [`worker::LIMIT`] switch-overs.

mod apply;
pub mod boot;
pub mod ledger;
mod memory;
mod observe;
mod repairs;
mod report;
mod run;
mod switch;
mod watches;
mod worker;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use accelnet_host::Host;
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, NodeDesired, NodeStatus, Problem};
pub use boot::boot;

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the ledger.
    pub state_dir: PathBuf,
}

/// What wakes the loop.
#[derive(Debug)]
enum Message {
    Desired(Box<NodeDesired>),
    Refresh(mpsc::Sender<NodeStatus>),
    Something,
    Finished(worker::Finished),
    Progressed,
    Stop,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    messages: mpsc::Sender<Message>,
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
        let thread = std::thread::spawn(move || {
            run::Loop::new(config, host, hypervisor, own, Box::new(report)).run(&inbox);
        });
        Self {
            messages,
            thread: Some(thread),
        }
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
        let (sender, receiver) = mpsc::channel();
        let gone = |text: &str| Problem::new(Code::AgentUnreachable, text);
        self.messages
            .send(Message::Refresh(sender))
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
