//! One NIC's element of a definition: what it says, and the same with one thing added. All else is kept
//! to the byte.

use accelnet_model::{MacAddr, is_virtio};

use super::xml::{self, Element, child, malformed, software_nic, teaming};
use crate::Result;

/// Queues of a NIC; 1 if nothing is said (<https://libvirt.org/formatdomain.html#setting-nic-driver-specific-options>).
pub fn queues(nic: Element<'_>) -> u32 {
    child(nic, "driver")
        .and_then(|driver| driver.attribute("queues")?.parse().ok())
        .unwrap_or(1)
}

/// More queues than one need virtio and the host's kernel (vhost) behind it; `name='qemu'` turns that
/// off.
pub fn can_have_queues(nic: Element<'_>) -> bool {
    let model = child(nic, "model").and_then(|model| model.attribute("type"));
    let driver = child(nic, "driver").and_then(|driver| driver.attribute("name"));
    model.is_some_and(is_virtio) && driver != Some("qemu")
}

/// The NIC's element with `<teaming type='persistent'/>`; `None` if it has it already.
pub fn with_teaming(xml: &str, mac: MacAddr) -> Result<Option<String>> {
    xml::read(xml, |text, root| {
        let nic = find(root, mac)?;
        if teaming(nic) == Some("persistent") {
            return Ok(None);
        }
        if child(nic, "teaming").is_some() {
            return Err(malformed("a NIC that is half of an unknown pair"));
        }
        inserted(text, nic, "<teaming type='persistent'/>").map(Some)
    })
}

/// The NIC's element with so many queues; `None` if it has as many or more, or can have no more.
pub fn with_queues(xml: &str, mac: MacAddr, wanted: u32) -> Result<Option<String>> {
    xml::read(xml, |text, root| {
        let nic = find(root, mac)?;
        if queues(nic) >= wanted || !can_have_queues(nic) {
            return Ok(None);
        }
        let Some(driver) = child(nic, "driver") else {
            let element = format!("<driver queues='{wanted}'/>");
            return inserted(text, nic, &element).map(Some);
        };
        let said = driver
            .attributes()
            .find(|attribute| attribute.name() == "queues" && attribute.namespace().is_none());
        let (from, to, said) = match said {
            Some(attribute) => {
                let value = attribute.range_value();
                (value.start, value.end, wanted.to_string())
            }
            None => {
                let at = driver.range().start + "<driver".len();
                (at, at, format!(" queues='{wanted}'"))
            }
        };
        let whole = nic.range();
        Ok(Some(format!(
            "{}{said}{}",
            &text[whole.start..from],
            &text[to..whole.end]
        )))
    })
}

fn find<'a>(root: Element<'a>, mac: MacAddr) -> Result<Element<'a>> {
    software_nic(root, mac).ok_or_else(|| malformed(&format!("it has no NIC {mac}")))
}

/// The NIC's own element with another one in it.
fn inserted(xml: &str, nic: Element<'_>, element: &str) -> Result<String> {
    let own = &xml[nic.range()];
    // Its own end is the last of all, however it is written.
    let end = own.rfind("</").ok_or_else(|| malformed("an empty NIC"))?;
    Ok(format!("{}{element}{}", &own[..end], &own[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "<domain><devices>
  <interface type='bridge'><mac address='52:54:00:00:00:01'/><model type='virtio'/><teaming type='persistent'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:02'/><!-- x --><model type='e1000e'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:03'/><model type='virtio'/>
   <driver name='vhost' txmode='iothread'  queues=\"2\" ><host csum='off'/></driver></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:04'/><model type='virtio'/><driver iommu='on'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:05'/><model type='virtio'/><driver name='qemu'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:06'/><model type='virtio-non-transitional'/></interface>
 </devices></domain>";

    fn mac(number: u8) -> MacAddr {
        MacAddr([0x52, 0x54, 0, 0, 0, number])
    }

    #[test]
    fn teaming_is_inserted_and_nothing_else_changes() {
        let element = with_teaming(VM, mac(2)).unwrap().unwrap();
        let plain = element.replace("<teaming type='persistent'/>", "");
        assert!(VM.contains(&plain), "{plain}");
        assert_eq!(with_teaming(VM, mac(1)).unwrap(), None);
        assert!(with_teaming(VM, mac(9)).is_err());
        let odd = VM.replace("type='persistent'", "type='other'");
        assert!(with_teaming(&odd, mac(1)).is_err());
    }

    /// As nobody but somebody's own program writes them.
    #[test]
    fn ends_and_namespaces_are_read_as_they_are_meant() {
        let vm = "<domain xmlns:q='q'><devices><interface type='bridge'><mac address='52:54:00:00:00:01'/>\
                  <model type='virtio'/><q:driver queues='1'/><!-- </interface> --></interface ></devices></domain>";
        let teaming = with_teaming(vm, mac(1)).unwrap().unwrap();
        assert!(
            teaming.ends_with("--><teaming type='persistent'/></interface >"),
            "{teaming}"
        );
        let queues = with_queues(vm, mac(1), 4).unwrap().unwrap();
        assert!(
            queues.ends_with("--><driver queues='4'/></interface >"),
            "{queues}"
        );
    }

    #[test]
    fn the_half_that_is_a_vf_is_never_changed() {
        let bridge = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>";
        for fast in [
            "<interface type='network'><mac address='52:54:00:00:00:01'/><model type='virtio'/>\
             <teaming type='transient' persistent='ua-x'/></interface>",
            "<interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>",
        ] {
            let vm = format!("<domain><devices>{fast}{bridge}</devices></domain>");
            let teaming = with_teaming(&vm, mac(1)).unwrap().unwrap();
            let queues = with_queues(&vm, mac(1), 2).unwrap().unwrap();
            assert!(
                teaming.starts_with("<interface type='bridge'>"),
                "{teaming}"
            );
            assert!(queues.starts_with("<interface type='bridge'>"), "{queues}");
        }
    }

    #[test]
    fn queues_are_raised_and_nothing_else_changes() {
        for (nic, added, before) in [
            (1, "<driver queues='4'/>", ""),
            (3, "queues=\"4\"", "queues=\"2\""),
            (4, " queues='4'", ""),
            (6, "<driver queues='4'/>", ""),
        ] {
            let element = with_queues(VM, mac(nic), 4).unwrap().unwrap();
            assert!(element.contains(added), "{element}");
            let plain = element.replace(added, before);
            assert!(VM.contains(&plain), "{plain}");
            let again = VM.replace(&plain, &element);
            assert_eq!(with_queues(&again, mac(nic), 4).unwrap(), None);
            assert_eq!(
                with_queues(&again, mac(nic), 3).unwrap(),
                None,
                "never lowered"
            );
        }
        // No virtio; served by QEMU.
        for nic in [2, 5] {
            assert_eq!(with_queues(VM, mac(nic), 4).unwrap(), None);
        }
        assert!(with_queues(VM, mac(9), 4).is_err());
    }
}
