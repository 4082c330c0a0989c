//! 32 bytes as 64 hex digits.

/// In lower case.
pub fn encode(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Upper case and colons between the bytes, as openssl prints them, are taken too.
pub fn decode(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = match text.len() {
        // 32 pairs and 31 colons.
        95 => text
            .split(':')
            .filter(|pair| pair.len() == 2)
            .flat_map(str::bytes)
            .collect(),
        _ => text.bytes().collect(),
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(bytes: [u8; 32]) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(&text), Some(bytes));
            prop_assert_eq!(decode(&text.to_uppercase()), Some(bytes));
            let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            prop_assert_eq!(decode(&pairs.join(":")), Some(bytes));
        }

        #[test]
        fn nothing_else_is(text in ".{0,100}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text.replace(':', "").to_lowercase());
            }
        }
    }
}
