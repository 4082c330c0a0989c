//! Codes of newer versions: they are passed on as they came.

use std::sync::{Mutex, PoisonError};

/// So many different ones are kept as they are; versions that differ by so much are not meant to be mixed.
const KEPT: usize = 256;
/// The longest one that is kept as it is, in bytes; the longest of ours has half as many.
const LONGEST: usize = 64;

/// All that were told. Each stays in memory once, as codes are copied everywhere: a few KiB at most. The first is what is
/// left of one that is none, or that is one too many.
static SEEN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
const UNKNOWN: &str = "unknown";

/// The key of an entry that this version's catalogue does not have: its place among those that were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Newer(u16);

impl Newer {
    /// As it was written.
    pub(super) fn of(text: &str) -> Self {
        let of_keys = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let is_key = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(of_keys);
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_empty() {
            seen.push(UNKNOWN);
        }
        let place = seen.iter().position(|known| *known == text);
        let place = place.or_else(|| {
            let kept = is_key && seen.len() < KEPT;
            kept.then(|| {
                seen.push(Box::leak(text.to_owned().into_boxed_str()));
                seen.len() - 1
            })
        });
        Self(place.unwrap_or_default() as u16)
    }

    /// As it was written.
    pub fn as_str(self) -> &'static str {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(usize::from(self.0)).copied().unwrap_or(UNKNOWN)
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
