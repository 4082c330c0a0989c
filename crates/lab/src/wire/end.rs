//! The wire's end of a probe.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smoltcp::{
    iface::{SocketHandle, SocketSet},
    socket::{icmp, udp},
    storage::{PacketBuffer, PacketMetadata},
};

use crate::probe::{Kind, Log, Packet, echo, now_ns, pace};

/// An echo that did not come by then is given up, and its place goes to another.
const ECHO_PATIENCE_NS: u64 = 500_000_000;
/// Packets that may wait in a socket.
const QUEUE: usize = 4096;
/// Bytes of the longest packet.
const LONGEST: usize = echo::LENGTH;

/// Who gets a probe's packets.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// A probe's end in a guest, by UDP. It counts what it gets.
    Responder {
        /// Where it listens.
        address: SocketAddr,
        /// Every so many packets ask for an echo.
        echo_every: u32,
    },
    /// A kernel, by ICMP echo requests, as ping(8) sends them.
    Kernel {
        /// Its address.
        address: Ipv4Addr,
    },
}

/// How fast a probe sends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At a fixed rate.
    Rate {
        /// Packets a second.
        pps: u32,
    },
    /// So that a number of echoes are on their way at any time.
    Outstanding {
        /// How many.
        count: u32,
    },
}

#[derive(Debug)]
pub(super) struct Probe {
    socket: SocketHandle,
    /// Its UDP port, or the identifier of its echoes.
    number: u16,
    peer: Peer,
    pace: Pace,
    /// When sending began; it does not send while there is no such moment.
    began_ns: Option<u64>,
    /// Echo requests on their way: number, when sent.
    pending: HashMap<u32, u64>,
    log: Log,
}

impl Probe {
    /// None if the number is taken.
    pub(super) fn open(
        sockets: &mut SocketSet<'_>,
        number: u16,
        peer: Peer,
        pace: Pace,
    ) -> Option<Self> {
        let socket = match peer {
            Peer::Responder { .. } => {
                let mut socket = udp::Socket::new(buffer(), buffer());
                socket.bind(number).ok()?;
                sockets.add(socket)
            }
            Peer::Kernel { .. } => {
                let mut socket = icmp::Socket::new(buffer(), buffer());
                socket.bind(icmp::Endpoint::Ident(number)).ok()?;
                sockets.add(socket)
            }
        };
        Some(Self {
            socket,
            number,
            peer,
            pace,
            began_ns: None,
            pending: HashMap::new(),
            log: Log::default(),
        })
    }

    pub(super) fn begin(&mut self) {
        self.began_ns = Some(now_ns());
    }

    /// It goes on receiving.
    pub(super) fn quiesce(&mut self) {
        self.began_ns = None;
    }

    pub(super) fn close(self, sockets: &mut SocketSet<'_>) -> Log {
        sockets.remove(self.socket);
        self.log
    }

    pub(super) fn next_send_in(&self) -> Duration {
        let Some(began_ns) = self.began_ns else {
            return Duration::MAX;
        };
        let Pace::Rate { pps } = self.pace else {
            return Duration::from_millis(1);
        };
        let due = began_ns + self.past() * 1_000_000_000 / u64::from(pps.max(1));
        Duration::from_nanos(due.saturating_sub(now_ns()))
    }

    /// Packets whose time has come and gone, sent or not.
    fn past(&self) -> u64 {
        self.log.sent_ns.len() as u64 + self.log.send_errors + self.log.not_sent
    }

    pub(super) fn receive(&mut self, sockets: &mut SocketSet<'_>) {
        match self.peer {
            Peer::Responder { .. } => {
                let socket: &mut udp::Socket<'_> = sockets.get_mut(self.socket);
                while let Ok((bytes, _)) = socket.recv() {
                    self.note(Packet::decode(bytes));
                }
            }
            Peer::Kernel { .. } => {
                let socket: &mut icmp::Socket<'_> = sockets.get_mut(self.socket);
                while let Ok((bytes, _)) = socket.recv() {
                    self.note(echo::reply(bytes).map(|(_, packet)| packet));
                }
            }
        }
    }

    fn note(&mut self, packet: Option<Packet>) {
        let now = now_ns();
        match packet {
            Some(packet) if packet.kind == Kind::EchoReply => {
                self.pending.remove(&packet.seq);
                let took = now.saturating_sub(packet.sent_ns);
                self.log.echoes_ns.push((packet.sent_ns, took));
            }
            Some(packet) => self.log.received.push((packet.seq, now)),
            None => {}
        }
    }

    pub(super) fn send(&mut self, sockets: &mut SocketSet<'_>) {
        let Some(began_ns) = self.began_ns else {
            return;
        };
        let now = now_ns();
        match self.pace {
            Pace::Rate { pps } => {
                let elapsed_ns = u128::from(now.saturating_sub(began_ns));
                let due =
                    (elapsed_ns * u128::from(pps) / 1_000_000_000) as u64 + u64::from(pps > 0);
                let behind = due.saturating_sub(self.past());
                let count = pace::catch_up(behind);
                self.log.not_sent += behind - count;
                for _ in 0..count {
                    self.send_one(sockets);
                }
            }
            Pace::Outstanding { count } => {
                self.pending
                    .retain(|_, sent| now.saturating_sub(*sent) < ECHO_PATIENCE_NS);
                while (self.pending.len() as u32) < count {
                    let seq = self.log.sent_ns.len() as u32;
                    if !self.send_one(sockets) {
                        break;
                    }
                    self.pending.insert(seq, now_ns());
                }
            }
        }
    }

    /// False if the socket's buffer is full (nobody has taken a packet for seconds). Such a packet has
    /// no number and is counted apart, as at the guest's end.
    fn send_one(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let seq = self.log.sent_ns.len() as u32;
        let sent_ns = now_ns();
        let packet = |kind| Packet { kind, seq, sent_ns };
        let sent = match self.peer {
            Peer::Responder {
                address,
                echo_every,
            } => {
                let socket: &mut udp::Socket<'_> = sockets.get_mut(self.socket);
                let kind = if seq.is_multiple_of(echo_every.max(1)) {
                    Kind::EchoRequest
                } else {
                    Kind::Data
                };
                socket.send_slice(&packet(kind).encode(), address).is_ok()
            }
            Peer::Kernel { address } => {
                let socket: &mut icmp::Socket<'_> = sockets.get_mut(self.socket);
                let message = echo::request(self.number, &packet(Kind::EchoRequest));
                socket.send_slice(&message, address.into()).is_ok()
            }
        };
        if sent {
            self.log.sent_ns.push(sent_ns);
        } else {
            self.log.send_errors += 1;
        }
        sent
    }
}

fn buffer<H: Clone>() -> PacketBuffer<'static, H> {
    PacketBuffer::new(vec![PacketMetadata::EMPTY; QUEUE], vec![0; QUEUE * LONGEST])
}
