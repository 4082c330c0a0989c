//! Secrets are taken out of what is given away: by the form that they have, and by the names of values.
//!
//! Rather too much than too little: what is left out is marked, and nobody needs it to find a fault.

use serde_json::Value;

/// What stands in a secret's place.
const REMOVED: &str = "[removed]";
/// How tokens begin, of whatever form (accelnet-1.NAME.SECRET, accelnet-join-1.AUTHORITY.SECRET).
const TOKENS: [&str; 2] = ["accelnet-join-", "accelnet-"];
/// Words after which the rest of a line is a secret.
const HEADERS: [&str; 3] = ["authorization:", "proxy-authorization:", "cookie:"];
/// Before a secret in a line, an attribute or a variable: `passwd='…'`, `password=…`, `ACCELNET_TOKEN=…`.
const NAMES: [&str; 6] = [
    "passwd",
    "password",
    "passphrase",
    "secret",
    "token",
    "private_key",
];
/// A password of an element of its own, or a key as libvirt writes it.
const ELEMENTS: [&str; 2] = ["<value>", "<secretkey>"];
const KEY_BEGINS: &str = "-----BEGIN ";
const KEY_ENDS: &str = "-----END ";

/// A document without the values of keys that are secret by their name.
pub fn without_values(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let lower = name.to_lowercase();
                let holds = NAMES.iter().any(|secret| lower.contains(secret));
                let value = match value {
                    // How many there are, or a list of them without their secrets, is none.
                    Value::String(_) if holds => Value::String(REMOVED.into()),
                    value => without_values(value),
                };
                (name, value)
            })
            .collect(),
        Value::Array(all) => all.into_iter().map(without_values).collect(),
        value => value,
    }
}

/// A text without secrets.
pub fn without(text: &str) -> String {
    let text = without_keys(text);
    let lines = text.lines().map(|line| {
        let line = without_headers(line);
        let line = without_tokens(&line);
        let line = without_named(&line);
        without_passwords(&line)
    });
    let mut clean: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
    if !text.ends_with('\n') {
        clean.pop();
    }
    clean
}

/// Private keys in PEM, whether their lines are lines or written out (`\n`). One that does not end goes to the end.
fn without_keys(text: &str) -> String {
    let (mut clean, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(KEY_BEGINS) {
        let (before, key) = rest.split_at(at);
        clean.push_str(before);
        let label = key[KEY_BEGINS.len()..]
            .split("-----")
            .next()
            .unwrap_or_default();
        let end = key.find(KEY_ENDS).map(|end| {
            let tail = &key[end + KEY_ENDS.len()..];
            let closed = tail
                .find("-----")
                .map_or(tail.len(), |at| at + "-----".len());
            end + KEY_ENDS.len() + closed
        });
        let (block, after) = key.split_at(end.unwrap_or(key.len()));
        match label.contains("PRIVATE") {
            true => clean.push_str(REMOVED),
            false => clean.push_str(block),
        }
        rest = after;
    }
    clean + rest
}

fn without_headers(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut found = HEADERS
        .iter()
        .filter_map(|name| Some((lower.find(name)?, name.len())));
    let bearer = lower.find("bearer ").map(|at| (at, "bearer ".len()));
    match found.next().or(bearer) {
        Some((at, length)) => format!("{}{REMOVED}", &line[..at + length]),
        None => line.to_owned(),
    }
}

fn is_of_a_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.".contains(letter)
}

/// Whatever has the form of one: a family, a number, a dot, and more.
fn without_tokens(line: &str) -> String {
    let (mut clean, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(TOKENS[1]) {
        let (before, from) = rest.split_at(at);
        clean.push_str(before);
        let length = from
            .find(|letter| !is_of_a_token(letter))
            .unwrap_or(from.len());
        let (word, after) = from.split_at(length);
        let is_token = TOKENS.iter().any(|family| {
            let form = word
                .strip_prefix(family)
                .and_then(|form| form.split_once('.'));
            form.is_some_and(|(form, _)| {
                !form.is_empty() && form.bytes().all(|byte| byte.is_ascii_digit())
            })
        });
        clean.push_str(if is_token { REMOVED } else { word });
        rest = after;
    }
    clean + rest
}

/// `name='value'`, `name=value`, `"name": "value"`, and elements of XML.
fn without_named(line: &str) -> String {
    let mut line = line.to_owned();
    for name in NAMES {
        let mut from = 0;
        while let Some(at) = find(&line, name, from) {
            from = at + name.len();
            let rest = &line[from..];
            // The rest of a longer name (password_file), closing quotes, and what is between name and value.
            let name_ends = rest
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
                .unwrap_or(rest.len());
            let between = rest[name_ends..]
                .find(|letter: char| !" \t\"'\\:=>".contains(letter))
                .map_or(rest.len(), |length| name_ends + length);
            if !rest[name_ends..between].contains(['=', ':', '>']) {
                continue;
            }
            let quoted = rest[..between].ends_with(['"', '\'']);
            let ends = |letter: char| match quoted {
                true => "\"'\\<".contains(letter),
                false => letter.is_whitespace() || "\"',;&<>)]}/".contains(letter),
            };
            let value = &rest[between..];
            let length = value.find(ends).unwrap_or(value.len());
            if length > 0 && !value.starts_with(REMOVED) {
                line.replace_range(from + between..from + between + length, REMOVED);
            }
        }
    }
    for element in ELEMENTS {
        if let Some(at) = find(&line, element, 0) {
            let begin = at + element.len();
            let length = line[begin..].find('<').unwrap_or(line.len() - begin);
            line.replace_range(begin..begin + length, REMOVED);
        }
    }
    line
}

fn find(line: &str, name: &str, from: usize) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    lower[from..].find(name).map(|at| at + from)
}

