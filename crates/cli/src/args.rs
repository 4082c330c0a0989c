//! The command line as types: names, help and examples in one place.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use accelnet_model::{
    AdapterMatch, AdapterName, IfName, IntentType, LevelQueuePairs, LevelTxRates, Name, PciAddress,
    Performance, VfCount, VfDriver, WhenToCreateVfs,
};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;

const ROOT_EXAMPLES: &str = "\
Examples:
  accelnet prereq --intent compute         what is missing, why, and what to do
  accelnet enable --intent compute         turn acceleration on, half of the nodes held back
  accelnet vm enable web1 --performance Medium
  accelnet vm show web1                    the path that is really in use
  accelnet vm disable 'web*'               back to the software switch

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (nothing changed), 4 not found,
5 no permission, 6 not reachable, 7 done for some only, 8 not finished in time.";

/// A switch-over takes seconds; a guest that is slow to give up its VF, a minute.
pub const TIMEOUT_SECONDS: u64 = 180;
/// A year; more is a mistake, and clocks need not bear it.
const TIMEOUT_MAX_SECONDS: u64 = 365 * 24 * 3600;

/// Accelerated networking (SR-IOV) for KVM virtual machines.
#[derive(Debug, Parser)]
#[command(name = "accelnet", version, after_help = ROOT_EXAMPLES, max_term_width = 100)]
pub struct Args {
    /// How to print results.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,

    /// The server's socket.
    #[arg(long, global = true, env = "ACCELNET_SOCKET", value_name = "PATH",
          default_value = accelnet_api::DEFAULT_SOCKET)]
    pub socket: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; lists are {"items": […]}.
    Json,
    /// For programs and people.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check what acceleration needs, and name cause and cure of what is missing.
    ///
    /// Without an intent the nodes are checked; with one also the intent, its bridge and adapters.
    #[command(
        after_help = "Examples:\n  accelnet prereq\n  accelnet prereq --intent compute -o json"
    )]
    Prereq(PrereqArgs),

    /// Turn on accelerated networking for an intent.
    #[command(
        after_help = "Examples:\n  accelnet enable --intent compute --dry-run\n  accelnet enable --intent compute --reserve 50\n  accelnet enable --intent compute --nodes-down 1   one node may be down, however many there are\n  accelnet enable --intent compute --when now   create VFs at once; bounces the adapter's link"
    )]
    Enable(EnableArgs),

    /// Change the reserve, or move to another intent.
    ///
    /// Another intent takes the place of the present one. What happens to each VM is said first.
    #[command(
        after_help = "Examples:\n  accelnet set --reserve 25\n  accelnet set --nodes-down 1\n  accelnet set --intent storage2 --dry-run"
    )]
    Set(SetArgs),

    /// Stop managing accelerated networking. VMs keep their VFs and settings.
    Disable(ChangeArgs),

    /// The cluster at a glance.
    Status,

    /// How much room there is with the reserve held back, now or for planning.
    ///
    /// Of the cluster: VFs and queue pairs, how many more VMs of each level fit, and the largest reserve
    /// that would still hold. Of a file: the same rules, without a server.
    #[command(
        after_help = "Examples:\n  accelnet capacity\n  accelnet capacity --without node3,node7   who would go where\n  accelnet capacity --from plan.json -o json\n  jq '.reserve_percentage = 25' plan.json | accelnet capacity --from -\n\nThe file's format: docs/reference/capacity.md."
    )]
    Capacity(CapacityArgs),

    /// Virtual machines.
    #[command(subcommand)]
    Vm(VmCommand),

    /// Network intents: a named role, its adapters and its bridge.
    #[command(subcommand)]
    Intent(IntentCommand),

    /// Network adapters (physical functions) and their VFs.
    #[command(subcommand)]
    Adapter(AdapterCommand),

    /// What a problem's code means, and what helps.
    #[command(after_help = "Examples:\n  accelnet explain vm_needs_cold_start\n  accelnet explain")]
    Explain {
        /// The code; all codes if left out.
        code: Option<String>,

        /// All codes as the page docs/reference/problems.md.
        #[arg(long, hide = true, conflicts_with = "code")]
        markdown: bool,
    },

    /// Commands with the names and parameters of the reference's PowerShell cmdlets.
    #[command(subcommand)]
    Cmdlet(CmdletCommand),

    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  accelnet completion bash > /etc/bash_completion.d/accelnet"
    )]
    Completion {
        /// The shell.
        shell: Shell,
    },

    /// Print the manual page, or write the pages of all commands into a directory.
    #[command(
        hide = true,
        after_help = "Example:\n  accelnet man /usr/local/share/man/man1"
    )]
    Man {
        /// Where to write them.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// Arguments of `prereq`.
#[derive(Debug, ClapArgs)]
pub struct PrereqArgs {
    /// Also check this intent.
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
}

/// Arguments of `capacity`.
#[derive(Debug, ClapArgs)]
pub struct CapacityArgs {
    /// Answer the question in this file ('-' for standard input) instead of asking the server.
    #[arg(long, value_name = "FILE", conflicts_with = "without")]
    pub from: Option<PathBuf>,
    /// Also say where VMs would go, and which would not fit, if these nodes were down.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub without: Vec<String>,
}

/// What all changing commands share.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct ChangeArgs {
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until the change is in effect.
    #[arg(long, overrides_with = "_wait")]
    pub no_wait: bool,
    /// Wait until the change is in effect (the default).
    #[arg(long = "wait")]
    pub _wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_SECONDS))]
    pub timeout: u64,
}

