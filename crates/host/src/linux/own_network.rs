//! Tests on the real kernel, in a network of their own.

use std::{io::Write, os::fd::AsRawFd};

use accelnet_model::{IfName, MacAddr};
use rustix::{
    io::Errno,
    mount,
    net::{AddressFamily, SocketFlags, SocketType},
    thread::UnshareFlags,
};

use super::{
    attributes::push,
    link,
    netlink::{Netlink, ifindex},
    sysfs::Root,
    uapi::{
        CREATE, EXCLUSIVE, IFLA_ALT_IFNAME, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK,
        IFLA_LINKINFO, IFLA_MASTER, IFLA_PROP_LIST, IFLA_VLAN_ID, RTM_NEWLINK, RTM_SETLINK,
        ifinfomsg,
    },
};

/// Runs in a thread with a network of its own, where `/sys` shows that network. Where this is not
/// allowed (a container without `CAP_SYS_ADMIN`) it says so past the test runner's capture.
pub fn in_own_network(test: impl FnOnce(&Root) + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let thread = std::thread::spawn(move || {
        // SAFETY: the thread was made for this, shares no descriptors that these flags concern,
        // and ends with the test.
        match unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
        {
            Err(Errno::PERM) => return false,
            other => other.unwrap(),
        }
        let private = mount::MountPropagationFlags::PRIVATE | mount::MountPropagationFlags::REC;
        mount::mount_change("/", private).unwrap();
        let sys = directory.path().join("sys");
        std::fs::create_dir(&sys).unwrap();
        mount::mount("sysfs", &sys, "sysfs", mount::MountFlags::empty(), None).unwrap();
        std::os::unix::fs::symlink("/proc", directory.path().join("proc")).unwrap();
        test(&Root::at(directory.path()));
        mount::unmount(&sys, mount::UnmountFlags::DETACH).unwrap();
        true
    });
    if !thread.join().unwrap() {
        skipped(&name, "a network namespace needs CAP_SYS_ADMIN");
    }
}

/// Says that a test was not made, past the test runner's capture.
pub fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A name of an interface.
pub fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

/// False if the kernel was built without what this needs.
fn make(operation: &str, message: &[u8]) -> bool {
    let mut netlink = Netlink::route().unwrap();
    match netlink.request(operation, RTM_NEWLINK, CREATE | EXCLUSIVE, message) {
        Err(error) if error.is_unsupported() => false,
        other => {
            other.unwrap();
            true
        }
    }
}

/// A virtual cable: the end stands for an adapter or a tap, the peer for what is behind it.
pub fn cable(end: &str, peer: Option<&str>) {
    let mut message = ifinfomsg(0, 0, 0);
    push(&mut message, IFLA_IFNAME, format!("{end}\0").as_bytes());
    let mut info = Vec::new();
    push(&mut info, IFLA_INFO_KIND, b"veth\0");
    if let Some(peer) = peer {
        // veth.h, VETH_INFO_PEER
        let (mut data, mut other) = (Vec::new(), ifinfomsg(0, 0, 0));
        push(&mut other, IFLA_IFNAME, format!("{peer}\0").as_bytes());
        push(&mut data, 1, &other);
        push(&mut info, IFLA_INFO_DATA, &data);
    }
    push(&mut message, IFLA_LINKINFO, &info);
    assert!(make("make a cable", &message));
}

/// A VLAN on top of an interface. False if the kernel was built without VLANs.
#[must_use]
pub fn vlan(upper: &str, lower: &str, number: u16) -> bool {
    let mut message = ifinfomsg(0, 0, 0);
    push(&mut message, IFLA_IFNAME, format!("{upper}\0").as_bytes());
    let below = ifindex(&name(lower)).unwrap();
    push(&mut message, IFLA_LINK, &below.to_ne_bytes());
    let (mut info, mut data) = (Vec::new(), Vec::new());
    push(&mut info, IFLA_INFO_KIND, b"vlan\0");
    push(&mut data, IFLA_VLAN_ID, &number.to_ne_bytes());
    push(&mut info, IFLA_INFO_DATA, &data);
    push(&mut message, IFLA_LINKINFO, &info);
    make("make a VLAN", &message)
}

