//! A small synchronous netlink socket.
//!
//! Only the transport: attributes are built and read by [`super::attributes`], message headers by
//! whoever sends them. (A generated codec was tried: its own socket panics on messages over 8 KiB,
//! and 28,000 lines of it were compiled for the dozen attributes needed here.) Invariants:
//! - every receive has a deadline, and answers to anything but the request under way are skipped
//!   (sequence number and sender are checked);
//! - a datagram is never cut off: its size is asked for first (`MSG_PEEK | MSG_TRUNC`), because a PF
//!   with many VFs answers with far more than the customary 8 KiB;
//! - the kernel checks requests strictly, and its extended ack goes into [`HostError::Kernel`];
//! - a dump that changed while it was read (`NLM_F_DUMP_INTR`) is read again.
//!
//! Sources: Documentation/userspace-api/netlink/intro.rst, include/uapi/linux/netlink.h.

use std::{
    cell::Cell,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use accelnet_model::IfName;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink,
    },
};

use super::attributes;
use crate::{HostError, Result};

/// How long the kernel may take for one exchange. Setting an attribute can wait for the RTNL lock,
/// which VF creation holds for many seconds on some drivers (over 60 s for 60 VFs on ixgbe).
const DEADLINE: Duration = Duration::from_secs(90);

/// How often a dump that changed under us is read anew.
const DUMP_ATTEMPTS: u32 = 8;

/// The kernel sizes the pieces of a dump by the largest receive buffer it has seen, up to 32 KiB
/// (net/netlink/af_netlink.c, `netlink_recvmsg`).
const RECEIVE_BUFFER: usize = 32 * 1024;

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;

thread_local! {
    static DUMPS: Cell<u64> = const { Cell::new(0) };
}

/// How many whole tables this thread has asked the kernel for: what a look costs, for benchmarks.
pub fn dumps() -> u64 {
    DUMPS.get()
}

