//! What can go wrong here. Sentences say what happened and what to do; none repeats a secret or what
//! might be one.

use jiff::Timestamp;

/// A certificate, key or token that cannot be made, or is not what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A text has no such block, or a damaged one.
    #[error(
        "there is no {wanted} in this text: a PEM block that begins with '-----BEGIN' is wanted; give the \
         whole of it"
    )]
    Pem {
        /// What was wanted, for instance "certificate".
        wanted: &'static str,
    },
    /// A certificate that cannot be read, or says what no certificate of ours says.
    #[error(
        "this is not the certificate of {wanted}: {reason}; take the one that the cluster handed out"
    )]
    NotACertificateOf {
        /// Whose was wanted, for instance "a node".
        wanted: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key and a certificate that were not made for each other.
    #[error(
        "the private key does not belong to the certificate beside it: take both from the same place"
    )]
    KeyOfAnother,
    /// The authority's own time is over: what it signs is worth nothing.
    #[error("the cluster's authority expired at {at}: set the clock right, or make a new cluster")]
    AuthorityExpired {
        /// When.
        at: Timestamp,
    },
    /// This machine's clock is before 1970.
    #[error("the clock says {now}: set it right first")]
    Clock {
        /// What it says.
        now: Timestamp,
    },
    /// A node's request for a certificate that is not granted.
    #[error(
        "the request for a certificate is refused: {reason}; make a new one and send it as it is"
    )]
    Request {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What no server can be called by.
    #[error(
        "'{name}' is not a name that a server's certificate can be for: give DNS names (letters, digits, \
         '-' and '.') or IP addresses, without port"
    )]
    ServerName {
        /// What was given, escaped and shortened.
        name: String,
    },
    /// A server's certificate without a name would be refused by everybody.
    #[error(
        "a server's certificate needs at least one name or address under which the server is reached"
    )]
    NoServerName,
    /// A text that is no fingerprint. It is not repeated: somebody may have taken a token for one.
    #[error(
        "this is not a fingerprint: 64 hex digits are wanted, the SHA-256 of the authority's certificate"
    )]
    NotAFingerprint,
    /// A text that is no hash of a secret.
    #[error("this is not the hash of a secret: 64 hex digits are wanted")]
    NotAHash,
    /// A text that is no token at all.
    #[error("this is not {wanted}: such a token begins with '{begins}'; copy the whole of it")]
    NotAToken {
        /// What was wanted, for instance "a join token".
        wanted: &'static str,
        /// Its first letters.
        begins: &'static str,
    },
    /// A token, but for something else.
    #[error("this is {given}, and {wanted} is needed here, which begins with '{begins}'")]
    OtherToken {
        /// What it is.
        given: &'static str,
        /// What was wanted.
        wanted: &'static str,
        /// The wanted one's first letters.
        begins: &'static str,
    },
    /// A token whose form is not known to this version.
    #[error(
        "this is {wanted} in a form that this version does not know: update accelnet on this machine"
    )]
    NewerToken {
        /// What was wanted.
        wanted: &'static str,
    },
    /// A token of the right kind that was damaged on the way.
    #[error("{wanted} was given, but {damage}; copy the whole of it again")]
    DamagedToken {
        /// What was wanted.
        wanted: &'static str,
        /// What is wrong with it.
        damage: &'static str,
    },
    /// The operating system gives no random numbers.
    #[error("the system gives no random numbers: without them no key and no secret can be made")]
    Random,
    /// A certificate or key could not be made.
    #[error("{what} cannot be made: {source}")]
    Make {
        /// What.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// What the TLS library refuses, with its own words.
    #[error("{what} cannot be used for TLS: {source}")]
    Tls {
        /// What.
        what: &'static str,
        /// Why.
        source: rustls::Error,
    },
}

impl PkiError {
    /// For `map_err`: `what` could not be made.
    pub(crate) fn make(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Make { what, source }
    }

    /// For `map_err`: TLS cannot use `what`. That key and certificate differ is said in our words.
    pub(crate) fn tls(what: &'static str) -> impl FnOnce(rustls::Error) -> Self {
        move |source| match source {
            rustls::Error::InconsistentKeys(_) => Self::KeyOfAnother,
            source => Self::Tls { what, source },
        }
    }
}
