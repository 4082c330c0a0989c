//! What can go wrong on a host.

use std::io;

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
    /// An adapter's VFs are being made or changed; it is looked at when that is over.
    #[error("its VFs are being made or changed")]
    WorkedOn,
    /// The card's filter table has no room for another address.
    #[error("the address filter of {0} is full")]
    FilterFull(IfName),
    /// The driver does this only while the adapter has a link. Everything else that was asked for is done.
    #[error("{0}: the adapter has no link, and its driver does this only with one")]
    NeedsLink(String),
    /// Somebody else's queueing discipline is on the tap.
    #[error("{tap} has a queueing discipline of somebody else: {kind}")]
    ForeignQdisc {
        /// The tap.
        tap: IfName,
        /// The discipline, as `tc qdisc` has it.
        kind: String,
    },
    /// Frames cannot be held, because nothing would let them go if this process died.
    #[error("frames for {tap} are not held: nothing would let go of them in time ({why})")]
    Unguarded {
        /// The tap.
        tap: IfName,
        /// What is wrong with the guard ([`crate::linux::hold_guard`]).
        why: String,
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
    /// The kernel's refusal of `operation` with this (positive) errno and extended ack.
    pub fn kernel(operation: impl Into<String>, code: i32, extack: Option<String>) -> Self {
        Self::Kernel {
            operation: operation.into(),
            errno: errno_in_words(code),
            code,
            extack,
        }
    }

    /// A failed file or socket operation.
    pub fn io(operation: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::kernel(operation, code, None),
            None => Self::Malformed(format!("{}: {error}", operation.into())),
        }
    }

    /// errno of the kernel's refusal, if it is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { code, .. } => Some(*code),
            _ => None,
        }
    }

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

/// `Operation not supported (EOPNOTSUPP)`: the C library's text, and the name that man pages and
/// search engines know, for those that the interfaces used here return.
fn errno_in_words(code: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ERANGE, "ERANGE"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::ENETDOWN, "ENETDOWN"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
    ];
    let text = io::Error::from_raw_os_error(code).to_string();
    // The standard library appends "(os error N)".
    let text = text.split(" (os error").next().unwrap_or(&text);
    match NAMES.iter().find(|(number, _)| *number == code) {
        Some((_, name)) => format!("{text} ({name})"),
        None => format!("{text} (errno {code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_reach_the_text() {
        let error = HostError::kernel("set VLAN 5 on VF 3", libc::EOPNOTSUPP, Some("No.".into()));
        assert_eq!(
            error.to_string(),
            "set VLAN 5 on VF 3: Operation not supported (EOPNOTSUPP) (No.)"
        );
        assert!(error.is_unsupported());
        let odd = HostError::kernel("x", 4095, None).to_string();
        assert!(odd.contains("4095"), "{odd}");
    }
}
