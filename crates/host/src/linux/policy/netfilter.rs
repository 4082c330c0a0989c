//! Packet filters that see bridged frames, whoever put them there.
//!
//! The kernel is asked for what is *attached* where bridged frames pass (nfnetlink_hook, Linux 5.14), and for
//! all chains of nf_tables with their policies and rules. Which of those cannot meet frames of a port
//! is decided by [`reach`]; everything else is a finding. Bridged frames pass the families `bridge` and
//! `netdev`, and with br_netfilter (for all bridges, or one) those of IP
//! (Documentation/networking/bridge.rst; net/bridge/br_netfilter_hooks.c).

mod hooks;
mod legacy;
mod reach;
mod ruleset;
#[cfg(test)]
mod tests;
mod x_tables;

use std::collections::{BTreeSet, HashMap};

use accelnet_model::{IfName, PolicyFinding, PolicyKind};
use reach::{Own, Reached};
use ruleset::{Chain, Ruleset};

use super::{finding, unread};
use crate::{
    HostError, Result,
    linux::{
        links::{Interface, Links},
        netlink::Netlink,
        sysfs::{self, Root},
    },
};

/// Reads an answer as each kind of them that there is.
#[cfg(feature = "fuzz")]
pub fn answer(answer: &crate::linux::netlink::Message) {
    hooks::judge(answer);
    ruleset::chain(answer);
    ruleset::flowtable(answer);
    ruleset::rule(answer);
}

/// Size of `struct nfgenmsg`, with which netfilter's messages begin: family, version, resource id
/// (include/uapi/linux/netfilter/nfnetlink.h).
const NFGENMSG: usize = 4;

/// Families by their numbers (include/uapi/linux/netfilter.h, `NFPROTO_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    Ip = 2,
    Arp = 3,
    Netdev = 5,
    Bridge = 7,
    Ip6 = 10,
}

impl Family {
    const ALL: [Self; 6] = [
        Self::Inet,
        Self::Ip,
        Self::Arp,
        Self::Netdev,
        Self::Bridge,
        Self::Ip6,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| *family as u8 == number)
    }

    /// As `nft` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }
}

/// Which families of IP are called for bridged frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Called {
    ip: bool,
    ip6: bool,
    arp: bool,
}

impl Called {
    /// A hook of this family is called for bridged frames of IP.
    fn calls(self, family: Family) -> bool {
        match family {
            Family::Inet => self.ip || self.ip6,
            Family::Ip => self.ip,
            Family::Ip6 => self.ip6,
            Family::Arp => self.arp,
            Family::Netdev | Family::Bridge => false,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            ip: self.ip || other.ip,
            ip6: self.ip6 || other.ip6,
            arp: self.arp || other.arp,
        }
    }

    /// For every bridge (`net.bridge.bridge-nf-call-…`); no such files without br_netfilter.
    fn everywhere(root: &Root) -> Result<Self> {
        let on = |table: &str| -> Result<bool> {
            let path = root.path(&format!("proc/sys/net/bridge/bridge-nf-call-{table}"));
            Ok(sysfs::read(&path)?.is_some_and(|value| value != "0"))
        };
        Ok(Self {
            ip: on("iptables")?,
            ip6: on("ip6tables")?,
            arp: on("arptables")?,
        })
    }

    /// For this bridge (`nf_call_iptables` and its like).
    fn at(bridge: &Interface) -> Self {
        let [ip, ip6, arp] = bridge.calls_filters;
        Self { ip, ip6, arp }
    }
}

/// What one look found, for all paths.
pub struct Netfilter {
    everywhere: Called,
    ruleset: Ruleset,
    /// What is attached for all bridges, and is no chain of nf_tables.
    attached: Vec<PolicyFinding>,
    /// The same of IP's families, by family.
    attached_ip: Vec<(Family, PolicyFinding)>,
    /// What was found on a path, by bridge and uplinks, and the tap if some rule names it: the rest is the same
    /// for all taps.
    known: HashMap<(u32, Vec<IfName>, Option<IfName>), Vec<PolicyFinding>>,
}

