//! VFs that are somebody else's although nobody has them now.
//!
//! Two kinds: those that an intent excludes ([`Intent::exclude_vfs`]), and those that carry what somebody set
//! (an address, a VLAN, …) and that we never had: a container's VF while its container is down, a VF that a
//! script prepared. What we had in hand once is ours, and is cleaned, also after a crash; an excluded one is
//! cleaned before it is let go.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{Intent, MacAddr, PciAddress, Support, VfAttributes, VfFacts, VfLink, VfUser};
use serde::{Deserialize, Serialize};

use crate::{Observed, action::Action};

/// VFs that we had in hand since the machine started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    boot_id: String,
    /// VFs.
    vfs: BTreeSet<PciAddress>,
    /// PFs whose VFs we made.
    pfs: BTreeSet<PciAddress>,
    /// The address that we gave a VF last.
    #[serde(default)]
    dressed: BTreeMap<PciAddress, MacAddr>,
}

impl Ours {
    /// Forgets what was before the machine's last start: VFs are made anew then.
    pub fn since(&mut self, boot_id: &str) {
        // Empty where the machine could not be asked just now.
        if self.boot_id != boot_id && !boot_id.is_empty() {
            *self = Self {
                boot_id: boot_id.to_owned(),
                ..Self::default()
            };
        }
    }

    /// Notes what an action takes in hand.
    pub fn note(&mut self, action: &Action) {
        match action {
            Action::CreateVfs { pf, .. } => {
                self.pfs.insert(*pf);
            }
            Action::BindVf { vf, .. }
            | Action::VfVectors { vf, .. }
            | Action::CleanVf { vf, .. } => self.have(*vf, None),
            Action::Dress { vf, attributes, .. } => self.have(*vf, Some(attributes.mac)),
            _ => {}
        }
    }

    /// The VF is one of ours, and this the address that it was given.
    pub fn have(&mut self, vf: PciAddress, mac: Option<MacAddr>) {
        self.vfs.insert(vf);
        if let Some(mac) = mac.filter(|mac| !mac.is_zero()) {
            self.dressed.insert(vf, mac);
        }
    }

    /// True if we made the VFs of this PF.
    pub fn made(&self, pf: PciAddress) -> bool {
        self.pfs.contains(&pf)
    }

    /// True if the address that the VF carries is of us.
    pub fn gave(&self, vf: &VfFacts) -> bool {
        self.dressed.get(&vf.pci) == Some(&vf.attributes.mac)
    }

    /// True if it was in our hands, or we made it.
    pub fn has(&self, pf: PciAddress, vf: PciAddress) -> bool {
        self.vfs.contains(&vf) || self.pfs.contains(&pf)
    }
}

/// What shows that somebody set up a VF, in words; nothing for one as drivers make them. Spoof check is no
/// sign: some drivers (mlx5) make VFs without.
pub fn set_up(attributes: &VfAttributes) -> Option<String> {
    let VfAttributes {
        mac,
        vlan,
        qos: _,
        spoofchk: _,
        trust,
        max_tx_rate_mbps,
        min_tx_rate_mbps,
        link,
    } = attributes;
    let rate = |rate: &Support<u32>| rate.value().copied().filter(|rate| *rate != 0);
    let signs = [
        (!mac.is_zero()).then(|| format!("address {mac}")),
        (*vlan != 0).then(|| format!("VLAN {vlan}")),
        trust.is(&true).then(|| "trust".to_owned()),
        rate(max_tx_rate_mbps).map(|rate| format!("a limit of {rate} Mbit/s")),
        rate(min_tx_rate_mbps).map(|rate| format!("a guarantee of {rate} Mbit/s")),
        link.value()
            .filter(|link| **link != VfLink::Auto)
            .map(|_| "a link state".to_owned()),
    ];
    let signs: Vec<String> = signs.into_iter().flatten().collect();
    (!signs.is_empty()).then(|| signs.join(", "))
}

/// Why a VF that nobody uses is not ours; `None` if it is, or may become ours.
pub fn why(
    intents: &[Intent],
    ours: &Ours,
    pf: PciAddress,
    vf: PciAddress,
    attributes: &VfAttributes,
) -> Option<String> {
    let signs = set_up(attributes);
    let mut all = intents.iter();
    if let Some(intent) = all.find(|intent| intent.exclude_vfs.contains(&vf)) {
        let owed = ours.vfs.contains(&vf) && signs.is_some();
        return (!owed).then(|| format!("intent '{}' excludes it", intent.name));
    }
    let signs = signs.filter(|_| !ours.has(pf, vf))?;
    Some(format!("it carries {signs}, which accelnet did not set"))
}

