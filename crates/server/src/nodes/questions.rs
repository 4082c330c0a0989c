//! What a node is asked in a session, and who waits for the answers.

use std::collections::BTreeMap;

use accelnet_model::{NicCounted, NodeStatus};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// What a node can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// To look afresh.
    Look,
    /// What was counted of this VM's packets.
    Traffic(Uuid),
}

/// Questions that a node has not answered, by their numbers.
pub type Questions = BTreeMap<u64, Question>;

/// Those of one session. Whoever asked may have given up: then nobody hears the answer.
#[derive(Debug)]
pub struct Asked {
    open: watch::Sender<Questions>,
    looks: BTreeMap<u64, oneshot::Sender<NodeStatus>>,
    traffic: BTreeMap<u64, oneshot::Sender<Vec<NicCounted>>>,
}

impl Asked {
    /// None yet; and where they can be read, until the session is over.
    pub fn new() -> (Self, watch::Receiver<Questions>) {
        let (open, questions) = watch::channel(Questions::new());
        let asked = Self {
            open,
            looks: BTreeMap::new(),
            traffic: BTreeMap::new(),
        };
        (asked, questions)
    }

    /// One more look is asked for.
    pub fn look(&mut self, number: u64) -> oneshot::Receiver<NodeStatus> {
        let (asker, answer) = oneshot::channel();
        self.looks.insert(number, asker);
        self.put(number, Question::Look);
        answer
    }

    /// A VM's counters are asked for.
    pub fn traffic(&mut self, number: u64, vm: Uuid) -> oneshot::Receiver<Vec<NicCounted>> {
        let (asker, answer) = oneshot::channel();
        self.traffic.insert(number, asker);
        self.put(number, Question::Traffic(vm));
        answer
    }

    /// The node has looked; what it saw is what it said last, if it said anything.
    pub fn looked(&mut self, number: u64, said: Option<&NodeStatus>) {
        self.close(number);
        if let (Some(asker), Some(said)) = (self.looks.remove(&number), said) {
            let _ = asker.send(said.clone());
        }
    }

    /// The node has told what was counted.
    pub fn counted(&mut self, number: u64, nics: Vec<NicCounted>) {
        self.close(number);
        if let Some(asker) = self.traffic.remove(&number) {
            let _ = asker.send(nics);
        }
    }

    /// Nobody waits for these counters any more.
    pub fn forget_traffic(&mut self, number: u64) {
        self.close(number);
        self.traffic.remove(&number);
    }

    #[cfg(test)]
    pub fn nobody_waits(&self) -> bool {
        self.looks.is_empty() && self.traffic.is_empty()
    }

    fn put(&self, number: u64, question: Question) {
        self.open
            .send_modify(|open| open.extend([(number, question)]));
    }

    fn close(&self, number: u64) {
        self.open
            .send_if_modified(|open| open.remove(&number).is_some());
    }
}
