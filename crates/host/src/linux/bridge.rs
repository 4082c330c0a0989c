//! Bridges and their ports, by sysfs (Documentation/ABI/testing/sysfs-class-net, net/bridge/br_sysfs_if.c).

use std::path::PathBuf;

use accelnet_model::{BondFacts, BridgeFacts, BridgePort, IfName, MacAddr};

use super::{
    addresses,
    attributes::push,
    ethtool, fdb, hold_queue,
    netlink::{Netlink, ifindex},
    qdisc,
    sysfs::{self, Root},
};
use crate::{HostError, Result};

/// include/uapi/linux/netdevice.h: the address was set by somebody (`dev_set_mac_address`).
const NET_ADDR_SET: u32 = 3;
/// include/uapi/linux/if_link.h, rtnetlink.h.
const RTM_SETLINK: u16 = 19;
const IFLA_ADDRESS: u16 = 1;

fn net(root: &Root, name: &IfName) -> PathBuf {
    root.path(&format!("sys/class/net/{name}"))
}

fn flag(path: &std::path::Path) -> Result<bool> {
    Ok(sysfs::parse::<u32>(path)?.is_some_and(|value| value != 0))
}

/// See [`crate::Host::observe_bridge`].
pub fn observe(root: &Root, name: &IfName) -> Result<Option<BridgeFacts>> {
    let path = net(root, name);
    if !path.exists() {
        return Ok(None);
    }
    let kind = kind(root, name)?;
    let index = sysfs::parse::<u32>(&path.join("ifindex"))?.unwrap_or(0);
    let mut ports = Vec::new();
    if kind == "bridge" {
        let by_vlan = flag(&path.join("bridge/vlan_filtering"))?;
        let mut entries = fdb::observe(index, by_vlan)?;
        for port in sysfs::names(&path.join("brif")) {
            let Ok(port) = port.parse::<IfName>() else {
                continue;
            };
            // A port may go away between two looks; then it is not there.
            let Some(number) = sysfs::parse::<u32>(&net(root, &port).join("ifindex"))? else {
                continue;
            };
            ports.push(observe_port(
                root,
                port,
                entries.remove(&number).unwrap_or_default(),
                number,
            )?);
        }
    }
    let flags = sysfs::read(&path.join("flags"))?.unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
    Ok(Some(BridgeFacts {
        ifname: name.clone(),
        kind,
        bond_mode: bond_mode(&path)?,
        bond: bond(&path)?,
        alias: sysfs::read(&path.join("ifalias"))?.filter(|alias| !alias.is_empty()),
        master: sysfs::link_name(&path.join("master")).and_then(|name| name.parse().ok()),
        mac: sysfs::parse(&path.join("address"))?.unwrap_or(MacAddr::ZERO),
        mac_pinned: sysfs::parse(&path.join("addr_assign_type"))? == Some(NET_ADDR_SET),
        mtu: sysfs::parse(&path.join("mtu"))?.unwrap_or(0),
        up: flags & libc::IFF_UP as u32 != 0,
        vlan_filtering: flag(&path.join("bridge/vlan_filtering"))?,
        has_host_address: addresses::any_global(index)?,
        ports,
    }))
}

/// See [`crate::Host::observe_switch_names`].
pub fn switch_names(root: &Root) -> Vec<IfName> {
    let names = sysfs::names(&root.path("sys/class/net")).into_iter();
    names
        .filter_map(|name| name.parse().ok())
        .filter(|name| {
            let path = net(root, name);
            path.join("bridge").exists() || path.join("bonding").exists()
        })
        .collect()
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

fn kind(root: &Root, name: &IfName) -> Result<String> {
    let path = net(root, name);
    if path.join("bridge").exists() {
        return Ok("bridge".into());
    }
    if path.join("bonding").exists() {
        return Ok("bond".into());
    }
    let event = sysfs::read(&path.join("uevent"))?.unwrap_or_default();
    let devtype = event.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
    let driver = || sysfs::link_name(&path.join("device/driver"));
    // Open vSwitch's interfaces and teams say nothing of themselves in sysfs.
    let asked = || ethtool::driver(name).ok().flatten();
    Ok(devtype
        .map(str::to_owned)
        .or_else(driver)
        .or_else(asked)
        .unwrap_or_else(|| "interface".into()))
}

fn observe_port(
    root: &Root,
    ifname: IfName,
    fdb: Vec<accelnet_model::FdbEntry>,
    index: u32,
) -> Result<BridgePort> {
    let port = net(root, &ifname).join("brport");
    Ok(BridgePort {
        learning: flag(&port.join("learning"))?,
        flood: flag(&port.join("unicast_flood"))?,
        isolated: flag(&port.join("isolated"))?,
        rx_packets: rx_packets(root, &ifname)?,
        hold_queue: qdisc::of(index)?.iter().any(hold_queue::is_ours),
        fdb,
        ifname,
    })
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
    // struct ifinfomsg: family, padding, type, index, flags, change.
    let mut message = vec![0; 4];
    message.extend((ifindex(bridge)? as i32).to_ne_bytes());
    message.extend([0; 8]);
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

    #[test]
    fn switches_are_named_and_bonds_tell_their_mode() {
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
        file("eth0/ifindex", "3\n");
        let root = Root::at(directory.path());
        let mut names = switch_names(&root);
        names.sort();
        let texts: Vec<&str> = names.iter().map(IfName::as_str).collect();
        assert_eq!(texts, ["bond0", "bond1", "br0"]);
        let facts = bond(&net(&root, &"bond1".parse().unwrap()))
            .unwrap()
            .unwrap();
        assert_eq!(facts.members.len(), 2);
        assert_eq!(facts.active, "pf1".parse().ok());
        let mode = |name: &str| bond_mode(&net(&root, &name.parse().unwrap())).unwrap();
        assert_eq!(mode("bond0").as_deref(), Some("802.3ad"));
        assert_eq!(mode("br0"), None);
    }
}
