//! Images, built once and cached by a checksum of everything they are made from.
//!
//! | file | what |
//! |---|---|
//! | `vmlinux` | the release's kernel, uncompressed (nodes and guests start it directly) |
//! | `node.initrd` | mounts the node's disk and hands over to systemd |
//! | `node.qcow2` | the node's disk: the host's own release, systemd, libvirt, QEMU, sshd |
//! | `guest.initrd` | a guest: busybox, the VF and failover drivers, our agent |
//!
//! Building the node's disk needs root (file owners); running a lab does not.

mod guest_initrd;
mod kernel;
mod node_disk;
mod node_files;
mod own_modules;
mod pacemaker;

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{paths, progress::Progress};

/// The finished images.
#[derive(Debug, Clone)]
pub struct Images {
    /// Kernel of nodes and guests.
    pub kernel: PathBuf,
    /// Initial file system of nodes.
    pub node_initrd: PathBuf,
    /// Disk that the nodes' own disks are laid over.
    pub node_disk: PathBuf,
    /// Initial file system of guests.
    pub guest_initrd: PathBuf,
}

/// What nodes have beside what all have. Each has images of its own, made when they are first wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Variant {
    /// Nothing.
    #[default]
    Plain,
    /// Pacemaker, corosync and crmsh.
    Pacemaker,
}

impl Variant {
    /// What its sets in the cache are called.
    fn kinds(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("node", "guest"),
            Self::Pacemaker => ("pacemaker-node", "pacemaker-guest"),
        }
    }
}

/// Raise it when the way images are built changes without a change of their inputs.
const RECIPE: u32 = 1;

/// The images, from the cache or built now. Two builders never work at once.
pub fn ensure(variant: Variant, progress: Progress) -> Result<Images> {
    let cache = paths::cache()?;
    let lock = File::create(cache.join("lock"))?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        progress.step("waiting for another build of the images to end");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    }
    let (node_kind, guest_kind) = variant.kinds();
    let node = ensure_set(
        &cache,
        node_kind,
        &node_disk::inputs(variant)?,
        progress,
        |directory, progress| node_disk::build(variant, directory, progress),
    )?;
    let agent = guest_agent()?;
    let guest_inputs = guest_initrd::inputs(&node, &agent)?;
    let guest = ensure_set(
        &cache,
        guest_kind,
        &guest_inputs,
        progress,
        |directory, progress| guest_initrd::build(&node, &agent, directory, progress),
    )?;
    Ok(Images {
        kernel: node.join("vmlinux"),
        node_initrd: node.join("node.initrd"),
        node_disk: node.join("node.qcow2"),
        guest_initrd: guest.join("guest.initrd"),
    })
}

/// The guest's agent lies beside our own program: cargo builds both.
pub fn guest_agent() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut directory = own.parent().context("no directory")?.to_owned();
    // Test programs lie one level deeper, in `deps`.
    if directory.ends_with("deps") {
        directory.pop();
    }
    let agent = directory.join("accelnet-lab-guest");
    if !agent.exists() {
        bail!(
            "{} is missing: build it with 'cargo build -p accelnet-lab'",
            agent.display()
        );
    }
    Ok(agent)
}

fn ensure_set(
    cache: &Path,
    kind: &str,
    inputs: &[u8],
    progress: Progress,
    build: impl FnOnce(&Path, Progress) -> Result<()>,
) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(RECIPE.to_le_bytes());
    hash.update(inputs);
    let key: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let finished = cache.join(format!("{kind}-{key}"));
    if finished.exists() {
        match verify(&finished) {
            Ok(()) => return Ok(finished),
            Err(error) => {
                progress.step(format!(
                    "cached images are damaged ({error}); building them anew"
                ));
                fs::remove_dir_all(&finished)?;
            }
        }
    }
    // Older sets of the same kind are of no use any more, nor is what a killed build left.
    for entry in fs::read_dir(cache)?.flatten() {
        let same_kind = entry
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{kind}-"));
        if same_kind && !in_use(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let scratch = cache.join(format!("{kind}-{key}.building"));
    fs::create_dir_all(&scratch)?;
    build(&scratch, progress)?;
    seal(&scratch)?;
    fs::rename(&scratch, &finished)?;
    Ok(finished)
}

/// A running lab keeps a lock on the images that its disks are laid over (see `lab::up`).
fn in_use(directory: &Path) -> bool {
    let Ok(file) = File::open(directory.join("in-use")) else {
        return false;
    };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Writes sizes and checksums of all files of a set.
fn seal(directory: &Path) -> Result<()> {
    let mut lines = String::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let size = fs::metadata(&path)?.len();
            lines.push_str(&format!("{} {size} {name}\n", checksum(&path)?));
        }
    }
    fs::write(directory.join("in-use"), "")?;
    let mut file = File::create(directory.join("checksums"))?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

fn verify(directory: &Path) -> Result<()> {
    let lines = fs::read_to_string(directory.join("checksums"))?;
    for line in lines.lines() {
        let mut words = line.split(' ');
        let (Some(sum), Some(size), Some(name)) = (words.next(), words.next(), words.next()) else {
            bail!("the list of checksums is cut off");
        };
        let path = directory.join(name);
        if fs::metadata(&path)?.len().to_string() != size || checksum(&path)? != sum {
            bail!("{name} is not what was built");
        }
    }
    Ok(())
}

fn checksum(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_set_is_built_again() {
        let cache =
            std::env::temp_dir().join(format!("accelnet-lab-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&cache).unwrap();
        let quiet = Progress::new(true);
        let mut builds = 0;
        let mut ensure = |inputs: &[u8]| {
            ensure_set(&cache, "x", inputs, quiet, |directory, _| {
                builds += 1;
                Ok(fs::write(directory.join("file"), b"content")?)
            })
            .unwrap()
        };
        let first = ensure(b"a");
        assert_eq!(ensure(b"a"), first);
        fs::write(first.join("file"), b"Content").unwrap();
        assert_eq!(ensure(b"a"), first);
        assert_ne!(ensure(b"b"), first, "other inputs, other images");
        assert_eq!(builds, 3);
        fs::remove_dir_all(&cache).unwrap();
    }
}
