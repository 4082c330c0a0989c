//! What operators meet: cables that come out, guests that start anew, VMs that are saved, hosts that shut
//! down, disciplines of others, an agent that dies in the middle. An accelerated VM (vm1) is measured beside
//! one that is not (vm2), in the same seconds.

use accelnet_lab::lab::{Network, Place, guests::wait_until_up};

use crate::{
    beside::beside,
    rig::{Rig, words},
    story::PRIMARY,
};

const HOST: Place<'static> = Place::Node("node1");
/// vm1's and vm2's addresses.
const MACS: [&str; 2] = ["52:54:00:77:00:65", "52:54:00:77:00:66"];
/// What an event may cost the accelerated VM more than the other, in seconds: one for the guest, which leaves
/// its VF meanwhile, and what an unplug takes longer in software emulation.
pub const MORE_S: f64 = 3.0;

fn tap_of(rig: &Rig, vm: &str) -> String {
    let tap = rig.node(&format!(
        "virsh domiflist {vm} | awk '/bridge/ {{ print $1 }}'"
    ));
    tap.trim().to_owned()
}

/// vm1 is on its VF, vm2 is not.
pub fn one_of_each(rig: &mut Rig) {
    rig.json(&words("enable --intent compute --when now"));
    rig.json(&words("vm enable vm1 -p Low"));
    rig.until_path("vm1", "vf", 30);
    let port = "$(readlink -f /sys/class/net/pf0/brport)";
    assert_eq!(
        rig.node(&format!("cat {port}/learning")).trim(),
        "1",
        "the bridge goes on learning at the uplink"
    );
    for result in beside(rig, &[HOST, Place::Wire, Place::Guest("vm2")], |_| {}) {
        assert_eq!(result.accelerated.lost(), 0, "{result:?}");
        assert_eq!(result.plain.lost(), 0, "{result:?}");
    }
}

/// As a real card, the lab's does not give the PF back what it sent: the bridge, which learns at its uplink,
/// finds an address behind a tap at that tap, also when it calls to all.
pub fn the_card_gives_nothing_back(rig: &mut Rig) {
    let other = "52:54:00:99:00:07";
    for _ in 0..3 {
        rig.guest(
            "vm2",
            &format!("accelnet-lab-guest frame eth0 ff:ff:ff:ff:ff:ff {other}"),
        );
    }
    let places = rig.node(&format!("bridge fdb show | grep '^{other} .*master br0'"));
    let tap = tap_of(rig, "vm2");
    assert!(
        places.lines().all(|line| line.contains(&tap)) && places.contains(&tap),
        "{places}"
    );
    // Who has another address behind its port is given no VF.
    rig.node(&format!("bridge fdb del {other} dev {tap} master"));
}

