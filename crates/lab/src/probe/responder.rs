//! The guest's end of a probe: sends at a rate, receives, echoes; prints its log when its standard
//! input ends.

use std::{
    io::{self, IoSlice},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg, sendmmsg,
        sockopt,
    },
};

use super::{GUEST_PORT, Kind, Log, Packet, now_ns, pace, pace::Pace};

/// Bytes for packets that wait for us; the kernel doubles it for its own book-keeping. A packet takes about 0.75 KiB of
/// it (skb->truesize), so that it holds a minute of 1,000 a second: an emulated guest may be behind for long. All
/// sockets together have an eighth of a guest's memory (ip(7), `udp_mem`), unless its administrator gives them more.
const RECEIVE_BUFFER: usize = 24 << 20;

/// After so many calls it is seen to what is to be sent: packets may come faster than they are taken.
const AT_ONCE: usize = 32;

/// Runs until standard input ends, then half a second more for what is on its way.
pub fn run(peer: SocketAddr, rate_pps: u32) -> Result<()> {
    let bind: SocketAddr = if peer.is_ipv4() {
        ([0, 0, 0, 0], GUEST_PORT).into()
    } else {
        ([0u16; 8], GUEST_PORT).into()
    };
    let socket =
        UdpSocket::bind(bind).context("the probe's port is taken; is another probe running?")?;
    socket.set_nonblocking(true)?;
    // SO_RCVBUF is cut to net.core.rmem_max; its forced form is not, and the agent is root (socket(7)).
    sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
        .context("no larger receive buffer; not root?")?;
    receive_many(&socket)?;
    let peer_address = peer.as_any();
    let mut pace = Pace::new(rate_pps)?;
    println!("ready");
    let mut log = Log::default();
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
        let left = stop_at.map(|stop| pace::timespec(stop.saturating_sub(now_ns())));
        poll(&mut fds, left.as_ref())?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            receive(&socket, &mut log);
        }
        if ready[1] {
            let due = pace.due();
            if stop_at.is_none() {
                let now = pace::catch_up(due);
                log.not_sent += due - now;
                send(&socket, now, &peer_address, &mut log);
            }
        }
        if ready.get(2) == Some(&true)
            && rustix::io::read(stdin.as_fd(), &mut [0u8; 64][..]).unwrap_or(0) == 0
        {
            stop_at = Some(now_ns() + 500_000_000);
        }
    }
    log.socket_drops = socket_drops(peer)?;
    println!("{}", serde_json::to_string(&log)?);
    Ok(())
}

/// Has the kernel hand over many packets of one sender at a time (udp(7), `UDP_GRO`): in an emulated guest a call costs as
/// much as a packet.
fn receive_many(socket: &UdpSocket) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and size are those of a live integer; the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("packets cannot be taken many at a time");
    }
    Ok(())
}

/// Packets that found our socket full.
fn socket_drops(peer: SocketAddr) -> Result<u64> {
    let table = if peer.is_ipv4() { "udp" } else { "udp6" };
    let text = std::fs::read_to_string(format!("/proc/net/{table}"))?;
    drops_of_port(&text, GUEST_PORT).context("our socket is not in the kernel's table")
}

/// Reads /proc/net/udp: the local address is the second word (hexadecimal `ADDRESS:PORT`), drops the
/// last (net/ipv4/udp.c, `udp4_format_sock`).
fn drops_of_port(table: &str, port: u16) -> Option<u64> {
    let ending = format!(":{port:04X}");
    let mut sockets = table.lines().skip(1).filter(|line| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&ending))
    });
    sockets.next()?.split_whitespace().last()?.parse().ok()
}

fn receive(socket: &UdpSocket, log: &mut Log) {
    let mut bytes = [0; 1 << 16];
    for _ in 0..AT_ONCE {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else {
            return;
        };
        let now = now_ns();
        for bytes in bytes[..length].chunks(Packet::LENGTH) {
            if let Some(packet) = Packet::decode(bytes) {
                take(socket, from, packet, now, log);
            }
        }
    }
}

fn take(socket: &UdpSocket, from: SocketAddr, packet: Packet, now: u64, log: &mut Log) {
    match packet.kind {
        Kind::Data => log.received.push((packet.seq, now)),
        Kind::EchoRequest => {
            log.received.push((packet.seq, now));
            let reply = Packet {
                kind: Kind::EchoReply,
                ..packet
            };
            // An echo that cannot be sent is missing at the other end; that is the measurement.
            let _ = socket.send_to(&reply.encode(), from);
        }
        Kind::EchoReply => log
            .echoes_ns
            .push((packet.sent_ns, now.saturating_sub(packet.sent_ns))),
    }
}

fn send(socket: &UdpSocket, count: u64, peer: &SocketAddrAny, log: &mut Log) {
    let mut left = count as u32;
    while left > 0 {
        let sent_ns = now_ns();
        let first = log.sent_ns.len() as u32;
        let packet = |number| Packet {
            kind: Kind::Data,
            seq: first + number,
            sent_ns,
        };
        let packets: Vec<_> = (0..left).map(|number| packet(number).encode()).collect();
        // One that cannot be sent ends the call: the others get other numbers.
        let sent = send_together(socket, &packets, peer).unwrap_or_else(|_| {
            log.send_errors += 1;
            left -= 1;
            0
        });
        log.sent_ns.extend(std::iter::repeat_n(sent_ns, sent));
        left -= sent as u32;
    }
}

/// Sends them in one call, or as many of them as can be sent.
fn send_together(
    socket: &UdpSocket,
    packets: &[[u8; Packet::LENGTH]],
    peer: &SocketAddrAny,
) -> Result<usize, Errno> {
    let slices: Vec<_> = packets
        .iter()
        .map(|packet| [IoSlice::new(packet)])
        .collect();
    let mut nothing_more: Vec<_> = slices
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let messages = slices.iter().zip(&mut nothing_more);
    let mut messages: Vec<_> = messages
        .map(|(slice, nothing)| MMsgHdr::new_with_addr(peer, slice, nothing))
        .collect();
    sendmmsg(socket, &mut messages, SendFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  120: 00000000:1389 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2077 2 00000000a0b0c0d0 17
  212: 00000000:13E5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2079 2 00000000a0b0c0d1 3
";

    #[test]
    fn drops_are_those_of_our_own_socket() {
        assert_eq!(drops_of_port(TABLE, 5001), Some(17));
        assert_eq!(drops_of_port(TABLE, 5002), None);
        assert_eq!(drops_of_port("", 5001), None);
    }
}
