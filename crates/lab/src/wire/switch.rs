//! A learning Ethernet switch.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// Frames that may wait for a port. A node in software emulation can stand still for half a second;
/// at 8,000 frames a second that is half of this.
pub const QUEUE: usize = 8192;

/// Number of a port.
pub type Port = usize;

/// Takes a frame without waiting; false if its queue is full.
type Deliver = Box<dyn Fn(Arc<[u8]>) -> bool + Send>;

/// The switch.
#[derive(Default)]
pub struct Switch {
    table: Mutex<Table>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Table {
    ports: Vec<Option<Deliver>>,
    addresses: HashMap<[u8; 6], Port>,
    /// Ports by the sockets that are their cables.
    cables: HashMap<PathBuf, Port>,
}

impl Switch {
    /// A new port. Its frames are delivered so: without waiting, and false where there is no room for one.
    pub fn plug(&self, deliver: impl Fn(Arc<[u8]>) -> bool + Send + 'static) -> Port {
        let mut table = self.table();
        table.ports.push(Some(Box::new(deliver)));
        table.ports.len() - 1
    }

    /// The port with this number is at the end of this cable.
    pub fn name(&self, port: Port, cable: &Path) {
        self.table().cables.insert(cable.to_owned(), port);
    }

    /// The cable lost its signal: what was learned at its port is forgotten, as every switch does, so that what
    /// is reached by another port is found there. False if there is no such cable.
    pub fn forget(&self, cable: &Path) -> bool {
        let mut table = self.table();
        let Some(port) = table.cables.get(cable).copied() else {
            return false;
        };
        table.addresses.retain(|_, at| *at != port);
        true
    }

    /// The port is gone; what was learned there is forgotten.
    pub fn unplug(&self, port: Port) {
        let mut table = self.table();
        table.ports[port] = None;
        table.addresses.retain(|_, at| *at != port);
    }

    /// Frames that found a port's queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Forwards a frame that came from `port`. Frames shorter than two addresses are no frames.
    pub fn forward(&self, port: Port, frame: &Arc<[u8]>) {
        let Some((to, from)) = addresses(frame) else {
            return;
        };
        let mut table = self.table();
        if from[0] & 1 == 0 {
            table.addresses.insert(from, port);
        }
        let known = table.addresses.get(&to).copied().filter(|_| to[0] & 1 == 0);
        for (number, deliver) in table.ports.iter().enumerate() {
            let wanted = known.is_none_or(|known| known == number);
            if let Some(deliver) = deliver.as_ref().filter(|_| wanted && number != port)
                && !deliver(Arc::clone(frame))
            {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn addresses(frame: &[u8]) -> Option<([u8; 6], [u8; 6])> {
    Some((
        frame.get(..6)?.try_into().ok()?,
        frame.get(6..12)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    fn frame(to: u8, from: u8) -> Arc<[u8]> {
        let mut bytes = vec![0; 14];
        bytes[..6].copy_from_slice(&if to == 0xff {
            [0xff; 6]
        } else {
            [2, 0, 0, 0, 0, to]
        });
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, from]);
        bytes.into()
    }

    fn to(queue: SyncSender<Arc<[u8]>>) -> impl Fn(Arc<[u8]>) -> bool {
        move |frame| queue.try_send(frame).is_ok()
    }

    fn counts(queues: &[Receiver<Arc<[u8]>>]) -> Vec<usize> {
        queues
            .iter()
            .map(|queue| queue.try_iter().count())
            .collect()
    }

    #[test]
    fn it_floods_learns_moves_and_forgets() {
        let switch = Switch::default();
        let queues: Vec<_> = (0..3)
            .map(|_| {
                let (sender, receiver) = sync_channel(8);
                switch.plug(to(sender));
                receiver
            })
            .collect();
        switch.forward(0, &frame(9, 1));
        assert_eq!(
            counts(&queues),
            [0, 1, 1],
            "an unknown address goes everywhere else"
        );
        switch.forward(1, &frame(1, 2));
        assert_eq!(counts(&queues), [1, 0, 0], "a known one to its port");
        switch.forward(2, &frame(0xff, 1));
        assert_eq!(counts(&queues), [1, 1, 0]);
        switch.forward(1, &frame(1, 2));
        assert_eq!(
            counts(&queues),
            [0, 0, 1],
            "an address that moved is found at its new port"
        );
        switch.name(2, Path::new("cable"));
        assert!(switch.forget(Path::new("cable")) && !switch.forget(Path::new("other")));
        switch.forward(1, &frame(1, 2));
        assert_eq!(
            counts(&queues),
            [1, 0, 1],
            "what was learned by a cable that lost its signal is looked for everywhere"
        );
        switch.forward(2, &frame(0xff, 1));
        counts(&queues);
        switch.unplug(2);
        switch.forward(1, &frame(1, 2));
        assert_eq!(
            counts(&queues),
            [1, 0, 0],
            "what was learned at a port goes with it"
        );
        switch.forward(0, &Arc::from([1u8, 2, 3]));
        assert_eq!((counts(&queues), switch.dropped()), (vec![0, 0, 0], 0));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let switch = Switch::default();
        let (sender, _receiver) = sync_channel(1);
        switch.plug(to(sender));
        let (other, _other) = sync_channel(1);
        let port = switch.plug(to(other));
        for _ in 0..3 {
            switch.forward(port, &frame(9, 1));
        }
        assert_eq!(switch.dropped(), 2);
    }
}
