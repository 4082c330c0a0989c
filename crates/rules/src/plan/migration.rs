//! Migrations that somebody asked us for. Those of other tools are none of ours.
//!
//! A VM goes by its tap when it leaves: QEMU would have to take the VF from its guest, and nothing could be
//! opened for it in time (docs/reference/switch-over.md).

use accelnet_model::{Name, NodeDesired, VmFacts, VmState};

use super::{Memory, Plan};
use crate::{
    Observed,
    action::{Action, Lane},
};

/// How many go on at the same time: more only share the network, and each takes longer, in which its guest
/// changes more of its memory.
pub const MIGRATIONS: usize = 2;

/// A VM that is off its VFs is sent on its way.
pub fn begin(vm: &VmFacts, to: &Name, memory: &Memory, plan: &mut Plan) {
    let lanes = memory.lanes.iter();
    let going = lanes.filter(|lane| matches!(lane, Lane::Migration(_)));
    let planned = plan.actions.iter().map(|(_, action)| action);
    let planned = planned.filter(|action| matches!(action, Action::Migrate { .. }));
    let is_quiet = vm.state == VmState::Running && vm.job.is_none();
    let may = is_quiet && !memory.resting.contains(&vm.uuid) && !memory.fresh.contains(&vm.uuid);
    let goes = memory.lanes.contains(&Lane::Migration(vm.uuid));
    if may && !goes && going.count() + planned.count() < MIGRATIONS {
        plan.push(Action::Migrate {
            vm: vm.uuid,
            to: to.clone(),
        });
    }
}

/// Those that go on, and that nobody wants any more.
pub fn end_unwanted(observed: &Observed, desired: &NodeDesired, memory: &Memory, plan: &mut Plan) {
    let going = memory.lanes.iter().filter_map(|lane| match lane {
        Lane::Migration(vm) => Some(*vm),
        Lane::Frames | Lane::Adapter(_) | Lane::Vm(_) => None,
    });
    for vm in going {
        let wanted = desired.vm(vm).and_then(|wish| wish.migrate_to.as_ref());
        let is_free = !memory.lanes.contains(&Lane::Vm(vm)) && !memory.resting.contains(&vm);
        if wanted.is_none() && is_free && observed.vm(vm).is_some() {
            plan.push(Action::EndMigration { vm });
        }
    }
}
