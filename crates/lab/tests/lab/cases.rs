//! Definitions as users have them (`crates/lab/tests/cases`), on a node whose vm1 stays on its VF all the time:
//! what is said of each, and what is left alone. Their guests do not run: that is enough for every answer.

use std::collections::BTreeMap;

use accelnet_lab::shell::quote;
use serde_json::Value;

use crate::{
    documentation::{install_cmdlets, types},
    rig::{Rig, words},
};

macro_rules! case {
    ($name:literal) => {
        include_str!(concat!("../cases/", $name, ".xml"))
    };
}

fn uuid(number: &str) -> String {
    format!("00000000-0000-4000-8000-000000000{number}")
}

/// vm1 is where it was: no odd VM beside it costs it anything.
#[track_caller]
fn vm1_is_on_its_vf(rig: &Rig) {
    let vm = rig.vm("vm1");
    assert_eq!(vm["nics"][0]["path"], "vf", "{vm}");
    let status = rig.json(&["status"]);
    assert_eq!(status["nodes"][0]["reachable"], true, "{status}");
    let run = rig.accelnet(&words("status -o json"));
    let unavailable = "hypervisor_unavailable".to_owned();
    assert!(!run.codes().contains(&unavailable), "{run:?}");
}

/// The VFs that vm1 does not have, in their order.
fn other_vfs(rig: &Rig) -> Vec<String> {
    let its = rig.vm("vm1")["nics"][0]["vf"].clone();
    let shown = rig.json(&words("adapter show pf0"));
    let all = shown["facts"]["vfs"].as_array().unwrap().iter();
    all.map(|vf| vf["pci"].clone())
        .filter(|pci| *pci != its)
        .map(|pci| pci.as_str().unwrap().to_owned())
        .collect()
}

/// A definition with another PCI address of the host in the place of `place` (`slot='0x10' function='0x0'`).
fn at(xml: &str, place: &str, pci: &str) -> String {
    assert!(xml.contains(place), "{place}: {xml}");
    let (rest, function) = pci.rsplit_once('.').unwrap();
    let (bus, slot) = rest.rsplit_once(':').unwrap();
    let bus = bus.rsplit(':').next().unwrap();
    let whole = format!("bus='0x01' {place}");
    let wanted = format!("bus='0x{bus}' slot='0x{slot}' function='0x{function}'");
    xml.replace(&whole, &wanted)
}

/// Defines VMs and starts them without letting them run; the node has seen all of them then.
fn start(rig: &Rig, definitions: &[&str]) {
    let mut script = String::from("set -e\n");
    for xml in definitions {
        let uuid = xml.split("<uuid>").nth(1).unwrap();
        let uuid = uuid.split('<').next().unwrap();
        script.push_str(&format!(
            "printf '%s' {} > /root/case.xml; virsh -q define /root/case.xml; virsh -q start --paused {uuid}\n",
            quote(xml)
        ));
    }
    rig.node(&script);
    let count = definitions.len();
    rig.until(
        30,
        &format!("[ \"$(accelnet vm list -o json | grep -c '\"state\": \"paused\"')\" = {count} ]"),
    );
}

fn remove(rig: &Rig, uuids: &[String]) {
    let mut script = String::new();
    for uuid in uuids {
        script.push_str(&format!(
            "virsh -q destroy {uuid} 2>/dev/null; virsh -q undefine {uuid};"
        ));
    }
    rig.node(&script);
}

/// Codes that keep VMs from being enabled, in alphabetical order, by their UUIDs.
fn refusals(rig: &Rig, uuids: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut line = words("vm enable --dry-run -p Low -o json");
    line.extend(uuids.iter().map(String::as_str));
    let run = rig.accelnet(&line);
    let answer: Value =
        serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let each = answer["items"].as_array().unwrap().iter();
    each.map(|done| {
        let problems = done["problems"].as_array().into_iter().flatten();
        let mut codes: Vec<String> = problems
            .map(|problem| problem["code"].as_str().unwrap().to_owned())
            .collect();
        codes.sort();
        let uuid = done["uuid"].as_str().unwrap_or_default();
        (uuid.to_owned(), codes)
    })
    .collect()
}

