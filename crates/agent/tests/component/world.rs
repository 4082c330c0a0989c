//! A node with its VMs, the wish for it, and the agent that is to fulfil it.

mod drive;

use std::{path::Path, sync::Arc, time::Duration};

use accelnet_agent::event::Effect;
use accelnet_host::twin::{Arrival, Habits, HostTwin, Machine as Twin, Station};
use accelnet_hypervisor::twin::{HypervisorTwin, definition};
use accelnet_model::{
    BridgePort, Code, IfName, MacAddr, NicPath, NodeDesired, NodeStatus, PciAddress, Performance,
    Problem, VfAttributes, VfUser, VmDesired, VmStatus,
};
use accelnet_sim::{
    alone::enabled,
    below::{AllHabits, Below},
};
use drive::{Running, Slow, VIRTUAL_LIMIT};
use tempfile::TempDir;
use uuid::Uuid;

pub fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub fn uuid(vm: u8) -> Uuid {
    Uuid::from_u128(u128::from(vm))
}

/// The VLAN of VMs 1 and 2 in [`World::in_vlans`].
pub const VLAN: u16 = 42;

pub fn mac(vm: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0x77, vm])
}

pub struct World {
    pub host: HostTwin,
    pub hypervisor: HypervisorTwin,
    pub desired: NodeDesired,
    habits: AllHabits,
    directory: TempDir,
    running: Option<Running>,
    slow: Vec<Slow>,
    call_time: Duration,
    /// Which node of a cluster the next agent is.
    pub member: Option<Uuid>,
    /// How much was done since time passed last.
    busy: (Duration, usize),
    /// How much virtual time all may take until it is as wanted.
    pub patience: Duration,
    /// Everything that the agent told to be wrong since its start.
    pub told: Vec<Problem>,
    /// The most switch-overs that it told to be under way at the same time.
    pub most_busy: usize,
}

impl World {
    /// VMs 1 to `vms` run; acceleration is wanted on their network and VFs may be made at once; no
    /// agent runs yet.
    pub fn new(vms: u8) -> Self {
        Self::on(Twin::igb("node1", &name("br0"), &name("pf0")), vms)
    }

    /// The same with two adapters in an active-backup bond `bond0`, of which `pf0` is used; both are
    /// the intent's.
    pub fn bonded(vms: u8) -> Self {
        let members = [&name("pf0"), &name("pf1")];
        let mut world = Self::on(
            Twin::bonded("node1", &name("br0"), &name("bond0"), members),
            vms,
        );
        let second = "pf1".parse().unwrap();
        world.desired.intents[0].adapters.push(second);
        world
    }

    /// The same with a card whose VFs share so many vectors.
    pub fn pool(vms: u8, vectors: u32) -> Self {
        let machine = Twin::mlx5("node1", &name("br0"), &name("pf0"), vectors);
        Self::on(machine, vms)
    }

    /// The same with a bridge that filters by VLAN: VMs 1 and 2 are in one of their own ([`VLAN`]).
    pub fn in_vlans(vms: u8) -> Self {
        let mut machine = Twin::igb("node1", &name("br0"), &name("pf0"));
        machine.filter_by_vlan(&name("br0"), [1, 2].map(|vm| (mac(vm), VLAN)));
        Self::on(machine, vms)
    }

    fn on(machine: Twin, vms: u8) -> Self {
        let host = HostTwin::new(machine);
        let habits = AllHabits::default();
        let below = Below::new(host.clone(), Arc::clone(&habits));
        let hypervisor = HypervisorTwin::new(Arc::new(below));
        let world = Self {
            host,
            hypervisor,
            desired: enabled(&name("br0")),
            habits,
            directory: tempfile::tempdir().unwrap(),
            running: None,
            slow: Vec::new(),
            call_time: Duration::ZERO,
            member: None,
            busy: (Duration::ZERO, 0),
            patience: VIRTUAL_LIMIT,
            told: Vec::new(),
            most_busy: 0,
        };
        for vm in 1..=vms {
            world.add_vm(vm);
        }
        world.advance(Duration::from_secs(1));
        world
    }

