//! `accelnet vm …`

use std::time::Duration;

use accelnet_model::Performance;
use clap::{Args as ClapArgs, Subcommand};
use jiff::SignedDuration;

use super::{ChangeArgs, TIMEOUT_MAX_SECONDS};

/// `accelnet vm …`
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// VMs: wanted level and the path really in use. All of them if none is named.
    #[command(
        after_help = "Examples:\n  accelnet vm list\n  accelnet vm list 'web*' db1\n  accelnet vm list -o json | jq -r '.items[] | select(.level).name'"
    )]
    List {
        /// Names, UUIDs, patterns with * and ?, or '-' to read names from standard input.
        #[arg(value_name = "VM")]
        vms: Vec<String>,
    },
    /// VMs with their NICs and problems.
    #[command(
        after_help = "Examples:\n  accelnet vm show web1\n  accelnet vm show web1 -o json | jq -r '.nics[].path'\n  accelnet vm show 'web*' -o json | jq -r '.items[].name'\n\nOne name gives one object, more names or a pattern a list."
    )]
    Show {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsArgs,
    },
    /// Why a VM's packets go the way they go: the whole chain, from the wish to the traffic.
    #[command(
        after_help = "Examples:\n  accelnet vm explain web1\n  accelnet vm explain web1 -o json | jq -r '.nics[].links[] | select(.state == \"broken\").link'\n\nLinks are ok, wait for what comes by itself, are BROKEN, could not be seen, or are not needed (-)."
    )]
    Explain {
        /// Name or UUID.
        vm: String,
    },
    /// Nodes that could take a VM with its VFs now.
    #[command(
        after_help = "Examples:\n  accelnet vm where web1\n  accelnet vm where web1 --performance High -o json | jq -r '.nodes[] | select(.fits and .keeps_reserve).node'"
    )]
    Where {
        /// Name or UUID.
        vm: String,
        /// Low, Medium or High; if left out, the VM's own level, or Medium if it has none.
        #[arg(short, long, alias = "level")]
        performance: Option<Performance>,
    },
    /// Stage on VMs' definitions what acceleration needs, for their next cold start.
    #[command(
        after_help = "Example:\n  accelnet vm prepare 'web*'   then shut each down and start it again"
    )]
    Prepare {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsArgs,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Accelerate running VMs, without losing a packet.
    #[command(
        after_help = "Examples:\n  accelnet vm enable web1 --performance High\n  accelnet vm enable 'web*' db1 -p Low\n  accelnet vm enable db1 --add-adapter --dry-run   db1 has no NIC on the intent's bridge\n  accelnet vm enable web1 --waive tap/qdisc-htb --because 'shaped in the guest since May'\n  accelnet vm list -o json | jq -r '.items[].uuid' | accelnet vm enable -"
    )]
    Enable {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsArgs,
        /// Low, Medium or High.
        #[arg(short, long, alias = "level", default_value = "Medium")]
        performance: Performance,
        /// Add a virtio NIC on the intent's bridge to VMs that have none there: while they run if two
        /// PCIe root ports are free, else from the next cold start on.
        #[arg(long)]
        add_adapter: bool,
        /// This rule of the VM's port need not hold on the VF: its name, in brackets in what is said of it.
        /// Recorded, shown by 'accelnet waiver list', and gone when the rule is.
        #[arg(long, value_name = "RULE")]
        waive: Vec<String>,
        /// Why it is waived.
        #[arg(long, value_name = "TEXT", requires = "waive")]
        because: Option<String>,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change the level of accelerated VMs.
    #[command(after_help = "Example:\n  accelnet vm set 'web*' --performance Low")]
    Set {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsArgs,
        /// Low, Medium or High.
        #[arg(short, long, alias = "level")]
        performance: Performance,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Keep accelerated VMs on the software switch for a while, for maintenance, a save or a move.
    ///
    /// Their level stays, and their share of capacity is held for them. When it is over they go back to
    /// their VFs by themselves.
    #[command(
        after_help = "Examples:\n  accelnet vm park web1 && virsh managedsave web1\n  accelnet vm park 'web*' --for 10m\n  accelnet vm park --all --node \"$(uname -n)\" --until-boot   before this host is shut down"
    )]
    Park {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsOrAllArgs,
        /// Which of all.
        #[command(flatten)]
        of: OfNodeArgs,
        /// For how long from now on, e.g. 10m, 2h, '1h 30m'; without it until they are unparked.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until_boot")]
        length: Option<Duration>,
        /// Until their node has started again; what they were parked for before holds too.
        #[arg(long)]
        until_boot: bool,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let parked VMs go to their VFs again.
    #[command(
        after_help = "Examples:\n  accelnet vm unpark web1 'db*'\n  accelnet vm unpark --all"
    )]
    Unpark {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsOrAllArgs,
        /// Which of all.
        #[command(flatten)]
        of: OfNodeArgs,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Move an accelerated VM to another node while it runs: off its VF, live migration, a VF there.
    ///
    /// Its path is opened on the software switch first, so that no packet is lost to the move but in the moment in
    /// which any live migration stops a VM. If it cannot be migrated it goes back to its VF where it was. The nodes'
    /// libvirt must reach each other ('accelnetd agent --help', --peer-libvirt).
    #[command(
        after_help = "Examples:\n  accelnet vm move web1 node2\n  accelnet vm where web1               which nodes have a VF for it\n  accelnet vm move web1 node2 --for 1h --no-wait\n  accelnet vm unpark web1              it shall stay where it is"
    )]
    Move {
        /// Name or UUID.
        vm: String,
        /// The node that it shall run on.
        node: String,
        /// It is tried for so long, and given up then.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "10m")]
        length: Duration,
        /// Also if the node has no free VF for it: it goes by the switch there until there is one.
        #[arg(long)]
        without_vf: bool,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Return as soon as the change is accepted.
        #[arg(long)]
        no_wait: bool,
    },
    /// Bring VMs back to the software switch and give their VFs back clean.
    #[command(after_help = "Example:\n  accelnet vm disable web1 'db*'")]
    Disable {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsArgs,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// Which VMs a command is about.
#[derive(Debug, ClapArgs)]
pub struct VmsArgs {
    /// Names, UUIDs, patterns with * and ?, or '-' to read names from standard input.
    #[arg(required = true, value_name = "VM")]
    pub vms: Vec<String>,
}

/// The same, or all that it can be about.
#[derive(Debug, ClapArgs)]
#[group(id = "which", required = true, multiple = false, args = ["vms", "all"])]
pub struct VmsOrAllArgs {
    /// Names, UUIDs, patterns with * and ?, or '-' to read names from standard input.
    #[arg(value_name = "VM")]
    pub vms: Vec<String>,
    /// All accelerated VMs, or all that are parked.
    #[arg(long)]
    pub all: bool,
}

/// Which of all.
#[derive(Debug, ClapArgs)]
pub struct OfNodeArgs {
    /// Of all only those that are on this node.
    #[arg(long, value_name = "NODE", requires = "all", conflicts_with = "vms")]
    pub node: Option<String>,
}

/// A time as people write it: 10m, 2h, 1h 30m.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |error: jiff::Error| format!("{error}; write it like 90s, 10m, 2h");
    let signed: SignedDuration = text.parse().map_err(wrong)?;
    let seconds = u64::try_from(signed.as_secs()).ok();
    let possible = seconds.filter(|seconds| (1..=TIMEOUT_MAX_SECONDS).contains(seconds));
    let length = possible.map(Duration::from_secs);
    length.ok_or_else(|| "it has to be one second at least and a year at most".to_owned())
}
