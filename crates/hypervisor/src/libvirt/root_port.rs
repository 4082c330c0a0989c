//! One more PCIe root port for a definition.
//!
//! libvirt checks a controller that is added by itself as it was given: it must say model, chassis and port, which
//! libvirt makes up only where a whole definition is given (src/qemu/qemu_validate.c,
//! `qemuValidateDomainDeviceDefControllerPCI`: "Required option 'modelName' is not set").

use std::collections::BTreeSet;

use super::xml::{self, attribute, child, children, number};
use crate::{HypervisorError, Result};

/// QEMU's limit of both numbers (hw/pci/pcie_port.c).
const MOST: u32 = 255;

/// Elements of so many ports that a definition has not. Chassis and port differ from all others' in it; the chassis is
/// the index that libvirt will give the controller, as libvirt does it.
pub fn elements(config: &str, count: u32) -> Result<Vec<String>> {
    let (mut indexes, mut chassis, mut ports) = (0, BTreeSet::new(), BTreeSet::new());
    xml::read(config, |_, root| {
        let devices = child(root, "devices");
        let controllers = devices
            .into_iter()
            .flat_map(|devices| children(devices, "controller"));
        for controller in controllers.filter(|one| one.attribute("type") == Some("pci")) {
            indexes = indexes.max(told(controller.attribute("index"))?.unwrap_or(0));
            chassis.extend(told(attribute(controller, "target", "chassis"))?);
            ports.extend(told(attribute(controller, "target", "port"))?);
        }
        Ok(())
    })?;
    let mut elements = Vec::new();
    for nth in 1..=count {
        let free = |used: &BTreeSet<u32>, from: u32| (from..=MOST).find(|one| !used.contains(one));
        let (Some(its), Some(port)) =
            (free(&chassis, indexes.saturating_add(nth)), free(&ports, 1))
        else {
            let text = "it has no number left for another PCIe root port";
            return Err(HypervisorError::Malformed(text.to_owned()));
        };
        chassis.insert(its);
        ports.insert(port);
        elements.push(format!(
            "<controller type='pci' model='pcie-root-port'><model name='pcie-root-port'/>\
             <target chassis='{its}' port='{port:#x}'/></controller>"
        ));
    }
    Ok(elements)
}

/// A number of a controller, if it has one. One that cannot be read may be any, also the next.
fn told(text: Option<&str>) -> Result<Option<u32>> {
    let read = |text: &str| {
        let text = format!("a PCI controller's number '{}'", text.escape_debug());
        HypervisorError::Malformed(text)
    };
    text.map(|text| number(text).ok_or_else(|| read(text)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "<domain><devices>\
        <controller type='pci' index='0' model='pcie-root'/>\
        <controller type='pci' index='1' model='pcie-root-port'><target chassis='1' port='0x1'/></controller>\
        <controller type='pci' index='2' model='pcie-root-port'><target chassis='4' port='0x3'/></controller>\
        <controller type='usb' index='9'/></devices></domain>";

    #[test]
    fn numbers_are_nobody_else_s() {
        let told = |chassis: u32, port: &str| {
            format!(
                "<controller type='pci' model='pcie-root-port'><model name='pcie-root-port'/>\
                 <target chassis='{chassis}' port='{port}'/></controller>"
            )
        };
        let found = elements(CONFIG, 2).unwrap();
        assert_eq!(found, [told(3, "0x2"), told(5, "0x4")]);
        assert_eq!(elements(CONFIG, 0).unwrap(), [""; 0]);
        assert!(elements(CONFIG, 300).is_err());
        // An index that nothing can follow.
        assert!(elements(&CONFIG.replace("index='2'", "index='4294967295'"), 1).is_err());
        for (from, to) in [("'4'", "'many'"), ("'0x3'", "'0xg'"), ("'2'", "'-2'")] {
            assert!(elements(&CONFIG.replace(from, to), 1).is_err(), "{to}");
        }
    }
}
