//! A node's disk: the host's own release (so that programs built here run there), with systemd,
//! libvirt, QEMU and sshd, and the modules of the release's kernel.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{Variant, kernel::Kernel, node_files, own_modules, pacemaker};
use crate::{progress::Progress, shell};

const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "udev",
    "dbus",
    "openssh-server",
    "iproute2",
    "ethtool",
    "pciutils",
    // /metrics is read by it.
    "curl",
    "iputils-ping",
    "kmod",
    "procps",
    "nftables",
    "tcpdump",
    "iptables",
    // libvirt-guests.sh reads its gettext.sh.
    "gettext-base",
];

/// From backports on Debian 12, whose own QEMU has no SR-IOV card and whose libvirt is older.
const NEWER_PACKAGES: &[&str] = &[
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
    "libvirt0",
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
];

/// For networks of libvirt, such as pools of VFs.
const NETWORK_DRIVER: &str = "libvirt-daemon-driver-network";

const MODULES: &[&str] = &[
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_pci",
    "9p",
    "9pnet_virtio",
    "ext4",
    "crc32c_generic",
    "igb",
    "igbvf",
    "vfio-pci",
    "vfio_iommu_type1",
    "kvm-amd",
    "kvm-intel",
    "tun",
    "tap",
    "bridge",
    "br_netfilter",
    "vhost_net",
    "vhost_vsock",
    "vsock",
    "net_failover",
    "8021q",
    "bonding",
    "veth",
    "dummy",
    "macvlan",
    "macvtap",
    "sch_netem",
    "sch_plug",
    "sch_ingress",
    "sch_htb",
    "sch_tbf",
    "sch_fq_codel",
    "sch_fq",
    "sch_sfq",
    "cls_flower",
    "cls_u32",
    "cls_bpf",
    "cls_matchall",
    "act_mirred",
    "act_gact",
    "act_police",
    "nfnetlink_hook",
    "nf_tables",
    "nf_flow_table_inet",
    "iptable_filter",
    "xt_physdev",
    "xt_tcpudp",
    "ipt_REJECT",
    "nft_meta_bridge",
    "nf_conntrack_bridge",
    "nft_limit",
    "nft_ct",
    "nft_counter",
    "nft_compat",
    "nft_chain_nat",
    "nft_reject_bridge",
    "ebt_ip",
    "ebt_arp",
    "ebt_limit",
    "ebt_mark",
    "ebtable_filter",
    "autofs4",
    "efivarfs",
    "loop",
];

/// What `modprobe` may not know in some release, because it is built in or was renamed.
const OPTIONAL_MODULES: &[&str] = &[
    "nf_flow_table_inet",
    "iptable_filter",
    "nft_counter",
    "nft_meta_bridge",
    "nft_chain_nat",
    "ebt_ip",
    "ebt_arp",
    "ebt_limit",
    "ebt_mark",
    "ebtable_filter",
    "efivarfs",
    "autofs4",
    "crc32c_generic",
];

/// Everything that the disk depends on, as bytes for its checksum.
pub fn inputs(variant: Variant) -> Result<Vec<u8>> {
    let release = Release::of_this_machine()?;
    let mut text = format!("{release:?}\n{PACKAGES:?}\n{NEWER_PACKAGES:?}\n{MODULES:?}\n");
    text.push_str(&node_files::inputs());
    text.push_str(include_str!("../../image/init.sh"));
    text.push_str(&own_modules::inputs());
    if variant == Variant::Pacemaker {
        let (packages, off, files) = (pacemaker::PACKAGES, pacemaker::OFF, pacemaker::FILES);
        text.push_str(&format!("{packages:?} {off:?} {files:?}"));
    }
    Ok(text.into_bytes())
}

/// Builds `vmlinux`, `node.initrd`, `node.qcow2` and `modules/` (for the guest) in `directory`.
pub fn build(variant: Variant, directory: &Path, progress: Progress) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "building the node's image needs root (file owners inside the image).\n  \
         cure: run 'sudo -E accelnet-lab build' once; running labs then needs no root"
    );
    let release = Release::of_this_machine()?;
    let root = directory.join("root");
    // What a killed build left here must not get into this one.
    let _ = fs::remove_dir_all(&root);
    progress.step(format!(
        "installing {} into the node's image (about 40 s)",
        release.codename
    ));
    install_packages(variant, &release, &root)?;
    progress.step("unpacking the kernel");
    let package = find_kernel_package(&root)?;
    let kernel_root = directory.join("kernel");
    let _ = fs::remove_dir_all(&kernel_root);
    let kernel = Kernel::unpack(&package, &kernel_root)?;
    fs::remove_file(&package)?;
    kernel.write_vmlinux(&directory.join("vmlinux"))?;
    build_initrd(&kernel, directory)?;
    copy_modules(&kernel, &root)?;
    let scratch = directory.join("own-modules");
    own_modules::build(&root.join("root"), &kernel.release, &scratch, &root)?;
    node_files::write_all(&root)?;
    if variant == Variant::Pacemaker {
        node_files::write_pacemaker(&root)?;
    }
    progress.step("making the node's disk");
    let raw = directory.join("node.ext4");
    let _ = fs::remove_file(&raw);
    shell::run(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-m0", "-L", "lab-node", "-d"])
            .args([&root, &raw])
            .arg("3G"),
    )?;
    let disk = directory.join("node.qcow2");
    shell::run(
        Command::new("qemu-img")
            .args(["convert", "-q", "-O", "qcow2"])
            .args([&raw, &disk]),
    )?;
    fs::remove_file(&raw)?;
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// Which release this machine runs, and where its packages come from.
#[derive(Debug)]
struct Release {
    codename: String,
    sources: Vec<String>,
    /// Suite of the newer packages, where the release's own are too old.
    backports: Option<String>,
    /// libvirt's drivers have packages of their own (Debian since libvirt 10.6); before they are in libvirt-daemon.
    drivers_apart: bool,
}

