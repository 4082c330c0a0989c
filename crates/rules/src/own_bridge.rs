//! Bridges that accelnet makes itself ([`Intent::create`]): on one adapter that nobody manages.
//!
//! A bridge that we made carries a mark ([`Intent::bridge_mark`]); any other of that name is somebody's
//! and is left alone. An adapter is taken only if nothing shows that somebody uses it
//! (`AdapterFacts::claims`), and only once: what is a port of something else stays that.

use accelnet_model::{AdapterFacts, AdapterId, Code, Intent, Problem};

use crate::{Observed, action::Action, membership, prereq::Node};

/// The adapter that is or becomes the bridge's uplink; `None` if the node has none of the intent's,
/// which the intent's own checks tell. `made_on` is the adapter that the bridge was made on before: a
/// rule with a speed does not find it again while nobody has brought it up.
///
/// # Errors
/// Why the bridge cannot be made, or is not ours.
pub fn uplink<'a>(
    observed: &'a Observed,
    intent: &Intent,
    made_on: Option<&AdapterId>,
) -> Result<Option<&'a AdapterFacts>, Problem> {
    let name = &intent.bridge;
    let bridge = observed.bridge(name);
    if let Some(found) = bridge
        && found.alias != Some(intent.bridge_mark())
    {
        let kind = &found.kind;
        let text = format!("There is a {kind} {name} already, which was not made for this intent.");
        return Err(Problem::new(Code::BridgeNotOurs, text).about("bridge", name));
    }
    let mut wanted: Vec<&AdapterFacts> = observed
        .adapters
        .iter()
        .filter(|facts| intent.covers(facts))
        .collect();
    if wanted.is_empty() {
        let same = |facts: &&AdapterFacts| Some(&facts.id) == made_on;
        wanted.extend(observed.adapters.iter().find(same));
    }
    let present = observed.adapters.iter().filter(|facts| {
        let known = wanted.iter().any(|wanted| wanted.ifname == facts.ifname);
        facts.master.as_ref() == Some(name) && !known
    });
    let others: Vec<&AdapterFacts> = present.collect();
    let all = wanted.iter().chain(&others);
    let names: Vec<String> = all.map(|facts| facts.ifname.to_string()).collect();
    match wanted.as_slice() {
        [] => Ok(None),
        [one] if others.is_empty() => free(one, intent).map(|()| Some(*one)),
        _ => {
            let text = format!(
                "Bridge {name} would have {} uplinks: {}.",
                names.len(),
                names.join(", ")
            );
            let problem = Problem::new(Code::BridgeNotSupported, text).about("bridge", name);
            let cure = "Choose one adapter a node; take others out of the bridge \
                        ('ip link set INTERFACE nomaster').";
            Err(problem.with_cure(cure))
        }
    }
}

/// The adapter is the bridge's port, or nobody's.
fn free(facts: &AdapterFacts, intent: &Intent) -> Result<(), Problem> {
    let name = &facts.ifname;
    let used = match &facts.master {
        Some(master) if *master == intent.bridge => return Ok(()),
        Some(master) => format!("it is a port of {master}"),
        None if facts.claims.is_empty() => return Ok(()),
        None => facts.claims.join("; "),
    };
    let text = format!("No bridge is made on {name}: {used}.");
    Err(Problem::new(Code::AdapterManaged, text).about("adapter", name))
}

/// What has to be done so that the bridge is there; nothing if it is.
pub fn actions(observed: &Observed, intent: &Intent, uplink: &AdapterFacts) -> Vec<Action> {
    let bridge = &intent.bridge;
    let there = observed.bridge(bridge).is_some_and(|found| found.up);
    let make = (!there).then(|| Action::MakeBridge {
        bridge: bridge.clone(),
        mark: intent.bridge_mark(),
    });
    let add = (uplink.master.is_none() || !uplink.up).then(|| Action::AddUplink {
        bridge: bridge.clone(),
        adapter: uplink.ifname.clone(),
    });
    make.into_iter().chain(add).collect()
}

/// Why the bridge cannot be made on each node.
pub fn refusals(nodes: &[Node], intent: &Intent) -> Vec<Problem> {
    let refused = nodes.iter().filter_map(|(node, observed)| {
        let mut problem = uplink(observed, intent, None).err()?;
        problem.detail = format!("Node '{node}': {}", problem.detail);
        Some(problem.about("node", node))
    });
    refused.collect()
}