/// Arguments of `enable`.
#[derive(Debug, ClapArgs)]
pub struct EnableArgs {
    /// The compute intent; may be left out if there is only one.
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
    /// Percentage of nodes that may be down at once with every accelerated VM still having its VF
    /// somewhere, 0 to 99 (default 50).
    #[arg(
        long,
        alias = "node-reserve-percentage",
        value_name = "PERCENT",
        allow_negative_numbers = true
    )]
    pub reserve: Option<i64>,
    /// The reserve as a number of nodes instead: how many may be down at once, fewer than there are.
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub nodes_down: Option<i64>,
    /// When VFs that are missing may be created: 'empty' (as soon as nothing needs the link),
    /// 'boot' (at the node's next start) or 'now' (interrupts the link).
    #[arg(long, value_name = "empty|boot|now", default_value = "empty")]
    pub when: WhenToCreateVfs,
    /// How the change is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Arguments of `set`.
#[derive(Debug, ClapArgs)]
#[group(id = "what", required = true, multiple = true, args = ["intent", "reserve", "nodes_down", "when"])]
pub struct SetArgs {
    /// Another compute intent; the present one is disabled.
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
    /// Percentage of nodes that may be down at once, 0 to 99; left out, it stays.
    #[arg(
        long,
        alias = "node-reserve-percentage",
        value_name = "PERCENT",
        allow_negative_numbers = true
    )]
    pub reserve: Option<i64>,
    /// The reserve as a number of nodes instead: how many may be down at once, fewer than there are.
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub nodes_down: Option<i64>,
    /// When VFs that are missing may be created; left out, it stays.
    #[arg(long, value_name = "empty|boot|now")]
    pub when: Option<WhenToCreateVfs>,
    /// How the change is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `accelnet cmdlet …`
