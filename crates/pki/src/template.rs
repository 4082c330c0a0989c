//! What all certificates of a cluster have in common.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};

use crate::{PkiError, random};

/// How long before its making a certificate is valid: clocks of machines in one cluster may be an hour
/// apart.
const BEFORE: Duration = Duration::from_secs(3600);

/// A certificate for `name`, valid from an hour before `now` until `expires`.
pub fn certificate(
    name: &str,
    now: Timestamp,
    expires: Timestamp,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial()?);
    let from = now.checked_sub(BEFORE);
    let from = from.map_err(|_| PkiError::Clock { now })?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(from)?;
    params.not_after = epoch + seconds(expires)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Unique, and not to be guessed: without it the library would take one from the key, and a renewed
/// certificate of the same key would have the same.
fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = random::bytes::<16>()?;
    // Positive, and always of the same length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Since 1970, which is how the library's calendar is reached without naming its type.
fn seconds(at: Timestamp) -> Result<Duration, PkiError> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| PkiError::Clock { now: at })?;
    Ok(Duration::from_secs(seconds))
}
