//! A second network of the same node: limits and queues by level, management that moves from one network
//! to the other, NICs that are added, and what all of that is after a start of the node.
//!
//! The host has 10.78.0.11 on `br1`, guests 10.78.0.HOST there.

use serde_json::Value;

use crate::{
    documentation::{install_cmdlets, types},
    refusals::refused,
    rig::{Rig, words},
    story::PRIMARY,
};

/// vm1's NIC on `br0`.
const VM1: &str = "52:54:00:77:00:65";

/// Enabling acceleration on the first network.
pub const ENABLE: &str = "enable --intent compute --when now --reserve 0";

/// A VM's NIC on a bridge, as the product shows it.
#[track_caller]
fn nic(rig: &Rig, vm: &str, bridge: &str) -> Value {
    let shown = rig.vm(vm);
    let mut nics = shown["nics"].as_array().unwrap().iter();
    let nic = nics.find(|nic| nic["bridge"] == bridge);
    nic.unwrap_or_else(|| panic!("no NIC on {bridge}: {shown}"))
        .clone()
}

/// The VF of a VM's NIC is this adapter's, really: the address is on one of its VFs and on no other, which
/// libvirt has given to the VM, the bridge sends all frames for it there, and a driver in the guest has it.
/// The VF as the kernel's own tool shows it.
#[track_caller]
pub fn is_on_vf(rig: &Rig, vm: &str, bridge: &str, adapter: &str) -> Value {
    // In software emulation the guest's driver now and then resets the VF a moment after it came up, and
    // the guest sends by its tap meanwhile.
    let on_vf = |nic: &Value| nic["path"] == "vf" && nic["adapter"] == adapter;
    let nic = (0..15).map(|_| nic(rig, vm, bridge)).find(on_vf);
    let nic = nic.unwrap_or_else(|| panic!("{vm} is not on a VF of {adapter}: {}", rig.vm(vm)));
    let mac = nic["mac"].as_str().unwrap();
    let vfs = rig.vfs(adapter);
    let its: Vec<&Value> = vfs.iter().filter(|vf| vf["address"] == mac).collect();
    assert_eq!(its.len(), 1, "{mac}: {vfs:?}");
    let facts = rig.node(&format!(
        "basename $(readlink /sys/class/net/{adapter}/device/virtfn{})\n\
         bridge fdb show br {bridge} | grep '^{mac} .* static' | grep -v vlan\n\
         virsh dumpxml {vm}",
        its[0]["vf"]
    ));
    let mut facts = facts.lines();
    let (pci, entry) = (facts.next().unwrap(), facts.next().unwrap());
    assert_eq!(nic["vf"], pci, "{nic}");
    assert!(
        entry.contains(" dev ") && !entry.contains("vnet"),
        "{entry}"
    );
    let [domain, bus, place]: [&str; 3] = pci.split(':').collect::<Vec<_>>().try_into().unwrap();
    let (slot, function) = place.split_once('.').unwrap();
    // Addresses in the guest have a type.
    let source = format!(
        "<address domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"
    );
    assert!(
        facts.any(|line| line.contains(&source)),
        "{vm} has no {source}"
    );
    let drivers = rig.guest(
        vm,
        &format!("for i in $({PRIMARY}); do cat /sys/class/net/$i/address; done"),
    );
    assert!(drivers.contains(mac), "{vm}'s VFs: {drivers}");
    its[0].clone()
}

/// Answers to pings, one after the other, from the node.
#[track_caller]
pub fn is_reached(rig: &Rig, address: &str) {
    let heard = rig.node(&format!("ping -c 3 -i 0.2 -W 5 {address} 2>&1 || true"));
    assert!(heard.contains(" 0% packet loss"), "{heard}");
}

/// Queues of a VM's NIC in its persistent definition.
fn queues_staged(rig: &Rig, vm: &str, mac: &str) -> String {
    let script = format!(
        "virsh dumpxml --inactive {vm} | sed -n \"/<mac address='{mac}'/,/<.interface/ s/.*queues='\\([0-9]*\\)'.*/\\1/p\""
    );
    rig.node(&script).trim().to_owned()
}

