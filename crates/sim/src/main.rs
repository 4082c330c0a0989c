//! `accelnet-sim`: runs seeds, and one of them again.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use accelnet_sim::alone::{self, Length};
use clap::Parser;

/// Runs production code in virtual time, on simulated machines that fail.
#[derive(Debug, Parser)]
#[command(version, after_help = "Examples:\n  accelnet-sim --seeds 1000\n  accelnet-sim --from 4711 --seeds 1 --aloud")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_name = "N")]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// So many things befall a host.
    #[arg(long, default_value_t = 40, value_name = "N")]
    happenings: usize,
    /// Say everything that happens.
    #[arg(long)]
    aloud: bool,
    /// Go on after a seed that failed.
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let begun = Instant::now();
    let (mut steps, mut failed) = (0, 0_u32);
    let mut reached: BTreeMap<String, u64> = BTreeMap::new();
    for seed in args.from..args.from + args.seeds {
        let length = Length {
            happenings: args.happenings,
            aloud: args.aloud,
        };
        let (scene, ended) = alone::run(seed, length);
        let summary = scene.summary();
        steps += summary.steps;
        for (point, count) in summary.reached {
            *reached.entry(point).or_default() += count;
        }
        if let Err(words) = ended {
            failed += 1;
            eprintln!("seed {seed}: {words}");
            if !args.all {
                if !args.aloud {
                    scene.last().iter().for_each(|line| eprintln!("{line}"));
                }
                eprintln!("again: accelnet-sim --from {seed} --seeds 1 --happenings {} --aloud", args.happenings);
                break;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{steps} steps in {seconds:.1} s, {failed} seeds failed");
    for (point, count) in reached {
        println!("{count:>9}  {point}");
    }
    ExitCode::from(u8::from(failed > 0))
}
