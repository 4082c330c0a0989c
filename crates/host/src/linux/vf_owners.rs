//! Files of other programs that set the number of an adapter's VFs, or their attributes.
//!
//! Two that set the number undo each other: NetworkManager sets it whenever the profile is activated, zero
//! included, and takes it back when it is deactivated; systemd-udevd with every event of the interface.
//!
//! | program | files | source |
//! |---|---|---|
//! | NetworkManager | keyfiles in `system-connections` with a section `[sriov]` | nm-settings-keyfile(5), nm-settings(5) |
//! | systemd-udevd | `.link` with `SR-IOVVirtualFunctions=` or `[SR-IOV]` | systemd.link(5) |
//! | systemd-networkd | `.network` with `[SR-IOV]` | systemd.network(5) |
//!
//! A file that says for which interfaces it is in words that cannot be judged here *may* be for this one. A
//! file that cannot be read is said, for every adapter.

use std::{collections::BTreeMap, fs, io, path::Path};

use accelnet_model::{AdapterName, IfName, MacAddr, PciAddress};

use super::{glob, sysfs::Root};

/// Keyfiles; two of one name are both read.
const PROFILES: [&str; 3] = [
    "etc/NetworkManager/system-connections",
    "run/NetworkManager/system-connections",
    "usr/lib/NetworkManager/system-connections",
];
/// systemd's files: one of an earlier directory hides others of its name.
const NETWORK: [&str; 4] = [
    "etc/systemd/network",
    "run/systemd/network",
    "usr/local/lib/systemd/network",
    "usr/lib/systemd/network",
];

/// What files say for which interfaces they are.
pub struct Adapter<'a> {
    /// Name of the interface.
    pub ifname: &'a IfName,
    /// Alternative ones.
    pub altnames: &'a [AdapterName],
    /// The permanent and the present address.
    pub macs: [MacAddr; 2],
    /// The driver.
    pub driver: Option<&'a str>,
    /// The PCI function.
    pub pci: PciAddress,
}

/// How sure it is that a file is for an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fits {
    No,
    Maybe,
    Yes,
}

impl Fits {
    fn when(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// The files that set something of VFs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VfOwners {
    files: Vec<File>,
    unreadable: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: String,
    lines: Vec<Line>,
}

/// Section, key and value.
type Line = (String, String, String);

impl VfOwners {
    /// Reads them.
    pub fn read(root: &Root) -> Self {
        let mut found = Self::default();
        for directory in PROFILES {
            for name in found.names(root, directory) {
                found.take(root, &[format!("{directory}/{name}")]);
            }
        }
        let mut units: BTreeMap<String, String> = BTreeMap::new();
        let mut more: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for directory in NETWORK {
            for name in found.names(root, directory) {
                let path = format!("{directory}/{name}");
                if let Some(unit) = name.strip_suffix(".d").filter(|unit| is_unit(unit)) {
                    let parts = found.names(root, &path).into_iter();
                    let parts = parts.filter(|part| part.ends_with(".conf"));
                    let parts = parts.map(|part| format!("{path}/{part}"));
                    more.entry(unit.to_owned()).or_default().extend(parts);
                } else if is_unit(&name) {
                    units.entry(name).or_insert(path);
                }
            }
        }
        for (name, path) in units {
            let parts = more.remove(&name).unwrap_or_default();
            found.take(root, &[vec![path], parts].concat());
        }
        found
    }

    fn names(&mut self, root: &Root, directory: &str) -> Vec<String> {
        let listed = fs::read_dir(root.path(directory)).and_then(|entries| {
            let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
            names.collect::<io::Result<Vec<_>>>()
        });
        let mut names: Vec<String> = match listed {
            Ok(names) => names.into_iter().flatten().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.cannot_read(directory, &error);
                Vec::new()
            }
        };
        names.sort();
        names
    }

    fn cannot_read(&mut self, path: &str, error: &io::Error) {
        self.unreadable.push(format!(
            "/{path} cannot be read ({error}): whether it sets VFs is not known"
        ));
    }

    /// A file with its additions, if it sets something of VFs.
    fn take(&mut self, root: &Root, paths: &[String]) {
        let mut lines = Vec::new();
        for path in paths {
            match text(&root.path(path)) {
                Ok(text) => lines.extend(parse(&text)),
                Err(error) => self.cannot_read(path, &error),
            }
        }
        let path = paths[0].clone();
        let file = File { path, lines };
        if file.sets().is_some() {
            self.files.push(file);
        }
    }

    /// In words, those for an adapter.
    pub fn of(&self, adapter: &Adapter<'_>) -> Vec<String> {
        let its = self.files.iter().filter_map(|file| {
            let sure = match file.fits(adapter) {
                Fits::No => return None,
                Fits::Maybe => "may set",
                Fits::Yes => "sets",
            };
            Some(format!("/{} {sure} {}", file.path, file.sets()?))
        });
        its.chain(self.unreadable.iter().cloned()).collect()
    }
}

