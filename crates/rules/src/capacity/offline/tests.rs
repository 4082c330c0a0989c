//! Questions from files: hand-written ones, ones that cannot be, and any at all against brute force.

use Performance::{High, Low, Medium};
use accelnet_model::{Code, Performance};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::capacity::{
    Queues, Vm, brute,
    tests::{Question, any_adapter, questions, simple_adapter},
};

fn answer(file: &Value) -> Result<CapacityReport, Problem> {
    CapacityFile::deserialize(file).unwrap().answer()
}

/// Nodes `node1` … with one adapter `pf0`.
fn nodes(count: usize, vfs: u32, queues: &str, pairs: u32) -> Value {
    let node = |number| {
        json!({"name": format!("node{number}"),
               "adapters": [{"name": "pf0", "vfs": vfs, queues: pairs}]})
    };
    (1..=count).map(node).collect()
}

/// VMs that ask, `prefix1` ….
fn asking(prefix: &str, count: usize, level: &str, nics: u32) -> Vec<Value> {
    let vm = |number| json!({"name": format!("{prefix}{number}"), "level": level, "nics": nics});
    (1..=count).map(vm).collect()
}

#[test]
fn the_answer_has_the_agreed_shape() {
    let report = answer(&json!({"node_reserve_percentage": 50, "down": [],
        "nodes": [
          {"name": "node1", "adapters": [{"name": "pf0", "vfs": 2, "queue_pairs_per_vf": 4}]},
          {"name": "node2", "adapters": [{"name": "pf0", "vfs": 8, "queue_pairs_total": 8}]}],
        "vms": [{"name": "a", "level": "Low", "nics": 1, "node": "node1", "adapters": ["pf0"]}],
        "add": [{"name": "b", "level": "high", "nics": 1}, {"name": "c", "level": "Medium", "nics": 1}]}))
    .unwrap();
    let reason = report.refused[0].reason.clone();
    assert!(reason.contains("'c'"), "{reason}");
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        json!({"nodes_down_tolerated": 1, "holds": true, "admitted": ["b"],
               "refused": [{"name": "c", "code": "cluster_not_enough_resources", "reason": reason,
                            "counterexample": ["node2"]}],
               "fits_more": {"low": 0, "medium": 0, "high": 0}})
    );
}

#[test]
fn half_of_four_nodes_is_held_back() {
    let add = asking("vm", 15, "Medium", 1);
    let report =
        answer(&json!({"nodes": nodes(4, 7, "queue_pairs_per_vf", 2), "add": add})).unwrap();
    assert_eq!(report.nodes_down_tolerated, 2);
    assert_eq!(report.admitted.len(), 14);
    assert_eq!(report.refused[0].name, "vm15");
    assert_eq!(report.refused[0].counterexample.len(), 2);
    // One VF a VM whatever the level, and none for High.
    let file = json!({"nodes": nodes(4, 7, "queue_pairs_per_vf", 2),
        "add": asking("vm", 1, "High", 1)});
    let report = answer(&file).unwrap();
    assert_eq!(report.refused[0].code, Code::CannotProvisionPerformance);
    assert_eq!(
        report.fits_more,
        FitsMore {
            low: 14,
            medium: 14,
            high: 0
        }
    );
}

#[test]
fn a_pool_is_drawn_from_by_level() {
    let file = |add: Vec<Value>| json!({"node_reserve_percentage": 0, "nodes": nodes(1, 16, "queue_pairs_total", 16), "add": add});
    let fits = |add| answer(&file(add)).unwrap().fits_more;
    assert_eq!(
        fits(vec![]),
        FitsMore {
            low: 16,
            medium: 8,
            high: 4
        }
    );
    assert_eq!(
        fits(asking("vm", 3, "High", 1)),
        FitsMore {
            low: 4,
            medium: 2,
            high: 1
        }
    );
    assert_eq!(
        fits(asking("vm", 1, "Low", 1)),
        FitsMore {
            low: 15,
            medium: 7,
            high: 3
        }
    );
}

