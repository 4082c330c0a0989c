//! Random bytes from the operating system.

use crate::{PkiError, tls};

/// `N` of them, fit for keys.
pub fn bytes<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    let random = tls::provider().secure_random;
    random.fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(bytes)
}
