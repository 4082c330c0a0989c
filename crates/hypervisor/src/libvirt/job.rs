//! Jobs of a VM: migration, save, dump … libvirt lets one go on at a time, and changes no device
//! meanwhile.
//!
//! A save, a dump, and a migration without `--live`, stop the processors first. QEMU then waits for the
//! guest to give up the VF, which a guest that stands still never does: that job never ends. So it is
//! aborted (QEMU is "cancelling" at once, and would wait half a minute more), and the processors are
//! continued; the guest gives the VF up, and QEMU plugs it back. To continue without aborting is worse
//! than waiting: a dump ends so with a VF that is half unplugged, and a migration may have its VM
//! running at both ends.

use std::time::{Duration, Instant};

use virt::{domain::Domain, error::Error, sys};

use super::{
    calls, look, monitor,
    refusal::{about_to, refused_on, unsupported},
    state::Here,
    waiters::Waiters,
};
use crate::{HypervisorError, Result};

/// How long after the processors stopped QEMU's migration code may begin: about a third of a second on
/// a slow machine.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);

/// How often QEMU is asked meanwhile, if no event says that it began.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What to do with a job that has stopped the VM, by the status of QEMU's migration code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It waits for the guest, or is about to.
    Abort,
    /// It has been aborted: nothing is sent or written any more, whatever the guest does.
    Continue,
    /// It has not begun, or is over and libvirt lets the VM run next: what is told is of an earlier one.
    Wait,
    /// It goes on: the guest has no VF, or has given it up.
    Leave,
}

fn step(status: &str) -> Step {
    match status {
        "setup" | "wait-unplug" => Step::Abort,
        "cancelling" => Step::Continue,
        "none" | "completed" | "cancelled" | "failed" => Step::Wait,
        _ => Step::Leave,
    }
}

/// Ends the job that has stopped the VM's processors and waits for its guest, and lets them run.
pub fn end(domain: &Domain, here: &Here, waiters: &Waiters) -> Result<()> {
    let asked = "end the VM's job";
    let vm = domain.uuid().map_err(refused_on(domain, asked))?;
    let start = Instant::now();
    let mut waiter = waiters.wait_for(vm);
    while stopped_by_job(domain, here)? {
        let done = match step(&monitor::migration_status(domain)?) {
            Step::Leave => return Ok(()),
            Step::Continue => {
                tracing::info!(%vm, "a job that waited for the guest is ended, the VM runs on");
                monitor::cont(domain)
            }
            Step::Abort => about_to(asked)
                .and_then(|()| calls::abort_job(domain).map_err(refused_on(domain, asked))),
            Step::Wait => {
                let left = BEGINS_WITHIN.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Ok(());
                }
                waiter.wait(left.min(ASK_EVERY));
                continue;
            }
        };
        match done {
            // It may have ended in that moment.
            Err(error) if stopped_by_job(domain, here)? => return Err(error),
            _ if start.elapsed() > BEGINS_WITHIN => break,
            _ => {}
        }
    }
    if stopped_by_job(domain, here)? {
        return Err(HypervisorError::Refused {
            operation: asked.to_owned(),
            message: "it is aborted again and again, and stays".to_owned(),
        });
    }
    Ok(())
}

fn stopped_by_job(domain: &Domain, here: &Here) -> Result<bool> {
    let vm = look::named(domain)?;
    let state = calls::state(domain).map_err(refused_on(domain, "read a VM's state"))?;
    Ok(state.can_be_ended(look::is_here(&vm, domain, state, here)))
}

/// Refuses while a job is under way that keeps libvirt from changing the VM's devices: it would wait for
/// its end.
pub fn refuse_while_busy(domain: &Domain) -> Result<()> {
    match calls::job(domain) {
        Ok(Some(operation)) if holds_devices(operation) => {
            Err(HypervisorError::Busy(name(operation).to_owned()))
        }
        Ok(_) => Ok(()),
        Err(error) if has_no_jobs(&error) => Ok(()),
        Err(error) => Err(refused_on(domain, "look at the VM's jobs")(error)),
    }
}

/// A driver without jobs, or a VM that is off.
fn has_no_jobs(error: &Error) -> bool {
    unsupported(error)
        || (error.code().to_raw() == sys::VIR_ERR_OPERATION_INVALID
            && error.message().contains("domain is not running"))
}

/// A backup goes on for hours, and lets devices come and go (src/qemu/qemu_backup.c allows "modify").
fn holds_devices(operation: sys::virDomainJobOperation) -> bool {
    operation != sys::VIR_DOMAIN_JOB_OPERATION_BACKUP
}

fn name(operation: sys::virDomainJobOperation) -> &'static str {
    match operation {
        sys::VIR_DOMAIN_JOB_OPERATION_START => "it is being started",
        sys::VIR_DOMAIN_JOB_OPERATION_SAVE => "it is being saved",
        sys::VIR_DOMAIN_JOB_OPERATION_RESTORE => "it is being restored",
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN => "it is coming in from another node",
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT => "it is migrating to another node",
        sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT
        | sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT
        | sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE => "a snapshot is being made or removed",
        sys::VIR_DOMAIN_JOB_OPERATION_DUMP => "its memory is being dumped",
        _ => "a job is under way",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_ended_only_while_it_waits_for_the_guest() {
        for (status, expected) in [
            ("none", Step::Wait),
            ("setup", Step::Abort),
            ("wait-unplug", Step::Abort),
            ("cancelling", Step::Continue),
            ("cancelled", Step::Wait),
            ("failed", Step::Wait),
            ("completed", Step::Wait),
            // To let the VM run here in these would have it run twice.
            ("active", Step::Leave),
            ("device", Step::Leave),
            ("pre-switchover", Step::Leave),
            ("postcopy-active", Step::Leave),
            ("postcopy-paused", Step::Leave),
            ("one of tomorrow's", Step::Leave),
        ] {
            assert_eq!(step(status), expected, "{status}");
        }
    }

    #[test]
    fn a_backup_holds_no_device() {
        assert!(!holds_devices(sys::VIR_DOMAIN_JOB_OPERATION_BACKUP));
        for operation in [
            sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN,
            sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
            sys::VIR_DOMAIN_JOB_OPERATION_SAVE,
            77,
        ] {
            assert!(holds_devices(operation), "{operation}");
            assert!(!name(operation).is_empty());
        }
    }
}
