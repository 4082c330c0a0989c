//! The intent is a compute intent.

use accelnet_model::{CheckResult, Code, Intent};

use super::{Check, list};

pub(super) fn check(intent: &Intent) -> CheckResult {
    let check = Check::of_cluster("intent");
    let types = list(&intent.types);
    let name = &intent.name;
    if intent.is_compute() {
        return check.passes(format!("'{name}' is of type {types}"));
    }
    let mut result = check.fails(
        Code::IntentTypeCheckFailed,
        format!("intent '{name}' is of type {types}"),
    );
    result.problem = result.problem.map(|problem| problem.about("intent", name));
    result
}
