//! PCI functions: configuration space, place in the tree, bridges up to the root port.
//!
//! Only reads. Configuration space beyond the first 64 bytes is shown to root alone; what was not
//! shown counts as absent. Source of all offsets: PCI Express Base Specification, as mirrored in
//! include/uapi/linux/pci_regs.h.

use std::{fs, path::Path};

use accelnet_model::PciAddress;

use super::sysfs::{self, Root};
use crate::{HostError, Result};

/// Extended capability: Access Control Services.
pub const ACS: u16 = 0x000d;
/// Extended capability: Alternative Routing-ID Interpretation.
pub const ARI: u16 = 0x000e;
/// Extended capability: Single Root I/O Virtualization.
pub const SRIOV: u16 = 0x0010;

/// First byte of extended configuration space, and its end.
const EXTENDED: std::ops::Range<usize> = 0x100..0x1000;

/// A function's configuration space, as far as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config(Vec<u8>);

impl Config {
    /// Reads `/sys/bus/pci/devices/…/config`.
    pub fn read(root: &Root, address: PciAddress) -> Result<Self> {
        let path = root.pci(address).join("config");
        match fs::read(&path) {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(HostError::Gone(format!("PCI function {address}")))
            }
            Err(error) => Err(HostError::io(format!("read {}", path.display()), &error)),
        }
    }

    /// One with these bytes.
    #[cfg(feature = "fuzz")]
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    /// True if all of it was shown. A conventional PCI function has 256 bytes, a PCI Express one
    /// 4096; only the first 64 are shown to others than root.
    pub fn is_whole(&self) -> bool {
        self.0.len() >= EXTENDED.start
    }

    /// Where an extended capability starts.
    pub fn extended(&self, id: u16) -> Option<usize> {
        let mut at = EXTENDED.start;
        // The list may be broken: never follow more links than capabilities (of 8 bytes) fit.
        for _ in 0..EXTENDED.len() / 8 {
            let header = self.u32(at)?;
            if header == 0 || header == u32::MAX {
                return None;
            }
            if header as u16 == id {
                return Some(at);
            }
            at = (header >> 20) as usize & !3;
            if !EXTENDED.contains(&at) {
                return None;
            }
        }
        None
    }

    /// Where the PCI Express capability starts.
    fn express(&self) -> Option<usize> {
        const CAPABILITIES: usize = 0x34;
        const PCI_EXPRESS: u8 = 0x10;
        let mut at = usize::from(*self.0.get(CAPABILITIES)? & !3);
        for _ in 0..48 {
            if at < 0x40 {
                return None;
            }
            if *self.0.get(at)? == PCI_EXPRESS {
                return Some(at);
            }
            at = usize::from(*self.0.get(at + 1)? & !3);
        }
        None
    }

    /// Port type of the PCI Express capability.
    pub fn port_type(&self) -> Option<PortType> {
        Some(match self.u16(self.express()? + 2)? >> 4 & 0xf {
            4 => PortType::Root,
            5 => PortType::Upstream,
            6 => PortType::Downstream,
            _ => PortType::Other,
        })
    }

    /// True for a PCI Express function of which the kernel shows only what a conventional one has:
    /// it cannot reach the rest (drivers/pci/probe.c, `pci_cfg_space_size`).
    pub fn lacks_extended_space(&self) -> bool {
        self.0.len() == EXTENDED.start && self.express().is_some()
    }

    /// True if the port can forward to more than 8 functions (ARI Forwarding Supported, bit 5 of
    /// Device Capabilities 2).
    pub fn can_forward_ari(&self) -> bool {
        const ARI_FORWARDING: u32 = 1 << 5;
        self.express()
            .and_then(|at| self.u32(at + 0x24))
            .is_some_and(|capabilities| capabilities & ARI_FORWARDING != 0)
    }

    /// True if the port enforces what isolation needs: source validation, request and completion
    /// redirect, upstream forwarding (drivers/iommu/iommu.c, `REQ_ACS_FLAGS`).
    pub fn acs_isolates(&self) -> bool {
        const NEEDED: u16 = 0x01 | 0x04 | 0x08 | 0x10;
        self.extended(ACS)
            .and_then(|at| self.u16(at + 6))
            .is_some_and(|control| control & NEEDED == NEEDED)
    }
}

/// What a PCI Express function is, as far as isolation cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortType {
    /// Port of the root complex.
    Root,
    /// Port of a switch towards the root.
    Upstream,
    /// Port of a switch towards devices.
    Downstream,
    /// Endpoint, bridge to conventional PCI, …
    Other,
}

/// Where a function hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Root bus and device/function numbers, e.g. `pci0000:00/10.0/00.0`: without bus numbers,
    /// which change with other cards and firmware settings.
    pub path: String,
    /// Bridges from the root down to the function's parent.
    pub bridges: Vec<PciAddress>,
}

