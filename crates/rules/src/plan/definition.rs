//! What is added to VMs' definitions: standby NICs, root ports, queues, a NIC on the intent's bridge.

use accelnet_model::{Intent, VmDesired, VmFacts};

use super::{Memory, Plan};
use crate::{
    action::Action,
    new_nic::{self, When},
    staging,
};

/// True if the VM gets a NIC first: until then nothing can be said about its path.
pub fn plan(
    vm: &VmFacts,
    wish: &VmDesired,
    intent: &Intent,
    memory: &Memory,
    plan: &mut Plan,
) -> bool {
    let missing = |mac| Some((mac, new_nic::missing(vm, intent, mac)?));
    if let Some((mac, when)) = wish.add_nic.and_then(missing) {
        if !memory.resting.contains(&vm.uuid) {
            plan.push(Action::AddNic {
                vm: vm.uuid,
                mac,
                bridge: intent.bridge.clone(),
                live: when == When::Now,
            });
        }
        return true;
    }
    let staging = staging::missing(vm, wish, intent);
    if !staging.is_empty() && !memory.resting.contains(&vm.uuid) {
        let vm = vm.uuid;
        plan.push(Action::Prepare { vm, staging });
    }
    false
}
