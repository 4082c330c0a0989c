//! Which interfaces are those of physical functions, and what the others of their cards are.
//!
//! A card shows more interfaces than it has ports. One is a PF's if its device *is* the PCI function (or the
//! virtio device that the function is), it is Ethernet, and it stands for nothing else:
//!
//! | interface | how it shows | source |
//! |---|---|---|
//! | scalable function | its device is below the function (`mlx5_core.sf.2`); `phys_port_name` may be `p0`, as the PF's | Documentation/networking/device_drivers/ethernet/mellanox/mlx5/switchdev.rst |
//! | representor | `phys_port_name` is `pf0`, `pf0vf1`, `pf0sf88`, with `c1` before that of another host | net/devlink/port.c, `__devlink_port_phys_port_name_get`; Documentation/networking/switchdev.rst |
//! | InfiniBand | `type` 32 (`ARPHRD_INFINIBAND`) with an address of 20 bytes; class 0207 | include/uapi/linux/if_arp.h, include/linux/pci_ids.h |
//! | Chelsio T4 to T6 | VFs are of functions 0 to 3, interfaces of function 4 | drivers/net/ethernet/chelsio/cxgb4/cxgb4_main.c, `init_one` |
//! | behind Intel VMD | PCI domains from 10000 on | drivers/pci/controller/vmd.c, `vmd_find_free_domain` |

use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path};

use accelnet_model::{IfName, NoAdapter, PciAddress};

use super::{
    pci,
    sysfs::{self, Root},
};
use crate::{HostError, Result};

/// `ARPHRD_ETHER` and `ARPHRD_INFINIBAND`.
const ETHERNET: u32 = 1;
const INFINIBAND: u32 = 32;
/// Classes begin with these (include/linux/pci_ids.h). 0280 (other) is mostly Wi-Fi: left out.
const NETWORK: &str = "0x02";
const OTHER: &str = "0x0280";
const INFINIBAND_CLASS: &str = "0x0207";

/// The interface of a port of a physical function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// The function.
    pub pci: PciAddress,
    /// Number of the port, where several share the function (`dev_port`).
    pub port: u16,
    /// The interface's name.
    pub name: IfName,
}

/// An interface of a card that is none of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    pci: PciAddress,
    name: IfName,
    what: String,
    ethernet: bool,
}

/// All interfaces of PCI devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// By function and port.
    ports: Vec<Interface>,
    others: Vec<Other>,
}

impl Interfaces {
    /// Reads them.
    pub fn read(root: &Root) -> Result<Self> {
        let mut found = Self::default();
        for name in sysfs::names(&root.path("sys/class/net"))? {
            let directory = root.path(&format!("sys/class/net/{name}"));
            let Some(device) = device(&directory)? else {
                continue;
            };
            let (Some(pci), Ok(name)) = (pci::function_above(&device), name.parse()) else {
                continue;
            };
            let link: Option<u32> = sysfs::parse(&directory.join("type"))?;
            let ethernet = link.is_none_or(|link| link == ETHERNET);
            match not_a_port(&directory, &device, pci, link)? {
                None => found.ports.push(Interface {
                    pci,
                    port: port(root, &name)?,
                    name,
                }),
                Some(what) => found.others.push(Other {
                    pci,
                    name,
                    what,
                    ethernet,
                }),
            }
        }
        found.ports.sort();
        Ok(found)
    }

    /// Those of a function, the first port first.
    pub fn of(&self, pci: PciAddress) -> impl Iterator<Item = &Interface> {
        self.ports.iter().filter(move |found| found.pci == pci)
    }

    /// The function has interfaces, and none of them is Ethernet.
    fn is_no_ethernet(&self, pci: PciAddress) -> bool {
        let mut others = self.others.iter().filter(|other| other.pci == pci);
        self.of(pci).next().is_none() && others.next().is_some_and(|other| !other.ethernet)
    }
}

/// What an interface's device is; None if it is no device's, or went away.
fn device(directory: &Path) -> Result<Option<std::path::PathBuf>> {
    let link = directory.join("device");
    match fs::canonicalize(&link) {
        Ok(device) => Ok(Some(device)),
        // Or a file in the place of an interface (`bonding_masters`).
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(HostError::io(format!("read {}", link.display()), &error)),
    }
}

/// Why the interface is none of a port of its PCI function.
fn not_a_port(
    directory: &Path,
    device: &Path,
    pci: PciAddress,
    link: Option<u32>,
) -> Result<Option<String>> {
    let name = device.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let is_function = |path: &Path| path.ends_with(pci.to_string());
    let virtio = || name.starts_with("virtio") && device.parent().is_some_and(is_function);
    Ok(if !is_function(device) && !virtio() {
        let kind = match name.contains(".sf.") {
            true => "a scalable function",
            false => "a device",
        };
        Some(format!("{kind} of {pci} ({name}), not its port"))
    } else if link == Some(INFINIBAND) {
        Some(format!(
            "an InfiniBand interface of {pci}; VMs' bridges are Ethernet"
        ))
    } else if let Some(link) = link.filter(|link| *link != ETHERNET) {
        Some(format!("of link type {link}, not Ethernet"))
    } else {
        let port = sysfs::read(&directory.join("phys_port_name"))?.unwrap_or_default();
        stands_for(&port).then(|| {
            format!("a representor of {pci} (port {port}): it stands for a function of the card")
        })
    })
}