/// Nothing if there is no such file: it went away, or is a link to nowhere.
fn text(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn is_unit(name: &str) -> bool {
    name.ends_with(".link") || name.ends_with(".network")
}

pub fn parse(text: &str) -> Vec<Line> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.trim().to_ascii_lowercase();
            // A section counts also without keys.
            lines.push((section.clone(), String::new(), String::new()));
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with(['#', ';'])
        {
            let key = key.trim().to_ascii_lowercase();
            lines.push((section.clone(), key, value.trim().to_owned()));
        }
    }
    lines
}

impl File {
    fn is_unit(&self) -> bool {
        is_unit(&self.path)
    }

    fn section<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let lines = self
            .lines
            .iter()
            .filter(move |(section, ..)| section == name);
        lines.map(|(_, key, value)| (key.as_str(), value.as_str()))
    }

    fn value<'a>(&'a self, section: &'a str, key: &str) -> Option<&'a str> {
        let found = self.section(section).filter(|(found, _)| *found == key);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
            .last()
    }

    /// What it sets, in words.
    fn sets(&self) -> Option<String> {
        let count = match self.is_unit() {
            true => self.value("link", "sr-iovvirtualfunctions"),
            false => self.value("sriov", "total-vfs"),
        };
        let attributes = match self.is_unit() {
            true => "sr-iov",
            false => "sriov",
        };
        match count {
            Some(count) => Some(format!("the number of its VFs ({count})")),
            None => self
                .section(attributes)
                .next()
                .map(|_| "attributes of its VFs".to_owned()),
        }
    }

    fn fits(&self, adapter: &Adapter<'_>) -> Fits {
        match self.is_unit() {
            true => self.unit_fits(adapter),
            false => self.profile_fits(adapter),
        }
    }

    /// Without any of the keys the profile is for every Ethernet interface.
    fn profile_fits(&self, adapter: &Adapter<'_>) -> Fits {
        let kind = self.value("connection", "type").unwrap_or("ethernet");
        let mut fits = vec![Fits::when(["ethernet", "802-3-ethernet"].contains(&kind))];
        let name = self.value("connection", "interface-name");
        fits.extend(name.map(|name| Fits::when(name == adapter.ifname.as_str())));
        for section in ["ethernet", "802-3-ethernet"] {
            let mac = self.value(section, "mac-address");
            fits.extend(mac.map(|mac| Fits::when(has_mac(adapter, [mac]))));
        }
        for (key, value) in self.section("match").filter(|(key, _)| !key.is_empty()) {
            let words: Vec<&str> = value.split(';').map(str::trim).collect();
            fits.push(match key {
                "interface-name" => names_fit(&words, &[adapter.ifname.as_str()]),
                "driver" => names_fit(&words, &adapter.driver.into_iter().collect::<Vec<_>>()),
                "path" => names_fit(&words, &[&format!("pci-{}", adapter.pci)]),
                _ => Fits::Maybe,
            });
        }
        fits.into_iter().min().unwrap_or(Fits::Maybe)
    }

    fn unit_fits(&self, adapter: &Adapter<'_>) -> Fits {
        let mut names = vec![adapter.ifname.as_str()];
        names.extend(adapter.altnames.iter().map(AdapterName::as_str));
        let mut fits = Vec::new();
        for (key, value) in self.section("match").filter(|(key, _)| !key.is_empty()) {
            let words: Vec<&str> = value.split_whitespace().collect();
            fits.push(match key {
                "permanentmacaddress" => Fits::when(has_mac(adapter, words.clone())),
                "macaddress" => Fits::when(has_mac(adapter, words.clone())),
                "driver" => names_fit(&words, &adapter.driver.into_iter().collect::<Vec<_>>()),
                "path" => names_fit(&words, &[&format!("pci-{}", adapter.pci)]),
                "type" => names_fit(&words, &["ether"]),
                "name" => names_fit(&words, &names),
                // The name that the kernel gave is not known any more.
                "originalname" if words == ["*"] => Fits::Yes,
                _ => Fits::Maybe,
            });
        }
        fits.into_iter().min().unwrap_or(Fits::Maybe)
    }
}

fn has_mac<'a>(adapter: &Adapter<'_>, words: impl IntoIterator<Item = &'a str>) -> bool {
    let mut words = words.into_iter();
    words.any(|word| word.parse().is_ok_and(|mac| adapter.macs.contains(&mac)))
}

/// Patterns of which one must fit; one that begins with `!` must not.
fn names_fit(words: &[&str], names: &[&str]) -> Fits {
    let fits = |word: &str| names.iter().any(|name| glob::fits(word, name));
    let (not, wanted): (Vec<&str>, Vec<&str>) = words
        .iter()
        .copied()
        .filter(|word| !word.is_empty())
        .partition(|word| word.starts_with('!'));
    let excluded = not.iter().any(|word| fits(&word[1..]));
    Fits::when(!excluded && (wanted.is_empty() || wanted.iter().any(|word| fits(word))))
}

#[cfg(test)]
mod tests;
