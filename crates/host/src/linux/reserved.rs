//! VFs that this process keeps for VMs that are on their way here.
//!
//! A VF's vfio group can be open once (drivers/vfio/group.c, `vfio_group_fops_open`: `EBUSY`), and while it is, the
//! device cannot be opened in the other way either (`vfio_device_block_group`). QEMU that is to plug it says so and
//! goes on without it. Nothing is done to the device, and the kernel ends it with the process.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{File, OpenOptions},
    io,
    sync::{Mutex, PoisonError},
};

use accelnet_model::{AdapterFacts, PciAddress, VfUser};

use super::{pci, sysfs::Root, vfio};
use crate::{HostError, Result};

/// Those that are kept, with their groups' open files.
#[derive(Debug, Default)]
pub struct Reserved(Mutex<BTreeMap<PciAddress, File>>);

impl Reserved {
    /// See [`crate::Host::ensure_vf_reserved`].
    pub fn ensure(&self, root: &Root, vf: PciAddress, reserved: bool) -> Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !reserved {
            kept.remove(&vf);
            return Ok(());
        }
        if let Entry::Vacant(place) = kept.entry(vf) {
            place.insert(open(root, vf)?);
        }
        Ok(())
    }

    /// Says of VFs that they are kept: nothing else on the machine shows it, as the device itself is not open.
    pub fn fill(&self, adapters: &mut [AdapterFacts]) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let vfs = adapters.iter_mut().flat_map(|adapter| &mut adapter.vfs);
        for vf in vfs.filter(|vf| kept.contains_key(&vf.pci)) {
            vf.user = VfUser::Reserved;
        }
    }
}

fn open(root: &Root, vf: PciAddress) -> Result<File> {
    let group = pci::iommu_group(root, vf)?;
    let group = group.ok_or_else(|| HostError::Gone(format!("the IOMMU group of VF {vf}")))?;
    let path = root.path(&format!("dev/vfio/{group}"));
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => {
            let user = vfio::user(root, vf).ok().as_ref().and_then(vfio::in_words);
            let user = user.unwrap_or_else(|| "somebody".to_owned());
            HostError::VfsInUse {
                pf: vf,
                users: vec![format!("VF {vf}: {user}")],
            }
        }
        _ => HostError::io(format!("open {}", path.display()), &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Host,
        linux::fixture,
        twin::{HostTwin, Machine},
    };

    #[test]
    fn what_is_kept_is_kept_until_it_is_let_go() {
        let machine = fixture::igb();
        let root = machine.root();
        let vf: PciAddress = "0000:01:10.2".parse().unwrap();
        let group = pci::iommu_group(root, vf).unwrap().unwrap();
        let reserved = Reserved::default();
        machine.write(&format!("dev/vfio/{group}"), "");
        let gone = "0000:01:1f.6".parse().unwrap();
        assert!(reserved.ensure(root, gone, true).is_err());
        let (bridge, uplink) = ("br0".parse().unwrap(), "pf0".parse().unwrap());
        let twin = HostTwin::new(Machine::igb("node1", &bridge, &uplink));
        let pf = twin.with(|machine| machine.adapters[0].pci);
        twin.ensure_vf_count(pf, 7).unwrap();
        let shown = || {
            let mut adapters = twin.with(|machine| machine.adapters.clone());
            reserved.fill(&mut adapters);
            let mut vfs = adapters.into_iter().flat_map(|adapter| adapter.vfs);
            vfs.find(|its| its.pci == vf).unwrap().user
        };
        for _ in 0..2 {
            reserved.ensure(root, vf, true).unwrap();
        }
        assert_eq!(shown(), VfUser::Reserved);
        for _ in 0..2 {
            reserved.ensure(root, vf, false).unwrap();
        }
        assert_eq!(shown(), VfUser::Nobody);
    }
}