#[test]
fn nics_of_a_vm_do_not_fit_in_pieces() {
    // Each node has one VF left: two in all, but not together.
    let pinned = |number| {
        json!({"name": format!("old{number}"), "level": "Low", "nics": 1,
               "node": format!("node{number}"), "adapters": ["pf0"]})
    };
    let add = [asking("two", 1, "Low", 2), asking("one", 2, "Low", 1)].concat();
    let file = json!({"node_reserve_percentage": 0, "nodes": nodes(2, 2, "queue_pairs_per_vf", 4),
        "vms": [pinned(1), pinned(2)], "add": add});
    let report = answer(&file).unwrap();
    assert_eq!(report.admitted, ["one1", "one2"]);
    assert_eq!(report.refused[0].name, "two1");
    assert_eq!(report.refused[0].counterexample, [""; 0]);
}

#[test]
fn running_vms_stay_where_they_are() {
    // The VM could be moved out of the way of a High one; it is not.
    let two = json!([{"name": "node1", "adapters": [
        {"name": "wide", "vfs": 1, "queue_pairs_per_vf": 4},
        {"name": "narrow", "vfs": 1, "queue_pairs_per_vf": 1}]}]);
    let on = |adapter: &str| {
        let file = json!({"nodes": two,
            "vms": [{"name": "a", "level": "Low", "node": "node1", "adapters": [adapter]}],
            "add": asking("high", 1, "High", 1)});
        answer(&file).unwrap().admitted.len()
    };
    assert_eq!((on("narrow"), on("wide")), (1, 0));
}

#[test]
fn admissions_stop_while_too_many_are_down() {
    let file = |down: Value| {
        let file = json!({"node_reserve_percentage": 25, "down": down, "add": asking("b", 1, "Low", 1),
            "nodes": nodes(4, 7, "queue_pairs_per_vf", 4),
            "vms": [{"name": "a", "level": "Low", "node": "node1"}]});
        answer(&file).unwrap()
    };
    assert_eq!(file(json!(["node3"])).admitted, ["b1"]);
    let report = file(json!(["node3", "node2"]));
    assert!(report.holds, "what is admitted has room");
    assert_eq!(report.admitted, [""; 0]);
    assert_eq!(report.refused[0].counterexample, ["node2", "node3"]);
    assert_eq!(
        report.fits_more,
        FitsMore {
            low: 0,
            medium: 0,
            high: 0
        }
    );
}

#[test]
fn a_reserve_that_is_short_admits_nothing() {
    let vms: Vec<Value> = asking("old", 5, "Low", 1);
    let file = json!({"nodes": nodes(2, 4, "queue_pairs_per_vf", 1), "vms": vms,
        "add": asking("new", 1, "Low", 1)});
    let report = answer(&file).unwrap();
    assert!(!report.holds);
    assert_eq!(report.admitted, [""; 0]);
}

