//! One look at the node.

use std::collections::BTreeSet;

use accelnet_host::{Host, HostError};
use accelnet_hypervisor::{Hypervisor, HypervisorError};
use accelnet_model::{BridgeFacts, Code, IfName, NodeDesired, PolicyFinding, PolicyKind, Problem};
use accelnet_rules::{Observed, observed::nics_on};

/// Looks at everything that the wish is about. What cannot be seen is a problem, not an absence.
pub fn observe(
    host: &dyn Host,
    hypervisor: &dyn Hypervisor,
    desired: &NodeDesired,
    problems: &mut Vec<Problem>,
) -> Observed {
    let mut observed = Observed::default();
    let mut note = |error: &HostError| problems.push(host_problem(error));
    match host.observe_node() {
        Ok(node) => observed.node = node,
        Err(error) => note(&error),
    }
    match host.observe_adapters() {
        Ok(adapters) => observed.adapters = adapters,
        Err(error) => note(&error),
    }
    let mut known = BTreeSet::new();
    let mut next = bridges(desired, &observed);
    // What a bond is a port of is looked at as well.
    while let Some(name) = next.pop_first() {
        if !known.insert(name.clone()) {
            continue;
        }
        match host.observe_bridge(&name) {
            Ok(bridge) => {
                let above = bridge.as_ref().and_then(|bridge| bridge.master.clone());
                next.extend(above);
                observed.bridges.extend(bridge);
            }
            Err(error) => note(&error),
        }
    }
    match host.observe_switch_names() {
        Ok(names) => {
            let others = names.into_iter().filter(|name| !known.contains(name));
            observed
                .bridges
                .extend(others.filter_map(|name| other(host, &name)));
        }
        Err(error) => note(&error),
    }
    match vms(hypervisor, &mut observed) {
        Ok(()) => observed.hypervisor_answers = true,
        Err(error) => {
            problems.push(Problem::new(
                Code::HypervisorUnavailable,
                format!("{error}."),
            ));
        }
    }
    assign(&mut observed);
    policy(host, desired, &mut observed);
    observed
}

/// A host's error in the catalogue's words.
pub fn host_problem(error: &HostError) -> Problem {
    Problem::new(Code::HostOperationFailed, format!("{error}."))
}

/// Bridges that intents name, and those that adapters are ports of (so that a new intent can be
/// checked before it is one).
fn bridges(desired: &NodeDesired, observed: &Observed) -> BTreeSet<IfName> {
    let named = desired.intents.iter().map(|intent| intent.bridge.clone());
    let masters = observed
        .adapters
        .iter()
        .filter_map(|adapter| adapter.master.clone());
    named.chain(masters).collect()
}

/// A switch that no intent names and no adapter is a port of: that it is there, and of which kind. Its
/// ports are nobody's business here, and would make every report a new one.
fn other(host: &dyn Host, name: &IfName) -> Option<BridgeFacts> {
    let mut facts = host.observe_bridge(name).ok().flatten()?;
    facts.ports.clear();
    Some(facts)
}

fn vms(hypervisor: &dyn Hypervisor, observed: &mut Observed) -> Result<(), HypervisorError> {
    let versions = hypervisor.observe_versions()?;
    observed.node.libvirt = Some(versions.libvirt);
    observed.node.qemu = Some(versions.qemu);
    // That it does not say is a finding of the prerequisite checks.
    observed.node.domain_capabilities = hypervisor
        .observe_capabilities()
        .inspect_err(|error| tracing::debug!(%error, "domain capabilities"))
        .ok();
    observed.vms = hypervisor.observe_vms()?;
    Ok(())
}

/// Tells VFs which VM has them.
fn assign(observed: &mut Observed) {
    for vm in &observed.vms {
        for hostdev in &vm.hostdevs {
            let vfs = observed
                .adapters
                .iter_mut()
                .flat_map(|adapter| &mut adapter.vfs);
            for vf in vfs.filter(|vf| vf.pci == hostdev.pci) {
                vf.vm = Some(vm.uuid);
            }
        }
    }
}

/// Policy on the host path of every vNIC on an intent's bridge. What cannot be read is a finding:
/// nobody may say that there is none.
fn policy(host: &dyn Host, desired: &NodeDesired, observed: &mut Observed) {
    let mut found = std::mem::take(&mut observed.policy);
    for intent in &desired.intents {
        // On a bond there may be policy on itself and on each of its members.
        let mut ways = BTreeSet::new();
        for uplink in observed.uplinks(intent) {
            ways.insert(&uplink.ifname);
            ways.extend(observed.port_of(uplink, &intent.bridge));
        }
        if ways.is_empty() {
            continue;
        }
        for vm in observed.vms_on(&intent.bridge) {
            for nic in nics_on(vm, &intent.bridge) {
                let Some(tap) = &nic.tap else { continue };
                let mut findings: Vec<PolicyFinding> = Vec::new();
                for way in &ways {
                    let seen = host.observe_policy(&intent.bridge, tap, way, nic.mac);
                    let seen = seen.unwrap_or_else(|error| {
                        let (place, rule) = (tap.to_string(), format!("cannot be read: {error}"));
                        vec![PolicyFinding {
                            kind: PolicyKind::TrafficControl,
                            place,
                            rule,
                        }]
                    });
                    let new = seen.into_iter().filter(|one| !findings.contains(one));
                    let new: Vec<PolicyFinding> = new.collect();
                    findings.extend(new);
                }
                found.insert((vm.uuid, nic.mac), findings);
            }
        }
    }
    observed.policy = found;
}
