//! Adapters and VFs.

use std::collections::BTreeMap;

use accelnet_api::{Adapter, ClientError};
use accelnet_model::{Code, Problem, VfFacts, VfUser, problem::exit};
use serde::Serialize;
use uuid::Uuid;
use wildmatch::WildMatch;

use super::{Run, objects, parse::shown};
use crate::{
    call::{Ended, worst_code},
    verbs::adapter::is_called,
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sriov {
    type_name: &'static str,
    name: String,
    computer_name: String,
    intent: Option<String>,
    enabled: bool,
    sriov_support: String,
    #[serde(rename = "NumVFs")]
    num_vfs: usize,
    #[serde(rename = "VFsInUse")]
    vfs_in_use: usize,
    #[serde(rename = "TotalVFs")]
    total_vfs: u32,
    levels: Vec<String>,
    pci_address: String,
    driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

fn sriov(adapter: &Adapter, message: Option<String>) -> Sriov {
    let facts = &adapter.status.facts;
    let used = facts.vfs.iter().filter(|vf| vf.user != VfUser::Nobody);
    Sriov {
        type_name: "NetAdapterSriov",
        name: facts.ifname.to_string(),
        computer_name: adapter.node.to_string(),
        intent: adapter.intent.as_ref().map(ToString::to_string),
        enabled: !facts.vfs.is_empty(),
        sriov_support: format!("{:?}", facts.sriov),
        num_vfs: facts.vfs.len(),
        vfs_in_use: used.count(),
        total_vfs: facts.total_vfs,
        levels: adapter.levels.iter().map(ToString::to_string).collect(),
        pci_address: facts.pci.to_string(),
        driver: facts.driver.clone(),
        message,
    }
}

/// Adapters with these names, each once; those that are not there are said.
async fn named(run: &Run, names: &[String]) -> Result<(Vec<Adapter>, u8), ClientError> {
    let all = run.call.client.adapters().await?.items;
    let mut code = exit::OK;
    let mut wanted = vec![false; all.len()];
    for name in names {
        // Linux has adapters whose names differ in case only, so a name as it is written goes first.
        let as_written = all.iter().any(|adapter| is_called(adapter, name));
        let pattern = WildMatch::new_case_insensitive(name);
        let fits = |adapter: &Adapter| match as_written {
            true => is_called(adapter, name),
            false => pattern.matches(adapter.status.facts.ifname.as_str()),
        };
        let mut any = false;
        for (adapter, wanted) in all.iter().zip(&mut wanted) {
            if fits(adapter) {
                (any, *wanted) = (true, true);
            }
        }
        if any {
            continue;
        }
        let text = format!("No adapter is called '{}'.", shown(name));
        let problem = Problem::new(Code::AdapterNotFound, text);
        code = run.say(Some(name), &[problem]);
        if run.stops() {
            break;
        }
    }
    let found: Vec<Adapter> = all
        .into_iter()
        .zip(wanted)
        .filter_map(|(adapter, wanted)| (wanted || names.is_empty()).then_some(adapter))
        .collect();
    if code != exit::OK && !found.is_empty() {
        code = exit::PARTIAL;
    }
    Ok((found, code))
}

const COLUMNS: [&str; 8] = [
    "Name",
    "ComputerName",
    "Intent",
    "Enabled",
    "SriovSupport",
    "NumVFs",
    "VFsInUse",
    "TotalVFs",
];

/// `Get-NetAdapterSriov`.
pub async fn list(run: &Run) -> Ended {
    let (adapters, code) = named(run, run.bound.names("Name")).await?;
    let all: Vec<Sriov> = adapters.iter().map(|one| sriov(one, None)).collect();
    objects::print(&all, &COLUMNS);
    Ok(code)
}

/// `Enable-NetAdapterSriov`: VFs are made when acceleration is enabled; whether they can be is told.
pub async fn enable(run: &Run) -> Ended {
    let names = run.bound.names("Name");
    let (mut adapters, named_code) = named(run, names).await?;
    if names.is_empty() {
        let of_intents = adapters.iter().any(|adapter| adapter.intent.is_some());
        adapters.retain(|adapter| match of_intents {
            true => adapter.intent.is_some(),
            false => adapter.status.facts.sriov.code().is_none(),
        });
        if adapters.is_empty() {
            let text = "No adapter of the cluster can do SR-IOV.";
            return Err(Problem::new(Code::AdapterNotFound, text).into());
        }
    }
    let status = run.call.client.status().await?;
    let enabled = status.enabled.as_ref().map(|enabled| &enabled.intent);
    let (mut able, mut failed) = (Vec::new(), None);
    for adapter in &adapters {
        match problem(adapter) {
            None => able.push(sriov(adapter, Some(prospect(adapter, enabled)))),
            Some(problem) => {
                let name = &adapter.status.facts.ifname;
                let about = format!("{name} on {}", adapter.node);
                let problems = [problem];
                run.say(Some(&about), &problems);
                failed = failed.or(Some(worst_code(&problems)));
                if run.stops() {
                    break;
                }
            }
        }
    }
    objects::print(
        &able,
        &["Name", "ComputerName", "NumVFs", "TotalVFs", "Message"],
    );
    let failed = failed.or((named_code != exit::OK).then_some(named_code));
    Ok(match failed {
        None => exit::OK,
        Some(_) if !able.is_empty() => exit::PARTIAL,
        Some(code) => code,
    })
}

/// Why the adapter cannot do SR-IOV.
fn problem(adapter: &Adapter) -> Option<Problem> {
    let facts = &adapter.status.facts;
    let code = facts.sriov.code()?;
    let evidence = facts.sriov_evidence.as_deref().unwrap_or("no evidence");
    let text = format!("{:?}: {}.", facts.sriov, evidence.trim_end_matches('.'));
    Some(Problem::new(code, text).about("adapter", &facts.ifname))
}

/// When there are VFs.
fn prospect(adapter: &Adapter, enabled: Option<&accelnet_model::Name>) -> String {
    let count = adapter.status.facts.vfs.len();
    match &adapter.intent {
        _ if count > 0 => format!("It has {count} VFs."),
        Some(intent) if Some(intent) == enabled => {
            "Its VFs are made as soon as nothing needs its link; 'accelnet status' says what does."
                .to_owned()
        }
        Some(intent) => {
            format!("Its VFs are made by 'Enable-AccelNetManagement -IntentName {intent}'.")
        }
        None => "It belongs to no intent; VFs are made when acceleration is enabled on an intent \
                 that it carries ('accelnet intent add')."
            .to_owned(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Vf {
    type_name: &'static str,
    name: String,
    computer_name: String,
    #[serde(rename = "FunctionID")]
    function_id: u32,
    pci_address: String,
    mac_address: String,
    #[serde(rename = "VlanID")]
    vlan_id: u16,
    driver: Option<String>,
    #[serde(rename = "VMId")]
    vm_id: Option<Uuid>,
    #[serde(rename = "VMName")]
    vm_name: Option<String>,
}

/// Numbers of VFs.
fn function_ids(words: &[String]) -> Result<Vec<u32>, Problem> {
    let number = |word: &String| {
        word.parse().map_err(|_| {
            let text = format!("'{}' is not a value of -FunctionID.", shown(word));
            Problem::new(Code::InvalidArgument, text).with_cure("Give a VF's number, from 0.")
        })
    };
    words.iter().map(number).collect()
}

/// `Get-NetAdapterSriovVf`.
pub async fn list_vfs(run: &Run) -> Ended {
    let numbers = function_ids(run.bound.names("FunctionID"))?;
    let (adapters, code) = named(run, run.bound.names("Name")).await?;
    let vms = run.call.client.vms().await?.items.into_iter();
    let vms: BTreeMap<Uuid, String> = vms.map(|vm| (vm.uuid, vm.name)).collect();
    let mut found = Vec::new();
    for adapter in &adapters {
        let facts = &adapter.status.facts;
        let wanted = |vf: &&VfFacts| numbers.is_empty() || numbers.contains(&vf.index);
        found.extend(facts.vfs.iter().filter(wanted).map(|vf| Vf {
            type_name: "NetAdapterSriovVf",
            name: facts.ifname.to_string(),
            computer_name: adapter.node.to_string(),
            function_id: vf.index,
            pci_address: vf.pci.to_string(),
            mac_address: vf.attributes.mac.to_string(),
            vlan_id: vf.attributes.vlan,
            driver: vf.driver.clone(),
            vm_id: vf.vm,
            vm_name: vf.vm.and_then(|vm| vms.get(&vm).cloned()),
        }));
    }
    let columns = [
        "Name",
        "ComputerName",
        "FunctionID",
        "PciAddress",
        "MacAddress",
        "VMName",
    ];
    objects::print(&found, &columns);
    Ok(code)
}
