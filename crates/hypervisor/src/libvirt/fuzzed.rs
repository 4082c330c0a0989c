//! Readers of what libvirt and QEMU say, for the fuzzer (`fuzz/`), which calls them with whatever it likes. Each ends,
//! for any text, and keeps what is said of it here.

use accelnet_model::{MacAddr, PciAddress, VmState};
use uuid::Uuid;

use super::{
    capabilities,
    definition::{self, Named},
    incoming, monitor, nic, root_port,
    xml::{self, child, children, software_nic, software_nics},
};
use crate::Result;

/// A definition, the live one and, behind a zero byte, the persistent one.
///
/// # Panics
/// If what is written into a definition is not read there afterwards, or something else has changed.
pub fn domain_xml(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (live, config) = text.split_once('\0').unwrap_or((&text, &text));
    let vm = Named {
        uuid: Uuid::nil(),
        // There is no process of this name to look at.
        name: "/fuzz".to_owned(),
    };
    for state in [VmState::Running, VmState::Off] {
        let _ = definition::facts(&vm, live, Some(config), state);
    }
    let _ = definition::facts(&vm, live, None, VmState::Running);
    let _ = definition::hostdevs_of(live);
    let _ = definition::free_root_ports_of(live);
    let _ = capabilities::read(live);
    for mac in macs(config) {
        let _ = definition::nic_alias(config, mac);
        assert!(definition::has_nic(config, mac).is_ok_and(|has| has));
        changed(config, mac, &|xml| nic::with_teaming(xml, mac));
        changed(config, mac, &|xml| nic::with_queues(xml, mac, 4));
    }
    more_root_ports(config);
    on_its_way(live);
}

fn macs(xml: &str) -> Vec<MacAddr> {
    xml::read(xml, |_, root| {
        Ok(software_nics(root).filter_map(xml::nic_mac).collect())
    })
    .unwrap_or_default()
}

/// The NIC's element is changed once, can be read in its place, and then is as wanted.
fn changed(xml: &str, mac: MacAddr, change: &dyn Fn(&str) -> Result<Option<String>>) {
    let Ok(Some(element)) = change(xml) else {
        return;
    };
    let whole = xml::read(xml, |text, root| {
        let place = software_nic(root, mac).map(|nic| nic.range());
        let place = place.unwrap_or_default();
        Ok(format!(
            "{}{element}{}",
            &text[..place.start],
            &text[place.end..]
        ))
    });
    let whole = whole.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(macs(xml), macs(&whole), "{element}");
    match change(&whole) {
        Ok(None) => {}
        other => panic!("{element} is changed again: {other:?}"),
    }
}

/// Ports that are added are so many more.
fn more_root_ports(config: &str) {
    let Ok(elements) = root_port::elements(config, 2) else {
        return;
    };
    let place = xml::read(config, |text, root| {
        let devices = child(root, "devices");
        let last = devices.and_then(|devices| children(devices, "controller").last());
        Ok(last.map(|last| (text.to_owned(), last.range().end)))
    });
    let Ok(Some((text, at))) = place else {
        return;
    };
    let whole = format!("{}{}{}", &text[..at], elements.concat(), &text[at..]);
    if let Err(error) = xml::read(&whole, |_, _| Ok(())) {
        panic!("{error}: {elements:?}");
    }
    // Each has numbers of its own: those of two more are others again.
    if let Ok(more) = root_port::elements(&whole, 2) {
        assert!(more.iter().all(|one| !elements.contains(one)), "{more:?}");
    }
}

/// What the hook is given, and gives back.
fn on_its_way(text: &str) {
    let Ok(Some(vm)) = incoming::read(text) else {
        return;
    };
    let given = |nic: &MacAddr| {
        let [.., device, function] = nic.0;
        let vf = PciAddress {
            domain: 0,
            bus: 0x81,
            device: device & 0x1f,
            function: function & 7,
        };
        (*nic, vf)
    };
    let vfs: Vec<(MacAddr, PciAddress)> = vm.nics.iter().map(given).collect();
    let named = incoming::with_vfs(text, &vfs).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(incoming::read(&named), Ok(Some(vm)));
    assert_eq!(incoming::with_vfs(&named, &vfs), Ok(named.clone()), "again");
    let there = definition::hostdevs_of(&named);
    // Ours are none of libvirt's NICs.
    let devices = there.into_iter().flatten();
    for hostdev in devices.filter(|hostdev| hostdev.facts.mac.is_none()) {
        let nic = hostdev.facts.alias.as_deref();
        let nic = nic.and_then(accelnet_model::HostdevFacts::nic_of_alias);
        let vf = vfs.iter().find(|(its, _)| Some(*its) == nic);
        assert!(vf.is_none_or(|(_, vf)| *vf == hostdev.facts.pci), "{named}");
    }
}

/// QEMU's monitor: an event's name and, behind the first line's end, its details; or an answer.
pub fn monitor_words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, details) = text.split_once('\n').unwrap_or(("MIGRATION", &text));
    monitor::event(name, details);
    if let Ok(answer) = monitor::answered("qom-list", details) {
        let _ = monitor::names_of_vfio(&answer);
    }
}
