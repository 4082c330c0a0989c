//! The socket itself: what is said here keeps the thread until the kernel is done.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink,
        sockopt,
    },
};

use super::{
    HEADER, Message, Request,
    answer::{Answer, split},
};
use crate::{HostError, Result};

/// The kernel sizes the pieces of a dump by the largest receive buffer it has seen, up to 32 KiB
/// (net/netlink/af_netlink.c, `netlink_recvmsg`).
const RECEIVE_BUFFER: usize = 32 * 1024;

/// Room for events, so that a burst of them (hundreds of taps that appear) is not lost.
const ROOM_FOR_EVENTS: usize = 4 << 20;

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for the protocol with this number (`NETLINK_…`).
    pub fn open(protocol: i32) -> Result<Self> {
        let failed = |errno: Errno| HostError::io("open a netlink socket", &errno.into());
        let protocol = u32::try_from(protocol)
            .ok()
            .and_then(rustix::net::RawProtocol::new)
            .map(rustix::net::Protocol::from_raw);
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(failed)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        let netlink = Self {
            socket,
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER],
        };
        netlink.set_option(libc::NETLINK_EXT_ACK, 1)?;
        netlink.set_option(libc::NETLINK_CAP_ACK, 1)?;
        // Not every protocol has strict checking; those that lack it check as they always did.
        if let Err(error) = netlink.set_option(libc::NETLINK_GET_STRICT_CHK, 1) {
            tracing::debug!(%error, "no strict checking of netlink requests");
        }
        Ok(netlink)
    }

    /// Receives from now on what is sent to a multicast group.
    pub fn join(&self, group: u32) -> Result<()> {
        // Root may go beyond net.core.rmem_max; anybody else has what there is.
        if let Err(error) =
            sockopt::set_socket_recv_buffer_size_force(&self.socket, ROOM_FOR_EVENTS)
        {
            tracing::debug!(%error, "the usual room for kernel events");
        }
        self.set_option(libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int)
    }

    /// Sends requests at once; their answers, or the first refusal. Each may take this long.
    pub fn exchange(
        &mut self,
        operation: &str,
        requests: &[Request],
        limit: Duration,
    ) -> Result<Vec<Answer>> {
        let (mut bytes, mut sequences) = (Vec::new(), Vec::new());
        for (kind, flags, payload) in requests {
            bytes.extend(self.message(operation, *kind, *flags, payload)?);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            sequences.push(self.sequence);
        }
        self.send(operation, &bytes)?;
        let answers = sequences.into_iter();
        answers
            .map(|sequence| self.answer(operation, sequence, limit))
            .collect()
    }

    /// Messages sent to the joined groups; empty if there was none in this time.
    pub fn receive(&mut self, patience: Duration) -> Result<Vec<Message>> {
        let operation = "receive netlink events";
        let Some(length) = self.datagram(operation, Instant::now() + patience)? else {
            return Ok(Vec::new());
        };
        split(operation, &self.buffer[..length])
            .map(|part| part.map(|part| part.message()))
            .collect()
    }

    /// The answer to the request with this number, up to its end.
    fn answer(&mut self, operation: &str, sequence: u32, limit: Duration) -> Result<Answer> {
        let deadline = Instant::now() + limit;
        let mut answer = Answer::default();
        while !answer.complete {
            let Some(length) = self.datagram(operation, deadline)? else {
                return Err(HostError::Deadline {
                    operation: operation.to_owned(),
                    seconds: limit.as_secs(),
                });
            };
            answer.take(operation, &self.buffer[..length], sequence)?;
        }
        Ok(answer)
    }

    /// A request with the next number.
    fn message(
        &mut self,
        operation: &str,
        kind: u16,
        flags: u16,
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let length = u32::try_from(HEADER + payload.len())
            .map_err(|_| HostError::Malformed(format!("{operation}: the request is too long")))?;
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(payload);
        Ok(message)
    }

    fn send(&self, operation: &str, message: &[u8]) -> Result<()> {
        rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, message, SendFlags::empty()))
            .map(drop)
            .map_err(|errno| HostError::io(operation, &errno.into()))
    }

    /// Waits for a datagram of the kernel and puts it into the buffer whole. None: the time is up.
    fn datagram(&mut self, operation: &str, deadline: Instant) -> Result<Option<usize>> {
        let failed = |errno: Errno| HostError::io(operation, &errno.into());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| {
                HostError::Malformed(format!("{operation}: {left:?} is too long a time"))
            })?;
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failed(errno)),
                Ok(_) => {}
            }
            let peek = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            let size = match rustix::net::recv(&self.socket, &mut self.buffer[..], peek) {
                Ok((_, size)) => size,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            if size > self.buffer.len() {
                self.buffer.resize(size, 0);
            }
            let taken =
                rustix::net::recvfrom(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT);
            match taken {
                Ok((length, _, Some(sender)))
                    if SocketAddrNetlink::try_from(sender.clone())
                        .is_ok_and(|sender| sender.pid() == 0) =>
                {
                    return Ok(Some(length));
                }
                Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    fn set_option(&self, option: libc::c_int, value: libc::c_int) -> Result<()> {
        // SAFETY: the descriptor is open for as long as `self` lives, and pointer and length
        // describe `value`, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                std::ptr::from_ref(&value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        Err(HostError::io(
            format!("set netlink option {option}"),
            &error,
        ))
    }
}
