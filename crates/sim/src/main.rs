//! `accelnet-sim`: runs seeds, and one of them again.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use accelnet_sim::{
    alone::{self, Length},
    cluster, points,
    scene::Summary,
};
use clap::Parser;

/// Runs production code in virtual time, on simulated machines that fail.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  accelnet-sim --seeds 1000\n  accelnet-sim --from 4711 --seeds 1 --aloud"
)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_name = "N")]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Three hosts, their lines and a server, instead of one host by itself.
    #[arg(long)]
    cluster: bool,
    /// So many things befall them.
    #[arg(long, default_value_t = 40, value_name = "N")]
    happenings: usize,
    /// So many seeds at a time.
    #[arg(long, default_value_t = 2, value_name = "N")]
    jobs: usize,
    /// Say everything that happens.
    #[arg(long)]
    aloud: bool,
    /// Go on after a seed that failed.
    #[arg(long)]
    all: bool,
    /// Fail if something was never reached that a long run reaches.
    #[arg(long)]
    complete: bool,
}

impl Args {
    fn length(&self) -> Length {
        Length {
            happenings: self.happenings,
            aloud: self.aloud,
        }
    }

    /// Seeds one after the other, as long as there are any; what they were, and how many failed.
    fn work(&self, next: &AtomicU64) -> (Summary, u64) {
        let (mut sum, mut failed) = (Summary::default(), 0);
        let end = self.from + self.seeds;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return (sum, failed);
            }
            let (scene, ended) = match self.cluster {
                true => cluster::run(seed, self.length()),
                false => alone::run(seed, self.length()),
            };
            sum.add(&scene.summary());
            let Err(words) = ended else { continue };
            failed += 1;
            if self.all {
                eprintln!("seed {seed}: {words}");
                continue;
            }
            if !self.aloud {
                scene.last().iter().for_each(|line| eprintln!("{line}"));
            }
            let of = if self.cluster { "--cluster " } else { "" };
            let happenings = self.happenings;
            eprintln!(
                "seed {seed}: {words}\nagain: accelnet-sim {of}--from {seed} --seeds 1 --happenings {happenings} --aloud"
            );
            next.store(end, Ordering::Relaxed);
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (begun, next) = (Instant::now(), AtomicU64::new(args.from));
    let (mut sum, mut failed) = (Summary::default(), 0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1))
            .map(|_| scope.spawn(|| args.work(&next)))
            .collect();
        for worker in workers {
            match worker.join() {
                Ok((its, its_failed)) => {
                    sum.add(&its);
                    failed += its_failed;
                }
                // It was told by whoever panicked.
                Err(_) => failed += 1,
            }
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds, {failed} failed: {} steps in {seconds:.0} s ({:.1} million an hour), {:.0} hours of their own time",
        args.seeds,
        sum.steps,
        sum.steps as f64 / seconds * 0.0036,
        sum.lasted.as_secs_f64() / 3600.0
    );
    for (point, count) in &sum.reached {
        println!("{count:>9}  {point}");
    }
    let missing = points::missing(&sum);
    if args.complete && !missing.is_empty() {
        println!("never reached: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(failed > 0))
}