#[derive(Debug, Subcommand)]
pub enum CmdletCommand {
    /// Put a command for each cmdlet into a directory; the same again changes nothing.
    #[command(
        after_help = "Example:\n  accelnet cmdlet install ~/.local/bin\n  Enable-AccelNetVM -VMName web1 -Performance Low"
    )]
    Install {
        /// Where to; it is made if it does not exist.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// The cmdlets and what they do.
    List,
    /// Remove from a directory what 'install' put there, and nothing else.
    Uninstall {
        /// Where from.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Run a cmdlet, as the installed commands do.
    #[command(after_help = "Example:\n  accelnet cmdlet run Get-VM -- -VMName web1")]
    Run {
        /// Its name.
        name: String,
        /// Its parameters, as PowerShell takes them; after the hyphens none is an option of ours.
        #[arg(last = true, value_name = "PARAMETERS")]
        words: Vec<OsString>,
    },
    /// Print the reference page.
    #[command(hide = true)]
    Document,
}

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
        after_help = "Examples:\n  accelnet vm enable web1 --performance High\n  accelnet vm enable 'web*' db1 -p Low\n  accelnet vm enable db1 --add-adapter --dry-run   db1 has no NIC on the intent's bridge\n  accelnet vm list -o json | jq -r '.items[].uuid' | accelnet vm enable -"
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
        after_help = "Examples:\n  accelnet vm park web1 && virsh managedsave web1\n  accelnet vm park 'web*' --for 10m\n  accelnet vm park --all --until-boot   before the host is shut down"
    )]
    Park {
        /// Which VMs.
        #[command(flatten)]
        vms: VmsOrAllArgs,
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
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
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

/// A time as people write it: 10m, 2h, 1h 30m.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |error: jiff::Error| format!("{error}; write it like 90s, 10m, 2h");
    let signed: SignedDuration = text.parse().map_err(wrong)?;
    let seconds = u64::try_from(signed.as_secs()).ok();
    let possible = seconds.filter(|seconds| (1..=TIMEOUT_MAX_SECONDS).contains(seconds));
    let length = possible.map(Duration::from_secs);
    length.ok_or_else(|| "it has to be one second at least and a year at most".to_owned())
}

