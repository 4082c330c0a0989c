//! Codes of newer versions: they are passed on as they came.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// So many different ones are kept as they are; versions that differ by so much are not meant to be mixed.
const KEPT: usize = 256;
/// The longest one that is kept as it is, in bytes; the longest of ours has half as many.
const LONGEST: usize = 64;

/// What is left of one that is none, or that is one too many.
const UNKNOWN: &str = "unknown";

static SEEN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The key of an entry that this version's catalogue does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Newer(&'static str);

impl Newer {
    /// As it was written. Each stays in memory once, as codes are copied everywhere: a few KiB at most.
    pub(super) fn of(text: &str) -> Self {
        let is_key = !text.is_empty()
            && text.len() <= LONGEST
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !is_key {
            return Self(UNKNOWN);
        }
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(text) {
            return Self(known);
        }
        if seen.len() == KEPT {
            return Self(UNKNOWN);
        }
        let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
        seen.insert(kept);
        Self(kept)
    }

    /// As it was written.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_kept_once_and_memory_is_bounded() {
        let one = Newer::of("disk_on_fire");
        assert_eq!(one.as_str(), "disk_on_fire");
        assert!(std::ptr::eq(
            one.as_str(),
            Newer::of("disk_on_fire").as_str()
        ));
        for none in ["", "Not a key", "a\nb", &"x".repeat(65)] {
            assert_eq!(Newer::of(none).as_str(), UNKNOWN, "{none:?}");
        }
        for number in 0..2 * KEPT {
            Newer::of(&format!("code_{number}"));
        }
        assert_eq!(SEEN.lock().unwrap().len(), KEPT);
        assert_eq!(Newer::of("disk_on_fire"), one);
    }
}
