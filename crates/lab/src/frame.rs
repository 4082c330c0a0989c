//! A frame with any source address, as a tenant sends it who forges one or carries an address for others.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result, ensure};

/// Local experiments (IEEE 802, "Local Experimental Ethertype 1"): nobody takes it for something else.
const ETHERTYPE: u16 = 0x88b5;
/// The shortest frame, without its checksum.
const LENGTH: usize = 60;

/// Sends one frame by an interface.
pub fn send(interface: &str, to: &str, from: &str) -> Result<()> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
        .with_context(|| format!("there is no interface {interface}"))?;
    let bytes = frame(parse(to)?, parse(from)?);
    // SAFETY: socket(2) takes no pointers; a result >= 0 is a new descriptor that we own.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("no packet socket; not root?");
    }
    // SAFETY: as above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_ll is plain data for which zero is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_ifindex = index.trim().parse()?;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: both pointers and sizes are those of live values.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const address).cast(),
            size,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error()).context("the frame cannot be sent");
    }
    ensure!(sent as usize == LENGTH, "only {sent} bytes were sent");
    Ok(())
}

fn frame(to: [u8; 6], from: [u8; 6]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    bytes
}

/// Six hexadecimal numbers with colons between them.
fn parse(address: &str) -> Result<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = address
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect();
    let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    bytes.with_context(|| format!("'{address}' is no hardware address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_both_addresses() {
        let to = parse("ff:ff:ff:ff:ff:ff").unwrap();
        let bytes = frame(to, parse("52:54:00:77:00:65").unwrap());
        assert_eq!(bytes[..6], [0xff; 6]);
        assert_eq!(
            bytes[6..14],
            [0x52, 0x54, 0, 0x77, 0, 0x65, 0x88, 0xb5],
            "source, type"
        );
        for wrong in ["", "52:54:00:77:00", "52:54:00:77:00:65:00", "x:0:0:0:0:0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
