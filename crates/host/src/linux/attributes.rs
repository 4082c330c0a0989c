//! Netlink attributes by hand, for messages that the codec crate does not cover well.

use netlink_bindings::utils::IterableChunks;

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
pub fn iter(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    IterableChunks::new(bytes).map(|(header, value)| (header.r#type & TYPE_MASK, value))
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