/// The cable is out for six seconds. The host reaches both VMs; of the accelerated one it waits until the
/// guest has given up its VF, since a guest takes nothing by its tap before (net_failover).
pub fn a_cable_comes_out(rig: &mut Rig) {
    let results = beside(rig, &[HOST, Place::Wire], |rig| {
        rig.lab.cut_node("node1", Network::Data, true).unwrap();
        rig.until_path("vm1", "synthetic", 10);
        rig.node("sleep 6");
        rig.lab.cut_node("node1", Network::Data, false).unwrap();
        rig.until(20, "[ \"$(cat /sys/class/net/pf0/carrier)\" = 1 ]");
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
    rig.until_path("vm1", "vf", 60);
}

/// The uplink is set down for six seconds. While the guest gives up its VF its driver (igbvf) waits a second
/// for each answer of a PF that does not answer now, and its kernel takes nothing by the tap until that is
/// over.
pub fn the_uplink_is_set_down(rig: &mut Rig) {
    let results = beside(rig, &[HOST, Place::Wire], |rig| {
        rig.node("ip link set pf0 down; sleep 6; ip link set pf0 up");
        rig.until(20, "[ \"$(cat /sys/class/net/pf0/carrier)\" = 1 ]");
    });
    rig.until_path("vm1", "vf", 60);
    let took_s = gave_up_after_s(rig);
    eprintln!("           the guest took {took_s:.1} s to give up its VF");
    results
        .iter()
        .for_each(|result| result.no_worse_by(MORE_S + took_s));
}

/// How long a guest took to give up its VF the last time, in seconds.
pub fn gave_up_after_s(rig: &Rig) -> f64 {
    let took = rig.node(
        "journalctl -u accelnetd -o short-monotonic --no-pager | tr -d '[]' | awk '\
             /action=Unplug/ { begun = $1 }\n\
             /switch-over is over.*Back/ { took = $1 - begun }\n\
             END { print took }'",
    );
    took.trim().parse().unwrap()
}

/// A neighbour on the bridge forges the addresses of both: the bridge follows, until they send again.
pub fn forged_addresses(rig: &mut Rig) {
    rig.node(
        "ip link add tenant type veth peer name tenant0; ip link set tenant0 master br0 up; ip link set tenant up",
    );
    let results = beside(rig, &[HOST, Place::Wire], |rig| {
        for mac in MACS {
            rig.node(&format!(
                "accelnet-lab-guest frame tenant ff:ff:ff:ff:ff:ff {mac}"
            ));
        }
        rig.until(
            30,
            "(for vm in 101 102; do ping -q -c 1 -W 1 10.77.0.$vm > /dev/null || exit 1; done)",
        );
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
    rig.node("ip link del tenant");
    rig.until_path("vm1", "vf", 60);
}

/// The guest's driver of the VF goes: it is reached by its tap at once. Then it is there again.
pub fn the_driver_goes_and_comes(rig: &mut Rig) {
    let results = beside(rig, &[HOST, Place::Wire], |rig| {
        rig.guest("vm1", "rmmod igbvf");
        rig.node("sleep 5");
        rig.guest("vm1", "modprobe igbvf");
        rig.until_path("vm1", "vf", 60);
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
    assert!(!rig.guest("vm1", PRIMARY).trim().is_empty());
}

/// Each guest starts anew from inside, one after the other: two at the same time would only show which of
/// them had the processor. How long it takes to start differs; what counts is when it is reached after that.
pub fn guests_start_anew(rig: &mut Rig) {
    for vm in ["vm2", "vm1"] {
        // Software emulation now and then hangs a guest's start (docs/reference/lab.md).
        let after_s = starts_anew(rig, vm).or_else(|| starts_anew(rig, vm));
        let after_s = after_s.unwrap_or_else(|| panic!("{vm} does not start"));
        eprintln!("           {vm} was reached {after_s:.1} s after its network was up");
        assert!(after_s <= MORE_S, "{vm}");
    }
    rig.until_path("vm1", "vf", 90);
}

/// How long after its network was up its host reached it, in seconds; nothing if it did not start by itself.
fn starts_anew(rig: &mut Rig, vm: &str) -> Option<f64> {
    rig.guest(
        vm,
        "setsid sh -c 'sleep 1; reboot -f' < /dev/null > /dev/null 2>&1 &",
    );
    let guest = rig.lab.guest(vm).unwrap().clone();
    let uptime = "cut -d' ' -f1 /proc/uptime";
    let reached = rig.node(&format!(
        "sleep 3; timeout 120 sh -c 'until ping -q -c 1 -W 1 {} > /dev/null; do :; done' && {uptime} || true",
        guest.address()
    ));
    rig.node(&wait_until_up(&guest));
    let reached: f64 = reached.trim().parse().ok()?;
    let now: f64 = rig.node(uptime).trim().parse().unwrap();
    let its = rig.guest(vm, &format!("{uptime}; cat /tmp/network-up"));
    let (its_now, its_up) = its.trim().split_once('\n').unwrap();
    let [its_now, its_up]: [f64; 2] = [its_now, its_up].map(|time| time.parse().unwrap());
    Some(reached - (now - (its_now - its_up)))
}

/// Whatever saves a VM on its VF stops it for ever, without us: it is ended, and said.
pub fn saves_are_ended(rig: &mut Rig) {
    for save in [
        "managedsave vm1",
        "save vm1 /root/vm1.save",
        "dump vm1 /root/vm1.dump",
    ] {
        eprintln!("           virsh {save}");
        let results = beside(rig, &[HOST], |rig| {
            let run = rig.command(&words(&format!("timeout 60 virsh {save}")));
            assert_eq!(run.code, 1, "{run:?}");
            assert!(run.err.contains("canceled"), "{run:?}");
        });
        assert_eq!(rig.node("virsh domstate vm1").trim(), "running");
        // Two seconds until it runs, and the guest leaves its VF and comes back to it.
        results
            .iter()
            .for_each(|result| result.no_worse_by(2.0 + MORE_S));
        let shown = rig.vm("vm1");
        assert!(
            shown["problems"].to_string().contains("vm_frozen"),
            "{shown}"
        );
        rig.until_path("vm1", "vf", 60);
    }
    rig.node("rm -f /root/vm1.save /root/vm1.dump");
}

/// One that is parked is saved and comes back; then it is on a VF again.
pub fn a_parked_vm_is_saved(rig: &mut Rig) {
    rig.json(&words("vm park vm1 --for 10m"));
    let shown = rig.vm("vm1");
    assert_eq!(shown["nics"][0]["path"], "synthetic", "{shown}");
    assert_eq!(shown["level"], "low", "the wish stays: {shown}");
    rig.node("virsh -q managedsave vm1 && virsh -q start vm1");
    rig.node("timeout 60 sh -c 'until ping -q -c 1 -W 1 10.77.0.101; do :; done'");
    // It can be reached before libvirt answers about it: until then it is one that is not seen.
    rig.until_path("vm1", "synthetic", 60);
    rig.json(&words("vm unpark vm1"));
    rig.until_path("vm1", "vf", 60);
}

/// Somebody shapes the tap of a VM on its VF. There is no place for the hold queue then; policy comes first,
/// and the discipline is left alone.
pub fn a_discipline_of_somebody_else(rig: &mut Rig) {
    let tap = tap_of(rig, "vm1");
    rig.node(&format!(
        "tc qdisc replace dev {tap} root handle 77: tbf rate 8mbit burst 32k latency 50ms"
    ));
    rig.until_path("vm1", "synthetic", 60);
    let shown = rig.node(&format!("tc qdisc show dev {tap} root"));
    assert!(shown.contains("tbf 77:"), "{shown}");
    rig.node("ping -q -c 3 -W 2 10.77.0.101");
    rig.node(&format!("tc qdisc del dev {tap} root"));
    rig.until_path("vm1", "vf", 60);
}

/// The daemon is killed while frames wait, and nothing starts it again: they go on all the same. When it is
/// there again the switch-over goes on.
pub fn killed_while_frames_wait(rig: &mut Rig) {
    let drop_in = "/run/systemd/system/accelnetd.service.d";
    let tap = tap_of(rig, "vm1");
    // Neither systemd nor what it runs after a service's end may help.
    rig.node(&format!(
        "mkdir -p {drop_in}; printf '[Service]\\nRestart=no\\nExecStopPost=\\n' > {drop_in}/dead.conf; systemctl daemon-reload"
    ));
    let results = beside(rig, &[HOST], |rig| {
        rig.node(
            "begun=$(date '+%F %T'); accelnet vm disable vm1 --no-wait\n\
             timeout 20 sh -c \"until journalctl -u accelnetd --no-pager --since '$begun' | grep -q 'hold: Wait'; do :; done\"\n\
             kill -9 $(systemctl show -P MainPID accelnetd)",
        );
        // The longest that frames wait, and a second for the guest.
        rig.node("sleep 3; ping -q -c 3 -i 0.2 -W 2 10.77.0.101");
        let state = rig.command(&words("systemctl is-active accelnetd"));
        assert_eq!(state.out.trim(), "failed", "it stays dead: {state:?}");
    });
    results
        .iter()
        .for_each(|result| result.no_worse_by(2.0 + MORE_S));
    let shown = rig.node(&format!("tc -s qdisc show dev {tap} root"));
    assert!(
        shown.contains("backlog 0b 0p"),
        "frames still wait: {shown}"
    );
    rig.node(&format!(
        "rm -r {drop_in}; systemctl daemon-reload; systemctl start accelnetd"
    ));
    rig.until_path("vm1", "synthetic", 60);
    rig.node("ping -q -c 3 -W 2 10.77.0.101");
    rig.json(&words("vm enable vm1 -p Low"));
    rig.until_path("vm1", "vf", 60);
}

/// A VM starts with a VF that nobody gave it, and that has no address: it is taken away, and the VM gets one
/// as it should. Its guest has no NIC too many.
pub fn a_stray_vf(rig: &mut Rig) {
    rig.node(
        "virsh -q destroy vm1\n\
         vf=$(basename $(readlink /sys/class/net/pf0/device/virtfn6))\n\
         source=$(echo $vf | sed \"s/\\(.*\\):\\(.*\\):\\(.*\\)\\.\\(.*\\)/<address domain='0x\\1' bus='0x\\2' slot='0x\\3' function='0x\\4'\\/>/\")\n\
         virsh dumpxml --inactive vm1 > /root/before.xml\n\
         sed -e \"s|</interface>|<alias name='ua-nic'/></interface>|\" \
             -e \"s|</devices>|<hostdev mode='subsystem' type='pci' managed='no'><source>$source</source><teaming type='transient' persistent='ua-nic'/></hostdev></devices>|\" \
             /root/before.xml > /root/stray.xml\n\
         virsh -q define /root/stray.xml; virsh -q start vm1",
    );
    rig.node(&wait_until_up(rig.lab.guest("vm1").unwrap()));
    rig.until_path("vm1", "vf", 90);
    let count = rig.node("virsh dumpxml vm1 | grep -c '<hostdev'");
    assert_eq!(count.trim(), "1");
    let addresses = rig.guest("vm1", "cat /sys/class/net/eth*/address | sort -u");
    assert_eq!(addresses.trim(), MACS[0], "a NIC too many");
    rig.node("ping -q -c 3 -W 2 10.77.0.101; virsh -q define /root/before.xml");
}

/// The node shuts down, and libvirt-guests saves what runs there: VMs come off their VFs before. They go on
/// where they were at the next boot, and vm1 is on a VF again by itself.
pub fn the_host_shuts_down(rig: &mut Rig) {
    rig.node(
        "printf 'ON_SHUTDOWN=suspend\\nON_BOOT=start\\n' > /etc/default/libvirt-guests\n\
         systemctl enable --now libvirt-guests accelnet-park; sync",
    );
    // Stopped by hand it does the same, and that is taken back by hand.
    rig.node("systemctl stop accelnet-park");
    rig.until_path("vm1", "synthetic", 1);
    let journal = rig.node("journalctl -u accelnet-park -o cat --no-pager | tail -n 5");
    assert!(
        journal.contains("No VM of this host is on a VF."),
        "{journal}"
    );
    rig.json(&words("vm unpark --all"));
    rig.node("systemctl start accelnet-park");
    rig.until_path("vm1", "vf", 60);
    for vm in ["vm1", "vm2"] {
        rig.guest(vm, "echo kept > /tmp/kept");
    }
    rig.lab.shut_down_node("node1").unwrap();
    rig.lab.start_node("node1").unwrap();
    rig.lab.wait_for_node("node1").unwrap();
    for vm in ["vm1", "vm2"] {
        let guest = rig.lab.guest(vm).unwrap();
        // The node starts, and libvirt brings its guests back, which takes a slow machine minutes.
        rig.node(&format!("accelnet-lab-guest wait {} 300", guest.host));
        assert_eq!(
            rig.guest(vm, "cat /tmp/kept"),
            "kept\n",
            "{vm} was not saved"
        );
    }
    rig.until_path("vm1", "vf", 120);
    rig.node("ping -q -c 3 -W 2 10.77.0.101; ping -q -c 3 -W 2 10.77.0.102");
}
