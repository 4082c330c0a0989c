//! What an error of libvirt means.
//!
//! libvirt tells by a number (virterror.h, `virErrorNumber`) what went wrong, and by another one which
//! part of it says so. What QEMU refused comes as "internal error" with QEMU's words, so that only those
//! tell it apart.

use uuid::Uuid;
use virt::{domain::Domain, error::Error, sys};

use crate::HypervisorError;

/// An error as libvirt tells it.
#[derive(Debug, Clone, Copy)]
struct Told<'a> {
    /// What went wrong (`VIR_ERR_…`).
    number: sys::virErrorNumber,
    /// Who says so (`VIR_FROM_…`).
    from: sys::virErrorDomain,
    words: &'a str,
}

/// The meaning of an error of a call that is about no VM.
pub fn refused(operation: &str) -> impl FnOnce(Error) -> HypervisorError + use<> {
    let operation = operation.to_owned();
    move |error| meaning(&told(&error), None, &operation)
}

/// The meaning of an error of a call about this VM.
pub fn refused_by(vm: Uuid, operation: &str) -> impl FnOnce(Error) -> HypervisorError + use<> {
    let operation = operation.to_owned();
    move |error| meaning(&told(&error), Some(vm), &operation)
}

/// The same, of a call on this domain.
pub fn refused_on(
    domain: &Domain,
    operation: &str,
) -> impl FnOnce(Error) -> HypervisorError + use<> {
    let vm = domain.uuid().ok();
    let operation = operation.to_owned();
    move |error| meaning(&told(&error), vm, &operation)
}

/// libvirt, or QEMU, is about to be asked for a change.
pub fn about_to(operation: &str) -> Result<(), HypervisorError> {
    accelnet_crash::point(|| operation.to_owned()).map_err(|error| HypervisorError::Refused {
        operation: operation.to_owned(),
        message: error.to_string(),
    })
}

/// The driver has no such call (libvirt's test driver has few).
pub fn unsupported(error: &Error) -> bool {
    error.code().to_raw() == sys::VIR_ERR_NO_SUPPORT
}

fn told(error: &Error) -> Told<'_> {
    Told {
        number: error.code().to_raw(),
        from: error.domain().to_raw(),
        words: error.message(),
    }
}

fn meaning(told: &Told<'_>, vm: Option<Uuid>, operation: &str) -> HypervisorError {
    let words = told.words.to_owned();
    match (told.number, vm) {
        (sys::VIR_ERR_NO_DOMAIN, Some(vm)) => return HypervisorError::NoSuchVm(vm),
        // Only the words tell it from other states in which something cannot be done
        // (src/hypervisor/domain_job.c and others: "domain is not running").
        (sys::VIR_ERR_OPERATION_INVALID, _) if told.words.contains("domain is not running") => {
            return HypervisorError::NotRunning;
        }
        // "PCI device … is in use by driver …, domain …" (src/hypervisor/virhostdev.c).
        (sys::VIR_ERR_OPERATION_INVALID, _) if is_taken(told.words) => {
            return HypervisorError::DeviceTaken(words);
        }
        // "cannot acquire state change lock", after 30 s (src/hypervisor/domain_job.c).
        (sys::VIR_ERR_OPERATION_TIMEOUT, _) => return HypervisorError::Busy(words),
        (sys::VIR_ERR_NO_CONNECT | sys::VIR_ERR_INVALID_CONN, _) => {
            return HypervisorError::Unavailable(words);
        }
        _ => {}
    }
    // The client's own side of the connection: closed, reset, keepalive unanswered.
    if told.from == sys::VIR_FROM_RPC {
        return HypervisorError::Unavailable(words);
    }
    if is_left(told.words) {
        return HypervisorError::DeviceLeft(words);
    }
    HypervisorError::Refused {
        operation: operation.to_owned(),
        message: words,
    }
}

fn is_taken(words: &str) -> bool {
    words.contains("PCI device ") && words.contains(" is in use")
}

/// QEMU has a device of this name (softmmu/qdev-monitor.c and, before 6.2, util/qemu-option.c).
fn is_left(words: &str) -> bool {
    words.contains("Duplicate device ID")
        || (words.contains("Duplicate ID") && words.contains("for device"))
}

/// QEMU's words for a request to unplug that comes too early: the guest is about to answer an earlier
/// one, or has just been given the device (hw/pci/pcie.c; "… is already in the process of unplug",
/// softmmu/qdev-monitor.c).
pub fn wait_and_ask_again(words: &str) -> bool {
    words.contains("power indicator blinking") || words.contains("already in the process of unplug")
}

/// The name that a NIC's primary must have, if QEMU refused another: it remembers the first one's as long as
/// it runs (hw/net/virtio-net.c, `failover_hide_primary_device`).
pub fn other_primary(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once("Cannot attach more than one primary device to '")?;
    let (_, rest) = rest.split_once("': '")?;
    rest.split_once('\'').map(|(name, _)| name)
}

