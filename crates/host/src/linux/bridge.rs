//! Bridges and their ports: seen by rtnetlink and, of bridges and bonds themselves, sysfs; changed by sysfs
//! (Documentation/ABI/testing/sysfs-class-net, net/bridge/br_sysfs_if.c).

use std::{collections::BTreeSet, path::PathBuf};

use accelnet_model::{BondFacts, BridgeFacts, BridgePort, IfName, MacAddr, VlanOf};

use super::{
    addresses,
    attributes::push,
    ethtool, fdb, hold_queue,
    links::{Interface, Links},
    netlink::{Netlink, ifindex},
    qdisc,
    sysfs::{self, Root},
    uapi::{
        IFLA_ADDRESS, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD,
        RTM_SETLINK, ifinfomsg,
    },
    vlans::Vlans,
};
use crate::{HostError, LinkSeen, Result};

/// include/uapi/linux/netdevice.h: the address was set by somebody (`dev_set_mac_address`).
const NET_ADDR_SET: u32 = 3;

fn net(root: &Root, name: &IfName) -> PathBuf {
    root.path(&format!("sys/class/net/{name}"))
}

fn flag(path: &std::path::Path) -> Result<bool> {
    Ok(sysfs::parse::<u32>(path)?.is_some_and(|value| value != 0))
}

/// See [`crate::Host::observe_bridges`]: four dumps, two more if a bridge filters by VLAN, and files of each
/// bridge and bond.
pub fn observe(root: &Root, named: &BTreeSet<IfName>) -> Result<Vec<BridgeFacts>> {
    let links = Links::read()?;
    let view = View {
        root,
        vlans: Vlans::read_if_any_filters(links.iter())?,
        links,
        entries: fdb::Table::read()?,
        holding: qdisc::all()?
            .iter()
            .filter(|qdisc| hold_queue::is_ours(qdisc))
            .map(|qdisc| qdisc.device)
            .collect(),
        addressed: addresses::global()?,
    };
    let is_switch = |link: &Interface| matches!(link.kind.as_str(), "bridge" | "bond");
    let mut found = Vec::new();
    for link in view.links.iter() {
        if is_switch(link) || named.contains(&link.name) {
            found.extend(view.switch(link)?);
        }
    }
    found.sort_by(|one, other| one.ifname.cmp(&other.ifname));
    Ok(found)
}

/// See [`crate::Host::observe_link`].
pub fn observe_link(root: &Root, name: &IfName) -> Result<LinkSeen> {
    let path = net(root, name);
    let carrier = match sysfs::read(&path.join("carrier")) {
        Ok(text) => text.ok_or_else(|| HostError::Gone(name.to_string()))? == "1",
        // It is not up (net/core/net-sysfs.c, `carrier_show`).
        Err(error) if error.errno() == Some(libc::EINVAL) => false,
        Err(error) => return Err(error),
    };
    let active = sysfs::read(&path.join("bonding/active_slave"))?;
    Ok(LinkSeen {
        carrier,
        active: active.and_then(|name| name.parse().ok()),
    })
}

/// One look.
struct View<'a> {
    root: &'a Root,
    links: Links,
    vlans: Vlans,
    entries: fdb::Table,
    /// Interfaces with a hold queue of ours.
    holding: BTreeSet<u32>,
    /// Interfaces with an address of the host.
    addressed: BTreeSet<u32>,
}

impl View<'_> {
    /// None if it went away meanwhile.
    fn switch(&self, link: &Interface) -> Result<Option<BridgeFacts>> {
        let path = net(self.root, &link.name);
        if !path.exists() {
            return Ok(None);
        }
        let kind = kind(self.root, link)?;
        let ports = if kind == "bridge" {
            let own = self.links.iter();
            let own = own.filter(|port| port.master == Some(link.index) && port.is_port());
            own.map(|port| self.port(link, port)).collect()
        } else {
            Vec::new()
        };
        let master = link.master.and_then(|master| self.links.get(master));
        Ok(Some(BridgeFacts {
            ifname: link.name.clone(),
            kind,
            bond_mode: bond_mode(&path)?,
            bond: bond(&path)?,
            alias: Some(link.alias.clone()).filter(|alias| !alias.is_empty()),
            master: master.map(|master| master.name.clone()),
            mac: link.mac,
            // rtnetlink does not show it.
            mac_pinned: sysfs::parse(&path.join("addr_assign_type"))? == Some(NET_ADDR_SET),
            mtu: link.mtu,
            up: link.up,
            vlan_filtering: link.by_vlan,
            has_host_address: self.addressed.contains(&link.index),
            ports,
        }))
    }

    fn port(&self, bridge: &Interface, port: &Interface) -> BridgePort {
        let on = |attribute| port.port_flag(attribute) == Some(true);
        BridgePort {
            ifname: port.name.clone(),
            learning: on(IFLA_BRPORT_LEARNING),
            flood: on(IFLA_BRPORT_UNICAST_FLOOD),
            isolated: on(IFLA_BRPORT_ISOLATED),
            rx_packets: port.rx_packets,
            hold_queue: self.holding.contains(&port.index),
            vlan_of: port.vlan_of.and_then(|(below, vlan)| {
                let lower = self.links.get(below)?.name.clone();
                Some(VlanOf { lower, vlan })
            }),
            pvid: self.vlans.pvid(bridge, port),
            fdb: self
                .entries
                .entries(bridge.index, port.index, bridge.by_vlan),
        }
    }
}

