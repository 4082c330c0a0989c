//! A document's command lines, taken from it and typed: each of them, in their order, and no others.

use std::{collections::VecDeque, process::Command};

use crate::rig::{Rig, Run};

/// What the documents' names are called here.
const NAMES: [(&str, &str); 5] = [
    ("eth2", "pf0"),
    ("'web*'", "'vm?'"),
    ("web1", "vm1"),
    ("driver=ice,speed=25000", "driver=igb"),
    ("pci=8086:159b", "pci=8086:10c9"),
];

/// A document's command lines that are left.
pub struct Document {
    name: &'static str,
    lines: VecDeque<String>,
    /// Where they are typed, and what is typed before each.
    node: &'static str,
    before: &'static str,
    /// What the lab has for the document's names.
    names: Vec<(&'static str, String)>,
}

impl Document {
    pub fn open(name: &'static str) -> Self {
        let document = Self::of(name, |_| true);
        assert!(!document.lines.is_empty(), "{name}");
        document
    }

    /// The lines below one heading.
    pub fn section(name: &'static str, heading: &str) -> Self {
        let document = Self::of(name, |here| here == heading);
        assert!(!document.lines.is_empty(), "{name}: {heading}");
        document
    }

    /// Headings that have lines below them.
    pub fn headings(name: &'static str) -> Vec<String> {
        let mut headings = Vec::new();
        Self::of(name, |heading| {
            if headings.last().is_none_or(|last| last != heading) {
                headings.push(heading.to_owned());
            }
            true
        });
        headings
    }

    /// The lines below headings that are asked for.
    fn of(name: &'static str, mut wanted: impl FnMut(&str) -> bool) -> Self {
        let path = format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (mut inside, mut heading) = (false, "");
        let mut lines = VecDeque::new();
        for line in text.lines() {
            match line {
                "```sh" => inside = wanted(heading),
                "```" => inside = false,
                _ if line.starts_with("## ") && !inside => heading = line,
                // Two blanks and a number sign begin what explains the line.
                _ if inside => {
                    let line = line.split("  #").next().unwrap_or_default().trim();
                    lines.extend((!line.is_empty()).then(|| line.to_owned()));
                }
                _ => {}
            }
        }
        let names = NAMES.map(|(theirs, ours)| (theirs, ours.to_owned()));
        Self {
            name,
            lines,
            node: "node1",
            before: "",
            names: names.into(),
        }
    }

    /// They are typed on this node, and after this.
    pub fn on(self, node: &'static str, before: &'static str) -> Self {
        Self {
            node,
            before,
            ..self
        }
    }

    /// The lab has this for a name of the document's.
    pub fn with(mut self, theirs: &'static str, ours: impl Into<String>) -> Self {
        self.names.push((theirs, ours.into()));
        self
    }

    /// The next line, which must be this one.
    #[track_caller]
    pub fn next(&mut self, line: &str) {
        let next = self.lines.pop_front();
        assert_eq!(next.as_deref(), Some(line), "{}", self.name);
    }

    /// What comes before this line is typed elsewhere.
    #[track_caller]
    pub fn skip_to(&mut self, line: &str) {
        let at = self.lines.iter().position(|its| its == line);
        let at = at.unwrap_or_else(|| panic!("{}: not there: {line}", self.name));
        self.lines.drain(..at);
    }

    /// The next line, typed on the node.
    #[track_caller]
    pub fn typed(&mut self, rig: &Rig, line: &str) -> Run {
        let here = self.as_here(line);
        let here = format!("{}{here}", self.before);
        rig.command_on(self.node, &["bash", "-c", &here])
    }

    /// The same, for a level that the lab's card does not have.
    #[track_caller]
    pub fn refused(&mut self, rig: &Rig, line: &str) {
        let run = self.typed(rig, line);
        assert!(
            run.code == 3 && run.err.contains("cannot_provision_performance"),
            "{}: {line}: {run:?}",
            self.name
        );
    }

    /// The next line as it is typed here.
    #[track_caller]
    pub fn as_here(&mut self, line: &str) -> String {
        self.next(line);
        let names = self.names.iter();
        names.fold(line.to_owned(), |line, (theirs, ours)| {
            line.replace(theirs, ours)
        })
    }

    /// The same; it must succeed.
    #[track_caller]
    pub fn done(&mut self, rig: &Rig, line: &str) -> String {
        let run = self.typed(rig, line);
        assert_eq!(run.code, 0, "{}: {line}: {run:?}", self.name);
        run.out
    }

    /// The next line, a `lab …` of the tutorial, typed on the machine that the lab runs on.
    #[track_caller]
    pub fn of_lab(&mut self, rig: &Rig, line: &str) -> (bool, String) {
        self.next(line);
        let all = line.split(" && ").map(|line| {
            let words = shell_words(line);
            assert_eq!(words[0], "lab", "{line}");
            let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let output = rig.program(&words);
            let text = [output.stdout, output.stderr].concat();
            (
                output.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        });
        let (done, texts): (Vec<bool>, Vec<String>) = all.unzip();
        (done.iter().all(|done| *done), texts.concat())
    }

    /// A goal of the Makefile, which the tests themselves are part of: it is there.
    #[track_caller]
    pub fn of_make(&mut self, line: &str) {
        self.next(line);
        let goal = line.split(' ').nth(1).unwrap();
        let root = format!("{}/../..", env!("CARGO_MANIFEST_DIR"));
        let made = Command::new("make")
            .args(["-C", &root, "-n", goal])
            .output()
            .unwrap();
        assert!(made.status.success(), "{line}: {made:?}");
    }

    /// The next line is typed elsewhere, which `_why` says.
    #[track_caller]
    pub fn elsewhere(&mut self, line: &str, _why: &str) {
        self.next(line);
    }

    #[track_caller]
    pub fn ends(self) {
        assert!(
            self.lines.is_empty(),
            "{}: not typed: {:?}",
            self.name,
            self.lines
        );
    }
}

/// Words of a line as the shell takes them apart, single quotes only.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}
