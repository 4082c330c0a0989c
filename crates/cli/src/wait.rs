//! Waiting until a change is in effect, with progress.

use std::time::Duration;

use accelnet_api::{ClientError, Vm};
use accelnet_model::{Code, Problem};
use indicatif::{ProgressBar, ProgressStyle};

use crate::call::Call;

/// Follows a VM until what is wanted is in effect, its node says why it cannot be, or time is up.
pub async fn until_settled(
    call: &Call,
    uuid: &str,
    name: &str,
    timeout: Duration,
) -> Result<Vm, ClientError> {
    let bar = progress_bar(name);
    let mut last: Option<Vm> = None;
    let followed = tokio::time::timeout(
        timeout,
        call.client.follow_vm(uuid, |vm| {
            show(&bar, vm);
            let go_on = !vm.settled() && !gave_up(vm);
            last = Some(vm.clone());
            go_on
        }),
    )
    .await;
    bar.finish_and_clear();
    match (followed, last) {
        (Ok(Ok(())), Some(vm)) if vm.settled() => Ok(vm),
        (Ok(Ok(())), Some(vm)) => Err(ClientError::Problems(vm.problems)),
        (Ok(Ok(())), None) => unreachable_end(name),
        (Ok(Err(error)), _) => Err(error),
        (Err(_), last) => {
            let mut problems = last.map(|vm| vm.problems).unwrap_or_default();
            let text = format!("VM '{name}' was not there after {} s.", timeout.as_secs());
            problems.push(Problem::new(Code::Timeout, text).about("vm", name));
            Err(ClientError::Problems(problems))
        }
    }
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
    !vm.pending && vm.progress.is_none() && !vm.problems.is_empty()
}

fn progress_bar(name: &str) -> ProgressBar {
    // Drawn on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{pos}/{len}] {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn show(bar: &ProgressBar, vm: &Vm) {
    match &vm.progress {
        Some(progress) => {
            bar.set_length(u64::from(progress.of));
            bar.set_position(u64::from(progress.number));
            bar.set_message(format!("{}: {}", progress.operation, progress.step));
        }
        None if vm.pending => bar.set_message("waiting for the node"),
        None => bar.set_message("waiting for the change to begin"),
    }
}
