//! A guest's only file system: busybox, the drivers of virtio, VF and failover, and our agent.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::{progress::Progress, shell};

const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "failover",
    "net_failover",
    "igbvf",
    "vmw_vsock_virtio_transport",
];

/// Everything that the guest depends on beside the node's images, as bytes for its checksum.
pub fn inputs(node: &Path, agent: &Path) -> Result<Vec<u8>> {
    let mut inputs = format!("{node:?} {MODULES:?}").into_bytes();
    inputs.extend_from_slice(include_bytes!("../../image/guest-init.sh"));
    inputs.extend_from_slice(&fs::read(agent)?);
    Ok(inputs)
}

/// Builds `guest.initrd` in `directory`.
pub fn build(node: &Path, agent: &Path, directory: &Path, progress: Progress) -> Result<()> {
    progress.step("making the guests' file system");
    let kernel = Kernel::open(&node.join("kernel"))?;
    let root = directory.join("root");
    let _ = fs::remove_dir_all(&root);
    for path in ["bin", "sbin", "proc", "sys", "dev", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(path))?;
    }
    copy_busybox(&root)?;
    let applets = shell::run(Command::new(root.join("bin/busybox")).arg("--list"))?;
    for applet in String::from_utf8_lossy(&applets)
        .lines()
        .filter(|name| *name != "busybox")
    {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    kernel.copy_modules(MODULES, &root)?;
    copy_program(agent, &root, "bin/accelnet-lab-guest")?;
    let init = root.join("init");
    fs::write(&init, include_str!("../../image/guest-init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(&root, &directory.join("guest.initrd"))?;
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// Copies the host's static busybox.
pub fn copy_busybox(root: &Path) -> Result<()> {
    let found = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists());
    let from = found.context("busybox is missing; 'make deps' installs busybox-static")?;
    fs::copy(from, root.join("bin/busybox"))?;
    Ok(())
}

/// Copies a program with the shared libraries that it needs.
fn copy_program(program: &Path, root: &Path, to: &str) -> Result<()> {
    fs::copy(program, root.join(to))?;
    let listed = shell::run(Command::new("ldd").arg(program))?;
    for library in libraries(&String::from_utf8_lossy(&listed)) {
        let target = root.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(target.parent().context("no parent")?)?;
        fs::copy(&library, &target)?;
    }
    Ok(())
}

/// Paths in the output of ldd(1): `name => /path (address)` or `/path (address)`.
fn libraries(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// Packs a directory into an initial file system (cpio, "newc").
pub fn pack(root: &Path, target: &Path) -> Result<()> {
    let script = format!(
        "cd {} && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0",
        shell::quote(&root.display().to_string())
    );
    let archive = shell::run(Command::new("sh").args(["-c", &script]))?;
    if archive.is_empty() {
        bail!("cpio made an empty archive of {}", root.display());
    }
    fs::write(target, archive)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(
            libraries(listed),
            [
                PathBuf::from("/lib/x/libc.so.6"),
                PathBuf::from("/lib64/ld.so")
            ]
        );
    }
}
