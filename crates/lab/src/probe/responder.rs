//! The guest's end of a probe: sends at a rate, receives, echoes; prints its log when its standard
//! input ends.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Timespec as Time,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use super::{GUEST_PORT, Kind, Log, Packet, now_ns};

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
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    if rate_pps > 0 {
        let nanoseconds = 1_000_000_000 / i64::from(rate_pps);
        let interval = Time {
            tv_sec: nanoseconds / 1_000_000_000,
            tv_nsec: nanoseconds % 1_000_000_000,
        };
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
        let stdin = std::io::stdin();
        let mut fds = vec![
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&timer, PollFlags::IN),
        ];
        if stop_at.is_none() {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            }),
        )?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            receive(&socket, &mut log);
        }
        if ready[1] {
            send(&socket, &timer, peer, stop_at.is_some(), &mut log);
        }
        if ready.get(2) == Some(&true)
            && rustix::io::read(stdin.as_fd(), &mut [0u8; 64][..]).unwrap_or(0) == 0
        {
            stop_at = Some(now_ns() + 500_000_000);
        }
    }
    println!("{}", serde_json::to_string(&log)?);
    Ok(())
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

fn send(socket: &UdpSocket, timer: impl AsFd, peer: SocketAddr, stopping: bool, log: &mut Log) {
    let mut ticks = [0u8; 8];
    if rustix::io::read(&timer, &mut ticks).is_err() || stopping {
        return;
    }
    // A guest that was not scheduled for a while has several ticks to make up.
    for _ in 0..u64::from_ne_bytes(ticks).min(1000) {
        let packet = Packet {
            kind: Kind::Data,
            seq: log.sent_ns.len() as u32,
            sent_ns: now_ns(),
        };
        if socket.send_to(&packet.encode(), peer).is_ok() {
            log.sent_ns.push(packet.sent_ns);
        }
    }
}
