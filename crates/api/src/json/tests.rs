//! What is taken, and the words of what is not.

use crate::{AccelerateRequest, ChangeIntent, EnableRequest, NewIntent, ParkRequest};

use super::*;

fn refused<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
    read::<T>(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_said_in_a_users_words_with_its_field() {
    for (text, words) in [
        (
            r#"{"intent":"a","node_reserve_percentage":3.5}"#,
            "node_reserve_percentage: a whole number is wanted, 3.5 was given",
        ),
        (
            r#"{"intent":"a","node_reserve_percentage":"abc"}"#,
            "node_reserve_percentage: a whole number is wanted, the text 'abc' was given",
        ),
        (
            r#"{"intent":"a","when":"soon"}"#,
            "when: 'soon' is not one of 'empty', 'boot', 'now'",
        ),
        (r#"{"intent":7}"#, "intent: a text is wanted, 7 was given"),
        ("{}", "intent: it is missing"),
        ("[]", "an object is wanted, a list was given"),
        ("null", "an object is wanted, null was given"),
    ] {
        assert_eq!(refused::<EnableRequest>(text), words, "{text}");
    }
    let unknown = refused::<EnableRequest>(r#"{"intent":"a","wen":"now"}"#);
    assert!(
        unknown.starts_with("wen: there is no such field"),
        "{unknown}"
    );
    let below = refused::<ChangeIntent>(r#"{"queue_pairs":{"low":-1,"medium":1,"high":1}}"#);
    assert_eq!(below, "queue_pairs.low: -1 is too large, or too small");
    let within = refused::<ChangeIntent>(r#"{"queue_pairs":{"lwo":1}}"#);
    assert!(
        within.starts_with("queue_pairs.lwo: there is no"),
        "{within}"
    );
    for text in ["", "[", "{\"intent\":\"a\"} x", "\u{fffd}"] {
        assert!(
            refused::<EnableRequest>(text).starts_with("it is no JSON"),
            "{text}"
        );
    }
}

#[test]
fn a_list_is_no_object_at_any_depth() {
    for text in [r#"["low"]"#, r#"["low",null,false]"#] {
        assert!(
            refused::<AccelerateRequest>(text).contains("an object is wanted"),
            "{text}"
        );
    }
    for text in [
        r#"{"queue_pairs":[1,2,4]}"#,
        r#"{"max_tx_rate_mbps":[1,2,4]}"#,
        r#"{"match":["igb",null,null]}"#,
        r#"{"vfs":["exactly",4]}"#,
    ] {
        assert!(
            refused::<ChangeIntent>(text).contains("a list was given"),
            "{text}"
        );
    }
    let whole = r#"["compute",["compute"],["pf0"],null,"br0",false,"auto",{}]"#;
    assert!(refused::<NewIntent>(whole).contains("an object is wanted"));
}

#[test]
fn a_field_that_is_there_twice_is_not_guessed_at() {
    let twice = refused::<AccelerateRequest>(r#"{"performance":"low","performance":"high"}"#);
    assert!(twice.contains("'performance' is there twice"), "{twice}");
}

#[test]
fn what_is_right_is_taken() {
    let park: ParkRequest = read(br#"{"for_seconds": 60.0}"#).unwrap();
    assert_eq!(park.for_seconds, Some(60), "JSON Schema's whole numbers");
    let text = r#"{"name":"compute","types":["compute"],"adapters":["pf0"],"bridge":"br0",
        "vfs":{"exactly":4},"match":null,"levels":{"queue_pairs":{"low":1,"medium":2,"high":8}}}"#;
    let by_serde: NewIntent = serde_json::from_str(text).unwrap();
    assert_eq!(read::<NewIntent>(text.as_bytes()).unwrap(), by_serde);
}
