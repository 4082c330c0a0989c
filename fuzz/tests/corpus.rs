//! What the fuzzer has found, and what it begins with: each file is read by its target, as in any other test.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn whatever_was_found_is_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in accelnet_fuzz::TARGETS {
        target(b"");
        let files =
            fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for file in files {
            let file = file.unwrap().path();
            // The name of one that panics is the last that is told.
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} begins with nothing");
    }
}

#[test]
fn each_directory_is_a_target_s() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let directories: BTreeSet<String> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let targets = accelnet_fuzz::TARGETS.iter();
    let targets: BTreeSet<String> = targets.map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(directories, targets);
}
