//! Reading the file: TOML, in which each key is known and each value is one that its option takes.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use clap::{Arg, Command};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::keys::{Key, Keys};

/// Names that are less alike (0 to 1) are not what was meant.
const ALIKE: f64 = 0.7;

/// What a file says.
#[derive(Debug, Clone, Default)]
pub struct File {
    is_there: bool,
    values: Vec<Value>,
}

/// The value of one key.
#[derive(Debug, Clone)]
struct Value {
    key: String,
    /// As on a command line.
    text: String,
    line: usize,
}

/// All that is wrong with a file.
#[derive(Debug)]
pub struct Faults {
    path: PathBuf,
    faults: Vec<Fault>,
}

/// What is wrong, where, and what to do.
#[derive(Debug)]
struct Fault {
    line: usize,
    text: String,
    cure: String,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Fault { line, text, cure }) in self.faults.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(
                f,
                "{end}{}, line {line}: {text}\n  cure: {cure}",
                self.path.display()
            )?;
        }
        Ok(())
    }
}

impl Error for Faults {}

impl File {
    /// Reads it. One that is not there says nothing, unless it `must_be_there`.
    ///
    /// # Errors
    /// If it cannot be read, or with all that is wrong in it.
    pub fn read(path: &Path, must_be_there: bool, keys: &Keys) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be_there => {
                return Ok(Self::default());
            }
            Err(error) => {
                let shown = path.display();
                let text = format!(
                    "{shown} cannot be read; whoever runs accelnetd has to be allowed to, and --config \
                     (ACCELNET_CONFIG) names another"
                );
                return Err(anyhow::Error::new(error).context(text));
            }
        };
        let values = parse(&text, keys).map_err(|faults| Faults {
            path: path.to_owned(),
            faults,
        })?;
        Ok(Self {
            is_there: true,
            values,
        })
    }

    /// There is one.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// How many keys it sets.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// What it sets a key to, as on a command line.
    pub fn value_of(&self, key: &Key) -> Option<&str> {
        self.find(key).map(|value| value.text.as_str())
    }

    /// The line that sets a key.
    pub fn line_of(&self, key: &Key) -> Option<usize> {
        self.find(key).map(|value| value.line)
    }

    fn find(&self, key: &Key) -> Option<&Value> {
        let name = key.full_name();
        self.values.iter().find(|value| value.key == name)
    }
}

/// A key's name, with where it stands.
type Name<'a> = Spanned<DeString<'a>>;

fn parse(text: &str, keys: &Keys) -> Result<Vec<Value>, Vec<Fault>> {
    let line_at = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![Fault {
            line: line_at(at),
            text: format!("this is not TOML: {}", error.message()),
            cure: "write keys like socket = \"/run/accelnet/accelnet.sock\"; text stands between quotes".into(),
        }]
    })?;
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    let mut take = |table: &str, name: &Name<'_>, value: &Spanned<DeValue<'_>>| {
        let (line, name): (_, &str) = (line_at(name.span().start), name.get_ref());
        let taken = known(keys, table, name)
            .and_then(|key| Ok((key, as_typed(&key.arg, name, value.get_ref())?)));
        match taken {
            Ok((key, text)) => values.push(Value {
                key: key.full_name(),
                text,
                line,
            }),
            Err((text, cure)) => faults.push(Fault { line, text, cure }),
        }
    };
    let mut unknown = Vec::new();
    for (name, value) in root.get_ref() {
        let table: &str = name.get_ref();
        match value.get_ref() {
            DeValue::Table(inner) if keys.tables().contains(&table) => {
                for (key, value) in inner {
                    take(table, key, value);
                }
            }
            DeValue::Table(_) => unknown.push(Fault {
                line: line_at(name.span().start),
                text: format!("there is no table [{table}]"),
                cure: format!("the tables are [{}]", keys.tables().join("] and [")),
            }),
            _ => take("", name, value),
        }
    }
    faults.append(&mut unknown);
    faults.sort_by_key(|fault| fault.line);
    match faults.is_empty() {
        true => Ok(values),
        false => Err(faults),
    }
}

/// What is wrong, and what to do.
type Wrong = (String, String);

fn known<'a>(keys: &'a Keys, table: &str, name: &str) -> Result<&'a Key, Wrong> {
    let all = &keys.0;
    if let Some(key) = all
        .iter()
        .find(|key| key.table == table && key.name == name)
    {
        return Ok(key);
    }
    let place = match table {
        "" => "outside of tables".to_owned(),
        table => format!("in [{table}]"),
    };
    let text = format!("there is no key '{name}' {place}");
    // The same table first, where two are equally near.
    let likeness = |key: &&Key| {
        let bonus = if key.table == table { 0.01 } else { 0.0 };
        // As it may be written elsewhere.
        strsim::jaro_winkler(&name.to_lowercase().replace('_', "-"), &key.name) + bonus
    };
    let nearest = all
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|key| likeness(key) > ALIKE);
    let cure = match nearest {
        Some(key) if key.table.is_empty() => {
            format!("the nearest is '{}', before all tables", key.name)
        }
        Some(key) => format!("the nearest is '{}' in [{}]", key.name, key.table),
        None => "'accelnetd config show' lists all keys".to_owned(),
    };
    Err((text, format!("{cure}; or put a '#' before the line")))
}

/// The value as it would stand on a command line, if the option takes it.
fn as_typed(arg: &Arg, name: &str, value: &DeValue<'_>) -> Result<String, Wrong> {
    let help = || {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        format!("{name}: {help}")
    };
    let scalar = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        _ => None,
    };
    let text = match (value, arg.get_value_delimiter()) {
        (DeValue::Array(all), Some(between)) => {
            let texts: Option<Vec<String>> = all.iter().map(|one| scalar(one.get_ref())).collect();
            texts.map(|texts| texts.join(&between.to_string()))
        }
        (one, _) => scalar(one),
    };
    let Some(text) = text else {
        let text = format!("'{name}' takes text, not {}", value.type_str());
        return Err((text, help()));
    };
    let tried = Command::new("")
        .no_binary_name(true)
        .arg(arg.clone().required(false))
        .try_get_matches_from([format!("--{name}={text}")]);
    match tried {
        Ok(_) => Ok(text),
        Err(error) => {
            let why = error
                .source()
                .map_or_else(String::new, |why| format!(": {why}"));
            Err((format!("'{name}' cannot be '{text}'{why}"), help()))
        }
    }
}
