//! What the machine cannot tell: the last accepted wish, how many VFs to make again after a start,
//! and what we changed on ports.
//!
//! One JSON file, replaced as a whole: written beside, synced, renamed, directory synced. A reader
//! sees the old or the new one. A file that cannot be read is kept under another name, never dropped.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use accelnet_model::{
    AdapterId, Code, IfName, Intent, MacAddr, NodeDesired, PciAddress, Problem, Support,
    intent::BRIDGE_MARK,
};
use accelnet_rules::{Observed, action::Action, foreign::Ours};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Layout of the file; a newer one is refused rather than misread.
const VERSION: u32 = 1;
/// The file's name in the state directory.
pub const FILE: &str = "ledger.json";

/// VFs that an adapter shall have from the start on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterEntry {
    /// Which adapter.
    pub id: AdapterId,
    /// How many VFs.
    pub vfs: u32,
}

/// An adapter whose VFs we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeVfs {
    /// Which adapter.
    pub adapter: AdapterId,
    /// How many VFs it had before we made any.
    pub before: u32,
}

/// A bridge that we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeEntry {
    /// The bridge.
    pub bridge: IfName,
    /// Its mark.
    pub mark: String,
    /// The adapter that is its uplink.
    pub adapter: AdapterId,
}

/// A VM that is on its way here, and the VFs that are kept for it: what its definition was told to name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    /// The VM.
    pub vm: Uuid,
    /// The VFs.
    pub vfs: Vec<PciAddress>,
}

/// The ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    version: u32,
    /// The node of a cluster that the wish is for; `None` of a host by itself, and before that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<Uuid>,
    /// The wish that was accepted last.
    pub desired: NodeDesired,
    /// VFs to make at the node's start.
    pub adapters: Vec<AdapterEntry>,
    /// Adapters whose VFs we made, for whoever gives the host back.
    #[serde(default)]
    pub made: Vec<MadeVfs>,
    /// Bridges to make again at the node's start: those of intents, and those that removed intents
    /// left behind for the VMs on them.
    #[serde(default)]
    pub bridges: Vec<BridgeEntry>,
    /// Ports where we turned learning off.
    #[serde(default)]
    pub learning_off: Vec<IfName>,
    /// Ports where we turned flooding off.
    #[serde(default)]
    pub flood_off: Vec<IfName>,
    /// Addresses that we put into a PF's filter.
    #[serde(default)]
    pub filtered: Vec<MacAddr>,
    /// VFs that we had in hand.
    #[serde(default)]
    pub ours: Ours,
    /// VMs that are on their way here.
    #[serde(default)]
    pub incoming: Vec<Incoming>,
    /// Vectors that VFs were given: some drivers do not show them (ice).
    #[serde(default)]
    pub vectors: Vectors,
}

/// Vectors of VFs, as long as the machine runs: VFs that are made anew have what their driver gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vectors {
    boot_id: String,
    of_vfs: BTreeMap<String, u32>,
}

impl Vectors {
    /// Notes what a VF was given; `None` if nobody knows any more.
    pub fn note(&mut self, boot_id: &str, vf: PciAddress, vectors: Option<u32>) {
        // Empty where the machine could not be asked just now.
        if self.boot_id != boot_id && !boot_id.is_empty() {
            *self = Self {
                boot_id: boot_id.to_owned(),
                of_vfs: BTreeMap::new(),
            };
        }
        match vectors {
            Some(vectors) => self.of_vfs.insert(vf.to_string(), vectors),
            None => self.of_vfs.remove(&vf.to_string()),
        };
    }

    /// Forgets what a VF has: it is about to be given another number, and nobody knows which one it has if
    /// that is interrupted.
    pub fn forget(&mut self, vf: PciAddress) {
        self.of_vfs.remove(&vf.to_string());
    }

    /// Forgets all: VFs are made anew.
    pub fn clear(&mut self) {
        self.of_vfs.clear();
    }

    /// Tells VFs what they were given, where the machine does not.
    pub fn fill(&self, observed: &mut Observed) {
        let boot_id = &observed.node.boot_id;
        if self.boot_id != *boot_id && !boot_id.is_empty() {
            return;
        }
        let adapters = observed.adapters.iter_mut();
        for vf in adapters.flat_map(|adapter| &mut adapter.vfs) {
            if vf.msix_vectors == Support::Unknown
                && let Some(vectors) = self.of_vfs.get(&vf.pci.to_string())
            {
                vf.msix_vectors = Support::Supported(*vectors);
            }
        }
    }
}