/// QEMU's words for a device that it does not have (error class DeviceNotFound).
pub fn is_not_there(words: &str) -> bool {
    words.contains("DeviceNotFound") || (words.contains("Device '") && words.contains("not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: Uuid = Uuid::from_u128(7);

    fn read(
        number: sys::virErrorNumber,
        from: sys::virErrorDomain,
        words: &str,
    ) -> HypervisorError {
        let told = Told {
            number,
            from,
            words,
        };
        meaning(&told, Some(VM), "plug")
    }

    #[test]
    fn only_no_such_domain_is_no_such_vm() {
        let words = "Domain not found: no domain with matching uuid";
        let gone = read(sys::VIR_ERR_NO_DOMAIN, sys::VIR_FROM_QEMU, words);
        assert_eq!(gone, HypervisorError::NoSuchVm(VM));
        for number in [
            sys::VIR_ERR_INTERNAL_ERROR,
            sys::VIR_ERR_OPERATION_FAILED,
            sys::VIR_ERR_SYSTEM_ERROR,
            sys::VIR_ERR_NO_DOMAIN_SNAPSHOT,
            sys::VIR_ERR_RPC,
        ] {
            let other = read(number, sys::VIR_FROM_QEMU, words);
            assert!(
                matches!(other, HypervisorError::Refused { .. }),
                "{number}: {other:?}"
            );
        }
    }

    #[test]
    fn a_lost_connection_is_told_from_a_refusal() {
        for (number, from, words) in [
            (
                sys::VIR_ERR_INTERNAL_ERROR,
                sys::VIR_FROM_RPC,
                "internal error: client socket is closed",
            ),
            (
                sys::VIR_ERR_SYSTEM_ERROR,
                sys::VIR_FROM_RPC,
                "Cannot recv data: Connection reset by peer",
            ),
            (
                sys::VIR_ERR_INVALID_CONN,
                sys::VIR_FROM_NONE,
                "invalid connection pointer",
            ),
        ] {
            let lost = read(number, from, words);
            assert_eq!(lost, HypervisorError::Unavailable(words.into()));
        }
        let words = "internal error: unable to execute QEMU command 'device_add': vfio: no group";
        let refused = read(sys::VIR_ERR_INTERNAL_ERROR, sys::VIR_FROM_QEMU, words);
        let expected = HypervisorError::Refused {
            operation: "plug".into(),
            message: words.into(),
        };
        assert_eq!(refused, expected);
    }

    #[test]
    fn what_another_job_holds_up_is_busy() {
        let words = "Timed out during operation: cannot acquire state change lock \
                     (held by monitor=remoteDispatchDomainMigratePrepare3Params)";
        let busy = read(sys::VIR_ERR_OPERATION_TIMEOUT, sys::VIR_FROM_QEMU, words);
        assert_eq!(busy, HypervisorError::Busy(words.into()));
        let words = "Requested operation is not valid: domain is not running";
        let off = read(sys::VIR_ERR_OPERATION_INVALID, sys::VIR_FROM_QEMU, words);
        assert_eq!(off, HypervisorError::NotRunning);
        let words = "Requested operation is not valid: PCI device 0000:01:10.0 is in use";
        let used = read(sys::VIR_ERR_OPERATION_INVALID, sys::VIR_FROM_QEMU, words);
        assert!(matches!(used, HypervisorError::DeviceTaken(_)), "{used:?}");
        let words = "Requested operation is not valid: network 'x' is in use";
        let other = read(sys::VIR_ERR_OPERATION_INVALID, sys::VIR_FROM_NETWORK, words);
        assert!(
            matches!(other, HypervisorError::Refused { .. }),
            "{other:?}"
        );
    }

    #[test]
    fn qemu_s_words_are_known() {
        let qemu = |said: &str| {
            let words =
                format!("internal error: unable to execute QEMU command 'device_x': {said}");
            read(sys::VIR_ERR_INTERNAL_ERROR, sys::VIR_FROM_QEMU, &words)
        };
        for left in [
            "Duplicate device ID 'ua-accelnet-525400770065'",
            "Duplicate ID 'ua-accelnet-525400770065' for device",
        ] {
            assert!(
                matches!(qemu(left), HypervisorError::DeviceLeft(_)),
                "{left}"
            );
        }
        for (said, again) in [
            (
                "Hot-unplug failed: guest is busy (power indicator blinking)",
                true,
            ),
            ("Device ua-x is already in the process of unplug", true),
            ("Bus 'pcie.0' does not support hotplugging", false),
            ("Device 'ua-x' not found", false),
        ] {
            assert_eq!(wait_and_ask_again(said), again, "{said}");
        }
        let words = "internal error: unable to execute QEMU command 'device_add': Cannot attach more than \
                     one primary device to 'ua-nic': 'hostdev0' and 'ua-accelnet-525400770065'";
        assert_eq!(other_primary(words), Some("hostdev0"));
        assert_eq!(other_primary("Cannot attach more than one"), None);
        assert!(is_not_there("Device 'ua-x' not found"));
        assert!(!is_not_there(
            "Device ua-x is already in the process of unplug"
        ));
    }
}
