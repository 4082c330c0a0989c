//! Carrying out actions. No choices: what to do was decided by the rules.

use std::{collections::BTreeSet, time::Duration};

use accelnet_host::{Entry, HoldQueue, Host, HostError, IdleVf};
use accelnet_hypervisor::{Hypervisor, HypervisorError, NewNic, VfAttachment};
use accelnet_model::{Code, FdbKey, Problem, VfAttributes};
use accelnet_rules::{
    action::{Action, HOLD_LIMIT, Hold},
    moves::NicId,
};

use crate::{
    event::{Done, Failure, FailureKind, Outcome},
    look::host_problem,
    words,
};

/// How long a guest may take to let go of a VF.
const UNPLUG_LIMIT: Duration = Duration::from_secs(20);

/// Does all in order; of one NIC nothing after what failed.
pub fn all(
    actions: Vec<(Option<NicId>, Action)>,
    host: &dyn Host,
    hypervisor: &dyn Hypervisor,
) -> Vec<Done> {
    let mut failed: BTreeSet<NicId> = BTreeSet::new();
    let mut done = Vec::new();
    for (nic, action) in actions {
        let left_out = nic.is_some_and(|nic| failed.contains(&nic));
        let begun = host.now();
        let result = (!left_out).then(|| {
            tracing::info!(?action, "to do");
            one(&action, host, hypervisor)
        });
        if let (Some(nic), Some(Err(failure))) = (nic, &result) {
            // A queue that finds no place is done without.
            let without = [FailureKind::NoPlaceForHold, FailureKind::PlaceTaken];
            if !without.contains(&failure.kind) {
                failed.insert(nic);
            }
        }
        if let Some(Err(failure)) = &result {
            tracing::warn!(?action, problem = %failure.problem, "failed");
        }
        let took = host.now().saturating_sub(begun);
        done.push(Done {
            nic,
            action,
            result,
            took,
        });
    }
    done
}

fn one(action: &Action, host: &dyn Host, hypervisor: &dyn Hypervisor) -> Result<Outcome, Failure> {
    let done: Result<(), HostError> = match action {
        Action::MakeBridge { bridge, mark } => host.ensure_bridge(bridge, mark),
        Action::AddUplink { bridge, adapter } => host.ensure_bridge_port(bridge, adapter),
        Action::CreateVfs { pf, count } => host.ensure_vf_count(*pf, *count),
        Action::BindVf { vf, driver, .. } => host.ensure_vf_vfio(*vf, driver.as_ref()),
        Action::VfVectors {
            vf,
            vectors,
            driver,
            ..
        } => host.ensure_vf_vectors(*vf, *vectors, driver.as_ref()),
        Action::CleanVf { pf, index, vf, mac } => {
            let idle = IdleVf {
                pf: *pf,
                index: *index,
                vf: *vf,
                mac: *mac,
            };
            return clean(host, &idle);
        }
        Action::Dress { .. } => return dress(host, action),
        Action::ReserveVf { vf, reserved } => host.ensure_vf_reserved(*vf, *reserved),
        Action::PinBridge { bridge } => host.ensure_bridge_mac_pinned(bridge),
        Action::PortLearning { port, on } => host.ensure_port_learning(port, *on),
        Action::PortFlood { port, on } => host.ensure_port_flood(port, *on),
        Action::Filter { pf, mac, present } => host.ensure_pf_filter(pf, *mac, *present),
        Action::BridgeEntry {
            port,
            mac,
            vlan,
            present,
        } => {
            let entry = match present {
                true => Entry::Static,
                false => Entry::Absent,
            };
            let key = FdbKey {
                mac: *mac,
                vlan: *vlan,
            };
            host.ensure_bridge_entry(port, key, entry)
        }
        Action::HoldQueue { tap, hold } => {
            let wanted = match hold {
                Hold::Pass => HoldQueue::Pass,
                Hold::Wait => HoldQueue::Hold { limit: HOLD_LIMIT },
            };
            host.ensure_hold_queue(tap, wanted)
        }
        Action::TapRoom { tap } => host.ensure_tap_room(tap),
        Action::Prepare { .. }
        | Action::AddNic { .. }
        | Action::Plug { .. }
        | Action::Unplug { .. }
        | Action::Release { .. }
        | Action::EndJob { .. }
        | Action::Migrate { .. }
        | Action::EndMigration { .. } => return on_vm(action, hypervisor),
    };
    match done {
        Ok(()) => Ok(Outcome::default()),
        // What is gone cannot be kept for anybody.
        Err(error) if matches!(action, Action::ReserveVf { reserved: true, .. }) => {
            Err(host_failure(action, &error))
        }
        // What went away between look and deed needs nothing.
        Err(error) if error.is_gone() => Ok(Outcome::default()),
        Err(error) => Err(host_failure(action, &error)),
    }
}

