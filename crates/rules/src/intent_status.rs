//! How far a node is with an intent, in the reference's states: a function of what is wanted and of
//! what the node reports.
//!
//! What is wrong comes first, then what is waited for, then what is under way: `Success` remains
//! where nothing of these is left. An intent that acceleration is not enabled on asks of its nodes
//! only that switch and adapters are as it names them.

use accelnet_model::{Code, Intent, IntentState, Name, NodeDesired, NodeStatus, Problem};

use crate::{Observed, intent_fit, membership, own_bridge, prereq};

/// What a node says.
#[derive(Debug, Clone, PartialEq)]
pub enum Report<'a> {
    /// Its report, of now.
    Of(&'a NodeStatus),
    /// Nothing now, and why.
    Silent(Option<Problem>),
}

/// The state of an intent on a node, and why it is no further: what decided the state first.
pub fn of(
    desired: &NodeDesired,
    intent: &Intent,
    node: &Name,
    report: &Report<'_>,
) -> (IntentState, Vec<Problem>) {
    let status = match report {
        Report::Of(status) => *status,
        Report::Silent(why) => return (IntentState::Pending, why.iter().cloned().collect()),
    };
    if status.generation < desired.generation {
        return (IntentState::Validating, Vec::new());
    }
    let observed = Observed::from_status(status);
    let contested = membership::contested(node, &observed, intent, &desired.intents);
    if !contested.is_empty() {
        return (IntentState::Failed, contested);
    }
    if let Some(found) = being_made(intent, &observed, status) {
        return found;
    }
    let unfit = unfit(intent, node, observed);
    if !unfit.is_empty() {
        return (IntentState::Failed, unfit);
    }
    let enabled = desired.enabled.as_ref();
    if enabled.is_none_or(|enabled| enabled.intent != intent.name) {
        return (IntentState::Success, Vec::new());
    }
    managed(intent, status)
}

/// How far the bridge is that is made for the intent; `None` once it is there with its uplink.
fn being_made(
    intent: &Intent,
    observed: &Observed,
    status: &NodeStatus,
) -> Option<(IntentState, Vec<Problem>)> {
    if !intent.create {
        return None;
    }
    match own_bridge::uplink(observed, intent, None) {
        Err(problem) => return Some((IntentState::Failed, vec![problem])),
        Ok(uplink) if own_bridge::actions(observed, intent, uplink?).is_empty() => return None,
        Ok(_) => {}
    }
    let concerns = |problem: &&Problem| {
        let made = problem.objects.iter().any(|object| object.kind == "bridge");
        let tried = matches!(
            problem.code,
            Code::HostOperationFailed | Code::RepairRepeated | Code::RepairFailed
        );
        made && tried && is_of(problem, intent)
    };
    let problem = status.problems.iter().find(concerns).cloned();
    let state = match problem.as_ref().map(|problem| problem.code) {
        None => IntentState::Provisioning,
        Some(Code::RepairFailed) => IntentState::Failed,
        Some(_) => IntentState::Retrying,
    };
    Some((state, problem.into_iter().collect()))
}

/// Why the intent cannot be on the node.
fn unfit(intent: &Intent, node: &Name, observed: Observed) -> Vec<Problem> {
    let nodes = [(node.clone(), observed)];
    let mut problems = prereq::errors(&intent_fit::run(&nodes, Some(intent)));
    if !intent.is_compute() {
        // Nothing is accelerated on it: it needs switch and adapters, not what VFs need.
        problems.retain(|problem| concerns_any(problem.code));
    }
    problems
}

/// True if the problem is one of an intent of whatever type.
fn concerns_any(code: Code) -> bool {
    matches!(
        code,
        Code::BridgeNotFound
            | Code::BridgeNotSupported
            | Code::AdapterNotFound
            | Code::AdapterNotUplink
            | Code::AdapterLinkDown
            | Code::AdaptersDiffer
    )
}

/// False for a problem of another intent, or of another bridge.
fn is_of(problem: &Problem, intent: &Intent) -> bool {
    problem
        .objects
        .iter()
        .all(|object| match object.kind.as_str() {
            "intent" => object.name == intent.name.as_str(),
            "bridge" => object.name == intent.bridge.as_str(),
            _ => true,
        })
}

/// The state of the intent that acceleration is enabled on: none of its problems hides another.
fn managed(intent: &Intent, status: &NodeStatus) -> (IntentState, Vec<Problem>) {
    let of_node = status.problems.iter();
    let of_intent = status
        .adapters
        .iter()
        .filter(|adapter| intent.covers(&adapter.facts));
    let quarantined = of_intent.flat_map(|adapter| &adapter.quarantined);
    let mut problems: Vec<Problem> = of_node
        .filter(|problem| is_of(problem, intent))
        .chain(quarantined)
        .cloned()
        .collect();
    // What is final counts most, then what is waited for.
    problems.sort_by_key(|problem| match problem.code {
        Code::RepairFailed | Code::VfCountNotPossible => 0,
        Code::VfsWaiting => 1,
        _ => 2,
    });
    // VMs that move between the paths, or rest after they could not, are told with the VMs.
    let moves = status.vms.iter().any(|vm| vm.progress.is_some());
    let state = match problems.first().map(|problem| problem.code) {
        Some(Code::RepairFailed | Code::VfCountNotPossible) => IntentState::Failed,
        Some(Code::VfsWaiting) => IntentState::Pending,
        Some(_) => IntentState::Retrying,
        None if status.converged || status.resting || moves => IntentState::Success,
        None => IntentState::Provisioning,
    };
    (state, problems)
}