/// Eight at once. Nothing is wrong with them but that they do not run, and one NIC's MTU.
pub fn odd_definitions(rig: &mut Rig) {
    rig.node("ip tuntap add tap-c09 mode tap; ip link set tap-c09 master br0 up");
    start(
        rig,
        &[
            case!("c01-metadata-prefix"),
            case!("c03-virtio-non-transitional"),
            case!("c04-mtu-9000"),
            case!("c09-ethernet-unmanaged-tap"),
            case!("c10a-name-blanks"),
            case!("c10b-name-dash-comma"),
            case!("c10c-name-long-unicode"),
            case!("c11-virtio-mem"),
        ],
    );
    let numbers = ["c01", "c03", "c04", "c09", "c1a", "c1b", "c1c", "c11"];
    let uuids: Vec<String> = numbers.into_iter().map(uuid).collect();
    let found = refusals(rig, &uuids);
    for (number, uuid) in numbers.into_iter().zip(&uuids) {
        let expected: &[&str] = match number {
            "c04" => &["vf_mtu_too_small", "vm_not_running"],
            _ => &["vm_not_running"],
        };
        assert_eq!(found[uuid], expected, "{number}: {found:?}");
    }
    let tap = rig.vm(&uuid("c09"));
    assert_eq!(tap["nics"][0]["bridge"], "br0", "{tap}");
    vm1_is_on_its_vf(rig);
    names(rig);
    remove(rig, &uuids);
    rig.node("ip link del tap-c09");
}

/// As virt-install makes it of the line that people paste, with a standby NIC and a root port; but libvirt gives the
/// root port to the memory balloon. One is added by `prepare`, and nothing else is missing.
pub fn as_virt_install_makes_it(rig: &mut Rig) {
    start(rig, &[case!("c28-virt-install")]);
    let vm = uuid("c28");
    let ports = |rig: &Rig| {
        let count = rig.node(&format!(
            "virsh dumpxml --inactive {vm} | grep -c \"controller type='pci'.*pcie-root-port\""
        ));
        count.trim().parse::<u32>().unwrap()
    };
    assert_eq!(
        refusals(rig, std::slice::from_ref(&vm))[&vm],
        ["vm_no_free_root_port", "vm_not_running"]
    );
    let before = ports(rig);
    rig.json(&["vm", "prepare", &vm]);
    assert_eq!(ports(rig), before + 1);
    let again = rig.json(&["vm", "prepare", &vm]);
    assert_eq!(again["items"][0]["changed"], false, "{again}");
    // With it a start brings all that is needed.
    rig.node(&format!(
        "virsh -q destroy {vm}; virsh -q start --paused {vm}"
    ));
    rig.until(
        30,
        &format!("accelnet vm enable --dry-run -p Low {vm} 2>&1 | grep -q vm_not_running"),
    );
    assert_eq!(
        refusals(rig, std::slice::from_ref(&vm))[&vm],
        ["vm_not_running"]
    );
    vm1_is_on_its_vf(rig);
    remove(rig, &[vm]);
}

/// Each is found by its name, by its UUID in any letters, on standard input, and by cmdlet.
fn names(rig: &mut Rig) {
    let list = rig.json(&words("vm list"));
    let listed = |number: &str| {
        let mut all = list["items"].as_array().unwrap().iter();
        let vm = all.find(|vm| vm["uuid"] == uuid(number)).unwrap();
        vm["name"].as_str().unwrap().to_owned()
    };
    let long = case!("c10c-name-long-unicode")
        .split(['<', '>'])
        .nth(4)
        .unwrap();
    for (number, name) in [
        ("c1a", " web 01 "),
        ("c1b", "-f, \"q\" *?; $(id) & co"),
        ("c1c", long),
    ] {
        assert_eq!(listed(number), name);
        for called in [name.to_owned(), uuid(number).to_uppercase()] {
            let run = rig.accelnet(&["vm", "show", "-o", "json", "--", &called]);
            let shown: Value = serde_json::from_str(&run.out).unwrap();
            // What may be a pattern is answered with a list.
            let shown = shown["items"].get(0).unwrap_or(&shown);
            assert_eq!(shown["name"], name, "{run:?}");
        }
        let line = format!(
            "printf '%s\\n' {} | accelnet vm enable - --dry-run -o json",
            quote(name)
        );
        let run = rig.command(&["bash", "-c", &line]);
        assert_eq!(run.codes(), ["vm_not_running"], "{name}: {run:?}");
    }
    install_cmdlets(rig);
    let run = types(
        rig,
        "Get-VM –Name “web 01” | Enable-AccelNetVM -Performance Low -WhatIf",
    );
    assert!(run.err.contains("[vm_not_running]"), "{run:?}");
}

