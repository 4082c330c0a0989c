//! Looking at the node: each part of what is seen is a value, or why it is not.

use std::collections::BTreeMap;

use accelnet_host::{Host, HostError, PolicyPath};
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, IfName, NodeDesired, PciAddress, Problem};
use accelnet_rules::{Observed, moves::NicId, observed::nics_on};

use crate::event::{AdaptersLook, GlanceScope, GlanceSeen, Glanced, HostLook, HostScope, VmsLook};

/// A host's error in the catalogue's words.
pub fn host_problem(error: &HostError) -> Problem {
    Problem::new(Code::HostOperationFailed, format!("{error}."))
}

/// Looks at the machine.
pub fn at_host(host: &dyn Host, scope: &HostScope) -> HostLook {
    let paths: Vec<PolicyPath> = scope.paths.iter().map(|(_, path)| path.clone()).collect();
    let policy = match paths.is_empty() {
        true => Vec::new(),
        false => host.observe_policy(&paths),
    };
    let nics = scope.paths.iter().map(|(nic, _)| *nic);
    let counted = |name: &IfName| {
        let read = host.observe_adapter_traffic(name);
        let read = read.inspect_err(|error| tracing::debug!(%error, %name, "counters"));
        Some((name.clone(), read.ok()?))
    };
    HostLook {
        node: host.observe_node(),
        adapters: host
            .observe_adapters(&scope.busy)
            .map(|found| AdaptersLook {
                seen: found.adapters,
                unseen: found
                    .unseen
                    .into_iter()
                    .map(|(name, error)| (name, error.to_string()))
                    .collect(),
            }),
        bridges: host.observe_bridges(&scope.bridges),
        policy: nics.zip(policy).collect(),
        counted: scope.counted.iter().filter_map(counted).collect(),
    }
}

/// Looks at the VMs.
pub fn at_vms(hypervisor: &dyn Hypervisor) -> VmsLook {
    let versions = hypervisor.observe_versions();
    // Where the first question has no answer the next ones have none, each after its own deadline.
    let answers = versions.is_ok();
    let capabilities = answers.then(|| hypervisor.observe_capabilities());
    let vms = match &versions {
        Ok(_) => hypervisor.observe_vms(),
        Err(error) => Err(error.clone()),
    };
    VmsLook {
        versions,
        capabilities: capabilities.and_then(|found| {
            found
                .inspect_err(|error| tracing::debug!(%error, "domain capabilities"))
                .ok()
        }),
        vms,
    }
}

/// Looks at counters and links only.
pub fn at_glance(host: &dyn Host, scope: GlanceScope) -> GlanceSeen {
    let vectors = match scope.nics.is_empty() {
        true => Ok(BTreeMap::new()),
        false => host.observe_vectors(),
    };
    if let Err(error) = &vectors {
        tracing::debug!(%error, "vectors of VFs");
    }
    let of = |vf: PciAddress| {
        let vectors = vectors.as_ref().ok()?;
        Some(vectors.get(&vf).copied().unwrap_or(0))
    };
    let nics = scope.nics.into_iter().map(|at| Glanced {
        frames: host
            .rx_packets(&at.tap)
            .inspect_err(|error| tracing::debug!(%error, "frames by a tap"))
            .ok(),
        vectors: at.vf.and_then(of),
        at,
    });
    let nics = nics.collect();
    let link = |name: IfName| {
        let seen = host.observe_link(&name);
        let seen = seen.inspect_err(|error| tracing::debug!(%error, %name, "a link"));
        Some((name, seen.ok()?))
    };
    let links = scope.links.into_iter().filter_map(link).collect();
    GlanceSeen { nics, links }
}

/// What of the machine matters now.
pub fn scope(observed: &Observed, desired: &NodeDesired) -> HostScope {
    let intents = desired.intents.iter();
    let mut scope = HostScope {
        bridges: intents.map(|intent| intent.bridge.clone()).collect(),
        ..HostScope::default()
    };
    for intent in &desired.intents {
        // On a bond there may be policy on itself and on each of its members.
        let mut uplinks = Vec::new();
        for uplink in observed.uplinks(intent) {
            let names = observed.port_of(uplink, &intent.bridge).into_iter();
            for name in names.chain([&uplink.ifname]) {
                if !uplinks.contains(name) {
                    uplinks.push(name.clone());
                }
            }
        }
        if uplinks.is_empty() {
            continue;
        }
        for vm in observed.vms_on(&intent.bridge) {
            for nic in nics_on(vm, &intent.bridge) {
                let Some(tap) = nic.tap.clone() else { continue };
                let id = NicId {
                    vm: vm.uuid,
                    mac: nic.mac,
                };
                let path = PolicyPath {
                    tap,
                    bridge: intent.bridge.clone(),
                    uplinks: uplinks.clone(),
                };
                scope.paths.push((id, path));
            }
        }
    }
    scope
}
