//! Names as parts of addresses.

use accelnet_model::{Code, Problem};
use jiff::Timestamp;

use super::Result;

/// What is at a path, as much of it as is asked for.
pub fn lately(path: &str, since: Option<Timestamp>, limit: Option<u32>, watch: bool) -> String {
    let since = since.map(|since| format!("&since={}", encode(&since.to_string())));
    let limit = limit.map(|limit| format!("&limit={limit}"));
    format!(
        "{path}?watch={watch}{}{}",
        since.unwrap_or_default(),
        limit.unwrap_or_default()
    )
}

/// A VM's name or UUID as a part of a path.
pub fn vm(word: &str) -> Result<String> {
    segment(word, Code::VmNotFound)
}

/// A node's name as a part of a path.
pub fn node(name: &str) -> Result<String> {
    segment(name, Code::NodeNotFound)
}

/// A server's address or name as a part of a path.
pub fn server(word: &str) -> Result<String> {
    segment(word, Code::ServerNotFound)
}

/// An adapter, by its node and its interface, with where adapters are.
pub fn adapter(node: &str, name: &str) -> Result<String> {
    let name = segment(name, Code::AdapterNotFound)?;
    Ok(format!("/adapters/{}/{name}", self::node(node)?))
}

/// A fault's id as a part of a path.
pub fn fault(id: &str) -> Result<String> {
    segment(id, Code::FaultNotFound)
}

/// An intent's name as a part of a path.
pub fn intent(name: &str) -> Result<String> {
    segment(name, Code::IntentNotFound)
}

/// URLs have no such part as `..`, however it is encoded (WHATWG URL, "double-dot URL path segment"):
/// `vms/../acceleration` would be the cluster's.
fn segment(word: &str, code: Code) -> Result<String> {
    if matches!(word, "" | "." | "..") {
        return Err(Problem::new(code, format!("'{word}' cannot be asked for.")).into());
    }
    Ok(encode(word))
}

/// Percent-encodes a path segment or query value (RFC 3986 unreserved characters stay).
pub fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_urls() {
        assert_eq!(encode("web 1/ä"), "web%201%2F%C3%A4");
        assert_eq!(encode("web-1_a.b~"), "web-1_a.b~");
    }
}
