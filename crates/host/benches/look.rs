//! One look at a node with 500 VMs and 64 VFs: a fixed number of netlink dumps, and less than 100 ms of
//! processor (DESIGN §9).
//!
//! `make bench`, as root: taps on a bridge of the real kernel, in a network of their own; the VFs are
//! files laid out like sysfs has them. Measured is processor time of the process, what the kernel does
//! for it included, beside the tools that show the same. It fails on a wrong answer, or if more taps
//! need more dumps; not on a time.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use accelnet_host::{
    Entry, Host, PolicyPath,
    linux::{Linux, netlink, sysfs::Root},
};
use accelnet_model::{FdbKey, IfName, MacAddr};
use anyhow::{Context, Result, ensure};
use rustix::{
    mount,
    thread::UnshareFlags,
    time::{ClockId, clock_gettime},
};

const TAPS: usize = 500;
const VFS: usize = 64;
const LOOKS: usize = 20;
/// The bar.
const MOST: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    own_network(directory.path()).context("a network namespace of its own needs root")?;
    let host = Linux::at(Root::at(directory.path()));
    let few = Node::with(&host, TAPS / 10, 0)?;
    few.look(&host)?;
    let (_, dumps_of_few) = few.look(&host)?;
    let node = Node::with(&host, TAPS, TAPS / 10)?;
    // The first finds the kernel's tables cold.
    node.look(&host)?;
    let mut times = Vec::new();
    let mut dumps = 0;
    for _ in 0..LOOKS {
        let (time, needed) = node.look(&host)?;
        times.push(time);
        dumps = needed;
    }
    times.sort_unstable();
    let median = times[LOOKS / 2];
    let worst = times[LOOKS - 1];
    println!("one look at {TAPS} taps and {VFS} VFs, processor time of {LOOKS} looks:");
    println!("  median {median:?}, worst {worst:?} (bar: {MOST:?})");
    println!(
        "  netlink dumps: {dumps}; with {} taps: {dumps_of_few} (bar: the same)",
        TAPS / 10
    );
    for (what, time) in node.parts(&host)? {
        println!("  of it {what}: {time:?}");
    }
    let tools = [
        "bridge -j fdb show",
        "ip -j -d -s link show",
        "tc -j qdisc show",
    ];
    let mut all = Duration::ZERO;
    for tool in tools {
        let time = of_tool(tool)?;
        all += time;
        println!("  {tool}: {time:?}");
    }
    println!("  the tools together: {all:?}");
    ensure!(dumps == dumps_of_few, "more taps need more dumps");
    Ok(())
}

/// From here on this process has a network of its own, and `directory` a `/sys` with it and an adapter.
fn own_network(directory: &Path) -> Result<()> {
    // SAFETY: no other thread runs yet, and no descriptor is shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS)? };
    let private = mount::MountPropagationFlags::PRIVATE | mount::MountPropagationFlags::REC;
    mount::mount_change("/", private)?;
    let real = directory.join("real");
    fs::create_dir(&real)?;
    mount::mount("sysfs", &real, "sysfs", mount::MountFlags::empty(), None)?;
    symlink("/proc", directory.join("proc"))?;
    let sys = directory.join("sys");
    fs::create_dir(&sys)?;
    symlink("../real/class", sys.join("class"))?;
    adapter(&sys)?;
    Ok(())
}

/// A card with all its VFs on vfio-pci, each in a group of its own.
fn adapter(sys: &Path) -> Result<()> {
    let (port, devices) = (
        "devices/pci0000:00/0000:00:01.0",
        sys.join("bus/pci/devices"),
    );
    fs::create_dir_all(&devices)?;
    let function = |name: &str, files: &[(&str, &str)]| -> io::Result<_> {
        let path = sys.join(port).join(name);
        fs::create_dir_all(&path)?;
        symlink(&path, devices.join(name))?;
        for (file, text) in files {
            fs::write(path.join(file), text)?;
        }
        Ok(path)
    };
    let pf = function(
        "0000:03:00.0",
        &[
            ("class", "0x020000\n"),
            ("vendor", "0x8086\n"),
            ("device", "0x10fb\n"),
            ("sriov_totalvfs", "64\n"),
            ("sriov_numvfs", "64\n"),
            ("sriov_drivers_autoprobe", "0\n"),
        ],
    )?;
    let driver = sys.join("bus/pci/drivers/vfio-pci");
    fs::create_dir_all(&driver)?;
    for vf in 0..VFS {
        let name = format!("0000:03:{:02x}.{}", 16 + vf / 8, vf % 8);
        let path = function(&name, &[("class", "0x020000\n")])?;
        symlink("../0000:03:00.0", path.join("physfn"))?;
        symlink(&driver, path.join("driver"))?;
        symlink(format!("../{name}"), pf.join(format!("virtfn{vf}")))?;
        let group = sys.join(format!("kernel/iommu_groups/{}", 10 + vf));
        fs::create_dir_all(group.join("devices"))?;
        fs::write(group.join("devices").join(&name), "")?;
        symlink(&group, path.join("iommu_group"))?;
    }
    Ok(())
}