/// `bonding/slaves` and `bonding/active_slave`; the latter is empty where there is none.
fn bond(path: &std::path::Path) -> Result<Option<BondFacts>> {
    let Some(members) = sysfs::read(&path.join("bonding/slaves"))? else {
        return Ok(None);
    };
    let active = sysfs::read(&path.join("bonding/active_slave"))?.unwrap_or_default();
    Ok(Some(BondFacts {
        members: members
            .split_whitespace()
            .filter_map(|name| name.parse().ok())
            .collect(),
        active: active.parse().ok(),
    }))
}

/// `bonding/mode` has the mode's name and its number (drivers/net/bonding/bond_sysfs.c).
fn bond_mode(path: &std::path::Path) -> Result<Option<String>> {
    let mode = sysfs::read(&path.join("bonding/mode"))?;
    Ok(mode.and_then(|text| text.split_whitespace().next().map(str::to_owned)))
}

fn kind(root: &Root, link: &Interface) -> Result<String> {
    let path = net(root, &link.name);
    if matches!(link.kind.as_str(), "bridge" | "bond") {
        return Ok(link.kind.clone());
    }
    let event = sysfs::read(&path.join("uevent"))?.unwrap_or_default();
    let devtype = event.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
    if let Some(devtype) = devtype {
        return Ok(devtype.to_owned());
    }
    if let Some(driver) = sysfs::link_name(&path.join("device/driver"))? {
        return Ok(driver);
    }
    // Open vSwitch's interfaces and teams say nothing of themselves in sysfs.
    match ethtool::driver(&link.name) {
        Ok(driver) => Ok(driver.unwrap_or_else(|| "interface".into())),
        Err(error) if error.is_gone() => Ok("interface".into()),
        Err(error) => Err(error),
    }
}

/// Frames that the host received from an interface.
pub fn rx_packets(root: &Root, name: &IfName) -> Result<u64> {
    let count = sysfs::parse(&net(root, name).join("statistics/rx_packets"))?;
    count.ok_or_else(|| HostError::Gone(name.to_string()))
}

/// The number of the bridge that an interface is a port of, and whether it filters by VLAN.
pub fn master_of(root: &Root, port: &IfName) -> Result<(u32, bool)> {
    let path = net(root, port).join("brport/bridge");
    let index = sysfs::parse(&path.join("ifindex"))?;
    let index = index.ok_or_else(|| HostError::Gone(format!("{port} as a port of a bridge")))?;
    Ok((index, flag(&path.join("bridge/vlan_filtering"))?))
}

/// Sets a flag of a bridge port, and reads it back.
pub fn ensure_port_flag(root: &Root, port: &IfName, file: &str, on: bool) -> Result<()> {
    let path = net(root, port).join("brport").join(file);
    let Some(found) = sysfs::parse::<u32>(&path)? else {
        return Err(HostError::Gone(format!("{port} as a port of a bridge")));
    };
    if (found != 0) == on {
        return Ok(());
    }
    let operation = format!("turn {file} of {port} {}", if on { "on" } else { "off" });
    sysfs::write(&path, if on { "1" } else { "0" }, &operation)?;
    let found = flag(&path)?;
    if found == on {
        return Ok(());
    }
    Err(HostError::NotAsAsked {
        operation,
        wanted: on.to_string(),
        found: found.to_string(),
    })
}

