//! The wire: what the nodes' uplinks are plugged into.
//!
//! A small learning switch in user space. Every node's card is a stream connection to a unix socket
//! (QEMU's `-netdev stream`: each frame after its length, u32 big-endian), so nothing is dropped
//! silently, no privilege is needed and the machine's own network is not touched. The host on the
//! wire ([`station`]) runs one end of the probes.
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

/// Runs the wire until the process is killed: a socket for each port, one for control.
/// `ready` is called when all of them listen.
pub fn run(
    ports: &[PathBuf],
    control_socket: &Path,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let switch = Arc::new(Switch::default());
    let station = station::start(Arc::clone(&switch));
    for path in ports {
        let listener = listen(path)?;
        let path = path.clone();
        let switch = Arc::clone(&switch);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(&switch, stream, &path);
            }
        });
    }
    let control = listen(control_socket)?;
    ready()?;
    control::serve(&control, &station, &switch)
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