/// Tells VFs of the intents' adapters that are somebody else's. What was told before is judged anew.
pub fn mark(observed: &mut Observed, intents: &[Intent], ours: &mut Ours) {
    let needed: BTreeSet<PciAddress> = observed
        .vms
        .iter()
        .flat_map(|vm| vm.hostdevs.iter().map(|has| has.pci))
        .collect();
    for adapter in &mut observed.adapters {
        let concerns = intents.iter().any(|intent| intent.covers(adapter));
        let pf = adapter.pci;
        for vf in &mut adapter.vfs {
            if let VfUser::Others { .. } = vf.user {
                vf.user = VfUser::Nobody;
            }
            let idle = vf.user == VfUser::Nobody && !needed.contains(&vf.pci);
            if !concerns || !idle {
                continue;
            }
            if let Some(why) = why(intents, ours, pf, vf.pci, &vf.attributes) {
                // It was given up: what is on it from now on is not ours.
                ours.vfs.remove(&vf.pci);
                vf.user = VfUser::Others { why };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 0x53, 0xa0]);

    /// A node without VMs; the first VF carries an address.
    fn node() -> (Observed, PciAddress) {
        let mut observed = fixture::observed();
        observed.vms.clear();
        observed.adapters[0].vfs[0].attributes = VfAttributes::for_mac(MAC);
        let vf = observed.adapters[0].vfs[0].pci;
        (observed, vf)
    }

    fn marked(observed: &mut Observed, intent: &Intent, ours: &mut Ours) -> Vec<(u32, String)> {
        mark(observed, std::slice::from_ref(intent), ours);
        let vfs = observed.adapters[0].vfs.iter();
        vfs.filter_map(|vf| match &vf.user {
            VfUser::Others { why } => Some((vf.index, why.clone())),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn what_somebody_set_up_and_we_never_had_is_foreign() {
        let (mut observed, vf) = node();
        let mut ours = Ours::default();
        let found = marked(&mut observed, &fixture::intent(), &mut ours);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.contains(&MAC.to_string()), "{found:?}");
        ours.have(vf, None);
        assert_eq!(marked(&mut observed, &fixture::intent(), &mut ours), []);
        // After the machine's next start nothing is ours yet.
        ours.since("another");
        assert_eq!(
            marked(&mut observed, &fixture::intent(), &mut ours).len(),
            1
        );
    }

    #[test]
    fn vfs_as_drivers_make_them_are_not() {
        let mut fresh = VfAttributes::baseline();
        fresh.spoofchk = Support::Supported(false);
        assert_eq!(set_up(&fresh), None);
        for change in [
            |vf: &mut VfAttributes| vf.vlan = 7,
            |vf: &mut VfAttributes| vf.trust = Support::Supported(true),
            |vf: &mut VfAttributes| vf.max_tx_rate_mbps = Support::Supported(9),
            |vf: &mut VfAttributes| vf.min_tx_rate_mbps = Support::Supported(9),
            |vf: &mut VfAttributes| vf.link = Support::Supported(VfLink::Up),
        ] {
            let mut vf = fresh.clone();
            change(&mut vf);
            assert!(set_up(&vf).is_some(), "{vf:?}");
        }
    }

    #[test]
    fn an_excluded_vf_is_cleaned_before_it_is_let_go_and_left_alone_then() {
        let (mut observed, vf) = node();
        let mut intent = fixture::intent();
        intent.exclude_vfs = vec![vf];
        let mut ours = Ours::default();
        ours.note(&Action::CreateVfs {
            pf: observed.adapters[0].pci,
            count: 7,
        });
        ours.have(vf, None);
        assert_eq!(marked(&mut observed, &intent, &mut ours), []);
        observed.adapters[0].vfs[0].attributes = VfAttributes::baseline();
        assert_eq!(marked(&mut observed, &intent, &mut ours).len(), 1);
        // Its new owner's.
        observed.adapters[0].vfs[0].attributes = VfAttributes::for_mac(MAC);
        let found = marked(&mut observed, &intent, &mut ours);
        assert!(found[0].1.contains("excludes"), "{found:?}");
    }

    #[test]
    fn what_is_used_or_of_another_adapter_is_not_judged() {
        let (mut observed, _) = node();
        observed.adapters[0].vfs[0].user = VfUser::HostDriver {
            driver: "igbvf".into(),
        };
        let mut ours = Ours::default();
        assert_eq!(marked(&mut observed, &fixture::intent(), &mut ours), []);
        let (mut observed, _) = node();
        observed.adapters[0].ifname = "other".parse().unwrap();
        assert_eq!(marked(&mut observed, &fixture::intent(), &mut ours), []);
    }
}
