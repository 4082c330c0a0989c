//! Tokens as people copy them: `accelnet-join-1.AUTHORITY.SECRET`, `accelnet-1.NAME.SECRET`.
//!
//! The first letters say what a token is for, the number which form it has, and a name whose it is: one
//! that is found somewhere can be revoked by it. What is refused is never repeated.

use std::{fmt, str::FromStr};

use accelnet_model::Name;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Fingerprint, PkiError, Secret, secret};

/// A kind of token, and how it begins.
struct Kind {
    called: &'static str,
    family: &'static str,
    begins: &'static str,
}

const JOIN: Kind = Kind {
    called: "a join token",
    family: "accelnet-join-",
    begins: "accelnet-join-1.",
};
const ACCESS: Kind = Kind {
    called: "an access token",
    family: "accelnet-",
    begins: "accelnet-1.",
};

impl Kind {
    /// The two parts after the first letters: what the token is about, and the secret.
    fn parts<'a>(&self, other: &Self, text: &'a str) -> Result<(&'a str, Secret), PkiError> {
        let (wanted, begins) = (self.called, self.begins);
        let text = text.trim();
        let Some(rest) = text.strip_prefix(begins) else {
            return Err(match (other.is(text), self.is(text)) {
                (true, _) => PkiError::OtherToken {
                    given: other.called,
                    wanted,
                    begins,
                },
                (false, true) => PkiError::NewerToken { wanted },
                (false, false) => PkiError::NotAToken { wanted, begins },
            });
        };
        if rest.contains(char::is_whitespace) {
            return Err(self.damaged("there is white space in it"));
        }
        let parts = rest.rsplit_once('.');
        let (about, secret) = parts.ok_or_else(|| self.damaged("a part of it is missing"))?;
        let secret = Secret::read(secret).map_err(|damage| self.damaged(damage))?;
        Ok((about, secret))
    }

    /// Of this kind, in whatever form: its family's name, a number and a dot.
    fn is(&self, text: &str) -> bool {
        let form = text.strip_prefix(self.family);
        let form = form.and_then(|rest| rest.split_once('.'));
        form.is_some_and(|(form, _)| {
            !form.is_empty() && form.bytes().all(|byte| byte.is_ascii_digit())
        })
    }

    fn damaged(&self, damage: &'static str) -> PkiError {
        let wanted = self.called;
        PkiError::DamagedToken { wanted, damage }
    }
}

/// With which a node joins: once, and only the cluster whose authority has this fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// By which the server is known before the secret is sent.
    pub ca: Fingerprint,
    /// What the server knows the hash of.
    pub secret: Secret,
}

impl JoinToken {
    /// The whole token, for the one place where it is handed out.
    pub fn reveal(&self) -> String {
        let ca = URL_SAFE_NO_PAD.encode(self.ca.0);
        format!("{}{ca}.{}", JOIN.begins, self.secret.reveal())
    }
}

impl FromStr for JoinToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let (ca, secret) = JOIN.parts(&ACCESS, text)?;
        let ca = secret::bytes(ca).map_err(|damage| JOIN.damaged(damage))?;
        Ok(Self {
            ca: Fingerprint(ca),
            secret,
        })
    }
}

/// With which people and programs speak to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// Whose it is.
    pub name: Name,
    /// What the server knows the hash of.
    pub secret: Secret,
}

impl AccessToken {
    /// A new one.
    pub fn generate(name: Name) -> Result<Self, PkiError> {
        let secret = Secret::generate()?;
        Ok(Self { name, secret })
    }

    /// The whole token, for the one place where it is handed out.
    pub fn reveal(&self) -> String {
        format!("{}{}.{}", ACCESS.begins, self.name, self.secret.reveal())
    }
}

impl FromStr for AccessToken {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let (name, secret) = ACCESS.parts(&JOIN, text)?;
        let name = name.parse();
        Ok(Self {
            name: name.map_err(|_| ACCESS.damaged("the name in it is none"))?,
            secret,
        })
    }
}

/// Shows whose it is, not the secret.
impl fmt::Display for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.(hidden)", ACCESS.begins, self.name)
    }
}

