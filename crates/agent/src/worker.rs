//! Switch-overs in threads of their own: they wait for guests, and VMs need not wait for each other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use accelnet_host::Host;
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, Problem, Progress};
use accelnet_rules::plan::Switch;
use uuid::Uuid;

use crate::{Message, switch::Work};

/// Switch-overs at the same time. Each holds a call to libvirt for a second or two; more at once
/// would only wait there.
pub const LIMIT: usize = 4;

/// A switch-over that came to its end.
#[derive(Debug)]
pub struct Finished {
    /// The VM.
    pub vm: Uuid,
    /// How it ended.
    pub result: Result<(), Vec<Problem>>,
}

/// The threads.
#[derive(Debug, Default)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts one. `progress` is kept up to date.
    pub fn start(
        &mut self,
        switch: Switch,
        host: Arc<dyn Host>,
        hypervisor: Arc<dyn Hypervisor>,
        progress: Arc<Mutex<Progress>>,
        messages: mpsc::Sender<Message>,
    ) {
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(std::thread::spawn(move || {
            let work = Work {
                switch: &switch,
                host: &*host,
                hypervisor: &*hypervisor,
            };
            let tell = |number: usize, step: accelnet_rules::attach::Step| {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.step = step.to_string();
                progress.number = number as u32 + 1;
                drop(progress);
                let _ = messages.send(Message::Progressed);
            };
            // A panic must not leave the VM marked as busy for ever.
            let result = catch_unwind(AssertUnwindSafe(|| work.run(tell))).unwrap_or_else(|_| {
                let text = format!("The switch-over of VM '{}' panicked.", switch.vm_name);
                Err(vec![Problem::new(Code::Internal, text)])
            });
            let _ = messages.send(Message::Finished(Finished {
                vm: switch.vm,
                result,
            }));
        }));
    }

    /// Waits for all.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // Its panic was caught and told.
            let _ = thread.join();
        }
    }
}

/// Progress of a switch-over that has not begun.
pub fn progress_of(switch: &Switch, steps: usize) -> Progress {
    Progress {
        operation: if switch.to_vf { "attach" } else { "detach" }.to_owned(),
        step: "begin".to_owned(),
        number: 0,
        of: steps as u32,
    }
}
