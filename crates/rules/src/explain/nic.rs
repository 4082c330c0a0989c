//! The links of one NIC, each from what its node saw.

use accelnet_model::{
    AdapterFacts, ChainLink, Code, HostdevFacts, Intent, IntentState,
    LinkState::{self, Broken, Holds, Idle, NotSeen, Waits},
    Name, NicFacts, NicPath, NicStatus, NodeStatus, Problem, SriovSupport, VfFacts, VfUser,
    VmState, VmStatus,
};

use super::{Scene, blame::link_of, by_problem, evidence, link};
use crate::{
    Observed, eligibility,
    handle::{self, Handle},
    intent_status::{self, Report},
    isolation, policy, profile,
};

/// A NIC, and all that is known around it.
#[derive(Debug)]
pub struct Nic<'a> {
    pub scene: &'a Scene<'a>,
    pub node: &'a Name,
    pub status: &'a NodeStatus,
    pub observed: &'a Observed,
    pub intent: &'a Intent,
    pub vm: &'a VmStatus,
    pub facts: &'a NicFacts,
    pub seen: Option<&'a NicStatus>,
}

impl<'a> Nic<'a> {
    fn handle(&self) -> Option<Handle<'a>> {
        Handle::of(self.observed, &self.vm.facts, self.facts)
    }

    fn vf(&self) -> Option<(&'a AdapterFacts, &'a VfFacts)> {
        match self.handle()? {
            Handle::Vfio(adapter, vf) => Some((adapter, vf)),
            Handle::Unknown(_) => None,
        }
    }

    /// It shall have a VF now, and can.
    fn wanted(&self) -> bool {
        self.scene.wanted() && self.vm.facts.state == VmState::Running
    }

    /// What is not there, and what that means.
    fn missing(&self) -> LinkState {
        if self.wanted() { Waits } else { Idle }
    }
}

/// All links of a NIC. A problem that its node tells of stands at the link that it is of, instead of what would
/// be said there.
pub fn links(nic: &Nic<'_>) -> Vec<ChainLink> {
    let mut links = vec![
        switch(nic),
        policy(nic),
        adapter(nic),
        vf(nic),
        iommu_group(nic),
        vfio(nic),
        device(nic),
        guest(nic),
        change(nic),
    ];
    for problem in nic.vm.problems.iter().rev() {
        let at = link_of(problem.code);
        let state = match comes_with_start(nic.vm, problem) {
            true => Waits,
            false => Broken,
        };
        if let Some(link) = links.iter_mut().find(|link| link.link == at) {
            *link = by_problem(at, state, problem);
        }
    }
    let traffic = traffic(nic, &links);
    links.push(traffic);
    links
}

/// The VM's next start puts it right, without anybody.
fn comes_with_start(vm: &VmStatus, problem: &Problem) -> bool {
    match problem.code {
        Code::VmNotRunning => true,
        Code::VmNeedsColdStart | Code::VmNoFreeRootPort => !vm.staged.is_empty(),
        _ => false,
    }
}

fn switch(nic: &Nic<'_>) -> ChainLink {
    let Nic { intent, facts, .. } = nic;
    let bridge = &intent.bridge;
    let Some(found) = nic.observed.bridge(bridge) else {
        let text = format!("Bridge {bridge} is not there.");
        return link("switch", Broken, text);
    };
    let report = Report::Of(nic.status);
    let (state, problems) = intent_status::of(nic.scene.desired, intent, nic.node, &report);
    if let Some(problem) = problems.first().filter(|_| state == IntentState::Failed)
        && link_of(problem.code) == "switch"
    {
        return by_problem("switch", Broken, problem);
    }
    match &facts.tap {
        Some(tap) if found.port(tap).is_none() => link(
            "switch",
            Broken,
            format!("Its tap {tap} is no port of {bridge}."),
        ),
        Some(tap) => link(
            "switch",
            Holds,
            format!(
                "Its tap {tap} is a port of {bridge}; intent '{}': {state}.",
                intent.name
            ),
        ),
        None => link(
            "switch",
            Idle,
            format!("It is on {bridge}, and has no tap now."),
        ),
    }
}

