//! The guest's end of a probe: sends at a rate, receives, echoes; prints its log when its standard
//! input ends.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use super::{GUEST_PORT, Kind, Log, Packet, now_ns, pace};

/// Bytes for packets that wait for us. A packet takes about 0.75 KiB of it (skb->truesize), so that
/// 8 MiB hold seconds of the highest rate; the kernel doubles it for its own book-keeping.
static RECEIVE_BUFFER: libc::c_int = 8 << 20;

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
    force_receive_buffer(&socket)?;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    if rate_pps > 0 {
        let interval = timespec(1_000_000_000 / u64::from(rate_pps));
        let every = Itimerspec {
            it_interval: interval,
            it_value: interval,
        };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
    }
    println!("ready");
    let mut log = Log::default();
    let mut stop_at: Option<u64> = None;
    while stop_at.is_none_or(|stop| now_ns() < stop) {
        let stdin = io::stdin();
        let mut fds = vec![
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&timer, PollFlags::IN),
        ];
        if stop_at.is_none() {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        let left = stop_at.map(|stop| timespec(stop.saturating_sub(now_ns())));
        poll(&mut fds, left.as_ref())?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            receive(&socket, &mut log);
        }
        if ready[1] {
            let due = ticks(&timer);
            if stop_at.is_none() {
                let now = pace::catch_up(due);
                log.not_sent += due - now;
                send(&socket, now, peer, &mut log);
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

fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

/// `SO_RCVBUF` is cut to net.core.rmem_max; its forced form is not, and the agent is root
/// (socket(7)).
fn force_receive_buffer(socket: &UdpSocket) -> Result<()> {
    let size = size_of_val(&RECEIVE_BUFFER) as libc::socklen_t;
    // SAFETY: pointer and size are those of a live integer; the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const RECEIVE_BUFFER).cast(),
            size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("no larger receive buffer; not root?");
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
    let mut bytes = [0; 128];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let now = now_ns();
        let Some(packet) = Packet::decode(&bytes[..length]) else {
            continue;
        };
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
}

/// How often the timer went off since it was asked last.
pub(super) fn ticks(timer: impl AsFd) -> u64 {
    let mut ticks = [0u8; 8];
    rustix::io::read(&timer, &mut ticks).map_or(0, |_| u64::from_ne_bytes(ticks))
}

fn send(socket: &UdpSocket, count: u64, peer: SocketAddr, log: &mut Log) {
    for _ in 0..count {
        let packet = Packet {
            kind: Kind::Data,
            seq: log.sent_ns.len() as u32,
            sent_ns: now_ns(),
        };
        if socket.send_to(&packet.encode(), peer).is_ok() {
            log.sent_ns.push(packet.sent_ns);
        } else {
            log.send_errors += 1;
        }
    }
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
