//! `accelnet prereq`, `enable`, `disable`, `status`.

use std::time::Duration;

use accelnet_api::{ClientError, ClusterStatus, EnableRequest};
use accelnet_model::{Code, Problem, Severity, problem::exit};

use super::{outcome_text, print_outcome};
use crate::{
    args::{ChangeArgs, EnableArgs},
    call::{Call, Ended},
    output::{self, printable, tables},
};

/// Runs the checks; the exit code says if any failed.
pub async fn prereq(call: &Call, intent: Option<&str>) -> Ended {
    let checks = call.client.prereq(intent).await?;
    output::print(call.format, &checks, |checks| tables::checks(&checks.items));
    let failed = checks
        .items
        .iter()
        .any(|check| !check.passed && check.severity == Severity::Error);
    Ok(if failed { exit::REFUSED } else { exit::OK })
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
        intent: intent.clone(),
        node_reserve_percentage: args.reserve,
        when: args.when,
    };
    let mut outcome = call.client.enable(&request, args.change.dry_run).await?;
    let done = format!(
        "Accelerated networking is enabled on intent '{}'.",
        printable(&intent)
    );
    if args.change.dry_run {
        print_outcome(call.format, &outcome, &done);
        return Ok(exit::OK);
    }
    if args.change.no_wait {
        let done = format!("{done} 'accelnet status' shows what its nodes still do.");
        print_outcome(call.format, &outcome, &done);
        return Ok(exit::OK);
    }
    // Every node has done what it can now; what has to wait for something stays a problem.
    outcome.object = until_converged(call, Duration::from_secs(args.change.timeout)).await?;
    output::print(call.format, &outcome, |outcome| {
        let waiting = tables::waiting(&outcome.object);
        format!("{}\n{waiting}", outcome_text(outcome, &done))
    });
    Ok(exit::OK)
}

async fn the_only_compute_intent(call: &Call) -> Result<String, ClientError> {
    let intents = call.client.intents().await?.items;
    let compute: Vec<_> = intents
        .iter()
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

/// Stops managing.
pub async fn disable(call: &Call, change: ChangeArgs) -> Ended {
    let outcome = call.client.disable(change.dry_run).await?;
    print_outcome(
        call.format,
        &outcome,
        "Accelerated networking is not enabled.",
    );
    Ok(exit::OK)
}

/// Follows the nodes until each that answers has done its part.
async fn until_converged(call: &Call, timeout: Duration) -> Result<ClusterStatus, ClientError> {
    let mut last: Option<ClusterStatus> = None;
    let followed = tokio::time::timeout(
        timeout,
        call.client.follow_status(|status| {
            let mut nodes = status.nodes.iter();
            let all_done = nodes.all(|node| !node.reachable || node.converged);
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
            let text = format!("The nodes were not ready after {} s.", timeout.as_secs());
            let mut problems = vec![Problem::new(Code::Timeout, text)];
            let nodes = last.into_iter().flat_map(|status| status.nodes);
            problems.extend(nodes.flat_map(|node| node.problems));
            Err(ClientError::Problems(problems))
        }
    }
}
