//! `accelnet intent …`

use accelnet_model::{
    AdapterMatch, AdapterName, IfName, IntentType, LevelQueuePairs, LevelTxRates, Name, PciAddress,
    VfCount, VfDriver,
};
use clap::Subcommand;

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
