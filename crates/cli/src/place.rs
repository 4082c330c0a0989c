//! Which server a command goes to, and as whom: what the command line says, then the environment, then the
//! profile in use, then the local socket.

use std::{env, ffi::OsString, path::PathBuf};

use accelnet_api::{Client, ClientError, DEFAULT_SOCKET, ServerUrl};
use accelnet_model::{Code, Problem};

use crate::{
    args::PlaceArgs,
    profiles::{Profile, Profiles, unusable},
};

/// A variable that says something.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Result<Option<String>, Problem> {
    let text = variable(name).map(OsString::into_string).transpose();
    text.map_err(|_| wrong(name, "it is no text"))
}

fn wrong(name: &str, why: impl std::fmt::Display) -> Problem {
    let text = format!("The environment's {name} cannot be used: {why}.");
    Problem::new(Code::InvalidArgument, text)
}

/// The token of the environment. On the command line every user of the machine could read it.
pub fn token() -> Result<Option<String>, Problem> {
    Ok(text("ACCELNET_TOKEN")?.map(|token| token.trim().to_owned()))
}

/// The socket, if no other is named.
pub fn socket(args: &PlaceArgs) -> PathBuf {
    let named = args.socket.clone();
    let named = named.or_else(|| variable("ACCELNET_SOCKET").map(PathBuf::from));
    named.unwrap_or_else(|| DEFAULT_SOCKET.into())
}

fn on_socket(path: PathBuf) -> Profile {
    Profile {
        socket: Some(path),
        server: None,
        ca: None,
        fingerprint: None,
        token: None,
    }
}

/// A server that is named by its address: as the profile knows it that has the same, or as the environment
/// says it is known.
fn server(url: &ServerUrl) -> Result<Profile, Problem> {
    let profiles = Profiles::load()?.profiles;
    let known = profiles
        .into_values()
        .find(|profile| profile.server.as_ref() == Some(url));
    let mut profile = known.unwrap_or_else(|| Profile {
        socket: None,
        server: Some(url.clone()),
        ..on_socket(PathBuf::new())
    });
    if let Some(file) = variable("ACCELNET_CA").map(PathBuf::from) {
        let ca = std::fs::read_to_string(&file)
            .map_err(|error| wrong("ACCELNET_CA", format!("{}: {error}", file.display())))?;
        (profile.ca, profile.fingerprint) = (Some(ca), None);
    } else if let Some(fingerprint) = text("ACCELNET_FINGERPRINT")? {
        let fingerprint = fingerprint.parse().map_err(|error| unusable(&error))?;
        (profile.ca, profile.fingerprint) = (None, Some(fingerprint));
    }
    Ok(profile)
}

fn profile(args: &PlaceArgs) -> Result<Profile, Problem> {
    if let Some(path) = &args.socket {
        return Ok(on_socket(path.clone()));
    }
    if let Some(url) = &args.server {
        return server(url);
    }
    if let Some(name) = &args.cluster {
        return Profiles::load()?.named(name).cloned();
    }
    if let Some(url) = text("ACCELNET_SERVER")? {
        let url = url
            .parse()
            .map_err(|error| wrong("ACCELNET_SERVER", error))?;
        return server(&url);
    }
    if let Some(name) = text("ACCELNET_CLUSTER")? {
        return Profiles::load()?.named(&name).cloned();
    }
    if let Some(path) = variable("ACCELNET_SOCKET") {
        return Ok(on_socket(path.into()));
    }
    let profiles = Profiles::load()?;
    match &profiles.current {
        Some(name) => profiles.named(name).cloned(),
        None => Ok(on_socket(DEFAULT_SOCKET.into())),
    }
}

/// A client of the server that is meant. Nothing is sent yet.
///
/// # Errors
/// If it is not known which, or by what it is known.
pub fn client(args: &PlaceArgs) -> Result<Client, ClientError> {
    let mut profile = profile(args)?;
    if let Some(token) = token()? {
        profile.token = Some(token);
    }
    let client = profile.client()?;
    Ok(match args.stale {
        true => client.taking_what_may_be_old(),
        false => client,
    })
}
