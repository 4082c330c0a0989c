//! What is added to VMs' definitions: standby NICs, root ports, a NIC on the intent's bridge.

use accelnet_model::{Intent, NicFacts, VmDesired, VmFacts};

use super::{Action, Memory, Plan};
use crate::{
    new_nic::{self, When},
    observed::nics_on,
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
            plan.actions.push(Action::AddNic {
                vm: vm.uuid,
                mac,
                bridge: intent.bridge.clone(),
                live: when == When::Now,
            });
        }
        return true;
    }
    let nics: Vec<&NicFacts> = nics_on(vm, &intent.bridge).collect();
    let staged = nics.iter().all(|nic| nic.standby_config)
        && vm.free_root_ports_config as usize >= nics.len();
    let rests = memory.resting.contains(&vm.uuid);
    if wish.prepare && vm.persistent && !nics.is_empty() && !staged && !rests {
        let nics = nics.iter().map(|nic| nic.mac).collect();
        plan.actions.push(Action::Prepare { vm: vm.uuid, nics });
    }
    false
}
