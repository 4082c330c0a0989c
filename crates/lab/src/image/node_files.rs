//! What is written onto a node's disk beside its packages: files of its own, and which services it starts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use anyhow::{Context, Result};

use super::pacemaker;

/// Files of the image: path below its root, mode, content.
const FILES: &[(&str, u32, &str)] = &[
    (
        "etc/ssh/lab_sshd_config",
        0o644,
        include_str!("../../image/sshd_config"),
    ),
    (
        "etc/systemd/system/lab-prepare.service",
        0o644,
        include_str!("../../image/lab-prepare.service"),
    ),
    (
        "etc/systemd/system/lab-sshd.service",
        0o644,
        include_str!("../../image/lab-sshd.service"),
    ),
    (
        "etc/systemd/system/lab-card.service",
        0o644,
        include_str!("../../image/lab-card.service"),
    ),
    (
        "etc/systemd/system/lab-ready.service",
        0o644,
        include_str!("../../image/lab-ready.service"),
    ),
    (
        "etc/systemd/system/libvirtd.service",
        0o644,
        include_str!("../../image/libvirtd.service"),
    ),
    (
        "usr/local/sbin/lab-ready",
        0o755,
        include_str!("../../image/lab-ready.sh"),
    ),
    (
        "usr/local/sbin/lab-prepare",
        0o755,
        include_str!("../../image/lab-prepare.sh"),
    ),
    (
        "etc/libvirt/qemu.conf",
        0o600,
        include_str!("../../image/qemu.conf"),
    ),
    (
        "etc/libvirt/libvirtd.conf",
        0o644,
        include_str!("../../image/libvirtd.conf"),
    ),
    (
        "etc/systemd/network/10-pf.link",
        0o644,
        include_str!("../../image/10-pf.link"),
    ),
    (
        "etc/systemd/network/10-pf1.link",
        0o644,
        include_str!("../../image/10-pf1.link"),
    ),
    (
        "etc/systemd/network/10-mgmt.link",
        0o644,
        include_str!("../../image/10-mgmt.link"),
    ),
    (
        "etc/systemd/network/20-mgmt.network",
        0o644,
        include_str!("../../image/20-mgmt.network"),
    ),
    (
        "etc/systemd/network/20-pf0.network",
        0o644,
        include_str!("../../image/20-pf0.network"),
    ),
    (
        "etc/modules-load.d/lab.conf",
        0o644,
        include_str!("../../image/modules.conf"),
    ),
    (
        "etc/systemd/system/accelnet-boot.service",
        0o644,
        include_str!("../../../../packaging/systemd/accelnet-boot.service"),
    ),
    (
        "etc/systemd/system/accelnetd.service",
        0o644,
        include_str!("../../../../packaging/systemd/accelnetd.service"),
    ),
    (
        "etc/systemd/system/accelnet-park.service",
        0o644,
        include_str!("../../../../packaging/systemd/accelnet-park.service"),
    ),
    (
        "etc/systemd/system/accelnet-server.service",
        0o644,
        include_str!("../../../../packaging/systemd/accelnet-server.service"),
    ),
    (
        "etc/systemd/system/accelnet-agent.service",
        0o644,
        include_str!("../../../../packaging/systemd/accelnet-agent.service"),
    ),
    (
        "etc/systemd/system/lab-etcd.service",
        0o644,
        include_str!("../../image/lab-etcd.service"),
    ),
    (
        "etc/systemd/system-preset/00-lab.preset",
        0o644,
        include_str!("../../image/lab.preset"),
    ),
    (
        "etc/systemd/network/10-cluster.link",
        0o644,
        include_str!("../../image/10-cluster.link"),
    ),
    (
        "etc/ssh/ssh_config.d/lab.conf",
        0o644,
        include_str!("../../image/ssh_config"),
    ),
    ("etc/fstab", 0o644, ""),
    ("etc/machine-id", 0o644, "uninitialized\n"),
];

/// What every node starts. A lab that forms a cluster enables the units of that itself.
const UNITS: &[&str] = &[
    "lab-prepare.service",
    "lab-sshd.service",
    "lab-card.service",
    "lab-ready.service",
    "libvirtd.service",
    "systemd-networkd.service",
    "accelnet-boot.service",
    "accelnetd.service",
    "accelnet-park.service",
];

/// Services that a lab node does not need and that cost boot time in software emulation.
const MASKED: &[&str] = &[
    "ssh.service",
    "ssh.socket",
    "getty.target",
    "serial-getty@ttyS0.service",
    "systemd-logind.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "systemd-timesyncd.service",
    "systemd-networkd-wait-online.service",
    "systemd-update-utmp.service",
    "systemd-random-seed.service",
    "systemd-pstore.service",
    "libvirtd.socket",
    "libvirtd-ro.socket",
    "libvirtd-admin.socket",
    "virtlogd.service",
    "virtlogd.socket",
    "virtlockd.socket",
    "virtlockd.service",
    "modprobe@drm.service",
    "systemd-journal-flush.service",
    "sys-kernel-debug.mount",
    "dev-mqueue.mount",
];

/// All of it, for a checksum.
pub fn inputs() -> String {
    let mut text = format!("{UNITS:?}\n{MASKED:?}\n");
    for (path, mode, content) in FILES {
        text.push_str(&format!("{path} {mode:o} {}\n{content}\n", content.len()));
    }
    text
}

/// Writes them below `root`, where the packages are already.
pub fn write_all(root: &Path) -> Result<()> {
    for (path, mode, content) in FILES {
        write(&root.join(path), *mode, content)?;
    }
    fs::create_dir_all(root.join("lab"))?;
    let bin = root.join("usr/local/bin");
    for name in ["accelnet", "accelnetd", "accelnet-lab-guest"] {
        symlink(format!("/lab/bin/{name}"), bin.join(name))?;
    }
    let system = root.join("etc/systemd/system");
    let wants = system.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    fs::create_dir_all(system.join("sysinit.target.wants"))?;
    for unit in UNITS {
        let wanted_by = if *unit == "lab-prepare.service" {
            "sysinit"
        } else {
            "multi-user"
        };
        let here = system.join(unit);
        let unit_path = if here.exists() {
            format!("/etc/systemd/system/{unit}")
        } else {
            format!("/lib/systemd/system/{unit}")
        };
        let link = system.join(format!("{wanted_by}.target.wants/{unit}"));
        let _ = fs::remove_file(&link);
        symlink(unit_path, link)?;
    }
    for unit in MASKED {
        let link = system.join(unit);
        let _ = fs::remove_file(&link);
        symlink("/dev/null", link)?;
    }
    let _ = fs::remove_file(system.join("default.target"));
    symlink(
        "/lib/systemd/system/multi-user.target",
        system.join("default.target"),
    )?;
    Ok(())
}

/// The same of a node with Pacemaker. What its packages enabled stays off: the release's configuration of corosync is of one node alone.
pub fn write_pacemaker(root: &Path) -> Result<()> {
    for (path, mode, content) in pacemaker::FILES {
        write(&root.join(path), *mode, content)?;
    }
    let system = root.join("etc/systemd/system");
    let mut preset = String::new();
    for unit in pacemaker::OFF {
        let _ = fs::remove_file(system.join(format!("multi-user.target.wants/{unit}")));
        preset.push_str(&format!("disable {unit}\n"));
    }
    let path = "etc/systemd/system-preset/00-lab-pacemaker.preset";
    write(&root.join(path), 0o644, &preset)
}

/// One file, with the directories that it is in.
pub fn write(path: &Path, mode: u32, content: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("no parent")?)?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
