//! What a VM has in its hands as the fast half of a NIC, and what shows of its use.
//!
//! A VF passed through by vfio today. The other rules ask only what is asked here, so that another kind
//! (vDPA) is another arm.

use accelnet_model::{
    AdapterFacts, HostdevFacts, Intent, NicFacts, PciAddress, VfFacts, VfUser, VmFacts,
};

use crate::Observed;

/// The fast half of a NIC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Handle<'a> {
    /// A VF of an adapter of this node, passed through by vfio.
    Vfio(&'a AdapterFacts, &'a VfFacts),
    /// A device that is no VF of an adapter that we see.
    Unknown(PciAddress),
}

impl<'a> Handle<'a> {
    /// What a VM has as the fast half of its NIC: by libvirt's teaming, or by the address of an
    /// `<interface type='hostdev'>`; else a VF that carries the NIC's address and that its QEMU has open
    /// although libvirt has forgotten it. What another process has open is in nobody's hands here,
    /// whatever a definition says.
    pub fn of(observed: &'a Observed, vm: &VmFacts, nic: &NicFacts) -> Option<Self> {
        let is_its = |hostdev: &&HostdevFacts| {
            let teams = hostdev.teaming_with.is_some() && hostdev.teaming_with == nic.alias;
            teams || hostdev.mac == Some(nic.mac)
        };
        let Some(hostdev) = vm.hostdevs.iter().find(is_its) else {
            return Self::forgotten(observed, vm, nic);
        };
        Some(match observed.vf(hostdev.pci) {
            Some((adapter, vf)) if !is_anothers(vf, vm) => Self::Vfio(adapter, vf),
            _ => Self::Unknown(hostdev.pci),
        })
    }

    fn forgotten(observed: &'a Observed, vm: &VmFacts, nic: &NicFacts) -> Option<Self> {
        let pid = vm.pid?;
        let mut adapters = observed.adapters.iter();
        adapters.find_map(|adapter| {
            let vf = adapter.vfs.iter().find(|vf| {
                let open = matches!(vf.user, VfUser::Process { pid: user, .. } if user == pid);
                open && vf.attributes.mac == nic.mac && !observed.is_assigned(vf.pci)
            });
            Some(Self::Vfio(adapter, vf?))
        })
    }

    /// libvirt knows of no such device.
    pub fn is_forgotten(&self, observed: &Observed) -> bool {
        match self {
            Self::Vfio(_, vf) => !observed.is_assigned(vf.pci),
            Self::Unknown(_) => false,
        }
    }

    /// The device.
    pub fn device(&self) -> PciAddress {
        match self {
            Self::Vfio(_, vf) => vf.pci,
            Self::Unknown(device) => *device,
        }
    }

    /// A driver in the guest drives it.
    pub fn is_driven(&self) -> bool {
        match self {
            Self::Vfio(_, vf) => vf.active_vectors > 0,
            Self::Unknown(_) => false,
        }
    }

    /// QEMU really has it: its process has opened it.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Vfio(_, vf) => matches!(vf.user, VfUser::Process { .. }),
            Self::Unknown(_) => false,
        }
    }
}

fn is_anothers(vf: &VfFacts, vm: &VmFacts) -> bool {
    let its = |user: u32| vm.pid.is_none_or(|pid| pid == user);
    match vf.user {
        VfUser::Process { pid, .. } => !its(pid),
        // QEMU could not open it, whatever the definition says that the VM came with.
        VfUser::Reserved => true,
        VfUser::Nobody | VfUser::HostDriver { .. } | VfUser::Others { .. } => false,
    }
}

/// A VF that could be handed to a VM at once, as far as the host's driver goes: any of vfio's, or the one that
/// the intent names. A driver may have `-` where its module has `_`.
pub fn is_ready(intent: &Intent, vf: &VfFacts) -> bool {
    let plain = |name: &str| name.replace('-', "_");
    let driver = vf.driver.as_deref().map(plain);
    let wanted = intent.vf_driver.named().map(|name| plain(name.as_str()));
    vf.is_on_vfio() && (wanted.is_none() || driver == wanted)
}
