//! Addresses of the host on an interface.

use super::{attributes::u32_at, netlink::Netlink};
use crate::Result;

/// include/uapi/linux/rtnetlink.h.
const RTM_GETADDR: u16 = 22;
const RT_SCOPE_LINK: u8 = 253;

/// True if the interface with this number has an address of more than link scope.
pub fn any_global(index: u32) -> Result<bool> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let answers = Netlink::route()?.request(
        "read the host's addresses",
        RTM_GETADDR,
        libc::NLM_F_DUMP as u16,
        &[0; 8],
    )?;
    Ok(answers.iter().any(|answer| {
        let scope = answer.payload.get(3).copied().unwrap_or(RT_SCOPE_LINK);
        u32_at(&answer.payload, 4) == Some(index) && scope < RT_SCOPE_LINK
    }))
}
