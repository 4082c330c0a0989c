//! Threads that forward events of host and hypervisor to the loop, ended and joined with it.
//!
//! Senders of events live as long as host and hypervisor do, so a receiver alone would wait on. Each
//! thread is woken by an event of our own when it shall end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use accelnet_host::{Host, HostEvent};
use accelnet_hypervisor::{Hypervisor, HypervisorEvent};

use crate::{Message, event::Event};

/// Both watches; their threads end when this is dropped.
#[derive(Debug)]
pub struct Watches {
    ended: Arc<AtomicBool>,
    host: mpsc::Sender<HostEvent>,
    hypervisor: mpsc::Sender<HypervisorEvent>,
    threads: Vec<JoinHandle<()>>,
}

impl Watches {
    /// Watches both, from now on. What cannot be watched is found by looking only.
    pub fn start(
        host: &dyn Host,
        hypervisor: &dyn Hypervisor,
        messages: &mpsc::Sender<Message>,
    ) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (of_host, host_events) = mpsc::channel();
        let (of_vms, vm_events) = mpsc::channel();
        if let Err(error) = host.watch(of_host.clone()) {
            tracing::warn!(%error, "host events; changes are found by looking only");
        }
        if let Err(error) = hypervisor.watch(of_vms.clone()) {
            tracing::warn!(%error, "VM events; changes are found by looking only");
        }
        let threads = vec![
            forward(
                host_events,
                |event| (event != HostEvent::Idle).then_some(Event::Host(event)),
                messages.clone(),
                Arc::clone(&ended),
            ),
            forward(
                vm_events,
                |event| Some(Event::Vms(event)),
                messages.clone(),
                Arc::clone(&ended),
            ),
        ];
        Self {
            ended,
            host: of_host,
            hypervisor: of_vms,
            threads,
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // One that has ended already needs no waking.
        let _ = self.host.send(HostEvent::Idle);
        let _ = self.hypervisor.send(HypervisorEvent::Connected);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that forwards events panicked");
            }
        }
    }
}

fn forward<E: Send + 'static>(
    events: mpsc::Receiver<E>,
    told: impl Fn(E) -> Option<Event> + Send + 'static,
    messages: mpsc::Sender<Message>,
    ended: Arc<AtomicBool>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for event in events {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            if let Some(event) = told(event)
                && messages.send(Message::Event(event)).is_err()
            {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accelnet_host::twin::{HostTwin, Machine};
    use accelnet_hypervisor::twin::{Hardware, HypervisorTwin};
    use accelnet_model::{IfName, MacAddr, PciAddress};
    use uuid::Uuid;

    use super::*;

    /// Nothing is below.
    struct Nothing;

    impl Hardware for Nothing {
        fn start_nic(&self, _: u32, _: MacAddr, _: &IfName, _: &IfName) -> Result<(), String> {
            Ok(())
        }
        fn stopped(&self, _: u32) {}
        fn plug(&self, _: u32, _: MacAddr, _: PciAddress) -> Result<(), String> {
            Ok(())
        }
        fn unplugged(&self, _: u32, _: PciAddress) {}
        fn pause(&self, _: Duration) {}
    }

    #[test]
    fn events_are_forwarded_until_the_end_and_no_thread_is_left() {
        let (bridge, uplink) = ("br0".parse().unwrap(), "pf0".parse().unwrap());
        let host = HostTwin::new(Machine::igb("node1", &bridge, &uplink));
        let hypervisor = HypervisorTwin::new(Arc::new(Nothing));
        let (messages, inbox) = mpsc::channel();
        let watches = Watches::start(&host, &hypervisor, &messages);
        host.with(|machine| machine.tell(&HostEvent::Firewall));
        hypervisor.with(|vms| vms.tell(HypervisorEvent::Vm(Uuid::nil())));
        for _ in 0..2 {
            assert!(matches!(inbox.recv(), Ok(Message::Event(_))));
        }
        // Threads hold a sender each: once they are gone, ours is the last.
        drop(messages);
        drop(watches);
        assert!(inbox.recv().is_err());
        host.with(|machine| machine.tell(&HostEvent::Firewall));
    }
}