fn policy(nic: &Nic<'_>) -> ChainLink {
    let Nic { vm, facts, .. } = nic;
    if vm.facts.state != VmState::Off && !vm.policy_seen {
        return link(
            "policy",
            NotSeen,
            "The rules on its way were not looked at yet.",
        );
    }
    let findings = eligibility::findings(nic.observed, &vm.facts, facts);
    match policy::judge(&findings, facts.mac, nic.scene.waived) {
        Err(problem) if nic.scene.level.is_some() => by_problem("policy", Broken, &problem),
        Err(problem) => link(
            "policy",
            Idle,
            format!("It would be in the way: {}", problem.detail),
        ),
        Ok(_) if findings.is_empty() => link("policy", Holds, "No rule is on its way."),
        Ok(carried) => {
            let waived = findings
                .iter()
                .filter_map(|finding| finding.name.as_ref())
                .filter(|name| nic.scene.waived.contains(name));
            let waived: Vec<&str> = waived.map(String::as_str).collect();
            let mut words = Vec::new();
            if carried.vlan != 0 {
                words.push(format!("VLAN {}", carried.vlan));
            }
            if let Some(rate) = carried.max_tx_rate_mbps.value().filter(|rate| **rate > 0) {
                words.push(format!("a limit of {rate} Mbit/s"));
            }
            let mut text = match words.is_empty() {
                true => "Nothing on its way has to hold on a VF".to_owned(),
                false => format!(
                    "On its way are {}, which the VF enforces too",
                    words.join(" and ")
                ),
            };
            if !waived.is_empty() {
                text.push_str(&format!("; waived: {}", waived.join(", ")));
            }
            link("policy", Holds, format!("{text}."))
        }
    }
}

/// The adapter of its VF, else one that could give it one.
fn adapter(nic: &Nic<'_>) -> ChainLink {
    let of_vf = nic.vf().map(|(adapter, _)| adapter);
    let uplinks = || nic.observed.active_uplinks(nic.intent);
    let best = uplinks().max_by_key(|adapter| {
        let gives = adapter.isolated.is_none();
        (gives, adapter.carrier, adapter.vfs.len())
    });
    let Some(adapter) = of_vf.or(best) else {
        let names: Vec<String> = nic
            .intent
            .adapters
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = format!(
            "No adapter of intent '{}' ({}) leads out of bridge {}.",
            nic.intent.name,
            match names.is_empty() {
                true => "by its rule".to_owned(),
                false => names.join(", "),
            },
            nic.intent.bridge
        );
        return link("adapter", Broken, text);
    };
    let driver = adapter.driver.as_deref().unwrap_or("no driver");
    let what = format!("{} ({}, {driver})", adapter.ifname, adapter.pci_id);
    if adapter.sriov != SriovSupport::Supported {
        let why = adapter.sriov.code().map_or("", |code| code.title());
        return ChainLink {
            code: adapter.sriov.code(),
            cure: adapter.sriov.code().map(|code| code.cure().to_owned()),
            ..link("adapter", Broken, format!("{what}: {why}"))
        };
    }
    if let Some(problem) = isolation::problem(adapter) {
        // What it gave before it was taken out goes on until there is room elsewhere.
        let state = if of_vf.is_some() { Waits } else { Broken };
        return by_problem("adapter", state, &problem);
    }
    match (adapter.up, adapter.carrier) {
        (true, true) => link(
            "adapter",
            Holds,
            format!("{what} has its link, and {} VFs.", adapter.vfs.len()),
        ),
        (up, _) => {
            let how = if up { "has no link" } else { "is set down" };
            link("adapter", Broken, format!("{what} {how}."))
        }
    }
}

