//! Sequence-numbered traffic in both directions at once, and what became of it.
//!
//! One end runs on the wire's host, the other in the guest; each sends at a fixed rate to the other
//! and writes down what it sent and received, with its own monotonic clock. Nothing is echoed, so a
//! loss in one direction is not taken for one in the other. Besides, some packets ask for an echo,
//! from which round-trip times come.
//!
//! What a path costs is measured by echoes alone, which the guest's kernel answers: nothing of ours runs
//! in the guest then ([`Echoes`](analysis::Echoes)).

pub mod analysis;
pub mod clock;
pub mod echo;
pub mod pace;
pub mod responder;

use serde::{Deserialize, Serialize};

/// UDP port of the guest's end.
pub const GUEST_PORT: u16 = 5001;
/// Every so many packets of the wire's end ask for an echo.
pub const ECHO_EVERY: u32 = 4;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of the numbered packets.
    Data,
    /// Numbered, and wants an echo.
    EchoRequest,
    /// The echo; carries the request's number and time.
    EchoReply,
}

/// A probe packet: magic, kind, number, sender's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Number, from 0, without gaps.
    pub seq: u32,
    /// Sender's clock in nanoseconds.
    pub sent_ns: u64,
}

const MAGIC: u32 = 0x6163_6e70;

impl Packet {
    /// Bytes of each: padded so that the frame is no runt.
    pub const LENGTH: usize = 64;

    /// Its bytes.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.seq.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sent_ns.to_be_bytes());
        bytes
    }

    /// The packet in these bytes, if it is one of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if word(0)? != MAGIC {
            return None;
        }
        let kind = match bytes.get(4)? {
            0 => Kind::Data,
            1 => Kind::EchoRequest,
            2 => Kind::EchoReply,
            _ => return None,
        };
        let sent_ns = u64::from_be_bytes(bytes.get(16..24)?.try_into().ok()?);
        Some(Self {
            kind,
            seq: word(8)?,
            sent_ns,
        })
    }
}

/// What one end wrote down. Times are nanoseconds of its own clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// When packet `i` was sent.
    pub sent_ns: Vec<u64>,
    /// Number of each packet that came, and when, in order of arrival.
    pub received: Vec<(u32, u64)>,
    /// Round-trip times in nanoseconds: (when the request left, how long it took).
    pub echoes_ns: Vec<(u64, u64)>,
    /// Packets that this end's own stack refused to send; they have no number.
    #[serde(default)]
    pub send_errors: u64,
    /// Packets that this end did not send because it was late by more than it makes up for ([`pace`]);
    /// they have no number.
    #[serde(default)]
    pub not_sent: u64,
    /// Packets that came and found this end's socket full; a measurement with any does not count.
    #[serde(default)]
    pub socket_drops: u64,
}

/// The monotonic clock, in nanoseconds.
pub fn now_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_survive_a_round_trip() {
        for kind in [Kind::Data, Kind::EchoRequest, Kind::EchoReply] {
            let packet = Packet {
                kind,
                seq: 0xdead_beef,
                sent_ns: u64::MAX - 3,
            };
            assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        }
        assert_eq!(Packet::decode(&[0; 64]), None);
        assert_eq!(Packet::decode(&[]), None);
    }
}
