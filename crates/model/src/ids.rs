//! Validated primitives: addresses and names that cannot hold nonsense.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

/// A text that is not a valid value of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not a valid {kind}: {reason}")]
pub struct InvalidValue {
    /// What was wanted, for instance "MAC address".
    pub kind: &'static str,
    /// What was given, with control characters escaped and shortened.
    pub value: String,
    /// Why it is refused.
    pub reason: &'static str,
}

impl InvalidValue {
    /// A refusal of `value`; control characters are escaped and long texts shortened.
    pub fn new(kind: &'static str, value: &str, reason: &'static str) -> Self {
        let value = value
            .chars()
            .take(80)
            .flat_map(char::escape_default)
            .collect();
        Self {
            kind,
            value,
            reason,
        }
    }
}

/// A type that is written as text: its JSON form, and its schema with a regular expression (ECMA 262)
/// that holds for every value of it.
macro_rules! text_value {
    ($type:ty, $pattern:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .examples([$example])
                    .build()
                    .into()
            }
        }
        impl utoipa::ToSchema for $type {}
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// `from_str_radix` alone would also take a sign.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// An Ethernet address. Shown in lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All zeros: "no address" in the kernel's VF interface.
    pub const ZERO: Self = Self([0; 6]);

    /// True for group (multicast or broadcast) addresses: IEEE 802, I/G bit.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// True for the all-zero address.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            InvalidValue::new(
                "MAC address",
                text,
                "six pairs of hex digits, like 52:54:00:77:00:11",
            )
        };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| is_hex(p, 2)).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        parts
            .next()
            .is_none()
            .then_some(Self(bytes))
            .ok_or_else(wrong)
    }
}
text_value!(
    MacAddr,
    "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$",
    "52:54:00:77:00:11"
);

/// A PCI function's address (`domain:bus:device.function`), as in `/sys/bus/pci/devices`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// PCI segment group.
    pub domain: u16,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0..=31.
    pub device: u8,
    /// Function number, 0..=7.
    pub function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

impl FromStr for PciAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            InvalidValue::new(
                "PCI address",
                text,
                "domain:bus:device.function, like 0000:01:10.0",
            )
        };
        let (rest, function) = text
            .rsplit_once('.')
            .filter(|(_, f)| is_hex(f, 1))
            .ok_or_else(wrong)?;
        let mut parts = rest.split(':');
        let mut hex = |digits: usize| {
            let part = parts
                .next()
                .filter(|p| is_hex(p, digits))
                .ok_or_else(wrong)?;
            u16::from_str_radix(part, 16).map_err(|_| wrong())
        };
        let (domain, bus, device) = (hex(4)?, hex(2)?, hex(2)?);
        let function = u8::from_str_radix(function, 8).map_err(|_| wrong())?;
        if parts.next().is_some() || device > 31 || function > 7 {
            return Err(wrong());
        }
        Ok(Self {
            domain,
            bus: bus as u8,
            device: device as u8,
            function,
        })
    }
}
text_value!(
    PciAddress,
    "^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[01][0-9A-Fa-f][.][0-7]$",
    "0000:01:10.0"
);

/// A network interface's name. At most 15 bytes (`IFNAMSIZ` includes the final zero), no `/`,
/// no white space, not `.` or `..`: the kernel's `dev_valid_name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IfName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match wrong_with_name(text) {
            Some(reason) => Err(InvalidValue::new("interface name", text, reason)),
            None if text.len() > 15 => {
                let reason = "it is longer than 15 bytes";
                Err(InvalidValue::new("interface name", text, reason))
            }
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// What no interface can be called by, of whatever length.
fn wrong_with_name(text: &str) -> Option<&'static str> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    match text {
        "" => Some("it is empty"),
        "." | ".." => Some("it is reserved"),
        _ if text.chars().any(odd) => {
            Some("it may not hold '/', ':', white space or control characters")
        }
        _ => None,
    }
}
// Bytes beyond ASCII, which the kernel takes too, are left out: a regular expression counts letters.
text_value!(IfName, "^(?![.]{1,2}$)[!-.0-9;-~]{1,15}$", "enp1s0f0");

/// What an adapter may be called by: its interface's name, or an alternative one (`ip link property add …
/// altname`). At most 127 bytes (`ALTIFNAMSIZ` of include/uapi/linux/if.h includes the final zero); else
/// as [`IfName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterName(String);

impl AdapterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<IfName> for AdapterName {
    fn from(name: IfName) -> Self {
        Self(name.0)
    }
}

impl From<&IfName> for AdapterName {
    fn from(name: &IfName) -> Self {
        name.clone().into()
    }
}

impl PartialEq<IfName> for AdapterName {
    fn eq(&self, other: &IfName) -> bool {
        self.0 == other.0
    }
}