/// True for port names of representors: `pf`, a number and more, after the number of another host's
/// controller if it is one's. Ports are called `p0`, or `p0s1` if they are split.
fn stands_for(port: &str) -> bool {
    let after = |text: &'static str, of: &str| -> Option<String> {
        let rest = of.strip_prefix(text)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0).then(|| rest[digits..].to_owned())
    };
    let port = after("c", port).unwrap_or_else(|| port.to_owned());
    after("pf", &port).is_some()
}

fn port(root: &Root, name: &IfName) -> Result<u16> {
    let file = root.path(&format!("sys/class/net/{name}/dev_port"));
    Ok(sysfs::parse(&file)?.unwrap_or(0))
}

/// True for functions that can be adapters: physical ones of base class 02, but for InfiniBand's, and for
/// those whose interfaces are elsewhere.
pub fn can_be_adapter(root: &Root, interfaces: &Interfaces, pci: PciAddress) -> Result<bool> {
    let class = class(root, &pci.to_string())?;
    let fits = is_network(&class) && !class.starts_with(INFINIBAND_CLASS);
    Ok(fits
        && !root.pci(pci).join("physfn").exists()
        && !interfaces.is_no_ethernet(pci)
        && elsewhere(root, interfaces, pci)?.is_none())
}

fn class(root: &Root, function: &str) -> Result<String> {
    let file = root.path(&format!("sys/bus/pci/devices/{function}/class"));
    Ok(sysfs::read(&file)?.unwrap_or_default())
}

fn is_network(class: &str) -> bool {
    class.starts_with(NETWORK) && !class.starts_with(OTHER)
}

/// Functions of the same device.
fn siblings(root: &Root, pci: PciAddress) -> impl Iterator<Item = PciAddress> {
    let others = (0..8).map(move |function| PciAddress { function, ..pci });
    others.filter(move |other| *other != pci && root.pci(*other).exists())
}

fn has_vfs(root: &Root, pci: PciAddress) -> Result<bool> {
    let total = sysfs::parse::<u32>(&root.pci(pci).join("sriov_totalvfs"))?;
    Ok(total.is_some_and(|total| total > 0))
}

/// Where the interfaces of a driver are that makes VFs on this function and no interface.
fn elsewhere(root: &Root, interfaces: &Interfaces, pci: PciAddress) -> Result<Option<String>> {
    let Some(driver) = pci::driver(root, pci)? else {
        return Ok(None);
    };
    if interfaces.of(pci).next().is_some() || !has_vfs(root, pci)? {
        return Ok(None);
    }
    for other in siblings(root, pci) {
        let own: Vec<String> = interfaces
            .of(other)
            .map(|port| port.name.to_string())
            .collect();
        if !own.is_empty() && pci::driver(root, other)?.as_ref() == Some(&driver) {
            let own = own.join(", ");
            return Ok(Some(format!(
                "where {driver} makes VFs, while its interfaces ({own}) are on {other}: which VF belongs \
                 to which of them does not show"
            )));
        }
    }
    Ok(None)
}

/// The functions on which the driver of `pci`, which has the interfaces, makes its VFs instead.
pub fn vfs_elsewhere(
    root: &Root,
    interfaces: &Interfaces,
    pci: PciAddress,
) -> Result<Vec<PciAddress>> {
    let mut found = Vec::new();
    if interfaces.of(pci).next().is_some() && !has_vfs(root, pci)? {
        for other in siblings(root, pci) {
            if elsewhere(root, interfaces, other)?.is_some() {
                found.push(other);
            }
        }
    }
    Ok(found)
}

/// What looks like an adapter and is none.
pub fn no_adapters(root: &Root) -> Result<Vec<NoAdapter>> {
    let interfaces = Interfaces::read(root)?;
    let mut named = BTreeSet::new();
    let mut found = Vec::new();
    for Other {
        pci, name, what, ..
    } in &interfaces.others
    {
        named.insert(*pci);
        found.push(NoAdapter {
            name: name.to_string(),
            what: what.clone(),
        });
    }
    for name in sysfs::names(&root.path("sys/bus/pci/devices"))? {
        let class = class(root, &name)?;
        if !is_network(&class) {
            continue;
        }
        let what = match name.parse::<PciAddress>() {
            Ok(pci) if class.starts_with(INFINIBAND_CLASS) => (!named.contains(&pci))
                .then(|| "an InfiniBand function; VMs' bridges are Ethernet".to_owned()),
            Ok(pci) => elsewhere(root, &interfaces, pci)?,
            Err(_) => Some(
                "behind Intel VMD, which all devices below it share for the IOMMU: none of them can be \
                 given to a VM"
                    .to_owned(),
            ),
        };
        found.extend(what.map(|what| NoAdapter { name, what }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
