//! Plugging and unplugging a VF, and what was left of an earlier one.

use std::time::{Duration, Instant};

use accelnet_model::{HostdevFacts, MacAddr, PciAddress};
use virt::{domain::Domain, error::Error, sys};

use super::{
    calls,
    definition::{self, Hostdev},
    job, monitor,
    refusal::{about_to, is_not_there, other_primary, refused_on, wait_and_ask_again},
    waiters::{Waiters, Woken},
};
use crate::{HypervisorError, Result, VfAttachment};

/// Between two requests to unplug, where QEMU or the guest did not take the first: a guest's button
/// blinks for five seconds (Linux, drivers/pci/hotplug/pciehp_ctrl.c), and no event tells its end.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Between two looks while the guest is waited for: an event may be lost, with its connection.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long what a failed plug has left is waited for.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// Plugs the VF into the running VM, if it is not there yet. If that fails the VM does not have it: what
/// QEMU has counts, not what libvirt answered.
pub fn attach(domain: &Domain, vf: &VfAttachment, waiters: &Waiters) -> Result<()> {
    if find(domain, vf.pci)?.is_some() {
        return Ok(());
    }
    job::refuse_while_busy(domain)?;
    about_to(&format!("plug VF {} into the VM", vf.pci))?;
    let plug = |name: Option<&str>| {
        let xml = hostdev(vf, name);
        domain.attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)
    };
    let plugged =
        plug(Some(&HostdevFacts::alias_for(vf.mac))).or_else(|error| {
            match other_primary(error.message()) {
                Some(name) => plug(Some(name).filter(|name| name.starts_with(USERS))),
                None => Err(error),
            }
        });
    let Err(error) = plugged else {
        return Ok(());
    };
    let reached_qemu = !refused_by_libvirt(&error);
    let error = refused_on(domain, &format!("plug VF {} into the VM", vf.pci))(error);
    match error {
        // Nothing more can be asked; the next look tells.
        HypervisorError::Unavailable(_) => return Err(error),
        HypervisorError::DeviceLeft(_) => return Err(error),
        _ if !reached_qemu => return Err(error),
        _ => {}
    }
    if find(domain, vf.pci)?.is_some() {
        tracing::warn!(%error, "libvirt reported a failure, and has plugged the VF");
        return Ok(());
    }
    match ensure_released(domain, vf.mac, CLEAN_UP, waiters) {
        Ok(_) => Err(error),
        Err(HypervisorError::GuestRefused { .. }) => {
            Err(HypervisorError::DeviceLeft(error.to_string()))
        }
        Err(unknown) => {
            tracing::warn!(%unknown, "it is not known what a failed plug has left");
            Err(error)
        }
    }
}

/// libvirt's own checks, before QEMU is told anything.
fn refused_by_libvirt(error: &Error) -> bool {
    [
        sys::VIR_ERR_XML_ERROR,
        sys::VIR_ERR_XML_DETAIL,
        sys::VIR_ERR_CONFIG_UNSUPPORTED,
        sys::VIR_ERR_OPERATION_INVALID,
        sys::VIR_ERR_OPERATION_UNSUPPORTED,
        sys::VIR_ERR_OPERATION_DENIED,
        sys::VIR_ERR_ACCESS_DENIED,
        sys::VIR_ERR_NO_SUPPORT,
        sys::VIR_ERR_NO_DOMAIN,
    ]
    .contains(&error.code().to_raw())
}

/// Unplugs it and waits until the guest has let go. libvirt's answer to the request is not the end:
/// the guest decides when (or if), and the event says so. The VM's definition is the truth: false if it has no such
/// device, of which QEMU may have something all the same.
pub fn detach(
    domain: &Domain,
    pci: PciAddress,
    deadline: Duration,
    waiters: &Waiters,
) -> Result<bool> {
    let asked = format!("unplug VF {pci} from the VM");
    let vm = domain.uuid().map_err(refused_on(domain, &asked))?;
    let start = Instant::now();
    let mut waiter = waiters.wait_for(vm);
    let (mut ask, mut known) = (true, false);
    while let Some(device) = find(domain, pci)? {
        known = true;
        if ask {
            job::refuse_while_busy(domain)?;
            about_to(&asked)?;
            ask = match request(domain, &device) {
                Ok(()) => false,
                Err(error) if wait_and_ask_again(error.message()) => true,
                // It may have gone in that moment.
                Err(_) if find(domain, pci)?.is_none() => return Ok(true),
                Err(error) => return Err(refused_on(domain, &asked)(error)),
            };
        }
        let left = left_of(start, deadline)?;
        let pause = if ask { ASK_AGAIN } else { LOOK_AGAIN };
        if waiter.wait(left.min(pause)) == Woken::Refused {
            tracing::debug!(%vm, %pci, "the guest did not give up the device; it is asked again");
            ask = true;
            waiter.wait(left.min(ASK_AGAIN));
        }
    }
    Ok(known)
}