/// One netlink message without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// A netlink socket of one protocol.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// A socket for rtnetlink (links, neighbours, traffic control).
    pub fn route() -> Result<Self> {
        Self::open(libc::NETLINK_ROUTE)
    }

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

    /// Receives from now on what is sent to a multicast group (`RTNLGRP_…`), see [`Self::receive`].
    pub fn join(&self, group: u32) -> Result<()> {
        self.set_option(libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int)
    }

    /// Sends a request (`NLM_F_REQUEST` and `NLM_F_ACK` are added to the flags) and returns the
    /// answers up to the acknowledgement or the end of the dump. `operation` says in words what it
    /// does; `payload` is what follows the netlink header.
    pub fn request(
        &mut self,
        operation: &str,
        kind: u16,
        flags: u16,
        payload: &[u8],
    ) -> Result<Vec<Message>> {
        let deadline = Instant::now() + DEADLINE;
        for _ in 0..DUMP_ATTEMPTS {
            let message = self.message(operation, kind, flags, payload)?;
            let whole = libc::NLM_F_DUMP as u16;
            if flags & whole == whole {
                DUMPS.set(DUMPS.get() + 1);
            }
            self.send(operation, &message)?;
            let answer = self.answer(operation, self.sequence, deadline)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(HostError::kernel(
            format!("{operation}: the table kept changing while it was read"),
            libc::EINTR,
            None,
        ))
    }

    /// Sends several requests of one kind at once, each with its flags. The kernel does one after the
    /// other before this process goes on or ends (net/netlink/af_netlink.c, `netlink_rcv_skb`). The
    /// first that it refuses is the error; it does the others all the same.
    pub fn request_all(
        &mut self,
        operation: &str,
        kind: u16,
        requests: &[(u16, &[u8])],
    ) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let (mut bytes, mut sequences) = (Vec::new(), Vec::new());
        for (flags, payload) in requests {
            bytes.extend(self.message(operation, kind, *flags, payload)?);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            sequences.push(self.sequence);
        }
        self.send(operation, &bytes)?;
        for sequence in sequences {
            self.answer(operation, sequence, deadline)?;
        }
        Ok(())
    }

    /// Messages sent to the joined groups, waiting up to `patience`; empty if there was none.
    /// `ENOBUFS` (as [`HostError::Kernel`]) means that events were lost.
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
    fn answer(&mut self, operation: &str, sequence: u32, deadline: Instant) -> Result<Answer> {
        let mut answer = Answer::default();
        while !answer.complete {
            let Some(length) = self.datagram(operation, deadline)? else {
                return Err(HostError::Deadline {
                    operation: operation.to_owned(),
                    seconds: DEADLINE.as_secs(),
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

/// The interface's number today; [`HostError::Gone`] if there is none of that name.
pub fn ifindex(name: &IfName) -> Result<u32> {
    let failed = |errno: Errno| HostError::io(format!("look up {name}"), &errno.into());
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    match rustix::net::netdevice::name_to_index(&socket, name.as_str()) {
        Ok(index) => Ok(index),
        Err(Errno::NODEV) => Err(HostError::Gone(name.to_string())),
        Err(errno) => Err(failed(errno)),
    }
}

/// What has come of the answer to one request.
#[derive(Debug, Default)]
struct Answer {
    messages: Vec<Message>,
    complete: bool,
    interrupted: bool,
}

impl Answer {
    /// Takes in one datagram.
    fn take(&mut self, operation: &str, datagram: &[u8], sequence: u32) -> Result<()> {
        for part in split(operation, datagram) {
            let part = part?;
            if part.sequence != sequence {
                continue;
            }
            self.interrupted |= part.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
            match i32::from(part.kind) {
                libc::NLMSG_ERROR => {
                    self.complete = true;
                    acknowledged(operation, &part, HEADER)?;
                }
                libc::NLMSG_DONE => {
                    self.complete = true;
                    acknowledged(operation, &part, 0)?;
                }
                libc::NLMSG_NOOP => {}
                libc::NLMSG_OVERRUN => {
                    return Err(HostError::kernel(operation, libc::ENOBUFS, None));
                }
                _ => self.messages.push(part.message()),
            }
        }
        Ok(())
    }
}

/// One message inside a datagram.
struct Part<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Part<'_> {
    fn message(&self) -> Message {
        Message {
            kind: self.kind,
            flags: self.flags,
            payload: self.payload.to_vec(),
        }
    }
}

/// The messages of a datagram.
fn split<'a>(operation: &'a str, mut datagram: &'a [u8]) -> impl Iterator<Item = Result<Part<'a>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let part = first_part(datagram).ok_or_else(|| {
            HostError::Malformed(format!("{operation}: a netlink message is cut off"))
        });
        // Messages start at multiples of four bytes (NLMSG_ALIGNTO).
        let next = part
            .as_ref()
            .map_or(usize::MAX, |part| HEADER + part.payload.len())
            .checked_next_multiple_of(4)
            .unwrap_or(usize::MAX);
        datagram = datagram.get(next..).unwrap_or_default();
        Some(part)
    })
}

fn first_part(datagram: &[u8]) -> Option<Part<'_>> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*datagram.get(at..)?.first_chunk()?));
    let u16_at = |at: usize| Some(u16::from_ne_bytes(*datagram.get(at..)?.first_chunk()?));
    let length = usize::try_from(u32_at(0)?).ok()?;
    Some(Part {
        kind: u16_at(4)?,
        flags: u16_at(6)?,
        sequence: u32_at(8)?,
        payload: datagram.get(HEADER..length)?,
    })
}

/// Reads `NLMSG_ERROR` and `NLMSG_DONE`: an errno (negative or 0), `skip` bytes of the request's
/// header, and the extended ack's attributes if the flags announce them.
fn acknowledged(operation: &str, part: &Part<'_>, skip: usize) -> Result<()> {
    let Some(code) = part.payload.first_chunk().map(|b| i32::from_ne_bytes(*b)) else {
        // Some old dumps end without an errno.
        return Ok(());
    };
    // NLM_F_ACK_TLVS of include/uapi/linux/netlink.h.
    const ACK_TLVS: u16 = 0x200;
    let announced = part.flags & ACK_TLVS != 0;
    let extack = part
        .payload
        .get(4 + skip..)
        .filter(|_| announced)
        .and_then(extack_text);
    match (code, extack) {
        (0, None) => Ok(()),
        (0, Some(warning)) => {
            tracing::warn!(operation, "the kernel says: {warning}");
            Ok(())
        }
        (code, extack) => Err(HostError::kernel(operation, code.saturating_neg(), extack)),
    }
}

/// `NLMSGERR_ATTR_MSG` of an extended ack, without control characters.
fn extack_text(list: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let text = attributes::text(attributes::find(list, NLMSGERR_ATTR_MSG)?);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