impl Netfilter {
    /// Reads what frames of these bridges can meet: a fixed number of dumps.
    pub fn read<'a>(root: &Root, bridges: impl Iterator<Item = &'a Interface>) -> Result<Self> {
        let everywhere = Called::everywhere(root)?;
        // Without the module a bridge's own flags mean nothing.
        let loaded = root.path("proc/sys/net/bridge").exists();
        let bridges = bridges.filter(|_| loaded).map(Called::at);
        let called = bridges.fold(everywhere, Called::or);
        let families = Family::ALL.into_iter();
        let families: BTreeSet<Family> = families
            .filter(|family| match family {
                // Its ingress hook is one of devices.
                Family::Bridge | Family::Netdev | Family::Inet => true,
                family => called.calls(*family),
            })
            .collect();
        let mut attached = Vec::new();
        let mut attached_ip = Vec::new();
        match hooks::read(called)? {
            Some(hooks) => {
                for (family, finding) in hooks {
                    match family {
                        Family::Bridge => attached.push(finding),
                        family => attached_ip.push((family, finding)),
                    }
                }
            }
            // A kernel that does not tell: what is known to attach itself without nf_tables.
            None => attached.extend(legacy::ebtables(root)?),
        }
        attached_ip.extend(legacy::tables(root, called)?);
        Ok(Self {
            everywhere: if loaded {
                everywhere
            } else {
                Called::default()
            },
            ruleset: Ruleset::read(&families)?,
            attached,
            attached_ip,
            known: HashMap::new(),
        })
    }

    /// What frames of this tap can meet.
    pub fn on(
        &mut self,
        links: &Links,
        bridge: &Interface,
        tap: &Interface,
        uplinks: &[&Interface],
    ) -> Vec<PolicyFinding> {
        let names: Vec<IfName> = uplinks.iter().map(|uplink| uplink.name.clone()).collect();
        let named = self.ruleset.names(tap.name.as_str());
        let key = (bridge.index, names, named.then(|| tap.name.clone()));
        if let Some(found) = self.known.get(&key) {
            return found.clone();
        }
        let found = self.look(links, bridge, tap, uplinks);
        self.known.insert(key, found.clone());
        found
    }

    fn look(
        &self,
        links: &Links,
        bridge: &Interface,
        tap: &Interface,
        uplinks: &[&Interface],
    ) -> Vec<PolicyFinding> {
        let called = self.everywhere.or(Called::at(bridge));
        let of_path: Vec<&Interface> = [tap, bridge]
            .into_iter()
            .chain(uplinks.iter().copied())
            .collect();
        let as_ports = Own::ports(&of_path);
        let as_bridge = Own::bridge(links, bridge);
        let mut found = self.attached.clone();
        let of_ip = self
            .attached_ip
            .iter()
            .filter(|(family, _)| called.calls(*family));
        found.extend(of_ip.map(|(_, finding)| finding.clone()));
        for chain in self.ruleset.bases() {
            let Some(hook) = &chain.hook else { continue };
            let own = match chain.family {
                Family::Bridge => &as_ports,
                _ if hook.is_of_devices(chain.family) => {
                    let its = |name: &str| of_path.iter().any(|link| link.name.as_str() == name);
                    if !hook.devices.iter().any(|device| device.fits(its, &of_path)) {
                        continue;
                    }
                    &as_ports
                }
                family if called.calls(family) && hook.sees_bridged(family) => &as_bridge,
                _ => continue,
            };
            found.extend(of_chain(&self.ruleset, chain, own));
        }
        let devices: Vec<&str> = of_path.iter().map(|link| link.name.as_str()).collect();
        for table in &self.ruleset.flowtables {
            if table
                .devices
                .iter()
                .any(|its| devices.contains(&its.as_str()))
            {
                let place = format!("table {} {}", table.family.name(), table.table);
                let rule = format!("flowtable {}", table.name);
                let name = format!("nft/{}/{}/{}", table.family.name(), table.table, table.name);
                found.push(finding(PolicyKind::Firewall, &place, rule, &name));
            }
        }
        found
    }
}

/// What a base chain does to frames of a port, in words that its owner recognises.
fn of_chain(ruleset: &Ruleset, chain: &Chain, own: &Own) -> Option<PolicyFinding> {
    let (family, table, base) = (chain.family.name(), &chain.table, &chain.name);
    let rule = match reach::of(ruleset, chain, own) {
        Reached::Nothing => return None,
        Reached::Policy => format!("nftables chain {base} drops by its policy"),
        Reached::Rule {
            chain: at,
            action,
            more,
        } => {
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("nftables chain {at}: a rule with '{action}'{more}")
        }
    };
    let by = owner(&[table, base])
        .or_else(|| {
            let chains = ruleset.chains_of(chain.family, table);
            chains.into_iter().find_map(|name| owner(&[name]))
        })
        .map(|owner| format!(", by its names of {owner}"));
    let cure = match chain.family {
        Family::Bridge | Family::Netdev => "",
        _ if own.is_bridge() => {
            "; it meets bridged frames only because of net.bridge.bridge-nf-call-iptables or the \
             like, which 'sysctl' turns off"
        }
        _ => "",
    };
    let rule = format!("{rule}{}{cure}", by.unwrap_or_default());
    let place = format!("table {family} {table}");
    let name = format!("nft/{family}/{table}/{base}");
    Some(finding(PolicyKind::Firewall, &place, rule, &name))
}

/// Whose names these are.
fn owner(names: &[&str]) -> Option<&'static str> {
    const OWNERS: [(&str, &str); 11] = [
        ("DOCKER", "Docker"),
        ("docker", "Docker"),
        ("LIBVIRT", "libvirt"),
        ("libvirt", "libvirt"),
        ("KUBE-", "Kubernetes"),
        ("kube-", "Kubernetes"),
        ("cali-", "Calico"),
        ("CNI-", "CNI plugins"),
        ("firewalld", "firewalld"),
        ("neutron-", "OpenStack Neutron"),
        ("ufw", "ufw"),
    ];
    let mut owners = OWNERS.iter();
    let found = owners.find(|(prefix, _)| names.iter().any(|name| name.starts_with(prefix)));
    found.map(|(_, owner)| *owner)
}

/// A socket to netfilter; `None` if this kernel has none, and so nothing of it.
fn socket() -> Result<Option<Netlink>> {
    match Netlink::open(libc::NETLINK_NETFILTER) {
        Err(error) if error.is_unsupported() => Ok(None),
        other => other.map(Some),
    }
}

/// The answer to a request of a subsystem that the kernel does not have
/// (net/netfilter/nfnetlink.c, `nfnetlink_rcv_msg`).
fn is_unknown_subsystem(error: &HostError) -> bool {
    error.errno() == Some(libc::EINVAL)
}

/// What could not be read, as a finding on every path.
pub fn unseen(error: &HostError) -> PolicyFinding {
    unread(PolicyKind::Firewall, "the packet filters", error)
}
