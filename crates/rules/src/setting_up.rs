//! VFs that somebody else is setting up just now: free ones that carry an address. libvirt sets that of a VF (of a
//! network of VFs, or of a definition) a moment before QEMU opens it, and until then nothing shows whose it is. Who
//! resets it in between makes that VM's start fail: VFIO does not wait for a device that is locked
//! (`vfio_pci_core_enable`, drivers/vfio/pci/vfio_pci_core.c: "Resource temporarily unavailable").

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{AdapterFacts, MacAddr, PciAddress, VfFacts, VfUser};

/// QEMU has opened it within this, also in software emulation (4 s there), or nobody will.
const LIMIT: Duration = Duration::from_secs(10);

/// Since when VFs are being set up.
#[derive(Debug, Default)]
pub struct SettingUp(BTreeMap<PciAddress, Duration>);

impl SettingUp {
    /// Takes what is seen of the adapters. `before` is what was known of them, with all that we did since: what
    /// differs somebody else did.
    pub fn see(&mut self, now: Duration, before: &[AdapterFacts], seen: &[AdapterFacts]) {
        let carried = |vf: &VfFacts| (vf.pci, vf.attributes.mac);
        let before: BTreeMap<PciAddress, MacAddr> = vfs(before).map(carried).collect();
        let known = std::mem::take(&mut self.0);
        for vf in vfs(seen).filter(|vf| vf.user == VfUser::Nobody) {
            let (pci, mac) = carried(vf);
            // What it carried before its user has left on it, or we.
            let since = match before.get(&pci) == Some(&mac) {
                true => known.get(&pci).copied(),
                false => Some(now),
            };
            if let Some(since) = since.filter(|_| !mac.is_zero()) {
                self.0.insert(pci, since);
            }
        }
    }

    /// Those that are to be left alone yet.
    pub fn vfs(&self, now: Duration) -> BTreeSet<PciAddress> {
        let all = self.0.iter();
        all.filter(|(_, since)| now < **since + LIMIT)
            .map(|(vf, _)| *vf)
            .collect()
    }
}

fn vfs(adapters: &[AdapterFacts]) -> impl Iterator<Item = &VfFacts> {
    adapters.iter().flat_map(|adapter| &adapter.vfs)
}

#[cfg(test)]
mod tests {
    use accelnet_model::VfAttributes;

    use super::*;
    use crate::fixture;

    /// Sees the first VF so, one after the other, a second apart; those that are left alone after each.
    fn left_alone(looks: &[(VfUser, u8)]) -> Vec<bool> {
        let mut adapters = fixture::observed().adapters;
        let mut setting_up = SettingUp::default();
        let vf = adapters[0].vfs[0].pci;
        let mut found = Vec::new();
        for (second, (user, number)) in (0..).zip(looks) {
            let now = Duration::from_secs(second);
            let before = adapters.clone();
            adapters[0].vfs[0].user = user.clone();
            adapters[0].vfs[0].attributes = match number {
                0 => VfAttributes::baseline(),
                number => VfAttributes::for_mac(MacAddr([2, 0, 0, 0, 0, *number])),
            };
            setting_up.see(now, &before, &adapters);
            found.push(setting_up.vfs(now).contains(&vf));
        }
        found
    }

    fn used() -> VfUser {
        VfUser::Process {
            pid: 7,
            command: "qemu".into(),
        }
    }

    #[test]
    fn what_changes_while_nobody_has_it_is_being_set_up() {
        let free = VfUser::Nobody;
        let looks = [(free.clone(), 0), (free.clone(), 1), (free.clone(), 2)];
        assert_eq!(left_alone(&looks), [false, true, true]);
        // Given up, and tried again.
        let looks = [
            (free.clone(), 0),
            (free.clone(), 1),
            (free.clone(), 0),
            (free, 1),
        ];
        assert_eq!(left_alone(&looks), [false, true, false, true]);
    }

    #[test]
    fn not_for_long() {
        let looks = vec![(VfUser::Nobody, 1); 12];
        let found = left_alone(&looks);
        // The first look shows what was not known.
        assert_eq!(found[..10], [true; 10]);
        assert_eq!(found[10..], [false; 2]);
    }

    #[test]
    fn what_its_user_left_is_not() {
        let looks = [(used(), 1), (VfUser::Nobody, 1), (VfUser::Nobody, 1)];
        assert_eq!(left_alone(&looks), [false; 3]);
        // Another came at once.
        let looks = [(used(), 1), (VfUser::Nobody, 2), (VfUser::Nobody, 2)];
        assert_eq!(left_alone(&looks), [false, true, true]);
    }
}