/// Why a ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        error: std::io::Error,
    },
    /// It is damaged; it was kept under another name.
    #[error("{path} is damaged ({reason}); it is kept as {kept}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Its new name.
        kept: PathBuf,
    },
}

impl Ledger {
    /// Reads the ledger of a state directory; an empty one if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged (then it has been moved aside).
    pub fn load(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(LedgerError::Io { path, error }),
        };
        let reason = match serde_json::from_slice::<Self>(&text) {
            Ok(ledger) if ledger.version <= VERSION => return Ok(ledger),
            Ok(ledger) => format!("version {} is newer than {VERSION}", ledger.version),
            Err(error) => error.to_string(),
        };
        let kept = free_name(directory);
        fs::rename(&path, &kept).map_err(|error| LedgerError::Io {
            path: path.clone(),
            error,
        })?;
        Err(LedgerError::Damaged { path, reason, kept })
    }

    /// Reads it as [`Self::load`] does; one that cannot be read is empty, and a problem.
    pub fn open(directory: &Path) -> (Self, Option<Problem>) {
        match Self::load(directory) {
            Ok(ledger) => (ledger, None),
            Err(error) => {
                let problem = Problem::new(Code::StoreFailed, format!("{error}."));
                (Self::default(), Some(problem))
            }
        }
    }

    /// Whoever this host is a node of numbers its wishes itself: after it has joined, or has left, the next wish is a
    /// beginning, whatever its number. What was wanted holds until then.
    pub fn of_member(&mut self, member: Option<Uuid>) {
        if self.member != member {
            self.member = member;
            self.desired.generation = 0;
        }
    }

    /// Forgets ports that are gone and addresses that are in no filter: there is nothing of ours left
    /// to take away. True if that changed something. Not to be called while a switch-over is under
    /// way: it may be about to add what is not there yet.
    pub fn forget_gone(&mut self, observed: &Observed) -> bool {
        let before = self.clone();
        let exists = |name: &IfName| {
            observed
                .bridges
                .iter()
                .any(|bridge| bridge.port(name).is_some())
        };
        self.learning_off.retain(exists);
        self.flood_off.retain(exists);
        let adapters = &observed.adapters;
        let filtered = |mac: &MacAddr| adapters.iter().any(|adapter| adapter.filter.contains(mac));
        self.filtered.retain(filtered);
        *self != before
    }

    /// Notes what an action is going to add, or to make unknown; true if that changed it.
    pub fn note(&mut self, action: &Action) -> bool {
        let before = self.clone();
        self.ours.note(action);
        match action {
            Action::CreateVfs { .. } => self.vectors.clear(),
            Action::VfVectors { vf, .. } => self.vectors.forget(*vf),
            Action::PortLearning { port, on: false } if !self.learning_off.contains(port) => {
                self.learning_off.push(port.clone());
            }
            Action::PortFlood { port, on: false } if !self.flood_off.contains(port) => {
                self.flood_off.push(port.clone());
            }
            Action::Filter {
                mac, present: true, ..
            } if !self.filtered.contains(mac) => self.filtered.push(*mac),
            _ => {}
        }
        *self != before
    }

    /// Notes how many VFs an adapter has before we make the first ones there; true if that changed it.
    pub fn note_before(&mut self, action: &Action, observed: &Observed) -> bool {
        let Action::CreateVfs { pf, .. } = action else {
            return false;
        };
        let mut adapters = observed.adapters.iter();
        let Some(adapter) = adapters.find(|adapter| adapter.pci == *pf) else {
            return false;
        };
        if self.made.iter().any(|made| made.adapter == adapter.id) {
            return false;
        }
        self.made.push(MadeVfs {
            adapter: adapter.id.clone(),
            before: adapter.vfs.len() as u32,
        });
        true
    }

    /// Notes the bridges of ours that are there. One that is not is forgotten unless an intent wants
    /// it: somebody took it away. True if that changed something.
    pub fn remember_bridges(&mut self, observed: &Observed) -> bool {
        let ours = observed.bridges.iter().filter_map(|bridge| {
            let mark = bridge.alias.clone()?;
            let mut ports = observed.adapters.iter();
            let uplink = ports.find(|facts| facts.master.as_ref() == Some(&bridge.ifname))?;
            mark.starts_with(BRIDGE_MARK).then(|| BridgeEntry {
                bridge: bridge.ifname.clone(),
                mark,
                adapter: uplink.id.clone(),
            })
        });
        let mut found: Vec<BridgeEntry> = ours.collect();
        let intents = &self.desired.intents;
        let missing = self.bridges.iter().filter(|entry| {
            let wanted = |intent: &Intent| {
                intent.create && intent.bridge == entry.bridge && intent.bridge_mark() == entry.mark
            };
            let there = found.iter().any(|other| other.bridge == entry.bridge);
            !there && intents.iter().any(wanted)
        });
        let missing: Vec<BridgeEntry> = missing.cloned().collect();
        found.extend(missing);
        let changed = found != self.bridges;
        self.bridges = found;
        changed
    }

    /// Replaces the ledger.
    ///
    /// # Errors
    /// If the file system refuses; the old ledger is whole then.
    pub fn save(&self, directory: &Path) -> Result<(), LedgerError> {
        let path = directory.join(FILE);
        let ledger = Self {
            version: VERSION,
            ..self.clone()
        };
        let write = || -> std::io::Result<()> {
            let text = serde_json::to_vec_pretty(&ledger)?;
            accelnet_files::replace(&path, &text)
        };
        write().map_err(|error| LedgerError::Io {
            path: path.clone(),
            error,
        })
    }
}