/// `accelnet intent …`
#[derive(Debug, Subcommand)]
pub enum IntentCommand {
    /// Add an intent that adopts an existing bridge, or (--create) makes one.
    #[command(after_help = "Examples:
  accelnet intent add compute --type compute --bridge br0 --adapter eth2
  accelnet intent add compute --bridge br0 --match driver=ice,speed=25000
  accelnet intent add compute --bridge br1 --match pci=8086:10c9 --create --dry-run")]
    Add {
        /// Its name.
        name: Name,
        /// What it is for; may be given more than once.
        #[arg(
            long = "type",
            value_name = "compute|management|storage",
            default_value = "compute",
            value_delimiter = ','
        )]
        types: Vec<IntentType>,
        /// The Linux bridge that the VMs' NICs are on.
        #[arg(long)]
        bridge: IfName,
        /// The adapter that is the bridge's uplink; may be given more than once.
        #[arg(
            long = "adapter",
            required_unless_present = "matching",
            conflicts_with = "matching",
            value_name = "INTERFACE",
            value_delimiter = ','
        )]
        adapters: Vec<AdapterName>,
        /// Which adapters, where their names differ between nodes: any of driver, speed (Mbit/s) and
        /// PCI vendor:device.
        #[arg(long = "match", value_name = "driver=D,speed=S,pci=V:D")]
        matching: Option<AdapterMatch>,
        /// Make the bridge, on an adapter that nobody manages.
        #[arg(long)]
        create: bool,
        /// VFs on each adapter: 'auto', 'keep' or a number.
        #[arg(long, default_value = "auto")]
        vfs: VfCount,
        /// Queue pairs of the levels, e.g. Low=1,Medium=2,High=8; each number must divide the next one.
        /// A level that is left out has its usual number (1, 2, 4).
        #[arg(long, value_name = "LEVEL=N,…", default_value_t)]
        queue_pairs: LevelQueuePairs,
        /// The most that a VM of a level may send, in Mbit/s, e.g. Low=1000; 'none' for no limit.
        #[arg(long, value_name = "LEVEL=MBPS,…", default_value_t)]
        max_tx_rate: LevelTxRates,
        /// The driver that hands VFs to VMs, e.g. vfio-pci; 'auto' for the one that the kernel names for
        /// the card.
        #[arg(long, value_name = "auto|DRIVER", default_value_t)]
        vf_driver: VfDriver,
        /// A VF that is somebody else's: it is neither touched nor given out; may be given more than once.
        #[arg(long = "exclude-vf", value_name = "PCI", value_delimiter = ',')]
        exclude_vfs: Vec<PciAddress>,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Change an intent. What is left out stays.
    #[command(after_help = "Examples:
  accelnet intent set compute --vfs 4 --dry-run
  accelnet intent set compute --match driver=ice,pci=8086:159b
  accelnet intent set compute --queue-pairs Low=1,Medium=2,High=8 --max-tx-rate Low=1000")]
    Set {
        /// Its name.
        name: String,
        /// What it is for; all of its types.
        #[arg(
            long = "type",
            value_name = "compute|management|storage",
            value_delimiter = ','
        )]
        types: Option<Vec<IntentType>>,
        /// Another Linux bridge that the VMs' NICs are on.
        #[arg(long)]
        bridge: Option<IfName>,
        /// All adapters that it shall have; may be given more than once.
        #[arg(
            long = "adapter",
            conflicts_with = "matching",
            value_name = "INTERFACE",
            value_delimiter = ','
        )]
        adapters: Option<Vec<AdapterName>>,
        /// A rule that says which adapters it shall have, instead of their names.
        #[arg(long = "match", value_name = "driver=D,speed=S,pci=V:D")]
        matching: Option<AdapterMatch>,
        /// VFs on each adapter: 'auto', 'keep' or a number.
        #[arg(long)]
        vfs: Option<VfCount>,
        /// Queue pairs of the levels, e.g. Low=1,Medium=2,High=8; each number must divide the next one.
        /// A level that is left out has its usual number (1, 2, 4).
        #[arg(long, value_name = "LEVEL=N,…")]
        queue_pairs: Option<LevelQueuePairs>,
        /// The most that a VM of a level may send, in Mbit/s, e.g. Low=1000; 'none' for no limit.
        #[arg(long, value_name = "LEVEL=MBPS,…")]
        max_tx_rate: Option<LevelTxRates>,
        /// The driver that hands VFs to VMs, e.g. vfio-pci; 'auto' for the one that the kernel names for
        /// the card.
        #[arg(long, value_name = "auto|DRIVER")]
        vf_driver: Option<VfDriver>,
        /// All VFs that are somebody else's; may be given more than once.
        #[arg(long = "exclude-vf", value_name = "PCI", value_delimiter = ',')]
        exclude_vfs: Option<Vec<PciAddress>>,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// All intents.
    List,
    /// One intent.
    Show {
        /// Its name.
        name: String,
    },
    /// Remove an intent; its bridge stays as it is.
    Remove {
        /// Its name.
        name: String,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `accelnet adapter …`
#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// All adapters of all nodes.
    List,
    /// One adapter with its VFs.
    Show {
        /// Interface name, PCI address or permanent address.
        adapter: String,
        /// Its node, if more than one node has such an adapter.
        #[arg(long)]
        node: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (line, word) in [
            (
                &["accelnet", "vm", "enable", "a", "-p", "Turbo"][..],
                "Turbo",
            ),
            (&["accelnet", "enable", "--reserve", "3.5"], "3.5"),
            (&["accelnet", "enable", "--reserve", "abc"], "abc"),
            (
                &[
                    "accelnet",
                    "intent",
                    "add",
                    "a b",
                    "--bridge",
                    "br0",
                    "--adapter",
                    "x",
                ],
                "a b",
            ),
            (
                &["accelnet", "intent", "add", "a", "--bridge", "br0"],
                "--adapter",
            ),
            (&["accelnet", "vm", "enable"], "<VM>"),
            (&["accelnet", "vm", "park"], "--all"),
            (&["accelnet", "vm", "unpark", "a", "--all"], "--all"),
            (&["accelnet", "vm", "park", "a", "--for", "soon"], "10m"),
            (
                &["accelnet", "vm", "park", "a", "--for", "0s"],
                "one second",
            ),
            (&["accelnet", "vm", "park", "a", "--for=-1h"], "one second"),
            (&["accelnet", "vm", "park", "a", "--for", "9000h"], "a year"),
            (
                &["accelnet", "vm", "park", "a", "--for", "1h", "--until-boot"],
                "--until-boot",
            ),
        ] {
            let error = Args::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
