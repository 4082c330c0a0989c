//! Words that people, programs and agents say.

use std::{fmt::Display, str::FromStr};

use accelnet_api::{
    AccelerateRequest, EnableRequest, MoveRequest, NewIntent, ParkRequest, Role, ServerUrl,
    SetRequest,
    agents::{JoinRequest, RenewRequest, Up},
    incoming::IncomingVm,
    json,
};
use accelnet_model::{
    AdapterMatch, AdapterName, Code, DriverName, IfName, Intent, LevelQueuePairs, LevelTxRates,
    MacAddr, Name, PciAddress, Performance, VfCount, VfDriver,
};
use accelnet_pki::{AccessToken, Fingerprint, JoinToken, PkiError, SecretHash};
use serde::{Serialize, de::DeserializeOwned};

/// Each word is refused, or says the same again when it is shown and read.
pub fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    again::<Name>(text);
    again::<IfName>(text);
    again::<AdapterName>(text);
    again::<DriverName>(text);
    again::<VfDriver>(text);
    again::<MacAddr>(text);
    again::<PciAddress>(text);
    again::<AdapterMatch>(text);
    again::<LevelQueuePairs>(text);
    again::<LevelTxRates>(text);
    again::<Performance>(text);
    again::<VfCount>(text);
    again::<Code>(text);
    again::<ServerUrl>(text);
    again::<Role>(text);
    again::<Fingerprint>(text);
    again::<SecretHash>(text);
    token(text, text.parse().map(|token: JoinToken| token.reveal()));
    token(text, text.parse().map(|token: AccessToken| token.reveal()));
    body::<EnableRequest>(bytes);
    body::<SetRequest>(bytes);
    body::<AccelerateRequest>(bytes);
    body::<ParkRequest>(bytes);
    body::<MoveRequest>(bytes);
    body::<NewIntent>(bytes);
    body::<JoinRequest>(bytes);
    body::<RenewRequest>(bytes);
    body::<IncomingVm>(bytes);
    body::<Intent>(bytes);
}

fn again<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(read) = text.parse::<T>() else {
        return;
    };
    let shown = read.to_string();
    match shown.parse::<T>() {
        Ok(same) => assert_eq!(read, same, "{shown:?}"),
        Err(_) => panic!("{shown:?} is shown for {text:?}, and is not read"),
    }
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// A token means what it says, and one that is refused is not repeated.
fn token(text: &str, read: Result<String, PkiError>) {
    match read {
        Ok(revealed) => assert_eq!(revealed, text.trim()),
        Err(error) => {
            let said = format!("{error} {error:?}");
            let secret = text.rsplit_once('.').map_or(text, |(_, secret)| secret);
            // Shorter ones may be among any words by chance.
            assert!(secret.len() < 24 || !said.contains(secret), "{said}");
        }
    }
}

/// A body is refused, or is the same when it is written and read again.
fn body<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(read) = json::read::<T>(bytes) else {
        return;
    };
    let written = serde_json::to_string(&read).expect("it can be written");
    let again = json::read::<T>(written.as_bytes()).unwrap_or_else(|refusal| {
        panic!("{written} is refused: {refusal}");
    });
    let twice = serde_json::to_string(&again).expect("it can be written");
    assert_eq!(written, twice);
}

/// What an agent says of its node.
pub fn reports(bytes: &[u8]) {
    let Ok(up) = serde_json::from_slice::<Up>(bytes) else {
        return;
    };
    let written = serde_json::to_string(&up).expect("it can be written");
    let again: Up = serde_json::from_str(&written).unwrap_or_else(|error| {
        panic!("{written} is not read: {error}");
    });
    let twice = serde_json::to_string(&again).expect("it can be written");
    assert_eq!(written, twice);
}