fn free_name(directory: &Path) -> PathBuf {
    let name = |i: u32| directory.join(format!("ledger.json.damaged-{i}"));
    name((1..).find(|i| !name(*i).exists()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_a_round_trip_and_a_torn_write() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Ledger::load(directory.path()).unwrap(), Ledger::default());
        let mut ledger = Ledger::default();
        ledger.desired.generation = 7;
        ledger.save(directory.path()).unwrap();
        fs::write(directory.path().join("ledger.json.new"), "{ torn").unwrap();
        let read = Ledger::load(directory.path()).unwrap();
        assert_eq!(read.desired.generation, 7);
    }

    #[test]
    fn what_vfs_were_given_is_known_until_the_machine_restarts() {
        let vf: PciAddress = "0000:01:10.0".parse().unwrap();
        let mut vectors = Vectors::default();
        let seen = |vectors: &Vectors, boot_id: &str, shown: Support<u32>| {
            let mut observed = accelnet_rules::fixture::observed();
            observed.node.boot_id = boot_id.to_owned();
            observed.adapters[0].vfs[0].msix_vectors = shown;
            vectors.fill(&mut observed);
            observed.adapters[0].vfs[0].msix_vectors
        };
        vectors.note("one", vf, Some(5));
        assert_eq!(
            seen(&vectors, "one", Support::Unknown),
            Support::Supported(5)
        );
        assert_eq!(seen(&vectors, "", Support::Unknown), Support::Supported(5));
        assert_eq!(seen(&vectors, "two", Support::Unknown), Support::Unknown);
        let shown = Support::Supported(3);
        assert_eq!(
            seen(&vectors, "one", shown),
            shown,
            "the machine knows better"
        );
        vectors.note("", vf, Some(4));
        assert_eq!(
            seen(&vectors, "one", Support::Unknown),
            Support::Supported(4)
        );
        vectors.note("one", vf, None);
        assert_eq!(seen(&vectors, "one", Support::Unknown), Support::Unknown);
    }

    #[test]
    fn a_damaged_one_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        for (i, text) in ["{ torn", "{\"version\":99,\"desired\":{\"generation\":1,\"intents\":[],\"enabled\":null,\"vms\":[]},\"adapters\":[]}"].iter().enumerate() {
            fs::write(directory.path().join(FILE), text).unwrap();
            let error = Ledger::load(directory.path()).unwrap_err();
            let LedgerError::Damaged { kept, .. } = error else { panic!("{error}") };
            assert_eq!(fs::read_to_string(kept).unwrap(), *text, "{i}");
            assert_eq!(Ledger::load(directory.path()).unwrap(), Ledger::default());
        }
    }
}
