//! The wire: what the nodes' uplinks are plugged into, and beside it the switch of their management network.
//!
//! A small learning switch in user space, twice; no frame goes from one to the other. Every node's card is a stream connection to a unix socket
//! (QEMU's `-netdev stream`: each frame after its length, u32 big-endian), so nothing is dropped
//! silently, no privilege is needed and the machine's own network is not touched. The host on the
//! wire ([`station`]) runs one end of the probes; management has none.
//!
//! Threads: one that accepts per socket, two per connection (read, write), one for the station, one
//! per control connection. All end with the process.

pub mod control;
pub mod end;
mod station;
mod switch;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, TrySendError},
    },
    thread,
};

use anyhow::{Context, Result};
use switch::Switch;

/// Longest frame: 9 KiB of payload (jumbo) and headers.
const FRAME_LIMIT: usize = 9 * 1024 + 64;

/// Both switches.
#[derive(Default)]
struct Switches {
    data: Arc<Switch>,
    management: Arc<Switch>,
}

impl Switches {
    /// See [`Switch::forget`]; each cable is plugged into one of them.
    fn forget(&self, cable: &Path) -> bool {
        self.data.forget(cable) || self.management.forget(cable)
    }
}

/// Runs the wire until the process is killed: a socket for each port of the data network and of the management
/// network, one for control. `ready` is called when all of them listen.
pub fn run(
    data: &[PathBuf],
    management: &[PathBuf],
    control_socket: &Path,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let switches = Arc::new(Switches::default());
    let station = station::start(Arc::clone(&switches.data));
    listen_for(&switches.data, data)?;
    listen_for(&switches.management, management)?;
    let control = listen(control_socket)?;
    ready()?;
    control::serve(&control, &station, &switches)
}

fn listen_for(switch: &Arc<Switch>, ports: &[PathBuf]) -> Result<()> {
    for path in ports {
        let listener = listen(path)?;
        let path = path.clone();
        let switch = Arc::clone(switch);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(&switch, stream, &path);
            }
        });
    }
    Ok(())
}

fn listen(path: &Path) -> Result<UnixListener> {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// One card: a thread that reads its frames and one that writes to it.
fn serve(switch: &Arc<Switch>, stream: UnixStream, cable: &Path) {
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let (frames, queue) = mpsc::sync_channel::<Arc<[u8]>>(switch::QUEUE);
    // Of a card that is gone nothing is dropped.
    let port =
        switch.plug(move |frame| !matches!(frames.try_send(frame), Err(TrySendError::Full(_))));
    switch.name(port, cable);
    thread::spawn(move || {
        let mut bytes = Vec::with_capacity(4 + FRAME_LIMIT);
        while let Ok(frame) = queue.recv() {
            bytes.clear();
            bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&frame);
            // At once: in two parts it would wake the card twice.
            if writer.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let switch = Arc::clone(switch);
    thread::spawn(move || {
        let mut reader = std::io::BufReader::with_capacity(256 * 1024, stream);
        while let Some(frame) = read_frame(&mut reader) {
            switch.forward(port, &frame.into());
        }
        switch.unplug(port);
    });
}

fn read_frame(reader: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).ok()?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_LIMIT {
        return None;
    }
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame).ok()?;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_network_is_for_itself() {
        let place =
            std::env::temp_dir().join(format!("accelnet-lab-wire-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&place).unwrap();
        let sockets = ["d1", "d2", "m1", "m2"].map(|name| place.join(name));
        let switches = Switches::default();
        listen_for(&switches.data, &sockets[..2]).unwrap();
        listen_for(&switches.management, &sockets[2..]).unwrap();
        let cards = sockets
            .clone()
            .map(|path| UnixStream::connect(path).unwrap());
        let frame = [0xff; 60];
        let plugged = || sockets.iter().all(|cable| switches.forget(cable));
        // A card is plugged in a moment after its connection is taken.
        while !plugged() {
            thread::yield_now();
        }
        for card in [&cards[0], &cards[2]] {
            let mut bytes = 60_u32.to_be_bytes().to_vec();
            bytes.extend_from_slice(&frame);
            let mut card = card;
            card.write_all(&bytes).unwrap();
        }
        for card in &cards {
            card.set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
        }
        let count = |mut card: &UnixStream| {
            std::iter::from_fn(|| read_frame(&mut card))
                .filter(|read| read[..] == frame)
                .count()
        };
        let counts: Vec<_> = cards.iter().map(count).collect();
        assert_eq!(
            counts,
            [0, 1, 0, 1],
            "once, and to the other card of the same network"
        );
        assert!(!switches.forget(Path::new("other")));
        fs::remove_dir_all(&place).unwrap();
    }
}
