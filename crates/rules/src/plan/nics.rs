//! Phases of NICs, and what they ask of the host.

use std::time::Duration;

use accelnet_model::{
    BridgeFacts, BridgePort, FdbKey, IfName, Intent, NicFacts, NodeDesired, Problem, Support,
    VfAttributes, VfLink, VmFacts, VmJob, VmState,
};

use super::{Memory, NicPlan, Plan};
use crate::{
    Observed,
    action::{Action, Hold, Lane},
    eligibility,
    handle::Handle,
    l2::{self, Datapath, Place, l2},
    moves::{Goal, NicId},
    observed::{nics_on, tap_port},
    pair,
    phase::{Evidence, Past, Phase, phase},
    policy, profile,
};

/// One NIC of a VM that is on, with its phase.
pub struct Nic<'a> {
    /// Which one.
    pub id: NicId,
    /// Its VM.
    pub vm: &'a VmFacts,
    /// The NIC.
    pub nic: &'a NicFacts,
    /// Its bridge.
    pub bridge: &'a BridgeFacts,
    /// Its tap.
    pub tap: &'a BridgePort,
    /// The device that it has as its fast half.
    pub handle: Option<Handle<'a>>,
    /// Its phase, and what is to be remembered of it.
    pub past: Past,
}

impl Nic<'_> {
    /// Its phase.
    pub fn phase(&self) -> Phase {
        self.past.phase
    }

    /// What it has as its fast half somebody else gave it.
    pub fn is_others(&self) -> bool {
        pair::of_others(self.vm, self.nic).is_some()
    }

    /// Its VM goes on here, as far as is known.
    pub fn stays(&self, memory: &Memory) -> bool {
        self.phase() != Phase::Absent
            && self.vm.job.is_none()
            && !memory.departing.contains(&self.id.vm)
    }
}

/// All NICs on the bridge of VMs that are on, with their phases.
pub fn phases<'a>(
    observed: &'a Observed,
    intent: &Intent,
    bridge: &'a BridgeFacts,
    memory: &Memory,
    now: Duration,
) -> Vec<Nic<'a>> {
    let mut all = Vec::new();
    for vm in observed.vms_on(&bridge.ifname) {
        for nic in nics_on(vm, &bridge.ifname) {
            let Some(tap) = tap_port(bridge, nic) else {
                continue;
            };
            let id = NicId {
                vm: vm.uuid,
                mac: nic.mac,
            };
            let handle = Handle::of(observed, vm, nic);
            let mut found = Nic {
                id,
                vm,
                nic,
                bridge,
                tap,
                handle,
                past: memory.pasts.get(&id).copied().unwrap_or(Past::new(now)),
            };
            let evidence = evidence(observed, intent, &found, memory);
            found.past = phase(&evidence, memory.pasts.get(&id).copied(), now);
            all.push(found);
        }
    }
    all
}

fn evidence(observed: &Observed, intent: &Intent, nic: &Nic<'_>, memory: &Memory) -> Evidence {
    let handle = nic.handle;
    let driven = handle.is_some_and(|handle| handle.is_driven());
    let link = match handle {
        Some(Handle::Vfio(adapter, _)) => adapter.carrier && observed.is_active(adapter),
        _ => false,
    };
    let past = memory.pasts.get(&nic.id);
    // What is seen of a VM whose job is being ended is old.
    let stays = memory.lanes.contains(&Lane::Vm(nic.id.vm))
        && nic.vm.job == Some(VmJob::Outgoing)
        && past.is_some_and(|past| past.phase != Phase::Absent);
    Evidence {
        here: stays || is_here(nic.vm, driven),
        plugged: handle.is_some(),
        driven,
        link,
        seen_at_tap: has(nic.tap, nic.nic, nic.tap.pvid),
        stands_on_vf: stands_on_vf(observed, intent, nic.vm, nic.nic),
        frames: nic.tap.rx_packets,
        counted: memory.counted.get(&nic.id).copied().unwrap_or_default(),
        going: memory
            .moves
            .get(&nic.id)
            .filter(|going| going.opens())
            .map(|going| going.going()),
        departing: nic.vm.job.is_some() || memory.departing.contains(&nic.id.vm),
    }
}

