//! One host by itself: the wish changes, VMs come and go, guests, links and libvirt fail, others use VFs, and the agent
//! dies, in any order and at any moment; then all of it stops, and everything must be as wanted.

mod befall;
mod excuses;

use std::{collections::BTreeMap, time::Duration};

use accelnet_agent::event::Event;
use accelnet_host::twin::Machine;
use accelnet_model::{
    ClusterEnable, IfName, Intent, IntentType, Levels, NicPath, NodeDesired, VfCount, VfDriver,
    WhenToCreateVfs,
};
use befall::Happening;
pub use befall::kinds;

use crate::{
    auditor::{Auditor, not_settled},
    node::{Node, VmId, bridge, uplink},
    scene::{AtOnce, Dangers, Scene},
    turns::Idle,
};

/// VMs of the host.
const VMS: u8 = 4;
/// The second byte of addresses that guests make up.
const INVENTED: u8 = 0xaa;
/// All is as wanted within this after the last thing that happened; the longest rest after failures is five minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// One run.
pub struct Alone {
    scene: Scene,
    idle: Idle,
    node: Node,
    auditor: Auditor,
    desired: NodeDesired,
    later: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    /// VMs of which there is something that the agent cannot know yet: since when.
    news: BTreeMap<VmId, Duration>,
    /// VMs that something happens to that only an agent that is well gets them over: until when.
    in_need: BTreeMap<VmId, Duration>,
    link: bool,
    libvirt: bool,
    at_once: AtOnce,
}

/// What a run is.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// So many things befall the host.
    pub happenings: usize,
    /// Everything is said as it happens.
    pub aloud: bool,
}

/// Runs a seed.
///
/// # Errors
/// What must never be and was.
pub fn run(seed: u64, length: Length) -> (Scene, Result<(), String>) {
    let scene = Scene::new(seed, length.aloud);
    let mut alone = Alone::new(&scene);
    let ended = alone.all(length.happenings);
    alone.node.kill(&mut alone.idle);
    (scene, ended)
}

impl Alone {
    fn new(scene: &Scene) -> Self {
        let (bridge, uplink) = (bridge(), uplink());
        let vms = || (1..=VMS).map(VmId);
        let mut machine = Machine::igb("node1", &bridge, &uplink);
        if scene.one_in(4) {
            let in_vlan = [1, 2].map(|vm| (VmId(vm).mac(), 42));
            machine.filter_by_vlan(&bridge, in_vlan);
        }
        let mut node = Node::new("node1", scene, machine);
        vms().for_each(|vm| node.define(vm));
        node.start();
        let mut alone = Self {
            scene: scene.clone(),
            idle: Idle::default(),
            node,
            auditor: Auditor::default(),
            desired: enabled(&bridge),
            later: BTreeMap::new(),
            next: 0,
            news: BTreeMap::new(),
            in_need: BTreeMap::new(),
            link: true,
            libvirt: true,
            at_once: AtOnce::default(),
        };
        for vm in vms() {
            alone.happen(Happening::Start(vm));
        }
        alone
    }

    fn all(&mut self, happenings: usize) -> Result<(), String> {
        self.tell();
        self.pass(Duration::from_secs(30))?;
        for _ in 0..happenings {
            let happening = self.any();
            self.happen(happening);
            let pause = self.pause();
            self.pass(pause)?;
        }
        // What has begun comes to its end.
        while let Some(((at, _), _)) = self.later.first_key_value() {
            let wait = at.saturating_sub(self.node.now());
            self.pass(wait + Duration::from_millis(1))?;
        }
        self.calm();
        let end = self.node.now() + PATIENCE;
        let expected: BTreeMap<VmId, NicPath> = (1..=VMS)
            .map(|vm| (VmId(vm), self.expected(VmId(vm))))
            .collect();
        loop {
            let wrong = not_settled(&self.node, &expected);
            if wrong.is_empty() {
                return Ok(());
            }
            if self.node.now() > end {
                return Err(format!("it does not come to rest: {wrong:#?}"));
            }
            self.pass(Duration::from_secs(1))?;
        }
    }

    /// Between two things: together, while the first one is worked on, or long after.
    fn pause(&self) -> Duration {
        let most = [5, 300, 4000, 40_000][self.scene.below(4)];
        self.scene.time(Duration::ZERO, Duration::from_millis(most))
    }

