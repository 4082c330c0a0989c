//! The NIC that is added to a VM which has none on the intent's bridge, if that is asked for.

use std::collections::BTreeSet;

use accelnet_api::AccelerateRequest;
use accelnet_model::{Intent, MacAddr, VmFacts, VmState};
use accelnet_rules::new_nic::{self, When};

use crate::{reports::Seen, state::Wish};

/// The address of the NIC that the VM gets, if it gets one. One that was asked for before and waits for
/// the VM's start is the same one.
pub(super) fn added(
    wish: &Wish,
    seen: &Seen,
    vm: &VmFacts,
    intent: &Intent,
    request: &AccelerateRequest,
) -> Option<MacAddr> {
    let before = wish.on(vm.uuid, &intent.name);
    let before = before.and_then(|wanted| wanted.add_nic);
    let waits = before.is_some() && vm.state == VmState::Off;
    if !request.add_adapter || !(new_nic::is_missing(vm, intent) || waits) {
        return None;
    }
    Some(before.unwrap_or_else(|| {
        let taken = taken(wish, seen, vm);
        let mut all = (0..).map(|attempt| new_nic::address(vm.uuid, &intent.name, attempt));
        // There are more addresses than VMs.
        all.find(|mac| !taken.contains(mac))
            .unwrap_or(MacAddr::ZERO)
    }))
}

/// Addresses that other VMs have, or are to have.
fn taken(wish: &Wish, seen: &Seen, vm: &VmFacts) -> BTreeSet<MacAddr> {
    let statuses = seen.iter().filter_map(|node| node.status.as_deref());
    let others = statuses
        .flat_map(|status| &status.vms)
        .map(|seen| &seen.facts);
    let others = others.filter(|seen| seen.uuid != vm.uuid);
    let present = others.flat_map(|seen| seen.nics.iter().chain(&seen.nics_staged));
    let wished = wish.specs.iter().flat_map(|spec| spec.intents.values());
    let wished = wished.filter_map(|wanted| wanted.add_nic);
    present.map(|nic| nic.mac).chain(wished).collect()
}

/// What is added, and when the VM has it.
pub(super) fn plan(vm: &VmFacts, intent: &Intent, mac: MacAddr) -> Option<String> {
    let bridge = &intent.bridge;
    let what = format!("add NIC {mac} on {bridge} (virtio, stands by for a VF)");
    Some(match new_nic::missing(vm, intent, mac)? {
        When::Now => format!("{what} to the running VM and to its definition"),
        When::NextStart if vm.state == VmState::Off => {
            format!("{what} to the definition; the VM is accelerated when it is started")
        }
        When::NextStart => format!(
            "{what} to the definition; the VM has it, and is accelerated, from its next cold start on, \
             as it has {} free PCIe root port(s) and NIC and VF need one each",
            vm.free_root_ports_live
        ),
    })
}
