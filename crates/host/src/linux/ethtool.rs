//! What only the ethtool ioctl tells: the driver's and the firmware's version.
//!
//! ethtool's netlink family has no counterpart of `ETHTOOL_GDRVINFO` (Documentation/networking/
//! ethtool-netlink.rst, request translation table).

use std::{mem, os::fd::AsRawFd, time::Duration};

use accelnet_model::IfName;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::deadline;
use crate::{HostError, Result};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `struct ethtool_drvinfo` of include/uapi/linux/ethtool.h.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    option_rom: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

/// Driver and firmware version of an interface, where the driver gives them.
pub fn versions(name: &IfName) -> Result<(Option<String>, Option<String>)> {
    Ok(ask(name)?.map_or((None, None), |info| {
        (text(&info.version), text(&info.firmware))
    }))
}

/// The driver that an interface says it has: also one without a device.
pub fn driver(name: &IfName) -> Result<Option<String>> {
    Ok(ask(name)?.and_then(|info| text(&info.driver)))
}

/// The kernel answers when it has the RTNL lock, and the card's firmware has.
fn ask(name: &IfName) -> Result<Option<DriverInfo>> {
    let operation = format!("ask {name} for its versions");
    let (words, name) = (operation.clone(), name.clone());
    deadline::bounded(&operation, PATIENCE, move || ask_and_wait(&words, &name))
}

fn ask_and_wait(operation: &str, name: &IfName) -> Result<Option<DriverInfo>> {
    let failed = |error: std::io::Error| HostError::io(operation, &error);
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed(errno.into()))?;
    // SAFETY: both are plain C structures of integers, bytes and a pointer, for which zero is valid.
    let (mut info, mut request): (DriverInfo, libc::ifreq) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    info.command = ETHTOOL_GDRVINFO;
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut info).cast();
    // SAFETY: the descriptor is open; the kernel reads `request` and the command behind its
    // pointer, and writes at most a `DriverInfo` there; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &mut request) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Ok(None),
            Some(libc::ENODEV) => Err(HostError::Gone(name.to_string())),
            _ => Err(failed(error)),
        };
    }
    Ok(Some(info))
}

/// A C string of printable characters; None if there is nothing, or the driver says "N/A".
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text: String = String::from_utf8_lossy(&bytes[..end])
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let text = text.trim();
    (!text.is_empty() && text != "N/A").then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_at_zero_and_may_be_absent() {
        assert_eq!(text(b"1.4.2\0rest").as_deref(), Some("1.4.2"));
        assert_eq!(text(b"N/A\0"), None);
        assert_eq!(text(&[0; 32]), None);
        assert_eq!(text(&[b'x'; 32]).as_deref(), Some(&*"x".repeat(32)));
    }

    #[test]
    fn the_structure_is_as_long_as_the_kernels() {
        assert_eq!(size_of::<DriverInfo>(), 196);
    }

    #[test]
    fn an_absent_interface_is_gone() {
        let error = versions(&"no-such-if".parse().unwrap()).unwrap_err();
        assert!(error.is_gone(), "{error}");
        assert!(versions(&"lo".parse().unwrap()).is_ok());
    }
}