    /// A node with nothing but an adapter that nobody manages, and is down; the intent's bridge is to
    /// be made. No VM, no agent.
    pub fn without_bridge() -> Self {
        let mut world = Self::new(0);
        world.desired.intents[0].create = true;
        world.host.with(|machine| {
            machine.bridges.clear();
            let facts = &mut machine.adapters[0];
            (facts.master, facts.up, facts.carrier) = (None, false, false);
        });
        world
    }

    /// One more VM that runs.
    pub fn add_vm(&self, vm: u8) {
        let facts = definition(uuid(vm), &format!("vm{vm}"), mac(vm), &name("br0"));
        self.hypervisor.define(facts);
        self.hypervisor.start(uuid(vm)).unwrap();
    }

    /// The same with an agent that has put everything in order.
    pub fn settled(vms: u8) -> Self {
        let mut world = Self::new(vms);
        world.settle();
        world
    }

    /// Lets an agent put everything in order.
    pub fn settle(&mut self) {
        self.start(None);
        self.tell();
        self.wait("the node is in order", |status| {
            status.converged && vfs(status) == 7
        });
    }

    /// VMs 1 to `vms` are on VFs.
    pub fn accelerated(vms: u8) -> Self {
        let mut world = Self::settled(vms);
        for vm in 1..=vms {
            world.want(vm, Some(Performance::Low));
        }
        world.tell();
        for vm in 1..=vms {
            world.wait_path(vm, NicPath::Vf);
        }
        world
    }

    /// Two VMs are on VFs, and somebody put the first one's into a VLAN, which cuts it off until that is seen and put
    /// right.
    pub fn changed_behind_its_back() -> Self {
        let world = Self::accelerated(2);
        let vf = world.vf_of(1).unwrap();
        world.host.with(|machine| {
            machine.vf_mut(vf).unwrap().attributes.vlan = 7;
            machine.guests[0].excused = true;
        });
        world
    }

    /// VMs 1 and 3 are on VFs, and 2, which is compared with them, on its tap. Calls take a millisecond.
    pub fn beside() -> Self {
        let mut world = Self::new(3);
        world.set_call_time(Duration::from_millis(1));
        world.settle();
        for vm in [1, 3] {
            world.want(vm, Some(Performance::Low));
        }
        world.tell();
        for vm in [1, 3] {
            world.wait_path(vm, NicPath::Vf);
        }
        world.no_excuse();
        world
    }

    /// Of two VMs the first is wanted on a VF; the agent has not been told.
    pub fn before_attach() -> Self {
        let mut world = Self::settled(2);
        world.want(1, Some(Performance::Low));
        world
    }

    /// Of two VMs on VFs the first is wanted back; the agent has not been told.
    pub fn before_detach() -> Self {
        let mut world = Self::accelerated(2);
        world.want(1, None);
        world
    }

    pub fn pid(&self, vm: u8) -> u32 {
        self.hypervisor.pid(uuid(vm)).expect("the VM runs")
    }

    /// A frame that another machine sends to a VM, or the host, or another VM.
    pub fn frame(&self, vm: u8, from: Station) -> Arrival {
        self.host
            .with(|machine| machine.frame_to_guest(mac(vm), from))
    }

    /// From here on nothing that happened is an excuse.
    pub fn no_excuse(&self) {
        self.host.with(|machine| {
            let guests = machine.guests.iter_mut();
            guests.for_each(|guest| guest.excused = false);
        });
    }

    pub fn state_dir(&self) -> &Path {
        self.directory.path()
    }

    /// How a VM's guest behaves from its next start on.
    pub fn set_habits(&self, vm: u8, habits: Habits) {
        self.habits.lock().unwrap().insert(mac(vm), habits);
    }

    /// Changes the wish for a VM; [`World::tell`] tells it.
    pub fn want(&mut self, vm: u8, level: Option<Performance>) {
        self.desired.vms.retain(|wish| wish.uuid != uuid(vm));
        self.desired.vms.push(VmDesired {
            uuid: uuid(vm),
            level,
            prepare: false,
            add_nic: None,
            parked: false,
            migrate_to: None,
            waived: Vec::new(),
        });
    }

    /// Tells the agent the wish, as a new generation.
    pub fn tell(&mut self) {
        self.desired.generation += 1;
        self.repeat();
    }

    /// What must never happen did not.
    pub fn assert_nothing_lost(&self) {
        let violations = self.host.with(|machine| machine.violations.clone());
        let calls = self.running.as_ref().map(|running| running.process.calls());
        assert!(violations.is_empty(), "{violations:#?} in {calls:#?}");
    }

