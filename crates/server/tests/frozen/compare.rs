//! Does a client of one OpenAPI document get on with a server of another?
//!
//! What a client sends must still be taken: nothing more is required of it, and nothing that it may say is unknown.
//! What it is sent must still be what it knows: each field that it may rely on is there, with the same type. More
//! fields, and more values of an enumeration, are no break: clients pass over what they do not know
//! (docs/reference/api.md).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    ByClient,
    ByServer,
}

/// What is words for readers: it may change.
const WORDS: [&str; 5] = ["description", "summary", "example", "examples", "title"];

/// A document without words.
pub fn without_words(document: Value) -> Value {
    match document {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, value)| {
                // A field of an object may have such a name: its value is a schema.
                !WORDS.contains(&name.as_str()) || value.is_object()
            });
            kept.map(|(name, value)| (name, without_words(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.into_iter().map(without_words).collect(),
        other => other,
    }
}

/// What of `old` no longer holds in `new`.
pub fn broken(old: &Value, new: &Value) -> Vec<String> {
    let mut compare = Compare {
        old,
        new,
        seen: BTreeSet::new(),
        broken: Vec::new(),
    };
    for (path, methods) in fields(&old["paths"]) {
        for (method, operation) in fields(methods) {
            let place = format!("{} {path}", method.to_uppercase());
            match new["paths"][path].get(method) {
                Some(now) => compare.operation(&place, operation, now),
                None => compare.say(&place, "is gone"),
            }
        }
    }
    compare.broken
}

struct Compare<'a> {
    old: &'a Value,
    new: &'a Value,
    /// Pairs of named schemas that were compared, or are being compared: they may hold themselves.
    seen: BTreeSet<(Said, String, String)>,
    broken: Vec<String>,
}

impl Compare<'_> {
    fn say(&mut self, place: &str, what: &str) {
        self.broken.push(format!("{place}: {what}"));
    }

    fn operation(&mut self, place: &str, old: &Value, new: &Value) {
        if old["operationId"] != new["operationId"] {
            self.say(place, "its operationId is another one");
        }
        self.parameters(place, old, new);
        if old["requestBody"].is_null() && new["requestBody"]["required"] == true {
            self.say(place, "a body is required");
        }
        self.contents(
            &format!("{place} body"),
            Said::ByClient,
            &old["requestBody"],
            &new["requestBody"],
        );
        for (status, answer) in fields(&old["responses"]) {
            let place = format!("{place} {status}");
            match new["responses"].get(status) {
                Some(now) => self.contents(&place, Said::ByServer, answer, now),
                None => self.say(&place, "is no longer answered"),
            }
        }
    }

    fn parameters(&mut self, place: &str, old: &Value, new: &Value) {
        let same =
            |one: &Value, other: &Value| one["name"] == other["name"] && one["in"] == other["in"];
        let (before, now) = (items(&old["parameters"]), items(&new["parameters"]));
        for parameter in before {
            let place = format!(
                "{place} ?{}",
                parameter["name"].as_str().unwrap_or_default()
            );
            match now.iter().find(|other| same(parameter, other)) {
                None => self.say(&place, "is not taken any more"),
                Some(other) => {
                    if other["required"] == true && parameter["required"] != true {
                        self.say(&place, "is required now");
                    }
                    self.schema(
                        &place,
                        Said::ByClient,
                        &parameter["schema"],
                        &other["schema"],
                    );
                }
            }
        }
        for parameter in now {
            let added = !before.iter().any(|other| same(parameter, other));
            if added && parameter["required"] == true {
                let name = parameter["name"].as_str().unwrap_or_default();
                self.say(&format!("{place} ?{name}"), "is new and required");
            }
        }
    }

    fn contents(&mut self, place: &str, said: Said, old: &Value, new: &Value) {
        for (kind, content) in fields(&old["content"]) {
            match new["content"].get(kind) {
                Some(now) => self.schema(place, said, &content["schema"], &now["schema"]),
                None => self.say(place, &format!("{kind} is gone")),
            }
        }
    }

    fn schema(&mut self, place: &str, said: Said, old: &Value, new: &Value) {
        if let (Some(was), Some(is)) = (old["$ref"].as_str(), new["$ref"].as_str()) {
            let pair = (said, was.to_owned(), is.to_owned());
            if !self.seen.insert(pair) {
                return;
            }
        }
        let (old, new) = (named(self.old, old), named(self.new, new));
        if old["type"] != new["type"] || old["format"] != new["format"] {
            self.say(place, "has another type");
            return;
        }
        self.values(place, said, &old["enum"], &new["enum"]);
        self.required(place, said, old, new);
        for (name, field) in fields(&old["properties"]) {
            let place = format!("{place}.{name}");
            match new["properties"].get(name) {
                Some(now) => self.schema(&place, said, field, now),
                None => self.say(&place, "is gone"),
            }
        }
        for part in ["items", "additionalProperties", "propertyNames"] {
            match (old.get(part), new.get(part)) {
                (Some(was), Some(is)) => self.schema(&format!("{place}[]"), said, was, is),
                (None, None) => {}
                _ => self.say(place, &format!("its {part} came or went")),
            }
        }
        for part in ["oneOf", "anyOf", "allOf"] {
            self.variants(place, said, items(&old[part]), items(&new[part]));
        }
    }

    /// What a client may say it may say further on. What a server says may be more than a client knows.
    fn values(&mut self, place: &str, said: Said, old: &Value, new: &Value) {
        let gone = items(old)
            .iter()
            .filter(|value| !items(new).contains(value));
        let gone: Vec<String> = gone.map(ToString::to_string).collect();
        let open_now = said == Said::ByClient && new.is_null();
        if !gone.is_empty() && !open_now {
            self.say(place, &format!("{} is no value any more", gone.join(", ")));
        }
    }

    fn required(&mut self, place: &str, said: Said, old: &Value, new: &Value) {
        let (more, fewer, what) = match said {
            Said::ByClient => (new, old, "is required now"),
            Said::ByServer => (old, new, "may be missing now"),
        };
        for name in items(&more["required"]) {
            if !items(&fewer["required"]).contains(name) {
                let name = name.as_str().unwrap_or_default();
                self.say(&format!("{place}.{name}"), what);
            }
        }
    }

    /// Each variant that was there has one that does for it.
    fn variants(&mut self, place: &str, said: Said, old: &[Value], new: &[Value]) {
        for (number, variant) in old.iter().enumerate() {
            let does = new.iter().any(|other| {
                let mut compare = Compare {
                    old: self.old,
                    new: self.new,
                    seen: self.seen.clone(),
                    broken: Vec::new(),
                };
                compare.schema(place, said, variant, other);
                compare.broken.is_empty()
            });
            if !does {
                self.say(place, &format!("its variant {number} is gone"));
            }
        }
    }
}

