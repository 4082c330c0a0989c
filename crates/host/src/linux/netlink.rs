//! A small synchronous netlink socket.
//!
//! Only the transport: attributes are built and read by [`super::attributes`], message headers by
//! whoever sends them. (A generated codec was tried: its own socket panics on messages over 8 KiB,
//! and 28,000 lines of it were compiled for the dozen attributes needed here.) Invariants:
//! - every exchange has a deadline: it runs in a thread of its own, since not only the answer can be long
//!   in coming, but the kernel keeps whoever sends or receives until it has the RTNL lock, which VF
//!   creation holds for many seconds on some drivers (over 60 s for 60 VFs on ixgbe). What is overdue may
//!   still be done;
//! - answers to anything but the request under way are skipped (sequence number and sender are checked);
//! - a datagram is never cut off: its size is asked for first (`MSG_PEEK | MSG_TRUNC`), because a PF
//!   with many VFs answers with far more than the customary 8 KiB;
//! - the kernel checks requests strictly, and its extended ack goes into [`HostError::Kernel`];
//! - a dump that changed while it was read (`NLM_F_DUMP_INTR`) is read again.
//!
//! Sources: Documentation/userspace-api/netlink/intro.rst, include/uapi/linux/netlink.h.

mod answer;
mod socket;

use std::{cell::Cell, time::Duration};

use accelnet_model::IfName;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};
use socket::Socket;

use super::{deadline, uapi::DUMP};
use crate::{HostError, Result};

/// How long the kernel may take for one exchange.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same where a card's firmware has to do something: an interface set up, an attribute of a VF.
const PATIENCE_WITH_CARDS: Duration = Duration::from_secs(30);

/// How often a dump that changed under us is read anew.
const DUMP_ATTEMPTS: u32 = 8;

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

/// A request: its type, flags, and what follows the header.
type Request = (u16, u16, Vec<u8>);

/// A netlink socket of one protocol.
#[derive(Debug)]
pub struct Netlink {
    protocol: i32,
    patience: Duration,
    /// Exchanges run in threads of their own.
    bounded: bool,
    /// None after an exchange that is overdue, which still has it.
    socket: Option<Socket>,
}

impl Netlink {
    /// A socket for rtnetlink (links, neighbours, traffic control).
    pub fn route() -> Result<Self> {
        Self::open(libc::NETLINK_ROUTE)
    }

    /// The same for what a card's firmware has to do.
    pub fn route_to_cards() -> Result<Self> {
        let patience = PATIENCE_WITH_CARDS;
        Self::route().map(|netlink| Self {
            patience,
            ..netlink
        })
    }

    /// The same for a process that has nothing else to do: it waits for the kernel as long as that takes,
    /// and needs no thread.
    pub fn route_alone() -> Result<Self> {
        let bounded = false;
        Self::route().map(|netlink| Self { bounded, ..netlink })
    }

    /// A socket for the protocol with this number (`NETLINK_…`).
    pub fn open(protocol: i32) -> Result<Self> {
        Ok(Self {
            protocol,
            patience: PATIENCE,
            bounded: true,
            socket: Some(Socket::open(protocol)?),
        })
    }

    /// Receives from now on what is sent to a multicast group (`RTNLGRP_…`), see [`Self::receive`].
    pub fn join(&mut self, group: u32) -> Result<()> {
        self.socket()?.join(group)
    }

    fn socket(&mut self) -> Result<&mut Socket> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(self.protocol)?,
        };
        Ok(self.socket.insert(socket))
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
        for _ in 0..DUMP_ATTEMPTS {
            if flags & DUMP == DUMP {
                DUMPS.set(DUMPS.get() + 1);
            }
            let request = (kind, flags, payload.to_vec());
            let mut answers = self.exchange(operation, vec![request])?;
            match answers.pop() {
                Some(answer) if answer.interrupted => {}
                answer => return Ok(answer.unwrap_or_default().messages),
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
        let requests = requests.iter();
        let requests = requests.map(|(flags, payload)| (kind, *flags, payload.to_vec()));
        self.exchange(operation, requests.collect()).map(drop)
    }

    /// Of each four types of rtnetlink's the third asks (`RTM_GET…`, rtnetlink(7)); of other protocols we only ask.
    fn changes(&self, kind: u16) -> bool {
        self.protocol == libc::NETLINK_ROUTE && kind % 4 != 2
    }

    fn exchange(&mut self, operation: &str, requests: Vec<Request>) -> Result<Vec<answer::Answer>> {
        if requests.iter().any(|(kind, ..)| self.changes(*kind)) {
            accelnet_crash::point(|| operation.to_owned())
                .map_err(|error| HostError::io(operation, &error))?;
        }
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(self.protocol)?,
        };
        let limit = self.patience;
        if !self.bounded {
            let answers = socket.exchange(operation, &requests, limit);
            self.socket = Some(socket);
            return answers;
        }
        let words = operation.to_owned();
        let (socket, answers) = deadline::bounded(operation, limit, move || {
            let answers = socket.exchange(&words, &requests, limit);
            Ok((socket, answers))
        })?;
        self.socket = Some(socket);
        answers
    }

    /// Messages sent to the joined groups, waiting up to `patience`; empty if there was none.
    /// `ENOBUFS` (as [`HostError::Kernel`]) means that events were lost.
    pub fn receive(&mut self, patience: Duration) -> Result<Vec<Message>> {
        self.socket()?.receive(patience)
    }
}

/// What a datagram says in answer to the request of this number, as far as it can be read.
#[cfg(feature = "fuzz")]
pub(crate) fn messages_of(datagram: &[u8], sequence: u32) -> Vec<Message> {
    let mut answer = answer::Answer::default();
    // What was read before it was cut off, or said no, is kept.
    let _ = answer.take("fuzz", datagram, sequence);
    let parts = answer::split("fuzz", datagram).flatten();
    let all: Vec<Message> = parts.map(|part| part.message()).collect();
    assert!(answer.messages.iter().all(|message| all.contains(message)));
    all
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

#[cfg(test)]
mod tests;
