//! What an error of a call says about the call.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};

/// How many different reasons are told.
const REASONS_MAX: usize = 4;

/// What helps against an etcd that has reached its quota. Room alone does not: the alarm stays until it is taken back.
const NO_ROOM_CURE: &str = "compact and defragment it ('etcdctl compact', 'etcdctl defrag'), or raise its \
     --quota-backend-bytes; then 'etcdctl alarm disarm'";

/// Why a call has no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing was done, and another attempt may help: there is no connection, or etcd has no
    /// leader or too much to do.
    NotDone(String),
    /// It may have been done.
    Unknown(String),
    /// Nothing was done, and it never will be.
    Refused(String),
    /// The revision is compacted.
    Compacted,
    /// The revision has not happened.
    Future,
    /// The answer is larger than what is read.
    TooLarge,
}

impl Fault {
    /// The same, with what attempts before it said: of several reasons, such as a certificate that
    /// is missing and a connection that is therefore closed, the last one may not be the one that
    /// helps.
    pub(super) fn after(self, said: &mut Vec<String>) -> Self {
        let (Self::NotDone(detail) | Self::Unknown(detail)) = &self else {
            return self;
        };
        if !said.contains(detail) && said.len() < REASONS_MAX {
            said.push(detail.clone());
        }
        let all = said.join("; ");
        match self {
            Self::NotDone(_) => Self::NotDone(all),
            _ => Self::Unknown(all),
        }
    }

    /// What it says, in words.
    pub(super) fn detail(self) -> String {
        match self {
            Self::NotDone(detail) | Self::Unknown(detail) | Self::Refused(detail) => detail,
            Self::Compacted => "a revision is no longer kept".to_owned(),
            Self::Future => "a revision has not happened".to_owned(),
            Self::TooLarge => "its answer is too large".to_owned(),
        }
    }
}

impl From<etcd_client::Error> for Fault {
    fn from(error: etcd_client::Error) -> Self {
        use etcd_client::Error;
        match error {
            Error::GRpcStatus(status) => of_status(&status),
            Error::LeaseKeepAliveError(detail) => Self::Refused(detail),
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                Self::Refused(error.to_string())
            }
            _ => Self::Unknown(error.to_string()),
        }
    }
}

/// Whatever is not known to leave everything as it was may have been done.
fn of_status(status: &Status) -> Fault {
    let message = status.message().to_owned();
    match status.code() {
        _ if never_sent(status) => Fault::NotDone(format!("no connection ({})", causes(status))),
        // Said before a request is looked at.
        Code::Unavailable if message == "etcdserver: no leader" => Fault::NotDone(message),
        Code::ResourceExhausted if message == "etcdserver: too many requests" => {
            Fault::NotDone(message)
        }
        Code::OutOfRange if message.ends_with("required revision has been compacted") => {
            Fault::Compacted
        }
        Code::OutOfRange if message.ends_with("required revision is a future revision") => {
            Fault::Future
        }
        Code::OutOfRange if message.contains("message length too large") => Fault::TooLarge,
        Code::ResourceExhausted if message.ends_with("database space exceeded") => {
            Fault::Refused(format!("it has no room ({message}): {NO_ROOM_CURE}"))
        }
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unimplemented => Fault::Refused(message),
        _ => Fault::Unknown(causes(status)),
    }
}

fn never_sent(status: &Status) -> bool {
    chain(status).any(|cause| cause.is::<ConnectError>())
}

/// The message with what is behind it, which is where a connection says what happened.
fn causes(status: &Status) -> String {
    let mut causes = vec![status.message().to_owned()];
    causes.extend(chain(status).map(ToString::to_string));
    causes.dedup();
    causes.join(": ")
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |&cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once() {
        let mut said = Vec::new();
        let mut after = |detail: &str| Fault::NotDone(detail.to_owned()).after(&mut said);
        after("no certificate");
        after("closed");
        let last = after("closed");
        assert_eq!(last, Fault::NotDone("no certificate; closed".to_owned()));
    }

    #[test]
    fn only_what_is_known_to_have_done_nothing_is_said_to_have() {
        let cases = [
            (Status::unavailable("etcdserver: no leader"), "NotDone"),
            (Status::unavailable("etcdserver: leader changed"), "Unknown"),
            (
                Status::unavailable("etcdserver: request timed out"),
                "Unknown",
            ),
            (Status::unavailable("transport is closing"), "Unknown"),
            (Status::cancelled("Timeout expired"), "Unknown"),
            (
                Status::deadline_exceeded("context deadline exceeded"),
                "Unknown",
            ),
            (Status::internal("h2 protocol error"), "Unknown"),
            (Status::unknown("etcdserver: not capable"), "Unknown"),
            (
                Status::resource_exhausted("etcdserver: too many requests"),
                "NotDone",
            ),
            (
                Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                "Refused",
            ),
            (
                Status::permission_denied("etcdserver: permission denied"),
                "Refused",
            ),
            (
                Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
                "Compacted",
            ),
            (
                Status::out_of_range("etcdserver: something else"),
                "Unknown",
            ),
        ];
        for (status, expected) in cases {
            let fault = format!("{:?}", of_status(&status));
            assert!(fault.starts_with(expected), "{status:?} is {fault}");
        }
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(refused.into())));
        assert!(matches!(of_status(&status), Fault::NotDone(_)));
    }
}
