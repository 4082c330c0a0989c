//! Policy in whatever form: one at a time on the port of an accelerated VM (vm1) and of one that is not (vm2).
//! The one goes to its software path, where the policy holds, the other is refused; both with the rule's
//! name; and when it is gone the one is on a VF again by itself.

use crate::{
    refusals::refused,
    rig::{Rig, words},
};

/// The rule's name, how it is put in place, and how it is taken away. `TAP`, `MAC` and `VM` are the VM's; what
/// has none of them concerns both at once.
type Policy = (&'static str, &'static str, &'static str);

const BRIDGE_TABLE: &str = "nft delete table bridge lab";
const IP6_TABLE: &str =
    "nft delete table ip6 lab; sysctl -qw net.bridge.bridge-nf-call-ip6tables=0";

const PACKET_FILTERS: &[Policy] = &[
    (
        "nft/bridge/lab/passing",
        "nft add table bridge lab; nft add chain bridge lab passing '{ type filter hook forward priority 0; }'; \
         nft add rule bridge lab passing ether saddr MAC udp dport 9 drop",
        BRIDGE_TABLE,
    ),
    (
        "nft/bridge/lab/passing",
        "nft add table bridge lab; nft add chain bridge lab passing '{ type filter hook forward priority 0; policy drop; }'",
        BRIDGE_TABLE,
    ),
    (
        "nft/bridge/lab/coming",
        "nft add table bridge lab; nft add chain bridge lab coming '{ type filter hook prerouting priority 0; }'; \
         nft add chain bridge lab more; nft add rule bridge lab more udp dport 9 drop; \
         nft add rule bridge lab coming iifname TAP jump more",
        BRIDGE_TABLE,
    ),
    (
        "nft/netdev/lab/coming",
        "nft add table netdev lab; \
         nft add chain netdev lab coming '{ type filter hook ingress device TAP priority 0; }'; \
         nft add rule netdev lab coming udp dport 9 drop",
        "nft delete table netdev lab",
    ),
    (
        "nft/netdev/lab/coming",
        "nft add table netdev lab; \
         nft add chain netdev lab coming '{ type filter hook ingress device pf0 priority 0; policy accept; }'; \
         nft add rule netdev lab coming ip saddr 192.0.2.1 drop",
        "nft delete table netdev lab",
    ),
    (
        "nft/inet/lab/coming",
        "nft add table inet lab; \
         nft add chain inet lab coming '{ type filter hook ingress device TAP priority 0; }'; \
         nft add rule inet lab coming meta mark set 7",
        "nft delete table inet lab",
    ),
    (
        "nft/inet/lab/flows",
        "nft add table inet lab; nft add flowtable inet lab flows '{ hook ingress priority 0; devices = { TAP }; }'",
        "nft delete table inet lab",
    ),
    (
        "nft/ip6/lab/passing",
        "sysctl -qw net.bridge.bridge-nf-call-ip6tables=1; nft add table ip6 lab; \
         nft add chain ip6 lab passing '{ type filter hook forward priority 0; policy drop; }'",
        IP6_TABLE,
    ),
    (
        "nft/ip/filter/FORWARD",
        "ip link set br0 type bridge nf_call_iptables 1; iptables-nft -A FORWARD -d 198.51.100.0/24 -j DROP",
        "iptables-nft -D FORWARD -d 198.51.100.0/24 -j DROP; ip link set br0 type bridge nf_call_iptables 0",
    ),
    (
        "xtables/ip/filter",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1; \
         iptables-legacy -A FORWARD -m physdev --physdev-in TAP -d 198.51.100.0/24 -j DROP",
        "iptables-legacy -D FORWARD -m physdev --physdev-in TAP -d 198.51.100.0/24 -j DROP; \
         sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    ),
];

const TRAFFIC_CONTROL: &[Policy] = &[
    (
        "tap/filter-matchall",
        "tc qdisc add dev TAP clsact; tc filter add dev TAP ingress matchall action drop continue",
        "tc qdisc del dev TAP clsact",
    ),
    (
        "tap/filter-u32",
        "tc qdisc add dev TAP clsact; tc filter add dev TAP egress protocol ip u32 match ip dport 9 0xffff action drop",
        "tc qdisc del dev TAP clsact",
    ),
    (
        "tap/filter-flower",
        "tc qdisc add dev TAP handle ffff: ingress; \
         tc filter add dev TAP parent ffff: protocol ip flower dst_ip 198.51.100.1 action drop",
        "tc qdisc del dev TAP ingress",
    ),
    (
        "tap/filter-u32",
        "tc qdisc add dev TAP handle ffff: ingress; tc filter add dev TAP parent ffff: protocol ip u32 \
         match ip dport 9 0xffff police rate 10mbit burst 100k drop",
        "tc qdisc del dev TAP ingress",
    ),
    (
        "tap/filter-matchall",
        "tc qdisc add dev TAP ingress_block 7 ingress; tc filter add block 7 matchall action drop continue",
        "tc qdisc del dev TAP ingress_block 7 ingress",
    ),
    (
        "tap/filter-matchall",
        "tc qdisc add dev TAP clsact; tc filter add dev TAP ingress matchall action mirred egress mirror dev pf0",
        "tc qdisc del dev TAP clsact",
    ),
    (
        "tap/qdisc-htb",
        "tc qdisc replace dev TAP root handle 1: htb",
        "tc qdisc del dev TAP root",
    ),
    (
        "tap/qdisc-tbf",
        "tc qdisc replace dev TAP root handle 1: tbf rate 10mbit burst 100k latency 50ms",
        "tc qdisc del dev TAP root",
    ),
    (
        "tap/qdisc-netem",
        "tc qdisc replace dev TAP root handle 1: netem delay 1ms",
        "tc qdisc del dev TAP root",
    ),
    (
        "tap/qdisc-fq",
        "tc qdisc replace dev TAP root handle 1: fq maxrate 10mbit",
        "tc qdisc del dev TAP root",
    ),
    (
        "tap/qdisc-pfifo",
        "tc qdisc replace dev TAP root handle 1: pfifo limit 16",
        "tc qdisc del dev TAP root",
    ),
    (
        "uplink/filter-matchall",
        "tc qdisc add dev pf0 clsact; tc filter add dev pf0 egress matchall action continue",
        "tc qdisc del dev pf0 clsact",
    ),
    (
        "bridge/filter-matchall",
        "tc qdisc add dev br0 clsact; tc filter add dev br0 ingress matchall action continue",
        "tc qdisc del dev br0 clsact",
    ),
];

/// And the definition, which libvirt puts in place.
const PORTS: &[Policy] = &[
    (
        "tap/isolated",
        "bridge link set dev TAP isolated on",
        "bridge link set dev TAP isolated off",
    ),
    (
        "tap/locked",
        "bridge link set dev TAP locked on",
        "bridge link set dev TAP locked off",
    ),
    (
        "tap/neigh_suppress",
        "bridge link set dev TAP neigh_suppress on",
        "bridge link set dev TAP neigh_suppress off",
    ),
    (
        "tap/broadcast_flood",
        "bridge link set dev TAP bcast_flood off",
        "bridge link set dev TAP bcast_flood on",
    ),
    (
        "uplink/multicast_flood",
        "bridge link set dev pf0 mcast_flood off",
        "bridge link set dev pf0 mcast_flood on",
    ),
    (
        "the bridge port's state is disabled",
        "bridge link set dev TAP state 0",
        "bridge link set dev TAP state 3",
    ),
    (
        "tap/vlan",
        "bridge vlan add dev TAP vid 42 pvid untagged; bridge vlan del dev TAP vid 1; \
         ip link set br0 type bridge vlan_filtering 1",
        "ip link set br0 type bridge vlan_filtering 0; bridge vlan del dev TAP vid 42; \
         bridge vlan add dev TAP vid 1 pvid untagged",
    ),
    (
        "<link state='down'/>",
        "virsh -q domif-setlink VM MAC down",
        "virsh -q domif-setlink VM MAC up",
    ),
    (
        "definition/bandwidth",
        "virsh -q domiftune VM MAC --live --outbound 1000,2000",
        "virsh -q domiftune VM MAC --live --outbound 0",
    ),
];

/// A VM's name, its address, and its tap.
struct Port {
    vm: &'static str,
    mac: &'static str,
    tap: String,
}

impl Port {
    fn of(rig: &Rig, vm: &'static str, mac: &'static str) -> Self {
        let tap = rig.node(&format!(
            "virsh domiflist {vm} | awk '/br0/ {{ print $1 }}'"
        ));
        let tap = tap.trim().to_owned();
        Self { vm, mac, tap }
    }

    fn words(&self, script: &str) -> String {
        let script = script.replace("TAP", &self.tap).replace("MAC", self.mac);
        script.replace("VM", self.vm)
    }
}

fn concerns_both(script: &str) -> bool {
    !["TAP", "MAC", "VM"]
        .iter()
        .any(|word| script.contains(word))
}

/// vm1 is on its VF, vm2 is not. Some of the tools' modules are there from now on, and restrict nothing.
pub fn one_of_each(rig: &mut Rig) {
    rig.json(&words("enable --intent compute --when now --reserve 0"));
    rig.json(&words("vm enable vm1 -p Low"));
    rig.node(
        "modprobe br_netfilter; sysctl -qw net.bridge.bridge-nf-call-iptables=0 \
         net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0",
    );
}

pub fn packet_filters(rig: &mut Rig) {
    each_in_turn(rig, PACKET_FILTERS);
}

pub fn traffic_control(rig: &mut Rig) {
    each_in_turn(rig, TRAFFIC_CONTROL);
}

pub fn ports(rig: &mut Rig) {
    each_in_turn(rig, PORTS);
}

fn each_in_turn(rig: &Rig, policies: &[Policy]) {
    let accelerated = Port::of(rig, "vm1", "52:54:00:77:00:65");
    let plain = Port::of(rig, "vm2", "52:54:00:77:00:66");
    for (number, (rule, add, remove)) in policies.iter().enumerate() {
        eprintln!("           {:2} {rule}", number + 1);
        if !concerns_both(add) {
            rig.node(&plain.words(add));
            named(rig, rule);
            rig.node(&plain.words(remove));
        }
        rig.node(&accelerated.words(add));
        if concerns_both(add) {
            named(rig, rule);
        }
        // Of a link that is held down the path is none.
        let shown = "accelnet vm show vm1 -o json";
        rig.until(60, &format!("! {shown} | grep -q '\"path\": \"vf\"'"));
        rig.until(30, &format!("{shown} | grep -q policy_not_offloadable"));
        let why = rig.vm("vm1")["problems"].to_string();
        assert!(why.contains(rule), "{rule}: {why}");
        rig.node(&accelerated.words(remove));
        rig.until_path("vm1", "vf", 90);
    }
    let plan = rig.json(&words("vm enable vm2 -p Low --dry-run"));
    assert_eq!(plan["items"][0]["ok"], true, "nothing is left: {plan}");
}

/// The VM without a VF is refused one, with the rule's name.
fn named(rig: &Rig, rule: &str) {
    let run = rig.accelnet(&words("vm enable vm2 -p Low --dry-run -o json"));
    assert!(
        run.codes() == ["policy_not_offloadable"] && run.out.contains(rule),
        "{rule}: {run:?}"
    );
}

/// What provably does not meet a port's frames refuses nothing.
pub fn what_does_not_concern_it(rig: &mut Rig) {
    let dry = words("vm enable vm2 -p Low --dry-run");
    for (add, remove) in [
        (
            // As Docker and libvirt write them.
            "sysctl -qw net.bridge.bridge-nf-call-iptables=1; ip link add docker0 type bridge; \
             iptables-nft -N DOCKER; iptables-nft -A FORWARD -o docker0 -j DOCKER; \
             iptables-nft -A DOCKER -i docker0 -p tcp -d 172.17.0.2 --dport 80 -j ACCEPT; \
             iptables-nft -A FORWARD -i docker0 -o docker0 -j DROP; \
             iptables-nft -A FORWARD -o virbr0 -j REJECT; iptables-nft -A INPUT -i virbr0 -j DROP",
            "nft delete table ip filter; ip link del docker0; sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        ),
        (
            "nft add table bridge lab; nft add chain bridge lab passing '{ type filter hook forward priority 0; }'; \
             nft add rule bridge lab passing iifname vnet77 drop",
            BRIDGE_TABLE,
        ),
        (
            "nft add table ip6 lab; nft add chain ip6 lab passing '{ type filter hook forward priority 0; policy drop; }'",
            "nft delete table ip6 lab",
        ),
    ] {
        rig.node(add);
        let plan = rig.json(&dry);
        assert_eq!(plan["items"][0]["ok"], true, "{add}: {plan}");
        assert_eq!(rig.vm("vm1")["nics"][0]["path"], "vf", "{add}");
        rig.node(remove);
    }
}

/// A limit of what the VM sends alone, in whole Mbit/s, is the VF's own.
pub fn translated(rig: &mut Rig) {
    let vm1 = Port::of(rig, "vm1", "52:54:00:77:00:65");
    let limit = |average: &str| {
        vm1.words(&format!(
            "virsh -q domiftune VM MAC --live --outbound {average}"
        ))
    };
    rig.node(&limit("12500"));
    rig.until(
        30,
        &format!(
            "ip link show pf0 | grep -i {} | grep -q 'max_tx_rate 100Mbps'",
            vm1.mac
        ),
    );
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "vf");
    rig.node(&limit("0"));
    rig.until(30, "! ip link show pf0 | grep -q max_tx_rate");
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "vf");
}

/// The VLAN of an access port that the uplink carries with its tag is the VF's own: who is in it is reached, who is
/// not is not.
pub fn a_vlan_of_its_own(rig: &mut Rig) {
    let ports = [
        Port::of(rig, "vm2", "52:54:00:77:00:66"),
        Port::of(rig, "vm1", "52:54:00:77:00:65"),
    ];
    let reaches = |from: &str, to: &str| {
        let script = format!(
            "{{ ip neigh flush dev eth0; ping -c 3 -W 5 {to}; }} >/dev/null && echo yes || echo no"
        );
        rig.guest(from, &script).trim() == "yes"
    };
    // Between the two commands its port is in both VLANs, which no VF can be: an agent that looks then takes it off.
    let vlan = |vlan: &str| {
        let mac = ports[1].mac;
        rig.until(90, &format!("ip link show pf0 | grep -i {mac} | {vlan}"));
        rig.until_path("vm1", "vf", 90);
    };
    let (host, vm1, vm2) = ("10.77.0.11", "10.77.0.101", "10.77.0.102");
    rig.node("bridge vlan add dev pf0 vid 42; ip link set br0 type bridge vlan_filtering 1");
    for port in &ports {
        rig.node(
            &port.words(
                "bridge vlan add dev TAP vid 42 pvid untagged; bridge vlan del dev TAP vid 1",
            ),
        );
    }
    vlan("grep -q 'vlan 42'");
    let entry = format!("{} dev pf0 vlan 42 master br0 static", ports[1].mac);
    rig.until(30, &format!("bridge fdb show | grep -q '{entry}'"));
    assert!(reaches("vm1", vm2) && reaches("vm2", vm1));
    assert!(!reaches("vm1", host) && !reaches("vm2", host));
    for port in &ports {
        rig.node(
            &port.words(
                "bridge vlan add dev TAP vid 1 pvid untagged; bridge vlan del dev TAP vid 42",
            ),
        );
    }
    vlan("grep -vq 'vlan 42'");
    assert!(reaches("vm1", host) && reaches("vm1", vm2));
    rig.node("ip link set br0 type bridge vlan_filtering 0; bridge vlan del dev pf0 vid 42");
}

/// Somebody decides that a rule need not hold for one VM; the decision ends with the rule.
pub fn waived(rig: &mut Rig) {
    let port = Port::of(rig, "vm2", "52:54:00:77:00:66");
    refused(
        rig,
        &words("vm enable vm2 --waive tap/isolated"),
        "waiver_not_found",
    );
    rig.node(&port.words("bridge link set dev TAP isolated on"));
    rig.json(&[
        "vm",
        "enable",
        "vm2",
        "-p",
        "Low",
        "--waive",
        "tap/isolated",
        "--because",
        "alone on its node",
    ]);
    rig.until_path("vm2", "vf", 60);
    let list = rig.json(&words("waiver list"));
    let waiver = &list["items"][0];
    assert_eq!(waiver["vm"], "vm2", "{list}");
    assert_eq!(waiver["rule"], "tap/isolated", "{list}");
    assert_eq!(waiver["because"], "alone on its node", "{list}");
    assert_eq!(rig.vm("vm2")["waivers"][0]["by"], "uid 0");
    // Another rule is none of its business.
    rig.node(&port.words("bridge link set dev TAP locked on"));
    rig.until_path("vm2", "synthetic", 60);
    rig.node(&port.words("bridge link set dev TAP locked off"));
    rig.until_path("vm2", "vf", 90);
    rig.node(&port.words("bridge link set dev TAP isolated off"));
    rig.until(
        30,
        "[ \"$(accelnet waiver list -o json | grep -c tap/isolated)\" = 0 ]",
    );
    rig.until_path("vm2", "vf", 5);
    rig.node(&port.words("bridge link set dev TAP isolated on"));
    rig.until_path("vm2", "synthetic", 60);
    rig.node(&port.words("bridge link set dev TAP isolated off"));
    rig.json(&words("vm disable vm2"));
}
