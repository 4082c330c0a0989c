//! YAML that every reader takes for the same: 1.1 (what most programs have) and 1.2.
//!
//! In YAML 1.1 `0000:01:10.2` is a number to the base of sixty, `on` is true, and there is more of that.
//! A text stands without quotes only if it is one word of letters that means nothing else; all others are
//! in double quotes, in which YAML knows JSON's escapes.

use serde_json::Value;

/// A document.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => block(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0),
        scalar => {
            out.push_str(&inline(scalar));
            out.push('\n');
        }
    }
    out
}

/// A collection that is not empty, each line so far to the right.
fn block(out: &mut String, value: &Value, indent: usize) {
    let blanks = " ".repeat(indent);
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                out.push_str(&format!("{blanks}{}:", text(name)));
                below(out, value, indent + 2);
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    // The first member stands beside the dash.
                    Value::Object(members) if !members.is_empty() => {
                        let mut inner = String::new();
                        block(&mut inner, item, indent + 2);
                        out.push_str(&format!("{blanks}- {}", &inner[indent + 2..]));
                    }
                    _ => {
                        out.push_str(&format!("{blanks}-"));
                        below(out, item, indent + 2);
                    }
                }
            }
        }
        _ => {}
    }
}

/// What follows a name or a dash.
fn below(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        scalar => out.push_str(&format!(" {}\n", inline(scalar))),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(words) => text(words),
        // Numbers, true, false, null, [] and {} are the same in both.
        other => other.to_string(),
    }
}

/// Words that YAML 1.1 takes for something else (yaml.org/type: bool, null, merge, value), in lower case.
const MEANT: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

fn text(words: &str) -> String {
    let letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    let plain = words.starts_with(|first: char| first.is_ascii_alphabetic())
        && words.chars().all(letter)
        && !MEANT.contains(&words.to_ascii_lowercase().as_str());
    if plain {
        return words.to_owned();
    }
    Value::from(words).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        let value = json!({"vf": "0000:01:10.2", "mac": "52:54:00:12:34:56", "state": "on",
            "level": "low", "n": "no", "empty": [], "none": null, "count": 7,
            "nics": [{"mac": "1:2", "path": "vf"}, "x", ["a"]], "name": "web1", "e": "1e3"});
        assert_eq!(
            document(&value),
            "vf: \"0000:01:10.2\"\nmac: \"52:54:00:12:34:56\"\nstate: \"on\"\nlevel: low\n\
             \"n\": \"no\"\nempty: []\nnone: null\ncount: 7\nnics:\n  - mac: \"1:2\"\n    path: vf\n\
             \x20 - x\n  -\n    - a\nname: \"web1\"\ne: \"1e3\"\n"
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let words = prop::sample::select(vec![
            "on",
            "No",
            "~",
            "0x1f",
            "1_000",
            "12:30",
            "2026-11-28",
            "a: b",
            "- a",
            "#x",
            "'",
            "low",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            words.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_reader_finds_what_was_written(value in any_value()) {
            let text = super::super::document(&document(&value));
            let read: Value = yaml_serde::from_str(&text).unwrap();
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
