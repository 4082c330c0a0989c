//! Binding of words to parameters, as PowerShell does it and as a POSIX shell passes the words.
//!
//! Pure. Named parameters are bound first, the words that are left then in the order of the
//! positions. What a shell does to documented command lines is allowed for: `A, B` arrives as the
//! words `A,` and `B`, and `-Confirm:$false` as `-Confirm:`.

use std::collections::BTreeMap;

use accelnet_model::{Code, Performance, Problem};

use super::{
    nearest,
    table::{COMMON, Cmdlet, Kind, Need, Parameter},
};

/// What becomes of errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorAction {
    /// Say them and go on.
    #[default]
    Continue,
    /// End at the first one.
    Stop,
    /// Go on and say nothing.
    Silent,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One text.
    Text(String),
    /// Names, at least one.
    Names(Vec<String>),
    /// A level.
    Level(Performance),
    /// A number; whether it is a percentage is the server's to say.
    Percentage(i64),
    /// A switch.
    Switch(bool),
    /// What becomes of errors.
    ErrorAction(ErrorAction),
    /// The parameter was named without a value: its default.
    Default,
}

/// A command line that was understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bound(BTreeMap<&'static str, Value>);

impl Bound {
    /// True if the parameter was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The names of a parameter; none if it was not given.
    pub fn names(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Value::Names(names)) => names,
            _ => &[],
        }
    }

    /// The level of a parameter.
    pub fn level(&self, name: &str) -> Option<Performance> {
        match self.0.get(name) {
            Some(Value::Level(level)) => Some(*level),
            _ => None,
        }
    }

    /// The number of a parameter; `None` for its default.
    pub fn percentage(&self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::Percentage(number)) => Some(*number),
            _ => None,
        }
    }

    /// The switch is on.
    pub fn switch(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Switch(true))
    }

    /// What becomes of errors.
    pub fn error_action(&self) -> ErrorAction {
        match self.0.get("ErrorAction") {
            Some(Value::ErrorAction(action)) => *action,
            _ => ErrorAction::default(),
        }
    }
}

/// Binds the words; `piped` says that VMs may come through a pipe.
///
/// # Errors
/// `invalid_argument`, about the first thing that is wrong.
pub fn parse(cmdlet: &Cmdlet, words: &[String], piped: bool) -> Result<Bound, Problem> {
    let mut bound = Bound::default();
    let mut words = Words { words, next: 0 };
    let mut positional = Vec::new();
    let mut names_end = false;
    while let Some(word) = words.take() {
        if !names_end && word == "--" {
            names_end = true;
        } else if let Some(name) = parameter_name(word).filter(|_| !names_end) {
            let (name, inline) = match name.split_once(':') {
                Some((name, value)) => (name, Some(value)),
                None => (name, None),
            };
            let parameter = find(cmdlet, name)?;
            let value = match (parameter.kind, inline) {
                (Kind::Switch, inline) => inline.map(str::to_owned),
                (_, Some(first)) if !first.is_empty() => Some(words.joined(first)),
                (_, _) => words.value(),
            };
            put(&mut bound, parameter, value.as_deref())?;
        } else {
            positional.push(words.joined(word));
        }
    }
    place(cmdlet, &mut bound, &positional)?;
    if !bound.switch("Help") {
        missing(cmdlet, &bound, piped)?;
    }
    Ok(bound)
}

/// Words, in the order typed.
struct Words<'a> {
    words: &'a [String],
    next: usize,
}

impl<'a> Words<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    /// The next word, if it is not a parameter, with what a comma joins to it.
    fn value(&mut self) -> Option<String> {
        let next = self.words.get(self.next)?;
        if parameter_name(next).is_some() || next == "--" {
            return None;
        }
        let first = self.take()?;
        Some(self.joined(first))
    }

    /// A list is one value, however it was cut into words.
    fn joined(&mut self, first: &str) -> String {
        let mut all = first.to_owned();
        while let Some(next) = self.words.get(self.next) {
            let in_quotes = is_open(&all);
            let goes_on = all.trim_end().ends_with(',') || next.starts_with(',');
            if !in_quotes && (!goes_on || parameter_name(next).is_some()) {
                break;
            }
            if in_quotes {
                all.push(' ');
            }
            all.push_str(next);
            self.next += 1;
        }
        all
    }
}

