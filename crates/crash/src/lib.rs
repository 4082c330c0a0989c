//! Points at which a test ends a process or has an effect fail.
//!
//! [`point`] stands before each of our effects on the world: what is written to the kernel (sysfs, netlink), what
//! libvirt and QEMU are asked to change, files that are replaced, transactions of the store. The lab's crash test
//! goes through all that an operation passes, one after the other.
//!
//! What is shipped has no such points: without the feature `points`, [`point`] is nothing. With it, it still does
//! nothing but where `ACCELNET_CRASH_POINTS` names a directory:
//!
//! | file in it | holds |
//! |---|---|
//! | `armed` | `N die` or `N fail`: what happens at the point after `N` others, once; the test writes it |
//! | `passed` | a line for each point that was passed since the test has emptied it |
//! | `happened` | a line for each point at which something happened |
//!
//! All processes that use a directory count together.

#[cfg(feature = "points")]
mod armed;

use std::io;

/// Something is about to be done. `what` says in words what, for whoever looks at the points of an operation.
///
/// # Errors
/// `EIO` where the test wants this to fail; then it is not to be done.
#[cfg(not(feature = "points"))]
#[inline]
pub fn point(_what: impl FnOnce() -> String) -> io::Result<()> {
    Ok(())
}

/// Something is about to be done. `what` says in words what, for whoever looks at the points of an operation.
///
/// # Errors
/// `EIO` where the test wants this to fail; then it is not to be done.
#[cfg(feature = "points")]
pub fn point(what: impl FnOnce() -> String) -> io::Result<()> {
    use armed::Fate;

    let Some(directory) = armed::directory() else {
        return Ok(());
    };
    match armed::pass(directory, &what())? {
        Fate::GoesOn => Ok(()),
        Fate::Fails => Err(io::Error::from_raw_os_error(
            rustix::io::Errno::IO.raw_os_error(),
        )),
        Fate::Dies => armed::die(),
    }
}
