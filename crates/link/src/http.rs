//! Requests to a server, and what is wrong when it refuses.

use std::{sync::Arc, time::Duration};

use accelnet_api::{ProblemDocument, ServerUrl, agents::BASE};
use accelnet_model::{Code, Problem};
use accelnet_pki::Refusal;
use reqwest::{Client, Response, StatusCode};
use rustls::ClientConfig;

/// A connection is there within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why a server did not do as asked.
#[derive(Debug)]
pub enum Ended {
    /// It does not decide; whoever does is there, if that is known.
    Elsewhere(Option<ServerUrl>),
    /// It refused, or could not be reached.
    Because(Problem),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Because(problem)
    }
}

impl Ended {
    /// In words.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Because(problem) => problem,
            Self::Elsewhere(_) => {
                Problem::new(Code::ServerNotRunning, "Another server decides at present.")
            }
        }
    }
}

/// A client for one server; answers that last are cut off when nothing comes for `silence`.
pub fn client(tls: &Arc<ClientConfig>, silence: Duration) -> Result<Client, Problem> {
    Client::builder()
        .tls_backend_preconfigured(ClientConfig::clone(tls))
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(silence)
        .no_proxy()
        .build()
        .map_err(|error| Problem::new(Code::Internal, format!("{error}.")))
}

/// The address of something that agents ask for.
pub fn at(server: &ServerUrl, path: &str) -> String {
    format!("{server}{BASE}{path}")
}

/// The server could not be reached, or went away.
pub fn unreachable(server: &ServerUrl, error: &reqwest::Error) -> Problem {
    if let Some(refusal) = Refusal::of(error) {
        return Problem::new(Code::ServerNotTrusted, format!("{server}: {refusal}."));
    }
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = cause.to_string();
        source = cause.source();
    }
    Problem::new(Code::ServerNotRunning, format!("{server}: {words}."))
        .with_cure("Check the address, and that accelnet-server runs there.")
}

/// The answer, if it is a good one.
pub async fn good(server: &ServerUrl, answer: Response) -> Result<Response, Ended> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::MISDIRECTED_REQUEST {
        let place = answer.headers().get(accelnet_api::agents::ACTIVE_HEADER);
        let place = place.and_then(|place| place.to_str().ok());
        return Err(Ended::Elsewhere(place.and_then(|place| place.parse().ok())));
    }
    let document = answer.json::<ProblemDocument>().await;
    let problem = document.map_or_else(
        |_| {
            let text = format!("{server} answered {status} and gave no reason.");
            Problem::new(Code::ServerNotRunning, text)
        },
        |document| document.problem,
    );
    Err(Ended::Because(problem))
}