fn vf(nic: &Nic<'_>) -> ChainLink {
    match nic.handle() {
        Some(Handle::Vfio(adapter, vf)) => {
            let has = format!("{}, VF {} of {},", vf.pci, vf.index, adapter.ifname);
            let mac = vf.attributes.mac;
            if mac != nic.facts.mac {
                let text = format!("{has} carries address {mac}, not the NIC's.");
                let state = if nic.wanted() { Waits } else { Idle };
                return link("vf", state, text);
            }
            let spoof = match vf.attributes.spoofchk.value() {
                Some(true) => "spoof check on",
                Some(false) => "spoof check off",
                None => "spoof check unknown",
            };
            let state = if nic.scene.wanted() { Holds } else { Waits };
            link(
                "vf",
                state,
                format!("{has} carries the NIC's address, {spoof}."),
            )
        }
        Some(Handle::Unknown(device)) => link(
            "vf",
            Broken,
            format!("The VM has {device} for it, which is no VF that accelnet sees here."),
        ),
        None => {
            let adapters: Vec<_> = nic.observed.giving_uplinks(nic.intent).collect();
            let free =
                |adapter: &&AdapterFacts| eligibility::free_vfs(nic.observed, adapter).count();
            let free: usize = adapters.iter().map(free).sum();
            let all: usize = adapters.iter().map(|adapter| adapter.vfs.len()).sum();
            let text = format!("It has none; {free} of {all} are free on '{}'.", nic.node);
            let state = match nic.wanted() && free == 0 {
                true => Broken,
                false => nic.missing(),
            };
            link("vf", state, text)
        }
    }
}

fn iommu_group(nic: &Nic<'_>) -> ChainLink {
    let Some((_, vf)) = nic.vf() else {
        return link("iommu_group", nic.missing(), "There is no VF yet.");
    };
    match (vf.iommu_group, vf.group_peers.as_slice()) {
        (Some(group), []) => link(
            "iommu_group",
            Holds,
            format!("Group {group}, which the VF has for itself."),
        ),
        (Some(group), peers) => {
            let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
            let text = format!("Group {group}, with {} in it too.", peers.join(", "));
            link("iommu_group", Broken, text)
        }
        (None, _) => link(
            "iommu_group",
            Broken,
            "The VF is in none: the IOMMU is off.",
        ),
    }
}

fn vfio(nic: &Nic<'_>) -> ChainLink {
    let Some((_, vf)) = nic.vf() else {
        return link("vfio", nic.missing(), "There is no VF yet.");
    };
    let driver = vf.driver.as_deref().unwrap_or("no driver");
    if !handle::is_ready(nic.intent, vf) {
        let text = format!("The VF is bound to {driver}, which does not hand it to a VM.");
        return link("vfio", Broken, text);
    }
    match &vf.user {
        VfUser::Process { pid, command } if Some(*pid) == nic.vm.facts.pid => link(
            "vfio",
            Holds,
            format!("Bound to {driver}, and open in the VM's {command} (process {pid})."),
        ),
        VfUser::Process { pid, command } => link(
            "vfio",
            Broken,
            format!("Another process has it open: {command} ({pid})."),
        ),
        user => {
            let who = match user {
                VfUser::HostDriver { driver } => format!("the host's {driver} uses it"),
                VfUser::Others { why } => format!("it is somebody else's: {why}"),
                VfUser::Reserved => "it is reserved".to_owned(),
                VfUser::Nobody | VfUser::Process { .. } => "the VM has not opened it".to_owned(),
            };
            link("vfio", nic.missing(), format!("Bound to {driver}; {who}."))
        }
    }
}

fn device(nic: &Nic<'_>) -> ChainLink {
    let vm = &nic.vm.facts;
    let Some(handle) = nic.handle() else {
        let ports = vm.free_root_ports_live;
        let text = format!("The VM has no such device; {ports} of its PCIe root ports are free.");
        return link("device", nic.missing(), text);
    };
    let pci = handle.device();
    let Some(device) = vm.hostdevs.iter().find(|device| device.pci == pci) else {
        let text = format!("QEMU has {pci} open, and libvirt does not know of it.");
        return link("device", Broken, text);
    };
    let HostdevFacts {
        alias,
        teaming_with,
        ..
    } = device;
    let alias = alias.as_deref().unwrap_or("without alias");
    let with = match teaming_with {
        Some(with) => format!(", paired with {with}"),
        None => String::new(),
    };
    link(
        "device",
        Holds,
        format!("libvirt has {pci} in the VM as {alias}{with}."),
    )
}

