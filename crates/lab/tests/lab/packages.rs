//! Packages on a node, under its own systemd: the command lines of docs/guide/install.md, typed as they stand, with a
//! VM's packets counted meanwhile. The packages are made by scripts/deb, of the programs beside this test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use accelnet_lab::lab::{Running, wait};

use crate::{
    document::Document,
    rig::{Rig, options},
    story::PRIMARY,
};

const GUIDE: &str = "docs/guide/install.md";
const INSTALL: &str = "apt-get install ./accelnet_*.deb ./accelnetd_*.deb ./accelnet-agent_*.deb";
const FIRST: &str = "0.0.1-1";
const SECOND: &str = "0.0.1-2";
/// Enough to see a gap of 50 ms, and so few that an emulated processor has time left to unpack a package.
const PPS: u32 = 20;

/// What is as it was, once the host was given back: VFs, what the ports of the bridge do, and the entries of all
/// forwarding tables but those that bridges learn, and of groups, which come and go with guests.
const WORLD: &str = "cat /sys/class/net/pf0/device/sriov_numvfs; \
     ls /etc/libvirt/hooks/qemu.d/50-accelnet 2>/dev/null || true; \
     for port in /sys/class/net/br0/brif/*; do grep -H . $port/learning $port/unicast_flood $port/isolated; done; \
     bridge fdb show | grep -E 'permanent|static' | grep -vE '^(01|33):' | sort";

/// Where it is kept how the node was, so that steps can be run again.
fn before(rig: &Rig) -> PathBuf {
    rig.directory().join("before")
}

/// What the lab itself put there goes.
pub fn without_the_product(rig: &mut Rig) {
    nothing_is_on(rig, "node1");
    std::fs::write(before(rig), rig.node(WORLD)).unwrap();
}