/// Memory that is set aside in huge pages is not asked for again: the node has less than that left.
pub fn memory_that_is_there(rig: &mut Rig) {
    let pages = rig.node(
        "available() { awk '/^MemAvailable/ { print $2 }' /proc/meminfo; }\n\
         sysctl -qw vm.drop_caches=3 vm.compact_memory=1; sysctl -qw vm.nr_hugepages=$(($(available) * 6 / 10 / 2048))\n\
         pages=$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)\n\
         [ $(available) -lt $((pages * 2048 + 131072)) ] && echo $pages",
    );
    let memory = format!(
        "<memory unit='MiB'>{}</memory>",
        pages.trim().parse::<u32>().unwrap() * 2
    );
    let xml = case!("c02-hugepages-locked");
    let from = "<memory unit='MiB'>64</memory>";
    assert!(xml.contains(from));
    start(rig, &[&xml.replace(from, &memory)]);
    let vm = uuid("c02");
    assert_eq!(
        refusals(rig, std::slice::from_ref(&vm))[&vm],
        ["vm_not_running"]
    );
    vm1_is_on_its_vf(rig);
    remove(rig, &[vm]);
    rig.node("sysctl -qw vm.nr_hugepages=0");
}

/// The live definition of a VM and the one that comes with its next start.
fn definitions(rig: &Rig, vm: &str) -> String {
    rig.node(&format!(
        "virsh dumpxml {vm}; virsh dumpxml --inactive {vm}"
    ))
}