/// A level's limit is in the card, follows intent and level while the VM keeps its VF, and loses nothing;
/// what a level's queue pairs ask for is staged on libvirt's definition.
pub fn limits_and_queues(rig: &mut Rig) {
    let set = |option, value| ["intent", "set", "compute", option, value];
    rig.json(&set("--max-tx-rate", "Low=100,Medium=300"));
    rig.json(&words(ENABLE));
    rig.json(&words("vm enable vm1 -p Low"));
    let vf = is_on_vf(rig, "vm1", "br0", "pf0")["vf"].clone();
    let running = rig.lab.start_probe("vm1", 100);
    let limited = |mbps: u32| {
        let vfs = rig.vfs("pf0");
        let found = vfs.iter().find(|found| found["vf"] == vf).unwrap();
        let facts = (&found["address"], &found["rate"]["max_tx"]);
        assert_eq!(facts, (&VM1.into(), &mbps.into()), "{found}");
    };
    limited(100);
    rig.json(&set("--max-tx-rate", "Low=150,Medium=300"));
    rig.until(30, "ip link show pf0 | grep -q 'max_tx_rate 150Mbps'");
    assert_eq!(queues_staged(rig, "vm1", VM1), "");
    rig.json(&set("--queue-pairs", "Low=2,Medium=2,High=4"));
    rig.until(30, "accelnet vm show vm1 | grep -q 'staged.*2 queues'");
    assert_eq!(queues_staged(rig, "vm1", VM1), "2");
    rig.json(&words("vm set vm1 -p Medium"));
    limited(300);
    let report = running.unwrap().stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
    refused(
        rig,
        &set("--max-tx-rate", "Medium=2000"),
        "tx_rate_not_possible",
    );
    refused(
        rig,
        &set("--queue-pairs", "Low=2,Medium=4,High=8"),
        "cannot_provision_performance",
    );
    limited(300);
}

/// Acceleration goes to another intent: the VM keeps its VF on the network that nobody manages now, and
/// loses nothing.
pub fn to_the_other_network(rig: &mut Rig) {
    let running = rig.lab.start_probe("vm1", 100);
    let before = is_on_vf(rig, "vm1", "br0", "pf0");
    let elsewhere = "accel_net_enabled_elsewhere";
    refused(rig, &words("enable --intent other"), elsewhere);
    let plan = rig.json(&words("set --intent other --dry-run"));
    let stays = format!("NIC {VM1} on br0 stays as it is, no longer managed");
    assert!(plan["plan"].to_string().contains(&stays), "{plan}");
    assert_eq!(plan["object"]["enabled"]["intent"], "compute", "{plan}");
    rig.json(&words("set --intent other"));
    // Nobody needs the link of br1 yet.
    rig.until(60, "[ $(cat /sys/class/net/pf1/device/sriov_numvfs) = 7 ]");
    assert_eq!(is_on_vf(rig, "vm1", "br0", "pf0"), before);
    let nic = nic(rig, "vm1", "br0");
    assert_eq!(
        (&nic["managed"], &nic["level"]),
        (&false.into(), &"medium".into()),
        "{nic}"
    );
    let report = running.unwrap().stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
    rig.node("ip addr add 10.78.0.11/24 dev br1");
}

/// NICs of a VM on a bridge, in its running and in its persistent definition.
fn nics_in_libvirt(rig: &Rig, vm: &str, bridge: &str) -> [usize; 2] {
    ["", "--inactive"].map(|which| {
        let xml = rig.node(&format!("virsh dumpxml {which} {vm}"));
        xml.matches(&format!("<source bridge='{bridge}'/>")).count()
    })
}

