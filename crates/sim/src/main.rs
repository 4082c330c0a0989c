//! `accelnet-sim`: runs seeds, and one of them again.

use std::{
    process::{self, Command, ExitCode, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use accelnet_sim::{
    alone::{self, Length},
    cluster, points,
    scene::Summary,
};
use clap::Parser;

/// Of a processor's time, for all that a happening brings about: a thousand times what it takes.
const A_HAPPENING: Duration = Duration::from_secs(5);

/// What this process has had of a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("no process has had less than nothing")
}

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
    /// One seed, in this process; what it was as JSON.
    #[arg(long, hide = true)]
    apart: bool,
    /// Fail if something was never reached that a long run reaches.
    #[arg(long)]
    complete: bool,
}

/// What became of a seed.
struct Ran {
    summary: Summary,
    /// What must never be and was, with what happened before it.
    failed: Option<String>,
}

impl Args {
    fn length(&self) -> Length {
        Length {
            happenings: self.happenings,
            aloud: self.aloud,
        }
    }

    fn words(&self, seed: u64, words: &str) -> String {
        let of = if self.cluster { "--cluster " } else { "" };
        let happenings = self.happenings;
        format!(
            "seed {seed}: {words}\n\
             again: accelnet-sim {of}--from {seed} --seeds 1 --happenings {happenings} --aloud"
        )
    }

    /// Ends the process if what this gives is still there when any seed is over: its own time stands still, as somebody
    /// always has something to do.
    fn watched(&self, seed: u64) -> mpsc::Sender<()> {
        let (ends, end) = mpsc::channel();
        let limit = A_HAPPENING * u32::try_from(self.happenings).unwrap_or(u32::MAX);
        let words = format!("no end after {} s of a processor", limit.as_secs());
        let words = self.words(seed, &words);
        let begun = processor_time();
        thread::spawn(move || {
            while end.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                if processor_time().saturating_sub(begun) > limit {
                    eprintln!("{words}");
                    process::exit(1);
                }
            }
        });
        ends
    }

    fn run(&self, seed: u64) -> Ran {
        let ends = self.watched(seed);
        let (scene, ended) = match self.cluster {
            true => cluster::run(seed, self.length()),
            false => alone::run(seed, self.length()),
        };
        drop(ends);
        let failed = ended.err().map(|words| {
            let before = match self.aloud || self.all {
                true => String::new(),
                false => scene.last().join("\n") + "\n",
            };
            before + &self.words(seed, &words)
        });
        Ran {
            summary: scene.summary(),
            failed,
        }
    }

    /// Another runtime in the same process is another run of the same seed: tokio counts them, and begins each one's
    /// chance with the number.
    fn run_apart(&self, seed: u64) -> Ran {
        let run = || -> std::io::Result<Ran> {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--cluster", "--apart", "--from", &seed.to_string()]);
            command.args(["--happenings", &self.happenings.to_string()]);
            command.args(self.all.then_some("--all"));
            let output = command.stderr(Stdio::piped()).output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Ok(Ran {
                summary: serde_json::from_slice(&output.stdout).unwrap_or_default(),
                failed: (!output.status.success()).then_some(said),
            })
        };
        run().unwrap_or_else(|error| Ran {
            summary: Summary::default(),
            failed: Some(error.to_string()),
        })
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
            let ran = match self.cluster && !self.aloud {
                true => self.run_apart(seed),
                false => self.run(seed),
            };
            sum.add(&ran.summary);
            let Some(words) = ran.failed else { continue };
            failed += 1;
            eprintln!("{}", words.trim_end());
            if !self.all {
                next.store(end, Ordering::Relaxed);
            }
        }
    }
}

/// One seed, for the process that has started this one.
fn apart(args: &Args) -> ExitCode {
    let ran = args.run(args.from);
    // Text keys all through.
    println!(
        "{}",
        serde_json::to_string(&ran.summary).unwrap_or_default()
    );
    let failed = ran.failed.inspect(|words| eprintln!("{words}"));
    ExitCode::from(u8::from(failed.is_some()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.apart {
        return apart(&args);
    }
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
    let missing = match args.cluster {
        true => points::missing_of_clusters(&sum),
        false => points::missing(&sum),
    };
    if args.complete && !missing.is_empty() {
        println!("never reached: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(failed > 0))
}
