//! Seeds that failed once, and some others; each does the same each time.

use std::collections::BTreeSet;

use accelnet_sim::{
    alone::{self, Length},
    cluster,
    scene::{Scene, Summary},
};

const LENGTH: Length = Length {
    happenings: 40,
    aloud: false,
};

type Run = fn(u64, Length) -> (Scene, Result<(), String>);

#[track_caller]
fn passes(run: Run, seed: u64) -> Summary {
    let (scene, ended) = run(seed, LENGTH);
    if let Err(words) = ended {
        panic!("seed {seed}: {}\n{words}", scene.last().join("\n"));
    }
    scene.summary()
}

#[track_caller]
fn each_is_its_own(run: Run, seeds: std::ops::Range<u64>) {
    let mut hashes = BTreeSet::new();
    for seed in seeds.clone() {
        let first = passes(run, seed);
        assert!(first.steps > 200, "{first:?}");
        assert_eq!(first, passes(run, seed), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), seeds.count(), "and each another");
}

#[test]
fn a_host_does_the_same_each_time() {
    each_is_its_own(alone::run, 100..105);
}

#[test]
fn a_cluster_does_the_same_each_time() {
    each_is_its_own(cluster::run, 100..105);
}
