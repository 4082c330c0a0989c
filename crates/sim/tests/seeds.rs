//! A seed is a run: it does the same each time, and no other does that.

use std::{collections::BTreeSet, process::Command};

use accelnet_sim::scene::Summary;

/// In a process of its own, as it is done again.
#[track_caller]
fn passes(of: &[&str], seed: u64) -> Summary {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelnet-sim"));
    let output = command
        .args(of)
        .args(["--apart", "--from", &seed.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn each_is_its_own(of: &[&str]) {
    let mut hashes = BTreeSet::new();
    for seed in 100..105 {
        let first = passes(of, seed);
        assert!(first.steps > 200, "{first:?}");
        assert_eq!(first, passes(of, seed), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 5, "and each another");
}

#[test]
fn a_host_does_the_same_each_time() {
    each_is_its_own(&[]);
}

#[test]
fn a_cluster_does_the_same_each_time() {
    each_is_its_own(&["--cluster"]);
}

/// As they were when they found something: what befalls a seed changes with what may befall it.
#[test]
fn seeds_that_found_a_fault_pass() {
    // A dump that the agent had ended was taken to go on until the next look: the guest was on its tap alone.
    passes(&["--happenings", "40"], 256);
}

/// The page's own command lines, beside `make sim`, which is itself one of the tests.
#[test]
fn the_page_says_how_a_seed_is_run_again() {
    let page = include_str!("../../../docs/reference/simulator.md");
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("target/debug/accelnet-sim "));
    let mut typed = 0;
    for line in lines {
        let output = Command::new(env!("CARGO_BIN_EXE_accelnet-sim"))
            .args(line.split(' '))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {said}");
        assert!(said.contains("1 seeds, 0 failed"), "{line}: {said}");
        typed += 1;
    }
    assert_eq!(typed, 2);
}
