//! `accelnet login`, `logout`, `profile …`, `whoami`.

use accelnet_api::{Items, Role, WhoAmI};
use accelnet_model::{Code, Name, Problem, problem::exit};
use accelnet_pki::AccessToken;
use serde::Serialize;

use crate::{
    args::{Format, LoginArgs, PlaceArgs, ProfileCommand},
    ask,
    call::{Call, Ended},
    output::{self, printable},
    place,
    profiles::{Profile, Profiles, unusable},
};

/// A profile as it is shown: without its token.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Its name.
    pub profile: String,
    /// The server's address, or the socket.
    pub server: String,
    /// It is in use.
    pub current: bool,
    /// Whose token it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What that permits, if it was asked just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Makes a profile, after the server has said that it knows the token.
pub async fn login(format: Format, at: &PlaceArgs, args: &LoginArgs) -> Ended {
    let mut profiles = Profiles::load()?;
    let name = name_of(args)?;
    let mut profile = where_to(at, args, profiles.profiles.get(&name))?;
    let token = match place::token()? {
        Some(token) => token,
        None => ask::secret(&format!("Token for {}: ", printable(&profile.place())))?,
    };
    let token: AccessToken = token.parse().map_err(|error| unusable(&error))?;
    profile.token = Some(token.reveal());
    let who = profile.client()?.whoami().await?;
    let server = profile.place();
    profiles.profiles.insert(name.clone(), profile);
    profiles.current = Some(name.clone());
    profiles.save()?;
    let WhoAmI {
        name: whose, role, ..
    } = who;
    let shown = Shown {
        profile: name,
        server,
        current: true,
        name: Some(whose),
        role: Some(role),
    };
    output::print(format, &shown, |shown| {
        format!(
            "Logged in to {} as '{}' ({role}); profile '{}' is in use.",
            printable(&shown.server),
            printable(shown.name.as_deref().unwrap_or_default()),
            shown.profile
        )
    });
    Ok(exit::OK)
}

fn name_of(args: &LoginArgs) -> Result<String, Problem> {
    if let Some(name) = &args.name {
        return Ok(name.to_string());
    }
    let host = args.at.url.as_ref().map_or("local", |url| url.host());
    let name = host.parse::<Name>();
    name.map(|name| name.to_string()).map_err(|_| {
        let text = format!("'{}' is no name for a profile.", printable(host));
        Problem::new(Code::InvalidArgument, text).with_cure("Give one with --name.")
    })
}

/// Where the profile leads, and by what the server is known there: as is said, or as it was known before.
fn where_to(at: &PlaceArgs, args: &LoginArgs, known: Option<&Profile>) -> Result<Profile, Problem> {
    let mut profile = Profile {
        socket: args.at.local.then(|| place::socket(at)),
        server: args.at.url.clone(),
        ca: None,
        fingerprint: None,
        token: None,
    };
    if let Some(file) = &args.ca {
        let ca = std::fs::read_to_string(file).map_err(|error| {
            let text = format!("{} cannot be read: {error}.", file.display());
            Problem::new(Code::InvalidArgument, text)
        })?;
        profile.ca = Some(ca);
    } else if let Some(fingerprint) = &args.fingerprint {
        let fingerprint = fingerprint.parse().map_err(|error| unusable(&error))?;
        profile.fingerprint = Some(fingerprint);
    } else if let Some(known) = known.filter(|known| known.server == profile.server) {
        (profile.ca, profile.fingerprint) = (known.ca.clone(), known.fingerprint);
    }
    // Before anybody is asked for a token.
    profile.client().map_err(|error| {
        let mut problems = error.into_problems();
        problems.swap_remove(0)
    })?;
    Ok(profile)
}

/// Forgets a profile, and its token with it.
pub fn logout(format: Format, at: &PlaceArgs, name: Option<&str>) -> Ended {
    let mut profiles = Profiles::load()?;
    let name = name.or(at.cluster.as_deref()).map(str::to_owned);
    let Some(name) = name.or_else(|| profiles.current.clone()) else {
        let text = "No profile is in use.";
        return Err(Problem::new(Code::ProfileNotFound, text).into());
    };
    let server = profiles.named(&name)?.place();
    let whose = token_name(profiles.named(&name)?);
    profiles.profiles.remove(&name);
    profiles.current.take_if(|current| *current == name);
    profiles.save()?;
    let shown = Shown {
        profile: name,
        server,
        current: false,
        name: whose,
        role: None,
    };
    output::print(format, &shown, |shown| {
        format!(
            "Profile '{}' is forgotten. Its token stays good until it is revoked.",
            printable(&shown.profile)
        )
    });
    Ok(exit::OK)
}

fn token_name(profile: &Profile) -> Option<String> {
    let token: AccessToken = profile.token.as_ref()?.parse().ok()?;
    Some(token.name.to_string())
}

/// Runs one `profile` command.
pub fn profile(format: Format, command: &ProfileCommand) -> Ended {
    let mut profiles = Profiles::load()?;
    match command {
        ProfileCommand::List => {
            let shown = profiles.profiles.iter().map(|(name, profile)| Shown {
                profile: name.clone(),
                server: profile.place(),
                current: profiles.current.as_ref() == Some(name),
                name: token_name(profile),
                role: None,
            });
            let list = Items::from(shown.collect::<Vec<_>>());
            output::print(format, &list, |list| output::people::profiles(&list.items));
        }
        ProfileCommand::Use { name } => {
            let server = profiles.named(name)?.place();
            let whose = token_name(profiles.named(name)?);
            profiles.current = Some(name.clone());
            profiles.save()?;
            let shown = Shown {
                profile: name.clone(),
                server,
                current: true,
                name: whose,
                role: None,
            };
            output::print(format, &shown, |shown| {
                format!(
                    "Profile '{}' is in use: {}.",
                    printable(&shown.profile),
                    printable(&shown.server)
                )
            });
        }
    }
    Ok(exit::OK)
}

/// Who the server takes the caller for.
pub async fn whoami(call: &Call) -> Ended {
    let who = call.client.whoami().await?;
    output::print(call.format, &who, |who| {
        let until = who.expires.map(|end| format!(", until {end:.0}"));
        format!(
            "{} ({}){}",
            printable(&who.name),
            who.role,
            until.unwrap_or_default()
        )
    });
    Ok(exit::OK)
}