/// The bridge has the NIC's address at the port.
fn has(port: &BridgePort, nic: &NicFacts, vlan: Option<u16>) -> bool {
    let key = FdbKey { mac: nic.mac, vlan };
    port.entries_of(key).next().is_some()
}

/// Bridge and filter send all frames for the NIC to its VF.
pub fn stands_on_vf(observed: &Observed, intent: &Intent, vm: &VmFacts, nic: &NicFacts) -> bool {
    let Some(Handle::Vfio(adapter, _)) = Handle::of(observed, vm, nic) else {
        return false;
    };
    let bridge = observed.bridge(&intent.bridge);
    let port = bridge.and_then(|bridge| bridge.port(way(observed, intent, adapter)));
    let vlan = bridge
        .and_then(|bridge| tap_port(bridge, nic))
        .and_then(|tap| tap.pvid);
    port.is_some_and(|port| has(port, nic, vlan)) && !adapter.filter.contains(&nic.mac)
}

/// A VM that stopped at the end of its migration is not here any more, unless its guest still has its VF:
/// then it was stopped before it could give it up, and goes nowhere.
fn is_here(vm: &VmFacts, driven: bool) -> bool {
    match (vm.state, vm.job) {
        (VmState::Off, _) | (_, Some(VmJob::Incoming)) => false,
        (VmState::Paused, Some(VmJob::Outgoing)) => driven,
        (VmState::Running | VmState::Paused, _) => true,
    }
}

/// The bridge's port by which the adapter's frames come. An adapter that was taken out of the bridge
/// counts as the port that it was.
pub fn way<'a>(
    observed: &'a Observed,
    intent: &Intent,
    adapter: &'a accelnet_model::AdapterFacts,
) -> &'a IfName {
    let port = observed.port_of(adapter, &intent.bridge);
    port.unwrap_or(&adapter.ifname)
}

/// What is left to do for one NIC's phase.
pub fn plan(
    observed: &Observed,
    desired: &NodeDesired,
    intent: &Intent,
    nic: &Nic<'_>,
    memory: &Memory,
    now: Duration,
    plan: &mut Plan,
) {
    let going = memory.moves.get(&nic.id);
    let holds = going.is_some_and(|going| going.holds(now));
    let driven = nic.handle.is_some_and(|handle| handle.is_driven());
    let departs = memory.departing.contains(&nic.id.vm) && nic.phase() == Phase::Both && driven;
    let hold = match holds || departs {
        true => Hold::Wait,
        false => Hold::Pass,
    };
    let adapters = observed.adapters.iter();
    let adapters = adapters.filter(|adapter| {
        let port = observed.port_of(adapter, &intent.bridge).is_some();
        let own = matches!(nic.handle, Some(Handle::Vfio(its, _)) if its.pci == adapter.pci);
        (port || own) && !adapter.vfs.is_empty()
    });
    let adapters: Vec<_> = adapters.collect();
    let mut ways: Vec<&IfName> = adapters
        .iter()
        .map(|its| way(observed, intent, its))
        .collect();
    ways.dedup();
    let target = target(observed, nic, memory);
    let place = Place {
        mac: nic.id.mac,
        tap: nic.tap,
        uplinks: ways
            .iter()
            .filter_map(|name| nic.bridge.port(name))
            .collect(),
        way: target.map(|(adapter, _)| way(observed, intent, adapter)),
        adapters,
        hold: Some(hold)
            .filter(|_| nic.nic.standby_live && !memory.without_hold.contains(&nic.tap.ifname)),
        told: memory.told.get(&nic.tap.ifname).copied(),
        may_learn: memory.learning_off.contains(&nic.tap.ifname),
        may_flood: memory.flood_off.contains(&nic.tap.ifname),
        has_room: memory.roomy.contains(&nic.tap.ifname),
        dress: dress(observed, desired, intent, nic, memory),
        forgotten: memory
            .forgotten
            .get(&nic.id)
            .into_iter()
            .flatten()
            .collect(),
    };
    let actions = l2::difference(&place, l2(nic.phase(), Datapath::LegacyVeb));
    let settled = actions.is_empty();
    for action in actions {
        plan.push_for(nic.id, action);
    }
    let past = nic.past;
    plan.nics.insert(nic.id, NicPlan { past, settled });
}