pub fn nothing_is_on(rig: &Rig, node: &str) {
    rig.on(node,
        "systemctl disable -q --now accelnet-park accelnetd accelnet-boot
         rm -rf /usr/local/bin/accelnet /usr/local/bin/accelnetd /etc/systemd/system/accelnet*.service \
             /etc/systemd/system/*.wants/accelnet*.service /var/lib/accelnet /run/accelnet /etc/accelnet
         systemctl daemon-reload
         echo 'APT::Get::Assume-Yes \"true\";' > /etc/apt/apt.conf.d/50answers",
    );
    let left = rig.on(node,
        "command -v accelnet accelnetd || true; systemctl list-unit-files --no-legend 'accelnet*' || true; \
         getent group accelnet || true; ls -d /etc/libvirt/hooks/qemu.d/* 2>/dev/null || true",
    );
    assert_eq!(left, "", "what the lab put on {node} is still there");
}

/// Packages of this version; the directory that they are in.
pub fn made(rig: &Rig, version: &str) -> PathBuf {
    let made = rig.directory().join("packages").join(version);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let programs = options().bin_dir.unwrap();
    let output = Command::new(root.join("scripts/deb"))
        .env("CARGO_TARGET_DIR", &made)
        .env("PROGRAMS", programs)
        .env("PROFILE", "dev")
        .env("DEB_VERSION", version)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    made.join("deb")
}

/// Packages of a directory of this machine, in the node's /root as a person would bring them.
pub fn bring(rig: &Rig, name: &str, from: &Path) {
    bring_to(rig, "node1", name, from);
}

/// The same on any node.
pub fn bring_to(rig: &Rig, node: &str, name: &str, from: &Path) {
    let share = rig.directory().join("share/debs").join(name);
    std::fs::create_dir_all(&share).unwrap();
    for package in std::fs::read_dir(from).unwrap() {
        let package = package.unwrap();
        if package.path().extension().is_some_and(|end| end == "deb") {
            std::fs::copy(package.path(), share.join(package.file_name())).unwrap();
        }
    }
    rig.on(
        node,
        &format!("rm -f /root/*.deb; cp /lab/debs/{name}/*.deb /root/"),
    );
}

/// Who has not been told of accelnet yet: from the first command to a VM whose packets go by its VF.
pub fn the_first_vm(rig: &mut Rig) {
    bring(rig, FIRST, &made(rig, FIRST));
    let mut guide = Document::section(GUIDE, "## From packages to the first VM on its VF");
    let begun = Instant::now();
    let said = guide.done(rig, INSTALL);
    assert!(said.contains("nothing runs yet"), "{said}");
    assert_eq!(
        rig.node("systemctl is-active accelnetd accelnet-agent || true"),
        "inactive\ninactive\n"
    );
    let installed = begun.elapsed().as_secs_f64();
    guide.done(
        rig,
        "systemctl enable --now accelnet-boot accelnetd accelnet-park",
    );
    guide.done(
        rig,
        "accelnet intent add compute --type compute --bridge br0 --adapter eth2",
    );
    guide.done(rig, "accelnet enable --intent compute --when now");
    guide.done(rig, "accelnet vm enable web1 --performance Medium");
    let whole = begun.elapsed().as_secs_f64();
    guide.ends();
    eprintln!(
        "           from the first command to the VM on its VF: {whole:.1} s, {installed:.1} s of them the packages"
    );
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "vf");
    Watched::begin(rig).goes_by_its_vf(rig);
    rig.node("test -x /etc/libvirt/hooks/qemu.d/50-accelnet");
}

/// vm1 under traffic, and what would tell that it left its VF meanwhile.
struct Watched {
    probe: Running,
    from_guest_by_tap: u64,
    primary: String,
}

impl Watched {
    fn begin(rig: &Rig) -> Self {
        Self {
            from_guest_by_tap: by_tap(rig),
            primary: primary(rig),
            probe: rig.lab.start_probe("vm1", PPS).unwrap(),
        }
    }

    /// Ends it. Nothing was lost, nothing of the guest's came by its tap, and the guest's own VF is the one that it
    /// had: one that was unplugged and plugged again has another number there.
    fn goes_by_its_vf(self, rig: &Rig) {
        wait(Duration::from_secs(5));
        let report = self.probe.stop().unwrap().all();
        assert!(report.sent > 100, "{report:?}");
        assert_eq!(report.lost, 0, "{report:?}");
        eprintln!(
            "           {} packets in {:.0} s, {} lost",
            report.sent, report.seconds, report.lost
        );
        let more = by_tap(rig) - self.from_guest_by_tap;
        assert!(
            more < report.from_guest.sent / 20,
            "{more} of {} packets came by the tap",
            report.from_guest.sent
        );
        assert_eq!(primary(rig), self.primary, "another VF than before");
        let vfs = rig.vfs("pf0");
        let its = |vf: &&serde_json::Value| vf["address"] == "52:54:00:77:00:65";
        assert_eq!(vfs.iter().filter(its).count(), 1, "{vfs:?}");
    }
}

fn by_tap(rig: &Rig) -> u64 {
    let count = rig.node(
        "tap=$(virsh domiflist vm1 | awk '/br0/ { print $1 }'); cat /sys/class/net/$tap/statistics/rx_packets",
    );
    count.trim().parse().unwrap()
}

fn primary(rig: &Rig) -> String {
    let name = rig.guest("vm1", PRIMARY);
    assert!(!name.trim().is_empty(), "the guest has no VF");
    rig.guest(
        "vm1",
        "for i in /sys/class/net/*; do echo $i $(cat $i/ifindex); done",
    )
}

/// Since when units run, by the clock of the node's start.
fn started(rig: &Rig, unit: &str) -> u64 {
    let at = rig.node(&format!(
        "systemctl show --value -p ActiveEnterTimestampMonotonic {unit}"
    ));
    at.trim().parse().unwrap()
}

/// What an administrator sets is shown, and what cannot be used is refused.
pub fn configured(rig: &mut Rig) {
    let mut guide = Document::section(GUIDE, "## Configure");
    rig.node("sed -i 's/^#log = .*/log = \"debug\"/' /etc/accelnet/accelnetd.toml");
    let shown = guide.done(rig, "accelnetd config show");
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("log ") && line.contains("accelnetd.toml, line")),
        "{shown}"
    );
    let checked = guide.done(rig, "accelnetd config check");
    assert!(checked.contains("can be used"), "{checked}");
    guide.ends();
    let mut page = Document::open("docs/reference/configuration.md");
    assert_eq!(page.done(rig, "accelnetd config check"), checked);
    assert_eq!(page.done(rig, "accelnetd config show"), shown);
    page.ends();
    rig.node("cp /etc/accelnet/accelnetd.toml /root/kept.toml; echo 'nonsense = 1' >> /etc/accelnet/accelnetd.toml");
    let run = rig.command(&["accelnetd", "config", "check"]);
    assert!(
        run.code != 0 && run.err.contains("nonsense"),
        "an unknown key: {run:?}"
    );
    rig.node("cp /root/kept.toml /etc/accelnet/accelnetd.toml");
}

/// The agent is started anew under the VM's traffic, and the VM does not notice.
pub fn upgraded(rig: &mut Rig) {
    bring(rig, SECOND, &made(rig, SECOND));
    let before = ["accelnetd", "accelnet-park"].map(|unit| started(rig, unit));
    let watched = Watched::begin(rig);
    let mut guide = Document::section(GUIDE, "## Upgrade");
    guide.done(rig, INSTALL);
    guide.ends();
    // The command has waited until it was ready; now it has looked around too.
    rig.until(60, "accelnet status > /dev/null");
    rig.until_path("vm1", "vf", 60);
    watched.goes_by_its_vf(rig);
    let after = ["accelnetd", "accelnet-park"].map(|unit| started(rig, unit));
    assert!(after[0] > before[0], "the agent was not started anew");
    assert_eq!(after[1], before[1], "VMs were parked for it");
    for package in ["accelnet", "accelnetd", "accelnet-agent"] {
        let version = rig.node(&format!("dpkg-query -W -f '${{Version}}' {package}"));
        assert_eq!(version, SECOND, "{package}");
    }
    let kept = rig.node("cmp /root/kept.toml /etc/accelnet/accelnetd.toml && echo same");
    assert_eq!(kept, "same\n", "what was configured");
}

