//! The demo: a running VM moves from the software switch to a VF and back, measured.
//!
//! ```text
//!   up ─► prerequisites ─► enable ─► rounds ─► a refused level ─► table, picture, report ─► down
//!                                      │
//!      vm enable under traffic ─► VF path measured ─► vm disable under traffic ─► switch measured
//! ```
//!
//! Paths are measured interleaved, round after round, with the same guest: a machine that is slow for
//! a while is so for both. Nothing is left behind, whatever happens, unless it is asked for.

mod build;
mod by_hand;
mod drops;
mod measure;
mod picture;
mod product;
mod report;
mod rounds;

use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use build::Build;
use product::Product;
pub use report::{AttachTimes, Path, Paths, Refused, Report, SwitchOver, Times};

use crate::{
    image::Variant,
    lab::{Lab, Options as LabOptions, SecondAdapter},
    progress::Progress,
};

/// Switches that the demo is asked to make at least, each way.
pub const FEWEST_ROUNDS: u32 = 1;
/// The guest that moves.
const GUEST: &str = "vm1";
const NODE: &str = "node1";
const INTENT: &str = "compute";

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of its lab.
    pub name: String,
    /// Rounds: in each the VM goes to the VF and back, and both paths are measured.
    pub rounds: u32,
    /// Where `report.json` and `picture.txt` are written.
    pub out: PathBuf,
    /// Leave the lab running.
    pub keep: bool,
    /// Where `accelnet` and `accelnetd` lie.
    pub bin_dir: PathBuf,
    /// What builds them meanwhile, if they are not there yet.
    pub build: Option<String>,
}

/// Tells the story; the lab is taken down at the end unless it shall be kept.
pub fn run(options: &Options, progress: Progress) -> Result<()> {
    ensure!(
        options.rounds >= FEWEST_ROUNDS,
        "--rounds must be at least {FEWEST_ROUNDS}"
    );
    let began = Instant::now();
    let build = options.build.as_deref().map(Build::start).transpose()?;
    let lab_options = LabOptions {
        nodes: 1,
        guests: 2,
        smt: false,
        vfs: 0,
        iommu: true,
        second_adapter: SecondAdapter::None,
        memory_mib: 2048,
        bin_dir: build.is_none().then(|| options.bin_dir.clone()),
        variant: Variant::Plain,
        cluster: None,
    };
    let mut lab = Lab::up(&options.name, lab_options, progress)?;
    let there = build.map_or(Ok(()), |build| {
        progress.step("waiting for the build");
        build.wait()?;
        lab.take_product(options.bin_dir.clone())
    });
    let up_s = began.elapsed().as_secs_f64();
    let told = there.and_then(|()| tell(&lab, options, up_s, progress));
    if options.keep {
        println!("{}", how_to_reach(&lab));
    } else {
        progress.step("taking the lab down");
        Lab::down(&options.name)?;
    }
    told
}

fn tell(lab: &Lab, options: &Options, up_s: f64, progress: Progress) -> Result<()> {
    let story = Instant::now();
    let product = Product::on(lab, NODE);
    progress.step("what does acceleration need here? (accelnet prereq --intent compute)");
    println!("{}", product.text(&["prereq", "--intent", INTENT])?);
    progress.step("enabling it: the adapter's VFs are made (accelnet enable --when now)");
    println!(
        "{}",
        product.text(&["enable", "--intent", INTENT, "--when", "now"])?
    );
    println!("{}", product.text(&["status"])?);
    let measured = rounds::run(lab, &product, options.rounds, progress)?;
    progress.step("a level that this card cannot give is refused, with the reason");
    let refused = vec![product.refused(&["vm", "enable", GUEST, "--performance", "High"])?];
    for refusal in &refused {
        println!("$ {}\n{}", refusal.command, refusal.text);
    }
    let attach = by_hand::compare(lab, &product, measured.rate_pps, progress)
        .inspect_err(|error| eprintln!("warning: not compared with doing it by hand: {error:#}"))
        .ok();
    let report = Report {
        attach,
        paths: Paths {
            synthetic: measured.synthetic,
            vf: measured.vf,
        },
        switches: measured.switches,
        lost_between_switches: measured.lost_between,
        refused,
        versions: product.versions()?,
        accelerator: lab.accel.name().to_owned(),
        rate_pps: measured.rate_pps,
        echoes_per_s: measured.echoes_per_s,
        rounds: options.rounds,
        rounds_left_out: measured.rounds_left_out,
        times: Times {
            ended_unix_s: unix_now_s(),
            up_s,
            story_s: story.elapsed().as_secs_f64(),
        },
    };
    report.check()?;
    let picture = picture::draw(&report);
    println!("\n{picture}");
    report.write(&options.out, &picture)?;
    println!("written: {}/report.json", options.out.display());
    println!("{NEXT}");
    Ok(())
}

const NEXT: &str = "
What to try next:
  make demo KEEP=1        leaves the lab running, and says how to reach it
  make demo ROUNDS=10     more rounds, so that medians say more
  docs/guide/tutorial.md  the same by hand, step by step
  docs/guide/host.md      on a host of yours, with a card";

/// Now, in seconds since 1970.
fn unix_now_s() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

fn how_to_reach(lab: &Lab) -> String {
    let program = std::env::current_exe().context("no program").map_or_else(
        |_| "accelnet-lab".to_owned(),
        |own| own.display().to_string(),
    );
    let lab = format!("{program} --name {}", lab.name);
    format!(
        "The lab goes on running:\n  \
         {lab} exec {NODE} -- accelnet status\n  \
         {lab} exec {NODE} -- bash          a shell on the node\n  \
         {lab} guest {GUEST} -- ip link        inside the guest\n  \
         {lab} probe {GUEST} --seconds 10   numbered traffic both ways\n  \
         {lab} down                         the end of it"
    )
}
