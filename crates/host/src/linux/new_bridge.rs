//! Bridges that we make, and the adapter's way into them.
//!
//! Invariant: a bridge with the wanted name that we made carries its mark (`IFLA_IFALIAS`) from the
//! first moment on, so that one left by a crash is told from somebody else's. The kernel takes no
//! alias in the message that creates an interface; so it is made under [`FRESH`], marked, and renamed:
//!
//! ```text
//!   (nothing) ─► accelnet-new ─► marked, IPv6 off ─► br1 ─► up
//! ```
//!
//! A crash leaves at most `accelnet-new`, which the next try goes on with.

use accelnet_model::IfName;

use super::{
    attributes::push,
    link,
    netlink::{Netlink, ifindex},
    sysfs::{self, Root},
    uapi::{
        CREATE, EXCLUSIVE, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER,
        RTM_NEWLINK, RTM_SETLINK, ifinfomsg,
    },
};
use crate::{HostError, Result};

/// Name of a bridge that is not yet marked.
const FRESH: &str = "accelnet-new";

/// See [`crate::Host::ensure_bridge`].
pub fn ensure(root: &Root, bridge: &IfName, mark: &str) -> Result<()> {
    let path = root.path(&format!("sys/class/net/{bridge}"));
    if !path.exists() {
        make(root, bridge, mark)?;
    }
    let is_bridge = path.join("bridge").exists();
    let alias = sysfs::read(&path.join("ifalias"))?.unwrap_or_default();
    if !is_bridge || alias != mark {
        return Err(HostError::NotAsAsked {
            operation: format!("make bridge {bridge}"),
            wanted: format!("a bridge with the alias '{mark}'"),
            found: format!(
                "{} with the alias '{alias}'",
                if is_bridge {
                    "a bridge"
                } else {
                    "an interface"
                }
            ),
        });
    }
    if link::is_up(root, bridge)? {
        return Ok(());
    }
    link::set_up(bridge)
}

fn make(root: &Root, bridge: &IfName, mark: &str) -> Result<()> {
    let fresh: IfName = FRESH
        .parse()
        .map_err(|error| HostError::Malformed(format!("make bridge {bridge}: {error}")))?;
    let operation = format!("make bridge {bridge}");
    match create(&operation, &fresh) {
        // Left by a crash.
        Err(error) if error.errno() == Some(libc::EEXIST) => {}
        other => other?,
    }
    if !root.path(&format!("sys/class/net/{fresh}/bridge")).exists() {
        return Err(HostError::NotAsAsked {
            operation,
            wanted: format!("a bridge {fresh}, to be renamed"),
            found: "an interface of another kind".to_owned(),
        });
    }
    // The node does not become a host of the VMs' network by itself, as with libvirt's own bridges.
    let ipv6 = root.path(&format!("proc/sys/net/ipv6/conf/{fresh}/disable_ipv6"));
    if ipv6.exists() {
        sysfs::write(&ipv6, "1", &format!("turn IPv6 of {bridge} off"))?;
    }
    set(
        &format!("mark bridge {bridge}"),
        &fresh,
        IFLA_IFALIAS,
        mark.as_bytes(),
    )?;
    let mut name = bridge.as_str().as_bytes().to_vec();
    name.push(0);
    set(
        &format!("rename {fresh} to {bridge}"),
        &fresh,
        IFLA_IFNAME,
        &name,
    )
}

fn create(operation: &str, name: &IfName) -> Result<()> {
    let mut message = ifinfomsg(0, 0, 0);
    let mut text = name.as_str().as_bytes().to_vec();
    text.push(0);
    push(&mut message, IFLA_IFNAME, &text);
    let mut info = Vec::new();
    push(&mut info, IFLA_INFO_KIND, b"bridge\0");
    push(&mut message, IFLA_LINKINFO, &info);
    Netlink::route()?.request(operation, RTM_NEWLINK, CREATE | EXCLUSIVE, &message)?;
    Ok(())
}

fn set(operation: &str, name: &IfName, kind: u16, value: &[u8]) -> Result<()> {
    let mut message = ifinfomsg(ifindex(name)?, 0, 0);
    push(&mut message, kind, value);
    Netlink::route()?.request(operation, RTM_SETLINK, 0, &message)?;
    Ok(())
}