/// Taps on a bridge with an uplink, each with the entry of its guest; VFs' guests at the uplink.
struct Node {
    taps: usize,
    paths: Vec<PolicyPath>,
}

fn tap(number: usize) -> IfName {
    format!("tap{number}").parse().expect("a short name")
}

fn guest(number: usize) -> MacAddr {
    let [high, low] = (number as u16).to_be_bytes();
    MacAddr([0x52, 0x54, 0, 0, high, low])
}

impl Node {
    /// With so many taps, of which some are there already.
    fn with(host: &Linux, taps: usize, present: usize) -> Result<Self> {
        let mut batch = String::new();
        if present == 0 {
            batch.push_str("link add br0 type bridge\nlink set br0 up\n");
            batch.push_str("link add uplink type veth peer name wire\n");
            batch.push_str("link set uplink up master br0\nlink set wire up\n");
        }
        for number in present..taps {
            let name = tap(number);
            batch.push_str(&format!("tuntap add dev {name} mode tap\n"));
            batch.push_str(&format!("link set {name} up master br0\n"));
        }
        feed("ip -batch -", &batch)?;
        let uplink: IfName = "uplink".parse()?;
        for number in present..taps {
            let port = if number < VFS { &uplink } else { &tap(number) };
            let key = FdbKey {
                mac: guest(number),
                vlan: None,
            };
            host.ensure_bridge_entry(port, key, Entry::Sticky)?;
        }
        let bridge: IfName = "br0".parse()?;
        let path = |number| PolicyPath {
            tap: tap(number),
            bridge: bridge.clone(),
            uplinks: vec![uplink.clone()],
        };
        Ok(Self {
            taps,
            paths: (0..taps).map(path).collect(),
        })
    }

    /// Time and dumps of a look.
    fn look(&self, host: &Linux) -> Result<(Duration, u64)> {
        let (begun, dumps) = (now(), netlink::dumps());
        let adapters = host.observe_adapters(&BTreeSet::new())?;
        let bridges = host.observe_bridges(&BTreeSet::new())?;
        let policy = host.observe_policy(&self.paths);
        let cost = (now() - begun, netlink::dumps() - dumps);
        ensure!(
            adapters.unseen.is_empty() && adapters.adapters[0].vfs.len() == VFS,
            "{adapters:?}"
        );
        ensure!(bridges.len() == 1 && bridges[0].ports.len() == self.taps + 1);
        for number in 0..self.taps {
            let port = if number < VFS {
                "uplink".parse()?
            } else {
                tap(number)
            };
            let port = bridges[0].port(&port).context("a port is missing")?;
            let own = port.fdb.iter().filter(|entry| entry.mac == guest(number));
            ensure!(own.map(|entry| entry.sticky).eq([true]), "{port:?}");
        }
        for found in policy {
            ensure!(found?.is_empty(), "there is no policy");
        }
        Ok(cost)
    }

    /// What its parts cost.
    fn parts(&self, host: &Linux) -> Result<[(&'static str, Duration); 3]> {
        let times = [now(), {
            host.observe_adapters(&BTreeSet::new())?;
            now()
        }];
        let begun = now();
        host.observe_bridges(&BTreeSet::new())?;
        let bridges = now() - begun;
        let begun = now();
        for found in host.observe_policy(&self.paths) {
            found?;
        }
        Ok([
            ("adapters", times[1] - times[0]),
            ("bridges", bridges),
            ("policy", now() - begun),
        ])
    }
}

/// Processor time of this process: calls into the kernel are made by threads of their own.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processor time of a tool that shows what we read, the least of five runs.
fn of_tool(line: &str) -> Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let before = of_children()?;
        let mut words = line.split(' ');
        let status = Command::new(words.next().unwrap_or_default())
            .args(words)
            .stdout(Stdio::null())
            .status()
            .with_context(|| line.to_owned())?;
        ensure!(status.success(), "{line}: {status}");
        least = least.min(of_children()? - before);
    }
    Ok(least)
}

/// Processor time of the processes that were waited for: `getrusage(RUSAGE_CHILDREN)`.
fn of_children() -> Result<Duration> {
    // SAFETY: a plain C structure of integers, for which zero is valid, and which outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        ensure!(libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) == 0);
        usage
    };
    let time = |of: libc::timeval| Duration::new(of.tv_sec as u64, of.tv_usec as u32 * 1000);
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

fn feed(line: &str, text: &str) -> Result<()> {
    let mut words = line.split(' ');
    let mut child = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| line.to_owned())?;
    let mut input = child.stdin.take().context("no pipe")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let status = child.wait()?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}