fn host_failure(action: &Action, error: &HostError) -> Failure {
    let kind = match error {
        HostError::ForeignQdisc { .. } => FailureKind::PlaceTaken,
        // A queue that nobody lets go after us is none: it is done without.
        _ if matches!(
            action,
            Action::HoldQueue {
                hold: Hold::Wait,
                ..
            }
        ) =>
        {
            FailureKind::NoPlaceForHold
        }
        _ => FailureKind::Refused,
    };
    let problem = words::about(action, host_problem(error));
    Failure { problem, kind }
}

fn on_vm(action: &Action, hypervisor: &dyn Hypervisor) -> Result<Outcome, Failure> {
    let plain = |()| Outcome::default();
    let (done, code) = match action {
        Action::Prepare { vm, staging } => {
            let staged = hypervisor.prepare(*vm, staging);
            let words = staged.map(|staged| Outcome {
                staged: staged.changes,
                ..Outcome::default()
            });
            (words, Code::VmDefinitionNotChanged)
        }
        Action::AddNic {
            vm,
            mac,
            bridge,
            live,
        } => {
            let nic = NewNic {
                mac: *mac,
                bridge: bridge.clone(),
            };
            // That it waits for the next start is seen in the definition.
            let added = hypervisor.ensure_nic(*vm, &nic, *live);
            (
                added.map(|_| Outcome::default()),
                Code::VmDefinitionNotChanged,
            )
        }
        Action::Plug { vm, mac, alias, vf } => {
            let attachment = VfAttachment {
                pci: *vf,
                mac: *mac,
                persistent_alias: alias.clone(),
            };
            let plugged = hypervisor.attach_vf(*vm, &attachment);
            (plugged.map(plain), Code::VfAttachFailed)
        }
        Action::Unplug { vm, device } => {
            let unplugged = hypervisor.detach_vf(*vm, *device, UNPLUG_LIMIT);
            let known = unplugged.map(|known| Outcome {
                nothing_left: !known,
                ..Outcome::default()
            });
            (known, Code::VfDetachFailed)
        }
        Action::Release { vm, mac } => {
            let released = hypervisor.ensure_released(*vm, *mac, UNPLUG_LIMIT);
            let found = released.map(|found| Outcome {
                nothing_left: !found,
                ..Outcome::default()
            });
            (found, Code::VfDetachFailed)
        }
        Action::EndJob { vm } => (hypervisor.end_job(*vm).map(plain), Code::VmFrozen),
        Action::Migrate { vm, to } => {
            let migrated = hypervisor.migrate(*vm, to);
            (migrated.map(plain), Code::VmMoveFailed)
        }
        Action::EndMigration { vm } => {
            (hypervisor.end_migration(*vm).map(plain), Code::VmMoveFailed)
        }
        _ => return Ok(Outcome::default()),
    };
    let gone = !matches!(action, Action::Plug { .. } | Action::Migrate { .. });
    done.or_else(|error| match error {
        // A VM that stopped has let go, and needs nothing; one that went away takes all along.
        HypervisorError::NoSuchVm(_) | HypervisorError::NotRunning if gone => {
            Ok(Outcome::default())
        }
        error => Err(vm_failure(&error, code)),
    })
}