/// A VM without NIC on the intent's bridge gets one while it runs where two root ports are free, and with
/// its next start where its VF on the other network has left one.
pub fn nics_are_added(rig: &mut Rig) {
    let enable =
        |vm, options: &[&'static str]| [&["vm", "enable", vm, "-p", "Low"], options].concat();
    for vm in ["vm1", "vm2"] {
        refused(rig, &enable(vm, &[]), "vm_no_nic_on_intent");
        let plan = rig.json(&enable(vm, &["--add-adapter", "--dry-run"]));
        let plan = plan["items"][0]["plan"].to_string();
        assert!(plan.contains("on br1"), "{plan}");
        assert_eq!(nics_in_libvirt(rig, vm, "br1"), [0, 0]);
    }
    install_cmdlets(rig);
    let cmdlet = types(rig, "Enable-AccelNetVM vm1 Low -AddAdapter");
    assert_eq!(cmdlet.code, 0, "{cmdlet:?}");
    assert_eq!(nics_in_libvirt(rig, "vm1", "br1"), [0, 1]);
    assert_eq!(nic(rig, "vm1", "br0")["path"], "vf");

    rig.json(&enable("vm2", &["--add-adapter", "--no-wait"]));
    rig.until(30, "virsh domiflist vm2 | grep -q br1");
    rig.guest("vm2", &bring_up(102));
    for vm in ["vm2", "vm1"] {
        rig.json(&enable(vm, &["--add-adapter"]));
    }
    is_on_vf(rig, "vm2", "br1", "pf1");
    is_reached(rig, "10.78.0.102");
    is_reached(rig, "10.77.0.102");
    assert_eq!(nics_in_libvirt(rig, "vm1", "br1"), [0, 1]);
    assert_eq!(nics_in_libvirt(rig, "vm2", "br1"), [1, 1]);
}

/// Waits for the guest's second virtio NIC and uses it, as whoever adds a NIC has to.
fn bring_up(host: u8) -> String {
    format!(
        "i=0; while [ ! -e /sys/class/net/eth2 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; \
         ip link set eth2 up; ip addr add 10.78.0.{host}/24 dev eth2"
    )
}

/// Back on the first network all is as it was left; what the other network's VM had was given back there.
pub fn and_back(rig: &mut Rig) {
    let running = rig.lab.start_probe("vm1", 100);
    let before = is_on_vf(rig, "vm1", "br0", "pf0");
    rig.json(&words("vm disable vm2"));
    is_reached(rig, "10.78.0.102");
    let dirty = |vf: &&Value| vf["address"] != "00:00:00:00:00:00";
    assert_eq!(rig.vfs("pf1").iter().filter(dirty).count(), 0);
    rig.json(&words("set --intent compute"));
    assert_eq!(is_on_vf(rig, "vm1", "br0", "pf0"), before);
    let vm = rig.vm("vm1");
    assert_eq!(
        (&vm["level"], &vm["problems"]),
        (&"medium".into(), &serde_json::json!([])),
        "{vm}"
    );
    let report = running.unwrap().stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// The node starts: the bridge that was made is there before libvirt looks for it, VMs have the NICs and
/// queues that were staged, and the VM gets a VF with its limit.
pub fn after_a_start_of_the_node(rig: &mut Rig) {
    rig.node("sync");
    rig.lab.kill_node("node1").unwrap();
    rig.lab.start_node("node1").unwrap();
    rig.lab.wait_for_node("node1").unwrap();
    let made =
        rig.node("cat /sys/class/net/br1/ifalias; basename $(readlink /sys/class/net/pf1/master)");
    assert_eq!(
        made.split_whitespace().collect::<Vec<_>>(),
        ["accelnet:other", "br1"]
    );
    rig.all_guests_are_up();
    for vm in ["vm1", "vm2"] {
        assert_eq!(nics_in_libvirt(rig, vm, "br1"), [1, 1]);
        rig.guest(vm, &bring_up(rig.lab.guest(vm).unwrap().host));
    }
    rig.node("ip addr add 10.78.0.11/24 dev br1");
    let queues = rig.node(
        "tap=$(virsh domiflist vm1 | awk '/br0/ {print $1}'); ls -d /sys/class/net/$tap/queues/rx-* | wc -l",
    );
    assert_eq!(queues.trim(), "2");
    rig.until(120, "ip link show pf0 | grep -q 'max_tx_rate 300Mbps'");
    rig.json(&words("vm enable vm1 -p Medium"));
    let vf = is_on_vf(rig, "vm1", "br0", "pf0");
    assert_eq!(vf["rate"]["max_tx"], 300, "{vf}");
    assert_eq!(rig.vm("vm1")["staged"], serde_json::json!([]));
    for address in ["10.77.0.101", "10.77.0.102", "10.78.0.101", "10.78.0.102"] {
        is_reached(rig, address);
    }
}