/// Asks for a device to be unplugged: by its name, or, without one, by what the definition says of it.
fn request(domain: &Domain, device: &Hostdev) -> std::result::Result<(), Error> {
    match &device.facts.alias {
        Some(alias) => calls::detach_alias(domain, alias),
        None => domain.detach_device_flags(&device.element, sys::VIR_DOMAIN_AFFECT_LIVE),
    }
}

/// Unplugs what QEMU has of a NIC's VF and libvirt does not know, whatever its name: QEMU plugs a standby's
/// primary again by itself when its guest starts anew (hw/net/virtio-net.c, `failover_add_primary`). A device
/// that libvirt knows is left to it, and one that belongs to no NIC to whoever gave it. False if there is none.
pub fn ensure_released(
    domain: &Domain,
    mac: MacAddr,
    deadline: Duration,
    waiters: &Waiters,
) -> Result<bool> {
    let asked = "look for what an earlier VF has left";
    let vm = domain.uuid().map_err(refused_on(domain, asked))?;
    let start = Instant::now();
    let mut waiter = waiters.wait_for(vm);
    let mut found = false;
    while let Some(name) = forgotten(domain, mac)? {
        found = true;
        tracing::info!(%vm, name, "QEMU has a device that libvirt has forgotten; it is unplugged");
        match monitor::device_del(domain, &name) {
            Ok(()) => {}
            Err(HypervisorError::Refused { message, .. })
                if wait_and_ask_again(&message) || is_not_there(&message) => {}
            Err(error) => return Err(error),
        }
        let left = left_of(start, deadline)?;
        waiter.wait(left.min(LOOK_AGAIN));
    }
    Ok(found)
}

/// The name of a device that QEMU has for this NIC and libvirt does not know.
fn forgotten(domain: &Domain, mac: MacAddr) -> Result<Option<String>> {
    let Some(xml) = live_xml(domain)? else {
        return Ok(None);
    };
    let known = definition::hostdevs_of(&xml)?;
    let nic = definition::nic_alias(&xml, mac)?;
    let ours = HostdevFacts::alias_for(mac);
    for name in monitor::passed_through(domain)? {
        let is_known = known
            .iter()
            .any(|device| device.facts.alias.as_ref() == Some(&name));
        let its = || Ok(nic.is_some() && monitor::pair_of(domain, &name)? == nic);
        if !is_known && (name == ours || its()?) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn left_of(start: Instant, deadline: Duration) -> Result<Duration> {
    let left = deadline.saturating_sub(start.elapsed());
    if left.is_zero() {
        return Err(HypervisorError::GuestRefused {
            seconds: deadline.as_secs(),
        });
    }
    Ok(left)
}

/// The VF's device if the running VM has it.
fn find(domain: &Domain, pci: PciAddress) -> Result<Option<Hostdev>> {
    let devices = hostdevs(domain)?.unwrap_or_default();
    Ok(devices.into_iter().find(|device| device.facts.pci == pci))
}

/// Host devices of the VM; `None` if it does not run.
fn hostdevs(domain: &Domain) -> Result<Option<Vec<Hostdev>>> {
    let xml = live_xml(domain)?;
    xml.map(|xml| definition::hostdevs_of(&xml)).transpose()
}

fn live_xml(domain: &Domain) -> Result<Option<String>> {
    let asked = "read the VM's definition";
    if !domain.is_active().map_err(refused_on(domain, asked))? {
        return Ok(None);
    }
    let xml = domain.xml_desc(0).map_err(refused_on(domain, asked))?;
    Ok(Some(xml))
}

/// Aliases that users give begin so; libvirt takes no others, and makes its own (`hostdev0`).
const USERS: &str = "ua-";

/// libvirt names it where no name is given.
fn hostdev(vf: &VfAttachment, name: Option<&str>) -> String {
    let PciAddress {
        domain,
        bus,
        device,
        function,
    } = vf.pci;
    let alias = name.map(|name| format!("<alias name='{name}'/>"));
    format!(
        "<hostdev mode='subsystem' type='pci' managed='no'>\
         <source><address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{device:02x}' function='0x{function}'/></source>\
         <teaming type='transient' persistent='{}'/>{}</hostdev>",
        vf.persistent_alias,
        alias.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_name_that_it_is_given_or_libvirt_s() {
        let vf = VfAttachment {
            pci: "0000:01:10.2".parse().unwrap(),
            mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 0x65]),
            persistent_alias: "net0".into(),
        };
        let ours = HostdevFacts::alias_for(vf.mac);
        let xml = hostdev(&vf, Some(&ours));
        assert!(
            xml.contains("<alias name='ua-accelnet-525400770065'/>"),
            "{xml}"
        );
        let xml = hostdev(&vf, None);
        assert!(!xml.contains("alias"), "{xml}");
    }

    #[test]
    fn a_deadline_that_has_passed_is_the_guest_s_refusal() {
        let start = Instant::now();
        assert!(left_of(start, Duration::from_secs(60)).unwrap() > Duration::from_secs(50));
        let over = left_of(start, Duration::ZERO);
        assert_eq!(over, Err(HypervisorError::GuestRefused { seconds: 0 }));
    }
}
