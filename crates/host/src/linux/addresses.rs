//! Addresses of the host.

use std::collections::BTreeSet;

use super::{
    attributes::u32_at,
    netlink::Netlink,
    uapi::{DUMP, RT_SCOPE_LINK, RTM_GETADDR},
};
use crate::Result;

/// Numbers of the interfaces that have an address of more than link scope.
pub fn global() -> Result<BTreeSet<u32>> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let answers =
        Netlink::route()?.request("read the host's addresses", RTM_GETADDR, DUMP, &[0; 8])?;
    let global = answers.iter().filter_map(|answer| {
        let scope = *answer.payload.get(3)?;
        (scope < RT_SCOPE_LINK).then(|| u32_at(&answer.payload, 4))?
    });
    Ok(global.collect())
}
