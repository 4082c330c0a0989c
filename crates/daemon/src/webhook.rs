//! A webhook: faults are posted to a URL as JSON, signed so that whoever is there knows whom they are from.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use accelnet_api::Announcement;
use accelnet_server::{Announce, Announcer, NotTaken, Pending};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use reqwest::{Url, header::CONTENT_TYPE, redirect};
use sha2::Sha256;

/// Shorter ones can be guessed.
const SECRET_MIN: usize = 16;
/// The header with the signature: `t=SECONDS,v1=HEX`, HMAC-SHA256 (RFC 2104) of `SECONDS.BODY`.
const SIGNATURE: &str = "accelnet-signature";

#[derive(Debug, Clone, Args)]
pub struct WebhookArgs {
    /// Faults that open, change and close are posted to this URL, as JSON.
    #[arg(long = "webhook", env = "ACCELNET_WEBHOOK", value_name = "URL")]
    url: Option<Url>,
    /// File with the secret that posts are signed with: 16 characters or more, readable by its owner alone.
    #[arg(long, env = "ACCELNET_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
}

impl WebhookArgs {
    /// Whom the server announces faults to.
    pub fn announcer(&self) -> Result<Announcer> {
        let (url, file) = match (&self.url, &self.webhook_secret_file) {
            (None, None) => return Ok(Announcer::default()),
            (Some(url), Some(file)) => (url, file),
            (Some(_), None) => {
                bail!("--webhook needs a secret to sign with: --webhook-secret-file is missing")
            }
            (None, Some(_)) => {
                bail!("--webhook-secret-file is given, and --webhook, what to sign for, is missing")
            }
        };
        let secret = read_secret(file)?;
        let webhook = Webhook::new(url.clone(), &secret)?;
        Ok(Announcer(Some(Arc::new(webhook))))
    }
}

fn read_secret(file: &Path) -> Result<String> {
    let about = || format!("the webhook's secret in {}", file.display());
    let mode = fs::metadata(file).with_context(about)?.mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "{} can be read by others (mode {mode:o}); chmod 600 {}",
        about(),
        file.display()
    );
    let secret = fs::read_to_string(file).with_context(about)?;
    let secret = secret.trim();
    ensure!(
        secret.len() >= SECRET_MIN,
        "{} has fewer than {SECRET_MIN} characters; openssl rand -hex 32 makes one",
        about()
    );
    Ok(secret.to_owned())
}

struct Webhook {
    http: reqwest::Client,
    url: Url,
    key: Hmac<Sha256>,
}

impl Webhook {
    fn new(url: Url, secret: &str) -> Result<Self> {
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "'{url}' is no webhook: https://… or http://…"
        );
        // Whom the system trusts; somebody may have set this before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            // What is signed for one place is not carried to another.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("accelnet/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("a client for the webhook")?;
        let key = Hmac::new_from_slice(secret.as_bytes()).context("the webhook's secret")?;
        Ok(Self { http, url, key })
    }

    fn signature(&self, at: i64, body: &[u8]) -> String {
        let mut mac = self.key.clone();
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        let bytes = mac.finalize().into_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={at},v1={hex}")
    }

    async fn post(&self, announcement: &Announcement) -> Result<(), NotTaken> {
        let not_taken = |error: anyhow::Error| NotTaken(format!("{error:#}"));
        let body = serde_json::to_vec(announcement).map_err(|error| not_taken(error.into()))?;
        let signature = self.signature(Timestamp::now().as_second(), &body);
        let request = self.http.post(self.url.clone());
        let request = request.header(CONTENT_TYPE, "application/json");
        let sent = request.header(SIGNATURE, signature).body(body).send();
        // A URL may have a secret in it.
        let answer = sent
            .await
            .map_err(|error| not_taken(error.without_url().into()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(NotTaken(format!("it answered {status}"))),
        }
    }
}

impl Announce for Webhook {
    fn announce<'a>(&'a self, announcement: &'a Announcement) -> Pending<'a, Result<(), NotTaken>> {
        Box::pin(self.post(announcement))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use accelnet_api::{Event, EventKind};
    use axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post};
    use tokio::{
        net::{TcpListener, TcpSocket},
        sync::mpsc,
    };

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn announcement() -> Announcement {
        Announcement {
            event: Event {
                id: "e7".into(),
                at: Timestamp::UNIX_EPOCH,
                kind: EventKind::FaultOpened,
                by: None,
                object: None,
                text: "No carrier.".into(),
                fault: Some("aaaa".into()),
                code: None,
                severity: None,
                since: None,
                muted: false,
            },
            title: "A title.".into(),
            cure: "A cure.".into(),
        }
    }

    /// A receiver that says `status`, and what it was sent.
    async fn receiver(status: StatusCode) -> (Url, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
        let (sender, received) = mpsc::unbounded_channel();
        let taken = post(move |headers: HeaderMap, body: Bytes| async move {
            sender.send((headers, body)).unwrap();
            status
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", taken);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url.parse().unwrap(), received)
    }

    #[tokio::test]
    async fn what_is_posted_is_signed_over_its_time_and_body() {
        let (url, mut received) = receiver(StatusCode::NO_CONTENT).await;
        let webhook = Webhook::new(url, SECRET).unwrap();
        webhook.announce(&announcement()).await.unwrap();
        let (headers, body) = received.recv().await.unwrap();
        assert_eq!(headers[CONTENT_TYPE], "application/json");
        assert_eq!(
            serde_json::from_slice::<Announcement>(&body).unwrap(),
            announcement()
        );
        let signature = headers[SIGNATURE].to_str().unwrap();
        let at = signature
            .strip_prefix("t=")
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        assert_eq!(signature, webhook.signature(at.parse().unwrap(), &body));
        // As another program has it: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            webhook.signature(1_700_000_000, br#"{"a":1}"#),
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
    }

    #[tokio::test]
    async fn who_does_not_take_it_is_said_without_the_url() {
        let (url, _received) = receiver(StatusCode::INTERNAL_SERVER_ERROR).await;
        let webhook = Webhook::new(url, SECRET).unwrap();
        let NotTaken(error) = webhook.announce(&announcement()).await.unwrap_err();
        assert_eq!(error, "it answered 500 Internal Server Error");
        // Nobody listens there, and nobody else can.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let place = socket.local_addr().unwrap();
        let url = format!("http://{place}/?key=hidden").parse().unwrap();
        let error = Webhook::new(url, SECRET)
            .unwrap()
            .announce(&announcement())
            .await;
        let NotTaken(error) = error.unwrap_err();
        assert!(
            error.contains("onnect") && !error.contains("hidden"),
            "{error}"
        );
    }

    #[test]
    fn a_secret_that_others_can_read_or_guess_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let write = |secret: &str, mode: u32| {
            fs::write(&file, secret).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&file)
        };
        assert_eq!(write("0123456789abcdef\n", 0o600).unwrap(), SECRET);
        let error = write(SECRET, 0o644).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        let error = write("short", 0o600).unwrap_err().to_string();
        assert!(error.contains("fewer than 16"), "{error}");
        assert!(Webhook::new("file:///x".parse().unwrap(), SECRET).is_err());
    }
}
