//! What was counted of packets. Counters only grow, until whatever has them is made anew; they are asked for when
//! somebody wants them, and are no part of a node's report, which is kept when it changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ids::{IfName, MacAddr, PciAddress};

/// Packets and bytes of an interface or a VF: of its own side, so that what a guest receives is `rx`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that were not received because they were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_dropped: Option<u64>,
    /// Packets that were not sent because they were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_dropped: Option<u64>,
    /// Packets that the card had no buffer for, since the host did not take in fast enough what came before. Of
    /// interfaces only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_missed: Option<u64>,
    /// Broadcasts received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<u64>,
    /// Multicasts received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast: Option<u64>,
}

impl Counters {
    /// The same as whoever is at the other end sees it: what a host sends to a tap is what the guest receives.
    #[must_use]
    pub fn from_the_other_end(self) -> Self {
        Self {
            rx_packets: self.tx_packets,
            tx_packets: self.rx_packets,
            rx_bytes: self.tx_bytes,
            tx_bytes: self.rx_bytes,
            rx_dropped: self.tx_dropped,
            tx_dropped: self.rx_dropped,
            // Of these only one direction is counted.
            rx_missed: None,
            broadcast: None,
            multicast: None,
        }
    }

    /// Something was counted.
    pub fn is_any(&self) -> bool {
        let Self {
            rx_packets,
            tx_packets,
            rx_bytes,
            tx_bytes,
            rx_dropped,
            tx_dropped,
            rx_missed,
            broadcast,
            multicast,
        } = *self;
        let known = [rx_dropped, tx_dropped, rx_missed, broadcast, multicast];
        let known = known.into_iter().flatten();
        known
            .chain([rx_packets, tx_packets, rx_bytes, tx_bytes])
            .any(|count| count > 0)
    }
}

/// What was counted of a path, if anything counts there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Counted {
    /// So much, since the interface or the VF was made; by whoever had a VF before, too.
    Counted(Counters),
    /// The adapter's driver counts nothing by VF, or nothing shows that it does: all that it says is zero.
    NotCounted {
        /// The driver.
        driver: String,
    },
    /// It could not be read.
    NotSeen {
        /// Why, in words.
        because: String,
    },
}

/// What the host's kernel counts of a VF's interrupts while vfio hands it to a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interrupts {
    /// Vectors that a driver in the guest has enabled.
    pub vectors: u32,
    /// How often they have fired since they were enabled, as far as the host was in between: where the processor
    /// delivers interrupts to the guest by itself (posted interrupts), it stands still.
    pub fired: u64,
}

/// What one NIC of a VM has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicCounted {
    /// The VM.
    pub vm: Uuid,
    /// The NIC.
    pub mac: MacAddr,
    /// Its tap, as the guest sees it; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Counted>,
    /// The VF that it has; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vf: Option<Counted>,
    /// Which VF that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci: Option<PciAddress>,
    /// The VF's interrupts; absent if it has none, or they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<Interrupts>,
}

/// A VF that a driver in the guest drives and sends nothing by, while the guest sends by the NIC's tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdleVf {
    /// The VM.
    pub vm: Uuid,
    /// The NIC.
    pub mac: MacAddr,
    /// The VF.
    pub vf: PciAddress,
}

/// What an adapter had no room for, while VMs have VFs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterDrops {
    /// The adapter.
    pub adapter: IfName,
    /// Packets to the host that it had no buffer for, since the agent's start.
    pub no_buffer: u64,
    /// How often its driver said that a VF sends what it must not, and not which VF, since the agent's start.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub misused: u64,
}

/// What an adapter dropped at a VF of a VM, while the VM has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VfDrops {
    /// The VM.
    pub vm: Uuid,
    /// The NIC.
    pub mac: MacAddr,
    /// The VF.
    pub vf: PciAddress,
    /// Packets to the guest, since it has the VF or the agent's start.
    pub to_guest: u64,
    /// Packets of the guest: its address was not its own, or the card's firmware did not like them.
    pub from_guest: u64,
    /// How often the adapter's driver said that the guest sends what it must not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub misused: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Packets that passed an adapter's port: the host's and its VFs' together, without what the card turns round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// From the wire.
    pub rx_packets: u64,
    /// To the wire.
    pub tx_packets: u64,
}

/// The counters of a machine at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Of all interfaces, each of its own side.
    pub interfaces: BTreeMap<IfName, Counters>,
    /// Of VFs, by adapter and number, each of its user's side. An adapter of which they could not be read is
    /// not there; zeros may mean that its driver counts nothing.
    pub vfs: BTreeMap<IfName, BTreeMap<u32, Counters>>,
    /// Of adapters' ports; a port is not there if its driver does not count it, or it was not read.
    pub ports: BTreeMap<IfName, PortCounters>,
    /// Interrupts of VFs that vfio hands to guests; a VF without any is not there. `None` if they were not read.
    pub interrupts: Option<BTreeMap<PciAddress, Interrupts>>,
    /// How often the driver of the one adapter that was asked has said that a VF's user sends what it must not, by the
    /// VF's number; without one it did not say which. `None` if that was not read.
    pub misuse: Option<BTreeMap<Option<u32>, u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_sends_to_a_tap_is_what_the_guest_receives() {
        let host = Counters {
            rx_packets: 1,
            tx_packets: 2,
            rx_bytes: 3,
            tx_bytes: 4,
            rx_dropped: Some(5),
            tx_dropped: Some(6),
            ..Counters::default()
        };
        let guest = host.from_the_other_end();
        assert_eq!((guest.rx_packets, guest.tx_packets), (2, 1));
        assert_eq!((guest.rx_bytes, guest.tx_bytes), (4, 3));
        assert_eq!((guest.rx_dropped, guest.tx_dropped), (Some(6), Some(5)));
        assert_eq!(guest.from_the_other_end(), host);
        assert!(host.is_any() && !Counters::default().is_any());
    }
}
