//! `accelnet waiver …`

use accelnet_api::Items;
use accelnet_model::{Waiver, problem::exit};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    args::WaiverCommand,
    call::{Call, Ended},
    output::{self, tables},
};

/// A waiver and the VM that it is for.
#[derive(Debug, Serialize)]
pub struct OfVm {
    /// The VM's name.
    pub vm: String,
    /// Its identity.
    pub uuid: Uuid,
    /// The waiver.
    #[serde(flatten)]
    pub waiver: Waiver,
}

/// Runs one `waiver` command.
pub async fn run(call: &Call, command: &WaiverCommand) -> Ended {
    match command {
        WaiverCommand::List => {
            let vms = call.client.vms().await?.items;
            let of_vm = |vm: accelnet_api::Vm| {
                let (name, uuid) = (vm.name, vm.uuid);
                let waivers = vm.waivers.into_iter();
                waivers.map(move |waiver| OfVm {
                    vm: name.clone(),
                    uuid,
                    waiver,
                })
            };
            let items: Vec<OfVm> = vms.into_iter().flat_map(of_vm).collect();
            let list = Items::from(items);
            output::print(call.format, &list, |list| tables::waivers(&list.items));
            Ok(exit::OK)
        }
    }
}
