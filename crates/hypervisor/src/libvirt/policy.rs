//! Restrictions that the definition itself puts on a NIC.

use accelnet_model::{MacAddr, PolicyFinding, PolicyKind};

use super::xml::{Element, attribute, child, children};

/// What is found at this NIC.
pub fn of(nic: Element<'_>, mac: MacAddr) -> Vec<PolicyFinding> {
    let place = format!("definition of NIC {mac}");
    let mut found = Vec::new();
    let mut add = |kind: PolicyKind, name: &str, rule: String| {
        found.push(PolicyFinding {
            kind,
            place: place.clone(),
            rule,
            name: Some(format!("definition/{name}")),
        });
    };
    if let Some(bandwidth) = child(nic, "bandwidth") {
        let (out, inward) = (child(bandwidth, "outbound"), child(bandwidth, "inbound"));
        let average = |element: Element<'_>| element.attribute("average")?.parse::<u32>().ok();
        // Averages are in kilobytes (1,000 bytes) a second; a peak is another rate besides:
        // <https://libvirt.org/formatdomain.html#quality-of-service>.
        let whole_mbps = |element: Element<'_>| {
            let kbps = average(element)?.checked_mul(8)?;
            let exact = element.attribute("peak").is_none() && kbps % 1000 == 0;
            exact.then_some(kbps / 1000).filter(|mbps| *mbps > 0)
        };
        let ceiling = |element| {
            average(element)
                .unwrap_or(0)
                .saturating_mul(8)
                .div_ceil(1000)
        };
        if out.or(inward).is_some() {
            let kind = PolicyKind::Bandwidth {
                outbound_mbps: out.and_then(whole_mbps),
                inbound_mbps: inward.map(ceiling),
            };
            add(kind, "bandwidth", "<bandwidth>".to_owned());
        }
    }
    if let Some(filter) = attribute(nic, "filterref", "filter") {
        add(
            PolicyKind::NwFilter,
            &format!("filterref-{filter}"),
            format!("<filterref filter='{filter}'>"),
        );
    }
    if attribute(nic, "port", "isolated") == Some("yes") {
        add(
            PolicyKind::Isolation,
            "isolated",
            "<port isolated='yes'/>".to_owned(),
        );
    }
    if let Some(vlan) = child(nic, "vlan") {
        let tags: Vec<&str> = children(vlan, "tag")
            .map(|tag| tag.attribute("id").unwrap_or("none"))
            .collect();
        let one = match tags.as_slice() {
            [one] if vlan.attribute("trunk") != Some("yes") => one.parse().ok(),
            _ => None,
        };
        // A tag that is not understood is no reason to leave it out: a VF can only be told one that is.
        let kind = one.map_or(PolicyKind::VlanTrunk, |vlan| PolicyKind::AccessVlan {
            vlan,
            uplink_tagged: false,
        });
        add(kind, "vlan", format!("<vlan> [{}]", tags.join(", ")));
    }
    found
}
