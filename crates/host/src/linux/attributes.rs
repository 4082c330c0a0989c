//! Netlink attributes: a list of (length, type, value), each padded to four bytes, which may nest
//! (include/uapi/linux/netlink.h).
//!
//! Read as far as they are whole: a length that is too short or too long ends the list.

/// Bit that marks an attribute holding attributes (`NLA_F_NESTED`), and the one for byte order.
const TYPE_MASK: u16 = 0x3fff;

/// Appends one attribute: length, type, value, padding to four bytes (include/uapi/linux/netlink.h).
pub fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len();
    message.extend((length as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// The attributes of a message or of a nesting attribute.
pub fn iter(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    iter(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A number at an offset, in the machine's byte order.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A number at an offset, in the machine's byte order.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A zero-terminated text.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_that_lie_end_the_list() {
        for lie in [0u16, 3, 9, u16::MAX] {
            let mut bytes = Vec::new();
            push(&mut bytes, 1, b"good");
            bytes.extend(lie.to_ne_bytes());
            bytes.extend([2, 0, 0, 0, 0, 0]);
            assert_eq!(
                iter(&bytes).collect::<Vec<_>>(),
                [(1, &b"good"[..])],
                "{lie}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_found(
            list in prop::collection::vec((0u16..0x4000, prop::collection::vec(any::<u8>(), 0..40)), 0..8)
        ) {
            let mut bytes = Vec::new();
            for (kind, value) in &list {
                push(&mut bytes, *kind, value);
            }
            let found: Vec<_> = iter(&bytes).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(found, list);
        }

        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(iter(&bytes).count() <= bytes.len() / 4);
        }
    }
}