/// An alternative name of an interface.
pub fn altname(interface: &str, alternative: &str) {
    // rtnetlink.h, RTM_NEWLINKPROP
    const NEW_PROPERTY: u16 = 108;
    let mut message = ifinfomsg(ifindex(&name(interface)).unwrap(), 0, 0);
    let mut list = Vec::new();
    let text = format!("{alternative}\0");
    push(&mut list, IFLA_ALT_IFNAME, text.as_bytes());
    // NLA_F_NESTED, without which the kernel takes no list here.
    push(&mut message, IFLA_PROP_LIST | 0x8000, &list);
    let mut netlink = Netlink::route().unwrap();
    let flags = CREATE | EXCLUSIVE | super::uapi::APPEND;
    let done = netlink.request("add a name", NEW_PROPERTY, flags, &message);
    done.unwrap();
}

/// A bridge, up, with these options (`IFLA_BR_…`, a byte each) and cables as ports; behind the port
/// `t0` is `g0`. False if the kernel was built without what the options need.
#[must_use]
pub fn bridge(bridge: &str, options: &[(u16, u8)], ports: &[&str]) -> bool {
    let mut message = ifinfomsg(0, 0, 0);
    push(&mut message, IFLA_IFNAME, format!("{bridge}\0").as_bytes());
    let (mut info, mut data) = (Vec::new(), Vec::new());
    push(&mut info, IFLA_INFO_KIND, b"bridge\0");
    for (kind, value) in options {
        push(&mut data, *kind, &[*value]);
    }
    push(&mut info, IFLA_INFO_DATA, &data);
    push(&mut message, IFLA_LINKINFO, &info);
    if !make("make a bridge", &message) {
        return false;
    }
    link::set_up(&name(bridge)).unwrap();
    for port in ports {
        let peer = format!("g{}", &port[1..]);
        cable(port, Some(&peer));
        enslave(port, bridge);
        link::set_up(&name(port)).unwrap();
        link::set_up(&name(&peer)).unwrap();
    }
    true
}

/// Makes an interface a port.
pub fn enslave(port: &str, bridge: &str) {
    let mut message = ifinfomsg(ifindex(&name(port)).unwrap(), 0, 0);
    let master = ifindex(&name(bridge)).unwrap();
    push(&mut message, IFLA_MASTER, &master.to_ne_bytes());
    let mut netlink = Netlink::route().unwrap();
    let done = netlink.request("make a port", RTM_SETLINK, 0, &message);
    done.unwrap();
}

/// Sends a frame of an experimental protocol (88b5) by an interface.
pub fn send(by: &str, from: MacAddr, to: MacAddr) {
    let socket = packet_socket();
    let mut frame = [to.0, from.0].concat();
    frame.extend([0x88, 0xb5]);
    frame.resize(60, 0);
    let address = packet_address(by);
    // SAFETY: descriptor, frame and address are alive during the call, and the lengths are theirs.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    assert_eq!(sent, 60, "{}", std::io::Error::last_os_error());
}

fn packet_socket() -> std::os::fd::OwnedFd {
    rustix::net::socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

fn packet_address(interface: &str) -> libc::sockaddr_ll {
    // SAFETY: a plain C structure of integers, for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = 0x88b5u16.to_be();
    address.sll_ifindex = ifindex(&name(interface)).unwrap() as i32;
    address.sll_halen = 6;
    address
}

/// What comes out at an interface of the frames that [`send`] makes.
pub struct Listener(std::os::fd::OwnedFd);

impl Listener {
    /// Listens from now on.
    pub fn at(interface: &str) -> Self {
        let socket = packet_socket();
        let address = packet_address(interface);
        // SAFETY: descriptor and address are alive during the call, and the length is the address's.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        Self(socket)
    }

    /// True if a frame comes within so many milliseconds.
    pub fn hears(&self, milliseconds: i64) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec {
            tv_sec: milliseconds / 1000,
            tv_nsec: milliseconds % 1000 * 1_000_000,
        };
        let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
        if poll(&mut ready, Some(&timeout)).unwrap() == 0 {
            return false;
        }
        let mut frame = [0; 128];
        rustix::net::recv(&self.0, &mut frame, rustix::net::RecvFlags::empty()).unwrap();
        true
    }
}
