//! Readers of what the kernel, its drivers and the machine's files say, for the fuzzer (`fuzz/`), which calls them with
//! whatever it likes. Each ends, for any bytes, and keeps what is said of it here.

use accelnet_model::IfName;

use super::{
    attributes, claims, devlink, fdb, glob, hook, kernel_log::Said, link, links, netlink, node,
    pci::Config, policy, qdisc, routes, vf_owners, vfio, vlans,
};

/// Datagrams of netlink sockets: headers, attributes, and what each kind of answer is read as.
///
/// # Panics
/// If attributes that were read and written again are others, or a datagram gives more messages than it can hold.
pub fn netlink_answer(datagram: &[u8]) {
    // Answers to anything but the request under way are skipped.
    let sequence = attributes::u32_at(datagram, 8).unwrap_or(0);
    let messages = netlink::messages_of(datagram, sequence);
    assert!(messages.len() <= datagram.len() / 16);
    for message in &messages {
        let payload = &message.payload;
        for at in [0, 4, 8, 12, 16, 20, 28] {
            let Some(list) = payload.get(at..) else {
                break;
            };
            list_of_attributes(list);
            link::decode(list);
            devlink::read(list);
            devlink::number(list);
            devlink::mode(list);
            vlans::decode(list);
            assert!(routes::hops(list).count() <= list.len() / 8);
        }
        links::decode(payload);
        fdb::decode(payload);
        qdisc::decode(payload);
        vlans::states_of(payload);
        policy::answers(std::slice::from_ref(message));
    }
    policy::answers(&messages);
}

fn list_of_attributes(list: &[u8]) {
    let read: Vec<(u16, &[u8])> = attributes::iter(list).collect();
    let mut written = Vec::new();
    for (kind, value) in &read {
        attributes::push(&mut written, *kind, value);
    }
    let again: Vec<(u16, &[u8])> = attributes::iter(&written).collect();
    assert_eq!(read, again);
}

/// A PCI function's configuration space, which is the card's to fill.
pub fn pci_config(bytes: &[u8]) {
    let config = Config::of(bytes);
    for capability in [super::pci::ACS, super::pci::ARI, super::pci::SRIOV] {
        config.extended(capability);
    }
    config.port_type();
    config.can_forward_ari();
    config.acs_isolates();
    config.lacks_extended_space();
}

/// Texts of `/proc`, of the kernel's log, and of other tools' files.
///
/// # Panics
/// If a text that fits a pattern does not fit the same with `*` behind it.
pub fn machine_texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut said = Said::default();
    let interface: IfName = "pf0".parse().expect("a name");
    for line in text.lines() {
        said.take(line);
        claims::configures(line, &interface);
        hook::after_boot(line);
        hook::seconds(line);
    }
    vfio::vectors(&text);
    node::interrupt_remapping(&text);
    // What is missing is an error, and said.
    let _ = node::memory_available_mib(&text);
    let lines = vf_owners::parse(&text);
    assert!(lines.len() <= text.lines().count());
    if let Some((pattern, rest)) = text.split_once('\n') {
        let longer = format!("{pattern}*");
        assert!(!glob::fits(pattern, rest) || glob::fits(&longer, rest));
    }
}
