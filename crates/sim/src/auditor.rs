//! The auditor looks from outside, after everything that happens: at machines, guests and frames, never at what the
//! agent thinks of itself.
//!
//! | promise | looked at |
//! |---|---|
//! | no VM loses its connectivity | frames from the wire, the host and neighbours to each guest that runs, and back |
//! | no VF is given out twice | users of VFs, and what libvirt has in VMs' definitions |
//! | nothing of others is touched | VFs that somebody else uses, and what they carry |
//! | policy holds on whatever path | guests that are on a VF for longer than it takes to see a rule |
//! | what is shown is what is | at the end: reports against guests |
//! | all converges | at the end: paths as wished, VFs that nobody uses clean, nothing held |

use std::{collections::BTreeMap, time::Duration};

use accelnet_host::{HoldQueue, twin::Machine};
use accelnet_model::{NicPath, PciAddress, VfAttributes, VfUser, VmState};

use crate::{
    node::{Node, VmId, uplink},
    scene::Scene,
};

/// A rule that came is seen, and the VM is off its VF, within this: a look is due every few seconds, and a guest has
/// 20 s to let go.
const POLICY_LIMIT: Duration = Duration::from_secs(60);

/// Somebody else that uses VFs: its process.
pub const STRANGER: u32 = 4711;

/// What it remembers of a node.
#[derive(Debug, Default)]
pub struct Auditor {
    /// VMs that are on a VF although a rule forbids it: since when.
    in_breach: BTreeMap<VmId, Duration>,
    /// How many violations of the twin's own were told.
    told: usize,
}

impl Auditor {
    /// Looks at a node, whose agent is well or not.
    pub fn look(&mut self, node: &Node, scene: &Scene, well: bool) {
        let now = node.now();
        let (own, lost) = node.host.with(|machine| {
            machine.chatter();
            let own = machine
                .violations
                .split_off(self.told.min(machine.violations.len()));
            (own, machine.unreachable())
        });
        self.told = node.host.with(|machine| machine.violations.len());
        if !lost.is_empty() {
            node.host.with(|machine| describe(machine, scene));
        }
        for words in own.into_iter().chain(lost) {
            scene.violation(format!("{}: {words}", node.name));
        }
        self.given_once(node, scene);
        if well {
            self.policy_holds(node, scene, now);
        } else {
            self.in_breach.clear();
        }
    }

    fn given_once(&self, node: &Node, scene: &Scene) {
        let mut owners: BTreeMap<PciAddress, String> = BTreeMap::new();
        node.vms.with(|vms| {
            for vm in &vms.vms {
                for device in &vm.facts.hostdevs {
                    let name = vm.facts.name.clone();
                    if let Some(other) = owners.insert(device.pci, name.clone()) {
                        scene.violation(format!(
                            "{}: VF {} is {other}'s and {name}'s",
                            node.name, device.pci
                        ));
                    }
                }
            }
        });
    }

    fn policy_holds(&mut self, node: &Node, scene: &Scene, now: Duration) {
        let breaches: Vec<VmId> = node.host.with(|machine| {
            let on_vf = |guest: &&accelnet_host::twin::Guest| {
                guest.is_on_vf(now) && machine.policy.contains_key(&guest.tap)
            };
            let guests = machine.guests.iter().filter(on_vf);
            guests.map(|guest| VmId(guest.mac.0[5])).collect()
        });
        // Of a VM that cannot be looked at nobody knows what to take away; that it cannot is told.
        let breaches = breaches.into_iter().filter(|vm| node.is_readable(*vm));
        let breaches: Vec<VmId> = breaches.collect();
        self.in_breach.retain(|vm, _| breaches.contains(vm));
        for vm in breaches {
            let since = *self.in_breach.entry(vm).or_insert(now);
            if now > since + POLICY_LIMIT {
                scene.violation(format!(
                    "{}: {} has been on its VF for {:?} past a rule",
                    node.name,
                    vm.name(),
                    now.saturating_sub(since)
                ));
                self.in_breach.insert(vm, now);
            }
        }
    }
}

