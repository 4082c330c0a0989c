//! What the step tells: its report when something has changed, and whoever asks.

use std::time::Duration;

use accelnet_model::{Code, NodeStatus, Problem};
use accelnet_rules::{action::Lane, counts::Told};

use super::{Machine, limit};
use crate::{
    event::Effect,
    report::{self, Convergence},
};

impl Machine {
    pub(super) fn tell(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        // That libvirt does not answer is told when it is noticed, and as it is whenever somebody asks.
        let answered = self.looks.answered(now);
        let late = self.looks.is_late(now);
        self.changed |= late != std::mem::replace(&mut self.was_late, late);
        self.changed |= late && !answered.is_empty();
        if self.changed && self.looks.has_seen(now) {
            self.changed = false;
            let mut status = self.status(now);
            status.sequence = self.last.sequence;
            if status != self.last {
                status.sequence += 1;
                self.last = status;
                effects.push(Effect::Report(Box::new(self.last.clone())));
            }
        }
        for token in answered {
            effects.push(Effect::Answer(token, Box::new(self.last.clone())));
        }
    }

    fn status(&self, now: Duration) -> NodeStatus {
        let mut problems: Vec<Problem> = self.ledger_problem.clone().into_iter().collect();
        problems.extend(self.goes_down.then(goes_down));
        let unseen = self.looks.problems(now);
        let whole = unseen.is_empty();
        problems.extend(unseen);
        problems.extend(self.overdue(now));
        let busy = !self.lanes.is_empty() || !self.unseen_work.is_empty();
        // A wish that nothing was planned for yet is not fulfilled.
        let planned = self.looks.is_planned();
        let quiet = planned && self.plan.is_empty() && !busy && self.memory.moves.is_empty();
        let rests = self.failures.any_vm_rests();
        let progress = match (quiet && whole, rests) {
            (false, _) => Convergence::Working,
            (true, true) => Convergence::Resting,
            (true, false) => Convergence::Done,
        };
        let mut nodes = self.plan.problems.clone();
        nodes.extend(
            self.action_problems
                .iter()
                .map(|(_, problem)| problem.clone()),
        );
        nodes.extend(self.repairs.problems());
        problems.extend(nodes);
        let lanes = self.lanes.keys().chain(self.unseen_work.keys());
        let busy = lanes.filter_map(|lane| match lane {
            Lane::Vm(vm) => Some(*vm),
            Lane::Frames | Lane::Adapter(_) | Lane::Migration(_) => None,
        });
        let status = report::status(
            &report::Scene {
                busy: &busy.collect(),
                observed: &self.observed,
                // What was planned by: a wish that waits for a look is not fulfilled by what is there.
                desired: &self.held,
                plan: &self.plan,
                memory: &self.memory,
                settled: &self.settled,
                failures: &self.failures,
                frozen: &self.frozen,
                staged: &self.staged,
                repairs: self.repairs.count(),
            },
            problems,
            progress,
        );
        let Told {
            idle_vfs,
            adapter_drops,
            vf_drops,
        } = self.counts.told().clone();
        NodeStatus {
            idle_vfs,
            adapter_drops,
            vf_drops,
            ..status
        }
    }

    /// Calls that have not come back in time. Nothing else waits for them.
    fn overdue(&self, now: Duration) -> Vec<Problem> {
        let late = self
            .lanes
            .iter()
            .filter(|(lane, work)| now >= work.since + limit(lane));
        late.map(|(_, work)| {
            let seconds = now.saturating_sub(work.since).as_secs();
            let text = format!("To {} is not done after {seconds} s.", work.words);
            Problem::new(Code::HostOperationFailed, text)
        })
        .collect()
    }
}

/// Told until the agent's end: whoever kept the host up after all has to know.
fn goes_down() -> Problem {
    let text = "The host was to go down, and no server of its cluster could be told: its agent keeps all VMs here on \
                their software paths.";
    let cure = "If the host stays up, restart accelnet-agent on it: the VMs go to their VFs again.";
    Problem::new(Code::VmParked, text).with_cure(cure)
}