fn vm_failure(error: &HypervisorError, code: Code) -> Failure {
    let (kind, code) = match error {
        HypervisorError::DeviceLeft(_) => (FailureKind::DeviceLeft, code),
        HypervisorError::DeviceTaken(_) => (FailureKind::DeviceTaken, code),
        HypervisorError::Busy(_) => (FailureKind::Busy, code),
        HypervisorError::Unavailable(_) if code == Code::VmDefinitionNotChanged => {
            (FailureKind::Refused, Code::HypervisorUnavailable)
        }
        _ => (FailureKind::Refused, code),
    };
    Failure {
        problem: Problem::new(code, format!("{error}.")),
        kind,
    }
}

/// Lets a VF carry what it shall, and holds what it carries then against that.
fn dress(host: &dyn Host, action: &Action) -> Result<Outcome, Failure> {
    let Action::Dress {
        pf,
        uplink,
        index,
        vf,
        attributes: wanted,
    } = action
    else {
        return Ok(Outcome::default());
    };
    let refused = |problem| Failure {
        problem,
        kind: FailureKind::Refused,
    };
    let failed = |text: String| refused(Problem::new(Code::VfAttachFailed, text).about("vf", vf));
    let found = match host.ensure_vf_attributes(*pf, *index, wanted) {
        Ok(found) => found,
        Err(error) => return Err(failed(format!("{error}."))),
    };
    let outcome = Outcome {
        attributes: Some(found.clone()),
        ..Outcome::default()
    };
    // That the link cannot be set is no reason: the adapter's own is what there was before.
    let without_link = VfAttributes {
        link: found.link,
        ..wanted.clone()
    };
    if found.fulfils(&without_link) {
        return Ok(outcome);
    }
    let rates = (
        wanted.max_tx_rate_mbps.value(),
        found.max_tx_rate_mbps.value(),
    );
    if let (Some(rate), None) = rates
        && *rate > 0
    {
        let text = format!(
            "The driver of {uplink} cannot limit what its VFs send; {rate} Mbit/s are wanted."
        );
        let problem = Problem::new(Code::TxRateNotPossible, text);
        return Err(refused(problem.about("adapter", uplink)));
    }
    Err(failed(format!(
        "VF {index} cannot enforce what it must: it has {found:?}."
    )))
}

/// Brings a VF that nobody uses to the safe baseline: function-level reset, attributes, read back. A
/// limit that stays because the adapter has no link is no failure: the VF is not given out with it, and
/// the plan takes it away when there is a link.
fn clean(host: &dyn Host, idle: &IdleVf) -> Result<Outcome, Failure> {
    let vf = idle.vf;
    let failed = |text: String, kind| Failure {
        problem: Problem::new(Code::VfQuarantined, format!("VF {vf}: {text}.")).about("vf", vf),
        kind,
    };
    let refused = |error: HostError| {
        let kind = match error {
            HostError::VfsInUse { .. } => FailureKind::DeviceTaken,
            _ => FailureKind::Refused,
        };
        failed(error.to_string(), kind)
    };
    host.reset_vf(idle).map_err(refused)?;
    let wanted = VfAttributes::baseline();
    let found = match host.ensure_vf_baseline(idle) {
        Err(HostError::NeedsLink(operation)) => {
            tracing::info!(%vf, operation, "waits for a link");
            let without_rates = VfAttributes {
                max_tx_rate_mbps: accelnet_model::Support::Unknown,
                ..wanted
            };
            return Ok(Outcome {
                attributes: Some(without_rates),
                ..Outcome::default()
            });
        }
        other => other.map_err(refused)?,
    };
    if found.fulfils(&wanted) {
        return Ok(Outcome {
            attributes: Some(found),
            ..Outcome::default()
        });
    }
    let text = format!("it should carry {wanted:?} but carries {found:?}");
    Err(failed(text, FailureKind::Refused))
}

/// What is told of work whose thread panicked.
pub fn panicked(actions: Vec<(Option<NicId>, Action)>) -> Vec<Done> {
    let failed = |(nic, action): (Option<NicId>, Action)| {
        let text = format!("To {} panicked.", words::of(&action));
        Done {
            nic,
            action,
            result: Some(Err(Failure {
                problem: Problem::new(Code::Internal, text),
                kind: FailureKind::Refused,
            })),
            took: Duration::ZERO,
        }
    };
    actions.into_iter().map(failed).collect()
}
