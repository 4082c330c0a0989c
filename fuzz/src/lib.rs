//! What is said to accelnet by those it must not trust, made up: each target reads any bytes as one of its parsers does,
//! and looks whether what is promised of them holds. None may panic, hang, or take memory without limit.
//!
//! | target | who says it |
//! |---|---|
//! | `domain_xml` | libvirt, and whoever defines VMs: definitions, also what libvirt's hook is given |
//! | `monitor_words` | QEMU: events and answers of its monitor |
//! | `netlink_answer` | the kernel, drivers and firmware: links, forwarding entries, traffic control, netfilter, devlink |
//! | `pci_config` | a card: its configuration space |
//! | `machine_texts` | the kernel's log, `/proc`, other tools' files |
//! | `lines_down` | a server, to an agent |
//! | `reports` | an agent, to a server |
//! | `words` | people and programs: names, addresses, levels, tokens, fingerprints |
//! | `certificates` | whoever dials, or asks for a certificate |
//! | `api` | whoever reaches the API: paths, headers, bodies |
//! | `store` | the store, read back at a start |
//! | `backup_file` | whoever has a backup put back |

mod certificates;
mod net;
mod store;
mod words;

/// Reads what was made up.
pub type Target = fn(&[u8]);

/// Targets by their names, which are those of their directories in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    (
        "domain_xml",
        accelnet_hypervisor::libvirt::fuzzed::domain_xml,
    ),
    (
        "monitor_words",
        accelnet_hypervisor::libvirt::fuzzed::monitor_words,
    ),
    (
        "netlink_answer",
        accelnet_host::linux::fuzzed::netlink_answer,
    ),
    ("pci_config", accelnet_host::linux::fuzzed::pci_config),
    ("machine_texts", accelnet_host::linux::fuzzed::machine_texts),
    ("lines_down", accelnet_link::fuzzed::lines_down),
    ("reports", words::reports),
    ("words", words::words),
    ("certificates", certificates::certificates),
    ("api", net::api),
    ("store", store::store),
    ("backup_file", store::backup_file),
];
