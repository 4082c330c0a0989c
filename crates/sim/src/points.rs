//! Points that a long run has to reach: one that never does has become blind there.

use crate::scene::Summary;

/// Changing calls, as [`process`](crate::process) names them. Those that a host by itself never makes are not here.
const CALLS: [&str; 16] = [
    "attributes",
    "bind",
    "end job",
    "entry",
    "filter",
    "flood",
    "hold",
    "learning",
    "make VFs",
    "pin bridge",
    "plug",
    "prepare",
    "release",
    "reset",
    "tap room",
    "unplug",
];

/// What befalls clusters; each step of a move on the VF is one.
const OF_CLUSTERS: [&str; 25] = [
    "BackUp",
    "Carry",
    "Cut",
    "Depose",
    "Disable",
    "Drain",
    "Enable",
    "EndDeposed",
    "Heal",
    "KillAgent",
    "KillServer",
    "LastStop",
    "Leaves",
    "LetGo",
    "Move",
    "Park",
    "PowerCut",
    "Reboot",
    "Resume",
    "Revive",
    "SetClock",
    "StartServer",
    "StaysHere",
    "Uncordon",
    "Unpark",
];

/// What comes of it: ways of a move, refusals, what messages and the store do, and what standbys make of that.
const IN_CLUSTERS: [&str; 20] = [
    "a VM comes in on its VF",
    "a VM comes in without a VF",
    "a VM was moved unannounced",
    "a report comes twice",
    "an answer was lost",
    "dies between two effects",
    "one end of a migration dies",
    "refused: cluster_not_enough_resources",
    "refused: no_free_vf",
    "refused: vm_not_running",
    "standby: as it was",
    "standby: nothing read yet",
    "standby: started anew",
    "standby: store: compacted",
    "store: deposed",
    "store: lost",
    "store: made in silence",
    "store: no answer",
    "store: unreachable",
    "the hook refuses",
];

/// What of this was never reached by clusters.
pub fn missing_of_clusters(summary: &Summary) -> Vec<String> {
    let befell = OF_CLUSTERS.iter().map(|what| format!("cluster {what}"));
    let all = befell.chain(IN_CLUSTERS.iter().map(|what| (*what).to_owned()));
    all.filter(|point| !summary.reached.contains_key(point))
        .collect()
}

/// What of this was never reached by hosts by themselves.
pub fn missing(summary: &Summary) -> Vec<String> {
    let of_call = |call: &&str| {
        [
            format!("{call} fails"),
            format!("dies before {call}"),
            format!("dies after {call}"),
        ]
    };
    let calls = CALLS.iter().flat_map(of_call);
    let all = calls.chain(["dies between two effects".to_owned()]);
    let all = all.chain(crate::alone::kinds());
    all.filter(|point| !summary.reached.contains_key(point))
        .collect()
}
