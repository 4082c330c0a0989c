//! One thing to do on a node: a value, carried out elsewhere without any choice.

use std::time::Duration;

use accelnet_model::{DriverName, IfName, MacAddr, Name, PciAddress, Staging, VfAttributes};
use uuid::Uuid;

/// The hold queue of a tap, as it shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// There, and lets frames pass.
    Pass,
    /// Frames wait, for [`HOLD_LIMIT`] at most.
    Wait,
}

/// The longest that a frame waits at a tap, whoever dies meanwhile. An unplug took up to 0.8 s in the
/// lab's software emulation; a guest that takes longer loses what its kernel drops, not all of it.
pub const HOLD_LIMIT: Duration = Duration::from_secs(2);

/// What carries an action out. Nothing waits for another lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Forwarding and VF attributes: milliseconds, in order.
    Frames,
    /// VFs of one adapter that nobody uses: up to minutes.
    Adapter(PciAddress),
    /// One VM: as long as its guest takes.
    Vm(Uuid),
    /// A VM's migration to another node: minutes, beside whatever else is to be done for it.
    Migration(Uuid),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a bridge of ours, or bring it up.
    MakeBridge {
        /// The bridge.
        bridge: IfName,
        /// Its mark.
        mark: String,
    },
    /// Make an adapter that nobody manages the uplink of a bridge of ours, and bring it up.
    AddUplink {
        /// The bridge.
        bridge: IfName,
        /// The adapter.
        adapter: IfName,
    },
    /// Make VFs exist. Bounces the PF's link.
    CreateVfs {
        /// The PF.
        pf: PciAddress,
        /// How many.
        count: u32,
    },
    /// Bind a VF to a driver that hands it to VMs.
    BindVf {
        /// Its PF.
        pf: PciAddress,
        /// The VF.
        vf: PciAddress,
        /// The driver, if the intent names one.
        driver: Option<DriverName>,
    },
    /// Give a VF that nobody uses so many vectors, and bind it as [`Action::BindVf`] does.
    VfVectors {
        /// Its PF.
        pf: PciAddress,
        /// The VF.
        vf: PciAddress,
        /// Vectors.
        vectors: u32,
        /// The driver, if the intent names one.
        driver: Option<DriverName>,
    },
    /// Bring a VF that nobody uses to the safe baseline.
    CleanVf {
        /// Its PF.
        pf: PciAddress,
        /// Its number.
        index: u32,
        /// The VF.
        vf: PciAddress,
        /// The address that it was seen with: who has given it another since is about to use it.
        mac: MacAddr,
    },
    /// Let a VF that a VM has, or is about to get, carry this.
    Dress {
        /// Its PF.
        pf: PciAddress,
        /// The PF's interface, for messages.
        uplink: IfName,
        /// Its number.
        index: u32,
        /// The VF.
        vf: PciAddress,
        /// What it carries.
        attributes: VfAttributes,
    },
    /// Keep a VF from everybody for a VM that is on its way here, or let it go again.
    ReserveVf {
        /// The VF.
        vf: PciAddress,
        /// Keep it.
        reserved: bool,
    },
    /// Keep a bridge's address as it is.
    PinBridge {
        /// The bridge.
        bridge: IfName,
    },
    /// Turn learning at a port on or off.
    PortLearning {
        /// The port.
        port: IfName,
        /// On.
        on: bool,
    },
    /// Flood a port with frames for addresses that the bridge does not know, or do not.
    PortFlood {
        /// The port.
        port: IfName,
        /// Flood it.
        on: bool,
    },
    /// Put an address into a PF's filter, or take it out.
    Filter {
        /// The PF.
        pf: IfName,
        /// The address.
        mac: MacAddr,
        /// In.
        present: bool,
    },
    /// Let the bridge send an address to a port, or not.
    BridgeEntry {
        /// The port.
        port: IfName,
        /// The address.
        mac: MacAddr,
        /// Its VLAN, where the bridge filters by VLAN; `None` is all that the port is in.
        vlan: Option<u16>,
        /// It does.
        present: bool,
    },
    /// Put the hold queue on a tap if it is not there, and let frames pass or wait.
    HoldQueue {
        /// The tap.
        tap: IfName,
        /// Which of them.
        hold: Hold,
    },
    /// Behind a tap there is room for all that its hold queue lets go at once. While the guest is on its
    /// VF: it restarts the tap's queue, and frames by the tap may be lost.
    TapRoom {
        /// The tap.
        tap: IfName,
    },
    /// Stage on a definition what is missing there.
    Prepare {
        /// The VM.
        vm: Uuid,
        /// What.
        staging: Staging,
    },
    /// Add a NIC on the intent's bridge.
    AddNic {
        /// The VM.
        vm: Uuid,
        /// The NIC's address.
        mac: MacAddr,
        /// Its bridge.
        bridge: IfName,
        /// To the running VM too; else to its definition only.
        live: bool,
    },
    /// Plug a VF into a VM as the fast half of a NIC.
    Plug {
        /// The VM.
        vm: Uuid,
        /// The NIC.
        mac: MacAddr,
        /// Alias of the NIC in the live definition.
        alias: String,
        /// The VF.
        vf: PciAddress,
    },
    /// Unplug a host's device from a VM, and wait until the guest has let go of it.
    Unplug {
        /// The VM.
        vm: Uuid,
        /// The device.
        device: PciAddress,
    },
    /// End what QEMU has of a NIC's VF although libvirt knows of no such device.
    Release {
        /// The VM.
        vm: Uuid,
        /// The NIC.
        mac: MacAddr,
    },
    /// End the job that stopped a VM's processors, and let it run on.
    EndJob {
        /// The VM.
        vm: Uuid,
    },
    /// Migrate a VM, live.
    Migrate {
        /// The VM.
        vm: Uuid,
        /// The node that it goes to.
        to: Name,
    },
    /// End a migration that we began: the VM shall stay.
    EndMigration {
        /// The VM.
        vm: Uuid,
    },
}

impl Action {
    /// What carries it out.
    pub fn lane(&self) -> Lane {
        match self {
            Self::CreateVfs { pf, .. }
            | Self::BindVf { pf, .. }
            | Self::VfVectors { pf, .. }
            | Self::CleanVf { pf, .. } => Lane::Adapter(*pf),
            Self::Prepare { vm, .. }
            | Self::AddNic { vm, .. }
            | Self::Plug { vm, .. }
            | Self::Unplug { vm, .. }
            | Self::Release { vm, .. }
            | Self::EndJob { vm }
            | Self::EndMigration { vm } => Lane::Vm(*vm),
            Self::Migrate { vm, .. } => Lane::Migration(*vm),
            Self::MakeBridge { .. }
            | Self::AddUplink { .. }
            | Self::Dress { .. }
            | Self::ReserveVf { .. }
            | Self::PinBridge { .. }
            | Self::PortLearning { .. }
            | Self::PortFlood { .. }
            | Self::Filter { .. }
            | Self::BridgeEntry { .. }
            | Self::HoldQueue { .. }
            | Self::TapRoom { .. } => Lane::Frames,
        }
    }
}