impl Place {
    /// The root bus, e.g. `pci0000:00`.
    pub fn root_bus(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

/// Finds a function in the device tree.
pub fn place(root: &Root, address: PciAddress) -> Result<Place> {
    let directory = fs::canonicalize(root.pci(address)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => HostError::Gone(format!("PCI function {address}")),
        _ => HostError::io(format!("find PCI function {address}"), &error),
    })?;
    place_of(&directory).ok_or_else(|| {
        HostError::Malformed(format!("{} is not below a PCI root", directory.display()))
    })
}

fn place_of(directory: &Path) -> Option<Place> {
    let names: Vec<&str> = directory.iter().filter_map(|name| name.to_str()).collect();
    let start = names.iter().rposition(|name| is_root_bus(name))?;
    let mut path = names[start].to_owned();
    let mut bridges = Vec::new();
    for name in &names[start + 1..] {
        let address: PciAddress = name.parse().ok()?;
        path.push_str(&format!("/{:02x}.{}", address.device, address.function));
        bridges.push(address);
    }
    bridges.pop()?;
    Some(Place { path, bridges })
}

/// `pci0000:00`: domain and bus of a host bridge.
fn is_root_bus(name: &str) -> bool {
    name.strip_prefix("pci")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(domain, bus)| {
            domain.len() >= 4
                && bus.len() == 2
                && (domain.chars().chain(bus.chars())).all(|c| c.is_ascii_hexdigit())
        })
}

/// The PCI function that a device directory (canonical path) is or is below of.
pub fn function_above(directory: &Path) -> Option<PciAddress> {
    directory
        .iter()
        .rev()
        .find_map(|name| name.to_str()?.parse().ok())
}

/// The function's IOMMU group; None without an IOMMU.
pub fn iommu_group(root: &Root, address: PciAddress) -> Result<Option<u32>> {
    sysfs::link_to(&root.pci(address).join("iommu_group"))
}

/// Other PCI functions in an IOMMU group.
pub fn group_peers(root: &Root, group: u32, address: PciAddress) -> Result<Vec<PciAddress>> {
    let devices = root.path(&format!("sys/kernel/iommu_groups/{group}/devices"));
    // Others than PCI functions can be in a group.
    let peers = sysfs::names(&devices)?.into_iter();
    Ok(peers
        .filter_map(|name| name.parse().ok())
        .filter(|peer| *peer != address)
        .collect())
}

/// The driver bound to a function.
pub fn driver(root: &Root, address: PciAddress) -> Result<Option<String>> {
    sysfs::link_name(&root.pci(address).join("driver"))
}

/// A sysfs attribute holding a hexadecimal id with or without `0x`.
pub fn hex_id(path: &Path) -> Result<Option<u16>> {
    let Some(text) = sysfs::read(path)? else {
        return Ok(None);
    };
    let odd = |_| HostError::Malformed(format!("{}: '{text}' is no id", path.display()));
    let id = u16::from_str_radix(text.trim_start_matches("0x"), 16);
    id.map(Some).map_err(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(parts: &[(usize, &[u8])]) -> Config {
        let mut bytes = vec![0; 0x1000];
        for (at, part) in parts {
            bytes[*at..*at + part.len()].copy_from_slice(part);
        }
        Config(bytes)
    }

    #[test]
    fn extended_capabilities_are_found_along_the_list() {
        // AER at 0x100 → ARI at 0x150 → SR-IOV at 0x160.
        let card = config(&[
            (0x100, &0x1501_0001u32.to_le_bytes()),
            (0x150, &0x1601_000eu32.to_le_bytes()),
            (0x160, &0x0001_0010u32.to_le_bytes()),
        ]);
        assert_eq!(card.extended(ARI), Some(0x150));
        assert_eq!(card.extended(SRIOV), Some(0x160));
        assert_eq!(card.extended(ACS), None);
    }

    #[test]
    fn broken_lists_end() {
        let circle = config(&[(0x100, &0x1001_0001u32.to_le_bytes())]);
        assert_eq!(circle.extended(SRIOV), None);
        let outside = config(&[(0x100, &0x0081_0001u32.to_le_bytes())]);
        assert_eq!(outside.extended(SRIOV), None);
        assert_eq!(Config(vec![0xff; 0x1000]).extended(SRIOV), None);
        let unprivileged = Config(vec![0; 64]);
        assert!(!unprivileged.is_whole());
        assert_eq!(unprivileged.extended(SRIOV), None);
        assert_eq!(Config(vec![0x44; 0x1000]).port_type(), None);
        assert_eq!(Config(Vec::new()).port_type(), None);
    }

    #[test]
    fn a_port_isolates_only_with_all_four_controls_on() {
        for (control, isolates) in [(0x1du16, true), (0x1f, true), (0x0d, false), (0, false)] {
            let port = config(&[
                (0x100, &0x0001_000du32.to_le_bytes()),
                (0x106, &control.to_le_bytes()),
            ]);
            assert_eq!(port.acs_isolates(), isolates, "{control:#x}");
        }
    }

    #[test]
    fn port_types_come_from_the_express_capability() {
        let root_port = config(&[
            (0x34, &[0x40]),
            (0x40, &[0x01, 0x50]),
            (0x50, &[0x10, 0, 0x42]),
        ]);
        assert_eq!(root_port.port_type(), Some(PortType::Root));
    }

    #[test]
    fn paths_have_no_bus_numbers() {
        let place = place_of(Path::new(
            "/x/sys/devices/pci0000:00/0000:00:10.0/0000:01:00.1",
        ));
        let place = place.unwrap();
        assert_eq!(place.path, "pci0000:00/10.0/00.1");
        assert_eq!(place.root_bus(), "pci0000:00");
        assert_eq!(place.bridges, ["0000:00:10.0".parse().unwrap()]);
        assert_eq!(place_of(Path::new("/sys/devices/virtual/net/lo")), None);
        assert_eq!(place_of(Path::new("/sys/devices/pci0000:00")), None);
    }
}
