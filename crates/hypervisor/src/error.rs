//! What can go wrong with VMs.

use uuid::Uuid;

/// An operation on a VM that failed, with libvirt's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// libvirt cannot be reached.
    #[error("libvirt does not answer: {0}")]
    Unavailable(String),
    /// No such VM.
    #[error("there is no VM {0}")]
    NoSuchVm(Uuid),
    /// The VM does not run.
    #[error("the VM is not running")]
    NotRunning,
    /// A job of the VM (migration, save, dump …) is under way; libvirt would not change its devices
    /// before that is over, perhaps minutes later. Nothing was done.
    #[error("the VM is busy: {0}")]
    Busy(String),
    /// QEMU still has a device of the name that this one would have, and libvirt has forgotten it.
    /// [`ensure_released`](crate::Hypervisor::ensure_released) brings that to its end.
    #[error("QEMU still has the device that was there before: {0}")]
    DeviceLeft(String),
    /// libvirt has just given the device to another VM.
    #[error("somebody else was faster: {0}")]
    DeviceTaken(String),
    /// The guest did not release the device in time.
    #[error("the guest did not release the device within {seconds} s")]
    GuestRefused {
        /// How long it was waited, in seconds.
        seconds: u64,
    },
    /// libvirt refused.
    #[error("{operation}: {message}")]
    Refused {
        /// What was tried.
        operation: String,
        /// libvirt's message.
        message: String,
    },
    /// A definition could not be understood.
    #[error("the VM's definition: {0}")]
    Malformed(String),
}
