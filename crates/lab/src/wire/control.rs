//! Control of the wire: one JSON document a line each way, over a unix socket that only its user can
//! reach (the directory is private).

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Switches,
    end::{Pace, Peer},
    station::{Command, Input},
};
use crate::probe::Log;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Open a probe; it sends nothing yet. The answer is [`Started`].
    Open {
        /// Who gets its packets.
        peer: Peer,
        /// How fast they are sent.
        pace: Pace,
    },
    /// Begin to send. The answer is `true`.
    Begin {
        /// What [`Started`] said.
        port: u16,
    },
    /// Send no more, but go on receiving. The answer is `true`.
    Quiesce {
        /// What [`Started`] said.
        port: u16,
    },
    /// End a probe. The answer is its [`Log`].
    Stop {
        /// What [`Started`] said.
        port: u16,
    },
    /// A cable lost its signal. The answer is `true`.
    Unplugged {
        /// The socket that is the cable.
        cable: PathBuf,
    },
    /// The answer is [`Counters`].
    Counters,
}

/// A probe is open.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    /// UDP port of the wire's end, or the identifier of its echoes.
    pub port: u16,
}

/// The wire's counters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Frames that the data network's switch itself dropped; must be 0 for a measurement to count.
    pub dropped: u64,
}

/// Serves control connections for ever.
pub(super) fn serve(
    listener: &UnixListener,
    station: &SyncSender<Input>,
    switches: &Arc<Switches>,
) -> Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        let (station, switches) = (station.clone(), Arc::clone(switches));
        thread::spawn(move || {
            // A client that went away needs no answer.
            let _ = serve_one(&stream, &station, &switches);
        });
    }
    Ok(())
}

fn serve_one(stream: &UnixStream, station: &SyncSender<Input>, switches: &Switches) -> Result<()> {
    let mut opened = Vec::new();
    let served = answer_all(stream, station, switches, &mut opened);
    // A client that was killed has left its probes sending; of one that was stopped there is none.
    for port in opened {
        ask(station, |answer| Command::Stop(port, answer))?;
    }
    served
}

fn answer_all(
    stream: &UnixStream,
    station: &SyncSender<Input>,
    switches: &Switches,
    opened: &mut Vec<u16>,
) -> Result<()> {
    for line in BufReader::new(stream).lines() {
        let answer = match serde_json::from_str(&line?)? {
            Request::Open { peer, pace } => {
                let port = ask(station, |answer| Command::Open(peer, pace, answer))?;
                opened.push(port);
                serde_json::to_value(Started { port })?
            }
            Request::Begin { port } => told(station, port, Command::Begin)?,
            Request::Quiesce { port } => told(station, port, Command::Quiesce)?,
            Request::Stop { port } => {
                opened.retain(|open| *open != port);
                let log = ask(station, |answer| Command::Stop(port, answer))?;
                serde_json::to_value(log.with_context(|| format!("no probe {port}"))?)?
            }
            Request::Unplugged { cable } => {
                ensure!(switches.forget(&cable), "no cable {}", cable.display());
                true.into()
            }
            Request::Counters => serde_json::to_value(Counters {
                dropped: switches.data.dropped(),
            })?,
        };
        writeln!(&*stream, "{answer}")?;
    }
    Ok(())
}

fn told(
    station: &SyncSender<Input>,
    port: u16,
    command: impl FnOnce(u16, Sender<bool>) -> Command,
) -> Result<serde_json::Value> {
    let done = ask(station, |answer| command(port, answer))?;
    ensure!(done, "no probe {port}");
    Ok(true.into())
}

/// Sends a command and waits for its answer.
fn ask<T>(station: &SyncSender<Input>, command: impl FnOnce(Sender<T>) -> Command) -> Result<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    station.send(Input::Command(command(sender)))?;
    Ok(receiver.recv()?)
}

/// A client of the wire's control.
#[derive(Debug)]
pub struct Control(BufReader<UnixStream>);

impl Control {
    /// Connects.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .context("the lab's wire does not run; 'down' and 'up' again")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        writeln!(self.0.get_mut(), "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the lab's wire refused {request:?}");
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// A cable lost its signal.
    pub fn unplugged(&mut self, cable: &Path) -> Result<()> {
        let cable = cable.to_owned();
        self.ask::<bool>(&Request::Unplugged { cable }).map(drop)
    }

    /// Lets a probe send.
    pub fn begin(&mut self, port: u16) -> Result<()> {
        self.ask::<bool>(&Request::Begin { port }).map(drop)
    }

    /// Lets a probe send no more; it goes on receiving.
    pub fn quiesce(&mut self, port: u16) -> Result<()> {
        self.ask::<bool>(&Request::Quiesce { port }).map(drop)
    }

    /// Ends a probe.
    pub fn stop(&mut self, port: u16) -> Result<Log> {
        self.ask(&Request::Stop { port })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::mpsc::sync_channel};

    use super::*;

    #[test]
    fn probes_of_a_client_that_went_away_are_stopped() {
        let (client, server) = UnixStream::pair().unwrap();
        let (station, received) = sync_channel(8);
        let serving = thread::spawn(move || serve_one(&server, &station, &Switches::default()));
        let open = Request::Open {
            peer: Peer::Kernel {
                address: [10, 77, 0, 101].into(),
            },
            pace: Pace::Outstanding { count: 1 },
        };
        for _ in 0..2 {
            let request = serde_json::to_string(&open).unwrap();
            writeln!(&client, "{request}").unwrap();
        }
        for port in [7, 8] {
            let Input::Command(Command::Open(_, _, answer)) = received.recv().unwrap() else {
                panic!("no probe was opened");
            };
            answer.send(port).unwrap();
        }
        let stop = serde_json::to_string(&Request::Stop { port: 7 }).unwrap();
        writeln!(&client, "{stop}").unwrap();
        drop(client);
        let mut stopped = Vec::new();
        while let Ok(Input::Command(Command::Stop(port, answer))) = received.recv() {
            stopped.push(port);
            answer.send(Some(Log::default())).unwrap();
        }
        assert_eq!(stopped, [7, 8]);
        assert!(serving.join().is_ok());
    }
}
