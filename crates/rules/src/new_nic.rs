//! A NIC that is added to a VM which has none on the intent's bridge.
//!
//! It is a virtio NIC that stands by for a VF, in the persistent definition and, if the running VM has
//! room for it and for its VF, there too. Its address is decided once, before anything is added, and is
//! what the NIC is known by afterwards: it is never added twice.

use accelnet_model::{IfName, Intent, MacAddr, Name, NicFacts, VmFacts, VmState};
use uuid::Uuid;

use crate::{eligibility, observed::nics_on};

/// QEMU's and libvirt's own prefix, which is locally administered.
const PREFIX: [u8; 3] = [0x52, 0x54, 0x00];
/// A root port for the NIC and one for its VF. With one port only the VM would have to be started
/// anew for the VF in any case.
const ROOT_PORTS: u32 = 2;

/// When the VM gets the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// While it runs.
    Now,
    /// From its next cold start on.
    NextStart,
}

/// The address of a VM's NIC on an intent's bridge. It follows from both, so that the same question has
/// the same answer; `attempt` (from 0) gives others, for an address that somebody else has. Three bytes
/// are free: with some thousand VMs two have the same one, so the caller must look.
pub fn address(vm: Uuid, intent: &Name, attempt: u32) -> MacAddr {
    // FNV-1a, 64 bits: any hash that never changes will do.
    let hash = vm
        .as_bytes()
        .iter()
        .chain(intent.as_str().as_bytes())
        .chain(&attempt.to_be_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let [.., a, b, c] = (hash ^ hash >> 32).to_be_bytes();
    let [x, y, z] = PREFIX;
    MacAddr([x, y, z, a, b, c])
}

/// The VM has no NIC on the bridge now.
pub fn is_missing(vm: &VmFacts, intent: &Intent) -> bool {
    nics_on(vm, &intent.bridge).next().is_none()
}

/// When a VM would get one that is added.
pub fn when(vm: &VmFacts) -> When {
    if vm.state == VmState::Running && vm.free_root_ports_live >= ROOT_PORTS {
        When::Now
    } else {
        When::NextStart
    }
}

/// What is left to add: the NIC with this address, or the root port for its VF. Nothing if the VM has
/// another NIC on the bridge, if somebody moved this one elsewhere, or if the definition is not the
/// operator's own.
pub fn missing(vm: &VmFacts, intent: &Intent, mac: MacAddr) -> Option<When> {
    if !vm.has_pcie() || eligibility::staging_refused(vm).is_some() {
        return None;
    }
    let on_bridge = |nic: &&NicFacts| nic.bridge.as_ref() == Some(&intent.bridge);
    let (now, staged) = (vm.nics.iter(), vm.nics_staged.iter());
    let mut all = now.clone().chain(staged.clone());
    if all.any(|nic| (nic.mac == mac) != on_bridge(&nic)) {
        return None;
    }
    let (has, will_have) = (
        now.clone().any(|nic| on_bridge(&nic)),
        staged.clone().any(|nic| on_bridge(&nic)),
    );
    let port = vm.free_root_ports_config > 0;
    match vm.state {
        VmState::Off => (!(has && port)).then_some(When::NextStart),
        // An interruption may have left out the port.
        VmState::Running | VmState::Paused if has => (!port).then_some(When::NextStart),
        VmState::Running | VmState::Paused => {
            let when = when(vm);
            (!(will_have && port) || when == When::Now).then_some(when)
        }
    }
}

/// The NIC with this address while it waits for the VM's next cold start, in words.
pub fn to_come(vm: &VmFacts, mac: MacAddr) -> Option<String> {
    let off = vm.nics.iter().filter(|_| vm.state == VmState::Off);
    let nic = vm
        .nics_staged
        .iter()
        .chain(off)
        .find(|nic| nic.mac == mac)?;
    let bridge = nic.bridge.as_ref().map_or("no bridge", IfName::as_str);
    Some(format!("NIC {mac} on {bridge}"))
}

#[cfg(test)]
mod tests;