type Vf<'a> = (
    &'a accelnet_model::AdapterFacts,
    &'a accelnet_model::VfFacts,
);

/// The VF that the NIC has, or is about to get.
fn target<'a>(observed: &'a Observed, nic: &Nic<'a>, memory: &Memory) -> Option<Vf<'a>> {
    if let Some(Handle::Vfio(adapter, vf)) = nic.handle {
        return Some((adapter, vf));
    }
    match &memory.moves.get(&nic.id)?.goal {
        Goal::ToVf { place, .. } => observed.vf(place.vf),
        Goal::Back { .. } => None,
    }
}

/// What the NIC's VF must still be given.
fn dress(
    observed: &Observed,
    desired: &NodeDesired,
    intent: &Intent,
    nic: &Nic<'_>,
    memory: &Memory,
) -> Option<Action> {
    let (adapter, vf) = target(observed, nic, memory)?;
    if nic.is_others() {
        return None;
    }
    let wanted = match (memory.moves.get(&nic.id), nic.phase()) {
        (Some(going), _) if !going.opens() => return None,
        (Some(going), _) => match &going.goal {
            Goal::ToVf { attributes, .. } => attributes.clone(),
            // It is about to give it up.
            Goal::Back { .. } => return None,
        },
        // Elsewhere the address is the VM's now: here nothing may claim it.
        (None, Phase::Absent) => VfAttributes::baseline(),
        (None, _) if memory.quarantined.contains(&vf.pci) => return None,
        // Until then it keeps what it carries: a VLAN or a limit may be the policy.
        (None, _) if !observed.knows_policy(nic.id.vm, nic.id.mac) => return None,
        (None, _) => match judge(observed, desired, intent, nic) {
            Ok(attributes) => attributes,
            // It goes back as it is.
            Err(_) => return None,
        },
    };
    let wanted = with_link(wanted, observed.is_active(adapter), adapter, memory);
    // Nobody gave it an address: it is not what the guest was to get.
    let stray = vf.attributes.mac.is_zero() && !memory.undressed.contains(&nic.id);
    if nic.handle.is_some() && stray && !memory.moves.contains_key(&nic.id) {
        return None;
    }
    (!vf.attributes.fulfils(&wanted)).then(|| Action::Dress {
        pf: adapter.pci,
        uplink: adapter.ifname.clone(),
        index: vf.index,
        vf: vf.pci,
        attributes: wanted,
    })
}

/// A VF of an adapter that no frames go by has no link either, where the driver can do that: its guest
/// leaves it by itself.
fn with_link(
    mut attributes: VfAttributes,
    active: bool,
    adapter: &accelnet_model::AdapterFacts,
    memory: &Memory,
) -> VfAttributes {
    let link = match active || memory.no_vf_link.contains(&adapter.pci) {
        true => VfLink::Auto,
        false => VfLink::Down,
    };
    attributes.link = Support::Supported(link);
    attributes
}

/// Names of rules that need not hold for a VM.
pub fn waived(desired: &NodeDesired, vm: uuid::Uuid) -> &[String] {
    desired.vm(vm).map_or(&[], |wish| &wish.waived)
}

/// What the VF must carry: policy on the NIC's whole path, and the level's limit. A VM without a wish
/// keeps what it has.
///
/// # Errors
/// `policy_not_offloadable`.
pub fn judge(
    observed: &Observed,
    desired: &NodeDesired,
    intent: &Intent,
    nic: &Nic<'_>,
) -> Result<VfAttributes, Problem> {
    let findings = eligibility::findings(observed, nic.vm, nic.nic);
    let attributes = policy::judge(&findings, nic.id.mac, waived(desired, nic.id.vm))?;
    let level = desired.vm(nic.id.vm).and_then(|wish| wish.level);
    let Some(level) = level else {
        let kept = match nic.handle {
            Some(Handle::Vfio(_, vf)) => vf.attributes.clone(),
            _ => attributes,
        };
        return Ok(kept);
    };
    let rate = intent.levels.max_tx_rate_mbps(level);
    Ok(profile::limited(attributes, rate))
}
