//! How many VFs a PF has.
//!
//! Never lowers or raises the number while a VF is used: the kernel takes a new number only after 0,
//! and 0 destroys every VF.

use std::{path::Path, time::Duration};

use accelnet_model::{IfName, PciAddress};

use crate::{
    HostError, Result,
    linux::{
        adapters, deadline, pci, sriov,
        sysfs::{self, Root},
        vfio,
    },
};

/// What a PF's driver needs that others do not.
struct Quirk {
    driver: &'static str,
    /// The interface must be up before VFs are made.
    needs_up: bool,
    /// How long one more VF may take to appear.
    per_vf: Duration,
}

/// For drivers that are not in [`QUIRKS`]: i40e's 64 VFs in 22 s, mlx5's 125 in 65 s are the slowest
/// published ones.
const USUAL: Quirk = Quirk {
    driver: "",
    needs_up: false,
    per_vf: Duration::from_secs(1),
};

const QUIRKS: &[Quirk] = &[
    // bnxt_sriov_configure refuses: "Reject SRIOV config request since if is down"
    // (drivers/net/ethernet/broadcom/bnxt/bnxt_sriov.c).
    Quirk {
        driver: "bnxt_en",
        needs_up: true,
        ..USUAL
    },
    // VFs of an ixgbe that is down come up without their mailbox; over 60 s for 60 VFs (field
    // reports).
    Quirk {
        driver: "ixgbe",
        needs_up: true,
        per_vf: Duration::from_secs(2),
    },
];

fn quirk(driver: Option<&str>) -> &'static Quirk {
    QUIRKS
        .iter()
        .find(|quirk| Some(quirk.driver) == driver)
        .unwrap_or(&USUAL)
}

/// See [`crate::Host::ensure_vf_count`]. `set_up` sets an interface up.
pub fn ensure(
    root: &Root,
    pf: PciAddress,
    count: u32,
    set_up: &dyn Fn(&IfName) -> Result<()>,
) -> Result<()> {
    let directory = root.pci(pf);
    if !directory.exists() {
        return Err(HostError::Gone(format!("PCI function {pf}")));
    }
    let numvfs = directory.join("sriov_numvfs");
    let Some(present) = sysfs::parse::<u32>(&numvfs)? else {
        let operation = format!("make {count} VFs on {pf}: no SR-IOV there");
        return Err(HostError::kernel(operation, libc::EOPNOTSUPP, None));
    };
    let total = sysfs::parse::<u32>(&directory.join("sriov_totalvfs"))?.unwrap_or(0);
    if count > total {
        return Err(HostError::TooManyVfs {
            pf,
            total,
            wanted: count,
        });
    }
    let driver = pci::driver(root, pf)?;
    let quirk = quirk(driver.as_deref());
    let limit = Duration::from_secs(30) + quirk.per_vf * count.max(present);
    if present != count {
        let users = users(root, pf)?;
        if !users.is_empty() {
            return Err(HostError::VfsInUse { pf, users });
        }
    }
    host_drivers(root, pf, count == 0)?;
    if present != count {
        if present != 0 {
            let operation = format!("take away the {present} VFs of {pf}");
            write_count(&numvfs, 0, &operation, driver.as_deref())?;
            await_vfs(root, pf, 0, limit)?;
        }
        if count != 0 {
            if let (true, Some(name)) = (quirk.needs_up, adapters::interface_of(root, pf)?) {
                set_up(&name)?;
            }
            let operation = format!("make {count} VFs on {pf}");
            write_count(&numvfs, count, &operation, driver.as_deref())?;
        }
    }
    await_vfs(root, pf, count, limit)?;
    match sysfs::parse::<u32>(&numvfs)? {
        Some(found) if found == count => Ok(()),
        found => Err(HostError::NotAsAsked {
            operation: format!("make VFs on {pf}"),
            wanted: count.to_string(),
            found: found.map_or("none".into(), |found| found.to_string()),
        }),
    }
}

/// New VFs get a host driver, or none. Kernels before 4.12 do not have the switch.
fn host_drivers(root: &Root, pf: PciAddress, wanted: bool) -> Result<()> {
    let autoprobe = root.pci(pf).join("sriov_drivers_autoprobe");
    let wanted = u32::from(wanted);
    match sysfs::parse::<u32>(&autoprobe)? {
        None => Ok(()),
        Some(found) if found == wanted => Ok(()),
        Some(_) => sysfs::write(
            &autoprobe,
            &wanted.to_string(),
            &format!("keep host drivers off the VFs of {pf}, or let them have new ones"),
        ),
    }
}

/// `ENOENT` here is the kernel's word for "no driver, or its driver makes no VFs"
/// (drivers/pci/iov.c, `sriov_numvfs_store`), not for a missing file.
fn write_count(numvfs: &Path, count: u32, operation: &str, driver: Option<&str>) -> Result<()> {
    sysfs::write(numvfs, &count.to_string(), operation).map_err(|error| match error.errno() {
        Some(libc::ENOENT) => {
            let driver = driver.map_or("no driver is bound".to_owned(), |driver| {
                format!("driver {driver} offers none")
            });
            HostError::kernel(format!("{operation}: {driver}"), libc::EOPNOTSUPP, None)
        }
        _ => error,
    })
}

/// VFs that somebody uses, in words.
fn users(root: &Root, pf: PciAddress) -> Result<Vec<String>> {
    let openers = vfio::Openers::scan(root)?;
    let mut users = Vec::new();
    for (index, vf) in sriov::vf_addresses(root, pf)? {
        let driver = pci::driver(root, vf)?;
        let user = openers.user(root, vf, driver.as_deref())?;
        users.extend(vfio::in_words(&user).map(|user| format!("VF {index} ({vf}): {user}")));
    }
    Ok(users)
}

/// Waits until the PF has exactly so many VFs, each a PCI function, in its IOMMU group if the
/// machine has an IOMMU.
fn await_vfs(root: &Root, pf: PciAddress, count: u32, limit: Duration) -> Result<()> {
    let iommu = !sysfs::names(&root.path("sys/kernel/iommu_groups"))?.is_empty();
    deadline::wait_for(&format!("{count} VFs of {pf} to appear"), limit, || {
        let vfs = sriov::vf_addresses(root, pf)?;
        for (_, vf) in &vfs {
            let grouped = !iommu || pci::iommu_group(root, *vf)?.is_some();
            if !root.pci(*vf).exists() || !grouped {
                return Ok(None);
            }
        }
        Ok((vfs.len() == count as usize).then_some(()))
    })
}

#[cfg(test)]
mod tests;