#[test]
fn what_cannot_be_is_told_with_its_field() {
    let good = json!({"name": "n", "adapters": [{"name": "p", "vfs": 4, "queue_pairs_total": 4}]});
    let with = |rest: Value| {
        let mut file = json!({"nodes": [good]});
        let all = file.as_object_mut().unwrap();
        all.extend(rest.as_object().unwrap().clone());
        file
    };
    let adapter = |adapter: Value| json!({"nodes": [{"name": "n", "adapters": [adapter]}]});
    let long = "x".repeat(256);
    let cases = [
        (
            with(json!({"node_reserve_percentage": 100})),
            "node_reserve_percentage",
        ),
        (
            with(json!({"node_reserve_percentage": -1})),
            "node_reserve_percentage",
        ),
        (with(json!({"down": ["m"]})), "down[0]"),
        (with(json!({"down": ["n", "n"]})), "down[1]"),
        (with(json!({"nodes": [good, good]})), "nodes[1].name"),
        (
            with(json!({"nodes": [{"name": "", "adapters": []}]})),
            "nodes[0].name",
        ),
        (
            with(json!({"nodes": [{"name": long, "adapters": []}]})),
            "nodes[0].name",
        ),
        (
            with(json!({"nodes": [{"name": "a\u{1b}", "adapters": []}]})),
            "nodes[0].name",
        ),
        (
            adapter(json!({"name": "", "vfs": 1, "queue_pairs_total": 1})),
            "nodes[0].adapters[0].name",
        ),
        (
            adapter(json!({"name": "p", "vfs": 1})),
            "nodes[0].adapters[0]",
        ),
        (
            adapter(
                json!({"name": "p", "vfs": 1, "queue_pairs_total": 1, "queue_pairs_per_vf": 1}),
            ),
            "nodes[0].adapters[0]",
        ),
        (
            adapter(json!({"name": "p", "vfs": 65_536, "queue_pairs_total": 1})),
            "nodes[0].adapters[0].vfs",
        ),
        (
            adapter(json!({"name": "p", "vfs": 1, "queue_pairs_per_vf": u32::MAX})),
            "nodes[0].adapters[0].queue_pairs_per_vf",
        ),
        (
            json!({"nodes": [{"name": "n", "adapters": [
                {"name": "p", "vfs": 1, "queue_pairs_total": 1},
                {"name": "p", "vfs": 1, "queue_pairs_total": 1}]}]}),
            "nodes[0].adapters[1].name",
        ),
        (
            with(json!({"vms": [{"name": "v", "level": "Low", "nics": 0}]})),
            "vms[0].nics",
        ),
        (
            with(json!({"vms": [{"name": "v", "level": "Low", "nics": 257}]})),
            "vms[0].nics",
        ),
        (
            with(json!({"vms": [{"name": "v", "level": "Low", "node": "m"}]})),
            "vms[0].node",
        ),
        (
            with(json!({"vms": [{"name": "v", "level": "Low", "adapters": ["p"]}]})),
            "vms[0].adapters",
        ),
        (
            with(
                json!({"vms": [{"name": "v", "level": "Low", "node": "n", "adapters": ["p", "p"]}]}),
            ),
            "vms[0].adapters",
        ),
        (
            with(json!({"vms": [{"name": "v", "level": "Low", "node": "n", "adapters": ["q"]}]})),
            "vms[0].adapters[0]",
        ),
        (
            with(json!({"vms": [{"name": "v", "level": "Low"}, {"name": "v", "level": "Low"}]})),
            "vms[1].name",
        ),
        (
            with(
                json!({"vms": [{"name": "v", "level": "Low"}], "add": [{"name": "v", "level": "Low"}]}),
            ),
            "add[0].name",
        ),
        // A name is taken even if its VM is refused, and whatever it asks for.
        (
            with(
                json!({"add": [{"name": "v", "level": "Low", "nics": 9}, {"name": "v", "level": "Low"}]}),
            ),
            "add[1].name",
        ),
        (
            with(json!({"add": [{"name": "v", "level": "High", "node": "n"}]})),
            "add[0].node",
        ),
        (
            with(json!({"add": [{"name": "v", "level": "Low", "adapters": []}]})),
            "add[0].adapters",
        ),
    ];
    for (file, field) in cases {
        let problem = answer(&file).unwrap_err();
        let code = match field {
            "node_reserve_percentage" => Code::ReserveOutOfRange,
            _ => Code::InvalidArgument,
        };
        assert_eq!(problem.code, code, "{file}");
        assert!(
            problem.detail.starts_with(&format!("{field}: ")),
            "{field}: {problem}"
        );
        assert!(!problem.detail.contains('\u{1b}'), "{problem:?}");
        assert_eq!(problem.objects[0].name, field);
    }
}

#[test]
fn the_reserve_may_be_a_number_of_nodes() {
    let file = |count: i64| {
        json!({"nodes_down": count, "nodes": nodes(4, 7, "queue_pairs_per_vf", 4),
            "add": asking("vm", 22, "Low", 1)})
    };
    let report = answer(&file(1)).unwrap();
    assert_eq!(
        (report.nodes_down_tolerated, report.admitted.len()),
        (1, 21)
    );
    assert_eq!(answer(&file(0)).unwrap().nodes_down_tolerated, 0);
    for count in [4, -1, i64::MAX] {
        let problem = answer(&file(count)).unwrap_err();
        assert_eq!(problem.code, Code::ReserveOutOfRange);
        assert_eq!(
            problem.detail,
            "nodes_down: of 4 nodes, 0 to 3 can be down."
        );
    }
    let mut both = file(1);
    both["node_reserve_percentage"] = json!(50);
    let problem = answer(&both).unwrap_err();
    assert_eq!(problem.code, Code::InvalidArgument);
    assert!(problem.detail.contains("said twice"), "{problem}");
    assert!(CapacityFile::deserialize(&json!({"nodes": [], "nodes_down": null})).is_err());
}

