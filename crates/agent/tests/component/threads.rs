//! The agent as it runs: threads, a clock and channels around the step.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use accelnet_agent::{Agent, Config};
use accelnet_host::{HostEvent, twin::HostTwin};
use accelnet_hypervisor::{
    Hypervisor, HypervisorEvent, NewNic, Result, Staged, Versions, VfAttachment, VmSeen,
    twin::HypervisorTwin,
};
use accelnet_model::{
    Code, DomainCapabilities, MacAddr, Name, NicPath, NodeStatus, PciAddress, Performance, Staging,
};
use uuid::Uuid;

use crate::world::{World, mac, path};

/// In which the machine that the tests run on gets round to anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Twins' time, which goes on as ours does.
struct Clock {
    ends: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn of(host: HostTwin) -> Self {
        let (ends, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut last = Instant::now();
            let tick = Duration::from_millis(5);
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(tick) {
                host.advance(last.elapsed());
                last = Instant::now();
            }
        });
        Self {
            ends: Some(ends),
            thread: Some(thread),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.ends.take();
        self.thread.take().map(JoinHandle::join);
    }
}

/// A libvirt that may stop to answer which VMs there are, for as long as it likes.
struct Hanging {
    twin: HypervisorTwin,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

impl Hypervisor for Hanging {
    fn observe_versions(&self) -> Result<Versions> {
        self.twin.observe_versions()
    }

    fn observe_capabilities(&self) -> Result<DomainCapabilities> {
        self.twin.observe_capabilities()
    }

    fn observe_vms(&self) -> Result<Vec<VmSeen>> {
        let (hangs, changed) = &*self.hangs;
        let hanging = hangs.lock().unwrap();
        drop(changed.wait_while(hanging, |hangs| *hangs).unwrap());
        self.twin.observe_vms()
    }

    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> Result<()> {
        Hypervisor::watch(&self.twin, events)
    }

    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> Result<()> {
        self.twin.attach_vf(vm, vf)
    }

    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> Result<bool> {
        self.twin.detach_vf(vm, pci, deadline)
    }

    fn ensure_released(&self, vm: Uuid, mac: MacAddr, deadline: Duration) -> Result<bool> {
        self.twin.ensure_released(vm, mac, deadline)
    }

    fn end_job(&self, vm: Uuid) -> Result<()> {
        self.twin.end_job(vm)
    }

    fn migrate(&self, vm: Uuid, to: &Name) -> Result<()> {
        self.twin.migrate(vm, to)
    }

    fn end_migration(&self, vm: Uuid) -> Result<()> {
        self.twin.end_migration(vm)
    }

    fn prepare(&self, vm: Uuid, staging: &Staging) -> Result<Staged> {
        self.twin.prepare(vm, staging)
    }

    fn ensure_nic(&self, vm: Uuid, nic: &NewNic, live: bool) -> Result<Staged> {
        self.twin.ensure_nic(vm, nic, live)
    }
}

/// Two VMs and an agent that is to bring the first to a VF.
struct Node {
    agent: Agent,
    world: World,
    hangs: Arc<(Mutex<bool>, Condvar)>,
    // Ended last: the agent's threads may wait for time to pass.
    _clock: Clock,
}

impl Node {
    fn start(report: impl FnMut(NodeStatus) + Send + 'static) -> Self {
        let mut world = World::new(2);
        world.host.with(|machine| {
            for guest in &mut machine.guests {
                guest.habits.takes = Duration::from_millis(100);
            }
        });
        world.want(1, Some(Performance::Low));
        world.desired.generation = 1;
        let hangs = Arc::default();
        let hypervisor = Hanging {
            twin: world.hypervisor.clone(),
            hangs: Arc::clone(&hangs),
        };
        let config = Config {
            state_dir: PathBuf::from(world.state_dir()),
            member: None,
        };
        let clock = Clock::of(world.host.clone());
        let host = Arc::new(world.host.clone());
        let agent = Agent::start(config, host, Arc::new(hypervisor), report);
        Self {
            agent,
            world,
            hangs,
            _clock: clock,
        }
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.0.lock().unwrap() = hangs;
        self.hangs.1.notify_all();
    }

