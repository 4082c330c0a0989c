//! Checks of an intent's adapter on a node.

use accelnet_model::{AdapterFacts, CheckResult, Code, IfName, Intent, Name, SriovSupport};

use super::Subject;
use crate::Observed;

/// All checks of one adapter; the first alone if there is no such adapter.
pub fn check(node: &Name, observed: &Observed, intent: &Intent, name: &IfName) -> Vec<CheckResult> {
    let subject = Subject {
        node,
        adapter: Some(name),
    };
    let Some(adapter) = observed.adapter(name) else {
        let text = format!("Node {node} has no adapter {name}.");
        return vec![subject.result("adapter", "missing", Some((Code::AdapterNotFound, text)))];
    };
    let driver = adapter.driver.as_deref().unwrap_or("no driver");
    let mut results = vec![
        subject.result("adapter", format!("{} ({driver})", adapter.pci), None),
        uplink(&subject, observed, intent, adapter),
        link(&subject, adapter),
        sriov(&subject, observed, adapter),
        isolation(&subject, adapter),
    ];
    results.extend(mtu(&subject, observed, intent, adapter));
    results
}

fn uplink(
    subject: &Subject<'_>,
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
) -> CheckResult {
    let master = adapter.master.as_ref();
    let found = master.map_or_else(
        || "no port of anything".to_owned(),
        |master| format!("port of {master}"),
    );
    // Without the bridge that is the problem to tell of.
    let wrong = master != Some(&intent.bridge) && observed.bridge(&intent.bridge).is_some();
    let problem = wrong.then(|| {
        (
            Code::AdapterNotUplink,
            format!("{} is {found}, not of {}.", adapter.ifname, intent.bridge),
        )
    });
    subject.result("uplink", found, problem)
}

fn link(subject: &Subject<'_>, adapter: &AdapterFacts) -> CheckResult {
    let (found, text) = match (adapter.up, adapter.carrier) {
        (true, true) => ("up", None),
        (false, _) => ("down", Some("is set down")),
        (true, false) => ("no carrier", Some("has no carrier")),
    };
    let problem = text.map(|text| (Code::AdapterLinkDown, format!("{} {text}.", adapter.ifname)));
    subject.result("link", found, problem)
}

fn sriov(subject: &Subject<'_>, observed: &Observed, adapter: &AdapterFacts) -> CheckResult {
    let code = match adapter.sriov {
        SriovSupport::Supported => None,
        SriovSupport::Unknown => Some(Code::SriovSupportUnknown),
        SriovSupport::MissingAcs => Some(Code::SriovSupportMissingAcs),
        SriovSupport::MissingPfDriver => Some(Code::SriovSupportMissingPfDriver),
        SriovSupport::NoBusResources => Some(Code::SriovSupportNoBusResources),
        // Told once, for the node.
        SriovSupport::NoIoMmuSupport if !observed.node.iommu => None,
        SriovSupport::NoIoMmuSupport => Some(Code::SriovSupportNoIommu),
        SriovSupport::NoVfBarSpace => Some(Code::SriovSupportNoVfBarSpace),
        SriovSupport::NoOscSupport => Some(Code::SriovSupportNoOsc),
    };
    let found = format!(
        "{:?}, {} VFs possible, {} exist",
        adapter.sriov,
        adapter.total_vfs,
        adapter.vfs.len()
    );
    let problem = code.map(|code| {
        let evidence = adapter
            .sriov_evidence
            .as_deref()
            .unwrap_or("the system shows no more");
        (
            code,
            format!("{} ({}): {evidence}.", adapter.ifname, adapter.pci_id),
        )
    });
    subject.result("sriov", found, problem)
}

fn isolation(subject: &Subject<'_>, adapter: &AdapterFacts) -> CheckResult {
    let shared = adapter.vfs.iter().find(|vf| !vf.group_peers.is_empty());
    let found = if adapter.vfs.is_empty() {
        "no VFs yet".to_owned()
    } else {
        format!("{} VFs looked at", adapter.vfs.len())
    };
    let problem = shared.map(|vf| {
        let peers: Vec<_> = vf.group_peers.iter().map(ToString::to_string).collect();
        (
            Code::VfNotIsolated,
            format!(
                "VF {} shares its IOMMU group with {}.",
                vf.pci,
                peers.join(", ")
            ),
        )
    });
    subject.result("vf_isolation", found, problem)
}

fn mtu(
    subject: &Subject<'_>,
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
) -> Option<CheckResult> {
    let bridge = observed.bridge(&intent.bridge)?;
    let problem = (adapter.mtu < bridge.mtu).then(|| {
        let text = format!(
            "{} has an MTU of {}, {} one of {}.",
            adapter.ifname, adapter.mtu, bridge.ifname, bridge.mtu
        );
        (Code::VfMtuTooSmall, text)
    });
    Some(subject.result("mtu", adapter.mtu.to_string(), problem))
}