#[test]
fn a_vf_draws_no_more_than_it_can_have() {
    let fits = |most: Option<u32>| {
        let mut file =
            json!({"node_reserve_percentage": 0, "nodes": nodes(1, 16, "queue_pairs_total", 16)});
        if let Some(most) = most {
            file["nodes"][0]["adapters"][0]["queue_pairs_max_per_vf"] = json!(most);
        }
        let FitsMore { low, medium, high } = answer(&file).unwrap().fits_more;
        [low, medium, high]
    };
    assert_eq!(fits(None), [16, 8, 4]);
    assert_eq!(fits(Some(4)), [16, 8, 4]);
    assert_eq!(fits(Some(3)), [16, 8, 0]);
    assert_eq!(fits(Some(1)), [16, 0, 0]);
    assert_eq!(fits(Some(0)), [0, 0, 0]);
    let mut fixed = json!({"nodes": nodes(1, 4, "queue_pairs_per_vf", 4)});
    fixed["nodes"][0]["adapters"][0]["queue_pairs_max_per_vf"] = json!(2);
    let problem = answer(&fixed).unwrap_err();
    assert_eq!(
        problem.objects[0].name,
        "nodes[0].adapters[0].queue_pairs_max_per_vf"
    );
}

#[test]
fn levels_may_cost_something_else() {
    let file = |low: u32, medium: u32, high: u32| {
        json!({"node_reserve_percentage": 0, "nodes": nodes(1, 24, "queue_pairs_total", 24),
            "queue_pairs_per_level": {"Low": low, "Medium": medium, "High": high}})
    };
    let FitsMore { low, medium, high } = answer(&file(2, 4, 12)).unwrap().fits_more;
    assert_eq!([low, medium, high], [12, 6, 2]);
    for (low, medium, high) in [(0, 2, 4), (1, 2, 3), (2, 3, 6), (1, 2, u32::MAX - 1)] {
        let problem = answer(&file(low, medium, high)).unwrap_err();
        assert!(
            problem.detail.starts_with("queue_pairs_per_level"),
            "{problem}"
        );
    }
    let one = json!({"nodes": [], "queue_pairs_per_level": {"High": 8}});
    assert!(
        answer(&one).is_ok(),
        "the others cost what they do by default"
    );
}

/// Clusters for which a search would take days, and a table of what fits more memory than there is:
/// there is an answer all the same, and what it admits is not less than the inequalities alone would.
#[test]
fn nothing_asks_too_much() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % limit
    };
    let levels = ["Low", "Medium", "High"];
    for (nodes, adapters, vfs, nics) in
        [(8, 6, 70, 4), (8, 3, 9, 4), (40, 2, 64, 3), (3, 90, 8, 256)]
    {
        let node = |number, below: &mut dyn FnMut(u64) -> u64| {
            let adapters = (0..adapters).map(|port| {
                let (vfs, total) = (1 + below(vfs), 1 + below(3 * vfs));
                json!({"name": format!("pf{port}"), "vfs": vfs, "queue_pairs_total": total})
            });
            let adapters: Vec<Value> = adapters.collect();
            json!({"name": format!("node{number}"), "adapters": adapters})
        };
        let all: Vec<Value> = (0..nodes).map(|number| node(number, &mut below)).collect();
        let vm = |number: u64, below: &mut dyn FnMut(u64) -> u64| {
            let level = levels[below(3) as usize];
            json!({"name": format!("vm{number}"), "level": level, "nics": 1 + below(nics)})
        };
        let add: Vec<Value> = (0..150).map(|number| vm(number, &mut below)).collect();
        let running = (0..40).map(|number| {
            let mut vm = vm(1000 + number, &mut below);
            vm["node"] = json!(format!("node{}", below(nodes)));
            vm["nics"] = json!(1);
            vm
        });
        let running: Vec<Value> = running.collect();
        let file = json!({"node_reserve_percentage": 40, "nodes": all, "vms": running, "add": add});
        let report = answer(&file).unwrap();
        assert_eq!(report.admitted.len() + report.refused.len(), 150);
    }
}

#[test]
fn what_is_no_question_is_not_read() {
    for nonsense in [
        json!({"nodes": 3}),
        json!({}),
        json!([]),
        json!({"nodes": [], "more": 1}),
        json!({"nodes": [], "node_reserve_percentage": 3.5}),
        json!({"nodes": [], "node_reserve_percentage": "50"}),
        json!({"nodes": [], "vms": [{"name": "v", "level": "Fast"}]}),
        json!({"nodes": [], "vms": [{"name": "v", "level": "Low", "nics": -1}]}),
        json!({"nodes": [{"name": "n", "adapters": [{"name": "p", "vfs": -1, "queue_pairs_total": 1}]}]}),
    ] {
        let read = CapacityFile::deserialize(&nonsense);
        assert!(read.is_err(), "{nonsense}");
    }
}

