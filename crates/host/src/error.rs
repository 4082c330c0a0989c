//! What can go wrong on a host.

use accelnet_model::{IfName, PciAddress};

/// An operation on the machine that failed, with the kernel's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The kernel refused.
    #[error("{operation}: {errno}{}", extack.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Kernel {
        /// What was tried, e.g. `set VLAN 5 on VF 3 of pf0`.
        operation: String,
        /// The errno in words, e.g. `Operation not supported (EOPNOTSUPP)`.
        errno: String,
        /// errno as a number.
        code: i32,
        /// Extended acknowledgement, if the kernel sent one.
        extack: Option<String>,
    },
    /// An interface or device does not exist (any more).
    #[error("{0} does not exist")]
    Gone(String),
    /// The kernel took the request but did not do it.
    #[error("{operation}: asked for {wanted}, but it is {found}")]
    NotAsAsked {
        /// What was tried.
        operation: String,
        /// What was asked for.
        wanted: String,
        /// What was read back.
        found: String,
    },
    /// VFs would be destroyed that are in use.
    #[error("{pf} has VFs in use: {}", users.join(", "))]
    VfsInUse {
        /// The PF.
        pf: PciAddress,
        /// VF and user, in words.
        users: Vec<String>,
    },
    /// The PF cannot have that many VFs.
    #[error("{pf} offers {total} VFs, {wanted} were asked for")]
    TooManyVfs {
        /// The PF.
        pf: PciAddress,
        /// `sriov_totalvfs`.
        total: u32,
        /// The wanted number.
        wanted: u32,
    },
    /// The card's filter table has no room for another address.
    #[error("the address filter of {0} is full")]
    FilterFull(IfName),
    /// Somebody else's queueing discipline is on the tap.
    #[error("{tap} has a queueing discipline of somebody else: {kind}")]
    ForeignQdisc {
        /// The tap.
        tap: IfName,
        /// Kind of the discipline.
        kind: String,
    },
    /// Something did not happen in time.
    #[error("{operation}: not done after {seconds} s")]
    Deadline {
        /// What was waited for.
        operation: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// A file or answer could not be understood.
    #[error("{0}")]
    Malformed(String),
}

impl HostError {
    /// True if the driver or card does not have what was asked for (EOPNOTSUPP, and what drivers
    /// return in its place).
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Kernel { code, .. } if *code == libc::EOPNOTSUPP || *code == libc::EPROTONOSUPPORT || *code == libc::ENOSYS)
    }

    /// True if the object is gone.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Gone(_) => true,
            Self::Kernel { code, .. } => *code == libc::ENODEV || *code == libc::ENOENT,
            _ => false,
        }
    }
}