/// Quotes as word processors and web pages print them, which PowerShell takes for quotes. To the shell they are
/// letters.
const QUOTES: [char; 8] = [
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}',
];

/// A name of a list begins with such a quote and has not ended: the shell cut it at a blank.
fn is_open(text: &str) -> bool {
    let (mut open, mut begins) = (false, true);
    for (at, letter) in text.char_indices() {
        let quote = QUOTES.contains(&letter);
        if !open {
            open = begins && quote;
            begins = letter == ',' || begins && letter.is_whitespace();
        } else if quote {
            // An apostrophe within ends nothing.
            let rest = text[at + letter.len_utf8()..].trim_start();
            open = !(rest.is_empty() || rest.starts_with(','));
        }
    }
    open
}

/// A text without the quotes around it; those of a list's names are not around the list.
fn unquoted(text: &str) -> &str {
    let inner = text.trim().strip_prefix(QUOTES);
    let inner = inner.and_then(|inner| inner.strip_suffix(QUOTES));
    let alone = |inner: &&str| {
        let mut names = inner.split(',').map(str::trim);
        !inner.contains(',')
            || names.all(|name| !name.starts_with(QUOTES) && !name.ends_with(QUOTES))
    };
    inner.filter(alone).unwrap_or(text)
}

/// The name in a word that is one; numbers are values. Word processors turn hyphens of copied
/// command lines into dashes, which PowerShell takes too.
fn parameter_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix(['-', '\u{2013}', '\u{2014}', '\u{2015}'])?;
    let first = name.chars().next()?;
    let begins = first.is_alphabetic() || matches!(first, '_' | '?' | '-');
    (begins && name != "-").then_some(name)
}

fn find(cmdlet: &Cmdlet, name: &str) -> Result<&'static Parameter, Problem> {
    let all = || parameters(cmdlet);
    let names = |parameter: &&'static Parameter| {
        let names = std::iter::once(parameter.name);
        names.chain(parameter.aliases.iter().copied())
    };
    // Other programs' way to ask for help.
    let name = if name == "-help" { "Help" } else { name };
    let exact = all().find(|one| names(one).any(|known| known.eq_ignore_ascii_case(name)));
    if let Some(parameter) = exact {
        return Ok(parameter);
    }
    let begins = |known: &str| {
        let begin = known.get(..name.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    };
    let fitting: Vec<_> = all().filter(|one| names(one).any(begins)).collect();
    let listed = |list: &[&Parameter]| {
        let names = list.iter().map(|one| format!("-{}", one.name));
        names.collect::<Vec<_>>().join(", ")
    };
    let name = shown(name);
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => {
            let text = format!("{} has no parameter '-{name}'.", cmdlet.name);
            let known: Vec<_> = all().collect();
            let known = format!("It has {}.", listed(&known));
            let cure = match nearest::parameter(&name) {
                Some(instead) => format!("{instead} {known}"),
                None => known,
            };
            Err(invalid(text).with_cure(cure))
        }
        several => {
            let text = format!("'-{name}' could be {}.", listed(several));
            Err(invalid(text).with_cure("Write more of the parameter's name."))
        }
    }
}

/// The cmdlet's own parameters, and those that all have.
pub fn parameters(cmdlet: &Cmdlet) -> impl Iterator<Item = &'static Parameter> + use<> {
    cmdlet.parameters.iter().chain(COMMON)
}

fn put(bound: &mut Bound, parameter: &Parameter, value: Option<&str>) -> Result<(), Problem> {
    let name = parameter.name;
    let value = read(parameter, value)?;
    if bound.0.insert(name, value).is_some() {
        let cure = "Give it once; several names are separated by commas.";
        return Err(invalid(format!("Parameter -{name} is given twice.")).with_cure(cure));
    }
    Ok(())
}