/// What decides where frames go, for whoever reads what went wrong.
fn describe(machine: &Machine, scene: &Scene) {
    for guest in &machine.guests {
        scene.note(&format!("{guest:?}"));
        scene.note(&format!(
            "  {:?} {:?}",
            machine.holds.get(&guest.tap),
            machine.port(&guest.tap)
        ));
    }
    for adapter in &machine.adapters {
        scene.note(&format!(
            "{} {:?} {:?}",
            adapter.ifname,
            adapter.filter,
            machine.port(&adapter.ifname)
        ));
        for vf in &adapter.vfs {
            scene.note(&format!("  {} {:?} {:?}", vf.pci, vf.user, vf.attributes));
        }
    }
}

/// What is not as it shall be at the end: paths by VM, in words.
pub fn not_settled(node: &Node, expected: &BTreeMap<VmId, NicPath>) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(status) = node.reported() else {
        return vec![format!("{} has reported nothing", node.name)];
    };
    if !status.converged {
        wrong.push(format!(
            "{} has not converged: {:?}",
            node.name, status.problems
        ));
    }
    for (vm, path) in expected {
        let mut vms = status.vms.iter();
        let told = vms.find(|told| told.facts.uuid == vm.uuid());
        let told_path = told.and_then(|told| Some(told.nics.first()?.path));
        if told_path != Some(*path) {
            let problems = told.map(|told| &told.problems);
            wrong.push(format!(
                "{} is told on {told_path:?}, not {path:?}: {problems:?}",
                vm.name()
            ));
        }
        let count = node.vfs_of(*vm).len();
        if count != usize::from(*path == NicPath::Vf) {
            wrong.push(format!("{} has {count} VFs", vm.name()));
        }
        let runs = node
            .vm(*vm)
            .is_some_and(|facts| facts.state == VmState::Running);
        if runs != (*path != NicPath::None) {
            wrong.push(format!("{} runs: {runs}", vm.name()));
        }
    }
    wrong.extend(node.host.with(|machine| on_machine(machine, expected)));
    wrong
}

fn on_machine(machine: &Machine, expected: &BTreeMap<VmId, NicPath>) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(adapter) = machine.adapters.iter().find(|its| its.ifname == uplink()) else {
        return vec!["the adapter is gone".into()];
    };
    for vf in &adapter.vfs {
        let clean = vf.attributes == VfAttributes::baseline() && vf.is_on_vfio();
        match vf.user {
            VfUser::Nobody if !clean => {
                wrong.push(format!("free VF {} carries {:?}", vf.pci, vf.attributes));
            }
            VfUser::Reserved => wrong.push(format!("VF {} is kept for nobody", vf.pci)),
            _ => {}
        }
    }
    for guest in machine.guests.iter().filter(|guest| guest.up) {
        let path = expected.get(&VmId(guest.mac.0[5]));
        let on_vf = guest.is_on_vf(machine.now());
        if path.is_some_and(|path| on_vf != (*path == NicPath::Vf)) {
            wrong.push(format!("guest {} is on its VF: {on_vf}", guest.mac));
        }
        if matches!(machine.holds.get(&guest.tap), Some(HoldQueue::Hold { .. })) {
            wrong.push(format!("frames wait for guest {}", guest.mac));
        }
        let here = |name| {
            let port = machine.port(name);
            port.is_some_and(|port| port.fdb.iter().any(|entry| entry.mac == guest.mac))
        };
        let filtered = adapter.filter.contains(&guest.mac);
        if !on_vf && (!here(&guest.tap) || here(&uplink()) || !filtered) {
            wrong.push(format!(
                "the way to guest {} is not that of its tap",
                guest.mac
            ));
        }
        if on_vf && filtered {
            wrong.push(format!(
                "the card takes frames to {} away from its VF",
                guest.mac
            ));
        }
    }
    wrong
}