#[test]
fn a_cluster_without_nodes_has_room_for_nothing() {
    let file = json!({"nodes": [], "add": asking("vm", 1, "Low", 1)});
    let report = answer(&file).unwrap();
    assert_eq!(report.nodes_down_tolerated, 0);
    assert!(report.holds);
    assert_eq!(report.refused[0].code, Code::CannotProvisionPerformance);
}

// ---- against brute force ----

fn entry(vm: &Vm) -> VmEntry {
    VmEntry {
        name: vm.name.clone(),
        level: vm.level,
        nics: vm.nics,
        node: vm.node.clone(),
        adapters: vm.adapters.clone(),
    }
}

fn file(question: &Question) -> CapacityFile {
    let nodes = question.nodes.iter().map(|node| NodeEntry {
        name: node.name.clone(),
        adapters: node
            .adapters
            .iter()
            .map(|adapter| AdapterEntry {
                name: adapter.name.clone(),
                vfs: adapter.vfs,
                queue_pairs_total: match adapter.queues {
                    Queues::Pool { total, .. } => Some(total),
                    Queues::PerVf { .. } => None,
                },
                queue_pairs_max_per_vf: match adapter.queues {
                    Queues::Pool { most_per_vf, .. } => most_per_vf,
                    Queues::PerVf { .. } => None,
                },
                queue_pairs_per_vf: match adapter.queues {
                    Queues::Pool { .. } => None,
                    Queues::PerVf { pairs } => Some(pairs),
                },
            })
            .collect(),
    });
    let down = question.nodes.iter().filter(|node| node.down);
    CapacityFile {
        node_reserve_percentage: Some(i64::from(question.percent)),
        nodes_down: None,
        queue_pairs_per_level: LevelQueuePairs::default(),
        down: down.map(|node| node.name.clone()).collect(),
        nodes: nodes.collect(),
        vms: question.vms.iter().map(entry).collect(),
        add: question.new.iter().map(entry).collect(),
    }
}

/// The report of a file, written and read again, is what brute force says. `complete`: everything that
/// fits must be admitted too.
fn agrees(question: &Question, complete: bool) -> Result<(), TestCaseError> {
    let json = serde_json::to_string(&file(question)).unwrap();
    let report = serde_json::from_str::<CapacityFile>(&json)
        .unwrap()
        .answer()
        .unwrap();
    let Question {
        nodes,
        vms,
        new,
        percent,
    } = question;
    let holds = |vms: &[Vm]| brute::holds(nodes, vms, *percent);
    let tolerated = brute::tolerated(nodes.len(), *percent);
    let open = nodes.iter().filter(|node| node.down).count() <= tolerated;
    prop_assert_eq!(report.nodes_down_tolerated, tolerated);
    prop_assert_eq!(report.holds, holds(vms));
    prop_assert_eq!(report.admitted.len() + report.refused.len(), new.len());
    let mut present = vms.clone();
    for vm in new {
        present.push(vm.clone());
        let fits = open && holds(&present);
        let admitted = report.admitted.contains(&vm.name);
        prop_assert!(!admitted || fits, "admitted what does not fit: {:?}", vm);
        prop_assert!(
            admitted || !fits || !complete,
            "refused what fits: {:?}",
            vm
        );
        if !admitted {
            present.pop();
        }
    }
    // As many more as it says, and no more.
    for (level, more) in [
        (Low, report.fits_more.low),
        (Medium, report.fits_more.medium),
        (High, report.fits_more.high),
    ] {
        let mut with = present.clone();
        for number in 0..more {
            with.push(Vm {
                name: format!("more{number}"),
                level,
                nics: 1,
                node: None,
                adapters: None,
            });
        }
        prop_assert!(more == 0 || holds(&with), "{more} {level:?}");
        with.push(Vm {
            name: "one-too-many".into(),
            level,
            nics: 1,
            node: None,
            adapters: None,
        });
        let one_more = open && holds(&with);
        prop_assert!(!one_more || !complete, "more than {more} {level:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn single_nics_are_decided_exactly(question in questions(simple_adapter(), 1, any::<bool>())) {
        agrees(&question, true)?;
    }

    #[test]
    fn nothing_is_admitted_that_does_not_fit(question in questions(any_adapter(), 3, any::<bool>())) {
        // Small clusters are decided exactly, whatever they are.
        agrees(&question, true)?;
    }
}
