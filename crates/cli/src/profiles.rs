//! Profiles: what `accelnet login` remembers of clusters, in a file that nobody else can read.
//!
//! `$XDG_CONFIG_HOME/accelnet/config.json`, or the same below `~/.config`:
//! ```json
//! {"current": "prod", "profiles": {"prod": {"server": "https://…", "fingerprint": "…", "token": "…"}}}
//! ```

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use accelnet_api::{Client, ClientError, ServerUrl};
use accelnet_model::{Code, Problem};
use accelnet_pki::{Fingerprint, PkiError, tls};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::output::printable;

/// A hundred clusters with their certificates are less.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// One cluster. Without `Debug`: there is a token in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Profile {
    /// A socket of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// A server in the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUrl>,
    /// By what it is known, if it is not by this: the authority's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The authority's fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What TLS and tokens say, as a problem.
pub fn unusable(error: &PkiError) -> Problem {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let text = format!("{}{}.", first.unwrap_or_default(), letters.as_str());
    Problem::new(Code::InvalidArgument, text)
}

impl Profile {
    /// A client of it. Nothing is sent yet.
    pub fn client(&self) -> Result<Client, ClientError> {
        if let Some(socket) = &self.socket {
            let client = Client::on_socket(socket)?;
            return match &self.token {
                Some(token) => client.with_token(token),
                None => Ok(client),
            };
        }
        let Some(server) = &self.server else {
            let text = "A profile has neither a server nor a socket.";
            return Err(Problem::new(Code::InvalidArgument, text).into());
        };
        let tls = match (&self.ca, self.fingerprint) {
            (Some(ca), _) => tls::client(ca),
            (None, Some(fingerprint)) => tls::pinned(fingerprint),
            (None, None) => {
                let text = format!("Nothing is known by which {server} could be recognized.");
                return Err(Problem::new(Code::ServerNotTrusted, text)
                    .with_cure("Give the cluster's fingerprint or CA file to 'accelnet login', or set ACCELNET_FINGERPRINT or ACCELNET_CA.")
                    .into());
            }
        };
        let tls = tls.map_err(|error| unusable(&error))?;
        Client::over_tls(server, &tls, self.token.as_deref())
    }

    /// Where it leads.
    pub fn place(&self) -> String {
        let server = self.server.as_ref().map(ToString::to_string);
        let socket = self.socket.as_ref().map(|path| path.display().to_string());
        server.or(socket).unwrap_or_default()
    }
}

/// All profiles.
#[derive(Default, Serialize, Deserialize)]
pub struct Profiles {
    /// The one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
}

/// Where they are kept; nowhere if nobody says where a home is.
fn file() -> Option<PathBuf> {
    // What is no absolute path counts for nothing (XDG Base Directory Specification).
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(base?.join("accelnet/config.json"))
}

fn failed(path: &Path, what: &str, error: impl std::fmt::Display) -> Problem {
    let text = format!("{} {what}: {error}.", path.display());
    Problem::new(Code::InvalidArgument, text)
        .with_cure("Repair the file or its directory, or move it away and log in again.")
}

/// The file's content, if there is one and it is ours alone.
fn read(path: &Path) -> Result<Option<String>, Problem> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        // As with 'sudo -u' and 'setpriv', which leave HOME as it was.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let cure = "If HOME names another user's directory: 'sudo -H' sets it, or HOME=/path.";
            return Err(failed(path, "cannot be opened", error).with_cure(cure));
        }
        Err(error) => return Err(failed(path, "cannot be opened", error)),
    };
    // Of what was opened, not of what has this path a moment later.
    let found = file
        .metadata()
        .map_err(|error| failed(path, "cannot be looked at", error))?;
    if found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        let text = format!(
            "{} belongs to user id {} and has the rights {:03o}.",
            path.display(),
            found.uid(),
            found.mode() & 0o777
        );
        let cure = format!("'chmod 600 {}' if it is yours.", path.display());
        return Err(Problem::new(Code::ProfileNotPrivate, text).with_cure(cure));
    }
    let mut text = String::new();
    let read = (&mut file).take(FILE_LIMIT_BYTES).read_to_string(&mut text);
    read.map_err(|error| failed(path, "cannot be read", error))?;
    Ok(Some(text))
}

impl Profiles {
    /// Those of this user; none if there is no file.
    ///
    /// # Errors
    /// If it cannot be read, or others can.
    pub fn load() -> Result<Self, Problem> {
        let Some(path) = file() else {
            return Ok(Self::default());
        };
        let Some(text) = read(&path)? else {
            return Ok(Self::default());
        };
        // serde's words name what is wrong and where; a wrong type would be repeated.
        serde_json::from_str(&text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            failed(&path, "cannot be understood", place)
        })
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&self) -> Result<(), Problem> {
        let path = file().ok_or_else(|| {
            let text = "Nobody says where your home directory is.";
            Problem::new(Code::InvalidArgument, text).with_cure("Set HOME or XDG_CONFIG_HOME.")
        })?;
        let written = || -> io::Result<()> {
            let directory = path.parent().unwrap_or(Path::new("/"));
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
            let new = directory.join(format!(".config.{}.new", std::process::id()));
            let _ = fs::remove_file(&new);
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            let text = serde_json::to_string_pretty(self)?;
            let renamed = file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&new, &path));
            if renamed.is_err() {
                let _ = fs::remove_file(&new);
            }
            renamed
        };
        written().map_err(|error| failed(&path, "cannot be written", error))
    }

    /// The one with this name.
    ///
    /// # Errors
    /// `profile_not_found` if there is none.
    pub fn named(&self, name: &str) -> Result<&Profile, Problem> {
        self.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = match known.as_slice() {
                [] => "there is none yet".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            let text = format!("There is no profile '{}'; {known}.", printable(name));
            Problem::new(Code::ProfileNotFound, text).about("profile", name)
        })
    }
}