/// `scheme://user:password@place`.
fn without_passwords(line: &str) -> String {
    let (mut clean, mut rest) = (String::new(), line);
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at + "://".len());
        clean.push_str(before);
        let length = from
            .find(|letter: char| letter.is_whitespace() || "/\"'<>,".contains(letter))
            .unwrap_or(from.len());
        let (authority, after) = from.split_at(length);
        match authority
            .rsplit_once('@')
            .map(|(who, place)| (who.split_once(':'), place))
        {
            Some((Some((user, _)), place)) => {
                clean.push_str(&format!("{user}:{REMOVED}@{place}"));
            }
            _ => clean.push_str(authority),
        }
        rest = after;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3tS3CR3Ts3cr3t";

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, clean) in [
            ("x accelnet-1.admin.SECRET y", "x [removed] y"),
            (
                "accelnetd join https://a:1 accelnet-join-1.4f1c.SECRET",
                "accelnetd join https://a:1 [removed]",
            ),
            (
                "units accelnet-agent.service, accelnet-1.2",
                "units accelnet-agent.service, [removed]",
            ),
            ("Authorization: Bearer SECRET", "Authorization:[removed]"),
            (
                "< authorization: SECRET\nnext",
                "< authorization:[removed]\nnext",
            ),
            ("sent bearer SECRET", "sent bearer [removed]"),
            (
                "<graphics type='vnc' passwd='SECRET' port='5900'/>",
                "<graphics type='vnc' passwd='[removed]' port='5900'/>",
            ),
            (
                "{\"password\": \"SECRET\", \"a\": 1}",
                "{\"password\": \"[removed]\", \"a\": 1}",
            ),
            (
                "{\\\"password\\\": \\\"SECRET\\\"}",
                "{\\\"password\\\": \\\"[removed]\\\"}",
            ),
            (
                "ACCELNET_TOKEN=SECRET accelnet status",
                "ACCELNET_TOKEN=[removed] accelnet status",
            ),
            (
                "<password>SECRET</password>",
                "<password>[removed]</password>",
            ),
            (
                "<secret type='ceph' uuid='1'/>",
                "<secret type='ceph' uuid='1'/>",
            ),
            (
                "qemu+tcp://me:SECRET@host/system",
                "qemu+tcp://me:[removed]@host/system",
            ),
            (
                "qemu+ssh://root@node1/system",
                "qemu+ssh://root@node1/system",
            ),
            ("<a>https://u:SECRET@h</a>", "<a>https://u:[removed]@h</a>"),
            (
                "a\n-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\nb",
                "a\n[removed]\nb",
            ),
            (
                "{\"key\":\"-----BEGIN EC PRIVATE KEY-----\\nSECRET\\n-----END EC PRIVATE KEY-----\\n\"}",
                "{\"key\":\"[removed]\\n\"}",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nSECRET and no end",
                "[removed]",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
                "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
            ),
            (
                "no token is needed, and a token was read\n",
                "no token is needed, and a token was read\n",
            ),
        ] {
            let found = without(&text.replace("SECRET", SECRET));
            assert_eq!(found, clean, "{text}");
        }
    }

    #[test]
    fn values_are_secret_by_their_names() {
        let document = serde_json::json!({
            "items": [{"token": SECRET, "api_secret": SECRET, "name": "a", "tokens": 3}],
            "Password": SECRET,
        });
        let clean = without_values(document);
        assert!(!clean.to_string().contains(SECRET), "{clean}");
        assert_eq!(clean["items"][0]["name"], "a");
        assert_eq!(clean["items"][0]["tokens"], 3);
    }
}