/// As long as the VM has its VF, the package stays, and all runs on.
pub fn not_removed(rig: &mut Rig) {
    let before = started(rig, "accelnetd");
    let watched = Watched::begin(rig);
    let refused = rig.command(&["apt-get", "remove", "accelnet-agent"]);
    assert!(
        refused.code != 0
            && [&refused.out, &refused.err]
                .iter()
                .any(|said| said.contains("'vm1'") && said.contains("cure: ")),
        "{refused:?}"
    );
    assert_eq!(started(rig, "accelnetd"), before, "it was stopped");
    assert_eq!(
        rig.node("systemctl is-active accelnetd accelnet-park"),
        "active\nactive\n"
    );
    watched.goes_by_its_vf(rig);
}

/// What is ours is given back, the rest is as it was.
pub fn given_back(rig: &mut Rig) {
    let mut guide = Document::section(GUIDE, "## Give a host back");
    let dry = guide.typed(rig, "accelnetd reset --dry-run");
    assert!(
        dry.code != 0 && dry.out.contains("'vm1'"),
        "it has a VF: {dry:?}"
    );
    guide.done(rig, "accelnet vm disable '*'");
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "synthetic");
    let made = rig.node("cat /sys/class/net/pf0/device/sriov_numvfs");
    assert_eq!(made, "7\n");
    let dry = rig.node("accelnetd reset --dry-run");
    assert!(
        dry.contains("To give this host back:") && dry.contains("pf0"),
        "{dry}"
    );
    assert_eq!(
        rig.node("cat /sys/class/net/pf0/device/sriov_numvfs"),
        made,
        "it only says so"
    );
    guide.done(rig, "systemctl stop accelnet-park accelnetd");
    // It asks, so it is typed at a terminal, and answered.
    guide.elsewhere("accelnetd reset", "at a terminal");
    let reset = rig.node("echo yes | script -qec 'accelnetd reset' /dev/null");
    assert!(reset.contains("as it was before accelnet"), "{reset}");
    guide.ends();
    as_before(rig);
    let again = rig.node("accelnetd reset --dry-run");
    assert_eq!(again, "Nothing of accelnet's is on this host.\n");
}

fn as_before(rig: &Rig) {
    let before = std::fs::read_to_string(before(rig)).unwrap();
    assert_eq!(rig.node(WORLD), before);
    assert_eq!(
        rig.node("test -e /var/lib/accelnet/ledger.json || echo gone"),
        "gone\n"
    );
    // VFs that go take the link down for a moment.
    rig.until(30, "[ \"$(cat /sys/class/net/pf0/carrier)\" = 1 ]");
    let report = rig.lab.probe("vm1", 2.0, PPS).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// A removal gives the host back by itself, and a purge leaves nothing.
pub fn removed(rig: &mut Rig) {
    rig.node(
        "systemctl start accelnetd accelnet-park
         accelnet intent add compute --bridge br0 --adapter pf0 > /dev/null
         accelnet enable --intent compute --when now > /dev/null",
    );
    rig.until(30, "[ $(cat /sys/class/net/pf0/device/sriov_numvfs) = 7 ]");
    let mut guide = Document::section(GUIDE, "## Remove");
    guide.done(rig, "apt-get remove accelnet-agent");
    as_before(rig);
    let units = rig.node("systemctl list-units --no-legend --state=active 'accelnet*'");
    assert_eq!(units, "", "nothing runs any more");
    guide.done(
        rig,
        "apt-get purge accelnet accelnetd accelnet-agent accelnet-server",
    );
    guide.ends();
    let left = rig.node(
        "ls -d /usr/bin/accelnet* /etc/accelnet /var/lib/accelnet* /run/accelnet* /etc/systemd/system/*/accelnet* \
             /usr/lib/systemd/system/accelnet* /etc/libvirt/hooks/qemu.d/* 2>/dev/null || true; \
         getent group accelnet || true; dpkg-query -W 'accelnet*' 2>/dev/null || true",
    );
    assert_eq!(left, "");
}

/// Each part of the guide that has command lines is typed above.
pub fn the_guide_is_whole(_: &mut Rig) {
    assert_eq!(
        Document::headings(GUIDE),
        [
            "## From packages to the first VM on its VF",
            "## Configure",
            "## Upgrade",
            "## Give a host back",
            "## Remove",
        ]
    );
}
