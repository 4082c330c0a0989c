//! A request and its answer.
//!
//! ```text
//!            ┌──────── 421, the active one is there (at most HOPS times) ─────┐
//!            ▼                                                                │
//!   place or active one ──► connect, its certificate, then the token ──► answer ──► done, or problems
//!            ▲                                                                │
//!            └──────── 503 with Retry-After, after that pause ────────────────┘
//! ```
//!
//! A server that is pointed to must show a certificate of the same authority as the one that was named, for the
//! address that it is at; before that it is sent nothing.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_model::{Code, Problem};
use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{Client, ClientError, Result, paths::encode};
use crate::{
    COPY_HEADER, MAY_BE_OLD,
    agents::ACTIVE_HEADER,
    place::{Place, ServerUrl},
    types::{Items, ProblemDocument},
};

/// How long one answer may take. Enabling reads the whole machine afresh, which took up to 4 s in
/// the lab's software emulation; an order of magnitude more means that something hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Servers that point to each other are followed so often: while the lead changes hands twice.
const HOPS: u32 = 4;
/// Elements of a list that are asked for at once: 5 MiB of VMs.
const PAGE: u32 = 5_000;

impl Client {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, path, None::<&()>).await
    }

    /// All of a list, page by page. `path` ends where a parameter can follow.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Items<T>> {
        let mut page = format!("{path}limit={PAGE}");
        let mut items = Vec::new();
        loop {
            let answer: Items<T> = self.get(&page).await?;
            items.extend(answer.items);
            match answer.next {
                Some(next) => page = format!("{path}limit={PAGE}&after={}", encode(&next)),
                None => return Ok(items.into()),
            }
        }
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
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

    /// Asks until there is an answer that is one.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Option<Duration>,
    ) -> Result<Response> {
        let until = Instant::now() + deadline.unwrap_or(DEADLINE);
        let mut hops = 0;
        loop {
            let place = self.place_now();
            let answer = self.ask(&place, method.clone(), path, body, deadline).await;
            let response = match answer {
                Ok(response) => response,
                Err(error) => {
                    let problem = unreachable(&place, &error);
                    // It decided once, and is away now: whoever was named knows who does. Nothing was sent.
                    let away = error.is_connect() && problem.code == Code::ServerNotRunning;
                    if away && hops < HOPS && self.active().take().is_some() {
                        hops += 1;
                        continue;
                    }
                    return Err(problem.into());
                }
            };
            if response.status().is_success() {
                self.note_copy(&response);
                return Ok(response);
            }
            if let Some(active) = self.pointed_to(&response)
                && hops < HOPS
            {
                hops += 1;
                *self.active() = Some(active);
                continue;
            }
            if let Some(pause) = ask_again_after(&response)
                && Instant::now() + pause < until
            {
                tokio::time::sleep(pause).await;
                continue;
            }
            return Err(self.refused(response).await);
        }
    }

    async fn ask(
        &self,
        place: &Place,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Option<Duration>,
    ) -> reqwest::Result<Response> {
        let url = format!("{}{}{path}", place.base(), crate::BASE);
        let mut request = self.http.request(method, url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if self.may_be_old {
            request = request.header(CACHE_CONTROL, MAY_BE_OLD);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        // A watch has no end; the builder's general deadline must not cut it.
        let deadline = deadline.unwrap_or(Duration::from_secs(24 * 3600));
        request.timeout(deadline).send().await
    }

    /// Where a server that stands by points to. What is asked for on a socket is asked for with the rights of a
    /// user of that machine, which count nowhere else.
    fn pointed_to(&self, response: &Response) -> Option<ServerUrl> {
        let over_network = matches!(self.place, Place::Server(_));
        if !over_network || response.status() != StatusCode::MISDIRECTED_REQUEST {
            return None;
        }
        let place = response.headers().get(ACTIVE_HEADER)?;
        place.to_str().ok()?.parse().ok()
    }

    fn note_copy(&self, response: &Response) {
        let of = response.headers().get(COPY_HEADER);
        if let Some(of) = of.and_then(|of| of.to_str().ok()) {
            let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
            *copy = Some(of.to_owned());
        }
    }

    /// The server whose copy an answer was from, if one was since the client was made.
    pub fn answered_from_copy_of(&self) -> Option<String> {
        let copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        copy.clone()
    }

    fn active(&self) -> MutexGuard<'_, Option<ServerUrl>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place_now(&self) -> Place {
        match &*self.active() {
            Some(active) => Place::Server(active.clone()),
            None => self.place.clone(),
        }
    }

    async fn refused(&self, response: Response) -> ClientError {
        let status = response.status();
        let bytes = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return self.unreachable(&error).into(),
        };
        match serde_json::from_slice::<ProblemDocument>(&bytes) {
            Ok(document) => ClientError::Problems(document.into_problems()),
            Err(_) => Problem::new(
                Code::Internal,
                format!("The server answered {status} with something that is no problem document."),
            )
            .into(),
        }
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Problem {
        unreachable(&self.place_now(), error)
    }

    pub(super) fn lost(&self) -> Problem {
        let place = self.place_now();
        Problem::new(
            Code::ServerNotRunning,
            format!("The server behind {place} closed the connection."),
        )
    }
}

/// The pause that a server asks for, if that is all that it answers.
fn ask_again_after(response: &Response) -> Option<Duration> {
    if response.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn unreachable(place: &Place, error: &reqwest::Error) -> Problem {
    if error.is_timeout() && !error.is_connect() {
        let seconds = DEADLINE.as_secs();
        let text = format!(
            "The server gave no answer within {seconds} s; what was asked for may yet be done."
        );
        return Problem::new(Code::Timeout, text)
            .with_cure("Look at the current state ('accelnet status') before asking again.");
    }
    place.unreachable(error)
}

/// What an answer, or a line of one, says.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            Code::Internal,
            format!("The server's answer cannot be read: {error}."),
        )
        .with_cure("Use the same version of 'accelnet' and 'accelnetd'.")
        .into()
    })
}
