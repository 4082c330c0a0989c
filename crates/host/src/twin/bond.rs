//! Two adapters in an active-backup bond.

use accelnet_model::{BondFacts, BridgeFacts, IfName, MacAddr};

use super::{Machine, new_port};
use crate::HostEvent;

impl Machine {
    /// A machine whose bridge's uplink is an active-backup bond of two adapters, of which the first is
    /// used.
    pub fn bonded(hostname: &str, bridge: &IfName, bond: &IfName, members: [&IfName; 2]) -> Self {
        let mut machine = Self::igb(hostname, bridge, members[0]);
        let mut second = machine.adapters[0].clone();
        second.ifname = members[1].clone();
        second.id.pci_path = "pci0000:00/11.0/00.0".into();
        second.id.permanent_mac = MacAddr([2, 0, 0, 0, 0xbb, 2]);
        second.pci.bus += 1;
        machine.adapters.push(second);
        for adapter in &mut machine.adapters {
            adapter.master = Some(bond.clone());
        }
        let mac = machine.adapters[0].mac;
        machine.bridges[0].ports = vec![new_port(bond, mac)];
        let facts = BridgeFacts {
            ifname: bond.clone(),
            kind: "bond".into(),
            bond_mode: Some("active-backup".into()),
            bond: Some(BondFacts {
                members: members.map(Clone::clone).to_vec(),
                active: Some(members[0].clone()),
            }),
            master: Some(bridge.clone()),
            has_host_address: false,
            ports: Vec::new(),
            ..machine.bridges[0].clone()
        };
        machine.bridges.push(facts);
        machine
    }

    /// The adapter's link goes or comes, and with it that of its VFs. A bond uses the first member
    /// with link that it has from then on, if the present one has none.
    pub fn set_link(&mut self, name: &IfName, carrier: bool) {
        let Some(adapter) = self
            .adapters
            .iter_mut()
            .find(|adapter| &adapter.ifname == name)
        else {
            return;
        };
        adapter.carrier = carrier;
        let vfs: Vec<_> = adapter.vfs.iter().map(|vf| vf.pci).collect();
        for guest in &mut self.guests {
            if guest.vf.is_some_and(|(vf, _)| vfs.contains(&vf)) {
                guest.vf_link = carrier;
            }
        }
        let linked: Vec<IfName> = self
            .adapters
            .iter()
            .filter(|adapter| adapter.carrier)
            .map(|adapter| adapter.ifname.clone())
            .collect();
        for bond in self
            .bridges
            .iter_mut()
            .filter_map(|bridge| bridge.bond.as_mut())
        {
            if !bond
                .active
                .as_ref()
                .is_some_and(|active| linked.contains(active))
            {
                let mut members = bond.members.iter();
                bond.active = members.find(|member| linked.contains(member)).cloned();
            }
        }
        // A cable's end is not for accelnet to prevent.
        for guest in &mut self.guests {
            guest.excused = true;
        }
        self.tell(&HostEvent::Link(name.to_string()));
    }
}
