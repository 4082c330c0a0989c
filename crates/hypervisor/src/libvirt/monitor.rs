//! QEMU's own words, as libvirt passes them on (libvirt-qemu): its monitor's events, which libvirt
//! translates too late or not at all, and the few commands that libvirt has no call for. A command marks
//! the domain as tainted (`custom-monitor`); events do not.
//!
//! Format: QEMU's qapi/migration.json, qapi/qdev.json, qapi/qom.json.

use serde_json::{Value, json};
use virt::domain::Domain;

use super::refusal::{about_to, is_not_there, refused_on};
use crate::{HypervisorError, MigrationPhase, Result};

/// Events that are asked for, as an extended regular expression.
pub const EVENTS: &std::ffi::CStr = c"^(UNPLUG_PRIMARY|MIGRATION|DEVICE_DELETED)$";

/// An event that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorEvent {
    /// QEMU asks the guest to give up the VF of a pair.
    UnplugPrimary,
    /// The migration code's state changed.
    Migration(MigrationPhase),
    /// A device has gone.
    DeviceDeleted,
}

/// Reads an event; its details only where they matter.
pub fn event(name: &str, details: &str) -> Option<MonitorEvent> {
    match name {
        "UNPLUG_PRIMARY" => Some(MonitorEvent::UnplugPrimary),
        "MIGRATION" => Some(MonitorEvent::Migration(phase(details))),
        "DEVICE_DELETED" => Some(MonitorEvent::DeviceDeleted),
        _ => None,
    }
}

/// An event is a hint to look again: one that cannot be read is one of an unknown state.
fn phase(details: &str) -> MigrationPhase {
    let details = serde_json::from_str::<Value>(details).ok();
    let status = details.as_ref().and_then(|all| all.get("status")?.as_str());
    match status {
        Some("wait-unplug") => MigrationPhase::WaitsForUnplug,
        Some("failed" | "cancelled") => MigrationPhase::Failed,
        _ => MigrationPhase::Other,
    }
}

/// How far the migration code is (also that of saves and dumps): its status, or "none".
pub fn migration_status(domain: &Domain) -> Result<String> {
    let answer = command(domain, &json!({"execute": "query-migrate"}))?;
    match answer.get("status") {
        None => Ok("none".to_owned()),
        Some(status) => status
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| strange("query-migrate", &answer)),
    }
}

/// Lets the processors run.
pub fn cont(domain: &Domain) -> Result<()> {
    command(domain, &json!({"execute": "cont"})).map(drop)
}

/// Names of the devices of the host that QEMU has.
pub fn passed_through(domain: &Domain) -> Result<Vec<String>> {
    let list = json!({"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}});
    names_of_vfio(&command(domain, &list)?)
}

pub fn names_of_vfio(answer: &Value) -> Result<Vec<String>> {
    let unknown = || strange("qom-list", answer);
    let mut names = Vec::new();
    for device in answer.as_array().ok_or_else(unknown)? {
        let part = |part: &str| device.get(part).and_then(Value::as_str);
        // vfio-pci, and its variants (vfio-pci-nohotplug).
        if part("type").is_some_and(|kind| kind.starts_with("child<vfio-pci")) {
            names.push(part("name").ok_or_else(unknown)?.to_owned());
        }
    }
    Ok(names)
}

/// The name of the NIC whose primary a device is; `None` if it is nobody's.
pub fn pair_of(domain: &Domain, id: &str) -> Result<Option<String>> {
    let get = json!({"execute": "qom-get", "arguments": {
        "path": format!("/machine/peripheral/{id}"), "property": "failover_pair_id",
    }});
    match command(domain, &get) {
        Ok(answer) => {
            let name = answer.as_str().ok_or_else(|| strange("qom-get", &answer))?;
            Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
        }
        // It went in that moment.
        Err(HypervisorError::Refused { message, .. }) if is_not_there(&message) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for a device to be unplugged.
pub fn device_del(domain: &Domain, id: &str) -> Result<()> {
    let remove = json!({"execute": "device_del", "arguments": {"id": id}});
    command(domain, &remove).map(drop)
}

fn command(domain: &Domain, command: &Value) -> Result<Value> {
    let name = command["execute"].as_str().unwrap_or_default();
    if !["query-", "qom-"].iter().any(|asks| name.starts_with(asks)) {
        about_to(name)?;
    }
    let answer = domain
        .qemu_monitor_command(&command.to_string(), 0)
        .map_err(refused_on(domain, name))?;
    answered(name, &answer)
}

/// libvirt passes QEMU's answer on as it is, an error too.
pub fn answered(name: &str, answer: &str) -> Result<Value> {
    let mut all: Value =
        serde_json::from_str(answer).map_err(|_| strange(name, &Value::from(answer)))?;
    if let Some(error) = all.get("error") {
        let part = |part: &str| error.get(part).and_then(Value::as_str).unwrap_or_default();
        return Err(HypervisorError::Refused {
            operation: name.to_owned(),
            message: format!("{} ({})", part("desc"), part("class")),
        });
    }
    match all.get_mut("return") {
        Some(value) => Ok(value.take()),
        None => Err(strange(name, &all)),
    }
}

fn strange(name: &str, answer: &Value) -> HypervisorError {
    HypervisorError::Refused {
        operation: name.to_owned(),
        message: format!("QEMU's answer is not understood: {answer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        let migration = |details: &str| event("MIGRATION", details);
        for (status, phase) in [
            ("wait-unplug", MigrationPhase::WaitsForUnplug),
            ("failed", MigrationPhase::Failed),
            ("cancelled", MigrationPhase::Failed),
            ("cancelling", MigrationPhase::Other),
            ("active", MigrationPhase::Other),
            ("completed", MigrationPhase::Other),
        ] {
            let details = format!("{{\"status\":\"{status}\"}}");
            assert_eq!(migration(&details), Some(MonitorEvent::Migration(phase)));
        }
        for strange in ["", "{", "{\"status\":7}", "[]", "\"failed\""] {
            let other = Some(MonitorEvent::Migration(MigrationPhase::Other));
            assert_eq!(migration(strange), other, "{strange}");
        }
        let primary = event("UNPLUG_PRIMARY", "{\"device-id\":\"ua-accelnet-5254\"}");
        assert_eq!(primary, Some(MonitorEvent::UnplugPrimary));
        assert_eq!(
            event("DEVICE_DELETED", ""),
            Some(MonitorEvent::DeviceDeleted)
        );
        assert_eq!(event("STOP", ""), None);
    }

    #[test]
    fn answers_are_read() {
        let list = answered(
            "qom-list",
            "{\"return\":[{\"name\":\"net0\",\"type\":\"child<virtio-net-pci>\"}],\"id\":\"libvirt-7\"}",
        );
        assert_eq!(list.unwrap()[0]["name"], "net0");
        let devices = json!([
            {"name": "type", "type": "string"},
            {"name": "net0", "type": "child<virtio-net-pci>"},
            {"name": "hostdev0", "type": "child<vfio-pci>"},
        ]);
        assert_eq!(names_of_vfio(&devices).unwrap(), ["hostdev0"]);
        assert!(names_of_vfio(&json!({})).is_err());
        assert_eq!(answered("cont", "{\"return\":{}}").unwrap(), json!({}));
        let error = answered(
            "device_del",
            "{\"id\":\"libvirt-8\",\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"Device 'x' not found\"}}",
        );
        let Err(HypervisorError::Refused { message, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(message, "Device 'x' not found (DeviceNotFound)");
        for strange in ["", "{}", "[]", "7"] {
            assert!(answered("cont", strange).is_err(), "{strange}");
        }
    }
}
