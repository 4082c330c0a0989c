//! ICMP echo messages that carry a probe's packet, and a program's end of them: requests at a rate to
//! several kernels at once, from a node or a guest, written down; the logs are printed when standard input
//! ends.
//!
//! Whoever answers is a kernel, so nothing of ours runs there, and nothing has to live on while the machine
//! that answers is saved, moved or started anew.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{Icmpv4Packet, Icmpv4Repr, Ipv4Packet},
};

use super::{Kind, Log, Packet, now_ns, pace, pace::Pace};

/// Bytes of a message: an ICMP header and a packet.
pub const LENGTH: usize = 8 + Packet::LENGTH;

/// How long replies may still come when sending has ended: longer than frames wait in a switch-over (2 s at
/// most), or what was only late would be taken for lost.
const PATIENCE_NS: u64 = 2_500_000_000;

/// The request that carries `packet`.
pub fn request(ident: u16, packet: &Packet) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let request = Icmpv4Repr::EchoRequest {
        ident,
        // Wraps; our own number is in the data.
        seq_no: packet.seq as u16,
        data: &packet.encode(),
    };
    let mut message = Icmpv4Packet::new_unchecked(&mut bytes);
    request.emit(&mut message, &ChecksumCapabilities::default());
    bytes
}

/// What a reply brings back, and for whom. A reply has the request's data as they were.
pub fn reply(message: &[u8]) -> Option<(u16, Packet)> {
    let message = Icmpv4Packet::new_checked(message).ok()?;
    match Icmpv4Repr::parse(&message, &ChecksumCapabilities::default()).ok()? {
        Icmpv4Repr::EchoReply { ident, data, .. } => {
            let packet = Packet::decode(data)?;
            let kind = Kind::EchoReply;
            Some((ident, Packet { kind, ..packet }))
        }
        _ => None,
    }
}

/// Sends `rate_pps` requests a second to each address until standard input ends, waits for what is on its way,
/// and prints a list of [`Log`]s in the order of the addresses. A request that this machine refused to send
/// counts as one that nobody answered: who cannot send does not reach anybody either.
pub fn run(rate_pps: u32, to: &[Ipv4Addr]) -> Result<()> {
    let socket = raw_socket()?;
    let mut pace = Pace::new(rate_pps)?;
    println!("ready");
    let ident = std::process::id() as u16;
    let mut logs: Vec<Log> = to.iter().map(|_| Log::default()).collect();
    let mut stop_at: Option<u64> = None;
    while stop_at.is_none_or(|stop| now_ns() < stop) {
        let stdin = io::stdin();
        let mut fds = vec![
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&pace, PollFlags::IN),
        ];
        if stop_at.is_none() {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        poll(&mut fds, None)?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            receive(&socket, ident, to, &mut logs);
        }
        if ready[1] {
            // Also when nothing is sent any more: it is what wakes us at the end.
            let due = pace.due();
            if stop_at.is_none() {
                send(&socket, ident, due, to, &mut logs);
            }
        }
        if ready.get(2) == Some(&true)
            && rustix::io::read(stdin.as_fd(), &mut [0u8; 64][..]).unwrap_or(0) == 0
        {
            stop_at = Some(now_ns() + PATIENCE_NS);
        }
    }
    println!("{}", serde_json::to_string(&logs)?);
    Ok(())
}

/// A socket for ICMP messages. The standard library has no type for it; a UDP socket's calls are the same
/// ones (sendto(2), recvfrom(2)), and a port means nothing.
fn raw_socket() -> Result<UdpSocket> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers; a result >= 0 is a new descriptor that we own.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_ICMP) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("no socket for ICMP; not root?");
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

fn send(socket: &UdpSocket, ident: u16, due: u64, to: &[Ipv4Addr], logs: &mut [Log]) {
    let count = pace::catch_up(due);
    for (address, log) in to.iter().zip(logs) {
        log.not_sent += due - count;
        for _ in 0..count {
            let packet = Packet {
                kind: Kind::EchoRequest,
                seq: log.sent_ns.len() as u32,
                sent_ns: now_ns(),
            };
            log.sent_ns.push(packet.sent_ns);
            let message = request(ident, &packet);
            if socket
                .send_to(&message, SocketAddr::from((*address, 0)))
                .is_err()
            {
                log.send_errors += 1;
            }
        }
    }
}

/// Such a socket gets every ICMP message of the machine, with its IP header (raw(7)).
fn receive(socket: &UdpSocket, ident: u16, to: &[Ipv4Addr], logs: &mut [Log]) {
    let mut bytes = [0; 256];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let now = now_ns();
        let Ok(datagram) = Ipv4Packet::new_checked(&bytes[..length]) else {
            continue;
        };
        let Some((for_whom, packet)) = reply(datagram.payload()) else {
            continue;
        };
        let place = to
            .iter()
            .position(|address| from.ip() == IpAddr::V4(*address));
        if let Some(place) = place.filter(|_| for_whom == ident) {
            let took = now.saturating_sub(packet.sent_ns);
            logs[place].echoes_ns.push((packet.sent_ns, took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_known_by_its_kind_sum_and_data() {
        let packet = Packet {
            kind: Kind::EchoRequest,
            seq: 70_000,
            sent_ns: 5,
        };
        let message = request(20_000, &packet);
        assert_eq!(reply(&message), None, "a request is no reply");
        let mut bytes = vec![0; LENGTH];
        let answer = Icmpv4Repr::EchoReply {
            ident: 20_000,
            seq_no: 4464,
            data: &packet.encode(),
        };
        answer.emit(
            &mut Icmpv4Packet::new_unchecked(&mut bytes),
            &ChecksumCapabilities::default(),
        );
        let kind = Kind::EchoReply;
        assert_eq!(reply(&bytes), Some((20_000, Packet { kind, ..packet })));
        bytes[12] ^= 1;
        assert_eq!(reply(&bytes), None, "its sum is wrong");
        assert_eq!(reply(&[]), None);
    }
}
