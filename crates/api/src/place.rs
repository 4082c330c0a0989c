//! Where a server is asked: a socket of this machine, or an address in the network; and why nobody could be
//! asked there.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use accelnet_model::{Code, Problem};
use rustls::{CertificateError, OtherError};
use serde::{Deserialize, Serialize};

use crate::DEFAULT_PORT;

/// Where a server is in the network: `https://HOST:PORT`. The port may be left out when it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServerUrl(String);

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServerUrl {
    /// Its name or IP address.
    pub fn host(&self) -> &str {
        let place = self.0.trim_start_matches("https://");
        place.rsplit_once(':').map_or(place, |(host, _)| host)
    }
}

/// Why a text is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write it like https://server1.example:7643")]
pub struct NoServerUrl(&'static str);

impl FromStr for ServerUrl {
    type Err = NoServerUrl;

    fn from_str(text: &str) -> Result<Self, NoServerUrl> {
        let place = match text.split_once("://") {
            Some(("https", place)) => place,
            Some(("http", _)) => return Err(NoServerUrl("a server is asked over TLS only")),
            Some(_) => return Err(NoServerUrl("this is no kind of address of a server")),
            None => text,
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#', '@', '\\']) {
            return Err(NoServerUrl("a server's address has host and port only"));
        }
        // The colons of an IPv6 address are within brackets.
        let after_host = place.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match place[after_host..].rsplit_once(':') {
            Some((rest, port)) => (&place[..after_host + rest.len()], Some(port)),
            None => (place, None),
        };
        let port = match port.map(str::parse) {
            None => DEFAULT_PORT,
            Some(Ok(0)) | Some(Err(_)) => return Err(NoServerUrl("the port is not 1 to 65535")),
            Some(Ok(port)) => port,
        };
        let url = reqwest::Url::parse(&format!("https://{host}:{port}"));
        let url = url.map_err(|_| NoServerUrl("the host is no name and no IP address"))?;
        let host = url.host_str().unwrap_or_default();
        Ok(Self(format!("https://{host}:{port}")))
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        url.0
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = NoServerUrl;

    fn try_from(text: String) -> Result<Self, NoServerUrl> {
        text.parse()
    }
}

/// Where a client asks.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Socket(PathBuf),
    Server(ServerUrl),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

impl Place {
    /// What the API's paths follow.
    pub fn base(&self) -> &str {
        match self {
            // Never looked up: every connection goes to the socket.
            Self::Socket(_) => "http://accelnet",
            Self::Server(url) => &url.0,
        }
    }

    /// Why nobody could be asked.
    pub fn unreachable(&self, error: &reqwest::Error) -> Problem {
        let mut source: Option<&dyn Error> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return match (self, tls_error(io)) {
                    (_, Some(tls)) => self.no_tls(tls),
                    (Self::Socket(path), None) => no_socket(path, io),
                    (Self::Server(_), None) => self.nobody(&io.to_string()),
                };
            }
            source = cause.source();
        }
        if error.is_timeout() {
            return self.nobody("no connection could be made in time");
        }
        self.nobody(&error.to_string())
    }

    fn nobody(&self, why: &str) -> Problem {
        let problem = Problem::new(Code::ServerNotRunning, format!("{self}: {why}."));
        match self {
            Self::Socket(_) => problem,
            Self::Server(_) => {
                problem.with_cure("Check the address (--server), and that accelnetd runs there.")
            }
        }
    }

    fn no_tls(&self, error: &rustls::Error) -> Problem {
        match error {
            rustls::Error::InvalidCertificate(why) => {
                let why = match why {
                    // What only knows an authority's fingerprint has words of its own.
                    CertificateError::Other(OtherError(why)) => why.to_string(),
                    why => why.to_string(),
                };
                let text = format!("{self}: {why}.");
                Problem::new(Code::ServerNotTrusted, text)
            }
            rustls::Error::NoCertificatesPresented => {
                let text = format!("{self} shows no certificate.");
                Problem::new(Code::ServerNotTrusted, text)
            }
            _ => self.nobody(&format!(
                "what answers there is no accelnet server ({error})"
            )),
        }
    }
}

/// What TLS said, if that is what is within an error; layers in between may each have wrapped it.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let within = error.get_ref()?;
    match within.downcast_ref::<io::Error>() {
        Some(deeper) => tls_error(deeper),
        None => within.downcast_ref(),
    }
}

fn no_socket(path: &Path, error: &io::Error) -> Problem {
    let socket = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Problem::new(
            Code::PermissionDenied,
            format!("The socket {socket} may not be opened."),
        ),
        io::ErrorKind::NotFound => Problem::new(
            Code::ServerNotRunning,
            format!("There is no socket {socket}."),
        ),
        _ => Problem::new(Code::ServerNotRunning, format!("{socket}: {error}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_are_read_as_people_write_them() {
        for (text, url) in [
            ("https://server1:7643", "https://server1:7643"),
            ("https://Server1.Example/", "https://server1.example:7643"),
            ("server1", "https://server1:7643"),
            ("server1:443", "https://server1:443"),
            ("https://192.0.2.1:80", "https://192.0.2.1:80"),
            ("[2001:db8::1]", "https://[2001:db8::1]:7643"),
            ("https://[2001:db8::1]:1", "https://[2001:db8::1]:1"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), url);
        }
        for (text, words) in [
            ("http://server1", "TLS only"),
            ("ftp://server1", "no kind of address"),
            ("https://server1/api", "host and port only"),
            ("https://me@server1", "host and port only"),
            ("server1:0", "1 to 65535"),
            ("server1:99999", "1 to 65535"),
            ("server1:https", "1 to 65535"),
            ("", "no name"),
            ("https://", "no name"),
            ("a b", "no name"),
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
