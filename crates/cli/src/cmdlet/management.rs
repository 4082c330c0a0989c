//! The cluster: prerequisites, enabling, changing, disabling, intents.

use std::io::Write;

use accelnet_api::{ClientError, ClusterStatus, EnableRequest, Outcome, SetRequest};
use accelnet_model::{CheckResult, Code, Problem, Severity, problem::exit};
use serde::Serialize;

use super::{Run, names, objects, vms};
use crate::{
    call::Ended,
    output::{self, tables},
    verbs::cluster,
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check<'a> {
    type_name: &'static str,
    passed: bool,
    message: String,
    check: &'a str,
    node: Option<String>,
    adapter: Option<String>,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<&'a str>,
}

impl<'a> From<&'a CheckResult> for Check<'a> {
    fn from(result: &'a CheckResult) -> Self {
        let problem = result.problem.as_ref().filter(|_| !result.passed);
        Self {
            type_name: "AccelNetPreReq",
            passed: result.passed,
            message: match problem {
                Some(problem) => format!("{} {}", problem.title, problem.detail),
                None => result.found.clone(),
            },
            check: &result.check,
            node: result.node.as_ref().map(ToString::to_string),
            adapter: result.adapter.as_ref().map(ToString::to_string),
            severity: match result.severity {
                Severity::Error => "Error",
                Severity::Warning => "Warning",
            },
            code: problem.map(|problem| problem.code.as_str()),
            cure: problem.map(|problem| problem.cure.as_str()),
        }
    }
}

/// `Get-AccelNetManagementPreReq`.
pub async fn check(run: &Run) -> Ended {
    let intent = names::intent(run, "IntentName").await?;
    let checks = run.call.client.prereq(intent.as_deref()).await?;
    let found: Vec<Check<'_>> = checks.items.iter().map(Check::from).collect();
    objects::print(&found, &["Passed", "Check", "Node", "Adapter", "Message"]);
    Ok(cluster::checks_code(&checks.items))
}

/// Prints `True` or `False`; a plan alone is neither.
fn truth(run: &Run, ended: Result<Option<Outcome<ClusterStatus>>, ClientError>) -> Ended {
    match ended {
        // Somebody said no.
        Ok(None) => Ok(exit::OK),
        Ok(Some(outcome)) => {
            run.tell(None, &outcome.plan);
            if !outcome.dry_run {
                // What has to wait for something is no error: it is enabled.
                let waiting = tables::waiting(&outcome.object);
                let _ = write!(std::io::stderr().lock(), "{waiting}");
                output::raw("True\n");
            }
            Ok(exit::OK)
        }
        Err(error) => {
            let code = run.say(None, &error.into_problems());
            output::raw("False\n");
            Ok(code)
        }
    }
}

/// `Enable-AccelNetManagement`.
pub async fn enable(run: &Run) -> Ended {
    truth(run, enabled(run).await)
}

async fn enabled(run: &Run) -> Result<Option<Outcome<ClusterStatus>>, ClientError> {
    let intent = names::intent(run, "IntentName").await?;
    let request = EnableRequest {
        intent: intent.unwrap_or_default(),
        node_reserve_percentage: run.bound.percentage("NodeReservePercentage"),
        nodes_down: None,
        when: None,
    };
    if !run.confirmed()? {
        return Ok(None);
    }
    cluster::ensure_enabled(&run.call, &request, run.how())
        .await
        .map(Some)
}

/// `Set-AccelNetManagement`, for the cluster or for VMs.
pub async fn set(run: &Run) -> Ended {
    let bound = &run.bound;
    let of_cluster = bound.has("IntentName") || bound.has("NodeReservePercentage");
    let of_vms = bound.has("VMName") || bound.has("Performance");
    if of_vms {
        return set_vms(run, of_cluster).await;
    }
    truth(run, changed(run).await)
}

async fn changed(run: &Run) -> Result<Option<Outcome<ClusterStatus>>, ClientError> {
    // A reserve without a value is the present one.
    let request = SetRequest {
        intent: names::intent(run, "IntentName").await?,
        node_reserve_percentage: run.bound.percentage("NodeReservePercentage"),
        nodes_down: None,
        when: None,
    };
    if !run.confirmed()? {
        return Ok(None);
    }
    cluster::ensure_set(&run.call, &request, run.how())
        .await
        .map(Some)
}

async fn set_vms(run: &Run, of_cluster: bool) -> Ended {
    let bound = &run.bound;
    let ended = match bound.level("Performance") {
        Some(level) if bound.has("VMName") && !of_cluster => vms::set_to(run, level).await,
        _ => {
            let text = "VMs and the cluster are not changed at once, and VMs need both -VMName and -Performance.";
            let problem = Problem::new(Code::InvalidArgument, text);
            let cure = "Give -VMName and -Performance, or -IntentName and -NodeReservePercentage.";
            Err(problem.with_cure(cure).into())
        }
    };
    let ended = ended.unwrap_or_else(|error| Some(run.say(None, &error.into_problems())));
    let Some(code) = ended else {
        return Ok(exit::OK);
    };
    match code {
        // A plan alone is neither.
        exit::OK if run.how().dry_run => {}
        exit::OK => output::raw("True\n"),
        _ => output::raw("False\n"),
    }
    Ok(code)
}

/// `Get-AccelNetManagement`.
pub async fn show(run: &Run) -> Ended {
    if let Some(enabled) = run.call.client.status().await?.enabled {
        output::raw(&format!("{}\n", enabled.intent));
    }
    Ok(exit::OK)
}

/// `Disable-AccelNetManagement`.
pub async fn disable(run: &Run) -> Ended {
    if run.confirmed()? {
        let outcome = cluster::ensure_disabled(&run.call, run.how()).await?;
        run.tell(None, &outcome.plan);
    }
    Ok(exit::OK)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IntentStatus {
    type_name: &'static str,
    intent_name: String,
    host: String,
    configuration_status: String,
    error: Option<String>,
}

/// `Get-NetIntentStatus`.
pub async fn list_intents(run: &Run) -> Ended {
    let client = &run.call.client;
    let intents = match names::intent(run, "Name").await? {
        Some(name) => vec![client.intent(&name).await?],
        None => client.intents().await?.items,
    };
    let found: Vec<IntentStatus> = intents.iter().flat_map(on_nodes).collect();
    let columns = ["IntentName", "Host", "ConfigurationStatus", "Error"];
    objects::print(&found, &columns);
    Ok(exit::OK)
}

fn on_nodes(intent: &accelnet_api::IntentStatus) -> impl Iterator<Item = IntentStatus> {
    let name = &intent.intent.name;
    intent.status.iter().map(move |on_node| IntentStatus {
        type_name: "NetIntentStatus",
        intent_name: name.to_string(),
        host: on_node.node.to_string(),
        configuration_status: on_node.state.to_string(),
        error: on_node
            .problems
            .first()
            .map(|problem| format!("{}: {}", problem.code, problem.detail)),
    })
}
