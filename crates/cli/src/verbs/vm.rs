//! `accelnet vm …`, for one VM or many, with partial success.

use std::time::Duration;

use accelnet_api::{AccelerateRequest, ClientError, Items, MoveRequest, Outcome, ParkRequest, Vm};
use accelnet_model::{Performance, Problem, VmState, problem::exit};
use futures::{StreamExt, stream};
use serde::Serialize;

use super::{numbered, travel};
use crate::{
    args::{ChangeArgs, Format, OfNodeArgs, VmCommand, VmsArgs, VmsOrAllArgs},
    call::{Call, Ended, worst_code},
    output::{self, printable, tables},
    select::{Selected, means_several, select},
    wait::{Limit, Until, asking_bar, follow},
};

/// Requests on their way at a time. The server looks at its nodes once for those that come together,
/// and decides one after the other.
const AT_ONCE: usize = 8;

/// What is done for each selected VM.
#[derive(Debug, Clone)]
pub enum Change {
    /// Stage what acceleration needs.
    Prepare,
    /// Accelerate at a level, whatever it is now.
    Enable {
        /// The level.
        level: Performance,
        /// A VM without NIC on the intent's bridge gets one.
        add_adapter: bool,
        /// Names of rules that need not hold.
        waive: Vec<String>,
        /// Why.
        because: Option<String>,
    },
    /// Change the level of an accelerated one.
    Set(Performance),
    /// Keep it on the software path for a while.
    Park {
        /// For so long.
        length: Option<Duration>,
        /// Until its node has started again.
        until_boot: bool,
    },
    /// Let it go to its VF again.
    Unpark,
    /// Bring it back to the software path.
    Disable,
}

