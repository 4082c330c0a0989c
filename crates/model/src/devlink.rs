//! What devlink says of a card (`devlink dev info`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Serial number and firmware of a card whose driver has devlink. Components have the names that
/// Documentation/networking/devlink/devlink-info.rst gives them (`fw`, `fw.mgmt`, `fw.psid`, …).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DevlinkFacts {
    /// The card's serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Versions that run, by component.
    #[serde(default)]
    pub running: BTreeMap<String, String>,
    /// Versions in the card's memory, by component; they run after the next reset or cold start.
    #[serde(default)]
    pub stored: BTreeMap<String, String>,
}

impl DevlinkFacts {
    /// Components of which another version is stored than runs: name, running, stored.
    pub fn staged(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.running.iter().filter_map(|(name, running)| {
            let stored = self.stored.get(name).filter(|stored| *stored != running)?;
            Some((name.as_str(), running.as_str(), stored.as_str()))
        })
    }
}
