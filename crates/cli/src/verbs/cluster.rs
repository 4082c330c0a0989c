//! `accelnet prereq`, `enable`, `disable`, `status`.

use std::time::Duration;

use accelnet_api::{ClusterStatus, EnableRequest};
use accelnet_model::{Code, Problem, Severity, problem::exit};

use super::print_outcome;
use crate::{
    args::{ChangeArgs, EnableArgs},
    call::{Call, Ended},
    output::{self, tables},
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
    let outcome = call.client.enable(&request, args.change.dry_run).await?;
    let done = format!("Accelerated networking is enabled on intent '{intent}'.");
    if args.change.dry_run || args.change.no_wait {
        print_outcome(call.format, &outcome, &done);
        return Ok(exit::OK);
    }
    until_converged(call, Duration::from_secs(args.change.timeout)).await?;
    print_outcome(call.format, &outcome, &done);
    Ok(exit::OK)
}

async fn the_only_compute_intent(call: &Call) -> Result<String, accelnet_api::ClientError> {
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

async fn until_converged(call: &Call, timeout: Duration) -> Result<(), accelnet_api::ClientError> {
    let all_done = |status: &ClusterStatus| {
        status
            .nodes
            .iter()
            .all(|node| !node.reachable || node.converged)
    };
    let stuck = |status: &ClusterStatus| {
        let problems = status.nodes.iter().flat_map(|node| node.problems.clone());
        problems.collect::<Vec<_>>()
    };
    let followed = tokio::time::timeout(
        timeout,
        call.client.follow_status(|status| !all_done(status)),
    );
    match followed.await {
        Ok(result) => result,
        Err(_) => {
            let mut problems = stuck(&call.client.status().await?);
            let text = format!("The nodes were not ready after {} s.", timeout.as_secs());
            problems.push(Problem::new(Code::Timeout, text));
            Err(accelnet_api::ClientError::Problems(problems))
        }
    }
}
