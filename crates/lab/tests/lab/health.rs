//! Faults that are provoked for real: each opens, and closes when its cause is gone. The guide's command lines are typed
//! between them.

use std::time::Instant;

use crate::{
    document::Document,
    rig::{Rig, words},
    sandbox::holder,
};

/// Windows of seconds, so that a test need not wait for minutes; what is measured is what comes on top of them.
const WINDOWS: &str = "vf_not_used=2/2,adapter_link_down=2/2,drift_repaired=1/4,vm_parked=1/0,vf_in_use_by_others=1/1";
const CONFIGURED: &str = "/run/systemd/system/accelnetd.service.d";
/// A fault is there within so many seconds of its cause, or not at all: the emulated node's looks take seconds.
const LIMIT_S: u32 = 60;

/// Whether a fault is open, in the node's shell.
fn open(code: &str) -> String {
    format!("accelnet hud -o json | grep -q '\"code\": \"{code}\"'")
}

/// Does something, and waits until the fault is open.
fn opens(rig: &Rig, code: &str, cause: impl FnOnce(&Rig)) {
    let begun = Instant::now();
    cause(rig);
    rig.until(LIMIT_S, &open(code));
    eprintln!(
        "           {code} opened {:.1} s after its cause",
        begun.elapsed().as_secs_f64()
    );
}

/// Does something, and waits until the fault is closed.
fn closes(rig: &Rig, code: &str, cure: impl FnOnce(&Rig)) {
    let begun = Instant::now();
    cure(rig);
    rig.until(LIMIT_S, &format!("! {{ {}; }}", open(code)));
    eprintln!(
        "           {code} closed {:.1} s after its end",
        begun.elapsed().as_secs_f64()
    );
}