/// Shows which cluster's it is, not the secret.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca = URL_SAFE_NO_PAD.encode(self.ca.0);
        write!(f, "{}{ca}.(hidden)", JOIN.begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn join() -> JoinToken {
        JoinToken {
            ca: Fingerprint::of_der(b"an authority"),
            secret: Secret::generate().unwrap(),
        }
    }

    fn access() -> AccessToken {
        AccessToken::generate("ci.build-1".parse().unwrap()).unwrap()
    }

    /// Both refuse it, the one that should read it with these words, and neither repeats the secret.
    fn refused(text: &str, secret: &Secret, of_join: &str, of_access: &str) {
        let join = text.parse::<JoinToken>().unwrap_err();
        let access = text.parse::<AccessToken>().unwrap_err();
        for (error, words) in [(&join, of_join), (&access, of_access)] {
            let said = format!("{error} {error:?}");
            assert!(said.contains(words), "'{words}' is not in: {said}");
            let secret = secret.reveal();
            for part in secret.as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(!said.contains(part), "a part of the secret is in: {said}");
            }
        }
    }

    #[test]
    fn tokens_are_read_as_they_were_handed_out_with_white_space_around() {
        let (join, access) = (join(), access());
        assert_eq!(join.reveal().parse::<JoinToken>().unwrap(), join);
        let pasted = format!("  {}\n", access.reveal());
        assert_eq!(pasted.parse::<AccessToken>().unwrap(), access);
        assert!(join.reveal().starts_with("accelnet-join-1."));
        assert!(access.reveal().starts_with("accelnet-1.ci.build-1."));
        let shown = format!("{join} {join:?} {access} {access:?}");
        assert!(!shown.contains(&join.secret.reveal()));
        assert!(!shown.contains(&access.secret.reveal()));
    }

    #[test]
    fn what_is_no_token_is_said_without_repeating_it() {
        let (join, access) = (join(), access());
        let (j, a) = (&join.secret, &access.secret);
        let (begins_j, begins_a) = (
            "begins with 'accelnet-join-1.'",
            "begins with 'accelnet-1.'",
        );
        refused("", j, begins_j, begins_a);
        refused("letmein", j, begins_j, begins_a);
        refused(&j.reveal(), j, begins_j, begins_a);
        refused("accelnet-join-1", j, begins_j, begins_a);
        let text = join.reveal();
        refused(
            &text[..text.len() - 1],
            j,
            "part of it is missing",
            "this is a join token",
        );
        refused(
            &text[..60],
            j,
            "part of it is missing",
            "this is a join token",
        );
        refused(
            &text[..16],
            j,
            "part of it is missing",
            "this is a join token",
        );
        refused(
            &format!("{text}A"),
            j,
            "more than a token",
            "this is a join token",
        );
        let broken = text.replacen('.', ".\n", 2);
        refused(&broken, j, "white space", "this is a join token");
        let last = format!("{}*", &text[..text.len() - 1]);
        refused(&last, j, "characters in it", "this is a join token");
        let newer = text.replace("join-1.", "join-2.");
        refused(&newer, j, "does not know", "this is a join token");
        let text = access.reveal();
        refused(
            &text[..text.len() - 1],
            a,
            "this is an access token",
            "part of it is missing",
        );
        let newer = text.replace("net-1.", "net-12.");
        refused(&newer, a, "this is an access token", "does not know");
        let nameless = format!("accelnet-1..{}", a.reveal());
        refused(
            &nameless,
            a,
            "this is an access token",
            "the name in it is none",
        );
        let nameless = format!("accelnet-1.{}", a.reveal());
        refused(
            &nameless,
            a,
            "this is an access token",
            "part of it is missing",
        );
    }

    proptest! {
        #[test]
        fn a_round_trip_changes_nothing(
            name in "[A-Za-z0-9][A-Za-z0-9._-]{0,62}", secret: [u8; 32], ca: [u8; 32],
        ) {
            let secret = Secret::read(&URL_SAFE_NO_PAD.encode(secret)).unwrap();
            let access = AccessToken { name: name.parse().unwrap(), secret: secret.clone() };
            prop_assert_eq!(access.reveal().parse::<AccessToken>().unwrap(), access);
            let join = JoinToken { ca: Fingerprint(ca), secret };
            prop_assert_eq!(join.reveal().parse::<JoinToken>().unwrap(), join);
        }

        #[test]
        fn garbage_is_refused_or_means_what_it_says(text in "(accelnet-(join-)?[0-9]{1,2}[.])?.{0,120}") {
            if let Ok(token) = text.parse::<AccessToken>() {
                prop_assert_eq!(token.reveal(), text.trim());
            }
            if let Ok(token) = text.parse::<JoinToken>() {
                prop_assert_eq!(token.reveal(), text.trim());
            }
        }

        #[test]
        fn cut_off_anywhere_it_is_refused(at: prop::sample::Index) {
            for text in [join().reveal(), access().reveal()] {
                let cut = &text[..at.index(text.len())];
                prop_assert!(cut.parse::<JoinToken>().is_err());
                prop_assert!(cut.parse::<AccessToken>().is_err());
            }
        }
    }
}
