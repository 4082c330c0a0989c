//! Every network adapter that is a PCI function and not a VF, with its VFs.
//!
//! sysfs says most; rtnetlink and ethtool what sysfs does not have. They come in as an [`Asker`],
//! so that recorded trees can be read with recorded answers. An adapter or VF that goes away while
//! it is looked at is left out.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use accelnet_model::{
    AdapterFacts, AdapterId, IfName, MacAddr, PciAddress, SriovSupport, Support, VfFacts,
    adapter::is_vfio,
};

use super::{
    claims, ethtool, fdb,
    interfaces::{self, Interface, Interfaces},
    kernel_log::KernelLog,
    link, pci, pcie_link, sriov,
    sysfs::{self, Root},
    vf::vectors,
    vf_owners::{self, VfOwners},
    vfio,
};
use crate::{AdaptersSeen, HostError, Result};

/// What netlink and ethtool say of an interface.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Permanent address and VFs.
    pub link: link::Link,
    /// Addresses in the interface's own filter.
    pub filter: Vec<MacAddr>,
    /// Driver version.
    pub driver_version: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Tells what the host uses it for. Called only where it is no port of anything: reading a long
    /// routing table takes time.
    pub used: Option<fn(&IfName) -> claims::Use>,
}

/// Asks the kernel about an interface.
pub type Asker<'a> = &'a dyn Fn(&IfName) -> Result<Answers>;

/// Asks this machine's kernel.
pub fn ask(name: &IfName) -> Result<Answers> {
    let (driver_version, firmware) = ethtool::versions(name)?;
    Ok(Answers {
        link: link::observe(name)?,
        filter: fdb::filter::read(name)?,
        driver_version,
        firmware,
        used: Some(claims::ask),
    })
}

/// See [`crate::Host::observe_adapters`].
pub fn observe(
    root: &Root,
    log: &KernelLog,
    ask: Asker<'_>,
    busy: &BTreeSet<PciAddress>,
) -> Result<AdaptersSeen> {
    let view = View {
        root,
        log,
        vectors: vfio::observe_vectors(root)?,
        openers: OnceCell::new(),
        interfaces: Interfaces::read(root)?,
        owners: VfOwners::read(root),
    };
    let mut seen = AdaptersSeen::default();
    for name in sysfs::names(&root.path("sys/bus/pci/devices"))? {
        let Ok(pci) = name.parse() else {
            // Domains of more than 16 bits are behind Intel VMD.
            continue;
        };
        match interfaces::can_be_adapter(root, &view.interfaces, pci) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                seen.unseen.push((stand_in(pci), error));
                continue;
            }
        }
        // Not even its files are opened now.
        if busy.contains(&pci) {
            let own = view.interfaces.of(pci);
            let worked_on = own.map(|own| (own.name.clone(), HostError::WorkedOn));
            seen.unseen.extend(worked_on);
            continue;
        }
        let own: Vec<_> = view.interfaces.of(pci).map(Some).collect();
        for interface in if own.is_empty() { vec![None] } else { own } {
            match view.adapter(pci, interface, ask) {
                Ok(adapter) => seen.adapters.push(adapter),
                Err(_) if !root.pci(pci).exists() => tracing::debug!(%pci, "it went away"),
                Err(error) => {
                    let name = interface.map(|own| own.name.clone());
                    let name = name.unwrap_or_else(|| stand_in(pci));
                    seen.unseen.push((name, error));
                }
            }
        }
    }
    Ok(seen)
}

/// The interface of a PF; the first, if several ports share the function.
pub fn interface_of(root: &Root, pf: PciAddress) -> Result<Option<IfName>> {
    let interfaces = Interfaces::read(root)?;
    Ok(interfaces.of(pf).next().map(|first| first.name.clone()))
}

/// What one look at the machine needs only once.
struct View<'a> {
    root: &'a Root,
    log: &'a KernelLog,
    vectors: BTreeMap<PciAddress, u32>,
    openers: OnceCell<Result<vfio::Openers>>,
    interfaces: Interfaces,
    owners: VfOwners,
}

