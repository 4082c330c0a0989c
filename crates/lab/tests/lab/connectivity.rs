//! What operators meet: cables that come out, VMs that are saved, disciplines of others, an agent that dies
//! in the middle. An accelerated VM (vm1) is measured beside one that is not (vm2), in the same seconds.

use crate::rig::{Rig, words};

/// Echoes that the node's host misses, of `vm1` and of `vm2`, while `disturb` happens.
fn missed(rig: &Rig, seconds: u32, disturb: impl FnOnce(&Rig)) -> [u32; 2] {
    let count = seconds * 10;
    for vm in [101, 102] {
        rig.node(&format!(
            "systemd-run -q --unit=echo{vm} sh -c 'ping -q -i 0.1 -W 2 -c {count} 10.77.0.{vm} > /run/echo{vm}; true'"
        ));
    }
    disturb(rig);
    let lost = [101, 102].map(|vm| {
        rig.until(
            seconds + 60,
            &format!("grep -q received /run/echo{vm} 2>/dev/null"),
        );
        let text = rig.node(&format!("cat /run/echo{vm}; rm /run/echo{vm}"));
        let line = text.lines().find(|line| line.contains("received"));
        let mut numbers = line
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse::<u32>().ok());
        let (sent, received) = (numbers.next().unwrap(), numbers.next().unwrap());
        sent - received
    });
    eprintln!(
        "           of {count} echoes each, missed: {} accelerated, {} not",
        lost[0], lost[1]
    );
    lost
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
    let lost = missed(rig, 5, |_| {});
    assert_eq!(lost, [0, 0]);
}

/// The cable is out for six seconds. The host reaches both VMs; of the accelerated one it waits until the
/// guest has given up its VF, since a guest takes nothing by its tap before (net_failover).
pub fn a_cable_comes_out(rig: &mut Rig) {
    let lost = missed(rig, 20, |rig| {
        rig.lab.cut_node("node1", true).unwrap();
        rig.until_path("vm1", "synthetic", 10);
        rig.node("sleep 6");
        rig.lab.cut_node("node1", false).unwrap();
    });
    // A second, at ten a second, and what software emulation adds to an unplug.
    assert!(lost[0] <= lost[1] + 30, "{lost:?}");
    rig.until_path("vm1", "vf", 60);
}

/// A save of a VM on its VF stops it for ever, without us: it is ended, and said.
pub fn a_save_is_ended(rig: &mut Rig) {
    let lost = missed(rig, 20, |rig| {
        let run = rig.command(&words("timeout 60 virsh managedsave vm1"));
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.err.contains("canceled"), "{run:?}");
    });
    assert!(lost[0] <= 60, "{lost:?}");
    assert_eq!(rig.node("virsh domstate vm1").trim(), "running");
    let shown = rig.vm("vm1");
    assert!(
        shown["problems"].to_string().contains("vm_frozen"),
        "{shown}"
    );
    rig.until_path("vm1", "vf", 60);
}

/// One that is parked is saved and comes back; then it is on a VF again.
pub fn a_parked_vm_is_saved(rig: &mut Rig) {
    rig.json(&words("vm park vm1 --for 10m"));
    let shown = rig.vm("vm1");
    assert_eq!(shown["nics"][0]["path"], "synthetic", "{shown}");
    assert_eq!(shown["level"], "Low", "the wish stays: {shown}");
    rig.node("virsh -q managedsave vm1 && virsh -q start vm1");
    rig.node("timeout 60 sh -c 'until ping -q -c 1 -W 1 10.77.0.101; do :; done'");
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "synthetic");
    rig.json(&words("vm unpark vm1"));
    rig.until_path("vm1", "vf", 60);
}

/// Somebody shapes the tap of a VM on its VF. There is no place for the hold queue then; policy comes first,
/// and the discipline is left alone.
pub fn a_discipline_of_somebody_else(rig: &mut Rig) {
    let tap = rig.node("virsh domiflist vm1 | awk '/bridge/ { print $1 }'");
    let tap = tap.trim();
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

/// The daemon is killed while frames wait: they go on all the same, and so does the switch-over when it is
/// there again.
pub fn killed_while_frames_wait(rig: &mut Rig) {
    let lost = missed(rig, 15, |rig| {
        rig.node(
            "accelnet vm disable vm1 --no-wait\n\
             timeout 20 sh -c 'until journalctl -u accelnetd --no-pager -n 20 | grep -q \"hold: Wait\"; do :; done'\n\
             kill -9 $(systemctl show -P MainPID accelnetd)",
        );
    });
    // Those of two seconds, the longest that frames wait, and what the guest discards meanwhile.
    assert!(lost[0] <= lost[1] + 50, "{lost:?}");
    rig.until_path("vm1", "synthetic", 60);
    rig.node("ping -q -c 3 -W 2 10.77.0.101");
}