fn guest(nic: &Nic<'_>) -> ChainLink {
    let offers = match (nic.facts.standby_live, nic.facts.standby_config) {
        (true, _) => "",
        (false, true) => " The NIC offers its guest no standby before its next cold start.",
        (false, false) => " The NIC offers its guest no standby (VIRTIO_NET_F_STANDBY).",
    };
    let Some((adapter, vf)) = nic.vf() else {
        return link(
            "guest",
            nic.missing(),
            format!("It has no VF to drive.{offers}"),
        );
    };
    if vf.active_vectors == 0 {
        let text = format!("No driver in the guest drives the VF.{offers}");
        return link("guest", if nic.wanted() { Broken } else { Idle }, text);
    }
    let wanted = nic
        .scene
        .level
        .map(|level| nic.intent.levels.queue_pairs(level));
    let pairs = match (profile::queue_pairs_of_vf(adapter, vf), wanted) {
        (Some(pairs), Some(wanted)) => {
            format!(
                "{} of {wanted} queue pairs that its level stands for",
                pairs.effective
            )
        }
        (Some(pairs), None) => format!("{} queue pairs", pairs.effective),
        (None, _) => "queue pairs that nobody can count on this card".to_owned(),
    };
    let vectors = vf.active_vectors;
    link(
        "guest",
        Holds,
        format!("Its driver drives the VF: {vectors} interrupts, {pairs}."),
    )
}

fn change(nic: &Nic<'_>) -> ChainLink {
    match &nic.vm.progress {
        Some(at) => link(
            "change",
            Waits,
            format!(
                "{}: {}, step {} of {}.",
                at.operation, at.step, at.number, at.of
            ),
        ),
        None if nic.vm.resting => link(
            "change",
            Waits,
            "The last change failed, and is tried again by itself after a rest.",
        ),
        None => link("change", Holds, "Nothing is under way."),
    }
}

/// What all of it comes to, with what was counted.
fn traffic(nic: &Nic<'_>, before: &[ChainLink]) -> ChainLink {
    let Some(seen) = nic.seen else {
        return link(
            "traffic",
            NotSeen,
            "Nobody could see the way of its packets.",
        );
    };
    let mut found = way(nic, seen, before);
    if seen.path == NicPath::None {
        return found;
    }
    let evidence = match nic.scene.counted {
        Ok(counted) => {
            let mut counted = counted.iter();
            let its = counted.find(|counted| counted.mac == nic.facts.mac);
            evidence::of(its, seen.vf)
        }
        Err(because) => format!("What was counted is not known: {because}."),
    };
    found.evidence = Some(evidence).filter(|words| !words.is_empty());
    found
}

fn way(nic: &Nic<'_>, seen: &NicStatus, before: &[ChainLink]) -> ChainLink {
    let why = seen
        .reason
        .as_deref()
        .map(|why| format!(": {}", why.trim_end_matches('.')));
    let why = why.unwrap_or_default();
    let is = |state: LinkState| before.iter().any(|link| link.state == state);
    let mut idle = nic.status.idle_vfs.iter();
    let is_idle = idle.any(|idle| idle.vm == nic.vm.facts.uuid && idle.mac == nic.facts.mac);
    match seen.path {
        NicPath::Vf if nic.scene.wanted() && is_idle => ChainLink {
            code: Some(Code::VfIdle),
            cure: Some(Code::VfIdle.cure().to_owned()),
            ..link(
                "traffic",
                Broken,
                "Its guest's driver drives the VF, and the guest sends by its tap all the same.",
            )
        },
        NicPath::Vf if nic.scene.wanted() => link(
            "traffic",
            Holds,
            "By the VF: its guest's driver uses it, and no frame comes by the tap.",
        ),
        NicPath::Vf => link("traffic", Waits, "By the VF, until it is brought back."),
        NicPath::None => link("traffic", Idle, "It has no link, or its VM is off."),
        // What is broken before is said there.
        NicPath::Synthetic => {
            let state = match nic.wanted() {
                false => Idle,
                true if is(Broken) => Idle,
                true if is(Waits) => Waits,
                true => Broken,
            };
            link("traffic", state, format!("By the switch{why}."))
        }
    }
}