    /// The VF that a VM has.
    pub fn vf_of(&self, vm: u8) -> Option<PciAddress> {
        self.vfs_of(vm).first().copied()
    }

    /// All its VFs.
    pub fn vfs_of(&self, vm: u8) -> Vec<PciAddress> {
        let hostdevs = self
            .hypervisor
            .with(|vms| vms.vm(uuid(vm)).map(|vm| vm.facts.hostdevs.clone()));
        let hostdevs = hostdevs.unwrap_or_default().into_iter();
        hostdevs.map(|hostdev| hostdev.pci).collect()
    }

    pub fn tap_of(&self, vm: u8) -> IfName {
        let facts = self
            .hypervisor
            .with(|vms| vms.vm(uuid(vm)).unwrap().facts.clone());
        facts.nics[0].tap.clone().expect("the VM runs")
    }

    pub fn port(&self, name: &IfName) -> BridgePort {
        self.host
            .with(|machine| machine.port(name).unwrap().clone())
    }

    /// The VM uses no VF, and nothing that it needed for one is left.
    pub fn assert_synthetic(&self, vm: u8) {
        assert_eq!(self.vf_of(vm), None);
        let (tap, uplink) = (self.port(&self.tap_of(vm)), self.port(&name("pf0")));
        let here = |port: &BridgePort| port.fdb.iter().any(|entry| entry.mac == mac(vm));
        assert!(
            tap.learning && tap.flood && here(&tap) && !here(&uplink),
            "{tap:?} {uplink:?}"
        );
        self.host.with(|machine| {
            let held = machine.holds.get(&tap.ifname);
            assert!(!matches!(held, Some(accelnet_host::HoldQueue::Hold { .. })));
            assert!(machine.adapters[0].filter.contains(&mac(vm)));
        });
    }

    /// Only the VM's VF carries its address and everything goes there.
    pub fn assert_on_vf(&self, vm: u8) {
        let vf = self.vf_of(vm).expect("the VM has a VF");
        assert!(!self.port(&self.tap_of(vm)).flood);
        let pvid = self.port(&self.tap_of(vm)).pvid;
        self.host.with(|machine| {
            let found = machine.vf(vf).unwrap();
            let its = VfAttributes {
                vlan: pvid.filter(|vlan| *vlan == VLAN).unwrap_or(0),
                ..VfAttributes::for_mac(mac(vm))
            };
            assert_eq!(found.attributes, its);
            assert!(!machine.adapters[0].filter.contains(&mac(vm)));
        });
    }

    /// Every VF that nobody uses is bound, clean and free.
    pub fn assert_free_vfs_clean(&self) {
        let vfs = self.host.with(|machine| machine.adapters[0].vfs.clone());
        assert!(vfs.len() >= 7, "{vfs:?}");
        for vf in vfs.iter().filter(|vf| vf.user == VfUser::Nobody) {
            assert_eq!(vf.attributes, VfAttributes::baseline(), "{}", vf.pci);
            assert_eq!(vf.driver.as_deref(), Some("vfio-pci"), "{}", vf.pci);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            self.assert_nothing_lost();
        }
    }
}

pub fn vm(status: &NodeStatus, number: u8) -> &VmStatus {
    let mut vms = status.vms.iter();
    vms.find(|vm| vm.facts.uuid == uuid(number))
        .expect("the VM is reported")
}

pub fn path(status: &NodeStatus, number: u8) -> NicPath {
    vm(status, number).nics[0].path
}

pub fn codes(status: &NodeStatus, number: u8) -> Vec<Code> {
    vm(status, number)
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect()
}

pub fn vfs(status: &NodeStatus) -> usize {
    status.adapters[0].facts.vfs.len()
}

pub fn is_vms_look(effect: &Effect) -> bool {
    matches!(effect, Effect::LookAtVms)
}

/// Nothing is left to do, and nothing is wrong.
pub fn is_quiet(status: &NodeStatus) -> bool {
    let well = status.vms.iter().all(|vm| vm.problems.is_empty());
    let clean = status
        .adapters
        .iter()
        .all(|adapter| adapter.quarantined.is_empty());
    status.converged && well && clean && status.problems.is_empty()
}
