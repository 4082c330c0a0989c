//! Plugging and unplugging a VF.

use std::time::{Duration, Instant};

use accelnet_model::{MacAddr, PciAddress};
use virt::{domain::Domain, sys};

use super::{definition, events::Hub, refused};
use crate::{HypervisorError, Result, VfAttachment};

/// Plugs the VF into the running VM, if it is not there yet.
pub fn attach(domain: &Domain, vf: &VfAttachment) -> Result<()> {
    if present(domain, vf.pci)?.is_some() {
        return Ok(());
    }
    let xml = hostdev(vf);
    domain
        .attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)
        .map_err(refused(&format!("plug VF {} into the VM", vf.pci)))?;
    Ok(())
}

/// Unplugs it and waits until the guest has let go. libvirt's answer to the request is not the end:
/// the guest decides when (or if), and the event says so. The VM's definition is the truth.
pub fn detach(domain: &Domain, pci: PciAddress, deadline: Duration, events: &Hub) -> Result<()> {
    let start = Instant::now();
    let mut seen = events.device_changes();
    let Some(alias) = present(domain, pci)? else {
        return Ok(());
    };
    let alias = alias.unwrap_or_default();
    let text = std::ffi::CString::new(alias)
        .map_err(|_| HypervisorError::Malformed("a device's alias holds a zero byte".to_owned()))?;
    // SAFETY: the domain lives, the alias is a C string that outlives the call.
    let asked = unsafe {
        sys::virDomainDetachDeviceAlias(domain.as_ptr(), text.as_ptr(), sys::VIR_DOMAIN_AFFECT_LIVE)
    };
    if asked < 0 {
        let error = virt::error::Error::last_error();
        // The device may have gone, or its removal be under way already.
        if present(domain, pci)?.is_none() {
            return Ok(());
        }
        tracing::debug!(
            message = error.message(),
            "libvirt did not take the request to unplug"
        );
        if !error.message().contains("already in the process of unplug") {
            return Err(refused(&format!("unplug VF {pci} from the VM"))(error));
        }
    }
    loop {
        if present(domain, pci)?.is_none() {
            return Ok(());
        }
        let left = deadline.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(HypervisorError::GuestRefused {
                seconds: deadline.as_secs(),
            });
        }
        events.wait_for_device_change(seen, left);
        seen = events.device_changes();
    }
}

/// The VF's alias if the running VM has it; `Some(None)` if it has it without an alias.
fn present(domain: &Domain, pci: PciAddress) -> Result<Option<Option<String>>> {
    if !domain.is_active().map_err(refused("look at the VM"))? {
        return Ok(None);
    }
    let xml = domain
        .xml_desc(0)
        .map_err(refused("read the VM's definition"))?;
    let hostdevs = definition::hostdevs_of(&xml)?;
    Ok(hostdevs
        .into_iter()
        .find(|hostdev| hostdev.pci == pci)
        .map(|hostdev| hostdev.alias))
}

/// The device's name is that of the NIC, whichever VF it is: QEMU remembers the name of a standby's
/// primary as long as it runs, and refuses one with another name (hw/net/virtio-net.c,
/// `failover_hide_primary_device`). A user's alias (`ua-`) is kept by libvirt as it is.
fn alias(mac: MacAddr) -> String {
    let digits: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ua-accelnet-{digits}")
}

fn hostdev(vf: &VfAttachment) -> String {
    let PciAddress {
        domain,
        bus,
        device,
        function,
    } = vf.pci;
    let alias = alias(vf.mac);
    format!(
        "<hostdev mode='subsystem' type='pci' managed='no'>\
         <source><address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{device:02x}' function='0x{function}'/></source>\
         <teaming type='transient' persistent='{}'/><alias name='{alias}'/></hostdev>",
        vf.persistent_alias
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_s_device_has_the_same_name_whichever_vf_it_is() {
        let on = |pci: &str| {
            hostdev(&VfAttachment {
                pci: pci.parse().unwrap(),
                mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 0x65]),
                persistent_alias: "net0".into(),
            })
        };
        for xml in [on("0000:01:10.0"), on("0000:01:10.2")] {
            assert!(
                xml.contains("<alias name='ua-accelnet-525400770065'/>"),
                "{xml}"
            );
        }
    }
}