/// The schema itself, where it is named.
fn named<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix('#'));
    name.and_then(|name| document.pointer(name))
        .unwrap_or(schema)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let vm = json!({
            "type": "object", "required": ["name"],
            "properties": {
                "name": { "type": "string", "description": "Its name" },
                "level": { "type": ["string", "null"], "enum": ["low", "high", null] },
                "nics": { "type": "array", "items": { "$ref": "#/components/schemas/Vm" } },
                "path": { "oneOf": [
                    { "type": "object", "required": ["by"], "properties": { "by": { "type": "string", "enum": ["vf"] } } },
                    { "type": "object", "required": ["by"], "properties": { "by": { "type": "string", "enum": ["tap"] } } }
                ] }
            }
        });
        let content =
            json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Vm" } } });
        json!({
            "paths": { "/vms": { "put": {
                "operationId": "put_vm",
                "parameters": [{ "name": "dry_run", "in": "query", "schema": { "type": "boolean" } }],
                "requestBody": { "content": content },
                "responses": { "200": { "content": content } }
            } } },
            "components": { "schemas": { "Vm": vm } }
        })
    }

    fn after(path: &str, value: Value) -> Vec<String> {
        let mut new = document();
        let (parent, name) = path.rsplit_once('/').unwrap();
        // As in JSON pointers, `~1` stands for a slash.
        new.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
        broken(&document(), &new)
    }

    #[test]
    fn the_same_and_more_breaks_nothing() {
        assert_eq!(broken(&document(), &document()), Vec::<String>::new());
        let vm = "/components/schemas/Vm/properties";
        let kept = [
            (format!("{vm}/since"), json!({ "type": "string" })),
            ("/paths/~1nodes".into(), json!({ "get": {} })),
            (
                format!("{vm}/level/enum"),
                json!(["low", "high", null, "top"]),
            ),
        ];
        for (path, value) in kept {
            assert_eq!(after(&path, value), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn each_break_is_named() {
        let vm = "/components/schemas/Vm";
        let put = "/paths/~1vms/put";
        let breaks = [
            (
                format!("{vm}/properties/name/type"),
                json!("integer"),
                "another type",
            ),
            (
                format!("{vm}/properties/level/enum"),
                json!(["low", null]),
                "\"high\" is no value",
            ),
            (format!("{vm}/required"), json!([]), ".name: may be missing"),
            (
                format!("{vm}/required"),
                json!(["name", "level"]),
                ".level: is required now",
            ),
            (format!("{vm}/properties"), json!({}), ".nics: is gone"),
            (
                format!("{vm}/properties/path/oneOf"),
                json!([]),
                "variant 1 is gone",
            ),
            (format!("{put}/operationId"), json!("set_vm"), "operationId"),
            (
                format!("{put}/parameters"),
                json!([]),
                "?dry_run: is not taken",
            ),
            (
                format!("{put}/parameters"),
                json!([
                    { "name": "dry_run", "in": "query", "schema": { "type": "boolean" } },
                    { "name": "why", "in": "query", "required": true, "schema": { "type": "string" } }
                ]),
                "?why: is new and required",
            ),
            (
                format!("{put}/responses"),
                json!({}),
                "200: is no longer answered",
            ),
            ("/paths/~1vms".into(), json!({}), "PUT /vms: is gone"),
        ];
        for (path, value, named) in breaks {
            let found = after(&path, value);
            assert!(
                found.iter().any(|said| said.contains(named)),
                "{path}: {found:?}"
            );
        }
    }

    #[test]
    fn words_may_change() {
        let mut new = document();
        new["components"]["schemas"]["Vm"]["properties"]["name"]["description"] =
            json!("What it is called");
        assert_eq!(without_words(new), without_words(document()));
    }
}
