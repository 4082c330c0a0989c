//! One request and its answer, or an answer that goes on.

use std::time::Duration;

use accelnet_model::{Code, Problem};
use reqwest::header::AUTHORIZATION;
use serde::{Serialize, de::DeserializeOwned};

use super::{Client, ClientError, Result};
use crate::types::{ProblemDocument, WatchLine};

/// How long one answer may take. Enabling reads the whole machine afresh, which took up to 4 s in
/// the lab's software emulation; an order of magnitude more means that something hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

impl Client {
    pub(super) async fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        each: impl FnMut(&T) -> bool,
    ) -> Result<()> {
        self.follow_all(path, each, |identity| {
            let text = format!("'{identity}' is gone.");
            Err(Problem::new(Code::VmNotFound, text).into())
        })
        .await
    }

    pub(super) async fn follow_all<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(&T) -> bool,
        gone: impl Fn(&str) -> Result<()>,
    ) -> Result<()> {
        let mut response = self
            .request(reqwest::Method::GET, path, None::<&()>, None)
            .await?;
        let mut buffer = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(&error))?
        {
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                match decode(&line)? {
                    WatchLine::Put(object) if !each(&object) => return Ok(()),
                    WatchLine::Gone(identity) => gone(&identity)?,
                    WatchLine::Put(_) | WatchLine::Synced | WatchLine::Alive => {}
                }
            }
        }
        Err(self.lost().into())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(reqwest::Method::GET, path, None::<&()>).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let response = self.request(method, path, body, Some(DEADLINE)).await?;
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        decode(&bytes)
    }

    pub(super) async fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Option<Duration>,
    ) -> Result<reqwest::Response> {
        let url = format!("{}{}{path}", self.place.base(), crate::BASE);
        let mut request = self.http.request(method, url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        // A watch has no end; the builder's general deadline must not cut it.
        request = request.timeout(deadline.unwrap_or(Duration::from_secs(24 * 3600)));
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice::<ProblemDocument>(&bytes) {
            Ok(document) => Err(ClientError::Problems(document.into_problems())),
            Err(_) => Err(Problem::new(
                Code::Internal,
                format!("The server answered {status} with something that is no problem document."),
            )
            .into()),
        }
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Problem {
        if error.is_timeout() && !error.is_connect() {
            let seconds = DEADLINE.as_secs();
            let text = format!(
                "The server gave no answer within {seconds} s; what was asked for may yet be done."
            );
            return Problem::new(Code::Timeout, text)
                .with_cure("Look at the current state ('accelnet status') before asking again.");
        }
        self.place.unreachable(error)
    }

    pub(super) fn lost(&self) -> Problem {
        let place = &self.place;
        Problem::new(
            Code::ServerNotRunning,
            format!("The server behind {place} closed the connection."),
        )
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            Code::Internal,
            format!("The server's answer cannot be read: {error}."),
        )
        .with_cure("Use the same version of 'accelnet' and 'accelnetd'.")
        .into()
    })
}
