//! Actions in words, for people.

use accelnet_model::Problem;
use accelnet_rules::action::{Action, Hold};

/// An action, after "to".
pub fn of(action: &Action) -> String {
    let way = |present: bool, to: &str, out: &str| {
        if present {
            to.to_owned()
        } else {
            out.to_owned()
        }
    };
    match action {
        Action::MakeBridge { bridge, .. } => format!("make bridge {bridge}"),
        Action::AddUplink { bridge, adapter } => format!("make {adapter} a port of {bridge}"),
        Action::CreateVfs { pf, count } => format!("create {count} VFs of {pf}"),
        Action::BindVf { vf, driver, .. } => match driver {
            Some(driver) => format!("bind VF {vf} to {driver}"),
            None => format!("bind VF {vf} to a vfio driver"),
        },
        Action::VfVectors { vf, vectors, .. } => format!("give VF {vf} {vectors} MSI-X vectors"),
        Action::CleanVf { vf, .. } => format!("bring VF {vf} to the safe baseline"),
        Action::ReserveVf { vf, reserved } => format!(
            "{} VF {vf} {} a VM that comes in",
            way(*reserved, "keep", "let go of"),
            way(*reserved, "for", "after")
        ),
        Action::PinBridge { bridge } => format!("pin the address of {bridge}"),
        Action::PortLearning { port, on } => {
            format!("turn learning at {port} {}", way(*on, "on", "off"))
        }
        Action::PortFlood { port, on } => {
            format!("turn flooding of {port} {}", way(*on, "on", "off"))
        }
        Action::Filter { pf, mac, present } => format!(
            "{} {mac} {} the filter of {pf}",
            way(*present, "put", "take"),
            way(*present, "into", "out of")
        ),
        Action::BridgeEntry {
            port,
            mac,
            vlan,
            present,
        } => {
            let vlan = vlan.map(|vlan| format!(" in VLAN {vlan}"));
            format!(
                "{} the forwarding entry of {mac} at {port}{}",
                way(*present, "set", "remove"),
                vlan.unwrap_or_default()
            )
        }
        Action::HoldQueue { tap, hold } => match hold {
            Hold::Pass => format!("let the queue of {tap} pass"),
            Hold::Wait => format!("let frames wait at {tap}"),
        },
        Action::TapRoom { tap } => format!("make room behind {tap}"),
        Action::Prepare { vm, .. } => format!("stage changes on the definition of VM {vm}"),
        Action::AddNic { vm, mac, .. } => format!("add NIC {mac} to VM {vm}"),
        Action::Dress { vf, .. } => format!("give VF {vf} the attributes of its VM"),
        Action::Plug { vf, mac, .. } => format!("plug VF {vf} for NIC {mac}"),
        Action::Unplug { vm, device } => format!("unplug {device} from VM {vm}"),
        Action::Release { vm, mac } => {
            format!("end what QEMU has left of the VF of NIC {mac} of VM {vm}")
        }
        Action::EndJob { vm } => format!("end the job that stopped VM {vm}"),
        Action::Migrate { vm, to } => format!("migrate VM {vm} to node {to}"),
        Action::EndMigration { vm } => format!("end the migration of VM {vm}"),
    }
}

/// A problem of an action, with the bridge that is made: other intents' states do not depend on it.
pub fn about(action: &Action, problem: Problem) -> Problem {
    match action {
        Action::MakeBridge { bridge, .. } | Action::AddUplink { bridge, .. }
            if problem.objects.is_empty() =>
        {
            problem.about("bridge", bridge)
        }
        _ => problem,
    }
}
