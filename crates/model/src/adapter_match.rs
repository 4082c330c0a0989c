//! A rule that says which adapters carry an intent, where their names differ between nodes.
//!
//! A rule has at least one part; an adapter fulfils it if it fulfils every part. Written
//! `driver=igb,speed=10000,pci=8086:10c9`, any subset, each key once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    adapter::AdapterFacts,
    ids::{DriverName, InvalidValue},
};

const KIND: &str = "rule for adapters";

/// Which adapters carry an intent. Not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Parts", deny_unknown_fields)]
#[schema(min_properties = 1)]
pub struct AdapterMatch {
    /// Driver of the PF, e.g. `igb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,56}$")]
    driver: Option<String>,
    /// Speed in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4294967295_u32)]
    speed_mbps: Option<u32>,
    /// PCI vendor and device id, e.g. `8086:10c9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}$")]
    pci_id: Option<String>,
}

/// A rule as it is written, not yet checked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    driver: Option<String>,
    speed_mbps: Option<u32>,
    pci_id: Option<String>,
}

impl TryFrom<Parts> for AdapterMatch {
    type Error = InvalidValue;

    fn try_from(parts: Parts) -> Result<Self, InvalidValue> {
        let Parts {
            driver,
            speed_mbps,
            pci_id,
        } = parts;
        let wrong = |value: &str, reason| Err(InvalidValue::new(KIND, value, reason));
        if let Some(driver) = &driver
            && !is_driver(driver)
        {
            return wrong(driver, "a driver is letters, digits, '-' and '_'");
        }
        if speed_mbps == Some(0) {
            return wrong("0", "a speed is a number of Mbit/s from 1");
        }
        if let Some(pci_id) = &pci_id
            && !is_pci_id(pci_id)
        {
            let reason = "pci is vendor and device in hex digits, like 8086:10c9";
            return wrong(pci_id, reason);
        }
        if driver.is_none() && speed_mbps.is_none() && pci_id.is_none() {
            return wrong("", "name at least one of driver, speed and pci");
        }
        Ok(Self {
            driver,
            speed_mbps,
            // The facts have it in lower case.
            pci_id: pci_id.map(|id| id.to_ascii_lowercase()),
        })
    }
}

fn is_driver(text: &str) -> bool {
    text.parse::<DriverName>().is_ok()
}

fn is_pci_id(text: &str) -> bool {
    let hex = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':')
        .is_some_and(|(vendor, device)| hex(vendor) && hex(device))
}

impl AdapterMatch {
    /// True if the adapter fulfils every part. Without link an adapter's speed is not known: then
    /// `otherwise` says whether it shall count as fulfilled.
    pub fn fits(&self, facts: &AdapterFacts, otherwise: bool) -> bool {
        let driver = self.driver.as_ref();
        let speed = self.speed_mbps.is_none_or(|wanted| match facts.speed_mbps {
            Some(speed) if facts.carrier => speed == wanted,
            _ => otherwise,
        });
        driver.is_none_or(|driver| facts.driver.as_ref() == Some(driver))
            && speed
            && self.pci_id.as_ref().is_none_or(|id| *id == facts.pci_id)
    }
}

impl fmt::Display for AdapterMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.driver
                .as_ref()
                .map(|driver| format!("driver={driver}")),
            self.speed_mbps.map(|speed| format!("speed={speed}")),
            self.pci_id.as_ref().map(|id| format!("pci={id}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.pad(&parts.join(","))
    }
}

impl FromStr for AdapterMatch {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |reason| InvalidValue::new(KIND, text, reason);
        let mut parts = Parts::default();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .ok_or_else(|| wrong("write it like driver=igb,speed=10000,pci=8086:10c9"))?;
            let twice = match key {
                "driver" => parts.driver.replace(value.to_owned()).is_some(),
                "pci" => parts.pci_id.replace(value.to_owned()).is_some(),
                "speed" => {
                    let speed = value.parse().ok().filter(|speed| *speed > 0);
                    let reason = "speed is a number of Mbit/s from 1, like 10000";
                    let speed: u32 = speed.ok_or_else(|| wrong(reason))?;
                    parts.speed_mbps.replace(speed).is_some()
                }
                _ => return Err(wrong("the keys are driver, speed and pci")),
            };
            if twice {
                return Err(wrong("each key may be given once"));
            }
        }
        parts.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> AdapterMatch {
        text.parse().unwrap()
    }

    #[test]
    fn any_subset_survives_a_round_trip() {
        for text in [
            "driver=igb",
            "speed=10000",
            "pci=8086:10c9",
            "driver=mlx5_core,speed=25000",
            "driver=igb,speed=1000,pci=8086:10c9",
        ] {
            let rule = parsed(text);
            assert_eq!(rule.to_string(), text);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<AdapterMatch>(&json).unwrap(), rule);
        }
        assert_eq!(
            parsed("pci=8086:10C9 , driver = igb").to_string(),
            "driver=igb,pci=8086:10c9"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "like driver="),
            ("igb", "like driver="),
            ("driver=igb,", "like driver="),
            ("name=eth0", "keys are"),
            ("driver=igb,driver=ixgbe", "once"),
            ("speed=1000,speed=1000", "once"),
            ("driver=", "letters"),
            ("driver=a b", "letters"),
            ("driver=a\u{7}b", "letters"),
            ("speed=0", "Mbit/s"),
            ("speed=-1", "Mbit/s"),
            ("speed=10G", "Mbit/s"),
            ("speed=99999999999", "Mbit/s"),
            ("pci=8086", "like 8086"),
            ("pci=0000:01:00.0", "like 8086"),
            ("pci=+086:10c9", "like 8086"),
        ] {
            let error = text.parse::<AdapterMatch>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.chars().any(char::is_control), "{error}");
        }
        for json in [
            "{}",
            "{\"speed_mbps\":0}",
            "{\"name\":\"eth0\"}",
            "{\"pci_id\":\"x\"}",
        ] {
            assert!(
                serde_json::from_str::<AdapterMatch>(json).is_err(),
                "{json}"
            );
        }
    }
}
