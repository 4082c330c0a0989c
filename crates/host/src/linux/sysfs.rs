//! Files of the machine: `/sys`, `/proc`, `/dev`, `/etc` below a root that a test can move.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use accelnet_model::PciAddress;

use crate::{HostError, Result};

/// Where the machine's files are. `/` but for tests, which put recorded trees elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self(PathBuf::from("/"))
    }
}

impl Root {
    /// A machine whose files are below `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file with this path on the machine (relative to its root, e.g. `sys/class/net`).
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A PCI function's directory.
    pub fn pci(&self, address: PciAddress) -> PathBuf {
        self.path(&format!("sys/bus/pci/devices/{address}"))
    }
}

/// A file's text without surrounding white space; None if there is no such file. What sysfs answers
/// for an attribute that does not apply (`EINVAL`, `EOPNOTSUPP`, `ENODEV`) counts as absent.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound || absent(&error) => Ok(None),
        Err(error) => Err(HostError::io(format!("read {}", path.display()), &error)),
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTDIR | libc::EINVAL | libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO)
    )
}

/// A file's content as a value; None if there is no such file.
pub fn parse<T: FromStr>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let text: String = text.chars().take(40).collect();
        HostError::Malformed(format!("{}: '{text}' was not expected", path.display()))
    })
}

/// How files of the kernel's are written to: [`write`], but for tests that play the kernel.
pub type Write<'a> = &'a dyn Fn(&Path, &str, &str) -> Result<()>;

/// Writes to a file of the kernel's. `operation` says in words what that does.
pub fn write(path: &Path, text: &str, operation: &str) -> Result<()> {
    let opened = accelnet_crash::point(|| operation.to_owned())
        .and_then(|()| fs::OpenOptions::new().write(true).open(path));
    match opened {
        Ok(mut file) => io::Write::write_all(&mut file, text.as_bytes()),
        Err(error) => Err(error),
    }
    .map_err(|error| HostError::io(operation, &error))
}

/// Last element of what a symbolic link points to; None if there is no link.
pub fn link_name(path: &Path) -> Result<Option<String>> {
    let target = match fs::read_link(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound || absent(&error) => return Ok(None),
        Err(error) => return Err(HostError::io(format!("read {}", path.display()), &error)),
    };
    let name = target.file_name().and_then(|name| name.to_str());
    Ok(name.map(str::to_owned))
}

/// The last element of what a symbolic link points to, as a value; None if there is no link.
pub fn link_to<T: FromStr>(path: &Path) -> Result<Option<T>> {
    let Some(name) = link_name(path)? else {
        return Ok(None);
    };
    let odd = || HostError::Malformed(format!("{} points to '{name}'", path.display()));
    name.parse().map(Some).map_err(|_| odd())
}

/// Names in a directory, sorted; empty if there is no such directory. A process that ended has none.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let gone = |error: &io::Error| {
        let ended = error.raw_os_error() == Some(libc::ESRCH);
        ended || error.kind() == io::ErrorKind::NotFound || absent(error)
    };
    let failed = |error: io::Error| HostError::io(format!("list {}", path.display()), &error);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry {
            // The kernel's names are all text.
            Ok(entry) => names.extend(entry.file_name().into_string()),
            Err(error) if gone(&error) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    names.sort();
    Ok(names)
}
