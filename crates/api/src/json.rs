//! JSON as it is taken from users: strictly, and refused in their words.
//!
//! An object is an object: serde would take `["low"]` for one whose first field is `low`, and the second
//! of two fields of one name, or none, for what was meant. Whole numbers are those of JSON Schema, where
//! `2.0` is one.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        Visitor,
        value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Number;

/// Why JSON was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The field that is wrong, as a path like `vms[0].level`; `None` if it is all of it.
    pub field: Option<String>,
    /// What is wrong with it, without a full stop.
    pub reason: String,
    /// It has the right form, and cannot be: what no schema can say.
    pub impossible: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Reads a value from all of a text.
///
/// # Errors
/// If it is no JSON, or not of this form.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let tree: Tree = serde_json::from_slice(bytes).map_err(|error| Refusal {
        field: None,
        reason: format!("it is no JSON: {error}"),
        impossible: false,
    })?;
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = error.path().to_string();
        let within = (path != ".").then_some(path);
        let Wrong {
            field,
            reason,
            impossible,
        } = error.into_inner();
        let field = match (within, field) {
            (Some(path), Some(field)) if !path.ends_with(field.as_str()) => {
                Some(format!("{path}.{field}"))
            }
            (path, field) => path.or(field),
        };
        Refusal {
            field,
            reason,
            impossible,
        }
    })
}

/// What was read, before it is known what it shall be.
#[derive(Debug, Clone)]
enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
                let number = Number::from_f64(value);
                number
                    .map(Tree::Number)
                    .ok_or_else(|| E::custom("a number is too large"))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Tree>()? {
                    if members.contains_key(&name) {
                        let text = format!("the field '{name}' is there twice");
                        return Err(de::Error::custom(text));
                    }
                    members.insert(name, value);
                }
                Ok(Tree::Object(members))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl Tree {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Number(_) => Unexpected::Other("a number"),
            Self::Text(text) => Unexpected::Str(text),
            Self::List(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Number(number) => number_of(&number, visitor),
            Self::Text(text) => visitor.visit_string(text),
            Self::List(items) => {
                let mut items = SeqDeserializer::new(items.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Self::Object(members) => {
                let mut members = MapDeserializer::new(members.into_iter());
                let value = visitor.visit_map(&mut members)?;
                members.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Self::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Self::Text(text) => visitor.visit_enum(text.into_deserializer()),
            Self::Object(members) if members.len() == 1 => {
                let members = MapDeserializer::new(members.into_iter());
                visitor.visit_enum(MapAccessDeserializer::new(members))
            }
            _ => {
                let given = in_words(&self.unexpected());
                let reason = format!("{} is wanted, {given} was given", one_of(variants));
                Err(Wrong::form(reason))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Wrong> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Whole numbers that floating-point ones hold exactly go up to here (2^53).
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

fn number_of<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Wrong> {
    if let Some(value) = number.as_u64() {
        return visitor.visit_u64(value);
    }
    if let Some(value) = number.as_i64() {
        return visitor.visit_i64(value);
    }
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() <= WHOLE_MAX => {
            visitor.visit_i64(value as i64)
        }
        Some(value) => visitor.visit_f64(value),
        None => Err(Wrong::form("the number cannot be read".to_owned())),
    }
}

/// An error in a user's words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    field: Option<String>,
    reason: String,
    impossible: bool,
}

impl Wrong {
    fn form(reason: String) -> Self {
        Self {
            field: None,
            reason,
            impossible: false,
        }
    }

    fn field(field: &str, reason: String) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::form(reason)
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Wrong {}

/// Words that are taken; `Low` beside `low` is how it was written once, and need not be learnt.
fn quoted(words: &[&str]) -> String {
    let old = |word: &&&str| {
        let now = word.to_lowercase();
        **word != now && words.contains(&now.as_str())
    };
    let words = words.iter().filter(|word| !old(word));
    let quoted = words.map(|word| format!("'{word}'"));
    quoted.collect::<Vec<_>>().join(", ")
}

fn one_of(words: &[&str]) -> String {
    match words {
        [one] => format!("'{one}'"),
        several => format!("one of {}", quoted(several)),
    }
}

/// What was given.
fn in_words(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("the text '{text}'"),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// What was wanted: serde says it in Rust's words.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let integer = text.strip_prefix(['i', 'u']);
    if integer.is_some_and(|bits| bits.parse::<u8>().is_ok() || bits == "size") {
        return "a whole number".to_owned();
    }
    match text.as_str() {
        "a string" | "a borrowed string" => "a text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        _ if text.starts_with("struct ") => "an object".to_owned(),
        _ => text,
    }
}

impl de::Error for Wrong {
    /// A value's own type says so, of a value of the right form.
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self {
            impossible: true,
            ..Self::form(reason.to_string())
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (wanted, given) = (wanted(expected), in_words(&unexpected));
        Self::form(format!("{wanted} is wanted, {given} was given"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let given = in_words(&unexpected);
        match wanted(expected).as_str() {
            "a whole number" => Self::form(format!("{given} is too large, or too small")),
            wanted => Self::form(format!("{wanted} is wanted, {given} was given")),
        }
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::form(format!("'{variant}' is not {}", one_of(known)))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let known = match known {
            [] => "there is none".to_owned(),
            known => format!("there are {}", quoted(known)),
        };
        Self::field(field, format!("there is no such field; {known}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::field(field, "it is missing".to_owned())
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::field(field, "it is there twice".to_owned())
    }
}

#[cfg(test)]
mod tests;
