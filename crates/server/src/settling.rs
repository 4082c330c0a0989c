//! A server that has just started asks for patience instead of refusing.
//!
//! What a young server knows of its nodes is what another one kept. A request that it would refuse because nodes
//! are silent, or because without them there is no room, might be allowed a moment later, when they have dialled.
//! So for one heartbeat time ([`DOWN_AFTER`]) such a refusal is answered with `server_settling` and `Retry-After`
//! instead, unless all nodes have been heard before. What is allowed, and what is refused for other reasons, is not
//! held up.

use accelnet_api::agents::DOWN_AFTER;
use accelnet_model::{Code, Problem};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    Server,
    failure::{Failure, Why},
};

/// Names of nodes that are told; of more, how many.
const NAMED: usize = 3;

/// It may be otherwise once more nodes have been heard.
fn rests_on_silence(code: Code) -> bool {
    matches!(
        code,
        Code::AgentUnreachable
            | Code::ClusterNotEnoughResources
            | Code::NoFreeVf
            | Code::VmNotFound
            | Code::VmNotSeen
    )
}

/// Between routes and door: see the module.
pub async fn ask_again(State(server): State<Server>, request: Request, next: Next) -> Response {
    // Asked before: what was decided meanwhile may rest on a silence that is over by then.
    let Some(awaited) = server.awaited() else {
        return next.run(request).await;
    };
    let answer = next.run(request).await;
    let why = answer.extensions().get::<Why>();
    match why.is_some_and(|why| why.0.iter().copied().any(rests_on_silence)) {
        true => Failure::from(awaited).into_response(),
        false => answer,
    }
}

impl Server {
    /// Why a refusal would not be the last word yet; `None` once all nodes have been heard, or had their time.
    pub(crate) fn awaited(&self) -> Option<Problem> {
        if self.shared.reports.settled() {
            return None;
        }
        let seen = self.seen();
        let awaited: Vec<String> = seen
            .iter()
            .filter(|node| node.awaited)
            .map(|node| format!("'{}'", node.name))
            .collect();
        let named = awaited[..awaited.len().min(NAMED)].join(", ");
        let more = match awaited.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = format!("Not heard yet: {named}{more}.");
        (!awaited.is_empty()).then(|| Problem::new(Code::ServerSettling, text))
    }

    /// Calls nodes down that were not heard within one heartbeat time of the server's start.
    pub(crate) async fn wait_for_first_signs(&self) {
        tokio::select! {
            () = self.stopping() => {}
            () = tokio::time::sleep(DOWN_AFTER) => {
                self.shared.reports.settle();
                self.changed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_rules::fixture;
    use accelnet_store::MemoryStore;

    use super::*;
    use crate::fake::FakeNodes;

    #[tokio::test(start_paused = true)]
    async fn nodes_have_one_heartbeat_time_to_speak_after_a_start() {
        let nodes = FakeNodes::new([("a", fixture::observed()), ("b", fixture::observed())]);
        let server = Server::new(MemoryStore::new(), nodes).await.unwrap();
        let work = tokio::spawn({
            let server = server.clone();
            async move { server.work(std::future::pending()).await }
        });
        let problem = server.awaited().unwrap();
        assert_eq!(problem.code, Code::ServerSettling);
        assert_eq!(problem.detail, "Not heard yet: 'a', 'b'.");
        let down = || server.seen().iter().filter(|node| node.down()).count();
        let almost = DOWN_AFTER - std::time::Duration::from_millis(1);
        tokio::time::sleep(almost).await;
        assert!(server.awaited().is_some() && down() == 0);
        let mut changes = server.shared.changes.subscribe();
        changes.changed().await.unwrap();
        assert!(server.awaited().is_none() && down() == 2);
        work.abort();
    }

    #[tokio::test]
    async fn a_server_that_has_heard_all_nodes_waits_for_nobody() {
        let nodes = FakeNodes::one();
        let server = Server::new(MemoryStore::new(), nodes).await.unwrap();
        assert!(server.awaited().is_some());
        let name = "node1".parse().unwrap();
        server.report(&name, accelnet_model::NodeStatus::default());
        assert!(server.awaited().is_none());
    }
}
