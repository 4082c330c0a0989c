//! Staging on a definition what acceleration needs, for the next cold start.

use accelnet_model::MacAddr;
use virt::{domain::Domain, sys};

use super::{definition, refused};
use crate::{Result, Staged};

/// Stages what is missing; device-level changes only, the rest of the definition is not touched.
pub fn prepare(domain: &Domain, nics: &[MacAddr]) -> Result<Staged> {
    let asked = "read the VM's definition";
    let config = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(refused(asked))?;
    let mut changes = Vec::new();
    for mac in nics {
        if let Some(element) = definition::nic_with_teaming(&config, *mac)? {
            domain
                .update_device_flags(&element, sys::VIR_DOMAIN_AFFECT_CONFIG)
                .map_err(refused(&format!("let NIC {mac} stand by")))?;
            changes.push(format!("NIC {mac} stands by for a VF"));
        }
    }
    let free = definition::free_root_ports_of(&config)?;
    for _ in free..nics.len() as u32 {
        domain
            .attach_device_flags(
                "<controller type='pci' model='pcie-root-port'/>",
                sys::VIR_DOMAIN_AFFECT_CONFIG,
            )
            .map_err(refused("add a PCIe root port"))?;
        changes.push("one more free PCIe root port".to_owned());
    }
    Ok(Staged { changes })
}
