//! Who uses or manages an interface that is no port of anything, as far as the machine shows.
//!
//! Asked before a bridge is made on it, so in doubt somebody does:
//!
//! | sign | source |
//! |---|---|
//! | address of more than link scope | rtnetlink |
//! | route that the kernel did not add by itself | rtnetlink, IPv4 and IPv6 |
//! | interface on top (VLAN, macvlan, …) | `upper_…` in sysfs (Documentation/ABI/testing/sysfs-class-net) |
//! | NetworkManager | `/run/NetworkManager/devices/INDEX` without `managed=false` |
//! | systemd-networkd | `/run/systemd/netif/links/INDEX` whose `ADMIN_STATE` is not `unmanaged` |
//! | ifupdown | `/run/network/ifstate`; `iface` or `auto` in `/etc/network/interfaces` and `.d` |

use accelnet_model::IfName;

use super::{
    addresses,
    netlink::ifindex,
    routes,
    sysfs::{self, Root},
};
use crate::Result;

/// What sysfs and netlink say beyond files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// It has an address of more than link scope.
    pub address: bool,
    /// It has a route of somebody's.
    pub route: bool,
}

/// Asks this machine's kernel.
pub fn ask(name: &IfName) -> Use {
    let in_doubt = |answer: Result<bool>| {
        answer.unwrap_or_else(|error| {
            tracing::debug!(%error, %name, "taken for used");
            true
        })
    };
    let address =
        in_doubt(ifindex(name).and_then(|index| Ok(addresses::global()?.contains(&index))));
    Use {
        address,
        // Where there is an address its routes say nothing new.
        route: !address && in_doubt(ifindex(name).and_then(routes::any)),
    }
}

/// The signs, in words.
pub fn observe(root: &Root, name: &IfName, used: Use) -> Result<Vec<String>> {
    let directory = root.path(&format!("sys/class/net/{name}"));
    let mut claims = Vec::new();
    if used.address {
        claims.push("it has an address of the host".to_owned());
    }
    if used.route {
        claims.push("the host has a route by it".to_owned());
    }
    let above = sysfs::names(&directory)?;
    let above = above.iter().filter_map(|file| file.strip_prefix("upper_"));
    claims.extend(above.map(|upper| format!("{upper} is on top of it")));
    if let Some(index) = sysfs::parse::<u32>(&directory.join("ifindex"))? {
        claims.extend(network_manager(root, index)?);
        claims.extend(networkd(root, index)?);
    }
    claims.extend(ifupdown(root, name)?);
    Ok(claims)
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let (_, value) = lines.find(|(found, _)| found.trim() == key)?;
    Some(value.trim())
}

fn network_manager(root: &Root, index: u32) -> Result<Option<String>> {
    let file = root.path(&format!("run/NetworkManager/devices/{index}"));
    let managed = sysfs::read(&file)?.is_some_and(|text| value(&text, "managed") != Some("false"));
    Ok(managed.then(|| "NetworkManager manages it".to_owned()))
}

fn networkd(root: &Root, index: u32) -> Result<Option<String>> {
    let Some(text) = sysfs::read(&root.path(&format!("run/systemd/netif/links/{index}")))? else {
        return Ok(None);
    };
    let state = value(&text, "ADMIN_STATE").unwrap_or("unknown");
    Ok((state != "unmanaged").then(|| format!("systemd-networkd manages it ({state})")))
}

fn ifupdown(root: &Root, name: &IfName) -> Result<Option<String>> {
    for file in ["run/network/ifstate", "run/ifstate"] {
        let state = sysfs::read(&root.path(file))?.unwrap_or_default();
        let mut up = state
            .lines()
            .filter_map(|line| line.split(['=', ' ']).next());
        if up.any(|up| up == name.as_str()) {
            return Ok(Some("ifupdown brought it up".to_owned()));
        }
    }
    let mut files = vec!["etc/network/interfaces".to_owned()];
    let more = sysfs::names(&root.path("etc/network/interfaces.d"))?.into_iter();
    files.extend(more.map(|file| format!("etc/network/interfaces.d/{file}")));
    for file in files {
        let text = sysfs::read(&root.path(&file))?.unwrap_or_default();
        if text.lines().any(|line| configures(line, name)) {
            return Ok(Some(format!("it is configured in /{file}")));
        }
    }
    Ok(None)
}

/// interfaces(5): `iface NAME …`, `auto NAME …` and `allow-… NAME …`.
pub fn configures(line: &str, name: &IfName) -> bool {
    let mut words = line.split_whitespace();
    let (first, mut names) = (words.next().unwrap_or_default(), words);
    let own = |word: &str| word == name.as_str();
    match first {
        "iface" => names.next().is_some_and(own),
        "auto" => names.any(own),
        _ if first.starts_with("allow-") => names.any(own),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fixture;

    fn claims(files: &[(&str, &str)], used: Use) -> Vec<String> {
        let machine = fixture::igb();
        let name: IfName = "pf0".parse().unwrap();
        machine.write("sys/class/net/pf0/ifindex", "3\n");
        for (path, text) in files {
            machine.write(path, text);
        }
        observe(machine.root(), &name, used).unwrap()
    }

    #[test]
    fn nobody_manages_what_nothing_speaks_of() {
        let others = [
            ("run/NetworkManager/devices/3", "[device]\nmanaged=false\n"),
            ("run/NetworkManager/devices/2", "[device]\nmanaged=true\n"),
            (
                "run/systemd/netif/links/3",
                "# private\nADMIN_STATE=unmanaged\n",
            ),
            ("run/systemd/netif/links/2", "ADMIN_STATE=configured\n"),
            ("run/network/ifstate", "lo=lo\npf01=pf01\n"),
            (
                "etc/network/interfaces",
                "auto lo\niface pf01 inet dhcp\n# iface pf0\n",
            ),
        ];
        assert_eq!(claims(&others, Use::default()), [""; 0]);
    }

    #[test]
    fn every_sign_counts() {
        let nm = "run/NetworkManager/devices/3";
        for (file, text, word) in [
            (
                nm,
                "[device]\nmanaged=true\nconnection-uuid=1\n",
                "NetworkManager",
            ),
            (nm, "[device]\n", "NetworkManager"),
            (
                "run/systemd/netif/links/3",
                "ADMIN_STATE=configuring\n",
                "configuring",
            ),
            ("run/systemd/netif/links/3", "", "networkd"),
            ("run/network/ifstate", "lo=lo\npf0=pf0\n", "ifupdown"),
            (
                "etc/network/interfaces",
                "iface pf0 inet manual\n",
                "interfaces",
            ),
            ("etc/network/interfaces", "auto lo pf0\n", "interfaces"),
            (
                "etc/network/interfaces.d/x",
                "allow-hotplug pf0\n",
                "interfaces.d/x",
            ),
            ("sys/class/net/pf0/upper_pf0.7/ifindex", "9\n", "pf0.7"),
        ] {
            let found = claims(&[(file, text)], Use::default());
            assert!(
                found.len() == 1 && found[0].contains(word),
                "{file}: {found:?}"
            );
        }
        let used = Use {
            address: true,
            route: true,
        };
        assert_eq!(claims(&[], used).len(), 2);
    }
}
