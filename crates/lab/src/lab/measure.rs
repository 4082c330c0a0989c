//! Probes between the wire and a guest.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};

use super::{Guest, Lab, program::Program};
use crate::{
    probe::{
        ECHO_EVERY, GUEST_PORT, Log,
        analysis::{Echoes, Report, analyse, longest_silence},
        now_ns,
    },
    wire::{
        control::{Control, Counters, Request, Started},
        end::{Pace, Peer},
    },
};

/// How long packets may still be on their way when sending has ended: longer than any delay that a
/// switch of paths adds (0.45 s in the lab).
const DRAIN: Duration = Duration::from_millis(600);

/// A probe that runs until it is told to stop.
#[derive(Debug)]
pub struct Running {
    wire: WireEnd,
    guest: Program,
    rate_pps: u32,
}

/// Echoes that go on until they are told to stop. The guest's kernel answers them.
#[derive(Debug)]
pub struct Pinging(WireEnd);

/// What a probe found, to be looked at as a whole or in parts.
#[derive(Debug)]
pub struct Logs {
    wire: Log,
    guest: Log,
    rate_pps: u32,
}

impl Logs {
    pub(super) fn new(wire: Log, guest: Log, rate_pps: u32) -> Result<Self> {
        ensure!(
            guest.socket_drops == 0,
            "the probe's own socket in the guest dropped {} packets: the measurement does not count",
            guest.socket_drops
        );
        Ok(Self {
            wire,
            guest,
            rate_pps,
        })
    }

    /// When the wire heard nothing of the guest for the longest time (its clock): the last packet before, the
    /// first one after. Of a guest that was moved that is where it stood still.
    pub fn longest_silence(&self) -> Option<(u64, u64)> {
        longest_silence(&self.wire)
    }

    /// Packets sent between two moments of the wire's clock ([`now_ns`], which is this machine's).
    pub fn between(&self, from_ns: u64, to_ns: u64) -> Report {
        let mut report = analyse(&self.wire, &self.guest, self.rate_pps, from_ns, to_ns);
        let first_ns = self.wire.sent_ns.first().copied().unwrap_or(0).max(from_ns);
        report.began_unix_s = unix_s(first_ns);
        report
    }

    /// Everything.
    pub fn all(&self) -> Report {
        self.between(0, u64::MAX)
    }
}

impl Lab {
    /// The wire's control.
    pub(super) fn wire(&self) -> Result<Control> {
        Control::connect(&self.directory().join("wire/control"))
    }

    /// Starts a probe: numbered packets in both directions, so many a second each way. Neither end
    /// sends before the other can receive, so that no packet is taken for lost that nobody could have
    /// got.
    pub fn start_probe(&self, guest: &str, rate_pps: u32) -> Result<Running> {
        let guest = self.guest(guest)?;
        let mut wire = WireEnd::of_probe(self, guest, rate_pps)?;
        let words = wire.words_in_guest(rate_pps);
        let words = self.guest_command(guest, &words);
        let program = Program::start(self, &guest.node, &words);
        let program = program.with_context(|| format!("to probe {}", guest.name))?;
        wire.begin()?;
        Ok(Running {
            wire,
            guest: program,
            rate_pps,
        })
    }

    /// A probe of a fixed length.
    pub fn probe(&self, guest: &str, seconds: f64, rate_pps: u32) -> Result<Report> {
        let running = self.start_probe(guest, rate_pps)?;
        wait(Duration::from_secs_f64(seconds));
        Ok(running.stop()?.all())
    }

    /// Starts ICMP echoes, as ping(8) sends them. Nothing runs in the guest for it but its kernel.
    pub fn start_ping(&self, guest: &str, pace: Pace) -> Result<Pinging> {
        self.ping_address(self.guest(guest)?.address(), pace)
    }

    pub(super) fn ping_address(&self, address: Ipv4Addr, pace: Pace) -> Result<Pinging> {
        let mut wire = WireEnd::open(self, Peer::Kernel { address }, pace)?;
        wire.begin()?;
        Ok(Pinging(wire))
    }

    /// Echoes for a while.
    pub fn ping(&self, guest: &str, length: Duration, pace: Pace) -> Result<Echoes> {
        let pinging = self.start_ping(guest, pace)?;
        wait(length);
        pinging.stop()
    }
}

/// The wire's end of a probe.
#[derive(Debug)]
pub(super) struct WireEnd {
    control: Control,
    /// Number of its probe, which the guest's end sends to.
    pub(super) port: u16,
    dropped_before: u64,
}

impl WireEnd {
    /// Of a probe with numbered packets.
    pub(super) fn of_probe(lab: &Lab, guest: &Guest, rate_pps: u32) -> Result<Self> {
        let peer = Peer::Responder {
            address: (guest.address(), GUEST_PORT).into(),
            echo_every: ECHO_EVERY,
        };
        Self::open(lab, peer, Pace::Rate { pps: rate_pps })
    }

    /// The command line of its other end.
    pub(super) fn words_in_guest(&self, rate_pps: u32) -> [String; 4] {
        [
            "accelnet-lab-guest".to_owned(),
            "probe".into(),
            format!("10.77.0.1:{}", self.port),
            rate_pps.to_string(),
        ]
    }

    /// It receives, but sends nothing yet.
    pub(super) fn open(lab: &Lab, peer: Peer, pace: Pace) -> Result<Self> {
        let mut control = lab.wire()?;
        let dropped_before = control.ask::<Counters>(&Request::Counters)?.dropped;
        let port = control.ask::<Started>(&Request::Open { peer, pace })?.port;
        Ok(Self {
            control,
            port,
            dropped_before,
        })
    }

    /// Begins to send.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.control.begin(self.port)
    }

    /// Sends no more, and waits for what is on its way.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.control.quiesce(self.port)?;
        wait(DRAIN);
        Ok(())
    }

    /// What it wrote down.
    pub(super) fn close(&mut self) -> Result<Log> {
        let log = self.control.stop(self.port)?;
        let dropped =
            self.control.ask::<Counters>(&Request::Counters)?.dropped - self.dropped_before;
        ensure!(
            dropped == 0,
            "the lab's own wire dropped {dropped} frames: the measurement does not count"
        );
        Ok(log)
    }
}

/// A moment of our monotonic clock, as seconds since 1970.
fn unix_s(at_ns: u64) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ago_s = (now_ns() as f64 - at_ns as f64) / 1e9;
    now.unwrap_or_default().as_secs_f64() - ago_s
}

/// Lets time pass: a measurement of a given length has no event to wait for.
pub fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

impl Running {
    /// Stops sending at both ends, waits for what is on its way, and collects both ends' logs.
    ///
    /// The order matters: an end that was closed while the other still sent would be seen as loss.
    /// The guest's end goes on receiving for half a second after it has stopped to send.
    pub fn stop(mut self) -> Result<Logs> {
        self.wire.drain()?;
        let guest: Log = self.guest.finish()?;
        Logs::new(self.wire.close()?, guest, self.rate_pps)
    }
}

impl Pinging {
    /// Sends no more, waits for what is on its way, and tells what came of it.
    pub fn stop(mut self) -> Result<Echoes> {
        self.0.drain()?;
        Ok(Echoes::of(&self.0.close()?))
    }
}
