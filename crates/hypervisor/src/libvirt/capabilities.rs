//! Domain capabilities: <https://libvirt.org/formatdomaincaps.html>.

use accelnet_model::DomainCapabilities;
use roxmltree::{Document, Node};
use virt::connect::Connect;

use super::refusal::refused;
use crate::{HypervisorError, Result};

/// The machine type with PCI Express, where the architecture's default one has none.
#[cfg(target_arch = "x86_64")]
const MACHINE: Option<&str> = Some("q35");
#[cfg(not(target_arch = "x86_64"))]
const MACHINE: Option<&str> = None;

/// Asks libvirt, which asks QEMU once and remembers.
pub fn observe(connection: &Connect) -> Result<DomainCapabilities> {
    match connection.domain_capabilities(None, None, MACHINE, None, 0) {
        Ok(xml) => read(&xml),
        // It refuses a machine type that QEMU does not have; others it knows.
        Err(error) => match connection.domain_capabilities(None, None, None, None, 0) {
            Ok(xml) => Ok(DomainCapabilities {
                pcie_machine: None,
                ..read(&xml)?
            }),
            Err(_) => Err(refused("read the domain capabilities")(error)),
        },
    }
}

pub fn read(xml: &str) -> Result<DomainCapabilities> {
    let document =
        Document::parse(xml).map_err(|error| HypervisorError::Malformed(error.to_string()))?;
    let root = document.root_element();
    let machine = child(root, "machine").and_then(|machine| machine.text());
    let hostdev = child(root, "devices").and_then(|devices| child(devices, "hostdev"));
    let hostdev = hostdev.filter(|hostdev| hostdev.attribute("supported") == Some("yes"));
    let offers = |name: &str, wanted: &str| {
        let mut enums = hostdev.into_iter().flat_map(|hostdev| hostdev.children());
        let found = enums.find(|list| list.attribute("name") == Some(name));
        let mut values = found.into_iter().flat_map(|list| list.children());
        values.any(|value| value.text() == Some(wanted))
    };
    Ok(DomainCapabilities {
        pcie_machine: machine.map(str::to_owned),
        pci_passthrough: offers("mode", "subsystem") && offers("subsysType", "pci"),
    })
}

fn child<'a>(node: Node<'a, 'a>, name: &'static str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hostdev: &str) -> DomainCapabilities {
        read(&format!(
            "<domainCapabilities><path>/usr/bin/qemu-system-x86_64</path><domain>kvm</domain>\
             <machine>pc-q35-10.0</machine><arch>x86_64</arch><devices><disk supported='yes'>\
             <enum name='mode'><value>pci</value></enum></disk>{hostdev}</devices>\
             </domainCapabilities>"
        ))
        .unwrap()
    }

    #[test]
    fn machine_and_passthrough_are_read() {
        let full = with(
            "<hostdev supported='yes'>\n <enum name='mode'><value>subsystem</value></enum>\
             <enum name='subsysType'><value>usb</value><value>pci</value></enum></hostdev>",
        );
        assert_eq!(full.pcie_machine.as_deref(), Some("pc-q35-10.0"));
        assert!(full.pci_passthrough);
        for none in [
            "",
            "<hostdev supported='no'/>",
            "<hostdev supported='yes'><enum name='mode'><value>subsystem</value></enum>\
             <enum name='subsysType'><value>usb</value></enum></hostdev>",
        ] {
            assert!(!with(none).pci_passthrough, "{none}");
        }
        assert!(read("<domainCapabilities").is_err());
    }
}
