//! What Prometheus is told of a node: its last report, what the agent counted, and the kernel's counters of now.

use std::time::Duration;

use accelnet_api::metrics::{Metric, Text, table};
use accelnet_model::{
    AdapterStatus, Counted, Counters, NicPath, NodeStatus, Traffic, VfUser, VmStatus,
};

use crate::{
    figures::{LookFigures, Snapshot},
    traffic,
};

/// Counters of one kind with what is told of them.
type Rows = [(&'static Metric, fn(&Counters) -> Option<u64>)];

const OF_ADAPTER: &Rows = &[
    (&table::ADAPTER_RX_MISSED, |of| of.rx_missed),
    (&table::ADAPTER_RX_PACKETS, |of| Some(of.rx_packets)),
    (&table::ADAPTER_TX_PACKETS, |of| Some(of.tx_packets)),
];

const OF_VF: &Rows = &[
    (&table::VF_RX_PACKETS, |of| Some(of.rx_packets)),
    (&table::VF_TX_PACKETS, |of| Some(of.tx_packets)),
    (&table::VF_RX_BYTES, |of| Some(of.rx_bytes)),
    (&table::VF_TX_BYTES, |of| Some(of.tx_bytes)),
    (&table::VF_RX_DROPPED, |of| of.rx_dropped),
    (&table::VF_TX_DROPPED, |of| of.tx_dropped),
    (&table::VF_BROADCAST, |of| of.broadcast),
    (&table::VF_MULTICAST, |of| of.multicast),
];

const OF_NIC: &Rows = &[
    (&table::NIC_RX_PACKETS, |of| Some(of.rx_packets)),
    (&table::NIC_TX_PACKETS, |of| Some(of.tx_packets)),
    (&table::NIC_RX_BYTES, |of| Some(of.rx_bytes)),
    (&table::NIC_TX_BYTES, |of| Some(of.tx_bytes)),
    (&table::NIC_RX_DROPPED, |of| of.rx_dropped),
    (&table::NIC_TX_DROPPED, |of| of.tx_dropped),
];

/// What is told that needs no report.
pub fn of_agent(figures: &Snapshot, beat: Duration, now: Duration) -> Text {
    let mut text = Text::default();
    text.put(
        &table::BUILD_INFO,
        &[env!("CARGO_PKG_VERSION"), "agent"],
        true,
    );
    text.put(&table::AGENT_BEAT_AGE, &[], beat.as_secs_f64());
    for (at, LookFigures { took, ended }) in [("machine", &figures.machine), ("vms", &figures.vms)]
    {
        let age = ended.map(|ended| now.saturating_sub(ended).as_secs_f64());
        text.put_known(&table::AGENT_LOOK_AGE, &[at], age);
        text.put_histogram(&table::AGENT_LOOK_DURATION, &[at], took);
    }
    let hold = figures.last_hold.map(|hold| hold.as_secs_f64());
    text.put_known(&table::HOLD_SECONDS, &[], hold);
    text
}

/// What is told of a report, with the counters of now if they could be read.
pub fn of_node(
    status: &NodeStatus,
    counters: &Result<Traffic, String>,
    figures: &Snapshot,
    now: Duration,
) -> Text {
    let mut text = Text::default();
    text.put(&table::AGENT_CONVERGED, &[], status.converged);
    text.put(&table::AGENT_REPAIRS, &[], status.repairs);
    text.put(&table::AGENT_PROBLEMS, &[], status.problems.len());
    text.put(&table::TRAFFIC_SEEN, &[], counters.is_ok());
    for adapter in &status.adapters {
        of_adapter(&mut text, adapter, counters.as_ref().ok());
    }
    for vm in status.vms.iter().filter(|vm| vm.level.is_some()) {
        of_vm(&mut text, status, vm, counters, figures, now);
    }
    text
}

fn of_adapter(text: &mut Text, adapter: &AdapterStatus, counters: Option<&Traffic>) {
    let facts = &adapter.facts;
    let (name, pci) = (facts.ifname.as_str(), facts.pci.to_string());
    let labels = &[name, pci.as_str()];
    let used = facts.vfs.iter().filter(|vf| vf.user != VfUser::Nobody);
    text.put(&table::ADAPTER_CARRIER, labels, facts.carrier);
    text.put(&table::ADAPTER_VFS, labels, facts.vfs.len());
    text.put(&table::ADAPTER_VFS_USED, labels, used.count());
    let quarantined = adapter.quarantined.len();
    text.put(&table::ADAPTER_VFS_QUARANTINED, labels, quarantined);
    let own = counters.and_then(|all| all.interfaces.get(&facts.ifname));
    if let Some(own) = own {
        put_all(text, OF_ADAPTER, labels, own);
    }
    if let Some(port) = counters.and_then(|all| all.ports.get(&facts.ifname)) {
        text.put(&table::ADAPTER_PORT_RX_PACKETS, labels, port.rx_packets);
        text.put(&table::ADAPTER_PORT_TX_PACKETS, labels, port.tx_packets);
    }
    let interrupts = counters.and_then(|all| all.interrupts.as_ref());
    for (vf, of) in facts
        .vfs
        .iter()
        .filter_map(|vf| Some((vf, interrupts?.get(&vf.pci)?)))
    {
        let (pci, number) = (vf.pci.to_string(), vf.index.to_string());
        let labels = &[pci.as_str(), name, number.as_str()];
        text.put(&table::VF_VECTORS, labels, of.vectors);
        text.put(&table::VF_INTERRUPTS, labels, of.fired);
    }
    let Some((counts, vfs)) = counters.and_then(|all| traffic::of_adapter(facts, all)) else {
        return;
    };
    for (number, of) in vfs {
        // One that is being made is in no list of VFs yet.
        let Some(vf) = facts.vfs.iter().find(|vf| vf.index == number) else {
            continue;
        };
        let (pci, number) = (vf.pci.to_string(), number.to_string());
        let labels = &[pci.as_str(), name, number.as_str()];
        text.put(&table::VF_COUNTED, labels, counts);
        if counts {
            put_all(text, OF_VF, labels, &of);
        }
    }
}

fn put_all(text: &mut Text, rows: &Rows, labels: &[&str], of: &Counters) {
    for (metric, value) in rows {
        text.put_known(metric, labels, value(of));
    }
}

fn of_vm(
    text: &mut Text,
    status: &NodeStatus,
    vm: &VmStatus,
    counters: &Result<Traffic, String>,
    figures: &Snapshot,
    now: Duration,
) {
    let (uuid, name) = (vm.facts.uuid.to_string(), vm.facts.name.as_str());
    let counted = traffic::of_vm(status, vm, counters);
    for (nic, counted) in vm.nics.iter().zip(counted) {
        let mac = nic.mac.to_string();
        let labels = &[uuid.as_str(), name, mac.as_str()];
        let on_vf = match nic.path {
            NicPath::Vf => Some(true),
            NicPath::Synthetic => Some(false),
            NicPath::None => None,
        };
        text.put_known(&table::NIC_ON_VF, labels, on_vf);
        if let Some(known) = figures.paths.get(&(vm.facts.uuid, nic.mac)) {
            let age = now.saturating_sub(known.since).as_secs_f64();
            text.put(&table::NIC_PATH_AGE, labels, age);
            text.put(&table::NIC_SWITCHES, labels, known.switches);
        }
        let adapters = status.adapters.iter().map(|adapter| &adapter.facts);
        let mut vfs = adapters.flat_map(|facts| facts.vfs.iter().map(move |vf| (facts, vf)));
        if let Some((adapter, vf)) = vfs.find(|(_, vf)| Some(vf.pci) == nic.vf) {
            let (pci, number) = (vf.pci.to_string(), vf.index.to_string());
            let labels = [&labels[..], &[&pci, adapter.ifname.as_str(), &number]].concat();
            text.put(&table::NIC_VF_INFO, &labels, true);
        }
        if let Some(Counted::Counted(of)) = &counted.software {
            put_all(text, OF_NIC, labels, of);
        }
    }
}
