//! What the kernel's log says about SR-IOV, where it is the only place that says it.
//!
//! `/dev/kmsg` is read without ever blocking: every look reads on from where the last one ended, a
//! bounded number of records, and keeps only what matters. Files below `/var/log` are not asked: they
//! hold earlier boots too, and a cured machine would look ill for ever.
//!
//! Only records of the kernel itself count; what programs write to `/dev/kmsg` has another facility
//! (Documentation/ABI/testing/dev-kmsg). What was true when a line was written may be cured since:
//! - enumerating a function anew (`pci ADDRESS: [VENDOR:DEVICE] type …`) forgets all about it;
//! - a driver that speaks of the function, or of itself, was bound or loaded anew: what it could not
//!   do before is forgotten.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    sync::{Arc, Mutex, PoisonError},
};

use accelnet_model::{PciAddress, SriovSupport};

use super::sysfs::Root;

mod misuse;

/// The longest record (kernel/printk/internal.h, `PRINTK_MESSAGE_MAX`, and before that
/// `CONSOLE_EXT_LOG_MAX`); a shorter buffer would be refused.
const RECORD: usize = 8192;

/// Records read at one look. A log of 1 MiB has about 10,000; the rest comes with the next look.
const RECORDS_A_LOOK: usize = 20_000;

/// Functions remembered; a machine has a few dozen PFs.
const FUNCTIONS: usize = 1024;

/// A line is shown to users up to this length.
const SHOWN: usize = 200;

/// The log of the running kernel; clones share what was read.
#[derive(Debug, Clone, Default)]
pub struct KernelLog(Arc<Mutex<Reader>>);

/// Why VFs could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it amounts to.
    pub state: SriovSupport,
    /// The kernel's line.
    pub line: String,
}

impl KernelLog {
    /// The last refusal to make VFs of `pf` that still counts.
    pub fn refusal(&self, root: &Root, pf: PciAddress) -> Option<Refusal> {
        self.read(root, |reader| {
            let refusal = reader.said.refusals.get(&pf);
            refusal.map(|(_, refusal)| refusal.clone())
        })
    }

    /// What was said if the firmware kept control of PCI Express below a root bus (`pci0000:00`).
    pub fn osc_refused(&self, root: &Root, root_bus: &str) -> Option<String> {
        self.read(root, |reader| reader.said.osc.get(root_bus).cloned())
    }

    /// How often the driver of `pf` said that a VF's user does what it must not, by the VF's number; without one it did
    /// not say which VF. As far back as the log goes. `None` if it cannot be read, or was not read to its end: what
    /// comes then may be old.
    pub fn misuse(&self, root: &Root, pf: PciAddress) -> Option<BTreeMap<Option<u32>, u64>> {
        self.read(root, |reader| {
            reader.at_end.then(|| reader.said.misuse.of(pf))
        })
    }

    fn read<T>(&self, root: &Root, ask: impl FnOnce(&Reader) -> T) -> T {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reader.read_on(root);
        ask(&reader)
    }
}

#[derive(Debug, Default)]
struct Reader {
    file: Option<File>,
    /// The beginning of a line whose end was not read yet.
    begun: Vec<u8>,
    /// There was nothing more at the last look.
    at_end: bool,
    said: Said,
}

impl Reader {
    fn read_on(&mut self, root: &Root) {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(libc::O_NONBLOCK);
            match options.open(root.path("dev/kmsg")) {
                Ok(file) => self.file = Some(file),
                Err(error) => return tracing::debug!(%error, "no kernel log"),
            }
        }
        let Some(file) = self.file.as_mut() else {
            return;
        };
        let mut buffer = [0; RECORD];
        self.at_end = false;
        for _ in 0..RECORDS_A_LOOK {
            match file.read(&mut buffer) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(length) => self.begun.extend_from_slice(&buffer[..length]),
                // EPIPE: records were overwritten before they were read; the next one is there.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
                // Nothing new; or what was read so far counts.
                Err(error) => {
                    self.at_end = error.kind() == ErrorKind::WouldBlock;
                    break;
                }
            }
            while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                self.said.take(String::from_utf8_lossy(&line).trim_end());
            }
            // No record is longer: never gather more of what has no end.
            self.begun.truncate(RECORD);
        }
    }
}

