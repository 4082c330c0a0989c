//! Staging on a definition what acceleration needs, for the next cold start.

use accelnet_model::Staging;
use virt::{domain::Domain, sys};

use super::{definition, nic, refused};
use crate::{Result, Staged};

/// Stages what is missing; device-level changes only, the rest of the definition is not touched. One
/// change for each NIC, so that an interruption leaves whole ones.
pub fn prepare(domain: &Domain, staging: &Staging) -> Result<Staged> {
    let asked = "read the VM's definition";
    let config = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(refused(asked))?;
    let mut changes = Vec::new();
    for mac in &staging.standby {
        if let Some(element) = nic::with_teaming(&config, *mac)? {
            update(domain, &element, &format!("let NIC {mac} stand by"))?;
            changes.push(format!("NIC {mac} stands by for a VF"));
        }
    }
    if !staging.standby.is_empty() {
        let free = definition::free_root_ports_of(&config)?;
        for _ in free..staging.standby.len() as u32 {
            domain
                .attach_device_flags(
                    "<controller type='pci' model='pcie-root-port'/>",
                    sys::VIR_DOMAIN_AFFECT_CONFIG,
                )
                .map_err(refused("add a PCIe root port"))?;
            changes.push("one more free PCIe root port".to_owned());
        }
    }
    if staging.queues.is_empty() {
        return Ok(Staged { changes });
    }
    // Anew: what was staged above must not be taken back.
    let config = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(refused(asked))?;
    for (mac, queues) in &staging.queues {
        if let Some(element) = nic::with_queues(&config, *mac, *queues)? {
            update(domain, &element, &format!("give NIC {mac} {queues} queues"))?;
            changes.push(format!(
                "NIC {mac} has {queues} queues on the software path"
            ));
        }
    }
    Ok(Staged { changes })
}

fn update(domain: &Domain, element: &str, operation: &str) -> Result<()> {
    domain
        .update_device_flags(element, sys::VIR_DOMAIN_AFFECT_CONFIG)
        .map(drop)
        .map_err(refused(operation))
}