impl fmt::Display for AdapterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AdapterName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match wrong_with_name(text) {
            Some(reason) => Err(InvalidValue::new("adapter name", text, reason)),
            None if text.len() > 127 => {
                let reason = "it is longer than 127 bytes";
                Err(InvalidValue::new("adapter name", text, reason))
            }
            None => Ok(Self(text.to_owned())),
        }
    }
}
text_value!(AdapterName, "^(?![.]{1,2}$)[!-.0-9;-~]{1,127}$", "enp1s0f0");

/// Name of a driver for PCI functions: 1 to 56 letters, digits, `-` and `_` (modules' names are no longer:
/// include/linux/moduleparam.h, `MODULE_NAME_LEN`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverName(String);

impl DriverName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DriverName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if text.is_empty() || text.len() > 56 || !text.chars().all(allowed) {
            let reason = "a driver is 1 to 56 letters, digits, '-' and '_', like mlx5_vfio_pci";
            return Err(InvalidValue::new("driver", text, reason));
        }
        Ok(Self(text.to_owned()))
    }
}
text_value!(DriverName, "^[A-Za-z0-9_-]{1,56}$", "mlx5_vfio_pci");

/// The driver that hands VFs to VMs: a named one, or `auto`, the one that the kernel's modules name for the
/// card (`vfio_pci:` in `modules.alias`).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VfDriver(Option<DriverName>);

impl VfDriver {
    /// The driver, if one is named.
    pub fn named(&self) -> Option<&DriverName> {
        self.0.as_ref()
    }

    /// None is named.
    pub fn is_auto(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for VfDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_ref().map_or("auto", DriverName::as_str))
    }
}

impl FromStr for VfDriver {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "auto" => Ok(Self(None)),
            _ => Ok(Self(Some(text.parse()?))),
        }
    }
}
text_value!(VfDriver, "^[A-Za-z0-9_-]{1,56}$", "auto");

/// The name of something of ours (an intent, a node): 1 to 63 letters, digits, `-`, `_` or `.`,
/// starting with a letter or digit. It can stand in a URL, a file name and a shell line as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |reason| Err(InvalidValue::new("name", text, reason));
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match text.chars().next() {
            None => wrong("it is empty"),
            Some(_) if text.len() > 63 => wrong("it is longer than 63 characters"),
            Some(first) if !first.is_ascii_alphanumeric() => {
                wrong("it must start with a letter or digit")
            }
            Some(_) if !text.chars().all(allowed) => {
                wrong("only letters, digits, '-', '_' and '.' are allowed")
            }
            Some(_) => Ok(Self(text.to_owned())),
        }
    }
}
text_value!(Name, "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", "compute");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in [
            "52:54:00:77:00:11",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
        }
        assert_eq!(
            "52-54-00-AA-00-11".parse::<MacAddr>().unwrap().to_string(),
            "52:54:00:aa:00:11"
        );
        assert_eq!(
            "0000:01:10.7".parse::<PciAddress>().unwrap().to_string(),
            "0000:01:10.7"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for text in [
            "",
            "52:54:00:77:00",
            "52:54:00:77:00:11:22",
            "5:54:00:77:00:11",
            "zz:54:00:77:00:11",
            "+1:54:00:77:00:11",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
        for text in [
            "",
            "01:10.0",
            "0000:01:20.0",
            "0000:01:10.8",
            "0000:01:10:0.0",
            "0000:1:10.0",
        ] {
            assert!(text.parse::<PciAddress>().is_err(), "{text}");
        }
        for text in ["", ".", "a/b", "a b", "sixteen-letters-", "a\nb"] {
            assert!(text.parse::<IfName>().is_err(), "{text}");
        }
        for text in ["", "..", "a/b", "a b", "a\nb", &"x".repeat(128)] {
            assert!(text.parse::<AdapterName>().is_err(), "{text}");
        }
        for text in ["", "a b", "vfio/pci", "ä", &"x".repeat(57)] {
            assert!(text.parse::<DriverName>().is_err(), "{text}");
        }
        for text in ["auto", "mlx5_vfio_pci"] {
            assert_eq!(text.parse::<VfDriver>().unwrap().to_string(), text);
        }
        assert!(VfDriver::default().is_auto());
        let long = "x".repeat(127).parse::<AdapterName>().unwrap();
        let short: IfName = "eth2".parse().unwrap();
        let same = AdapterName::from(&short);
        assert!(long != short && same == short);
        for text in ["", "-a", "a b", "é", &"x".repeat(64)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        let error = "a\u{7}b".parse::<Name>().unwrap_err().to_string();
        assert!(!error.chars().any(char::is_control), "{error}");
    }
}
