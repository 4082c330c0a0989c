//! `accelnet-lab`: an emulated SR-IOV cluster on one machine, for scripts and people.

use std::{path::PathBuf, process::ExitCode};

use accelnet_lab::{
    demo,
    image::{self, Variant},
    lab::{
        Cluster, Guest, Lab, Network, Node, NodeState, Options, SecondAdapter, Store,
        down_on_interrupt, guests,
    },
    progress::Progress,
    wire,
};
use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  accelnet-lab up --nodes 1 --guests 2
  accelnet-lab exec node1 -- accelnet status
  accelnet-lab guest vm1 -- ip link
  accelnet-lab probe vm1 --seconds 10 --rate 300 -o json
  accelnet-lab kill node1 && accelnet-lab start node1
  accelnet-lab up --nodes 3 --guests 3 --cluster
  accelnet-lab cut node2 --network management
  accelnet-lab pause node3
  accelnet-lab down

A lab runs without privileges and touches nothing on the machine's own network. Building its images
(once) needs root.";

/// An emulated SR-IOV cluster on one machine: real drivers, real libvirt, emulated silicon.
#[derive(Debug, Parser)]
#[command(name = "accelnet-lab", version, after_help = EXAMPLES, max_term_width = 100)]
struct Args {
    /// Which lab; labs of different names run side by side.
    #[arg(long, global = true, default_value = "lab", env = "ACCELNET_LAB_NAME")]
    name: String,
    /// No progress.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Second {
    /// There is none.
    None,
    /// Like the first one, on the same wire.
    Plain,
    /// Below a root port without Access Control Services.
    NoAcs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the images, boot the nodes, start product and guests.
    Up(UpArgs),
    /// What runs.
    Status {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Run a command on a node; its output and exit code are passed on.
    Exec {
        /// The node.
        node: String,
        /// The command.
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Run a command in a guest; its output and exit code are passed on.
    Guest {
        /// The guest.
        guest: String,
        /// The command.
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Numbered traffic in both directions between the wire and a guest: losses, order, delays.
    Probe {
        /// The guest.
        guest: String,
        /// How long.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Packets a second, each way.
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
        rate: u32,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Unplug a node's cable: that of its adapter, or of the management network.
    Cut {
        /// The node.
        node: String,
        /// Which cable.
        #[arg(long, value_enum, default_value_t = Network::Data)]
        network: Network,
    },
    /// Plug it in again.
    Heal {
        /// The node.
        node: String,
        /// Which cable.
        #[arg(long, value_enum, default_value_t = Network::Data)]
        network: Network,
    },
    /// Stop a node's machine where it is; its clock stands still too.
    Pause {
        /// The node.
        node: String,
    },
    /// Let a paused node go on.
    Resume {
        /// The node.
        node: String,
    },
    /// Cut a node's power.
    Kill {
        /// The node.
        node: String,
    },
    /// Boot a node that was killed, from its own disk.
    Start {
        /// The node.
        node: String,
    },
    /// Define and start one more guest, possibly an odd one.
    Define(DefineArgs),
    /// Copy the product's programs to the nodes anew (used from their next start on).
    Push,
    /// Tell the whole story, measured: a VM moves from the software switch to a VF and back.
    Demo(DemoArgs),
    /// Take the lab down; leaves nothing behind.
    Down,
    /// Build the images only.
    Build,
    /// The wire of a lab (started by 'up').
    #[command(hide = true)]
    Wire {
        #[arg(long)]
        directory: PathBuf,
        /// Sockets of the management network.
        #[arg(long)]
        management: Vec<PathBuf>,
        /// Sockets of the data network.
        data: Vec<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
struct UpArgs {
    /// Number of nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Number of guests over all nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=100))]
    guests: u8,
    /// Two threads a core on the nodes.
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    smt: Switch,
    /// VFs that the compute intent asks for (default: as many as the product chooses).
    #[arg(long, default_value_t = 0)]
    vfs: u16,
    /// Nodes have an IOMMU.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    iommu: Switch,
    /// A second adapter, pf1, which no bridge and no intent uses.
    #[arg(long, value_enum, default_value_t = Second::None)]
    second_adapter: Second,
    /// Memory of a node in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Directory with 'accelnet' and 'accelnetd' (default: this program's).
    #[arg(long, env = "ACCELNET_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    /// Do not start the product on the nodes.
    #[arg(long)]
    without_accelnet: bool,
    /// The product as a cluster, which all nodes join; otherwise each node is a host for itself.
    #[arg(long, conflicts_with = "without_accelnet")]
    cluster: bool,
    /// Where the cluster's servers keep what they know.
    #[arg(long, value_enum, default_value_t = Store::Sqlite, requires = "cluster")]
    store: Store,
    /// Number of servers, on the first nodes; with etcd also of its members.
    #[arg(long, default_value_t = 1, requires = "cluster", value_parser = clap::value_parser!(u8).range(1..=9))]
    servers: u8,
    /// Nodes have Pacemaker, corosync and crmsh, not set up; their images are made when first wanted.
    #[arg(long)]
    pacemaker: bool,
}

#[derive(Debug, ClapArgs)]
struct DemoArgs {
    /// Rounds; in each the VM goes there and back.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Directory for report.json and picture.txt.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
    /// Leave the lab running at the end, and say how to reach it.
    #[arg(long)]
    keep: bool,
    /// Builds 'accelnet' and 'accelnetd' while the node and its guests boot, e.g. 'cargo build'.
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// Directory with 'accelnet' and 'accelnetd' (default: this program's).
    #[arg(long, env = "ACCELNET_BIN_DIR")]
    bin_dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct DefineArgs {
    /// The node.
    node: String,
    /// Name of the guest.
    guest: String,
    /// Last number of its addresses, 10 to 250.
    #[arg(long, value_parser = clap::value_parser!(u8).range(10..=250))]
    host: u8,
    /// Machine type.
    #[arg(long, default_value = "q35")]
    machine: String,
    /// vCPUs.
    #[arg(long, default_value_t = 2)]
    vcpus: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 192)]
    memory: u32,
    /// The NIC cannot stand by for a VF.
    #[arg(long)]
    no_standby: bool,
    /// No free PCIe root port.
    #[arg(long)]
    no_root_port: bool,
    /// No NIC.
    #[arg(long)]
    no_nic: bool,
    /// The guest loads no failover and VF drivers.
    #[arg(long)]
    no_failover: bool,
    /// Model of the NIC.
    #[arg(long, default_value = "virtio")]
    model: String,
    /// Bridge of the NIC.
    #[arg(long, default_value = "br0")]
    bridge: String,
    /// More XML inside the NIC's element.
    #[arg(long, default_value = "")]
    nic_xml: String,
    /// Define only, do not start.
    #[arg(long)]
    off: bool,
    /// No persistent definition.
    #[arg(long)]
    transient: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<i32> {
    let progress = Progress::new(args.quiet);
    let name = args.name.as_str();
    match args.command {
        Command::Up(up) => bring_up(name, up, progress)?,
        Command::Status { output } => status(&Lab::open(name)?, output)?,
        Command::Exec { node, command } => return Lab::open(name)?.exec(&node, &command),
        Command::Guest { guest, command } => return Lab::open(name)?.guest_exec(&guest, &command),
        Command::Probe {
            guest,
            seconds,
            rate,
            output,
        } => {
            let report = Lab::open(name)?.probe(&guest, seconds, rate)?;
            match output {
                Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
                Format::Text => println!(
                    "to the guest: {} of {} lost; from the guest: {} of {} lost; RTT p50 {:.0} us, p99 {:.0} us, jitter {:.0} us",
                    report.to_guest.lost,
                    report.to_guest.sent,
                    report.from_guest.lost,
                    report.from_guest.sent,
                    report.round_trips.rtt_p50_us,
                    report.round_trips.rtt_p99_us,
                    report.round_trips.jitter_us
                ),
            }
        }
        Command::Cut { node, network } => Lab::open(name)?.cut_node(&node, network, true)?,
        Command::Heal { node, network } => Lab::open(name)?.cut_node(&node, network, false)?,
        Command::Pause { node } => Lab::open(name)?.pause_node(&node, true)?,
        Command::Resume { node } => Lab::open(name)?.pause_node(&node, false)?,
        Command::Kill { node } => Lab::open(name)?.kill_node(&node)?,
        Command::Start { node } => {
            let mut lab = Lab::open(name)?;
            lab.start_node(&node)?;
            lab.wait_for_node(&node)?;
        }
        Command::Define(define) => define_guest(&mut Lab::open(name)?, &define)?,
        Command::Push => Lab::open(name)?.push_programs()?,
        Command::Demo(demo) => tell_the_story(name, demo, progress)?,
        Command::Down => Lab::down(name)?,
        Command::Build => {
            image::ensure(Variant::Plain, progress)?;
        }
        Command::Wire {
            directory,
            management,
            data,
        } => run_wire(&directory, &data, &management)?,
    }
    Ok(0)
}

/// Where the product's programs are: as given, or beside this one.
fn bin_dir(given: Option<PathBuf>) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    given
        .or_else(|| own.parent().map(PathBuf::from))
        .context("this program has no directory")
}

fn tell_the_story(name: &str, demo: DemoArgs, progress: Progress) -> Result<()> {
    let options = demo::Options {
        name: name.to_owned(),
        rounds: demo.rounds,
        out: demo.out,
        keep: demo.keep,
        bin_dir: bin_dir(demo.bin_dir)?,
        build: demo.build,
    };
    down_on_interrupt(name)?;
    demo::run(&options, progress)
}

fn bring_up(name: &str, up: UpArgs, progress: Progress) -> Result<()> {
    let bin_dir = Some(bin_dir(up.bin_dir)?);
    let options = Options {
        nodes: up.nodes,
        guests: up.guests,
        smt: up.smt == Switch::On,
        vfs: up.vfs,
        iommu: up.iommu == Switch::On,
        second_adapter: match up.second_adapter {
            Second::None => SecondAdapter::None,
            Second::Plain => SecondAdapter::Plain,
            Second::NoAcs => SecondAdapter::NoAcs,
        },
        memory_mib: up.memory,
        bin_dir: bin_dir.filter(|_| !up.without_accelnet),
        variant: if up.pacemaker {
            Variant::Pacemaker
        } else {
            Variant::Plain
        },
        cluster: up.cluster.then_some(Cluster {
            store: up.store,
            servers: up.servers,
        }),
    };
    down_on_interrupt(name)?;
    Lab::up(name, options, progress)?;
    Ok(())
}

fn status(lab: &Lab, output: Format) -> Result<()> {
    match output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&status_document(lab))?),
        Format::Text => print_status(lab),
    }
    Ok(())
}

fn status_document(lab: &Lab) -> serde_json::Value {
    let networks = |node: &Node| -> Vec<_> {
        let networks = lab.networks().iter();
        let shown = networks.map(|network| {
            json!({
                "name": network.name(),
                "address": network.address(node.number),
                "cut": lab.is_cut(node, *network),
            })
        });
        shown.collect()
    };
    let nodes: Vec<_> = lab
        .nodes
        .iter()
        .map(|node| {
            json!({
                "name": node.name,
                "state": state(lab, node),
                "ssh_port": node.ssh_port,
                "networks": networks(node),
            })
        })
        .collect();
    let guests: Vec<_> = lab
        .guests
        .iter()
        .map(|guest| {
            json!({ "name": guest.name, "node": guest.node, "mac": guest.mac, "address": guest.address() })
        })
        .collect();
    json!({ "name": lab.name, "nodes": nodes, "guests": guests, "cluster": lab.options.cluster })
}

fn print_status(lab: &Lab) {
    for node in &lab.nodes {
        let networks = lab.networks().iter().map(|network| {
            let cut = if lab.is_cut(node, *network) {
                " (cut)"
            } else {
                ""
            };
            let address = network.address(node.number);
            format!("  {} {address}{cut}", network.name())
        });
        let networks: String = networks.collect();
        println!("{}  {}{networks}", node.name, state(lab, node));
    }
    for guest in &lab.guests {
        println!(
            "{}  on {}  {}  {}",
            guest.name,
            guest.node,
            guest.address(),
            guest.mac
        );
    }
}

fn state(lab: &Lab, node: &Node) -> &'static str {
    lab.node_state(node)
        .map_or("its monitor does not answer", NodeState::name)
}

fn define_guest(lab: &mut Lab, define: &DefineArgs) -> Result<()> {
    let shape = guests::Shape {
        machine: define.machine.clone(),
        vcpus: define.vcpus,
        standby: !define.no_standby,
        root_ports: if define.no_root_port { 0 } else { 2 },
        memory_mib: define.memory,
        nic: !define.no_nic,
        bridge: define.bridge.clone(),
        model: define.model.clone(),
        nic_extra: define.nic_xml.clone(),
        failover: !define.no_failover,
    };
    let guest = Guest {
        name: define.guest.clone(),
        node: define.node.clone(),
        host: define.host,
        mac: format!("52:54:00:77:01:{:02x}", define.host),
    };
    lab.define(guest, &shape, define.off, define.transient)
}

fn run_wire(directory: &std::path::Path, data: &[PathBuf], management: &[PathBuf]) -> Result<()> {
    use std::io::Write;
    let control = directory.join("control");
    wire::run(data, management, &control, || {
        println!("ready");
        std::io::stdout().flush().context("nobody listens")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the pages tell to type; what runs on nodes and in guests is not looked at here.
    #[test]
    fn the_documentation_calls_the_lab_as_it_can_be_called() {
        let mut count = 0;
        // The tutorial has an alias for it.
        for (page, name) in [
            (include_str!("../../../docs/guide/tutorial.md"), "lab "),
            (EXAMPLES, "accelnet-lab "),
        ] {
            let commands = page.lines().flat_map(|line| line.split("&&"));
            let commands = commands.map(|command| command.trim().trim_end_matches(" &"));
            for command in commands.filter(|command| command.starts_with(name)) {
                count += 1;
                let parsed = Args::try_parse_from(command.split_whitespace());
                assert!(parsed.is_ok(), "{command}\n{}", parsed.unwrap_err());
            }
        }
        assert!(count >= 20, "only {count} lines: are they still found?");
    }
}
