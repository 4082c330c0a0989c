//! Version 1 of the API is frozen: who wrote a client for it needs no other one. Things may be added; what is there
//! stays as it is. `v1.json` beside this holds what is promised, without the words; `make freeze` adds to it what the
//! API has now, at a release.

mod compare;

use std::{fs, path::Path};

use accelnet_server::openapi;
use compare::{broken, without_words};
use serde_json::Value;

#[test]
fn what_is_promised_is_kept() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v1.json");
    let now = without_words(serde_json::to_value(openapi()).unwrap());
    let promised: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let broken = broken(&promised, &now);
    assert!(
        broken.is_empty(),
        "clients of version 1 would break; add what is new beside what is there:\n{}",
        broken.join("\n")
    );
    if std::env::var_os("ACCELNET_FREEZE").is_some() {
        let mut text = serde_json::to_string_pretty(&now).unwrap();
        text.push('\n');
        fs::write(file, text).unwrap();
    }
}

/// A freeze that promises nothing would be kept for ever.
#[test]
fn something_is_promised() {
    let promised: Value = serde_json::from_str(include_str!("v1.json")).unwrap();
    assert!(promised["paths"].as_object().unwrap().len() > 20);
}
