//! The definition of a VM that is on its way here, as libvirt's hook is given it: which VFs of accelnet's it names, and
//! the same with others.
//!
//! What the hook prints is the definition that libvirt goes on with (<https://libvirt.org/hooks.html>, "migrate" and
//! "restore"). The number of host devices must stay the same as at the source, and nothing else is touched.

use accelnet_model::{HostdevFacts, MacAddr, PciAddress};
use uuid::Uuid;

use super::xml::{self, Element, attribute, child, children, malformed};
use crate::Result;

/// A VM that is on its way here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The VM.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its NICs for which it names a VF.
    pub nics: Vec<MacAddr>,
}

/// What a definition says; `None` if it names no VF of accelnet's.
///
/// # Errors
/// If it is no definition of a VM.
pub fn read(definition: &str) -> Result<Option<Incoming>> {
    xml::read(definition, |_, root| {
        let nics: Vec<MacAddr> = ours(root).map(|(nic, _)| nic).collect();
        if nics.is_empty() {
            return Ok(None);
        }
        let uuid = xml::text(root, "uuid").and_then(|text| text.parse().ok());
        let name = xml::text(root, "name");
        let (Some(uuid), Some(name)) = (uuid, name) else {
            return Err(malformed("a VM without name or UUID"));
        };
        Ok(Some(Incoming { uuid, name, nics }))
    })
}

/// The definition with these VFs for these NICs.
///
/// # Errors
/// If it is no definition of a VM, or a NIC's VF is not among them.
pub fn with_vfs(definition: &str, vfs: &[(MacAddr, PciAddress)]) -> Result<String> {
    xml::read(definition, |text, root| {
        let mut changed = String::with_capacity(text.len());
        let mut done = 0;
        for (nic, address) in ours(root) {
            let vf = vfs.iter().find(|(its, _)| *its == nic).map(|(_, vf)| vf);
            let vf = vf.ok_or_else(|| malformed(&format!("NIC {nic} has been given no VF")))?;
            changed.push_str(&text[done..address.range().start]);
            changed.push_str(&format!(
                "<address domain='0x{:04x}' bus='0x{:02x}' slot='0x{:02x}' function='0x{:x}'/>",
                vf.domain, vf.bus, vf.device, vf.function
            ));
            done = address.range().end;
        }
        changed.push_str(&text[done..]);
        Ok(changed)
    })
}

/// NICs with the place where their VF of accelnet's is named, in the definition's order.
fn ours<'a>(root: Element<'a>) -> impl Iterator<Item = (MacAddr, Element<'a>)> {
    let devices = child(root, "devices").into_iter();
    let hostdevs = devices.flat_map(|devices| children(devices, "hostdev"));
    hostdevs.filter_map(|hostdev| {
        let alias = attribute(hostdev, "alias", "name")?;
        let nic = HostdevFacts::nic_of_alias(alias)?;
        Some((nic, child(child(hostdev, "source")?, "address")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "<domain type='kvm'>
  <name>web&amp;1</name>
  <uuid>00000000-0000-0000-0000-000000000007</uuid>
  <metadata><old:thing/></metadata>
  <devices>
    <interface type='bridge'>
      <mac address='52:54:00:77:00:65'/>
      <teaming type='persistent'/>
    </interface>
    <hostdev mode='subsystem' type='pci' managed='no'>
      <driver name='vfio'/>
      <source>
        <address domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>
      </source>
      <teaming type='transient' persistent='net0'/>
      <alias name='ua-accelnet-525400770065'/>
      <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
    </hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source><address domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></source>
      <alias name='ua-gpu'/>
    </hostdev>
  </devices>
</domain>
";

    fn nic() -> MacAddr {
        "52:54:00:77:00:65".parse().unwrap()
    }

    #[test]
    fn only_the_address_of_our_vf_changes() {
        let found = read(DEFINITION).unwrap().unwrap();
        assert_eq!(found.uuid, Uuid::from_u128(7));
        assert_eq!((found.name.as_str(), found.nics), ("web&1", vec![nic()]));
        let vf = "0000:81:11.6".parse().unwrap();
        let changed = with_vfs(DEFINITION, &[(nic(), vf)]).unwrap();
        let from = "<address domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>";
        let to = "<address domain='0x0000' bus='0x81' slot='0x11' function='0x6'/>";
        // A prefix that is declared nowhere is declared, as everywhere where definitions are read.
        let changed = changed.replace(" xmlns:old='undeclared:old'", "");
        assert_eq!(changed, DEFINITION.replacen(from, to, 1));
        assert_eq!(read(&changed).unwrap().unwrap().nics, [nic()]);
    }

    #[test]
    fn what_names_no_vf_of_ours_is_nobody_s_business() {
        let without = DEFINITION.replace("ua-accelnet-", "ua-other-");
        assert_eq!(read(&without).unwrap(), None);
        assert_eq!(with_vfs(&without, &[]).unwrap().len(), without.len() + 27);
        for odd in ["ua-accelnet-", "ua-accelnet-5254007700", "ua-accelnet-x"] {
            let odd = DEFINITION.replace("ua-accelnet-525400770065", odd);
            assert_eq!(read(&odd).unwrap(), None, "{odd}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(read("").is_err() && read("<domain").is_err());
        let nameless = DEFINITION.replace("name>", "title>");
        assert!(read(&nameless).is_err());
        assert!(with_vfs(DEFINITION, &[]).is_err());
    }
}
