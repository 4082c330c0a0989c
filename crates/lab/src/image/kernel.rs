//! The kernel package: unpacking it, and taking modules out of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// An unpacked kernel package.
#[derive(Debug)]
pub struct Kernel {
    root: PathBuf,
    /// `uname -r`.
    pub release: String,
}

impl Kernel {
    /// Unpacks a `linux-image-*.deb` into `root`.
    pub fn unpack(package: &Path, root: &Path) -> Result<Self> {
        shell::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
        let kernel = Self::open(root)?;
        shell::run(
            Command::new("depmod")
                .arg("-b")
                .arg(root)
                .arg(&kernel.release),
        )?;
        Ok(kernel)
    }

    /// One that was unpacked before.
    pub fn open(root: &Path) -> Result<Self> {
        let modules = modules_directory(root)?;
        let entry = fs::read_dir(&modules)?
            .next()
            .context("the kernel has no modules")??;
        let release = entry.file_name().to_string_lossy().into_owned();
        Ok(Self {
            root: root.to_owned(),
            release,
        })
    }

    /// Copies modules and what they need, decompressed, below `target`, and indexes them there.
    pub fn copy_modules(&self, names: &[&str], target: &Path) -> Result<()> {
        let from = modules_directory(&self.root)?.join(&self.release);
        let to = target.join("lib/modules").join(&self.release);
        fs::create_dir_all(&to)?;
        for index in [
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.order",
        ] {
            fs::copy(from.join(index), to.join(index))?;
        }
        for file in self.with_dependencies(names)? {
            let relative = file
                .strip_prefix(&from)
                .context("a module outside of its tree")?;
            let compressed = relative.extension().is_some_and(|end| end == "xz");
            let plain = relative.with_extension("");
            let target = to.join(if compressed { &plain } else { relative });
            fs::create_dir_all(target.parent().context("no parent")?)?;
            if compressed {
                fs::write(
                    target,
                    shell::run(Command::new("xz").arg("-dc").arg(&file))?,
                )?;
            } else {
                fs::copy(&file, target)
                    .with_context(|| format!("cannot copy {}", file.display()))?;
            }
        }
        shell::run(
            Command::new("depmod")
                .arg("-b")
                .arg(target)
                .arg(&self.release),
        )?;
        Ok(())
    }

    /// True if there is no such module (it may be built in, or have another name in this release).
    pub fn lacks(&self, name: &str) -> bool {
        self.with_dependencies(&[name]).is_err()
    }

    fn with_dependencies(&self, names: &[&str]) -> Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        for name in names {
            let out = Command::new("modprobe")
                .arg("-d")
                .arg(&self.root)
                .args(["-S", &self.release, "--show-depends", name])
                .output()
                .context("modprobe cannot be run")?;
            ensure!(
                out.status.success(),
                "the kernel {} has no module {name}",
                self.release
            );
            // Lines are "insmod PATH [OPTIONS]" or "builtin NAME".
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let paths = text.lines().filter_map(|line| line.strip_prefix("insmod "));
            files.extend(
                paths
                    .filter_map(|rest| rest.split_whitespace().next())
                    .map(PathBuf::from),
            );
        }
        Ok(files)
    }

    /// The kernel itself, uncompressed, in the form that can be started directly (PVH).
    pub fn write_vmlinux(&self, target: &Path) -> Result<()> {
        let image = fs::read(self.root.join(format!("boot/vmlinuz-{}", self.release)))?;
        let scratch = target.with_extension("zst");
        fs::write(&scratch, payload(&image)?)?;
        let plain = shell::run(Command::new("zstd").arg("-dc").arg(&scratch))?;
        fs::remove_file(&scratch)?;
        ensure!(
            plain.starts_with(b"\x7fELF"),
            "the kernel's payload is no ELF file"
        );
        fs::write(target, plain)?;
        Ok(())
    }
}

fn modules_directory(root: &Path) -> Result<PathBuf> {
    ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|path| root.join(path))
        .find(|path| path.is_dir())
        .with_context(|| format!("there are no modules below {}", root.display()))
}

/// The compressed payload of a bzImage. Offsets: the kernel's Documentation/arch/x86/boot.rst
/// (setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c; the payload's last four
/// bytes are its uncompressed size).
fn payload(image: &[u8]) -> Result<&[u8]> {
    let word = |at: usize| {
        let bytes = image
            .get(at..at + 4)
            .context("the kernel image is cut off")?;
        Ok::<_, anyhow::Error>(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let setup = usize::from(*image.get(0x1f1).context("the kernel image is cut off")?);
    let start = (setup + 1) * 512 + word(0x248)?;
    let length = word(0x24c)?.saturating_sub(4);
    match image.get(start..start + length) {
        Some(payload) if payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => Ok(payload),
        Some(_) => bail!("the kernel is not compressed with zstd"),
        None => bail!("the kernel image is cut off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_kernel_is_refused() {
        assert!(payload(&[]).is_err());
        assert!(payload(&[0; 4096]).is_err());
    }
}
