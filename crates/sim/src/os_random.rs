//! What the operating system calls random, made a run's own.
//!
//! tokio wakes those who wait for a change in a random order, and servers make up identities: both begin with
//! `getrandom`. A program's own function of that name stands before libc's (dynamic linking, ld.so(8)), so a thread
//! that was given a seed has the same of it in each run. Other threads have the kernel's.

use std::{
    cell::RefCell,
    ffi::{c_uint, c_void},
    thread,
};

use fastrand::Rng;

thread_local! {
    static DICE: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// Does something in a thread of its own, in which nothing is random but by this seed.
pub fn by_seed<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| {
        let thread = scope.spawn(move || {
            DICE.set(Some(Rng::with_seed(seed)));
            // Pauses of lines have chance in them, which is this generator's.
            fastrand::seed(seed);
            work()
        });
        thread.join()
    });
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// getrandom(2).
///
/// # Safety
/// As libc's: there is room for so many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let filled = DICE.try_with(|dice| {
        let mut dice = dice.try_borrow_mut().ok()?;
        let dice = dice.as_mut()?;
        // SAFETY: whoever calls has room for so many bytes there.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        dice.fill(bytes);
        Some(length.cast_signed())
    });
    match filled {
        Ok(Some(length)) => length,
        // SAFETY: the same call, of the kernel.
        _ => unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize },
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::by_seed;

    #[test]
    fn a_seed_has_its_own_chance_and_nobody_else_has() {
        let made_up = || (uuid::Uuid::new_v4(), RandomState::new().hash_one(1));
        assert_eq!(by_seed(1, made_up), by_seed(1, made_up));
        assert_ne!(by_seed(1, made_up), by_seed(2, made_up));
        assert_ne!(made_up().0, made_up().0);
    }
}