/// What was said so far, as far as it matters.
#[derive(Debug, Default)]
pub struct Said {
    /// Root bus of the host bridge that is being set up.
    root_bus: Option<String>,
    osc: HashMap<String, String>,
    /// By function: the driver at that time, and the refusal.
    refusals: HashMap<PciAddress, (String, Refusal)>,
    misuse: misuse::Misuse,
}

impl Said {
    /// Takes in a line of `/dev/kmsg`: `PRIORITY,NUMBER,TIME,FLAGS;TEXT`. Lines with further values
    /// of a record begin with a space.
    pub fn take(&mut self, line: &str) {
        let Some((head, text)) = line.split_once(';') else {
            return;
        };
        let priority = head.split(',').next().and_then(|word| word.parse().ok());
        // The lower three bits are the level; facility 0 is the kernel.
        if priority.is_none_or(|priority: u32| priority >> 3 != 0) {
            return;
        }
        if text.contains("PCI Root Bridge [") {
            self.root_bus = root_bus(text);
        } else if is_osc_refusal(text) {
            if let Some(root_bus) = self.root_bus.clone() {
                self.osc.insert(root_bus, shown(text));
            }
        } else if let Some((driver, rest)) = text.split_once(' ') {
            self.of_device(text, driver, rest);
        }
    }

    /// `DRIVER ADDRESS: TEXT` about a function, or `DRIVER: TEXT` of the driver itself. A line about
    /// a network interface (`DRIVER ADDRESS NAME: TEXT`: its link came up, say) cures nothing.
    fn of_device(&mut self, text: &str, driver: &str, rest: &str) {
        if let Some(driver) = driver.strip_suffix(':') {
            self.refusals.retain(|_, (at_that_time, refusal)| {
                at_that_time != driver || refusal.state != SriovSupport::MissingPfDriver
            });
            return;
        }
        let Some((about, words)) = rest.split_once(": ") else {
            return;
        };
        let (address, of_interface) = match about.split_once(' ') {
            Some((address, _)) => (address, true),
            None => (about, false),
        };
        let Ok(address) = address.parse::<PciAddress>() else {
            return;
        };
        self.misuse.take(address, words);
        if of_interface {
            return;
        }
        if let Some(state) = refusal(words) {
            let line = shown(text);
            if self.refusals.len() < FUNCTIONS || self.refusals.contains_key(&address) {
                let entry = (driver.to_owned(), Refusal { state, line });
                self.refusals.insert(address, entry);
            }
            return;
        }
        let cured = |refusal: &Refusal| match driver {
            "pci" => words.starts_with('[') && words.contains("] type "),
            _ => refusal.state == SriovSupport::MissingPfDriver,
        };
        self.refusals
            .retain(|function, (_, refusal)| *function != address || !cured(refusal));
    }
}

/// `sriov_enable` and `sriov_numvfs_store` in drivers/pci/iov.c; the driver's line had other words
/// before Linux 4.17.
fn refusal(words: &str) -> Option<SriovSupport> {
    if words.starts_with("not enough MMIO resources for SR-IOV") {
        Some(SriovSupport::NoVfBarSpace)
    } else if words.starts_with("can't enable ") && words.contains("out of range of") {
        Some(SriovSupport::NoBusResources)
    } else if words.starts_with("driver does not support SR-IOV configuration")
        || words.starts_with("Driver doesn't support SRIOV configuration")
    {
        Some(SriovSupport::MissingPfDriver)
    } else {
        None
    }
}

/// `negotiate_os_control` in drivers/acpi/pci_root.c, and `setup_mcfg_map` in arch/x86/pci/acpi.c.
fn is_osc_refusal(text: &str) -> bool {
    const REFUSALS: [&str; 5] = [
        "_OSC failed",
        "_OSC request failed",
        "_OSC: platform retains control of PCIe features",
        "_OSC: not requesting OS control",
        "can't access extended",
    ];
    text.starts_with("acpi PNP0A0") && REFUSALS.iter().any(|words| text.contains(words))
}

/// `ACPI: PCI Root Bridge [PCI0] (domain 0000 [bus 00-ff])` is about `pci0000:00`.
fn root_bus(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("(domain ")?;
    let (domain, rest) = rest.split_once(" [bus ")?;
    Some(format!("pci{domain}:{}", rest.get(..2)?))
}

fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
mod tests;
