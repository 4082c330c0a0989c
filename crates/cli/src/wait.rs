//! Waiting until a change is in effect, with progress.

use std::time::Duration;

use accelnet_api::{ClientError, Vm};
use accelnet_model::{Code, Problem, VmState};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::{
    call::Call,
    output::{printable, terminal},
};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The node has done what can be done now: definitions are as they shall be.
    TakenUp,
    /// What is wanted is in effect, or the node says why it cannot be.
    InEffect,
    /// The same, but a VM that is off has its VF when it is started.
    InEffectOrOff,
    /// What is wanted is in effect, or it is staged and comes with the VM's next cold start.
    InEffectOrStaged,
}

impl Until {
    fn reached(self, vm: &Vm) -> bool {
        match self {
            Self::TakenUp => {
                let mut codes = vm.problems.iter().map(|problem| problem.code);
                let refused = codes.any(|code| {
                    matches!(
                        code,
                        Code::VmDefinitionNotChanged | Code::HypervisorUnavailable
                    )
                });
                !vm.pending && vm.progress.is_none() && !refused
            }
            Self::InEffect => vm.settled(),
            Self::InEffectOrOff => vm.settled() || !vm.pending && vm.state == VmState::Off,
            Self::InEffectOrStaged => vm.settled() || vm.waits_for_start(),
        }
    }
}

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    asked: Duration,
    at: Instant,
}

impl Limit {
    /// From now on.
    pub fn of(asked: Duration) -> Self {
        let at = Instant::now() + asked;
        Self { asked, at }
    }
}

/// Shows how many VMs of several have been asked for; like all progress on standard error, and only if
/// that is a terminal on which it can be drawn.
pub fn asking_bar(count: usize) -> ProgressBar {
    if count < 2 || !terminal::moves_about() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} asked {pos} of {len}") {
        bar.set_style(style);
    }
    bar
}

/// Follows a VM until it runs on a node and what is wanted of it is in effect there, until its move has
/// failed or is wanted no more, or until time is up.
pub async fn follow_to(
    call: &Call,
    uuid: &str,
    name: &str,
    node: &str,
    limit: Limit,
) -> Result<Vm, ClientError> {
    let is_there = |vm: &Vm| vm.node.as_ref().is_some_and(|at| at.as_str() == node);
    let moves = |vm: &Vm| {
        let parked = vm.parked.as_ref();
        parked.is_some_and(|parked| parked.moving_to.is_some())
    };
    let reached = |vm: &Vm| is_there(vm) && !moves(vm) && vm.settled();
    let failed = |vm: &Vm| {
        let mut codes = vm.problems.iter().map(|problem| problem.code);
        let refused = codes.any(|code| code == Code::VmMoveFailed);
        match is_there(vm) {
            // What it needs there may come about in a moment.
            true => !moves(vm) && gave_up(vm),
            false => refused || !moves(vm),
        }
    };
    let over = |vm: &Vm| reached(vm) || failed(vm);
    follow_until(call, uuid, name, reached, over, limit, None).await
}

/// Follows a VM until then, until its node gives up, or until time is up. `place` is its place among
/// several.
pub async fn follow(
    call: &Call,
    uuid: &str,
    name: &str,
    until: Until,
    limit: Limit,
    place: Option<(usize, usize)>,
) -> Result<Vm, ClientError> {
    let reached = |vm: &Vm| until.reached(vm);
    let over = |vm: &Vm| until.reached(vm) || gave_up(vm);
    follow_until(call, uuid, name, reached, over, limit, place).await
}

async fn follow_until(
    call: &Call,
    uuid: &str,
    name: &str,
    reached: impl Fn(&Vm) -> bool,
    over: impl Fn(&Vm) -> bool,
    limit: Limit,
    place: Option<(usize, usize)>,
) -> Result<Vm, ClientError> {
    let bar = progress_bar(name, place);
    let mut last: Option<Vm> = None;
    let followed = tokio::time::timeout_at(
        limit.at,
        call.client.follow_vm(uuid, |vm| {
            show(&bar, vm);
            let go_on = !over(vm);
            last = Some(vm.clone());
            go_on
        }),
    )
    .await;
    bar.finish_and_clear();
    match (followed, last) {
        (Ok(Ok(())), Some(vm)) if reached(&vm) => Ok(vm),
        (Ok(Ok(())), Some(vm)) => Err(ClientError::Problems(vm.problems)),
        (Ok(Ok(())), None) => unreachable_end(name),
        (Ok(Err(error)), _) => Err(error),
        // Time may have been up before this one's turn: it is there, or it is not.
        (Err(_), _) => match call.client.vm(uuid).await? {
            vm if reached(&vm) => Ok(vm),
            vm => Err(ClientError::Problems(too_late(name, limit, vm))),
        },
    }
}

fn too_late(name: &str, limit: Limit, vm: Vm) -> Vec<Problem> {
    let seconds = limit.asked.as_secs();
    let text = format!("What is wanted of VM '{name}' was not in effect after {seconds} s.");
    // The first one gives the exit code.
    let mut problems = vec![Problem::new(Code::Timeout, text).about("vm", name)];
    problems.extend(vm.problems);
    problems
}

fn unreachable_end(name: &str) -> Result<Vm, ClientError> {
    Err(Problem::new(
        Code::Internal,
        format!("The watch of VM '{name}' ended without a word."),
    )
    .into())
}

/// The node has taken up the change, works on nothing, and says what is wrong.
fn gave_up(vm: &Vm) -> bool {
    // That it is parked keeps it from nothing that is waited for then.
    let wrong = |problem: &Problem| problem.code != Code::VmParked;
    !vm.pending && vm.progress.is_none() && vm.problems.iter().any(wrong)
}

fn progress_bar(name: &str, place: Option<(usize, usize)>) -> ProgressBar {
    if !terminal::moves_about() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{pos}/{len}] {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(match place {
        Some((number, of)) => format!("{number}/{of} {}", printable(name)),
        None => printable(name),
    });
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn show(bar: &ProgressBar, vm: &Vm) {
    match &vm.progress {
        Some(progress) => {
            bar.set_length(u64::from(progress.of));
            bar.set_position(u64::from(progress.number));
            let text = format!("{}: {}", progress.operation, progress.step);
            bar.set_message(printable(&text));
        }
        None if vm.pending => bar.set_message("waiting for the node"),
        None => bar.set_message("waiting for the change to begin"),
    }
}
