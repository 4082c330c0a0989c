//! Reading XML of libvirt: what all that read a definition need.

use accelnet_model::{MacAddr, PciAddress};
use roxmltree::{Document, Error, Node};

use crate::{HypervisorError, Result};

/// An element of a definition.
pub type Element<'a> = Node<'a, 'a>;

/// Reads a definition. libvirt keeps in the metadata what others wrote there, also prefixes that are
/// declared nowhere (its parser takes that for no error, ours does); they are declared at the root then.
/// So what is read may be another text than what was given, and comes with the document.
pub fn read<R>(xml: &str, what: impl FnOnce(&str, Element<'_>) -> Result<R>) -> Result<R> {
    /// More prefixes than any sane definition has, so that this ends.
    const UNDECLARED: usize = 32;

    let mut declared = String::new();
    for _ in 0..UNDECLARED {
        let text = if declared.is_empty() { xml } else { &declared };
        let prefix = match Document::parse(text) {
            Ok(document) => return what(text, document.root_element()),
            Err(Error::UnknownNamespace(prefix, _)) => prefix,
            Err(error) => return Err(malformed(&error.to_string())),
        };
        let declaration = format!(" xmlns:{prefix}='undeclared:{prefix}'");
        let Some(at) = text.find("<domain").map(|at| at + "<domain".len()) else {
            return Err(malformed(&format!("it is none; prefix {prefix}")));
        };
        declared = format!("{}{declaration}{}", &text[..at], &text[at..]);
    }
    Err(malformed("too many prefixes are not declared"))
}

pub fn malformed(reason: &str) -> HypervisorError {
    HypervisorError::Malformed(reason.to_owned())
}

/// The children of this name, which are libvirt's: others' have a namespace.
pub fn children<'a>(node: Element<'a>, name: &'static str) -> impl Iterator<Item = Element<'a>> {
    node.children()
        .filter(move |child| child.has_tag_name(name) && child.tag_name().namespace().is_none())
}

/// The first child of this name.
pub fn child<'a>(node: Element<'a>, name: &'static str) -> Option<Element<'a>> {
    children(node, name).next()
}

/// Text of a child.
pub fn text(node: Element<'_>, name: &'static str) -> Option<String> {
    Some(child(node, name)?.text()?.trim().to_owned())
}

/// An attribute of a child.
pub fn attribute<'a>(node: Element<'a>, name: &'static str, attribute: &str) -> Option<&'a str> {
    child(node, name)?.attribute(attribute)
}

/// An `<address type='pci'>`; `None` if it cannot be read.
pub fn pci_address(address: Element<'_>) -> Option<PciAddress> {
    let part = |name: &str| number(address.attribute(name).unwrap_or("0"));
    Some(PciAddress {
        domain: u16::try_from(part("domain")?).ok()?,
        bus: u8::try_from(part("bus")?).ok()?,
        device: u8::try_from(part("slot")?).ok()?,
        function: u8::try_from(part("function")?).ok()?,
    })
}

/// A number of a device; `None` if it cannot be read, which is for the caller to refuse. libvirt writes "0x"; what it takes without is decimal
/// (src/conf/device_conf.c, `virPCIDeviceAddressParseXML`).
pub fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A NIC's own address.
pub fn nic_mac(nic: Element<'_>) -> Option<MacAddr> {
    attribute(nic, "mac", "address")?.parse().ok()
}

/// The NICs of a definition that are software's. A fast half is none of them: `hostdev` in the live definition,
/// while in the persistent one it may be a `network` (a pool of VFs) or `vdpa` that says which NIC it is half of
/// (<https://libvirt.org/formatdomain.html#teaming-a-virtio-hostdev-nic-pair>).
pub fn software_nics<'a>(root: Element<'a>) -> impl Iterator<Item = Element<'a>> {
    let all = children(root, "devices").flat_map(|devices| children(devices, "interface"));
    all.filter(|nic| nic.attribute("type") != Some("hostdev") && teaming(*nic) != Some("transient"))
}

/// The software NIC with this address.
pub fn software_nic<'a>(root: Element<'a>, mac: MacAddr) -> Option<Element<'a>> {
    software_nics(root).find(|nic| nic_mac(*nic) == Some(mac))
}

/// Which half of a pair a NIC or host device is (`<teaming type=…>`).
pub fn teaming<'a>(node: Element<'a>) -> Option<&'a str> {
    attribute(node, "teaming", "type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_nobody_declared_are_read() {
        let vm = "<domain type='kvm'><metadata><i:asset xmlns:i='http://i/1'><t:ref u:x='1'>CHG-1</t:ref>\
                  </i:asset></metadata><name>a</name></domain>";
        let (name, same) = read(vm, |read, root| Ok((text(root, "name"), read == vm))).unwrap();
        assert_eq!((name.as_deref(), same), (Some("a"), false));
        let plain = "<domain><name>a</name></domain>";
        assert!(read(plain, |read, _| Ok(read == plain)).unwrap());
        let many: String = (0..40).map(|n| format!("<p{n}:x/>")).collect();
        for broken in [
            "",
            "<domain",
            "<other><t:x/></other>",
            "<domain a='1' a='2'/>",
            &format!("<domain>{many}</domain>"),
        ] {
            assert!(read(broken, |_, _| Ok(())).is_err(), "{broken}");
        }
    }
}
