//! Datagrams of the kernel, taken apart.

use super::{HEADER, Message};
use crate::{HostError, Result, linux::attributes};

/// What has come of the answer to one request.
#[derive(Debug, Default)]
pub struct Answer {
    /// What it says.
    pub messages: Vec<Message>,
    /// It came to its end.
    pub complete: bool,
    /// The table changed while it was read.
    pub interrupted: bool,
}

impl Answer {
    /// Takes in one datagram.
    pub fn take(&mut self, operation: &str, datagram: &[u8], sequence: u32) -> Result<()> {
        for part in split(operation, datagram) {
            let part = part?;
            if part.sequence != sequence {
                continue;
            }
            self.interrupted |= part.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
            match i32::from(part.kind) {
                libc::NLMSG_ERROR => {
                    self.complete = true;
                    acknowledged(operation, &part, HEADER)?;
                }
                libc::NLMSG_DONE => {
                    self.complete = true;
                    acknowledged(operation, &part, 0)?;
                }
                libc::NLMSG_NOOP => {}
                libc::NLMSG_OVERRUN => {
                    return Err(HostError::kernel(operation, libc::ENOBUFS, None));
                }
                _ => self.messages.push(part.message()),
            }
        }
        Ok(())
    }
}

/// One message inside a datagram.
pub struct Part<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Part<'_> {
    /// A copy that lasts.
    pub fn message(&self) -> Message {
        Message {
            kind: self.kind,
            flags: self.flags,
            payload: self.payload.to_vec(),
        }
    }
}

/// The messages of a datagram.
pub fn split<'a>(
    operation: &'a str,
    mut datagram: &'a [u8],
) -> impl Iterator<Item = Result<Part<'a>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let part = first_part(datagram).ok_or_else(|| {
            HostError::Malformed(format!("{operation}: a netlink message is cut off"))
        });
        // Messages start at multiples of four bytes (NLMSG_ALIGNTO).
        let next = part
            .as_ref()
            .map_or(usize::MAX, |part| HEADER + part.payload.len())
            .checked_next_multiple_of(4)
            .unwrap_or(usize::MAX);
        datagram = datagram.get(next..).unwrap_or_default();
        Some(part)
    })
}

fn first_part(datagram: &[u8]) -> Option<Part<'_>> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*datagram.get(at..)?.first_chunk()?));
    let u16_at = |at: usize| Some(u16::from_ne_bytes(*datagram.get(at..)?.first_chunk()?));
    let length = usize::try_from(u32_at(0)?).ok()?;
    Some(Part {
        kind: u16_at(4)?,
        flags: u16_at(6)?,
        sequence: u32_at(8)?,
        payload: datagram.get(HEADER..length)?,
    })
}

/// Reads `NLMSG_ERROR` and `NLMSG_DONE`: an errno (negative or 0), `skip` bytes of the request's
/// header, and the extended ack's attributes if the flags announce them.
fn acknowledged(operation: &str, part: &Part<'_>, skip: usize) -> Result<()> {
    let Some(code) = part.payload.first_chunk().map(|b| i32::from_ne_bytes(*b)) else {
        // Some old dumps end without an errno.
        return Ok(());
    };
    // NLM_F_ACK_TLVS of include/uapi/linux/netlink.h.
    const ACK_TLVS: u16 = 0x200;
    let announced = part.flags & ACK_TLVS != 0;
    let extack = part
        .payload
        .get(4 + skip..)
        .filter(|_| announced)
        .and_then(extack_text);
    match (code, extack) {
        (0, None) => Ok(()),
        (0, Some(warning)) => {
            tracing::warn!(operation, "the kernel says: {warning}");
            Ok(())
        }
        (code, extack) => Err(HostError::kernel(operation, code.saturating_neg(), extack)),
    }
}

/// `NLMSGERR_ATTR_MSG` of an extended ack, without control characters.
fn extack_text(list: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let text = attributes::text(attributes::find(list, NLMSGERR_ATTR_MSG)?);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
