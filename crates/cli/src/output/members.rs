//! Tables of a cluster's nodes and servers.

use accelnet_api::{NodeDetail, NodeSummary, ServerSummary};

use super::{
    adapters::out_of_pool,
    problem_text,
    tables::{add, dash, table, text},
};

/// `accelnet node list`.
pub fn nodes(all: &[NodeSummary]) -> String {
    let mut nodes = table(&["node", "state", "vfs", "used", "vms", "accelerated"]);
    for node in all {
        let state = match (node.reachable, node.converged, node.resting) {
            (false, ..) => "unreachable",
            (true, true, _) => "ready",
            (true, false, true) => "resting",
            (true, false, false) => "working",
        };
        add(
            &mut nodes,
            [
                node.name.to_string(),
                state.to_owned(),
                node.vfs.to_string(),
                node.vfs_used.to_string(),
                node.vms.to_string(),
                node.vms_accelerated.to_string(),
            ],
        );
    }
    text(&nodes)
}

/// `accelnet node show`.
pub fn node(node: &NodeDetail) -> String {
    let mut out = format!("{}\n", nodes(std::slice::from_ref(&node.summary)));
    if let Some(id) = node.id {
        let time = |at: Option<jiff::Timestamp>| dash(at.map(|at| format!("{at:.0}")));
        out.push_str(&format!(
            "  identity: {id}  joined: {}  certificate until: {}\n",
            time(node.joined),
            time(node.certificate_expires)
        ));
    }
    if let Some(progress) = &node.draining {
        let left = progress.vms_left;
        out.push_str(&format!(
            "  drained until it starts again, or 'accelnet node uncordon'; VMs on a VF still: {left}\n"
        ));
        for problem in &progress.blocked {
            out.push_str(&problem_text(problem, None));
        }
    }
    for isolated in &node.isolated {
        out.push_str(&out_of_pool(isolated));
    }
    for problem in &node.summary.problems {
        out.push_str(&problem_text(problem, None));
    }
    out
}

/// `accelnet server list`.
pub fn servers(servers: &[ServerSummary]) -> String {
    let mut rows = table(&["name", "address", "state", "since", "version"]);
    for server in servers {
        let row = [
            server.name.clone(),
            server.address.clone(),
            match (server.active, server.reachable) {
                (true, _) => "active",
                (false, true) => "standby",
                (false, false) => "silent",
            }
            .to_owned(),
            format!("{:.0}", server.since),
            server.version.clone(),
        ];
        add(&mut rows, row);
    }
    text(&rows)
}