/// What became of one VM.
#[derive(Debug, Serialize)]
pub struct Done {
    /// Its name, or what was typed.
    pub name: String,
    /// Its identity, if it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// It is as it was asked for.
    pub ok: bool,
    /// That was not so before.
    pub changed: bool,
    /// Nothing was changed because only the plan was asked for.
    pub dry_run: bool,
    /// The steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// The VM as it is then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<Vm>,
    /// Why it is not as it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Runs one `vm` command.
pub async fn run(call: &Call, command: VmCommand) -> Ended {
    match command {
        VmCommand::List { vms } if vms.is_empty() => {
            let list = call.client.vms().await?;
            output::print(call.format, &list, |list| tables::vms(&list.items));
            Ok(exit::OK)
        }
        VmCommand::List { vms } => look(call, &vms, tables::vms).await,
        VmCommand::Show { vms } => match vms.vms.as_slice() {
            [vm] if !means_several(vm) => {
                let vm = call.client.vm_with_traffic(vm).await?;
                output::print(call.format, &vm, tables::vm);
                Ok(exit::OK)
            }
            words => {
                let each = |vms: &[Vm]| vms.iter().map(tables::vm).collect::<Vec<_>>().join("\n");
                look(call, words, each).await
            }
        },
        VmCommand::Explain { vm } => {
            let chain = call.client.explain(&vm).await?;
            output::print(call.format, &chain, output::explanation::chain);
            Ok(exit::OK)
        }
        VmCommand::Where { vm, performance } => {
            let places = call.client.places(&vm, performance).await?;
            output::print(call.format, &places, output::capacity::places);
            Ok(exit::OK)
        }
        VmCommand::Move {
            vm,
            node,
            length,
            without_vf,
            dry_run,
            no_wait,
        } => {
            let request = MoveRequest {
                to: node,
                for_seconds: Some(length.as_secs()),
                without_vf,
            };
            travel::run(call, &vm, &request, dry_run, no_wait).await
        }
        VmCommand::Prepare { vms, change } => many(call, &vms, change, Change::Prepare).await,
        VmCommand::Enable {
            vms,
            performance,
            add_adapter,
            waive,
            because,
            change,
        } => {
            let enable = Change::Enable {
                level: performance,
                add_adapter,
                waive,
                because,
            };
            many(call, &vms, change, enable).await
        }
        VmCommand::Set {
            vms,
            performance,
            change,
        } => many(call, &vms, change, Change::Set(performance)).await,
        VmCommand::Park {
            vms,
            of,
            length,
            until_boot,
            change,
        } => {
            let park = Change::Park { length, until_boot };
            those(call, &vms, &of, |vm| vm.level.is_some(), change, park).await
        }
        VmCommand::Unpark { vms, of, change } => {
            those(
                call,
                &vms,
                &of,
                |vm| vm.parked.is_some(),
                change,
                Change::Unpark,
            )
            .await
        }
        VmCommand::Disable { vms, change } => many(call, &vms, change, Change::Disable).await,
    }
}

/// Prints the VMs that words mean, and says what means none.
async fn look(call: &Call, words: &[String], table: impl FnOnce(&[Vm]) -> String) -> Ended {
    let selected = select(&call.client, words).await?;
    let (mut items, mut problems) = (Vec::new(), Vec::new());
    for item in selected {
        match item {
            Selected::Vm { vm } => items.push(*vm),
            Selected::Problem(problem) => problems.push(*problem),
        }
    }
    let list = Items::from(items);
    if !list.items.is_empty() || call.format != Format::Table {
        output::print(call.format, &list, |list| table(&list.items));
    }
    if problems.is_empty() {
        return Ok(exit::OK);
    }
    output::problems(call.format, None, &problems);
    Ok(if list.items.is_empty() {
        worst_code(&problems)
    } else {
        exit::PARTIAL
    })
}

async fn many(call: &Call, vms: &VmsArgs, how: ChangeArgs, change: Change) -> Ended {
    let selected = select(&call.client, &vms.vms).await?;
    done_for(call, selected, how, change).await
}

/// The same for the VMs that are named, or all that a node has and the change concerns.
async fn those(
    call: &Call,
    vms: &VmsOrAllArgs,
    of: &OfNodeArgs,
    concerns: impl Fn(&Vm) -> bool,
    how: ChangeArgs,
    change: Change,
) -> Ended {
    let selected = if vms.all {
        let node = match &of.node {
            Some(name) => Some(call.client.node(name).await?.summary.name),
            None => None,
        };
        let all = call.client.vms().await?.items;
        let is_there = |vm: &Vm| match &node {
            Some(_) => vm.node == node,
            None => vm.node.is_some(),
        };
        let concerned = all.iter().filter(|vm| is_there(vm) && concerns(vm));
        concerned.map(Selected::of).collect()
    } else {
        select(&call.client, &vms.vms).await?
    };
    if selected.is_empty() && call.format == Format::Table {
        output::raw("No VM is concerned.\n");
        return Ok(exit::OK);
    }
    done_for(call, selected, how, change).await
}

async fn done_for(call: &Call, selected: Vec<Selected>, how: ChangeArgs, change: Change) -> Ended {
    let items = ensure_all(call, selected, how, &change).await;
    let list = Items::from(items);
    print_results(call, &list, &change, how.no_wait);
    Ok(code(&list.items))
}

/// Asks for every VM first, some at a time, then waits for each: the nodes work on them at the same
/// time. The order is kept.
pub async fn ensure_all(
    call: &Call,
    selected: Vec<Selected>,
    how: ChangeArgs,
    change: &Change,
) -> Vec<Done> {
    let count = selected.len();
    let bar = asking_bar(count);
    let asked = stream::iter(selected).map(|item| async {
        match item {
            Selected::Problem(problem) => refused(*problem, how.dry_run),
            Selected::Vm { vm } => {
                let (name, uuid) = (vm.name, vm.uuid.to_string());
                ask(call, name, uuid, how.dry_run, change).await
            }
        }
    });
    let answered = asked.buffered(AT_ONCE).inspect(|_| bar.inc(1));
    let mut results: Vec<Done> = answered.collect().await;
    bar.finish_and_clear();
    let wait = !how.dry_run && !how.no_wait;
    // One deadline for all: they are worked on at the same time.
    let limit = Limit::of(Duration::from_secs(how.timeout));
    for (number, result) in results.iter_mut().enumerate() {
        if wait && result.ok {
            let place = (count > 1).then_some((number + 1, count));
            wait_for(call, result, change, limit, place).await;
        }
    }
    results
}

fn refused(problem: Problem, dry_run: bool) -> Done {
    let name = problem
        .objects
        .first()
        .map(|object| object.name.clone())
        .unwrap_or_default();
    Done {
        name,
        uuid: None,
        ok: false,
        changed: false,
        dry_run,
        plan: vec![],
        vm: None,
        problems: vec![problem],
    }
}

async fn ask(call: &Call, name: String, uuid: String, dry_run: bool, change: &Change) -> Done {
    let client = &call.client;
    let accelerate = |performance, must_be_accelerated, add_adapter| AccelerateRequest {
        performance,
        must_be_accelerated,
        add_adapter,
        waive: Vec::new(),
        because: None,
    };
    let answer: Result<Outcome<Vm>, ClientError> = match change {
        Change::Prepare => client.prepare(&uuid, dry_run).await,
        Change::Enable {
            level,
            add_adapter,
            waive,
            because,
        } => {
            let request = AccelerateRequest {
                waive: waive.clone(),
                because: because.clone(),
                ..accelerate(*level, None, *add_adapter)
            };
            client.accelerate(&uuid, &request, dry_run).await
        }
        Change::Set(level) => {
            let request = accelerate(*level, Some(true), false);
            client.accelerate(&uuid, &request, dry_run).await
        }
        Change::Park { length, until_boot } => {
            let for_seconds = length.map(|length| length.as_secs());
            let request = ParkRequest {
                for_seconds,
                until_boot: *until_boot,
            };
            client.park(&uuid, &request, dry_run).await
        }
        Change::Unpark => client.unpark(&uuid, dry_run).await,
        Change::Disable => client.decelerate(&uuid, dry_run).await,
    };
    match answer {
        Ok(outcome) => Done {
            name,
            uuid: Some(uuid),
            ok: true,
            changed: outcome.changed,
            dry_run,
            plan: outcome.plan,
            vm: Some(outcome.object),
            problems: vec![],
        },
        Err(error) => Done {
            name,
            uuid: Some(uuid),
            ok: false,
            changed: false,
            dry_run,
            plan: vec![],
            vm: None,
            problems: error.into_problems(),
        },
    }
}

async fn wait_for(
    call: &Call,
    result: &mut Done,
    change: &Change,
    limit: Limit,
    place: Option<(usize, usize)>,
) {
    let Some(uuid) = result.uuid.clone() else {
        return;
    };
    // No node has it, and nothing is held for it any more: nobody could say when.
    if matches!(change, Change::Disable) && result.vm.as_ref().is_some_and(forgotten) {
        return;
    }
    let until = match change {
        Change::Prepare => Until::TakenUp,
        Change::Enable {
            add_adapter: true, ..
        } => Until::InEffectOrStaged,
        Change::Unpark => Until::InEffectOrOff,
        Change::Enable { .. } | Change::Set(_) | Change::Park { .. } | Change::Disable => {
            Until::InEffect
        }
    };
    match follow(call, &uuid, &result.name, until, limit, place).await {
        Ok(vm) => result.vm = Some(vm),
        Err(error) => {
            result.ok = false;
            result.problems = error.into_problems();
        }
    }
}

fn print_results(call: &Call, list: &Items<Done>, change: &Change, no_wait: bool) {
    output::print(call.format, list, |list| {
        let done = list.items.iter().filter(|done| done.ok);
        let lines: Vec<String> = done.map(|done| line(done, change, no_wait)).collect();
        lines.join("\n")
    });
    for done in list.items.iter().filter(|done| !done.ok) {
        if call.format == Format::Table {
            output::problems(call.format, Some(&done.name), &done.problems);
        }
    }
}

fn line(done: &Done, change: &Change, no_wait: bool) -> String {
    let name = printable(&done.name);
    if done.dry_run {
        if !done.changed {
            return format!("{name}: nothing to change.");
        }
        return format!(
            "{name}: this would be done (nothing was changed):\n{}",
            numbered(&done.plan)
        );
    }
    if no_wait && done.changed {
        return match change {
            Change::Prepare => format!("{name}: is being prepared for its next cold start."),
            Change::Enable { level, .. } | Change::Set(level) => match parked(done) {
                Some(because) => format!("{name}: {because}; {level} after that."),
                None => format!("{name}: is being accelerated, {level}."),
            },
            Change::Park { .. } => match parked(done) {
                Some(because) => {
                    format!("{name}: is being brought to the software path, {because}.")
                }
                None => format!("{name}: parked no longer."),
            },
            Change::Unpark => format!("{name}: parked no longer."),
            Change::Disable => format!("{name}: is being brought to the software path."),
        };
    }
    match change {
        Change::Prepare => match done.vm.as_ref().map(|vm| vm.staged.as_slice()) {
            Some([]) | None => format!("{name}: has what acceleration needs."),
            Some(staged) => format!(
                "{name}: staged for its next cold start: {}",
                printable(&staged.join("; "))
            ),
        },
        Change::Enable { level, .. } | Change::Set(level) => match &done.vm {
            Some(vm) if vm.waits_for_start() => format!(
                "{name}: staged for its next cold start: {}; it is accelerated then, {level}.",
                printable(&vm.staged.join("; "))
            ),
            Some(Vm {
                parked: Some(parked),
                ..
            }) => format!(
                "{name}: {}; it is accelerated after that, {level}.",
                printable(&parked.because)
            ),
            _ => format!("{name}: accelerated, {level}."),
        },
        Change::Park { .. } => match (parked(done), done.vm.as_ref().and_then(|vm| vm.level)) {
            (Some(because), _) => format!("{name}: on the software path, {because}."),
            (None, None) => format!("{name}: not accelerated, so there is nothing to park."),
            // It has ended while it was waited for.
            (None, Some(_)) => format!("{name}: parked no longer."),
        },
        Change::Unpark => format!("{name}: {}", unparked(done)),
        Change::Disable => format!("{name}: {}", brought_back(done.vm.as_ref())),
    }
}

/// How long a VM is parked, if it is.
fn parked(done: &Done) -> Option<String> {
    let parked = done.vm.as_ref()?.parked.as_ref()?;
    Some(printable(&parked.because))
}

fn unparked(done: &Done) -> String {
    let before = if done.changed {
        "parked no longer"
    } else {
        "not parked"
    };
    match &done.vm {
        Some(Vm {
            level: Some(level),
            state,
            ..
        }) if *state == VmState::Off => {
            format!("{before}; it is accelerated when it is started, {level}.")
        }
        Some(Vm {
            level: Some(level), ..
        }) => format!("{before}; accelerated, {level}."),
        _ => format!("{before}; not accelerated."),
    }
}

/// No node has it, and it is not wanted accelerated.
fn forgotten(vm: &Vm) -> bool {
    vm.node.is_none() && vm.level.is_none()
}

/// What has a VF on another intent's network keeps it, so that is not left out.
fn brought_back(vm: Option<&Vm>) -> String {
    if vm.is_some_and(forgotten) {
        return "no node has it; nothing is held for it any more.".to_owned();
    }
    let kept: Vec<String> = vm
        .iter()
        .flat_map(|vm| vm.kept_vfs())
        .map(|nic| {
            let bridge = nic
                .bridge
                .as_ref()
                .map_or("no bridge", |name| name.as_str());
            format!("NIC {} on {bridge}", nic.mac)
        })
        .collect();
    if kept.is_empty() {
        return "on the software path.".to_owned();
    }
    format!(
        "on the software path on the enabled intent's network; {} keeps its VF, as acceleration is not \
         enabled there.",
        kept.join(", ")
    )
}

/// 0 if all went well, the first problem's code if none did, 7 if some did.
pub fn code(results: &[Done]) -> u8 {
    let failed: Vec<_> = results.iter().filter(|done| !done.ok).collect();
    match failed.first() {
        None => exit::OK,
        Some(_) if failed.len() < results.len() => exit::PARTIAL,
        Some(first) => worst_code(&first.problems),
    }
}
