//! VFs that somebody else is setting up just now: free ones that carry an address which we did not set. libvirt sets
//! that of a VF (of a network of VFs, or of a definition) a moment before QEMU opens it, and until then nothing shows
//! whose it is. Who resets it in between makes that VM's start fail: VFIO does not wait for a device that is locked
//! (`vfio_pci_core_enable`, drivers/vfio/pci/vfio_pci_core.c: "Resource temporarily unavailable").

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{AdapterFacts, MacAddr, PciAddress, VfUser};

use crate::foreign::Ours;

/// QEMU has opened it within this, also in software emulation (4 s there), or nobody will.
const LIMIT: Duration = Duration::from_secs(10);

/// VFs that are being set up: the address, and since when.
#[derive(Debug, Default)]
pub struct SettingUp(BTreeMap<PciAddress, (MacAddr, Duration)>);

impl SettingUp {
    /// Takes what is seen. An address that a user of the VF left on it cannot be told from one that the next one sets.
    pub fn see(&mut self, now: Duration, adapters: &[AdapterFacts], ours: &Ours) {
        let known = std::mem::take(&mut self.0);
        let vfs = adapters.iter().flat_map(|adapter| &adapter.vfs);
        for vf in vfs.filter(|vf| vf.user == VfUser::Nobody && !ours.gave(vf)) {
            let mac = vf.attributes.mac;
            let before = known.get(&vf.pci).filter(|(its, _)| *its == mac);
            if !mac.is_zero() {
                self.0.insert(vf.pci, *before.unwrap_or(&(mac, now)));
            }
        }
    }

    /// Those that are to be left alone yet.
    pub fn vfs(&self, now: Duration) -> BTreeSet<PciAddress> {
        let all = self.0.iter();
        all.filter(|(_, (_, since))| now < *since + LIMIT)
            .map(|(vf, _)| *vf)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::VfAttributes;

    use super::*;
    use crate::{action::Action, fixture};

    const FREE: VfUser = VfUser::Nobody;

    fn used() -> VfUser {
        VfUser::Process {
            pid: 7,
            command: "qemu".into(),
        }
    }

    fn mac(number: u8) -> MacAddr {
        match number {
            0 => MacAddr::default(),
            number => MacAddr([2, 0, 0, 0, 0, number]),
        }
    }

    /// Sees the first VF so, one after the other, a second apart; whether it is left alone after each. The address 9 is
    /// ours.
    fn left_alone(looks: &[(VfUser, u8)]) -> Vec<bool> {
        let mut adapters = fixture::observed().adapters;
        let mut setting_up = SettingUp::default();
        let (pf, vf) = (adapters[0].pci, adapters[0].vfs[0].pci);
        let mut ours = Ours::default();
        ours.note(&Action::Dress {
            pf,
            uplink: adapters[0].ifname.clone(),
            index: 0,
            vf,
            attributes: VfAttributes::for_mac(mac(9)),
        });
        let mut found = Vec::new();
        for (second, (user, number)) in (0..).zip(looks) {
            let now = Duration::from_secs(second);
            adapters[0].vfs[0].user = user.clone();
            adapters[0].vfs[0].attributes.mac = mac(*number);
            setting_up.see(now, &adapters, &ours);
            found.push(setting_up.vfs(now).contains(&vf));
        }
        found
    }

    #[test]
    fn an_address_that_is_not_ours_is_being_set_up() {
        let looks = [(FREE, 0), (FREE, 1), (FREE, 2)];
        assert_eq!(left_alone(&looks), [false, true, true]);
        let tried_again = [(FREE, 0), (FREE, 1), (FREE, 0), (FREE, 1)];
        assert_eq!(left_alone(&tried_again), [false, true, false, true]);
        let started_again = [(used(), 1), (FREE, 1), (used(), 1)];
        assert_eq!(left_alone(&started_again), [false, true, false]);
    }

    #[test]
    fn not_for_long() {
        let found = left_alone(&vec![(FREE, 1); 12]);
        assert_eq!(found[..10], [true; 10]);
        assert_eq!(found[10..], [false; 2]);
    }

    #[test]
    fn what_we_left_is_not() {
        let looks = [(used(), 9), (FREE, 9), (FREE, 9)];
        assert_eq!(left_alone(&looks), [false; 3]);
        let anothers_since = [(FREE, 9), (FREE, 1)];
        assert_eq!(left_alone(&anothers_since), [false, true]);
    }
}