/// See [`crate::Host::ensure_bridge_mac_pinned`]: setting the address that is there already marks it
/// as set by somebody, and a bridge leaves such an address alone (net/bridge/br_stp_if.c).
pub fn ensure_mac_pinned(root: &Root, bridge: &IfName) -> Result<()> {
    let path = net(root, bridge);
    let assigned = || sysfs::parse::<u32>(&path.join("addr_assign_type"));
    if assigned()? == Some(NET_ADDR_SET) {
        return Ok(());
    }
    let mac: MacAddr =
        sysfs::parse(&path.join("address"))?.ok_or_else(|| HostError::Gone(bridge.to_string()))?;
    let mut message = ifinfomsg(ifindex(bridge)?, 0, 0);
    push(&mut message, IFLA_ADDRESS, &mac.0);
    let operation = format!("pin the address of {bridge}");
    Netlink::route()?.request(&operation, RTM_SETLINK, 0, &message)?;
    match assigned()? {
        Some(NET_ADDR_SET) => Ok(()),
        found => Err(HostError::NotAsAsked {
            operation,
            wanted: NET_ADDR_SET.to_string(),
            found: format!("{found:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::linux::{
        netlink::dumps,
        own_network::{self, in_own_network, name, send},
    };

    const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    #[test]
    fn bonds_tell_their_mode_and_members() {
        let directory = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = directory.path().join("sys/class/net").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("br0/bridge/vlan_filtering", "0\n");
        file("bond0/bonding/mode", "802.3ad 4\n");
        file("bond1/bonding/mode", "active-backup 1\n");
        file("bond1/bonding/slaves", "pf0 pf1\n");
        file("bond1/bonding/active_slave", "pf1\n");
        let root = Root::at(directory.path());
        let facts = bond(&net(&root, &name("bond1"))).unwrap().unwrap();
        assert_eq!(facts.members.len(), 2);
        assert_eq!(facts.active, Some(name("pf1")));
        let mode = |bond: &str| bond_mode(&net(&root, &name(bond))).unwrap();
        assert_eq!(mode("bond0").as_deref(), Some("802.3ad"));
        assert_eq!(mode("br0"), None);
    }

    #[test]
    fn switches_and_what_else_is_named_are_seen_with_what_is_on_their_ports() {
        in_own_network(|root| {
            assert!(own_network::bridge("br1", &[], &["t0", "t1"]));
            assert!(own_network::bridge("br0", &[], &[]));
            own_network::cable("alone", None);
            send("g0", GUEST, MacAddr([2, 0, 0, 0, 0, 8]));
            let flag = |port: &str, flag: &str, on| {
                ensure_port_flag(root, &name(port), flag, on).unwrap();
            };
            flag("t1", "learning", false);
            flag("t1", "unicast_flood", false);
            let named = [name("alone"), name("absent")].into();
            let found = observe(root, &named).unwrap();
            let names: Vec<_> = found.iter().map(|one| one.ifname.as_str()).collect();
            assert_eq!(names, ["alone", "br0", "br1"]);
            assert_eq!(found[0].kind, "veth");
            assert!(found[0].ports.is_empty() && found[1].ports.is_empty());
            let t0 = found[2].port(&name("t0")).unwrap();
            assert_eq!((t0.learning, t0.flood, t0.isolated), (true, true, false));
            assert!(t0.rx_packets >= 1 && !t0.hold_queue);
            let learned = t0.fdb.iter().find(|entry| entry.mac == GUEST);
            assert!(learned.is_some_and(|entry| !entry.fixed), "{:?}", t0.fdb);
            let t1 = found[2].port(&name("t1")).unwrap();
            assert_eq!((t1.learning, t1.flood), (false, false));
        });
    }

    #[test]
    fn a_port_that_is_a_vlan_says_of_what() {
        in_own_network(|root| {
            own_network::cable("eth2", None);
            if !own_network::vlan("eth2.100", "eth2", 100) {
                own_network::skipped("VLANs", "this kernel has none");
                return;
            }
            assert!(own_network::bridge("br100", &[], &["t0"]));
            own_network::enslave("eth2.100", "br100");
            let named = BTreeSet::from([name("br100")]);
            let seen = observe(root, &named).unwrap();
            let of = |port: &str| seen[0].port(&name(port)).unwrap().vlan_of.clone();
            let lower = name("eth2");
            assert_eq!(of("eth2.100"), Some(VlanOf { lower, vlan: 100 }));
            assert_eq!(of("t0"), None);
            // And no bridge is made on what it is on top of.
            let claims = super::super::claims::observe(root, &name("eth2"), Default::default());
            assert_eq!(claims.unwrap(), ["eth2.100 is on top of it"]);
        });
    }

    #[test]
    fn a_look_costs_the_same_however_many_ports_there_are() {
        in_own_network(|root| {
            assert!(own_network::bridge("br0", &[], &["t0"]));
            let look = || {
                let before = dumps();
                observe(root, &BTreeSet::new()).unwrap();
                dumps() - before
            };
            let few = look();
            assert!(own_network::bridge(
                "br1",
                &[],
                &["t1", "t2", "t3", "t4", "t5"]
            ));
            assert_eq!(look(), few);
            assert_eq!(few, 4);
        });
    }
}
