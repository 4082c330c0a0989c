//! The address filter of a card.

use accelnet_model::{IfName, MacAddr};

use super::{Of, Table, message};
use crate::{
    HostError, Result,
    linux::{
        netlink::{Netlink, ifindex},
        uapi::{APPEND, CREATE, NTF_SELF, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH},
    },
};

/// Unicast addresses that were put into an interface's own receive filter (`bridge fdb … self`).
pub fn read(name: &IfName) -> Result<Vec<MacAddr>> {
    let index = ifindex(name)?;
    let found = Table::read_of(&Of::Interface(index))?
        .filters
        .remove(&index);
    Ok(found.unwrap_or_default())
}

/// See [`crate::Host::ensure_pf_filter`].
pub fn ensure(pf: &IfName, mac: MacAddr, present: bool) -> Result<()> {
    if read(pf)?.contains(&mac) == present {
        return Ok(());
    }
    let operation = if present {
        format!("put {mac} into the address filter of {pf}")
    } else {
        format!("take {mac} out of the address filter of {pf}")
    };
    // Drivers take permanent entries only (`ndo_dflt_fdb_add`).
    let message = message(ifindex(pf)?, NUD_PERMANENT, NTF_SELF, mac);
    let (kind, flags) = if present {
        (RTM_NEWNEIGH, CREATE | APPEND)
    } else {
        (RTM_DELNEIGH, 0)
    };
    match Netlink::route()?.request(&operation, kind, flags, &message) {
        Ok(_) => {}
        Err(HostError::Kernel {
            code: libc::EEXIST, ..
        }) if present => {}
        Err(HostError::Kernel {
            code: libc::ENOENT, ..
        }) if !present => {}
        Err(HostError::Kernel {
            code: libc::ENOSPC | libc::ENOMEM,
            ..
        }) if present => {
            return Err(HostError::FilterFull(pf.clone()));
        }
        Err(error) => return Err(error),
    }
    if read(pf)?.contains(&mac) == present {
        return Ok(());
    }
    let found = if present {
        "it is not there"
    } else {
        "it is still there"
    };
    Err(HostError::NotAsAsked {
        operation,
        wanted: present.to_string(),
        found: found.into(),
    })
}
