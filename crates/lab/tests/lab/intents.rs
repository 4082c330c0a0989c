//! Intents whose adapters a rule chooses, and bridges that accelnet makes: what is there afterwards.

use serde_json::Value;

use crate::{
    refusals::refused,
    rig::{Rig, words},
};

/// What is told of the node's machines and adapters is what libvirt and the kernel say, and nothing fails
/// where they say nothing: igb has no devlink.
pub fn what_the_node_offers(rig: &mut Rig) {
    let machine = rig.node(
        "virsh domcapabilities --machine q35 | sed -n 's|.*<machine>\\(.*\\)</machine>.*|\\1|p'",
    );
    let checks = rig.json(&["prereq"]);
    let mut checks = checks["items"].as_array().unwrap().iter();
    let check = checks
        .find(|check| check["check"] == "vm_capabilities")
        .unwrap();
    assert_eq!(check["passed"], true, "{check}");
    let found = check["found"].as_str().unwrap();
    assert!(found.contains(machine.trim()), "{found}: {machine}");
    for adapter in ["mgmt", "pf0", "pf1"] {
        let shown = rig.json(&["adapter", "show", adapter]);
        let pci = shown["facts"]["pci"].as_str().unwrap();
        let devlink = rig.node(&format!("devlink -j dev show pci/{pci} || true"));
        assert_eq!(
            shown["facts"]["devlink"].is_object(),
            devlink.contains(pci),
            "{shown}"
        );
        let table = rig.accelnet(&["adapter", "show", adapter]);
        assert!(table.code == 0 && table.out.contains(pci), "{table:?}");
    }
}

/// The intent that has an adapter.
fn intent_of(rig: &Rig, adapter: &str) -> Value {
    rig.json(&["adapter", "show", adapter])["intent"].clone()
}

/// A rule takes the adapters that fit and no others; one that fits none or too many changes nothing.
pub fn rules_choose_adapters(rig: &mut Rig) {
    let set = |rule| ["intent", "set", "compute", "--match", rule];
    // pf1 is down, so its speed is not known.
    rig.json(&set("driver=igb,speed=1000"));
    let chosen = ["pf0", "pf1", "mgmt"].map(|adapter| intent_of(rig, adapter));
    assert_eq!(chosen, ["compute".into(), Value::Null, Value::Null]);
    for (rule, code) in [
        ("driver=igb", "adapter_not_uplink"),
        ("driver=ice", "adapter_not_found"),
        ("", "invalid_argument"),
    ] {
        refused(rig, &set(rule), code);
    }
    let intent = rig.json(&words("intent show compute"));
    let wanted = serde_json::json!({"driver": "igb", "speed_mbps": 1000});
    assert_eq!(intent["match"], wanted, "{intent}");
    assert_eq!(intent["status"][0]["state"], "success", "{intent}");
    rig.json(&words("intent set compute --adapter pf0"));
}

/// The command that makes `br1` on `pf1`.
const MAKE: &str = "intent add other --bridge br1 --adapter pf1 --create";

/// Whatever shows that somebody uses an adapter keeps bridges off it, and so do other intents and bridges
/// of others.
pub fn no_bridge_is_made_where_somebody_is(rig: &mut Rig) {
    let signs = [
        (
            "ip link add link pf1 name pf1.5 type vlan id 5",
            "ip link del pf1.5",
        ),
        (
            "ip addr add 192.0.2.1/24 dev pf1",
            "ip addr del 192.0.2.1/24 dev pf1",
        ),
        (
            "mkdir -p /etc/network; echo 'iface pf1 inet manual' > /etc/network/interfaces",
            "rm /etc/network/interfaces",
        ),
        (
            "ip link add br8 type bridge; ip link set pf1 master br8",
            "ip link del br8",
        ),
    ];
    for (add, remove) in signs {
        rig.node(add);
        refused(rig, &words(MAKE), "adapter_managed");
        rig.node(remove);
    }
    for (bridge, adapter, code) in [
        // systemd-networkd's.
        ("br1", "mgmt", "adapter_managed"),
        ("br1", "pf0", "adapter_in_two_intents"),
        ("br0", "pf1", "bridge_not_ours"),
    ] {
        let line = MAKE.replace("br1", bridge).replace("pf1", adapter);
        refused(rig, &words(&line), code);
    }
    let planned = rig.json(&words(&format!("{MAKE} --dry-run")));
    assert_eq!(planned["dry_run"], true);
    rig.node("! ip link show br1 2>/dev/null && [ ! -e /sys/class/net/pf1/master ]");
}

/// The bridge is there as it is wanted, as the kernel says.
fn is_made(rig: &Rig) {
    rig.node(&format!(
        "timeout 30 sh -c 'until [ \"$(cat /sys/class/net/br1/ifalias)\" = accelnet:other ] && {LINKED}; \
         do sleep 0.2; done' && [ $(cat /proc/sys/net/ipv6/conf/br1/disable_ipv6) = 1 ] && \
         [ -z \"$(ip -o -4 addr show dev br1)\" ]",
        LINKED = "[ \"$(basename $(readlink /sys/class/net/pf1/master))\" = br1 ] && \
                  [ \"$(cat /sys/class/net/pf1/carrier /sys/class/net/br1/carrier 2>/dev/null | tr -d \"\\n\")\" = 11 ]"
    ));
}

/// The node says so too, once it has seen the link that its own doing brought up.
fn is_in_effect(rig: &Rig) {
    let shown = "accelnet intent show other -o json | grep -q '\"state\": \"success\"'";
    rig.until(30, shown);
}

/// Bridge and port are made, put back when somebody takes them away, and left in place with the intent's
/// end; the same intent finds them as its own.
pub fn a_bridge_is_made_and_left(rig: &mut Rig) {
    rig.json(&words(MAKE));
    is_made(rig);
    assert_eq!(intent_of(rig, "pf1"), "other");
    is_in_effect(rig);
    refused(
        rig,
        &words("intent add third --bridge br1 --adapter pf1"),
        "adapter_in_two_intents",
    );
    rig.node("ip link set pf1 nomaster");
    is_made(rig);
    rig.node("ip link del br1");
    is_made(rig);
    // pf1 has a link now, and fits what pf0 fits.
    let rule = words("intent set compute --match driver=igb,speed=1000");
    refused(rig, &rule, "adapter_in_two_intents");
    let index = rig.node("cat /sys/class/net/br1/ifindex");
    rig.json(&words("intent remove other"));
    is_made(rig);
    assert_eq!(intent_of(rig, "pf1"), Value::Null);
    rig.json(&words(MAKE));
    is_made(rig);
    assert_eq!(
        rig.node("cat /sys/class/net/br1/ifindex"),
        index,
        "the same bridge"
    );
    is_in_effect(rig);
}
