//! The fuzzer: libFuzzer, with one of [`accelnet_fuzz::TARGETS`], which the environment names. `scripts/fuzz` builds and
//! runs it; what it finds is a file, which `fuzz/tests/corpus.rs` reads again for ever after.
#![no_main]

use std::{ffi::c_int, sync::LazyLock};

/// Which target it is.
const TARGET: &str = "ACCELNET_FUZZ_TARGET";

static TRIED: LazyLock<accelnet_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var(TARGET).unwrap_or_default();
    let found = accelnet_fuzz::TARGETS.iter().find(|(its, _)| *its == name);
    match found {
        Some((_, target)) => *target,
        None => panic!("{TARGET} names no target: '{name}'"),
    }
});

/// Called once, before anything is tried.
#[unsafe(no_mangle)]
pub extern "C" fn LLVMFuzzerInitialize(
    _count: *const c_int,
    _words: *const *const *const u8,
) -> c_int {
    // A panic that is caught somewhere, in a task, is a finding too.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    0
}

/// Called with whatever the fuzzer has made up.
///
/// # Safety
/// `data` must point to `size` bytes, as libFuzzer's does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    let bytes = match size {
        0 => &[],
        // SAFETY: the caller's promise.
        _ => unsafe { std::slice::from_raw_parts(data, size) },
    };
    TRIED(bytes);
    0
}
