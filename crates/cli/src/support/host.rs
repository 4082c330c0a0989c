//! What this host shows of itself: to root, and where it is one of accelnet's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::Part;

/// Lines of the journal of each unit: a day of a busy host.
const JOURNAL_LINES: &str = "20000";
/// Our units, whose journal is wanted.
const UNITS: [&str; 5] = [
    "accelnetd",
    "accelnet-agent",
    "accelnet-server",
    "accelnet-boot",
    "accelnet-park",
];
/// Files that say much about a host, and nothing secret by themselves.
const FILES: [(&str, &str); 7] = [
    ("os-release", "etc/os-release"),
    ("kernel", "proc/version"),
    ("kernel-command-line", "proc/cmdline"),
    ("modules", "proc/modules"),
    ("interrupts", "proc/interrupts"),
    ("ledger.json", "var/lib/accelnet/ledger.json"),
    ("accelnetd.toml", "etc/accelnet/accelnetd.toml"),
];
/// Definitions of VMs.
const DEFINITIONS: &str = "etc/libvirt/qemu";
/// Attributes of a PCI function that say what it can and who has it.
const ATTRIBUTES: [&str; 10] = [
    "class",
    "vendor",
    "device",
    "subsystem_vendor",
    "subsystem_device",
    "numa_node",
    "sriov_totalvfs",
    "sriov_numvfs",
    "sriov_drivers_autoprobe",
    "current_link_speed",
];
/// Links of it: what drives it, and with whom it shares an IOMMU group.
const LINKS: [&str; 3] = ["driver", "iommu_group", "physfn"];
/// Network controllers (PCI Code and ID Assignment Specification, class 02).
const NETWORK: &str = "0x02";

/// A host; tests have one of their own.
pub struct Host {
    /// Where its files are.
    root: PathBuf,
    /// Asks for the journal.
    journal: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self::at("/".into(), "journalctl".into())
    }
}

impl Host {
    /// One below a directory, whose journal is asked for by this program.
    pub fn at(root: PathBuf, journal: PathBuf) -> Self {
        Self { root, journal }
    }

    /// All of it.
    pub fn parts(&self) -> Vec<Part> {
        let files = FILES.iter().map(|(name, path)| {
            let text = read(&self.root.join(path));
            (format!("host/{name}"), text)
        });
        let mut parts: Vec<Part> = files.collect();
        parts.push(("host/pci.txt".into(), self.pci()));
        parts.push(("host/journal.txt".into(), self.journal()));
        parts.extend(self.definitions());
        parts
    }

    fn journal(&self) -> Result<String, String> {
        let mut command = Command::new(&self.journal);
        command.args(["--no-pager", "--output=short-iso", "--lines", JOURNAL_LINES]);
        command.args(UNITS.iter().flat_map(|unit| ["--unit", unit]));
        let program = self.journal.display();
        let output = command
            .output()
            .map_err(|error| format!("{program} cannot be run: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn definitions(&self) -> Vec<Part> {
        let directory = self.root.join(DEFINITIONS);
        let names = match names(&directory) {
            Ok(names) => names,
            Err(why) => return vec![("host/vms".into(), Err(why))],
        };
        let definitions = names.into_iter().filter(|name| name.ends_with(".xml"));
        definitions
            .map(|name| (format!("host/vms/{name}"), read(&directory.join(name))))
            .collect()
    }

    /// Network controllers, and what is known of each.
    fn pci(&self) -> Result<String, String> {
        let devices = self.root.join("sys/bus/pci/devices");
        let mut text = String::new();
        for name in names(&devices)? {
            let device = devices.join(&name);
            if !read(&device.join("class"))?.starts_with(NETWORK) {
                continue;
            }
            text.push_str(&name);
            for attribute in ATTRIBUTES {
                // Not every function has every one.
                if let Ok(value) = read(&device.join(attribute)) {
                    text.push_str(&format!(" {attribute}={}", value.trim()));
                }
            }
            for link in LINKS {
                let target = fs::read_link(device.join(link));
                if let Some(target) = target.ok().as_deref().and_then(Path::file_name) {
                    text.push_str(&format!(" {link}={}", target.to_string_lossy()));
                }
            }
            text.push('\n');
        }
        Ok(text)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(directory: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.push(
            entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort();
    Ok(names)
}
