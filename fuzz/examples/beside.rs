//! Nothing. Built beside the fuzzer (scripts/fuzz): only where there is a test or an example among what is built, cargo
//! builds dependencies with the features that tests want, which are those that are there already.

fn main() {}
