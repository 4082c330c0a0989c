//! `accelnet vm move`: asked for, followed to its end, and taken back if it fails.

use std::time::Duration;

use accelnet_api::{ClientError, MoveRequest, Outcome, Vm};
use accelnet_model::{Code, Problem, problem::exit};

use super::numbered;
use crate::{
    call::{Call, Ended, worst_code},
    output::{self, printable},
    wait::{Limit, follow_to},
};

/// What the VM needs beside the migration itself, to get off its VF and to its new one.
const BESIDE: Duration = Duration::from_secs(60);

/// Moves a VM.
pub async fn run(
    call: &Call,
    vm: &str,
    request: &MoveRequest,
    dry_run: bool,
    no_wait: bool,
) -> Ended {
    let outcome = call.client.move_vm(vm, request, dry_run).await?;
    let uuid = outcome.object.uuid.to_string();
    let name = outcome.object.name.clone();
    if dry_run || no_wait {
        output::print(call.format, &outcome, |outcome| begun(outcome, &request.to));
        return Ok(exit::OK);
    }
    let tried = Duration::from_secs(request.for_seconds.unwrap_or_default());
    let limit = Limit::of(tried + BESIDE);
    match follow_to(call, &uuid, &name, &request.to, limit).await {
        Ok(vm) => {
            let outcome = Outcome {
                object: vm,
                ..outcome
            };
            output::print(call.format, &outcome, |outcome| moved(&outcome.object));
            Ok(exit::OK)
        }
        Err(error) => {
            let problems = given_up(call, &uuid, &name, request, error).await;
            output::problems(call.format, Some(&name), &problems);
            Ok(worst_code(&problems))
        }
    }
}

fn begun(outcome: &Outcome<Vm>, to: &str) -> String {
    let name = printable(&outcome.object.name);
    match (outcome.changed, outcome.dry_run) {
        (false, _) => format!("{name}: nothing to change."),
        (true, true) => format!(
            "{name}: this would be done (nothing was changed):\n{}",
            numbered(&outcome.plan)
        ),
        (true, false) => format!("{name}: is being moved to {}.", printable(to)),
    }
}

fn moved(vm: &Vm) -> String {
    let (name, node) = (printable(&vm.name), vm.node.as_ref());
    let node = node.map_or_else(String::new, |node| format!("runs on {node}, "));
    match (vm.level, &vm.parked) {
        (Some(level), None) => format!("{name}: {node}accelerated, {level}."),
        (_, Some(parked)) => format!("{name}: {node}{}.", printable(&parked.because)),
        (None, None) => format!("{name}: {node}not accelerated."),
    }
}

/// Why it failed. What was asked for is taken back, if the VM is still on its way: whoever reads that it
/// failed must not find it gone a minute later.
async fn given_up(
    call: &Call,
    uuid: &str,
    name: &str,
    request: &MoveRequest,
    error: ClientError,
) -> Vec<Problem> {
    let mut problems = error.into_problems();
    problems.retain(|problem| problem.code != Code::VmParked);
    let still = |vm: &Vm| {
        let to = vm
            .parked
            .as_ref()
            .and_then(|parked| parked.moving_to.as_ref());
        to.is_some_and(|to| to.as_str() == request.to)
    };
    let taken_back = match call.client.vm(uuid).await {
        Ok(vm) => match vm.node.as_ref().filter(|_| still(&vm)) {
            // To where it is.
            Some(node) => {
                let to = node.to_string();
                let stay = MoveRequest {
                    to,
                    ..request.clone()
                };
                call.client.move_vm(uuid, &stay, false).await.map(drop)
            }
            None => Ok(()),
        },
        Err(error) => Err(error),
    };
    if let Err(error) = taken_back {
        problems.extend(error.into_problems());
    }
    if problems.is_empty() {
        let text =
            format!("VM '{name}' is not moved any more: somebody ended it, or its time was over.");
        problems.push(Problem::new(Code::VmMoveFailed, text).about("vm", name));
    }
    problems
}
