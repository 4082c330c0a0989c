//! Generic netlink: families are found by their names (Documentation/networking/generic_netlink.rst).

use super::{
    attributes::{find, push, u16_at},
    netlink::Netlink,
};
use crate::{HostError, Result};

// include/uapi/linux/genetlink.h
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Size of `struct genlmsghdr`.
pub const HEADER: usize = 4;

/// `struct genlmsghdr`: what a message begins with. All families that are asked here are of version 1.
pub fn header(command: u8) -> Vec<u8> {
    vec![command, 1, 0, 0]
}

/// A socket, and the family's number on this kernel; None if it has none.
pub fn family(name: &str) -> Result<Option<(Netlink, u16)>> {
    let mut socket = Netlink::open(libc::NETLINK_GENERIC)?;
    let mut request = header(CTRL_CMD_GETFAMILY);
    push(
        &mut request,
        CTRL_ATTR_FAMILY_NAME,
        format!("{name}\0").as_bytes(),
    );
    let operation = format!("look up the {name} family");
    let answers = match socket.request(&operation, GENL_ID_CTRL, 0, &request) {
        Err(error) if error.is_gone() => return Ok(None),
        other => other?,
    };
    let number = answers.first().and_then(|answer| {
        let list = answer.payload.get(HEADER..)?;
        u16_at(find(list, CTRL_ATTR_FAMILY_ID)?, 0)
    });
    let number =
        number.ok_or_else(|| HostError::Malformed(format!("{operation}: it has no number")))?;
    Ok(Some((socket, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_a_number_or_is_not_there() {
        let (_, number) = family("nlctrl").unwrap().unwrap();
        assert_eq!(number, GENL_ID_CTRL);
        assert!(family("no-such-family").unwrap().is_none());
    }
}