impl Release {
    fn of_this_machine() -> Result<Self> {
        let os = fs::read_to_string("/etc/os-release")?;
        let codename = os
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .map(|name| name.trim_matches('"').to_owned())
            .context("/etc/os-release names no release; the lab needs Debian or Ubuntu")?;
        let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
        let list = shell::run(Command::new("apt-get").args([
            "-qq",
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        let list = String::from_utf8_lossy(&list).into_owned();
        let mirror = list
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words.get(1) == Some(&codename.as_str()) && words.get(2) == Some(&"main"))
            .map(|words| words[0].to_owned())
            .with_context(|| format!("apt has no source for {codename}; run 'apt-get update'"))?;
        let backports = (codename == "bookworm").then(|| "bookworm-backports".to_owned());
        let components = if os.contains("ID=ubuntu") {
            "main universe"
        } else {
            "main"
        };
        let mut sources = vec![format!("deb {mirror} {codename} {components}")];
        sources.extend(
            backports
                .iter()
                .map(|suite| format!("deb {mirror} {suite} {components}")),
        );
        let shown = Command::new("apt-cache")
            .args(["show", "-qq", NETWORK_DRIVER])
            .output()
            .context("apt-cache cannot be run")?;
        let known = shown.status.success() && !shown.stdout.is_empty();
        Ok(Self {
            codename,
            sources,
            drivers_apart: known || backports.is_some(),
            backports,
        })
    }
}

fn install_packages(variant: Variant, release: &Release, root: &Path) -> Result<()> {
    let suffix = release
        .backports
        .as_ref()
        .map(|suite| format!("/{suite}"))
        .unwrap_or_default();
    let driver = release.drivers_apart.then_some(NETWORK_DRIVER);
    let newer = NEWER_PACKAGES.iter().copied().chain(driver);
    let more = match variant {
        Variant::Plain => &[][..],
        Variant::Pacemaker => pacemaker::PACKAGES,
    };
    let packages: Vec<String> = PACKAGES
        .iter()
        .chain(more)
        .map(|name| (*name).to_owned())
        .chain(newer.map(|name| format!("{name}{suffix}")))
        .collect();
    let from = release.backports.as_deref().unwrap_or(&release.codename);
    // The kernel is only fetched: installing it would build an initial file system for nothing. So are its
    // headers, with which a module is built on the host.
    let fetch = format!(
        "cd /root && v=$(apt-cache madison linux-image-amd64 | grep -F {from}/ | head -n1 | cut -d'|' -f2 | tr -d ' ') \
         && p=$(apt-cache depends linux-image-amd64=$v | sed -n 's/.*Depends: //p' | head -n1) \
         && apt-get -q download -t {from} $p \
         && h=linux-headers-${{p#linux-image-}} \
         && apt-get -q download -t {from} $h $(apt-cache depends $h | grep -oE 'linux-(headers|kbuild)-.*')"
    );
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--quiet"]);
    for option in [
        "APT::Install-Recommends \"false\"",
        "Acquire::Languages \"none\"",
    ] {
        command.arg(format!("--aptopt={option}"));
    }
    for path in ["man", "doc", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
    }
    command.arg(format!("--include={}", packages.join(",")));
    command.arg(format!(
        "--customize-hook=chroot \"$1\" sh -c {}",
        shell::quote(&fetch)
    ));
    command
        .arg(&release.codename)
        .arg(root)
        .args(&release.sources);
    shell::run(&mut command)?;
    for junk in ["var/cache/apt", "var/lib/apt/lists"] {
        let _ = fs::remove_dir_all(root.join(junk));
    }
    Ok(())
}

fn find_kernel_package(root: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(root.join("root"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("linux-image-") {
            return Ok(path);
        }
    }
    bail!("the kernel's package was not fetched")
}

fn build_initrd(kernel: &Kernel, directory: &Path) -> Result<()> {
    let root = directory.join("initrd");
    let _ = fs::remove_dir_all(&root);
    for path in ["bin", "proc", "sys", "dev", "newroot"] {
        fs::create_dir_all(root.join(path))?;
    }
    super::guest_initrd::copy_busybox(&root)?;
    symlink("busybox", root.join("bin/sh"))?;
    kernel.copy_modules(&["virtio_pci", "virtio_blk", "ext4"], &root)?;
    node_files::write(
        &root.join("init"),
        0o755,
        include_str!("../../image/init.sh"),
    )?;
    super::guest_initrd::pack(&root, &directory.join("node.initrd"))?;
    fs::remove_dir_all(&root)?;
    Ok(())
}

fn copy_modules(kernel: &Kernel, root: &Path) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for name in MODULES {
        if OPTIONAL_MODULES.contains(name) && kernel.lacks(name) {
            continue;
        }
        names.push(name);
    }
    kernel.copy_modules(&names, root)
}