    /// Lets so much time pass, and all that is due in it happen.
    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.node.now() + time;
        loop {
            let now = self.node.now();
            self.at_once.count(now)?;
            if let Some(entry) = self
                .later
                .first_entry()
                .filter(|entry| entry.key().0 <= now)
            {
                let happening = entry.remove();
                self.happen(happening);
            } else {
                let ready = self.node.ready();
                if ready.is_empty() {
                    if now >= end {
                        return Ok(());
                    }
                    self.advance(end);
                } else {
                    let chosen = ready[self.scene.below(ready.len())];
                    self.node.go_on(chosen, &mut self.idle);
                    if self.node.agent.is_none() {
                        self.after(Duration::from_secs(3), Happening::Revive);
                    }
                }
            }
            self.excuse_what_nobody_can();
            let well = self.is_well();
            self.auditor.look(&self.node, &self.scene, well);
            let violations = self.scene.violations();
            if !violations.is_empty() {
                return Err(violations.join("\n"));
            }
        }
    }

    /// Time passes until something is due, but not beyond `end`.
    fn advance(&mut self, end: Duration) {
        let now = self.node.now();
        let later = self
            .later
            .keys()
            .next()
            .map_or(Duration::MAX, |(at, _)| *at);
        let next = self.node.wakes_at().min(later).min(end);
        // Guests send, queues let go, and drivers come up meanwhile.
        let most = Duration::from_millis(500);
        let time = next
            .saturating_sub(now)
            .clamp(Duration::from_micros(1), most);
        self.node.host.advance(time);
        self.scene.set_now(self.node.now());
    }

    fn after(&mut self, most: Duration, happening: Happening) {
        self.within(self.scene.time(Duration::from_millis(1), most), happening);
    }

    fn within(&mut self, time: Duration, happening: Happening) {
        self.next += 1;
        let at = self.node.now() + time;
        self.later.insert((at, self.next), happening);
    }

    fn tell(&mut self) {
        self.desired.generation += 1;
        self.repeat();
    }

    fn repeat(&mut self) {
        let desired = Box::new(self.desired.clone());
        self.node.tell(Event::Wished(desired));
    }

    /// Everything that stands in the way goes; what has happened has happened.
    fn calm(&mut self) {
        self.scene.step("calm");
        self.scene.set_dangers(Dangers::NONE);
        self.set_libvirt(true);
        self.set_link(true);
        self.revive();
        self.node.host.with(|machine| {
            // A VM with others behind its port stays on it, as long as the bridge knows them.
            for port in machine
                .bridges
                .iter_mut()
                .flat_map(|bridge| &mut bridge.ports)
            {
                port.fdb.retain(|entry| entry.mac.0[1] != INVENTED);
            }
        });
        for vm in (1..=VMS).map(VmId) {
            self.unreadable(vm, false);
            self.discipline(vm, false);
            self.policy(vm, false);
            self.driver(vm, true);
        }
        self.isolate(false);
    }

    fn expected(&self, vm: VmId) -> NicPath {
        let wish = self.desired.vm(vm.uuid());
        let wanted = wish.is_some_and(|wish| wish.level.is_some() && !wish.parked);
        match (self.node.pid(vm), wanted && !self.node.goes_down) {
            (None, _) => NicPath::None,
            (Some(_), true) => NicPath::Vf,
            (Some(_), false) => NicPath::Synthetic,
        }
    }
}

/// Acceleration is wanted on a bridge whose uplink is `pf0`, and VFs may be made at once.
///
/// # Panics
/// Never: these are names.
pub fn enabled(bridge: &IfName) -> NodeDesired {
    let intent = Intent {
        name: "compute".parse().expect("a name"),
        types: vec![IntentType::Compute],
        adapters: vec!["pf0".parse().expect("a name")],
        matching: None,
        bridge: bridge.clone(),
        create: false,
        vfs: VfCount::Auto,
        levels: Levels::default(),
        vf_driver: VfDriver::default(),
        exclude_vfs: Vec::new(),
    };
    NodeDesired {
        generation: 0,
        enabled: Some(ClusterEnable {
            intent: intent.name.clone(),
            node_reserve_percentage: 50,
            nodes_down: None,
            when: WhenToCreateVfs::Now,
        }),
        intents: vec![intent],
        vms: Vec::new(),
        isolated: Vec::new(),
    }
}
