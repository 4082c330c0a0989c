//! VFs of the simulated machine as the agent changes them: how many, what drives them, what they carry.

use accelnet_model::{
    AdapterFacts, DriverName, MacAddr, PciAddress, Support, VfAttributes, VfUser,
};

use super::{Machine, port::gone};
use crate::{HostError, HostEvent, IdleVf, Result};

impl Machine {
    pub(super) fn ensure_count(&mut self, pf: PciAddress, count: u32) -> Result<()> {
        let adapter = self.adapter_mut(pf).ok_or_else(|| gone(pf))?;
        let total = adapter.total_vfs;
        if count > total {
            return Err(HostError::TooManyVfs {
                pf,
                total,
                wanted: count,
            });
        }
        adapter.drivers_autoprobe = Support::Supported(count == 0);
        let ifname = adapter.ifname.to_string();
        if adapter.vfs.len() == count as usize {
            return Ok(());
        }
        let used = adapter.vfs.iter().filter(|vf| vf.user != VfUser::Nobody);
        let users: Vec<String> = used.map(|vf| format!("VF {}", vf.index)).collect();
        let refuses = self.refuses_vfs.contains(&pf);
        if !users.is_empty() {
            return Err(HostError::VfsInUse { pf, users });
        }
        if refuses {
            let operation = format!("make {count} VFs on {pf}");
            return Err(HostError::kernel(operation, libc::ENOMEM, None));
        }
        self.make_vfs(pf, count);
        // Its link bounces.
        self.tell(&HostEvent::Link(ifname));
        Ok(())
    }

    pub(super) fn ensure_vfio(
        &mut self,
        pci: PciAddress,
        wanted: Option<&DriverName>,
    ) -> Result<()> {
        self.not_anothers(pci, "bound to a vfio driver");
        let meant = self.vfio_driver.clone();
        let vf = self.vf_mut(pci).ok_or_else(|| gone(pci))?;
        match wanted {
            Some(wanted) => vf.driver = Some(wanted.to_string()),
            None if vf.is_on_vfio() => {}
            None => vf.driver = Some(meant),
        }
        Ok(())
    }

    /// Unbinds, sets, reads back, binds, as one step: a process that dies in the middle leaves a VF
    /// without driver, which `ensure_vfio` and this put right.
    pub(super) fn ensure_vectors(
        &mut self,
        pci: PciAddress,
        vectors: u32,
        wanted: Option<&DriverName>,
    ) -> Result<()> {
        let of_vf = |adapter: &&AdapterFacts| adapter.vfs.iter().any(|vf| vf.pci == pci);
        let adapter = self.adapters.iter().find(of_vf).ok_or_else(|| gone(pci))?;
        let operation = format!("give VF {pci} {vectors} MSI-X vectors");
        let total = adapter.vf_total_msix.value().copied().unwrap_or(0);
        if total == 0 {
            return Err(HostError::kernel(operation, libc::EOPNOTSUPP, None));
        }
        let others = adapter.vfs.iter().filter(|vf| vf.pci != pci);
        let taken: u32 = others.filter_map(|vf| vf.msix_vectors.value()).sum();
        let vf = self.vf_mut(pci).ok_or_else(|| gone(pci))?;
        if vf.msix_vectors.is(&vectors) {
            return self.ensure_vfio(pci, wanted);
        }
        if vf.user != VfUser::Nobody {
            let users = vec![format!("VF {pci}")];
            self.violations
                .push(format!("vectors of VF {pci} are changed while it is used"));
            return Err(HostError::VfsInUse { pf: pci, users });
        }
        if taken + vectors > total {
            return Err(HostError::NeedsLink(operation));
        }
        vf.msix_vectors = Support::Supported(vectors);
        self.ensure_vfio(pci, wanted)
    }