impl View<'_> {
    fn adapter(
        &self,
        pci: PciAddress,
        interface: Option<&Interface>,
        ask: Asker<'_>,
    ) -> Result<AdapterFacts> {
        let root = self.root;
        let directory = root.pci(pci);
        let port = interface.map_or(0, |own| own.port);
        let shares = interface.and_then(|own| self.shares_function(own));
        let (sriov, sriov_evidence) = match &shares {
            Some(evidence) => (SriovSupport::Unknown, Some(evidence.clone())),
            None => self.support(pci, interface.is_some())?,
        };
        let interface = interface.map(|own| &own.name);
        let state = interface
            .map(|name| InterfaceState::read(root, name))
            .transpose()?
            .unwrap_or_default();
        let answers = interface.map(ask).transpose()?.unwrap_or_default();
        let free = interface.filter(|_| state.master.is_none());
        let claims = free.map(|name| {
            let used = answers
                .used
                .map_or_else(claims::Use::default, |ask| ask(name));
            claims::observe(root, name, used)
        });
        // What is of the function is of its first port.
        let optional = |name: &str| match shares {
            Some(_) => Ok(None),
            None => sysfs::parse::<u32>(&directory.join(name)),
        };
        let vendor = pci::hex_id(&directory.join("vendor"))?.unwrap_or(0);
        let device = pci::hex_id(&directory.join("device"))?.unwrap_or(0);
        let vf_device = pci::hex_id(&directory.join("sriov_vf_device"))?;
        let permanent_mac = answers.link.permanent_mac.unwrap_or(state.mac);
        let driver = pci::driver(root, pci)?;
        let pci_path = pci::place(root, pci)?.path;
        let vf_owners = interface.map(|name| {
            self.owners.of(&vf_owners::Adapter {
                ifname: name,
                altnames: &answers.link.altnames,
                macs: [permanent_mac, state.mac],
                driver: driver.as_deref(),
                pci,
            })
        });
        Ok(AdapterFacts {
            id: AdapterId {
                pci_path,
                permanent_mac,
                port,
            },
            ifname: interface.cloned().unwrap_or_else(|| stand_in(pci)),
            altnames: answers.link.altnames.clone(),
            pci,
            pci_id: format!("{vendor:04x}:{device:04x}"),
            driver,
            driver_version: answers.driver_version,
            firmware: answers.firmware,
            devlink: None,
            numa_node: sysfs::parse::<i32>(&directory.join("numa_node"))?
                .and_then(|node| u32::try_from(node).ok()),
            pcie: pcie_link::observe(root, pci)?,
            pcie_errors: pcie_link::errors(root, pci)?,
            link_losses: state.link_losses,
            up: state.up,
            carrier: state.carrier,
            speed_mbps: state.speed_mbps,
            mtu: state.mtu,
            mac: state.mac,
            master: state.master,
            claims: claims.transpose()?.unwrap_or_default(),
            eswitch: Support::Unknown,
            vf_owners: vf_owners.unwrap_or_default(),
            isolated: None,
            sriov,
            sriov_evidence,
            total_vfs: optional("sriov_totalvfs")?.unwrap_or(0),
            drivers_autoprobe: optional("sriov_drivers_autoprobe")?
                .map_or(Support::Unsupported, |on| Support::Supported(on != 0)),
            vf_total_msix: optional("sriov_vf_total_msix")?
                .map_or(Support::Unsupported, Support::Supported),
            vf_pci_id: vf_device.map(|device| format!("{vendor:04x}:{device:04x}")),
            filter_room: Support::Unknown,
            filter: answers.filter,
            vfs: match shares {
                Some(_) => Vec::new(),
                None => self.vfs(pci, &answers.link)?,
            },
        })
    }

    /// Why a port has no VFs of its own: those of its function are counted once, at its first port.
    fn shares_function(&self, own: &Interface) -> Option<String> {
        let first = self.interfaces.of(own.pci).next()?;
        (first.name != own.name).then(|| {
            format!(
                "{} and {} are ports of one PCI function ({}), whose VFs are counted at {}",
                first.name, own.name, own.pci, first.name
            )
        })
    }

    fn support(&self, pci: PciAddress, has_interface: bool) -> Result<sriov::Verdict> {
        let elsewhere = interfaces::vfs_elsewhere(self.root, &self.interfaces, pci)?;
        if elsewhere.is_empty() {
            return sriov::support(self.root, self.log, pci, has_interface);
        }
        let functions: Vec<String> = elsewhere.iter().map(ToString::to_string).collect();
        let evidence = format!(
            "its driver makes VFs on other functions of the card ({}), and which of them belongs to \
             which port does not show",
            functions.join(", ")
        );
        Ok((SriovSupport::Unknown, Some(evidence)))
    }

    fn vfs(&self, pf: PciAddress, link: &link::Link) -> Result<Vec<VfFacts>> {
        let mut found = Vec::new();
        for (index, vf) in sriov::vf_addresses(self.root, pf)? {
            match self.vf(pf, index, vf, link.vfs.get(&index)) {
                Ok(facts) => found.push(facts),
                Err(_) if !self.root.pci(vf).exists() => tracing::debug!(%vf, "it went away"),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn vf(
        &self,
        pf: PciAddress,
        index: u32,
        pci: PciAddress,
        known: Option<&link::Vf>,
    ) -> Result<VfFacts> {
        let root = self.root;
        if !root.pci(pci).exists() {
            return Err(HostError::Gone(format!("VF {index} of {pf}")));
        }
        let driver = pci::driver(root, pci)?;
        let iommu_group = pci::iommu_group(root, pci)?;
        let user = match driver.as_deref() {
            Some(driver) if is_vfio(driver) && vfio::is_open(root, pci)? != Some(false) => {
                let openers = self.openers.get_or_init(|| vfio::Openers::scan(root));
                let openers = openers.as_ref().map_err(Clone::clone)?;
                openers.user(root, pci, Some(driver))
            }
            driver => vfio::Openers::default().user(root, pci, driver),
        };
        Ok(VfFacts {
            index,
            pci,
            driver,
            iommu_group,
            group_peers: iommu_group
                .map(|group| pci::group_peers(root, group, pci))
                .transpose()?
                .unwrap_or_default(),
            attributes: known.cloned().unwrap_or_else(link::Vf::unknown).attributes,
            user: user?,
            active_vectors: self.vectors.get(&pci).copied().unwrap_or(0),
            msix_vectors: vectors::observe(root, pf, pci)?,
            vm: None,
            promised: None,
        })
    }
}

/// Stands in for the name of an interface that does not exist, because no network driver is bound:
/// `pci0000-01-00.0`, just as long as a name may be.
fn stand_in(pci: PciAddress) -> IfName {
    let text = format!("pci{}", pci.to_string().replace(':', "-"));
    text.parse().expect("15 characters without ':' and '/'")
}

/// What sysfs says of an interface.
#[derive(Debug, Default)]
struct InterfaceState {
    up: bool,
    carrier: bool,
    link_losses: Support<u64>,
    speed_mbps: Option<u32>,
    mtu: u32,
    mac: MacAddr,
    master: Option<IfName>,
}

impl InterfaceState {
    fn read(root: &Root, name: &IfName) -> Result<Self> {
        let directory = root.path(&format!("sys/class/net/{name}"));
        let file = |name: &str| sysfs::read(&directory.join(name));
        Ok(Self {
            up: link::is_up(root, name)?,
            // Unreadable (EINVAL) while the interface is down.
            carrier: file("carrier")?.as_deref() == Some("1"),
            link_losses: sysfs::parse(&directory.join("carrier_down_count"))?
                .map_or(Support::Unknown, Support::Supported),
            // -1, or unreadable, without a link.
            speed_mbps: sysfs::parse::<i64>(&directory.join("speed"))?
                .and_then(|speed| u32::try_from(speed).ok())
                .filter(|speed| *speed != 0),
            mtu: sysfs::parse(&directory.join("mtu"))?.unwrap_or(0),
            // Of another form: no Ethernet.
            mac: file("address")?
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            master: sysfs::link_to(&directory.join("master"))?,
        })
    }
}

#[cfg(test)]
mod tests;
