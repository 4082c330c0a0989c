//! Routes of the host by an interface.

use super::{
    attributes::{find, push, u16_at, u32_at},
    netlink::Netlink,
    uapi::{DUMP, RTA_MULTIPATH, RTA_OIF, RTM_GETROUTE, RTPROT_KERNEL},
};
use crate::Result;

/// Size of `struct rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope,
/// type, flags (u32).
const RTMSG: usize = 12;

/// True if a route that the kernel did not add by itself leads by the interface with this number.
pub fn any(index: u32) -> Result<bool> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut message = vec![0; RTMSG];
        message[0] = family as u8;
        // Kernels since 4.20 send only those of the interface; older ones send all.
        push(&mut message, RTA_OIF, &index.to_ne_bytes());
        let answers =
            Netlink::route()?.request("read the host's routes", RTM_GETROUTE, DUMP, &message)?;
        let by_it = |route: &[u8]| {
            let attributes = route.get(RTMSG..).unwrap_or_default();
            let direct = find(attributes, RTA_OIF).and_then(|oif| u32_at(oif, 0));
            let several = find(attributes, RTA_MULTIPATH).unwrap_or_default();
            // The kernel adds routes by itself, for addresses and link-local scope.
            route.get(5) != Some(&RTPROT_KERNEL)
                && (direct == Some(index) || hops(several).any(|hop| hop == index))
        };
        if answers.iter().any(|answer| by_it(&answer.payload)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The interfaces of a route with several hops: a list of `struct rtnexthop` (length u16, flags, hops,
/// interface i32), each with attributes.
pub fn hops(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?).max(8);
        let index = u32_at(bytes, 4)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hops_of_a_route_are_told_apart() {
        let mut bytes = Vec::new();
        for (length, index) in [(16u16, 3u32), (8, 4)] {
            bytes.extend(length.to_ne_bytes());
            bytes.extend([0, 0]);
            bytes.extend(index.to_ne_bytes());
            bytes.resize(bytes.len() + usize::from(length) - 8, 0);
        }
        assert_eq!(hops(&bytes).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(hops(&bytes[..7]).count(), 0);
        assert_eq!(hops(&[0; 8]).count(), 1, "a length that lies ends the list");
    }
}
