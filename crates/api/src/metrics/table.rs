//! Every metric. `docs/reference/metrics.md` is written from this ('make problems').

use super::{By, Kind, Metric};

macro_rules! metrics {
    ($($name:ident $text:literal $kind:ident $unit:literal [$($label:literal),*] $by:ident $help:literal)*) => {
        $(
            #[doc = $help]
            pub static $name: Metric = Metric {
                name: $text,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                by: By::$by,
                help: $help,
            };
        )*
        /// All of them, in the order in which they are told.
        pub static ALL: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    BUILD_INFO "accelnet_build_info" Gauge "" ["version", "role"] Both
        "Always 1: which version this is, and what it is here ('server', 'agent'; a standalone host is both)."

    SERVER_ACTIVE "accelnet_server_active" Gauge "" [] Server
        "1 on the server that decides for its cluster; 0 on one that stands by, which tells nothing else."
    ENABLED_INFO "accelnet_enabled_info" Gauge "" ["intent"] Server
        "Always 1: the intent that acceleration is enabled on. Absent while there is none."
    NODES "accelnet_nodes" Gauge "" ["state"] Server
        "Nodes of the cluster: 'current' report, 'silent' do not and count as down, 'awaited' have not been heard by a server that has just started."
    NODES_CONVERGED "accelnet_nodes_converged" Gauge "" [] Server
        "Nodes on which nothing is left to do for what is wanted."
    AGENTS_CONNECTED "accelnet_agents_connected" Gauge "" [] Server
        "Agents that have a line to this server. Absent on a standalone host."

    VMS_WANTED "accelnet_vms_wanted" Gauge "" ["level"] Server
        "VMs that shall be accelerated on the enabled intent, by their level."
    VMS_ACCELERATED "accelnet_vms_accelerated" Gauge "" ["level"] Server
        "Those of them that really go by their VFs, on nodes that report."
    VMS_PARKED "accelnet_vms_parked" Gauge "" [] Server
        "Those of them that are kept on their software path for a while on purpose."
    VM_SWITCHES "accelnet_vm_path_switches_total" Counter "" [] Server
        "How often the path of a VM's NIC was another one in its node's report than before, since this server decides."

    CAPACITY_VFS "accelnet_capacity_vfs" Gauge "" [] Server
        "VFs of the enabled intent that are for VMs, on all nodes as they reported last; those that others use are counted out."
    CAPACITY_VFS_USED "accelnet_capacity_vfs_used" Gauge "" [] Server
        "VFs of them that are given out to running VMs."
    CAPACITY_QUEUE_PAIRS "accelnet_capacity_queue_pairs" Gauge "" [] Server
        "Queue pairs of these VFs, or of the pools that they draw from."
    CAPACITY_QUEUE_PAIRS_USED "accelnet_capacity_queue_pairs_used" Gauge "" [] Server
        "Queue pairs of them that are given out."
    CAPACITY_FREE "accelnet_capacity_nics_free" Gauge "" ["level"] Server
        "NICs of a level that fit beside what runs now, the reserve left aside; each level alone."
    CAPACITY_HELD_BACK "accelnet_capacity_nics_held_back" Gauge "" ["level"] Server
        "What of accelnet_capacity_nics_free must stay free: for VMs that are off, and for nodes that may go down."
    CAPACITY_FITS "accelnet_capacity_vms_fit" Gauge "" ["level"] Server
        "VMs with one NIC that could still be admitted at a level, one after the other; each level alone."
    RESERVE_NODES "accelnet_reserve_nodes" Gauge "" [] Server
        "How many nodes may be down at once, by the reserve that was set."
    RESERVE_HOLDS "accelnet_reserve_holds" Gauge "" [] Server
        "1 if every admitted VM has its VFs somewhere whichever so many nodes are down; 0 if not."

    FAULTS "accelnet_faults" Gauge "" ["code", "severity", "state"] Server
        "Open faults: 'open', 'acknowledged' (somebody knows of it), 'muted'. A code that has none is absent."

    CHANGES "accelnet_changes_total" Counter "" ["outcome"] Server
        "Changes that were asked for, admissions of VMs among them: 'made', 'unchanged' (it was so already), 'refused' (the rules do not allow it), 'failed' (it could not be decided or written). Dry runs are not counted."
    STORE_SLOWEST "accelnet_store_slowest_seconds" Gauge "seconds" [] Server
        "The longest that an answer of the store took within the last one to two minutes."
    API_REQUESTS "accelnet_api_requests_total" Counter "" ["method", "route", "status"] Server
        "Requests that were answered, by route and class of status ('2xx'). What is at no route is route 'none'."
    API_REQUEST_DURATION "accelnet_api_request_duration_seconds" Histogram "seconds" ["method", "route"] Server
        "How long it took until an answer began; a watch goes on after that."
    UNAUTHENTICATED "accelnet_unauthenticated_requests_total" Counter "" [] Server
        "Requests that came without a token that is accepted."
    WATCHES "accelnet_watches" Gauge "" [] Server
        "Watches that are open."

    AGENT_CONNECTED "accelnet_agent_connected" Gauge "" [] Agent
        "1 if the agent has a line to a server of its cluster; absent on a standalone host."
    AGENT_CONVERGED "accelnet_agent_converged" Gauge "" [] Agent
        "1 if nothing is left to do on this node for what is wanted."
    AGENT_BEAT_AGE "accelnet_agent_beat_age_seconds" Gauge "seconds" [] Agent
        "How long ago the agent's loop went round; it does so at least once a second."
    AGENT_LOOK_AGE "accelnet_agent_look_age_seconds" Gauge "seconds" ["at"] Agent
        "How long ago the last whole look ended: at the 'machine' (kernel), at its 'vms' (libvirt)."
    AGENT_LOOK_DURATION "accelnet_agent_look_duration_seconds" Histogram "seconds" ["at"] Agent
        "How long such looks take."
    AGENT_REPAIRS "accelnet_agent_repairs_total" Counter "" [] Agent
        "How often something was put right that others had changed, since the agent's start."
    AGENT_PROBLEMS "accelnet_agent_problems" Gauge "" [] Agent
        "What is wrong with the node as a whole, as 'accelnet node show' says."
    TRAFFIC_SEEN "accelnet_agent_traffic_seen" Gauge "" [] Agent
        "1 if the kernel told its counters for this answer. If it is 0, metrics of VFs' and NICs' packets are absent."

    ADAPTER_CARRIER "accelnet_adapter_carrier" Gauge "" ["adapter", "pci_address"] Agent
        "1 if the adapter has a link."
    ADAPTER_VFS "accelnet_adapter_vfs" Gauge "" ["adapter", "pci_address"] Agent
        "VFs that the adapter has."
    ADAPTER_VFS_USED "accelnet_adapter_vfs_used" Gauge "" ["adapter", "pci_address"] Agent
        "VFs of it that somebody has: a VM, another program, or a driver of the host."
    ADAPTER_VFS_QUARANTINED "accelnet_adapter_vfs_quarantined" Gauge "" ["adapter", "pci_address"] Agent
        "VFs of it that did not come clean and are not given out."

    ADAPTER_RX_MISSED "accelnet_adapter_receive_missed_total" Counter "" ["adapter", "pci_address"] Agent
        "Packets to the host that the adapter had no buffer for (rx_missed_errors, and rx_over_errors or rx_fifo_errors where its driver counts there)."

    ADAPTER_RX_PACKETS "accelnet_adapter_receive_packets_total" Counter "" ["adapter", "pci_address"] Agent
        "Packets to the host by the adapter's own interface, as the kernel counts them; on most drivers without those of its VFs."
    ADAPTER_TX_PACKETS "accelnet_adapter_transmit_packets_total" Counter "" ["adapter", "pci_address"] Agent
        "Packets of the host by that interface."
    ADAPTER_PORT_RX_PACKETS "accelnet_adapter_port_receive_packets_total" Counter "" ["adapter", "pci_address"] Agent
        "Packets that came from the wire by the adapter's port, for whomever (eth-mac, FramesReceivedOK; Linux 5.13). Absent if the driver does not count them there, or the adapter has no VFs."
    ADAPTER_PORT_TX_PACKETS "accelnet_adapter_port_transmit_packets_total" Counter "" ["adapter", "pci_address"] Agent
        "Packets that left to the wire by the adapter's port, of whomever (FramesTransmittedOK). What VFs and host sent beyond it stayed in the card: hairpin traffic, and what was dropped."

    VF_VECTORS "accelnet_vf_interrupt_vectors" Gauge "" ["pci_address", "adapter", "vf"] Agent
        "Interrupts that a driver in a guest has enabled on the VF. Absent of a VF that no guest drives."
    VF_INTERRUPTS "accelnet_vf_interrupts_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "How often these have fired since they were enabled, as far as the host was in between: evidence of traffic where the driver counts nothing by VF. Where the processor delivers them to the guest by itself (posted interrupts) it stands still."
    VF_COUNTED "accelnet_vf_counted" Gauge "" ["pci_address", "adapter", "vf"] Agent
        "1 if the adapter's driver counts what goes by the VF; 0 if it does not, or if nothing shows that it does: then the VF has no other metric."
    VF_RX_PACKETS "accelnet_vf_receive_packets_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "Packets that went to the VF's user, as the adapter's driver counts them (IFLA_VF_STATS)."
    VF_TX_PACKETS "accelnet_vf_transmit_packets_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "Packets that the VF's user sent."
    VF_RX_BYTES "accelnet_vf_receive_bytes_total" Counter "bytes" ["pci_address", "adapter", "vf"] Agent
        "Bytes that went to the VF's user."
    VF_TX_BYTES "accelnet_vf_transmit_bytes_total" Counter "bytes" ["pci_address", "adapter", "vf"] Agent
        "Bytes that the VF's user sent."
    VF_RX_DROPPED "accelnet_vf_receive_dropped_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "Packets to the VF that the card dropped."
    VF_TX_DROPPED "accelnet_vf_transmit_dropped_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "Packets of the VF's user that the card dropped: the spoof check is one reason. What a switch with the same rules would have dropped is among them."
    VF_BROADCAST "accelnet_vf_broadcast_packets_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "Broadcasts that went to the VF's user."
    VF_MULTICAST "accelnet_vf_multicast_packets_total" Counter "" ["pci_address", "adapter", "vf"] Agent
        "Multicasts that went to the VF's user."

    NIC_ON_VF "accelnet_nic_on_vf" Gauge "" ["vm", "name", "mac"] Agent
        "1 if the packets of the VM's NIC go by a VF, 0 if they go by the switch; absent if they go nowhere (the VM is off, the NIC has no link). Of VMs that have a level."
    NIC_VF_INFO "accelnet_nic_vf_info" Gauge "" ["vm", "name", "mac", "pci_address", "adapter", "vf"] Agent
        "Always 1: the VF that the NIC has, by which its counters are found."
    NIC_PATH_AGE "accelnet_nic_path_age_seconds" Gauge "seconds" ["vm", "name", "mac"] Agent
        "How long the NIC has been on this path, as far back as the agent's start."
    NIC_SWITCHES "accelnet_nic_path_switches_total" Counter "" ["vm", "name", "mac"] Agent
        "How often the NIC changed between VF and switch, since the agent's start."
    NIC_RX_PACKETS "accelnet_nic_software_receive_packets_total" Counter "" ["vm", "name", "mac"] Agent
        "Packets that the guest was sent by its software path: what the host transmits on the NIC's tap."
    NIC_TX_PACKETS "accelnet_nic_software_transmit_packets_total" Counter "" ["vm", "name", "mac"] Agent
        "Packets that the guest sent by its software path: what the host receives on the NIC's tap."
    NIC_RX_BYTES "accelnet_nic_software_receive_bytes_total" Counter "bytes" ["vm", "name", "mac"] Agent
        "Bytes that the guest was sent by its software path."
    NIC_TX_BYTES "accelnet_nic_software_transmit_bytes_total" Counter "bytes" ["vm", "name", "mac"] Agent
        "Bytes that the guest sent by its software path."
    NIC_RX_DROPPED "accelnet_nic_software_receive_dropped_total" Counter "" ["vm", "name", "mac"] Agent
        "Packets to the guest that were dropped at its tap."
    NIC_TX_DROPPED "accelnet_nic_software_transmit_dropped_total" Counter "" ["vm", "name", "mac"] Agent
        "Packets of the guest that were dropped at its tap."
    HOLD_SECONDS "accelnet_agent_last_hold_seconds" Gauge "seconds" [] Agent
        "How long frames for a guest waited at most in the last change of a path that held them. Absent before the first."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            let plain = |text: &str| {
                text.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            };
            assert!(name.starts_with("accelnet_") && plain(name), "{name}");
            let total = name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{name}");
            // The unit is the last word, before 'total'.
            let stem = name.strip_suffix("_total").unwrap_or(name);
            assert!(stem.ends_with(metric.unit), "{name}");
            assert!(["", "seconds", "bytes"].contains(&metric.unit), "{name}");
            let reserved = ["_count", "_sum", "_bucket"];
            assert!(!reserved.iter().any(|end| name.ends_with(end)), "{name}");
            for label in metric.labels {
                assert!(
                    plain(label) && !["le", "job", "instance"].contains(label),
                    "{name}"
                );
            }
            let help = metric.help;
            assert!(help.ends_with('.') && !help.contains(['|', '\n']), "{name}");
        }
    }

    /// Words that are metrics' names, as rules, dashboard and guide use them.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("accelnet_")).collect()
    }

    fn is_told(word: &str) -> bool {
        let parts = ["_bucket", "_sum", "_count"];
        ALL.iter().any(|metric| match metric.kind {
            Kind::Histogram => {
                let part = word.strip_prefix(metric.name);
                part.is_some_and(|part| parts.contains(&part))
            }
            Kind::Gauge | Kind::Counter => metric.name == word,
        })
    }

    #[test]
    fn alerts_dashboard_and_guide_name_metrics_that_there_are() {
        for (file, text) in [
            (
                "accelnet.rules.yml",
                include_str!("../../../../packaging/prometheus/accelnet.rules.yml"),
            ),
            (
                "accelnet.rules.test.yml",
                include_str!("../../../../packaging/prometheus/accelnet.rules.test.yml"),
            ),
            (
                "accelnet.json",
                include_str!("../../../../packaging/grafana/accelnet.json"),
            ),
            (
                "metrics.md",
                include_str!("../../../../docs/guide/metrics.md"),
            ),
        ] {
            let names = named(text);
            assert!(!names.is_empty(), "{file}");
            let unknown: Vec<&&str> = names.iter().filter(|word| !is_told(word)).collect();
            assert!(unknown.is_empty(), "{file}: {unknown:?}");
        }
        assert!(!is_told("accelnet_api_request_duration_seconds"));
        assert!(!is_told("accelnet_nodes_total"));
    }
}
