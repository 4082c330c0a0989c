//! Why two do not understand each other: one speaks TLS and the other does not, or a certificate is not accepted.
//!
//! Libraries say of it what their innermost part saw ("frame with invalid size"). Here a member is asked once more,
//! in the plainest way, and what it says is told in words with what helps.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::options::EtcdOptions;
use crate::StoreError;

/// A member that was reached a moment ago answers within this.
const LIMIT: Duration = Duration::from_secs(1);
/// Its first line says it.
const READ_BYTES: usize = 512;
/// How some servers say that they speak TLS alone; others end the connection.
const HTTPS_ONLY: &[u8] = b"HTTPS server";
/// A request that any HTTP server answers.
const REQUEST: &[u8] = b"GET /version HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";

/// The error, with the reason if it can be found.
pub(super) async fn explained(error: StoreError, options: &EtcdOptions) -> StoreError {
    let StoreError::Unreachable { endpoints, detail } = error else {
        return error;
    };
    let mut found = None;
    for url in &options.endpoints {
        let speaks = asked_plainly(url).await;
        let client = options.tls.as_ref().map(|tls| tls.client.is_some());
        found = found.or_else(|| reason(speaks, &detail, client));
    }
    let detail = match found {
        Some(reason) => format!("{reason} ({detail})"),
        None => detail,
    };
    StoreError::Unreachable { endpoints, detail }
}

/// How a member answers a request without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Plainly,
    /// It ends the connection, or says that it speaks TLS.
    Tls,
}

/// Asks a member. `None` is "not known": it cannot be reached, or says nothing in time; then nothing is concluded, and
/// the error stays as it was told.
async fn asked_plainly(url: &str) -> Option<Speaks> {
    let (_, place) = url.split_once("://")?;
    let mut stream = timeout(LIMIT, TcpStream::connect(place)).await.ok()?.ok()?;
    stream.write_all(REQUEST).await.ok()?;
    let mut answer = Vec::new();
    let mut first = stream.take(READ_BYTES as u64);
    // A connection that is reset has told as much as one that is ended.
    let _ = timeout(LIMIT, first.read_to_end(&mut answer)).await.ok()?;
    let plainly = answer.starts_with(b"HTTP/") && !contains(&answer, HTTPS_ONLY);
    Some(if plainly {
        Speaks::Plainly
    } else {
        Speaks::Tls
    })
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The reason: from how a member answered without TLS, and what was seen before with (`client` says whether with a
/// certificate of ours) or without TLS (`None`).
fn reason(speaks: Option<Speaks>, detail: &str, client: Option<bool>) -> Option<&'static str> {
    let said = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    match (speaks?, client) {
        (Speaks::Tls, None) => Some(
            "it seems to speak TLS, and is spoken to without: name its authority's certificate",
        ),
        (Speaks::Plainly, Some(_)) => {
            Some("it does not speak TLS, and is spoken to with it: leave the certificates out")
        }
        (Speaks::Plainly, None) => None,
        (Speaks::Tls, Some(_)) if said(&["UnknownIssuer", "BadSignature"]) => {
            Some("its certificate is not one of the authority that was named")
        }
        (Speaks::Tls, Some(_)) if said(&["NotValidForName"]) => {
            Some("its certificate is for another name than the one it was called by")
        }
        (Speaks::Tls, Some(_)) if said(&["Expired", "NotValidYet"]) => {
            Some("its certificate is not valid at this time, by this machine's clock")
        }
        (Speaks::Tls, Some(false)) => Some(
            "it ends the connection: it seems to ask clients for a certificate, and none was named",
        ),
        (Speaks::Tls, Some(true)) => Some(
            "it ends the connection: it seems to refuse our certificate, which has to be of an authority that it \
             trusts (its --trusted-ca-file)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_member_answers_says_what_is_wrong() {
        use Speaks::{Plainly, Tls};
        for (speaks, detail, client, words) in [
            (Tls, "frame with invalid size", None, "to speak TLS"),
            (
                Plainly,
                "InvalidContentType",
                Some(true),
                "does not speak TLS",
            ),
            (
                Tls,
                "invalid peer certificate: UnknownIssuer",
                Some(true),
                "not one of the authority",
            ),
            (Tls, "closed", Some(false), "none was named"),
            (
                Tls,
                "received fatal alert",
                Some(true),
                "refuse our certificate",
            ),
        ] {
            let reason = reason(Some(speaks), detail, client).unwrap();
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(reason(None, "no connection (refused)", None), None);
        assert_eq!(reason(Some(Plainly), "no leader", None), None);
    }
}
