//! Network intents: a named role, the adapters that carry it and the switch it uses.

use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    adapter::AdapterFacts,
    adapter_match::AdapterMatch,
    ids::{AdapterName, IfName, InvalidValue, Name, PciAddress, VfDriver},
    levels::Levels,
};

/// What an intent's network is for. Accelerated networking needs `Compute`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum IntentType {
    /// Traffic of virtual machines.
    Compute,
    /// Traffic of the node itself.
    Management,
    /// Traffic of storage.
    Storage,
}

impl std::fmt::Display for IntentType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Compute => "compute",
            Self::Management => "management",
            Self::Storage => "storage",
        })
    }
}

impl std::str::FromStr for IntentType {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        [Self::Compute, Self::Management, Self::Storage]
            .into_iter()
            .find(|kind| kind.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                InvalidValue::new("intent type", text, "use compute, management or storage")
            })
    }
}

/// How many VFs every adapter of an intent shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VfCount {
    /// The largest number at which High is possible, else Medium, else Low.
    #[default]
    Auto,
    /// What is there already.
    Keep,
    /// Exactly this many.
    Exactly(u16),
}

// Derived, it would have no limits.
impl utoipa::PartialSchema for VfCount {
    fn schema() -> RefOr<Schema> {
        use utoipa::openapi::{
            ObjectBuilder, OneOfBuilder,
            schema::{AdditionalProperties, Type},
        };

        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "`auto`: the largest number at which High is possible, else Medium, else Low. \
                 `keep`: what is there already.",
            ))
            .enum_values(Some(["auto", "keep"]));
        let count = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(u16::MAX));
        let exactly = ObjectBuilder::new()
            .description(Some("Exactly this many."))
            .property("exactly", count)
            .required("exactly")
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
        let all = OneOfBuilder::new().item(words).item(exactly);
        let all = all.description(Some("How many VFs every adapter of an intent shall have."));
        Schema::OneOf(all.build()).into()
    }
}

impl ToSchema for VfCount {}

impl std::fmt::Display for VfCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Keep => f.pad("keep"),
            Self::Exactly(count) => f.pad(&count.to_string()),
        }
    }
}

impl std::str::FromStr for VfCount {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "auto" => Ok(Self::Auto),
            "keep" => Ok(Self::Keep),
            _ => text
                .parse()
                .ok()
                .filter(|count| *count > 0)
                .map(Self::Exactly)
                .ok_or_else(|| {
                    InvalidValue::new("number of VFs", text, "use auto, keep or a number from 1")
                }),
        }
    }
}

/// When VFs may be created: creating them bounces the adapter's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenToCreateVfs {
    /// As soon as nothing on the node depends on the link: no running VM on the bridge, no host
    /// address on bridge or adapter.
    #[default]
    Empty,
    /// At the node's next start, before guests.
    Boot,
    /// At once; what will be interrupted is named first.
    Now,
}

impl std::str::FromStr for WhenToCreateVfs {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "empty" => Ok(Self::Empty),
            "boot" => Ok(Self::Boot),
            "now" => Ok(Self::Now),
            _ => Err(InvalidValue::new("moment", text, "use empty, boot or now")),
        }
    }
}

/// Alias of bridges that we made, before the intent's name.
pub const BRIDGE_MARK: &str = "accelnet:";

/// A named network role with its adapters and switch, the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Intent {
    /// Unique name.
    pub name: Name,
    /// At least one type.
    pub types: Vec<IntentType>,
    /// Names of the adapters (PFs), the interfaces' own or alternative ones; the same on every node. Empty
    /// if there is a rule.
    #[serde(default)]
    pub adapters: Vec<AdapterName>,
    /// A rule that says which adapters carry it, instead of their names.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<AdapterMatch>,
    /// The Linux bridge that the VMs' NICs are on. It exists and stays with whoever manages it,
    /// unless `create` is set.
    pub bridge: IfName,
    /// The bridge is made by accelnet, on an adapter that nobody manages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
    /// How many VFs each adapter shall have.
    #[serde(default)]
    pub vfs: VfCount,
    /// What the performance levels are here.
    #[serde(default)]
    pub levels: Levels,
    /// The driver that hands VFs to VMs.
    #[serde(default, skip_serializing_if = "VfDriver::is_auto")]
    pub vf_driver: VfDriver,
    /// VFs that are somebody else's: they are neither touched nor given out, and count for nothing. On
    /// every node alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_vfs: Vec<PciAddress>,
}

impl Intent {
    /// True if accelerated networking can be enabled on it.
    pub fn is_compute(&self) -> bool {
        self.types.contains(&IntentType::Compute)
    }

    /// True if the adapter is one of the intent's. An adapter without link, whose speed is not known,
    /// stays what it is as a port of the intent's bridge, and is nobody's elsewhere.
    pub fn covers(&self, facts: &AdapterFacts) -> bool {
        match &self.matching {
            Some(rule) => rule.fits(facts, facts.master.as_ref() == Some(&self.bridge)),
            None => self.adapters.iter().any(|name| facts.is_called(name)),
        }
    }

    /// What says which adapters it has, in words: their names, or the rule.
    pub fn adapters_in_words(&self) -> String {
        match &self.matching {
            Some(rule) => rule.to_string(),
            None => {
                let names: Vec<String> = self.adapters.iter().map(ToString::to_string).collect();
                names.join(", ")
            }
        }
    }

    /// What marks a bridge that was made for it (its alias).
    pub fn bridge_mark(&self) -> String {
        format!("{BRIDGE_MARK}{}", self.name)
    }
}
