//! `accelnet prereq`, `enable`, `set`, `disable`, `status`.

use std::time::Duration;

use accelnet_api::{ClientError, ClusterStatus, EnableRequest, NodeSummary, Outcome, SetRequest};
use accelnet_model::{CheckResult, Code, Problem, Severity, problem::exit};

use super::{numbered, outcome_text, print_outcome};
use crate::{
    args::{ChangeArgs, EnableArgs, Format, SetArgs},
    call::{Call, Ended},
    output::{self, tables},
};

/// Runs the checks; the exit code says if any failed.
pub async fn prereq(call: &Call, intent: Option<&str>) -> Ended {
    let checks = call.client.prereq(intent).await?;
    output::print(call.format, &checks, |checks| tables::checks(&checks.items));
    Ok(checks_code(&checks.items))
}

/// Refused if a check failed that keeps acceleration from being enabled.
pub fn checks_code(checks: &[CheckResult]) -> u8 {
    let mut checks = checks.iter();
    let failed = checks.any(|check| !check.passed && check.severity == Severity::Error);
    if failed { exit::REFUSED } else { exit::OK }
}

/// The cluster at a glance.
pub async fn status(call: &Call) -> Ended {
    let status = call.client.status().await?;
    output::print(call.format, &status, tables::status);
    Ok(exit::OK)
}

/// Turns acceleration on, and waits until every node has done its part.
pub async fn enable(call: &Call, args: &EnableArgs) -> Ended {
    let intent = match &args.intent {
        Some(name) => name.clone(),
        None => the_only_compute_intent(call).await?,
    };
    let request = EnableRequest {
        intent,
        node_reserve_percentage: args.reserve.percentage,
        nodes_down: args.reserve.nodes_down,
        when: args.when,
    };
    let outcome = ensure_enabled(call, &request, args.change).await?;
    print_enabled(call, &outcome, args.change);
    Ok(exit::OK)
}

/// Enables, and waits unless that is not wanted. Every node has done what it can then; what has to
/// wait for something stays a problem of the node.
pub async fn ensure_enabled(
    call: &Call,
    request: &EnableRequest,
    change: ChangeArgs,
) -> Result<Outcome<ClusterStatus>, ClientError> {
    let outcome = call.client.enable(request, change.dry_run).await?;
    awaited(call, outcome, change).await
}

/// The same for a change of how acceleration is enabled.
pub async fn ensure_set(
    call: &Call,
    request: &SetRequest,
    change: ChangeArgs,
) -> Result<Outcome<ClusterStatus>, ClientError> {
    let outcome = call.client.set(request, change.dry_run).await?;
    awaited(call, outcome, change).await
}

async fn awaited(
    call: &Call,
    mut outcome: Outcome<ClusterStatus>,
    change: ChangeArgs,
) -> Result<Outcome<ClusterStatus>, ClientError> {
    if !change.dry_run && !change.no_wait {
        outcome.object = until_converged(call, Duration::from_secs(change.timeout)).await?;
    }
    Ok(outcome)
}

fn print_enabled(call: &Call, outcome: &Outcome<ClusterStatus>, change: ChangeArgs) {
    let done = &tables::enabled(&outcome.object);
    if change.dry_run {
        print_outcome(call.format, outcome, done);
    } else if change.no_wait {
        let done = format!("{done} 'accelnet status' shows what its nodes still do.");
        print_outcome(call.format, outcome, &done);
    } else {
        output::print(call.format, outcome, |outcome| {
            let waiting = tables::waiting(&outcome.object);
            format!("{}\n{waiting}", outcome_text(outcome, done))
        });
    }
}

/// Changes reserve, intent, or when VFs are created.
pub async fn set(call: &Call, args: &SetArgs) -> Ended {
    let request = SetRequest {
        intent: args.intent.clone(),
        node_reserve_percentage: args.reserve.percentage,
        nodes_down: args.reserve.nodes_down,
        when: args.when,
    };
    if request.intent.is_some() && !args.change.dry_run && call.format == Format::Table {
        // What happens to each VM is said before it happens.
        let planned = call.client.set(&request, true).await?;
        if planned.changed {
            output::raw(&format!("{}\n", numbered(&planned.plan)));
        }
    }
    let outcome = ensure_set(call, &request, args.change).await?;
    print_enabled(call, &outcome, args.change);
    Ok(exit::OK)
}