/// Pairs that users made, with a VF of their own and with one of a pool: they are called so, and left alone.
pub fn pairs_of_others(rig: &mut Rig) {
    let vfs = other_vfs(rig);
    let place = "slot='0x10' function='0x0'";
    start(
        rig,
        &[&at(case!("c06-kernel-doc-link-down"), place, &vfs[1])],
    );
    left_alone(rig, &uuid("c06"), &vfs[1]);
    remove(rig, &[uuid("c06")]);

    let (first, second) = (&vfs[vfs.len() - 2], &vfs[vfs.len() - 1]);
    let network = case!("c07-network-sriov-pool");
    let network = at(network, "slot='0x11' function='0x2'", first);
    let network = at(&network, "slot='0x11' function='0x4'", second);
    rig.node(&format!(
        "printf '%s' {} > /root/case.xml; virsh -q net-define /root/case.xml; virsh -q net-start sriov-pool",
        quote(&network)
    ));
    start(rig, &[case!("c07-hostdev-pool-first")]);
    let vm = uuid("c07");
    left_alone(rig, &vm, first);
    let shown = rig.vm(&vm);
    assert_eq!(shown["nics"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["staged"], serde_json::json!([]), "{shown}");
    remove(rig, &[vm]);
    rig.node("virsh -q net-destroy sriov-pool; virsh -q net-undefine sriov-pool");
    // What libvirt left on its VFs is cleaned, when nobody has opened them for a while: only vm1's carries an address.
    rig.until(
        40,
        "[ \"$(ip link show pf0 | grep 'vf [0-9]' | grep -vc 'link/ether 00:00:00:00:00:00')\" = 1 ]",
    );
    vm1_is_on_its_vf(rig);
}

/// Four VMs take VFs from a pool of libvirt's while vm2 is enabled: vm2 gets one that is free, and nobody is given
/// what another has. libvirt's pool knows nothing of VFs that are used beside it: a start may end with "in use".
pub fn a_pool_beside(rig: &mut Rig) {
    let functions = other_vfs(rig).into_iter().map(|vf| {
        let (bus, function) = vf.rsplit_once(':').unwrap();
        let (bus, (slot, function)) = (&bus[5..], function.split_once('.').unwrap());
        format!(
            "<address type='pci' domain='0' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"
        )
    });
    let pool = format!(
        "<network><name>sriov-pool</name><forward mode='hostdev' managed='yes'>{}</forward></network>",
        functions.collect::<String>()
    );
    rig.node(&format!(
        "echo {} > /root/case.xml; virsh -q net-define /root/case.xml; virsh -q net-start sriov-pool",
        quote(&pool)
    ));
    let uuids = ["c70", "c71", "c72", "c73"].map(uuid);
    let mut starts = String::new();
    for (number, vm) in uuids.iter().enumerate() {
        let xml = case!("c14-off-vm-owns-vf");
        let (head, rest) = xml.split_once("<interface").unwrap();
        let tail = rest.split_once("</hostdev>").unwrap().1;
        let head = head
            .replace(&uuid("c14"), vm)
            .replace("c14-off-vm-owns-vf", &format!("pool-{number}"));
        let nic = format!(
            "<interface type='network'><mac address='00:00:5e:00:53:7{number}'/><source network='sriov-pool'/></interface>"
        );
        rig.node(&format!(
            "echo {} > /root/case.xml; virsh -q define /root/case.xml",
            quote(&format!("{head}{nic}{tail}"))
        ));
        starts.push_str(&format!(
            "virsh -q start --paused {vm} > /root/start-{number} 2>&1 &\n"
        ));
    }
    // What did not start says why; and then each VF that is open, once for each QEMU that has it.
    let found = rig.node(&format!(
        "{starts} accelnet vm enable vm2 -p Low >&2 || exit 1; wait\n\
         cat /root/start-? | grep . | grep -v 'in use' >&2 && exit 1\n\
         for qemu in $(pgrep qemu-system); do ls -l /proc/$qemu/fd | grep -o '/dev/vfio/[0-9][0-9]*' | sort -u; done"
    ));
    let (mut open, mut once): (Vec<&str>, Vec<&str>) =
        (found.lines().collect(), found.lines().collect());
    open.sort_unstable();
    once.sort_unstable();
    once.dedup();
    assert_eq!(open, once, "a VF has two users");
    assert!(open.len() > 2, "no VM of the pool came up: {open:?}");
    assert_eq!(rig.vm("vm2")["nics"][0]["path"], "vf");
    vm1_is_on_its_vf(rig);
    remove(rig, &uuids);
    rig.node("virsh -q net-destroy sriov-pool; virsh -q net-undefine sriov-pool");
    rig.json(&words("vm disable vm2"));
}

/// It is refused as somebody else's pair, and neither preparing nor disabling changes what it has.
#[track_caller]
fn left_alone(rig: &Rig, vm: &str, vf: &str) {
    let found = &refusals(rig, &[vm.to_owned()])[vm];
    assert_eq!(found, &["vf_in_use_by_others", "vm_not_running"], "{vm}");
    let shown = rig.vm(vm);
    assert_eq!(shown["nics"][0]["vf"], vf, "{shown}");
    // Nobody drives it.
    assert_ne!(shown["nics"][0]["path"], "vf", "{shown}");
    let before = definitions(rig, vm);
    rig.json(&["vm", "prepare", vm]);
    let run = rig.accelnet(&["vm", "disable", vm, "-o", "json"]);
    assert_eq!(run.code, 3, "it keeps its VF: {run:?}");
    assert!(
        run.codes().contains(&"vf_in_use_by_others".to_owned()),
        "{run:?}"
    );
    assert_eq!(definitions(rig, vm), before);
    vm1_is_on_its_vf(rig);
}

/// A VF in the definition of a VM that is off is not given to another, and is there at its start.
pub fn a_vf_of_a_vm_that_is_off(rig: &mut Rig) {
    let vfs = other_vfs(rig);
    let owner = uuid("c14");
    let xml = at(
        case!("c14-off-vm-owns-vf"),
        "slot='0x10' function='0x0'",
        &vfs[0],
    );
    rig.node(&format!(
        "printf '%s' {} > /root/case.xml; virsh -q define /root/case.xml",
        quote(&xml)
    ));
    let promised =
        format!("accelnet adapter show pf0 -o json | grep -q '\"promised\": \"{owner}\"'");
    rig.until(20, &promised);
    rig.json(&words("vm enable vm2 -p Low"));
    // Without its owner it would have been the next one.
    assert_ne!(rig.vm("vm2")["nics"][0]["vf"], vfs[0].as_str());
    rig.node(&format!("virsh -q start --paused {owner}"));
    vm1_is_on_its_vf(rig);
    remove(rig, &[owner]);
    // libvirt gives it back to whom it took it from: to be passed through.
    let driver = format!(
        "[ \"$(basename $(readlink /sys/bus/pci/devices/{}/driver))\" = vfio-pci ]",
        vfs[0]
    );
    rig.until(20, &driver);
    rig.json(&words("vm disable vm2"));
}

/// A plug that is taken back at once, and when the guest has just been shown the device: QEMU refuses to unplug
/// then ("guest is busy"), and it is waited for.
pub fn unplugged_right_after_the_plug(rig: &mut Rig) {
    for ready in ["true", "virsh dumpxml vm2 | grep -q ua-accelnet-"] {
        rig.json(&words("vm enable vm2 -p Low --no-wait"));
        rig.until(20, ready);
        let run = rig.accelnet(&words("vm disable vm2 -o json"));
        assert_eq!((run.code, run.codes()), (0, vec![]), "{run:?}");
        assert_eq!(rig.vm("vm2")["nics"][0]["path"], "synthetic");
        rig.node("! virsh dumpxml vm2 | grep -q ua-accelnet-");
    }
    vm1_is_on_its_vf(rig);
}
