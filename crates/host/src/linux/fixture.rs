//! Recorded machines for tests: a text file lists a tree of `/sys`, `/proc` and `/dev`, which is
//! laid out in a temporary directory.
//!
//! One entry a line; `#` starts a comment:
//! - `d PATH` a directory,
//! - `f PATH TEXT` a file, with `\n` for line ends,
//! - `l PATH TARGET` a symbolic link,
//! - `x PATH LENGTH OFFSET:BYTES …` a binary file, all numbers hexadecimal, zero elsewhere.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Arc, thread, time::Duration};

use tempfile::TempDir;

use super::{deadline, sysfs::Root};

/// A machine laid out in a temporary directory, which goes with the last clone.
#[derive(Clone)]
pub struct Machine {
    directory: Arc<TempDir>,
    root: Root,
}

/// A node of the emulated lab: an 82576 behind a root port with 7 VFs (0 held by a VM, 1 idle on
/// vfio-pci, 2 taken by igbvf, the others without driver), and a virtio NIC without SR-IOV.
pub fn igb() -> Machine {
    Machine::from_recording(include_str!("fixture/igb.tree"))
}

/// A ConnectX-5 below a root port, with 2 of 8 VFs.
pub fn mlx5() -> Machine {
    Machine::from_recording(include_str!("fixture/mlx5.tree"))
}

/// An E810 without a cable and without VFs.
pub fn ice() -> Machine {
    Machine::from_recording(include_str!("fixture/ice.tree"))
}

/// An 82599 behind a PCIe switch, on a kernel that says nothing of vectors.
pub fn ixgbe() -> Machine {
    Machine::from_recording(include_str!("fixture/ixgbe.tree"))
}

/// A BlueField's uplink `p0` with a VF, beside it a scalable function and representors.
pub fn bluefield() -> Machine {
    Machine::from_recording(include_str!("fixture/bluefield.tree"))
}

/// A Chelsio T5 with two ports, and beside it an InfiniBand card and a network card behind Intel VMD.
pub fn chelsio_and_infiniband() -> Machine {
    Machine::from_recording(include_str!("fixture/chelsio_and_infiniband.tree"))
}

impl Machine {
    fn from_recording(text: &str) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let root = Root::at(directory.path());
        let machine = Self { directory, root };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            let (kind, path) = (words.next().unwrap(), words.next().unwrap());
            let rest = words.next().unwrap_or_default();
            match kind {
                "#" => {}
                "d" => machine.directory(path),
                "f" => machine.write(path, &rest.replace("\\n", "\n")),
                "l" => machine.link(path, rest),
                "x" => machine.write_bytes(path, &sparse(rest)),
                _ => panic!("not a line of a recording: {line}"),
            }
        }
        machine
    }

    /// Where the machine's files are.
    pub fn root(&self) -> &Root {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Makes a directory.
    pub fn directory(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A file's text without surrounding white space.
    pub fn read(&self, path: &str) -> String {
        let text = fs::read_to_string(self.path(path)).unwrap();
        text.trim().to_owned()
    }

    /// Makes a symbolic link.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// Removes a file, link or directory.
    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    /// Overwrites some bytes of a file.
    pub fn patch(&self, path: &str, at: usize, bytes: &[u8]) {
        let path = self.path(path);
        let mut content = fs::read(&path).unwrap();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(path, content).unwrap();
    }

    /// Cuts a file off.
    pub fn shorten(&self, path: &str, length: usize) {
        let path = self.path(path);
        let content = fs::read(&path).unwrap();
        fs::write(path, &content[..length]).unwrap();
    }
}

fn sparse(text: &str) -> Vec<u8> {
    let mut words = text.split_whitespace();
    let number = |word: &str| usize::from_str_radix(word, 16).unwrap();
    let mut bytes = vec![0; number(words.next().unwrap())];
    for word in words {
        let (at, digits) = word.split_once(':').unwrap();
        for index in 0..digits.len() / 2 {
            let byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap();
            bytes[number(at) + index] = byte;
        }
    }
    bytes
}

/// Plays the kernel: when `file` has been written to (is not as it was), does what the kernel would.
pub fn react(
    machine: &Machine,
    file: &str,
    then: impl FnOnce(&Machine) + Send + 'static,
) -> thread::JoinHandle<()> {
    let (machine, file) = (machine.clone(), file.to_owned());
    let before = machine.read(&file);
    thread::spawn(move || {
        let changed = deadline::wait_for("a write", Duration::from_secs(20), || {
            Ok((machine.read(&file) != before).then_some(()))
        });
        changed.unwrap();
        then(&machine);
    })
}