#[cfg(test)]
mod tests {
    use accelnet_model::{IntentType, Progress, VmStatus};

    use super::*;
    use crate::fixture;

    fn report(observed: &Observed) -> NodeStatus {
        NodeStatus {
            generation: 3,
            vms: Vec::new(),
            ..fixture::report(observed)
        }
    }

    fn enabled() -> NodeDesired {
        NodeDesired {
            generation: 3,
            ..fixture::desired()
        }
    }

    fn state(desired: &NodeDesired, status: &NodeStatus) -> (IntentState, Option<Code>) {
        let (node, report) = ("node1".parse().unwrap(), Report::Of(status));
        let (state, problems) = of(desired, &desired.intents[0], &node, &report);
        (state, problems.first().map(|problem| problem.code))
    }

    fn with(code: Code) -> NodeStatus {
        let mut status = report(&fixture::observed());
        status.converged = false;
        status.problems.push(Problem::new(code, "It is so."));
        status
    }

    #[test]
    fn a_node_that_does_not_answer_is_waited_for() {
        let why = Problem::new(Code::AgentUnreachable, "It sleeps.");
        let silent = Report::Silent(Some(why.clone()));
        let node = "node1".parse().unwrap();
        let found = of(&enabled(), &fixture::intent(), &node, &silent);
        assert_eq!(found, (IntentState::Pending, vec![why]));
    }

    #[test]
    fn a_report_about_an_older_wish_says_nothing_yet() {
        let mut status = report(&fixture::observed());
        status.generation = 2;
        status.adapters.clear();
        let found = state(&enabled(), &status);
        assert_eq!(found, (IntentState::Validating, None));
    }

    #[test]
    fn what_is_in_order_is_a_success() {
        let mut status = report(&fixture::observed());
        assert_eq!(state(&enabled(), &status), (IntentState::Success, None));
        status.converged = false;
        let found = state(&enabled(), &status);
        assert_eq!(found, (IntentState::Provisioning, None));
        // VMs that move are no matter of the intent's.
        status.vms.push(VmStatus {
            progress: Some(Progress {
                operation: "attach".into(),
                step: "wait".into(),
                number: 1,
                of: 2,
            }),
            ..VmStatus::of(fixture::vm(1))
        });
        assert_eq!(state(&enabled(), &status), (IntentState::Success, None));
        status.vms.clear();
        status.resting = true;
        assert_eq!(state(&enabled(), &status), (IntentState::Success, None));
    }

    #[test]
    fn problems_are_waited_out_tried_again_or_final() {
        for (code, expected) in [
            (Code::VfsWaiting, IntentState::Pending),
            (Code::HostOperationFailed, IntentState::Retrying),
            (Code::RepairRepeated, IntentState::Retrying),
            (Code::RepairFailed, IntentState::Failed),
            (Code::VfCountNotPossible, IntentState::Failed),
        ] {
            let found = state(&enabled(), &with(code));
            assert_eq!(found, (expected, Some(code)));
        }
        // What is final counts more than what is tried again.
        let mut status = with(Code::HostOperationFailed);
        let last = Problem::new(Code::RepairFailed, "It is so.");
        status.problems.push(last);
        assert_eq!(state(&enabled(), &status).0, IntentState::Failed);
    }

    #[test]
    fn a_vf_that_did_not_come_clean_is_tried_again() {
        let mut status = report(&fixture::observed());
        let dirty = Problem::new(Code::VfQuarantined, "It is so.");
        status.adapters[0].quarantined.push(dirty);
        let found = state(&enabled(), &status);
        assert_eq!(found, (IntentState::Retrying, Some(Code::VfQuarantined)));
    }

    #[test]
    fn no_problem_hides_another() {
        let mut status = with(Code::RepairRepeated);
        let quarantined = Problem::new(Code::VfQuarantined, "It is so.");
        status.adapters[0].quarantined.push(quarantined);
        status
            .problems
            .push(Problem::new(Code::RepairFailed, "It is so."));
        let desired = enabled();
        let (node, report) = ("node1".parse().unwrap(), Report::Of(&status));
        let (state, problems) = of(&desired, &desired.intents[0], &node, &report);
        let codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
        let expected = [
            Code::RepairFailed,
            Code::RepairRepeated,
            Code::VfQuarantined,
        ];
        assert_eq!(
            (state, codes.as_slice()),
            (IntentState::Failed, &expected[..])
        );
    }

    #[test]
    fn what_does_not_fit_has_failed_also_where_nothing_is_enabled() {
        let mut observed = fixture::observed();
        observed.adapters.clear();
        let status = report(&observed);
        let mut desired = enabled();
        let failed = (IntentState::Failed, Some(Code::AdapterNotFound));
        assert_eq!(state(&desired, &status), failed);
        desired.enabled = None;
        assert_eq!(state(&desired, &status), failed);
    }

    #[test]
    fn an_intent_of_another_type_needs_nothing_that_vfs_need() {
        let mut observed = fixture::observed();
        observed.node.kvm = false;
        let status = report(&observed);
        let mut desired = enabled();
        desired.enabled = None;
        assert_eq!(state(&desired, &status).0, IntentState::Failed);
        desired.intents[0].types = vec![IntentType::Management];
        assert_eq!(state(&desired, &status), (IntentState::Success, None));
    }

    #[test]
    fn what_is_wrong_with_acceleration_is_no_matter_of_other_intents() {
        let mut desired = enabled();
        desired.enabled = None;
        let found = state(&desired, &with(Code::RepairFailed));
        assert_eq!(found, (IntentState::Success, None));
    }
}
