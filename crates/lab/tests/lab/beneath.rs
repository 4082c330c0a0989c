//! What an accelerated VM stands on breaks: its QEMU, the card, the card's driver, the host's clock and disk. It is
//! measured beside a VM that is not accelerated, and is on a VF again by itself.

use accelnet_lab::lab::{Place, guests::wait_until_up};

use crate::{
    beside::{beside, only_switched},
    connectivity::{MORE_S, gave_up_after_s},
    refusals::refused,
    rig::{Rig, words},
};

const HOST: Place<'static> = Place::Node("node1");
const PF: &str = "/sys/class/net/pf0/device";
/// How long it may take until vm1 is on a VF again: its guest may have to start.
const AGAIN_S: u32 = 180;

/// No VF of the card has a VM's address.
const ALL_FREE: &str = "! ip link show pf0 | grep -q 'vf .*52:54:00:77'";

/// QEMU is killed: its VF is cleaned. When the VM is started it is on a VF again.
pub fn qemu_is_killed(rig: &mut Rig) {
    let results = beside(rig, &[HOST], |rig| {
        rig.node("kill -9 $(cat /run/libvirt/qemu/vm1.pid)");
        rig.until(30, "virsh domstate vm1 | grep -q 'shut off'");
        rig.until(60, ALL_FREE);
        let shown = rig.vm("vm1");
        assert_eq!(shown["level"], "low", "the wish stays: {shown}");
    });
    results
        .iter()
        .for_each(|result| only_switched(&result.plain));
    rig.node("virsh -q start vm1");
    rig.node(&wait_until_up(rig.lab.guest("vm1").unwrap()));
    rig.until_path("vm1", "vf", AGAIN_S);
}

/// The card is reset beneath its driver, which is not told (igb has no `reset_prepare`). Nobody else can tell before the
/// driver: it finds that nothing is sent any more, sets the card up anew, and its VFs lose their link. Then the guest is
/// taken off its VF, and on another.
pub fn the_card_is_reset(rig: &mut Rig) {
    let mut noticed_s = 0.0;
    let results = beside(rig, &[HOST], |rig| {
        let noticed = rig.node(&format!(
            "begun=$(cut -d' ' -f1 /proc/uptime); echo 1 > {PF}/reset\n\
             timeout 60 sh -c \"until [ \\$(dmesg | grep -c 'pf0: Reset adapter') -gt 0 ]; do sleep 0.2; done\"\n\
             echo \"$begun $(cut -d' ' -f1 /proc/uptime)\" | awk '{{ print $2 - $1 }}'"
        ));
        noticed_s = noticed.trim().parse().unwrap();
        rig.until_path("vm1", "synthetic", 60);
        is_on_a_vf_again(rig);
    });
    let took_s = gave_up_after_s(rig);
    eprintln!(
        "           the driver noticed after {noticed_s:.1} s, the guest took {took_s:.1} s to give up its VF"
    );
    results
        .iter()
        .for_each(|result| result.no_worse_by(MORE_S + noticed_s + took_s));
}

/// The card's driver is taken from it, and its VFs with it; then it is there again, with whatever name and bridge the
/// host's configuration gives it.
pub fn the_driver_is_reloaded(rig: &mut Rig) {
    let card = rig.node(&format!("basename $(readlink -f {PF})"));
    let card = card.trim();
    let driver = "/sys/bus/pci/drivers/igb";
    let results = beside(rig, &[HOST], |rig| {
        rig.node(&format!("echo {card} > {driver}/unbind"));
        rig.until_path("vm1", "synthetic", 60);
        rig.node(&format!("echo {card} > {driver}/bind"));
        rig.until(
            60,
            "[ -e /sys/class/net/pf0/brport ] && [ \"$(cat /sys/class/net/pf0/carrier)\" = 1 ]",
        );
        is_on_a_vf_again(rig);
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
}

/// Somebody sets the clock an hour back and an hour forward: nothing that lasts for a while by it begins or ends.
pub fn the_clock_is_set(rig: &mut Rig) {
    let results = beside(rig, &[HOST], |rig| {
        for hour in ["1 hour ago", "now + 2 hours", "1 hour ago"] {
            rig.node(&format!("date -s \"$(date -d '{hour}')\" > /dev/null"));
            rig.json(&words("vm disable vm1"));
            rig.json(&words("vm enable vm1 -p Low"));
            is_on_a_vf_again(rig);
        }
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
    let told = rig.command(&words("accelnet hud --all"));
    assert!(told.out.starts_with("Healthy, no faults."), "{told:?}");
}

/// Nothing more can be written: a change is refused, with the cause, and VMs go on. With room again all is as before.
pub fn the_disk_is_full(rig: &mut Rig) {
    let results = beside(rig, &[HOST], |rig| {
        // Down to the last block that even root is given.
        rig.node(
            "cd /var/lib; n=0; for size in 1G 256M 64M 16M 4M 1M 64K 4K; do \
               while fallocate -l $size full.$n 2> /dev/null; do n=$((n + 1)); done; rm -f full.$n; done\n\
             ! head -c 65536 /dev/zero > full.last",
        );
        refused(rig, &words("vm disable vm1"), "store_failed");
        assert_eq!(rig.vm("vm1")["nics"][0]["path"], "vf");
        rig.node("rm /var/lib/full.*");
        rig.json(&words("vm disable vm1"));
        rig.json(&words("vm enable vm1 -p Low"));
        is_on_a_vf_again(rig);
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
}

/// The daemon is killed eight times, each time as soon as it has begun: its unit starts it all the same, and VMs do not
/// notice.
pub fn the_daemon_dies_again_and_again(rig: &mut Rig) {
    let results = beside(rig, &[HOST], |rig| {
        rig.node(
            "pid() { systemctl show -p MainPID --value accelnetd; }\n\
             for n in $(seq 8); do\n\
               timeout 60 sh -c 'until [ $(systemctl show -p MainPID --value accelnetd) != 0 ]; do sleep 0.05; done'\n\
               killed=$(pid); kill -9 $killed; while [ $(pid) = $killed ]; do sleep 0.05; done\n\
             done",
        );
        rig.until(60, "accelnet status > /dev/null");
        is_on_a_vf_again(rig);
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
}

/// What makes VFs at the host's start is killed there: it is started anew.
pub fn what_makes_vfs_is_killed(rig: &mut Rig) {
    let results = beside(rig, &[HOST], |rig| {
        rig.node(
            "once=/run/systemd/system/accelnet-boot.service.d; mkdir -p $once; rm -f /run/accelnet/killed\n\
             cat > $once/killed.conf <<'END'\n\
             [Service]\n\
             ExecStart=\n\
             ExecStart=/bin/sh -c '[ -e /run/accelnet/killed ] && exec accelnetd boot; touch /run/accelnet/killed; kill -9 $$$$'\n\
             END\n\
             systemctl daemon-reload; ! systemctl restart accelnet-boot",
        );
        rig.until(30, "systemctl is-active accelnet-boot");
        rig.node("rm -r /run/systemd/system/accelnet-boot.service.d; systemctl daemon-reload");
        is_on_a_vf_again(rig);
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
}

/// vm1 is on a VF, reached by its host, and no other VF has its address.
fn is_on_a_vf_again(rig: &mut Rig) {
    rig.until_path("vm1", "vf", AGAIN_S);
    rig.node("ping -q -c 3 -W 2 10.77.0.101");
    let dressed = rig.vfs("pf0");
    let dressed = dressed
        .iter()
        .filter(|vf| vf["address"] == "52:54:00:77:00:65");
    assert_eq!(dressed.count(), 1, "{:?}", rig.vfs("pf0"));
}
