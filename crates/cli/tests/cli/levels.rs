//! Queue pairs and limits of the levels, as they are typed and shown.

use serde_json::json;

use crate::rig::{ADD_INTENT, Rig};

fn call<'a>(words: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [words, more].concat()
}

#[test]
fn an_intent_is_given_numbers_and_shows_them() {
    let rig = Rig::bare();
    let more = [
        "--queue-pairs",
        "Low=1,Medium=1,High=2",
        "--max-tx-rate",
        "Low=100",
    ];
    let out = rig.call(&call(&ADD_INTENT, &more)).done();
    assert!(out.contains("compute"), "{out}");
    let shown = rig.call(&["intent", "show", "compute"]).done();
    assert!(
        shown.contains("queue pairs: Low=1,Medium=1,High=2  limits (Mbit/s): Low=100"),
        "{shown}"
    );
    let set = |words: &[&str]| rig.call(&call(&["intent", "set", "compute"], words)).done();
    let out = set(&["--queue-pairs", "high=8", "--dry-run"]);
    assert!(out.contains("Low=1,Medium=2,High=8"), "{out}");
    set(&["--max-tx-rate", "none", "--queue-pairs", "high=8"]);
    let levels = rig
        .call(&["intent", "show", "compute", "-o", "json"])
        .json()["levels"]
        .clone();
    assert_eq!(
        levels,
        json!({"queue_pairs": {"low": 1, "medium": 2, "high": 8}})
    );
    // The usual numbers need no words.
    set(&["--queue-pairs", "default"]);
    let shown = rig.call(&["intent", "show", "compute"]).done();
    assert!(!shown.contains("queue pairs"), "{shown}");
}

#[test]
fn numbers_that_cannot_be_are_wrong_usage() {
    let rig = Rig::bare();
    for (option, value, word) in [
        ("--queue-pairs", "Low=1,Medium=3,High=4", "divide"),
        ("--queue-pairs", "Low=0", "from 1"),
        ("--queue-pairs", "Low", "LEVEL=NUMBER"),
        ("--queue-pairs", "Fast=1", "Low, Medium or High"),
        ("--max-tx-rate", "Low=0", "Mbit/s"),
        ("--max-tx-rate", "Low=1,low=2", "once"),
        ("--max-tx-rate", "\u{1b}[2J=1", "Low, Medium or High"),
    ] {
        let ended = rig.call(&call(&ADD_INTENT, &[option, value])).with(2);
        ended.says(&[word]);
        assert!(!ended.err.contains('\u{1b}'), "{}", ended.err);
    }
    assert_eq!(
        rig.call(&["intent", "list", "-o", "json"]).json(),
        json!({"items": []})
    );
}