/// vm1 is on its VF, vm2 is not.
pub fn faults(rig: &mut Rig) {
    let mut guide = Document::open("docs/guide/health.md");
    rig.node(&format!(
        "mkdir -p {CONFIGURED}
         printf '[Service]\\nEnvironment=ACCELNET_FAULT_WINDOWS={WINDOWS}\\n' > {CONFIGURED}/windows.conf
         systemctl daemon-reload; systemctl restart accelnetd"
    ));
    rig.until(LIMIT_S, "accelnet status > /dev/null");
    rig.until_path("vm1", "vf", 60);
    rig.until(LIMIT_S, "accelnet hud > /dev/null");
    let healthy = guide.done(rig, "accelnet hud");
    assert!(healthy.starts_with("Healthy, no faults."), "{healthy}");

    // Somebody dresses vm1's VF differently: it is put right, and told.
    let vf = "$(ip -o link show pf0 | grep -o 'vf [0-9]* [^v]*52:54:00:77:00:65' | cut -d' ' -f2)";
    let vf = rig.node(&format!("echo {vf}"));
    let vf = vf.trim();
    opens(rig, "drift_repaired", |rig| {
        rig.node(&format!("ip link set pf0 vf {vf} trust on"));
    });
    let put_right = format!("ip -d link show pf0 | grep 'vf {vf} ' | grep -q 'trust off'");
    rig.until(LIMIT_S, &put_right);
    closes(rig, "drift_repaired", |_| {});

    opens(rig, "vm_parked", |rig| {
        drop(rig.json(&words("vm park vm1")));
    });
    closes(rig, "vm_parked", |rig| {
        drop(rig.json(&words("vm unpark vm1")));
    });
    rig.until_path("vm1", "vf", 60);

    // The link goes from under a VM: that is critical, and the VM is by its tap, which is told besides.
    opens(rig, "adapter_link_down", |rig| {
        drop(rig.node("ip link set pf0 down"));
    });
    let shown = guide.typed(rig, "accelnet hud --all");
    assert!(shown.code == 10 || shown.code == 9, "{shown:?}");
    assert!(shown.out.contains("[663880f1]"), "{shown:?}");
    guide.elsewhere("accelnet hud --watch", "it has no end; for a second here");
    let watched = rig.node("timeout -s INT 2 accelnet hud --watch || true");
    assert!(watched.contains("adapter_link_down"), "{watched}");
    let why = guide.done(rig, "accelnet explain adapter_link_down");
    assert!(why.contains("cure:"), "{why}");
    // What went by each path, with what nobody counts.
    let shown = guide.done(rig, "accelnet vm show vm1");
    assert!(shown.contains("BY ITS VF"), "{shown}");
    let chain = guide.done(rig, "accelnet vm explain vm1");
    assert!(chain.contains("By its tap: "), "{chain}");
    guide.done(rig, "accelnet hud ack 663880f1 --note 'cable ordered'");
    guide.done(rig, "accelnet hud mute 663880f1 --for 8h");
    guide.done(rig, "accelnet hud unmute 663880f1");
    // Its node has one adapter with VFs, which stays; another scene has a bond.
    let last = "accelnet adapter isolate pf0 --dry-run; [ $? = 3 ]";
    assert!(
        rig.command(&["sh", "-c", last])
            .err
            .contains("adapter_not_spared")
    );
    guide.elsewhere(
        "accelnet adapter isolate eth2 --node node1 --because 'cable is changed on Monday'",
        "below a bond",
    );
    guide.elsewhere("accelnet adapter release eth2 --node node1", "below a bond");
    let known = rig.command(&["accelnet", "hud"]).out;
    assert!(known.contains("cable ordered"), "{known}");
    let recorded = rig.node("accelnet audit --since 10m");
    assert!(recorded.contains("fault acknowledge"), "{recorded}");
    closes(rig, "adapter_link_down", |rig| {
        drop(rig.node("ip link set pf0 up"));
    });
    rig.until_path("vm1", "vf", 90);
    closes(rig, "vf_not_used", |_| {});

    // The guest has no driver for its VF any more.
    opens(rig, "vf_not_used", |rig| {
        drop(rig.guest("vm1", "rmmod igbvf"));
    });
    let told = rig.command(&["accelnet", "hud"]).out;
    assert!(told.contains("vf_not_used  vm vm1 on node1"), "{told}");
    // The whole chain says the same, and where it is broken.
    let chain = rig.node("accelnet vm explain vm1");
    assert!(
        chain.contains("'vm1' goes by the switch. Broken at guest: "),
        "{chain}"
    );
    closes(rig, "vf_not_used", |rig| {
        drop(rig.guest("vm1", "modprobe igbvf"));
    });
    rig.until_path("vm1", "vf", 60);

    // Another program takes a VF that nobody has.
    opens(rig, "vf_in_use_by_others", |rig| {
        rig.node(&format!(
            "{}vf=/sys/class/net/pf0/device/$(ls /sys/class/net/pf0/device | grep -x 'virtfn[0-9]*' | grep -vx virtfn{vf} | tail -n 1)
             systemd-run -q --unit=grabs-a-vf perl /run/lab-holder.pl \
               $(basename $(readlink $vf/iommu_group)) $(basename $(readlink $vf))",
            holder!()
        ));
    });
    closes(rig, "vf_in_use_by_others", |rig| {
        rig.node("systemctl stop grabs-a-vf");
    });

    // Somebody decides that a rule need not hold.
    let tap = rig.node("virsh domiflist vm2 | awk '/bridge/ { print $1 }'");
    let tap = tap.trim();
    rig.node(&format!("bridge link set dev {tap} isolated on"));
    opens(rig, "policy_waived", |rig| {
        rig.json(&words("vm enable vm2 -p Low --waive tap/isolated"));
    });
    closes(rig, "policy_waived", |rig| {
        drop(rig.json(&words("vm disable vm2")));
    });
    rig.node(&format!("bridge link set dev {tap} isolated off"));

    let events = guide.done(rig, "accelnet events --since 1h");
    for word in [
        "adapter_link_down",
        "vf_not_used",
        "switched",
        "vm park vm1",
    ] {
        assert!(events.contains(word), "{word}: {events}");
    }
    guide.elsewhere(
        "accelnet events --follow",
        "it has no end; for a second here",
    );
    let followed = rig.node("timeout -s INT 2 accelnet events --follow || true");
    assert!(followed.contains("drift_repaired"), "{followed}");
    rig.until(LIMIT_S, "accelnet status --check > /dev/null");
    let check = guide.done(rig, "accelnet status --check");
    assert!(check.starts_with("OK: "), "{check}");
    guide.done(rig, "accelnet hud -o json");
    guide.done(
        rig,
        "accelnet status --check || case $? in 10) exit 2;; 9) exit 1;; *) exit 3;; esac",
    );
    guide.ends();
    rig.node(&format!(
        "rm -r {CONFIGURED}; systemctl daemon-reload; systemctl restart accelnetd"
    ));
    rig.until_path("vm1", "vf", 60);
}
