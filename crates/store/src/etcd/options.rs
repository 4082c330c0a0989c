//! Where etcd is, and how to speak to it.

use std::{fmt, time::Duration};

use crate::{HistoryLimits, InvalidRequest, Result, limits};

/// How to reach etcd, and which part of it is ours.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// URLs of its members, such as `https://10.0.0.1:2379`. One that answers is kept to; when it
    /// no longer does, the next one is asked.
    pub endpoints: Vec<String>,
    /// What all keys of this store start with; ends with `/`. Nothing outside of it is read or
    /// written, so an etcd can be shared. `accelnet/` by default.
    pub prefix: String,
    /// Certificates; `None` for endpoints that start with `http://`.
    pub tls: Option<EtcdTls>,
    /// How far back a watch can start. What can be read of the past is etcd's to say, by
    /// its own compaction.
    pub history: HistoryLimits,
    /// How long an operation may take, with everything asked for it.
    pub deadline: Duration,
}

impl EtcdOptions {
    /// These endpoints, without TLS, and defaults.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: "accelnet/".to_owned(),
            tls: None,
            history: HistoryLimits::default(),
            deadline: limits::ETCD_DEADLINE,
        }
    }

    /// Whether they make sense together.
    pub(super) fn check(&self) -> Result<(), InvalidRequest> {
        let scheme = if self.tls.is_some() {
            "https://"
        } else {
            "http://"
        };
        let other = self.endpoints.iter().find(|url| !url.starts_with(scheme));
        let reason = if self.endpoints.is_empty() {
            "there are no endpoints".to_owned()
        } else if let Some(url) = other {
            let with = if self.tls.is_some() {
                "with"
            } else {
                "without"
            };
            format!("the endpoint {url} does not start with {scheme}, {with} certificates")
        } else if !self.prefix.ends_with('/') {
            format!("the prefix {:?} does not end with a slash", self.prefix)
        } else if self.prefix.len() > limits::ETCD_PREFIX_BYTES_MAX {
            let max = limits::ETCD_PREFIX_BYTES_MAX;
            format!("the prefix {:?} is longer than {max} bytes", self.prefix)
        } else if self.prefix.chars().any(char::is_control) {
            format!("the prefix {:?} has a control character", self.prefix)
        } else {
            return Ok(());
        };
        Err(InvalidRequest::EtcdOptions { reason })
    }
}

/// Certificates for etcd, all PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// Of the authority that signed the certificates of etcd's members. No other is trusted, those
    /// of the system neither.
    pub ca: Vec<u8>,
    /// The client's certificate and its private key, where etcd asks for one.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Without the private key.
impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls")
            .field("client", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused_with_the_reason() {
        let good = EtcdOptions::new(["http://a:1", "http://b:1"]);
        assert_eq!(good.check(), Ok(()));
        let tls = Some(EtcdTls {
            ca: Vec::new(),
            client: None,
        });
        let with = |change: fn(&mut EtcdOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options
        };
        let cases = [
            (with(|options| options.endpoints.clear()), "no endpoints"),
            (
                with(|options| options.endpoints.push("b:1".to_owned())),
                "b:1 does not start with http://, without",
            ),
            (
                EtcdOptions {
                    tls,
                    ..good.clone()
                },
                "http://a:1 does not start with https://, with",
            ),
            (with(|options| options.prefix.clear()), "a slash"),
            (
                with(|options| options.prefix = "a\n/".to_owned()),
                "control",
            ),
            (
                with(|options| options.prefix = "a".repeat(128) + "/"),
                "longer than 128",
            ),
        ];
        for (options, expected) in cases {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