async fn the_only_compute_intent(call: &Call) -> Result<String, ClientError> {
    let intents = call.client.intents().await?.items;
    let compute: Vec<_> = intents
        .iter()
        .map(|shown| &shown.intent)
        .filter(|intent| intent.is_compute())
        .collect();
    match compute.as_slice() {
        [one] => Ok(one.name.to_string()),
        [] => Err(Problem::new(Code::IntentNotFound, "There is no compute intent.").into()),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|intent| intent.name.to_string())
                .collect();
            let text = format!("There are several compute intents: {}.", names.join(", "));
            Err(Problem::new(Code::InvalidArgument, text)
                .with_cure("Say which with --intent.")
                .into())
        }
    }
}

/// Stops managing, and waits until every node has taken that up.
pub async fn disable(call: &Call, change: ChangeArgs) -> Ended {
    let outcome = ensure_disabled(call, change).await?;
    let done = tables::enabled(&ClusterStatus {
        enabled: None,
        ..outcome.object.clone()
    });
    if change.no_wait && outcome.changed && !change.dry_run {
        let done = format!("{done} 'accelnet status' shows which nodes have yet to be told.");
        print_outcome(call.format, &outcome, &done);
    } else {
        print_outcome(call.format, &outcome, &done);
    }
    Ok(exit::OK)
}

/// Disables, and waits unless that is not wanted.
pub async fn ensure_disabled(
    call: &Call,
    change: ChangeArgs,
) -> Result<Outcome<ClusterStatus>, ClientError> {
    let outcome = call.client.disable(change.dry_run).await?;
    awaited(call, outcome, change).await
}

/// Follows the nodes until each that answers has done its part.
async fn until_converged(call: &Call, timeout: Duration) -> Result<ClusterStatus, ClientError> {
    let mut last: Option<ClusterStatus> = None;
    let followed = tokio::time::timeout(
        timeout,
        call.client.follow_status(|status| {
            let mut nodes = status.nodes.iter();
            // VMs that rest after a failure are not waited for: that can take for ever.
            let all_done = nodes.all(|node| !node.reachable || node.converged || node.resting);
            last = Some(status.clone());
            !all_done
        }),
    );
    match (followed.await, last) {
        (Ok(result), last) => {
            result?;
            let text = "The watch of the cluster ended without a word.";
            last.ok_or_else(|| Problem::new(Code::Internal, text).into())
        }
        (Err(_), last) => {
            let nodes = last.map(|status| status.nodes).unwrap_or_default();
            let mut problems = vec![not_in_time(&nodes, timeout)];
            problems.extend(nodes.into_iter().flat_map(|node| node.problems));
            Err(ClientError::Problems(problems))
        }
    }
}

/// Too late because a node's machine refuses its part, or just not done yet. The causes follow it.
fn not_in_time(nodes: &[NodeSummary], timeout: Duration) -> Problem {
    let seconds = timeout.as_secs();
    let refuses = |node: &&NodeSummary| {
        let codes = node.problems.iter().map(|problem| problem.code);
        !node.converged
            && codes
                .into_iter()
                .any(|code| code.exit_code() == exit::FAILED)
    };
    let failing: Vec<String> = nodes
        .iter()
        .filter(refuses)
        .map(|node| format!("'{}'", node.name))
        .collect();
    if failing.is_empty() {
        let text = format!("The nodes were not ready after {seconds} s.");
        return Problem::new(Code::Timeout, text);
    }
    let text = format!(
        "After {seconds} s it is not done on {}; the next problems say why.",
        failing.join(", ")
    );
    Problem::new(Code::EnableAccelNetFailed, text)
}
