//! Tables of capacity.

use accelnet_api::{Capacity, CapacityFigures, PerLevel, VmPlaces};
use accelnet_rules::capacity::CapacityReport;

use super::{
    printable, problem_text,
    tables::{add, dash, table, text},
};

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// `accelnet capacity --from FILE`.
pub fn report(report: &CapacityReport) -> String {
    let tolerated = report.nodes_down_tolerated;
    let mut out = format!(
        "{tolerated} {} may be down at once. The VMs that are there {} that.\n",
        if tolerated == 1 { "node" } else { "nodes" },
        if report.holds {
            "allow"
        } else {
            "DO NOT allow"
        }
    );
    if !report.admitted.is_empty() || !report.refused.is_empty() {
        let mut rows = table(&["vm", "admitted", "why not"]);
        for name in &report.admitted {
            add(&mut rows, [name.clone(), yes(true), String::new()]);
        }
        for refused in &report.refused {
            let why = format!("{} [{}]", refused.reason, refused.code);
            add(&mut rows, [refused.name.clone(), yes(false), why]);
        }
        out.push_str(&text(&rows));
        out.push('\n');
    }
    let more = report.fits_more;
    out.push_str(&format!(
        "Room for more VMs with one NIC, each level alone: {} Low, {} Medium, {} High.\n",
        more.low, more.medium, more.high
    ));
    out
}

fn row(name: String, state: &str, figures: &CapacityFigures) -> [String; 7] {
    let levels = |of: PerLevel| format!("{}/{}/{}", of.low, of.medium, of.high);
    [
        name,
        state.to_owned(),
        format!("{}/{}", figures.vfs_used, figures.vfs),
        format!("{}/{}", figures.queue_pairs_used, figures.queue_pairs),
        levels(figures.free),
        levels(figures.held_back),
        levels(figures.fits_more),
    ]
}

/// `accelnet capacity`.
pub fn cluster(capacity: &Capacity) -> String {
    let nodes = capacity.nodes.len();
    let mut out = format!(
        "Intent '{}', reserve {} % ({} of {nodes} {} may be down): {}.\n",
        capacity.intent,
        capacity.node_reserve_percentage,
        capacity.nodes_down_tolerated,
        if nodes == 1 { "node" } else { "nodes" },
        if capacity.holds {
            "holds"
        } else {
            "DOES NOT HOLD"
        }
    );
    out.push_str(&match &capacity.largest_reserve {
        Some(largest) => format!(
            "The largest reserve that would still hold: {} % ({} down).\n",
            largest.node_reserve_percentage, largest.nodes_down
        ),
        None => "No reserve would hold: the VMs that are admitted do not even fit with no other node down.\n"
            .to_owned(),
    });
    let mut rows = table(&[
        "node",
        "state",
        "vfs used",
        "queue pairs used",
        "free L/M/H",
        "held back L/M/H",
        "fits more L/M/H",
    ]);
    for node in &capacity.nodes {
        let state = if node.down { "down" } else { "up" };
        add(&mut rows, row(node.name.to_string(), state, &node.figures));
    }
    add(&mut rows, row("total".to_owned(), "", &capacity.total));
    out.push_str(&text(&rows));
    out.push('\n');
    for problem in &capacity.problems {
        out.push_str(&problem_text(problem, None));
    }
    if let Some(without) = &capacity.without {
        let names: Vec<_> = without.nodes.iter().map(ToString::to_string).collect();
        let names = printable(&names.join(", "));
        if without.placements.is_empty() && without.without_room.is_empty() {
            out.push_str(&format!(
                "Without {names}: no VM would have to go anywhere.\n"
            ));
            return out;
        }
        out.push_str(&format!("Without {names}:\n"));
        let mut rows = table(&["vm", "level", "from", "to", "adapters"]);
        for place in &without.placements {
            add(
                &mut rows,
                [
                    place.vm.clone(),
                    place.level.to_string(),
                    dash(place.from.as_ref()),
                    place.to.to_string(),
                    place.adapters.join(","),
                ],
            );
        }
        for vm in &without.without_room {
            add(
                &mut rows,
                [
                    vm.vm.clone(),
                    vm.level.to_string(),
                    dash(vm.from.as_ref()),
                    "NO ROOM".to_owned(),
                    String::new(),
                ],
            );
        }
        out.push_str(&text(&rows));
        out.push('\n');
    }
    out
}

/// `accelnet vm where`.
pub fn places(places: &VmPlaces) -> String {
    let mut rows = table(&["node", "fits now", "keeps the reserve", "adapters", "note"]);
    for place in &places.nodes {
        let note = match (place.present, place.down) {
            (true, _) => "it is here",
            (false, true) => "down",
            (false, false) => "",
        };
        add(
            &mut rows,
            [
                place.node.to_string(),
                yes(place.fits),
                if place.fits {
                    yes(place.keeps_reserve)
                } else {
                    "-".to_owned()
                },
                if place.adapters.is_empty() {
                    "-".to_owned()
                } else {
                    place.adapters.join(",")
                },
                note.to_owned(),
            ],
        );
    }
    format!(
        "{}, {}, {} {}:\n{}\n",
        printable(&places.vm),
        places.level,
        places.nics,
        if places.nics == 1 { "NIC" } else { "NICs" },
        text(&rows)
    )
}