    pub(super) fn ensure_reserved(&mut self, pci: PciAddress, reserved: bool) -> Result<()> {
        let vf = self.vf_mut(pci).ok_or_else(|| gone(pci))?;
        match (&vf.user, reserved) {
            (VfUser::Nobody, true) => vf.user = VfUser::Reserved,
            (VfUser::Reserved, false) => vf.user = VfUser::Nobody,
            (VfUser::Reserved, true) | (_, false) => {}
            (_, true) => {
                let users = vec![format!("VF {pci}")];
                return Err(HostError::VfsInUse { pf: pci, users });
            }
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, idle: &IdleVf) -> Result<()> {
        self.still_idle(idle)?;
        let pci = idle.vf;
        let vf = self.vf(pci).ok_or_else(|| gone(pci))?;
        if vf.user != VfUser::Nobody {
            self.violations
                .push(format!("VF {pci} is reset while it is used"));
            let users = vec![format!("VF {pci}")];
            return Err(HostError::VfsInUse { pf: pci, users });
        }
        self.resets.insert(pci, self.now);
        Ok(())
    }

    pub(super) fn still_idle(&self, idle: &IdleVf) -> Result<()> {
        let carries = self.vf(idle.vf).map(|vf| vf.attributes.mac);
        if carries.is_none_or(|mac| mac == idle.mac || mac.is_zero()) {
            return Ok(());
        }
        let users = vec![format!("VF {}", idle.vf)];
        Err(HostError::VfsInUse { pf: idle.pf, users })
    }

    pub(super) fn ensure_attributes(
        &mut self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> Result<VfAttributes> {
        let missing = || gone(format!("VF {index} of {pf}"));
        let adapter = self.adapter_mut(pf).ok_or_else(missing)?;
        let vf = adapter.vfs.iter().find(|vf| vf.index == index);
        let pci = vf.ok_or_else(missing)?.pci;
        let (carrier, ifname) = (adapter.carrier, adapter.ifname.to_string());
        self.not_anothers(pci, "changed");
        let exclusive = self.exclusive.contains(&pf);
        let adapter = self.adapter_mut(pf).ok_or_else(missing)?;
        let has = |adapter: &AdapterFacts| adapter.filter.contains(&wanted.mac);
        if exclusive && !wanted.mac.is_zero() && has(adapter) {
            // ice: "Unicast MAC … already exists on this PF."
            let operation = format!("set address {} on VF {index}", wanted.mac);
            return Err(HostError::kernel(operation, libc::EINVAL, None));
        }
        let stubborn = self.stubborn.contains(&pci);
        let vf = self.vf_mut(pci).ok_or_else(missing)?;
        if stubborn && &vf.attributes != wanted {
            return Err(HostError::NotAsAsked {
                operation: format!("set attributes of VF {index}"),
                wanted: format!("{wanted:?}"),
                found: format!("{:?}", vf.attributes),
            });
        }
        let before = std::mem::replace(&mut vf.attributes, wanted.clone());
        if exclusive && before.mac != wanted.mac {
            self.loses_from_outside(wanted.mac);
        }
        if before != *wanted {
            // rtnetlink tells of every IFLA_VFINFO_LIST (net/core/rtnetlink.c, `do_setlink`).
            self.tell(&HostEvent::Link(ifname));
        }
        let vf = self.vf_mut(pci).ok_or_else(missing)?;
        let rates = |of: &VfAttributes| (of.min_tx_rate_mbps, of.max_tx_rate_mbps);
        if carrier || rates(&before) == rates(wanted) {
            return Ok(vf.attributes.clone());
        }
        // As igb: without link it changes everything but the rates.
        (
            vf.attributes.min_tx_rate_mbps,
            vf.attributes.max_tx_rate_mbps,
        ) = rates(&before);
        let operation = format!("set transmit rates on VF {index}");
        Err(HostError::NeedsLink(operation))
    }

    /// The card, and not who uses it, loses what comes from outside for this address from now on.
    pub(super) fn loses_from_outside(&mut self, mac: MacAddr) {
        let mut guests = self.guests.iter_mut();
        if let Some(guest) = guests.find(|guest| guest.mac == mac) {
            guest.excused = true;
        }
    }

    /// A VF whose user is not one of the VMs is somebody's own.
    fn not_anothers(&mut self, pci: PciAddress, what: &str) {
        // One that is not there is nobody's.
        let Some(user) = self.vf(pci).map(|vf| vf.user.clone()) else {
            return;
        };
        let ours = match &user {
            VfUser::Nobody => true,
            VfUser::Process { pid, .. } => self.guests.iter().any(|guest| guest.pid == *pid),
            VfUser::Reserved | VfUser::HostDriver { .. } | VfUser::Others { .. } => false,
        };
        if !ours {
            self.violations
                .push(format!("VF {pci} of {user:?} is {what}"));
        }
    }
}
