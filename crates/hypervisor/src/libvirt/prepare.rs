//! Staging on a definition what acceleration needs, for the next cold start.

use accelnet_model::Staging;
use virt::{domain::Domain, sys};

use super::{
    definition, nic,
    refusal::{about_to, refused_on},
    root_port,
};
use crate::{NewNic, Result, Staged};

/// Stages what is missing; device-level changes only, the rest of the definition is not touched. One
/// change for each NIC, so that an interruption leaves whole ones.
pub fn prepare(domain: &Domain, staging: &Staging) -> Result<Staged> {
    let asked = "read the VM's definition";
    let config = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(refused_on(domain, asked))?;
    let mut changes = Vec::new();
    for mac in &staging.standby {
        if let Some(element) = nic::with_teaming(&config, *mac)? {
            update(domain, &element, &format!("let NIC {mac} stand by"))?;
            changes.push(format!("NIC {mac} stands by for a VF"));
        }
    }
    if !staging.standby.is_empty() {
        let ports = staging.standby.len() as u32;
        changes.extend(root_ports(domain, &config, ports)?);
    }
    if staging.queues.is_empty() {
        return Ok(Staged { changes });
    }
    // Anew: what was staged above must not be taken back.
    let config = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(refused_on(domain, asked))?;
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

/// Adds free root ports to the definition until there are so many.
fn root_ports(domain: &Domain, config: &str, needed: u32) -> Result<Vec<String>> {
    let mut changes = Vec::new();
    let missing = needed.saturating_sub(definition::free_root_ports_of(config)?);
    for element in root_port::elements(config, missing)? {
        let operation = "add a PCIe root port";
        about_to(operation)?;
        domain
            .attach_device_flags(&element, sys::VIR_DOMAIN_AFFECT_CONFIG)
            .map_err(refused_on(domain, operation))?;
        changes.push("one more free PCIe root port".to_owned());
    }
    Ok(changes)
}

/// Adds the NIC where it is missing, in one call if it is missing in both places. libvirt gives it a
/// root port that is free or, in the definition, adds one.
pub fn ensure_nic(domain: &Domain, nic: &NewNic, live: bool) -> Result<Staged> {
    let asked = "read the VM's definition";
    let read = |flags| domain.xml_desc(flags).map_err(refused_on(domain, asked));
    let running = domain.is_active().map_err(refused_on(domain, asked))?;
    let mut changes = Vec::new();
    let mut flags = 0;
    if !definition::has_nic(&read(sys::VIR_DOMAIN_XML_INACTIVE)?, nic.mac)? {
        flags |= sys::VIR_DOMAIN_AFFECT_CONFIG;
        changes.push(format!("NIC {} on {}", nic.mac, nic.bridge));
    }
    if live && running && !definition::has_nic(&read(0)?, nic.mac)? {
        flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
    }
    if flags != 0 {
        let operation = format!("add NIC {} on {}", nic.mac, nic.bridge);
        about_to(&operation)?;
        domain
            .attach_device_flags(&interface(nic), flags)
            .map_err(refused_on(domain, &operation))?;
    }
    // The NIC itself has taken one.
    let config = read(sys::VIR_DOMAIN_XML_INACTIVE)?;
    changes.extend(root_ports(domain, &config, 1)?);
    Ok(Staged { changes })
}

fn interface(nic: &NewNic) -> String {
    format!(
        "<interface type='bridge'><mac address='{}'/><source bridge='{}'/><model type='virtio'/>\
         <teaming type='persistent'/></interface>",
        nic.mac, nic.bridge
    )
}

fn update(domain: &Domain, element: &str, operation: &str) -> Result<()> {
    about_to(operation)?;
    domain
        .update_device_flags(element, sys::VIR_DOMAIN_AFFECT_CONFIG)
        .map(drop)
        .map_err(refused_on(domain, operation))
}
