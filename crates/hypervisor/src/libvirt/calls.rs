//! Calls on a domain that the bindings lack, or whose errors they lose.

use std::ffi::{CString, c_int};

use virt::{domain::Domain, error::Error, sys};

use super::state::RawState;

/// What `virDomainGetState` says. (The bindings' own call takes a failure for a state.)
pub fn state(domain: &Domain) -> Result<RawState, Error> {
    let (mut state, mut reason): (c_int, c_int) = (0, 0);
    // SAFETY: the domain lives, and both numbers outlive the call.
    let done = unsafe { sys::virDomainGetState(domain.as_ptr(), &mut state, &mut reason, 0) };
    checked(done)?;
    Ok(RawState {
        state: state as sys::virDomainState,
        reason: reason as u32,
    })
}

/// Asks for the device of this alias to be unplugged from the running VM; what libvirt answers is not
/// the end of it.
pub fn detach_alias(domain: &Domain, alias: &str) -> Result<(), Error> {
    let alias = CString::new(alias)?;
    // SAFETY: the domain lives, the alias is a C string that outlives the call.
    checked(unsafe {
        sys::virDomainDetachDeviceAlias(
            domain.as_ptr(),
            alias.as_ptr(),
            sys::VIR_DOMAIN_AFFECT_LIVE,
        )
    })
}

/// Ends the job that is under way.
pub fn abort_job(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the domain lives.
    checked(unsafe { sys::virDomainAbortJob(domain.as_ptr()) })
}

/// The job that is under way, by its operation (`VIR_DOMAIN_JOB_OPERATION_…`).
pub fn job(domain: &Domain) -> Result<Option<sys::virDomainJobOperation>, Error> {
    let (mut kind, mut count): (c_int, c_int) = (0, 0);
    let mut list: sys::virTypedParameterPtr = std::ptr::null_mut();
    // SAFETY: the domain lives, what is written outlives the call.
    let done =
        unsafe { sys::virDomainGetJobStats(domain.as_ptr(), &mut kind, &mut list, &mut count, 0) };
    checked(done)?;
    let mut operation: c_int = sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN as c_int;
    if !list.is_null() {
        // SAFETY: libvirt filled a list of `count`, which it is given back to free; where the name is not
        // in it (libvirt before 3.3) the number stays as it is.
        unsafe {
            let name = sys::VIR_DOMAIN_JOB_OPERATION.as_ptr();
            sys::virTypedParamsGetInt(list, count, name, &mut operation);
            sys::virTypedParamsFree(list, count);
        }
    }
    let kind = kind as sys::virDomainJobType;
    let under_way = [sys::VIR_DOMAIN_JOB_BOUNDED, sys::VIR_DOMAIN_JOB_UNBOUNDED].contains(&kind);
    Ok(under_way.then_some(operation as sys::virDomainJobOperation))
}

fn checked(answer: c_int) -> Result<(), Error> {
    if answer < 0 {
        return Err(Error::last_error());
    }
    Ok(())
}