    fn refresh(&self) -> NodeStatus {
        self.agent.refresh(LIMIT).unwrap()
    }

    fn wait(&self, what: &str, reached: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
        let begun = Instant::now();
        loop {
            let status = self.refresh();
            if reached(&status) {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "'{what}': {status:#?}");
        }
    }

    fn on_vf(&self) {
        self.agent.set_desired(self.world.desired.clone());
        self.wait("VM 1 on its VF", |status| {
            status.converged && path(status, 1) == NicPath::Vf
        });
    }
}

/// Waits for what the twins do, which nobody tells of.
fn until(what: &str, reached: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < LIMIT, "'{what}' was not reached");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    begun.elapsed()
}

#[test]
fn a_wish_is_fulfilled_and_reported_and_the_end_is_joined() {
    let (sender, reports) = mpsc::channel();
    let mut node = Node::start(move |status| drop(sender.send(status)));
    assert_eq!(node.refresh().generation, 0);
    node.on_vf();
    let reported: Vec<NodeStatus> = reports.try_iter().collect();
    let on_vf = |status: &NodeStatus| status.generation == 1 && path(status, 1) == NicPath::Vf;
    assert!(reported.iter().any(on_vf));
    let numbers = reported.windows(2);
    assert!(
        numbers
            .into_iter()
            .all(|two| two[0].sequence < two[1].sequence)
    );
    assert!(!node.agent.has_ended());
    node.agent.stop();
    // The report was called for the last time: its thread is gone, and with it the sender.
    while reports.recv().is_ok() {}
    let error = node.agent.refresh(LIMIT).unwrap_err();
    assert_eq!(error.code, Code::AgentUnreachable);
    node.world.assert_on_vf(1);
}

/// Nothing is left half done by an orderly end.
#[test]
fn a_switch_over_that_is_under_way_at_the_end_comes_to_its_own() {
    let mut node = Node::start(drop);
    node.agent.set_desired(node.world.desired.clone());
    until("the VF is plugged", || node.world.vf_of(1).is_some());
    node.agent.stop();
    node.world.assert_on_vf(1);
    node.world.assert_nothing_lost();
}

#[test]
fn a_libvirt_that_never_answers_keeps_no_answer_back_and_no_frame_lost() {
    let node = Node::start(drop);
    node.on_vf();
    node.hang(true);
    let begun = Instant::now();
    let status = node.refresh();
    let told = |problem: &accelnet_model::Problem| problem.code == Code::HypervisorUnavailable;
    assert!(status.problems.iter().any(told), "{:?}", status.problems);
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    // The loop goes round, and frames are put right.
    let filtered = || {
        assert!(
            node.agent.beat() < Duration::from_secs(5),
            "{:?}",
            node.agent.beat()
        );
        let host = &node.world.host;
        host.with(|machine| machine.adapters[0].filter.contains(&mac(2)))
    };
    node.world.host.with(|machine| {
        let guests = machine.guests.iter_mut();
        guests.for_each(|guest| guest.excused = true);
        let filter = std::mem::take(&mut machine.adapters[0].filter);
        for mac in filter {
            let (port, gone) = ("pf0".to_owned(), true);
            machine.tell(&HostEvent::Filter { port, mac, gone });
        }
    });
    let took = until("the filter is put right", filtered);
    assert!(took < Duration::from_secs(5), "{took:?}");
    node.hang(false);
    node.wait("libvirt is back", |status| {
        status.problems.is_empty() && path(status, 1) == NicPath::Vf
    });
}

/// Whoever watches it ends the process then.
#[test]
fn a_loop_that_panicked_is_known_to_have_ended() {
    let mut reports = 0;
    let node = Node::start(move |_| {
        reports += 1;
        assert!(reports < 2, "the report panics, and this is meant");
    });
    node.agent.set_desired(node.world.desired.clone());
    until("the loop has ended", || node.agent.has_ended());
    let error = node.agent.refresh(LIMIT).unwrap_err();
    assert_eq!(error.code, Code::AgentUnreachable);
}