/// See [`crate::Host::ensure_bridge_port`].
pub fn ensure_port(root: &Root, bridge: &IfName, port: &IfName) -> Result<()> {
    let master = || sysfs::link_name(&root.path(&format!("sys/class/net/{port}/master")));
    let operation = format!("make {port} a port of {bridge}");
    let wrong = |found: Option<String>| HostError::NotAsAsked {
        operation: operation.clone(),
        wanted: bridge.to_string(),
        found: found.unwrap_or_else(|| "no port of anything".to_owned()),
    };
    match master()? {
        None => set(
            &operation,
            port,
            IFLA_MASTER,
            &ifindex(bridge)?.to_ne_bytes(),
        )?,
        Some(found) if found == bridge.as_str() => {}
        found => return Err(wrong(found)),
    }
    let found = master()?;
    if found.as_deref() != Some(bridge.as_str()) {
        return Err(wrong(found));
    }
    if link::is_up(root, port)? {
        return Ok(());
    }
    link::set_up(port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use accelnet_model::BridgeFacts;

    use super::*;
    use crate::linux::{
        bridge, claims,
        own_network::{cable, in_own_network, name},
    };

    fn seen(root: &Root, bridge: &IfName) -> BridgeFacts {
        let all = bridge::observe(root, &BTreeSet::new()).unwrap();
        all.into_iter().find(|one| &one.ifname == bridge).unwrap()
    }

    fn made_and_made_again(root: &Root) {
        let (br1, pf0) = (name("br1"), name("pf0"));
        cable("pf0", None);
        for _ in 0..2 {
            ensure(root, &br1, "accelnet:a").unwrap();
            ensure_port(root, &br1, &pf0).unwrap();
        }
        let facts = seen(root, &br1);
        assert_eq!((facts.kind.as_str(), facts.up), ("bridge", true));
        assert_eq!(facts.alias.as_deref(), Some("accelnet:a"));
        assert_eq!(facts.ports.len(), 1);
        assert!(facts.port(&pf0).is_some() && link::is_up(root, &pf0).unwrap());
        assert!(!root.path("sys/class/net/accelnet-new").exists());
        let ipv6 = root.path("proc/sys/net/ipv6/conf/br1/disable_ipv6");
        assert!(sysfs::read(&ipv6).unwrap().is_none_or(|off| off == "1"));
        // Somebody else's stays his.
        let error = ensure(root, &br1, "accelnet:b").unwrap_err().to_string();
        assert!(error.contains("accelnet:a"), "{error}");
        let error = ensure(root, &pf0, "accelnet:a").unwrap_err().to_string();
        assert!(error.contains("an interface"), "{error}");
        ensure(root, &name("br2"), "accelnet:b").unwrap();
        let error = ensure_port(root, &name("br2"), &pf0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("br1"), "{error}");
    }

    fn gone_on_with_after_a_crash(root: &Root) {
        create("make", &name(FRESH)).unwrap();
        ensure(root, &name("br1"), "accelnet:a").unwrap();
        let facts = seen(root, &name("br1"));
        assert_eq!(facts.alias.as_deref(), Some("accelnet:a"));
        assert!(!root.path("sys/class/net/accelnet-new").exists());
        let missing = ensure_port(root, &name("br1"), &name("pf7")).unwrap_err();
        assert!(missing.is_gone(), "{missing}");
    }

    #[test]
    fn a_bridge_is_made_marked_once_and_whole() {
        for test in [made_and_made_again, gone_on_with_after_a_crash] {
            in_own_network(test);
        }
    }

    #[test]
    fn addresses_and_routes_show_that_an_interface_is_used() {
        in_own_network(|_| {
            cable("pf0", None);
            let pf0 = name("pf0");
            let index = ifindex(&pf0).unwrap();
            let nothing = claims::Use::default();
            assert_eq!(claims::ask(&pf0), nothing);
            link::set_up(&pf0).unwrap();
            // A link-local address and its routes are the kernel's own.
            assert_eq!(claims::ask(&pf0), nothing);
            let mut route = vec![libc::AF_INET as u8, 24, 0, 0, 254, 4, 253, 1, 0, 0, 0, 0];
            push(&mut route, 1, &[192, 0, 2, 0]);
            push(&mut route, 4, &index.to_ne_bytes());
            let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
            let mut netlink = Netlink::route().unwrap();
            netlink.request("add a route", 24, flags, &route).unwrap();
            let used = claims::ask(&pf0);
            assert_eq!((used.address, used.route), (false, true));
            let mut address = vec![libc::AF_INET as u8, 24, 0, 0];
            address.extend(index.to_ne_bytes());
            push(&mut address, 2, &[198, 51, 100, 1]);
            netlink
                .request("add an address", 20, flags, &address)
                .unwrap();
            assert!(claims::ask(&pf0).address);
        });
    }
}
