//! Who uses VFs of the machine beside us: libvirt for VMs of its own networks, a program of somebody's.

use std::time::Duration;

use accelnet_model::{MacAddr, PciAddress, VfUser};

use super::Machine;

/// A function-level reset keeps a VF from being opened for so long (PCIe r5.0, 6.6.2: 100 ms; `pcie_flr`).
const RESET: Duration = Duration::from_millis(100);

impl Machine {
    /// Somebody else opens a VF that he has given this address. Who has taken that off, or resets the VF just now, is in
    /// his way; one that carries another by now he leaves.
    pub fn open(&mut self, pci: PciAddress, mac: MacAddr, pid: u32, command: String) {
        let reset = self.resets.get(&pci);
        let is_reset = reset.is_some_and(|begun| self.now < *begun + RESET);
        let free = self.vf_mut(pci).filter(|vf| vf.user == VfUser::Nobody);
        let Some(vf) = free else { return };
        let is_clean = vf.attributes.mac.is_zero();
        if vf.attributes.mac == mac {
            vf.user = VfUser::Process { pid, command };
        }
        if is_reset || is_clean {
            let text = format!("VF {pci} is cleaned while somebody opens it");
            self.violations.push(text);
        }
    }
}
