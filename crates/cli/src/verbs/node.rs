//! `accelnet node …`, `accelnet server …`

use std::time::Duration;

use accelnet_api::{ClientError, JoinTokenRequest, NodeDetail};
use accelnet_model::{Code, Problem, problem::exit};
use tokio::time::{Instant, timeout, timeout_at};

use super::print_outcome;
use crate::{
    args::{ChangeArgs, NodeCommand, ServerCommand},
    call::{Call, Ended},
    output::{self, printable},
};

/// A change between two looks is not missed for longer than this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Runs one `node` command.
pub async fn run(call: &Call, command: NodeCommand) -> Ended {
    match command {
        NodeCommand::List => {
            let list = call.client.nodes().await?;
            output::print(call.format, &list, |list| {
                output::members::nodes(&list.items)
            });
        }
        NodeCommand::Show { name } => {
            let node = call.client.node(&name).await?;
            output::print(call.format, &node, output::members::node);
        }
        NodeCommand::JoinToken { node, ttl } => {
            let request = JoinTokenRequest { node, ttl_s: ttl };
            let token = call.client.join_token(&request).await?;
            output::print(call.format, &token, |token| {
                let (end, command) = (token.expires, printable(&token.command));
                format!("On the node, once, until {end:.0}:\n\n{command}")
            });
        }
        NodeCommand::Remove { name, dry_run } => {
            let outcome = call.client.remove_node(&name, dry_run).await?;
            let done = format!("Node '{}' is no longer of the cluster.", printable(&name));
            print_outcome(call.format, &outcome, &done);
        }
        NodeCommand::Drain { name, change } => return drain(call, &name, change).await,
        NodeCommand::Uncordon { name, dry_run } => {
            let outcome = call.client.uncordon(&name, dry_run).await?;
            let done = format!(
                "The VMs of node '{}' go to their VFs again.",
                printable(&name)
            );
            print_outcome(call.format, &outcome, &done);
        }
    }
    Ok(exit::OK)
}

/// Runs one `server` command.
pub async fn server(call: &Call, command: &ServerCommand) -> Ended {
    match command {
        ServerCommand::List => {
            let list = call.client.servers().await?;
            output::print(call.format, &list, |list| {
                output::members::servers(&list.items)
            });
        }
        ServerCommand::Remove { address, dry_run } => {
            let outcome = call.client.remove_server(address, *dry_run).await?;
            let done = format!(
                "Nobody looks for a server at {} any more.",
                printable(&outcome.object.address)
            );
            print_outcome(call.format, &outcome, &done);
        }
    }
    Ok(exit::OK)
}

/// Drains a node, and waits until nothing more comes of it.
async fn drain(call: &Call, name: &str, change: ChangeArgs) -> Ended {
    let mut outcome = call.client.drain(name, change.dry_run).await?;
    if !change.dry_run && !change.no_wait {
        outcome.object = until_drained(call, name, Duration::from_secs(change.timeout)).await?;
    }
    let (shown, left) = (printable(name), left(&outcome.object));
    let done = match (left, change.no_wait) {
        (0, _) => format!(
            "No VM of node '{shown}' is on a VF, until the node has started again or is let go ('accelnet node uncordon {shown}')."
        ),
        (left, true) => format!(
            "Node '{shown}' is drained; VMs on a VF still: {left}. 'accelnet node show {shown}' says how far it is."
        ),
        (left, false) => format!("Node '{shown}' is drained; VMs that keep theirs: {left}."),
    };
    print_outcome(call.format, &outcome, &done);
    let blocked = outcome.object.draining.map(|progress| progress.blocked);
    let blocked = blocked.unwrap_or_default();
    if change.dry_run || blocked.is_empty() {
        return Ok(exit::OK);
    }
    output::problems(call.format, None, &blocked);
    Ok(exit::PARTIAL)
}

fn left(node: &NodeDetail) -> u32 {
    node.draining
        .as_ref()
        .map_or(0, |progress| progress.vms_left)
}

/// Only those are left that something keeps on their VFs.
fn is_over(node: &NodeDetail) -> bool {
    let progress = node.draining.as_ref();
    progress.is_none_or(|progress| progress.vms_left as usize <= progress.blocked.len())
}

async fn until_drained(
    call: &Call,
    name: &str,
    limit: Duration,
) -> Result<NodeDetail, ClientError> {
    let until = Instant::now() + limit;
    loop {
        let node = call.client.node(name).await?;
        if is_over(&node) {
            return Ok(node);
        }
        // The second line is the first change.
        let mut lines = 0;
        let changed = call.client.follow_status(|_| {
            lines += 1;
            lines < 2
        });
        match timeout_at(until, timeout(LOOK_AGAIN, changed)).await {
            Ok(Ok(followed)) => followed?,
            Ok(Err(_)) => {}
            Err(_) => {
                let (seconds, left) = (limit.as_secs(), left(&node));
                let text = format!("After {seconds} s VMs on a VF are left on the node: {left}.");
                let problem = Problem::new(Code::Timeout, text).about("node", name);
                return Err(problem.into());
            }
        }
    }
}
