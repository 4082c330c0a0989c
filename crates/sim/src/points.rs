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

/// What of this was never reached.
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