/// The problem of an adapter that another intent has too: nothing is made on it then.
pub(crate) fn contested(
    observed: &Observed,
    intent: &Intent,
    intents: &[Intent],
) -> Option<Problem> {
    let node = &observed.node.hostname;
    let problems = membership::contested(node, observed, intent, intents);
    problems.into_iter().next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accelnet_model::{BridgeFacts, NodeDesired};

    use super::*;
    use crate::{
        fixture,
        plan::{Memory, plan, tests::deeds},
    };

    /// An intent that makes `br1`.
    fn intent() -> Intent {
        Intent {
            bridge: "br1".parse().unwrap(),
            create: true,
            ..fixture::intent()
        }
    }

    /// A node whose adapter is nobody's, and down.
    fn bare() -> Observed {
        let mut observed = fixture::observed();
        let facts = &mut observed.adapters[0];
        (facts.master, facts.up, facts.carrier) = (None, false, false);
        facts.vfs.clear();
        observed.bridges.clear();
        observed.vms.clear();
        observed
    }

    fn made(alias: &str) -> BridgeFacts {
        let mut bridge = fixture::observed().bridges.remove(0);
        bridge.ifname = "br1".parse().unwrap();
        bridge.alias = Some(alias.to_owned());
        bridge.ports.truncate(1);
        bridge
    }

    fn planned(observed: &Observed, memory: &Memory) -> (Vec<Action>, Vec<Problem>) {
        let desired = NodeDesired {
            intents: vec![intent()],
            ..NodeDesired::default()
        };
        let plan = plan(observed, &desired, memory, Duration::ZERO);
        (deeds(&plan), plan.problems)
    }

    fn make() -> Action {
        Action::MakeBridge {
            bridge: "br1".parse().unwrap(),
            mark: "accelnet:compute".into(),
        }
    }

    fn add() -> Action {
        Action::AddUplink {
            bridge: "br1".parse().unwrap(),
            adapter: "pf0".parse().unwrap(),
        }
    }

    #[test]
    fn it_is_made_once_also_where_nothing_is_enabled() {
        let mut observed = bare();
        let memory = Memory::default();
        assert_eq!(planned(&observed, &memory), (vec![make(), add()], vec![]));
        observed.bridges.push(made("accelnet:compute"));
        assert_eq!(planned(&observed, &memory), (vec![add()], vec![]));
        observed.adapters[0].master = "br1".parse().ok();
        assert_eq!(
            planned(&observed, &memory),
            (vec![add()], vec![]),
            "it is down"
        );
        observed.adapters[0].up = true;
        assert_eq!(planned(&observed, &memory), (vec![], vec![]));
        observed.bridges[0].up = false;
        assert_eq!(planned(&observed, &memory), (vec![make()], vec![]));
    }

    #[test]
    fn what_is_somebodys_is_left_alone() {
        type Change = fn(&mut Observed);
        let cases: [(Code, &str, Change); 6] = [
            (Code::BridgeNotOurs, "br1", |o| o.bridges.push(made("mine"))),
            (Code::BridgeNotOurs, "br1", |o| {
                o.bridges.push(made("accelnet:other"));
            }),
            (Code::AdapterManaged, "a port of bond0", |o| {
                o.adapters[0].master = "bond0".parse().ok();
            }),
            (Code::AdapterManaged, "an address; NetworkManager", |o| {
                o.adapters[0].claims = vec![
                    "it has an address".into(),
                    "NetworkManager manages it".into(),
                ];
            }),
            (Code::BridgeNotSupported, "2 uplinks: pf0, pf1", |o| {
                let mut second = fixture::adapter(0);
                second.ifname = "pf1".parse().unwrap();
                second.master = "br1".parse().ok();
                o.adapters.push(second);
                o.bridges.push(made("accelnet:compute"));
            }),
            (Code::AdapterInTwoIntents, "'compute'", |_| {}),
        ];
        for (code, words, change) in cases {
            let mut observed = bare();
            change(&mut observed);
            let other = Intent {
                name: "other".parse().unwrap(),
                create: false,
                ..intent()
            };
            let twice = code == Code::AdapterInTwoIntents;
            let desired = NodeDesired {
                intents: if twice {
                    vec![intent(), other]
                } else {
                    vec![intent()]
                },
                ..NodeDesired::default()
            };
            let plan = plan(&observed, &desired, &Memory::default(), Duration::ZERO);
            assert_eq!(plan.actions, [], "{code}");
            assert_eq!(plan.problems[0].code, code);
            let text = &plan.problems[0].detail;
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn without_link_it_is_made_again_on_the_adapter_that_had_it() {
        let (mut observed, mut memory) = (bare(), Memory::default());
        observed.adapters[0].speed_mbps = None;
        let ruled = Intent {
            adapters: vec![],
            matching: "speed=1000".parse().ok(),
            ..intent()
        };
        let desired = NodeDesired {
            intents: vec![ruled],
            ..NodeDesired::default()
        };
        let planned = |memory: &Memory| deeds(&plan(&observed, &desired, memory, Duration::ZERO));
        assert_eq!(planned(&memory), []);
        let id = observed.adapters[0].id.clone();
        memory.made_on.insert("br1".parse().unwrap(), id);
        assert_eq!(planned(&memory), [make(), add()]);
    }
}