fn read(parameter: &Parameter, value: Option<&str>) -> Result<Value, Problem> {
    let name = parameter.name;
    if parameter.kind == Kind::Switch {
        return switch(name, value).map(Value::Switch);
    }
    let Some(text) = value else {
        return match parameter.kind {
            Kind::Percentage => Ok(Value::Default),
            _ => Err(invalid(format!("Parameter -{name} has no value."))),
        };
    };
    let text = unquoted(text);
    if text.trim().is_empty() {
        return Err(invalid(format!("The value of -{name} is empty.")));
    }
    let wrong = |cure: &str| {
        let text = format!("'{}' is not a value of -{name}.", shown(text));
        invalid(text).with_cure(cure)
    };
    Ok(match parameter.kind {
        Kind::Text | Kind::Switch => Value::Text(text.to_owned()),
        Kind::Names => Value::Names(list(name, text)?),
        Kind::Level => {
            let level = text.trim().parse();
            Value::Level(level.map_err(|_| wrong("Use Low, Medium or High."))?)
        }
        Kind::Percentage => {
            let number = text.trim().parse();
            let cure = "Give a whole number from 0 to 99; 50 is the default.";
            Value::Percentage(number.map_err(|_| wrong(cure))?)
        }
        Kind::ErrorAction => Value::ErrorAction(match text.to_ascii_lowercase().as_str() {
            "continue" => ErrorAction::Continue,
            "stop" => ErrorAction::Stop,
            "silentlycontinue" | "ignore" => ErrorAction::Silent,
            _ => return Err(wrong("Use Stop, Continue, SilentlyContinue or Ignore.")),
        }),
    })
}

/// `-Switch`, `-Switch:$false`. An unquoted `$false` is nothing by the time it arrives.
fn switch(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    let value = value.map(str::to_ascii_lowercase);
    match value.as_deref() {
        None | Some("$true" | "true" | "1") => Ok(true),
        Some("" | "$false" | "false" | "0") => Ok(false),
        Some(other) => {
            let text = format!("'{}' is not a value of -{name}.", shown(other));
            Err(invalid(text).with_cure("Use $true or $false."))
        }
    }
}

fn list(parameter: &str, text: &str) -> Result<Vec<String>, Problem> {
    // PowerShell's array, as far as a shell lets it through: in quotes.
    let array = text.trim().strip_prefix("@(");
    let array = array.and_then(|inner| inner.strip_suffix(')'));
    let name = |text: &str| {
        let text = unquoted(text).trim();
        let straight = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
        let inner = array.and_then(|_| straight('"').or_else(|| straight('\'')));
        inner.unwrap_or(text).to_owned()
    };
    let names: Vec<String> = array.unwrap_or(text).split(',').map(name).collect();
    if names.iter().any(String::is_empty) {
        let text = format!("A name in '{}' of -{parameter} is empty.", shown(text));
        return Err(invalid(text).with_cure("Separate names by single commas."));
    }
    Ok(names)
}

/// Words without a parameter's name go to the places that are free.
fn place(cmdlet: &Cmdlet, bound: &mut Bound, words: &[String]) -> Result<(), Problem> {
    let mut free: Vec<&'static Parameter> = cmdlet
        .parameters
        .iter()
        .filter(|parameter| parameter.position.is_some() && !bound.has(parameter.name))
        .collect();
    free.sort_by_key(|parameter| parameter.position);
    let mut free = free.into_iter();
    for word in words {
        let Some(parameter) = free.next() else {
            let (name, word) = (cmdlet.name, shown(word));
            let text = format!("There is no parameter of {name} left for '{word}'.");
            let cure = "Leave it out, or put names with blanks in quotes.";
            return Err(invalid(text).with_cure(cure));
        };
        put(bound, parameter, Some(word))?;
    }
    Ok(())
}

fn missing(cmdlet: &Cmdlet, bound: &Bound, piped: bool) -> Result<(), Problem> {
    let missing = cmdlet.parameters.iter().find(|parameter| {
        let satisfied = match parameter.need {
            Need::Optional => true,
            Need::Mandatory => false,
            Need::OrPipeline => piped || bound.has("VM"),
        };
        !satisfied && !bound.has(parameter.name)
    });
    missing.map_or(Ok(()), |parameter| {
        let (cmdlet, name) = (cmdlet.name, parameter.name);
        let cure = format!("Give it; '{cmdlet} -?' shows how.");
        Err(invalid(format!("{cmdlet} needs parameter -{name}.")).with_cure(cure))
    })
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidArgument, text)
}

/// What was typed, shortened and without control characters.
pub fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
