//! How many MSI-X vectors a VF has, where the driver has a pool for all VFs
//! (Documentation/ABI/testing/sysfs-bus-pci: `sriov_vf_total_msix`, `sriov_vf_msix_count`).
//!
//! The kernel takes a number only while no driver is bound, vfio-pci included (drivers/pci/iov.c,
//! `sriov_vf_msix_count_store`: EBUSY), and cannot be asked for it: what a VF has shows in the size of
//! its MSI-X table. So: unbind, set, read back, bind. Interrupted anywhere, the same again brings it
//! to its end: a VF without driver is bound, whatever number it has by then.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use accelnet_model::{DriverName, PciAddress, Support};

use crate::{
    HostError, Result,
    linux::{
        pci,
        sysfs::{self, Root},
        vfio,
    },
};

/// What a PF's driver does otherwise than the kernel's documentation says.
struct Quirk {
    driver: &'static str,
    /// Vectors that the driver adds to the number that is written.
    added: u32,
    /// The number shows in the VF's table.
    shows: bool,
}

const USUAL: Quirk = Quirk {
    driver: "",
    added: 0,
    shows: true,
};

const QUIRKS: &[Quirk] = &[
    // ice_sriov_set_msix_vec_count: "add 1 MSI-X for OICR" to the number of queues that is written; 0
    // does nothing. The number goes to the VF's driver by message (virtchnl, max_vectors); the table's
    // size is the NVM's.
    Quirk {
        driver: "ice",
        added: 1,
        shows: false,
    },
];

fn quirk(root: &Root, pf: PciAddress) -> Result<&'static Quirk> {
    let driver = pci::driver(root, pf)?;
    let mut quirks = QUIRKS.iter();
    let own = quirks.find(|quirk| Some(quirk.driver) == driver.as_deref());
    Ok(own.unwrap_or(&USUAL))
}

/// The VF's PF; only VFs are touched.
fn pf_of(root: &Root, vf: PciAddress) -> Result<PciAddress> {
    let directory = root.pci(vf);
    if !directory.exists() {
        return Err(HostError::Gone(format!("PCI function {vf}")));
    }
    sysfs::link_to(&directory.join("physfn"))?.ok_or_else(|| {
        HostError::Malformed(format!("{vf} is no virtual function: it is left alone"))
    })
}

/// Vectors that all VFs of the PF share; 0 where they are not shared.
fn total(root: &Root, pf: PciAddress) -> Result<u32> {
    let total = sysfs::parse(&root.pci(pf).join("sriov_vf_total_msix"))?;
    Ok(total.unwrap_or(0))
}

/// What the VF has, as far as it shows.
pub fn observe(root: &Root, pf: PciAddress, vf: PciAddress) -> Result<Support<u32>> {
    if total(root, pf)? == 0 {
        return Ok(Support::Unsupported);
    }
    if !quirk(root, pf)?.shows {
        return Ok(Support::Unknown);
    }
    let size = table_size(&root.pci(vf).join("config"));
    Ok(size.map_or(Support::Unknown, Support::Supported))
}

/// Size of the MSI-X table that a function's configuration space tells of. Its first 256 bytes are
/// enough; all of it would be a thousand reads of the device.
fn table_size(config: &Path) -> Option<u32> {
    const CAPABILITIES: usize = 0x34;
    const MSIX: u8 = 0x11;
    let mut bytes = [0_u8; 256];
    let read = File::open(config).and_then(|file| file.read_at(&mut bytes, 0));
    if read.ok()? < bytes.len() {
        return None;
    }
    let mut at = usize::from(*bytes.get(CAPABILITIES)? & !3);
    // The list may be broken: never follow more links than capabilities (of 4 bytes) fit.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if *bytes.get(at)? == MSIX {
            let control = u16::from_le_bytes(*bytes.get(at + 2..)?.first_chunk()?);
            return Some(u32::from(control & 0x7ff) + 1);
        }
        at = usize::from(*bytes.get(at + 1)? & !3);
    }
    None
}

/// See [`crate::Host::ensure_vf_vectors`].
pub fn ensure(
    root: &Root,
    vf: PciAddress,
    vectors: u32,
    driver: Option<&DriverName>,
) -> Result<()> {
    ensure_by(root, vf, vectors, driver, &sysfs::write)
}

fn ensure_by(
    root: &Root,
    vf: PciAddress,
    vectors: u32,
    wanted: Option<&DriverName>,
    write: sysfs::Write<'_>,
) -> Result<()> {
    let pf = pf_of(root, vf)?;
    let quirk = quirk(root, pf)?;
    let operation = format!("give VF {vf} {vectors} MSI-X vectors");
    let total = total(root, pf)?;
    if total == 0 {
        let operation = format!("{operation}: the driver of {pf} has no pool of them");
        return Err(HostError::kernel(operation, libc::EOPNOTSUPP, None));
    }
    if observe(root, pf, vf)? == Support::Supported(vectors) {
        return vfio::ensure_bound_by(root, vf, wanted, write);
    }
    let driver = pci::driver(root, vf)?;
    // A network driver of the host counts as a user too: binding a VF is another step than this one.
    if let Some(user) = vfio::in_words(&vfio::user(root, vf)?) {
        let users = vec![format!("VF {vf}: {user}")];
        return Err(HostError::VfsInUse { pf, users });
    }
    if let Some(driver) = driver {
        let unbind = root.pci(vf).join("driver/unbind");
        let operation = format!("take {vf} from driver {driver}");
        write(&unbind, &vf.to_string(), &operation)?;
    }
    let number = vectors.saturating_sub(quirk.added).to_string();
    let file = root.pci(vf).join("sriov_vf_msix_count");
    let set = write(&file, &number, &operation)
        .and_then(|()| read_back(root, pf, vf, vectors, operation));
    // Whatever came of it, the VF is not left without its driver.
    let bound = vfio::ensure_bound_by(root, vf, wanted, write);
    set.and(bound)
}

fn read_back(
    root: &Root,
    pf: PciAddress,
    vf: PciAddress,
    vectors: u32,
    operation: String,
) -> Result<()> {
    match observe(root, pf, vf)? {
        Support::Supported(found) if found != vectors => Err(HostError::NotAsAsked {
            operation,
            wanted: vectors.to_string(),
            found: found.to_string(),
        }),
        Support::Supported(_) | Support::Unsupported | Support::Unknown => Ok(()),
    }
}

#[cfg(test)]
mod tests;
