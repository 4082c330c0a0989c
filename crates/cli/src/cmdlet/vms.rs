//! VMs: named, or from the pipeline.

use accelnet_api::{ClientError, Vm};
use accelnet_model::{Code, Performance, Problem, problem::exit};
use serde::Serialize;

use super::{
    Run,
    objects::{self, AcceleratedVm, VmObject},
};
use crate::{
    call::{Ended, worst_code},
    select::{Letters, Selected, look_up},
    verbs::vm::{Change, Done, code, ensure_all},
};

const ACCELERATED: [&str; 6] = [
    "VMName",
    "ComputerName",
    "State",
    "Performance",
    "Path",
    "Problems",
];

/// Names as given, else from the pipeline; `None` if nobody gave any.
fn names(run: &Run) -> Result<Option<Vec<String>>, Problem> {
    let given = ["VMName", "VM"].map(|name| run.bound.names(name)).concat();
    if !given.is_empty() {
        return Ok(Some(given));
    }
    if run.cmdlet.comes_piped() {
        return objects::read_vms();
    }
    Ok(None)
}

/// `Enable-AccelNetVM`.
pub async fn enable(run: &Run) -> Ended {
    let level = run.bound.level("Performance");
    // It is mandatory.
    let change = Change::Enable {
        level: level.unwrap_or(Performance::Medium),
        add_adapter: run.bound.switch("AddAdapter"),
        waive: Vec::new(),
        because: None,
    };
    Ok(change_and_show(run, change).await?.unwrap_or(exit::OK))
}

/// `Set-AccelNetVM`.
pub async fn set(run: &Run) -> Ended {
    let level = run.bound.level("Performance");
    let change = Change::Set(level.unwrap_or(Performance::Medium));
    Ok(change_and_show(run, change).await?.unwrap_or(exit::OK))
}

/// `Disable-AccelNetVM`.
pub async fn disable(run: &Run) -> Ended {
    let ended = change(run, Change::Disable).await?;
    Ok(ended.map_or(exit::OK, |results| code(&results)))
}

/// `Set-AccelNetManagement -VMName … -Performance …`; `None` if somebody said no.
pub async fn set_to(run: &Run, level: Performance) -> Result<Option<u8>, ClientError> {
    let results = change(run, Change::Set(level)).await?;
    Ok(results.map(|results| code(&results)))
}

async fn change_and_show(run: &Run, how: Change) -> Result<Option<u8>, ClientError> {
    let Some(results) = change(run, how).await? else {
        return Ok(None);
    };
    if !run.how().dry_run {
        let done = results.iter().filter(|done| done.ok);
        let done: Vec<_> = done.filter_map(|done| done.vm.as_ref()).collect();
        let done: Vec<AcceleratedVm> = done.into_iter().map(AcceleratedVm::from).collect();
        objects::print(&done, &ACCELERATED);
    }
    Ok(Some(code(&results)))
}

/// Makes a change, and says what went wrong with each VM; `None` if somebody said no.
async fn change(run: &Run, change: Change) -> Result<Option<Vec<Done>>, ClientError> {
    let names = names(run)?.filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| {
        let text = "No VM is named, and none came through the pipe.";
        Problem::new(Code::InvalidArgument, text).with_cure("Name a VM, or pipe one.")
    })?;
    let (_, selected) = look_up(&run.call.client, &names, Letters::Alike).await?;
    if !run.confirmed()? {
        return Ok(None);
    }
    let mut results = Vec::new();
    // One after the other only if the first failure must be the last thing that happens.
    let at_once = if run.stops() {
        1
    } else {
        selected.len().max(1)
    };
    for group in selected.chunks(at_once) {
        let done = ensure_all(&run.call, group.to_vec(), run.how(), &change).await;
        let failed = done.iter().any(|done| !done.ok);
        for done in &done {
            if done.ok {
                run.tell(Some(&done.name), &done.plan);
            } else {
                run.say(Some(&done.name), &done.problems);
            }
        }
        results.extend(done);
        if failed && run.stops() {
            break;
        }
    }
    Ok(Some(results))
}

/// VMs to be listed, and the exit code: what is not found is said.
async fn listed(run: &Run) -> Result<(Vec<Vm>, u8), ClientError> {
    let names = names(run)?;
    let Some(names) = names else {
        return Ok((run.call.client.vms().await?.items, exit::OK));
    };
    let (_, selected) = look_up(&run.call.client, &names, Letters::Alike).await?;
    let (mut found, mut code) = (Vec::new(), exit::OK);
    for item in selected {
        match item {
            Selected::Vm { vm } => found.push(*vm),
            Selected::Problem(problem) => {
                let name = problem.objects.first().map(|object| object.name.clone());
                let problems = [*problem];
                run.say(name.as_deref(), &problems);
                if code == exit::OK {
                    code = worst_code(&problems);
                }
                if run.stops() {
                    break;
                }
            }
        }
    }
    if code != exit::OK && !found.is_empty() {
        code = exit::PARTIAL;
    }
    Ok((found, code))
}

/// `Get-VM`.
pub async fn list(run: &Run) -> Ended {
    let (vms, code) = listed(run).await?;
    let vms: Vec<VmObject> = vms.iter().map(VmObject::from).collect();
    let columns = ["VMName", "State", "ComputerName", "ProcessorCount", "Id"];
    objects::print(&vms, &columns);
    Ok(code)
}

/// `Get-AccelNetVM`.
pub async fn list_accelerated(run: &Run) -> Ended {
    let (vms, code) = listed(run).await?;
    let accelerated = vms.iter().filter(|vm| vm.level.is_some());
    let accelerated: Vec<AcceleratedVm> = accelerated.map(AcceleratedVm::from).collect();
    objects::print(&accelerated, &ACCELERATED);
    Ok(code)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Nic {
    type_name: &'static str,
    #[serde(rename = "VMName")]
    vm_name: String,
    #[serde(rename = "VMId")]
    vm_id: String,
    computer_name: Option<String>,
    mac_address: String,
    switch_name: String,
    path: &'static str,
    adapter_name: Option<String>,
    vf: Option<String>,
}

/// `Get-VMAdaptersConnectedToEnabledIntentSwitch`.
pub async fn list_nics(run: &Run) -> Ended {
    let client = &run.call.client;
    let enabled = client.status().await?.enabled.ok_or_else(|| {
        let text = "No intent is enabled, so there is no switch of one.";
        Problem::new(Code::AccelNetNotEnabled, text)
    })?;
    let bridge = client.intent(enabled.intent.as_str()).await?.intent.bridge;
    let (vms, code) = listed(run).await?;
    let mut nics = Vec::new();
    for vm in &vms {
        let on_bridge = vm
            .nics
            .iter()
            .filter(|nic| nic.bridge.as_ref() == Some(&bridge));
        nics.extend(on_bridge.map(|nic| Nic {
            type_name: objects::NIC,
            vm_name: vm.name.clone(),
            vm_id: vm.uuid.to_string(),
            computer_name: vm.node.as_ref().map(ToString::to_string),
            mac_address: nic.mac.to_string(),
            switch_name: bridge.to_string(),
            path: objects::path(nic.path),
            adapter_name: nic.adapter.as_ref().map(ToString::to_string),
            vf: nic.vf.map(|vf| vf.to_string()),
        }));
    }
    let columns = [
        "VMName",
        "ComputerName",
        "MacAddress",
        "SwitchName",
        "Path",
        "AdapterName",
        "Vf",
    ];
    objects::print(&nics, &columns);
    Ok(code)
}