/// Names of metrics with a label of this value, and their values.
fn told(text: &str, label: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| line.contains(label));
    let pairs = lines.filter_map(|line| {
        let (name, rest) = line.split_once('{')?;
        let (_, value) = rest.rsplit_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

#[test]
fn prometheus_is_told_of_paths_and_of_packets_as_far_as_somebody_counts_them() {
    let mut node = Node::start(|_| {});
    node.on_vf();
    let status = node.refresh();
    let vf = status.vms[0].nics[0].vf.unwrap();
    let of_vf = format!("pci_address=\"{vf}\"");
    let tell = || node.agent.measure(Some(&status)).written();
    let value = |text: &str, label: &str, name: &str| {
        let found = told(text, label);
        let mut values = found.into_iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| value)
    };
    let text = tell();
    let of_nic = format!("mac=\"{}\"", status.vms[0].nics[0].mac);
    assert_eq!(value(&text, &of_nic, "accelnet_nic_on_vf").unwrap(), "1");
    let switches = value(&text, &of_nic, "accelnet_nic_path_switches_total");
    assert_eq!(switches.unwrap(), "1", "{text}");
    assert_eq!(value(&text, &of_nic, "accelnet_nic_vf_info").unwrap(), "1");
    // The second VM has no level, and is nobody's business.
    let other = format!("mac=\"{}\"", mac(2));
    assert_eq!(told(&text, &other), []);
    // A card that counts nothing has no counters.
    assert_eq!(value(&text, &of_vf, "accelnet_vf_counted").unwrap(), "0");
    assert!(!text.contains("accelnet_vf_receive"), "{text}");
    for line in [
        "accelnet_agent_traffic_seen 1",
        "accelnet_agent_converged 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{text}");
    }
    let looks = told(&text, "at=\"machine\"");
    let count = looks
        .iter()
        .find(|(name, _)| name == "accelnet_agent_look_duration_seconds_count");
    assert!(count.unwrap().1.parse::<u64>().unwrap() > 0);

    let counted = accelnet_model::Counters {
        rx_packets: 9,
        ..Default::default()
    };
    node.world.host.with(|machine| {
        machine.vf_counters.insert(vf, counted);
        machine.fired.insert(vf, 70);
        let pf = machine.adapters[0].ifname.clone();
        machine.missed.insert(pf, 4);
    });
    let text = tell();
    let received = value(&text, &of_vf, "accelnet_vf_receive_packets_total");
    assert_eq!(received.unwrap(), "9");
    for (label, name, expected) in [
        (&*of_vf, "accelnet_vf_interrupts_total", "70"),
        (&*of_vf, "accelnet_vf_interrupt_vectors", "3"),
        (
            "adapter=\"pf0\"",
            "accelnet_adapter_receive_missed_total",
            "4",
        ),
    ] {
        assert_eq!(
            value(&text, label, name).as_deref(),
            Some(expected),
            "{name}"
        );
    }
    let others = value(&text, "vf=\"1\"", "accelnet_vf_interrupts_total");
    assert_eq!(others, None, "one that nobody drives");
    assert_eq!(
        value(&text, "vf=\"1\"", "accelnet_vf_receive_packets_total").unwrap(),
        "0",
        "another of a card that counts"
    );
    let nics = node.agent.traffic(&status, status.vms[0].facts.uuid);
    assert_eq!(nics[0].vf, Some(accelnet_model::Counted::Counted(counted)));

    node.world
        .host
        .with(|machine| machine.unreadable.traffic = true);
    let text = tell();
    assert!(!text.contains("accelnet_vf_") && !text.contains("accelnet_nic_software"));
    assert!(
        text.lines()
            .any(|one| one == "accelnet_agent_traffic_seen 0")
    );
    let nics = node.agent.traffic(&status, status.vms[0].facts.uuid);
    let unseen = |counted: &Option<accelnet_model::Counted>| {
        matches!(counted, Some(accelnet_model::Counted::NotSeen { .. }))
    };
    assert!(unseen(&nics[0].vf) && unseen(&nics[0].software), "{nics:?}");
    node.agent.stop();
}
