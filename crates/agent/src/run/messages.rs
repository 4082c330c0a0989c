//! What the loop is told, and how long it waits to be told more before it looks.

use std::{
    sync::{PoisonError, mpsc},
    time::{Duration, Instant},
};

use accelnet_model::{NodeDesired, NodeStatus, PciAddress};

use super::Loop;
use crate::{Message, memory::Busy, worker::Finished};

/// What no event tells of (a guest that lets go of its VF, somebody's change of a VF's attributes) is
/// found at the latest after this, while acceleration is enabled.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Without acceleration nothing is watched but the facts for `status` and `prereq`.
const LOOK_EVERY_IDLE: Duration = Duration::from_secs(60);
/// Events that come in bursts (a VM's start makes dozens) are taken together.
const BURST: Duration = Duration::from_millis(150);
/// Where events never end, they are not waited for longer than this.
const LONGEST_BURST: Duration = Duration::from_secs(2);
/// While switch-overs go on, which cause most events then themselves, a look at everything rests for so
/// many times as long as the last one took: libvirt and the guest need the processor more.
const RESTS_WHILE_BUSY: u32 = 10;
impl Loop {
    /// Waits for something to do; false if the loop shall end.
    pub(super) fn wait(
        &mut self,
        inbox: &mpsc::Receiver<Message>,
        waiting: &mut Vec<mpsc::Sender<NodeStatus>>,
    ) -> bool {
        let patience = self.patience();
        let mut next = match inbox.recv_timeout(patience) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.seen = None;
                return true;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        };
        let (mut urgent, mut latest) = (false, None);
        while let Some(message) = next {
            if !matches!(message, Message::Progressed) {
                latest.get_or_insert_with(|| Instant::now() + LONGEST_BURST);
            }
            if !matches!(message, Message::Desired(_)) {
                self.seen = None;
            }
            // Somebody waits for the answer to these; a burst of events can be waited out.
            urgent |= matches!(
                message,
                Message::Desired(_) | Message::Refresh(_) | Message::Finished(_)
            );
            match message {
                Message::Desired(desired) => self.accept(*desired),
                Message::Refresh(answer) => waiting.push(answer),
                Message::Finished(finished) => self.finished(finished),
                Message::Progressed => self.progressed(),
                Message::Something => {}
                Message::Stop => return false,
            }
            let patience = match latest {
                _ if urgent => Duration::ZERO,
                None => self.patience(),
                Some(latest) => self.gathering(latest),
            };
            next = inbox.recv_timeout(patience).ok();
        }
        true
    }

    /// How long to wait for more events before looking because of those that came; until `latest` if they
    /// do not end.
    fn gathering(&self, latest: Instant) -> Duration {
        let burst = BURST.min(latest.saturating_duration_since(Instant::now()));
        if self.memory.busy.is_empty() {
            return burst;
        }
        let (ended, took) = self.looked;
        let rest = (took * RESTS_WHILE_BUSY).min(LOOK_EVERY);
        burst.max(rest.saturating_sub(ended.elapsed()))
    }

    fn patience(&self) -> Duration {
        let usual = if self.ledger.desired.enabled.is_some() {
            LOOK_EVERY
        } else {
            LOOK_EVERY_IDLE
        };
        let now = self.host.now();
        let next_try = self
            .memory
            .next_try(now)
            .map(|at| at.saturating_sub(now) + BURST);
        next_try.map_or(usual, |due| due.min(usual))
    }

    fn accept(&mut self, desired: NodeDesired) {
        if desired.generation < self.ledger.desired.generation {
            tracing::warn!(
                old = desired.generation,
                "a wish older than the accepted one is ignored"
            );
            return;
        }
        if desired.generation > self.ledger.desired.generation {
            // What failed under another wish may be tried at once.
            self.memory.failures.clear();
            self.memory.repairs.clear();
        }
        if desired.intents != self.ledger.desired.intents {
            self.seen = None;
        }
        self.ledger.desired = desired;
        self.save();
    }

    fn finished(&mut self, finished: Finished) {
        let busy = self.memory.busy.remove(&finished.vm);
        if let Some(Busy {
            vf,
            vectors: Some(vectors),
            ..
        }) = busy
        {
            self.note_vectors(vf, Some(vectors).filter(|_| finished.result.is_ok()));
        }
        self.progress.remove(&finished.vm);
        let settling = self.memory.settling.remove(&finished.vm);
        match finished.result {
            Ok(()) => {
                self.memory.failures.remove(&finished.vm);
                if let Some(action) = settling {
                    self.memory.repairs.note(&action, self.host.now(), None);
                }
            }
            Err(problems) => self.memory.failed(finished.vm, self.host.now(), problems),
        }
    }

    /// Notes what a VF was given, for drivers that do not show it.
    fn note_vectors(&mut self, vf: PciAddress, vectors: Option<u32>) {
        let before = self.ledger.vectors.clone();
        self.ledger
            .vectors
            .note(&self.last.node.boot_id, vf, vectors);
        if self.ledger.vectors != before {
            self.save();
        }
    }

    /// A step of a switch-over began: tell it without looking at everything again.
    fn progressed(&mut self) {
        let mut status = self.last.clone();
        for vm in &mut status.vms {
            if let Some(progress) = self.progress.get(&vm.facts.uuid) {
                vm.progress = Some(
                    progress
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                );
            }
        }
        self.publish(status);
    }
}
