//! What the demo found, as it is written to `report.json`.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::probe::analysis::RoundTrips;

/// One path of the VM's packets: medians over all rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Round trips between wire and guest.
    #[serde(flatten)]
    pub round_trips: RoundTrips,
    /// Packets a second, both directions together, with a fixed number of echoes on their way.
    pub packets_per_s: f64,
    /// The node's processor time outside its guests' vCPU threads and the agent for each packet,
    /// microseconds; what the node takes without packets is subtracted.
    pub host_cpu_us_per_packet: f64,
    /// How busy the node was meanwhile, its guests' vCPUs included, percent.
    pub busy_percent: f64,
}

/// Both paths.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Paths {
    /// The virtio NIC (vhost) and the software switch.
    pub synthetic: Path,
    /// The VF.
    pub vf: Path,
}

/// One change of path under traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SwitchOver {
    /// `enable` or `disable`.
    pub operation: String,
    /// How long the command took, seconds.
    pub took_s: f64,
    /// Packets sent from the wire to the guest meanwhile.
    pub sent_to_guest: u64,
    /// Those of them that never came.
    pub lost_to_guest: u64,
    /// Packets sent from the guest meanwhile.
    pub sent_from_guest: u64,
    /// Those of them that never came.
    pub lost_from_guest: u64,
    /// Copies that came besides, both directions.
    pub duplicated: u64,
    /// Packets that came after a later one, both directions.
    pub reordered: u64,
    /// Longest time without a packet around lost ones, milliseconds; 0 if none was lost.
    pub outage_ms: f64,
    /// Longest time that a packet was on its way, milliseconds.
    pub max_delay_ms: f64,
    /// Packets that the probe, both ends, did not send because it stood still: what it would have sent is
    /// not known to have been lost or not.
    pub not_sent: u64,
    /// Packets that the guest's own kernel refused to take from its end of the probe; they are not among
    /// those sent.
    pub refused_by_guest: u64,
    /// Packets that went no further, by place, as the kernels of node and guest count them: any traffic,
    /// copies too.
    pub drops: BTreeMap<String, u64>,
}

/// From the command until the guest is on its VF, medians.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AttachTimes {
    /// `accelnet vm enable`, milliseconds.
    pub accelnet_ms: f64,
    /// `ip link`, `bridge fdb` and `virsh attach-device`, milliseconds.
    pub by_hand_ms: f64,
}

/// A command that was refused, as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The command line.
    pub command: String,
    /// The problem's code.
    pub code: String,
    /// What the operator sees.
    pub text: String,
}

/// When, and how long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The end, seconds since 1970.
    pub ended_unix_s: f64,
    /// Until the lab was up, images included, seconds.
    pub up_s: f64,
    /// The story itself, seconds.
    pub story_s: f64,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Both paths, measured interleaved.
    pub paths: Paths,
    /// Every change of path.
    pub switches: Vec<SwitchOver>,
    /// Packets lost while nothing was changed, both directions.
    pub lost_between_switches: u64,
    /// How long it takes to get onto a VF, if it could be compared.
    pub attach: Option<AttachTimes>,
    /// Refused commands.
    pub refused: Vec<Refused>,
    /// Versions of what was running.
    pub versions: BTreeMap<String, String>,
    /// How the node ran: `kvm` or `tcg` (software emulation).
    pub accelerator: String,
    /// Packets a second, each way, during changes.
    pub rate_pps: u32,
    /// Echoes a second when delays and processor time are measured: as many as leave the node time on the
    /// slower path.
    pub echoes_per_s: u32,
    /// Rounds.
    pub rounds: u32,
    /// Rounds of these that say nothing of a path, because the node was too busy in them.
    pub rounds_left_out: u32,
    /// Times.
    pub times: Times,
}

impl Report {
    /// The demo's own promise: nothing lost on the way to the guest. What the guest's kernel drops by
    /// itself while it sends is counted and shown.
    pub fn check(&self) -> Result<()> {
        let lost: u64 = self
            .switches
            .iter()
            .map(|switch| switch.lost_to_guest)
            .sum();
        ensure!(
            self.lost_between_switches == 0,
            "{} packets were lost while nothing was changed: the measurement does not count",
            self.lost_between_switches
        );
        if lost > 0 {
            eprintln!("warning: {lost} packet(s) to the guest were lost; none should be");
        }
        Ok(())
    }

    /// Writes report and picture.
    pub fn write(&self, directory: &std::path::Path, picture: &str) -> Result<()> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        fs::write(directory.join("picture.txt"), picture)?;
        let text = serde_json::to_string_pretty(self)?;
        fs::write(directory.join("report.json"), text + "\n")?;
        Ok(())
    }
}
