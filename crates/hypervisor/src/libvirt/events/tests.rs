use std::time::Duration;

use super::*;
use crate::{
    MigrationPhase,
    libvirt::{state::RawState, waiters::Woken},
};

const VM: Uuid = Uuid::from_u128(1);
const MIGRATES: RawState = RawState {
    state: sys::VIR_DOMAIN_PAUSED,
    reason: sys::VIR_DOMAIN_PAUSED_MIGRATION,
};

#[test]
fn a_vm_runs_here_from_its_resume_on() {
    let sink = Sink::default();
    let told = |event: u32, detail: u32, start: Option<u32>| {
        sink.lifecycle(VM, start, event as c_int, detail as c_int);
        sink.here.note(VM, Some(5), MIGRATES)
    };
    let (started, migrated) = (
        sys::VIR_DOMAIN_EVENT_STARTED,
        sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED,
    );
    assert!(!told(started, migrated, Some(5)));
    assert!(!told(
        started,
        sys::VIR_DOMAIN_EVENT_STARTED_RESTORED,
        Some(5)
    ));
    assert!(!told(sys::VIR_DOMAIN_EVENT_SUSPENDED, 1, Some(5)));
    assert!(told(sys::VIR_DOMAIN_EVENT_RESUMED, 1, Some(5)));
    assert!(told(sys::VIR_DOMAIN_EVENT_SUSPENDED, 1, Some(5)));
    assert!(!told(sys::VIR_DOMAIN_EVENT_STOPPED, 3, None));
    assert!(told(started, sys::VIR_DOMAIN_EVENT_STARTED_BOOTED, Some(5)));
    assert!(!told(sys::VIR_DOMAIN_EVENT_STOPPED, 0, Some(5)));
}

#[test]
fn events_reach_subscribers_and_waiters() {
    let sink = Sink::default();
    let (sender, receiver) = mpsc::channel();
    sink.subscribe(sender);
    let mut waiter = sink.waiters.wait_for(VM);
    let mut woken = || waiter.wait(Duration::ZERO);
    sink.device(VM, false);
    assert_eq!(woken(), Woken::Changed);
    sink.device(VM, true);
    assert_eq!(woken(), Woken::Refused);
    sink.monitor(VM, MonitorEvent::UnplugPrimary);
    assert_eq!(woken(), Woken::Nothing);
    let phase = MigrationPhase::WaitsForUnplug;
    sink.monitor(VM, MonitorEvent::Migration(phase));
    assert_eq!(woken(), Woken::Changed);
    sink.monitor(VM, MonitorEvent::DeviceDeleted);
    assert_eq!(woken(), Woken::Changed);
    let told: Vec<HypervisorEvent> = receiver.try_iter().collect();
    let expected = [
        HypervisorEvent::Device(VM),
        HypervisorEvent::Device(VM),
        HypervisorEvent::UnplugPrimary(VM),
        HypervisorEvent::Migration(VM, phase),
    ];
    assert_eq!(told, expected);
    drop(receiver);
    sink.publish(HypervisorEvent::Connected);
    assert!(sink.subscribers.lock().unwrap().is_empty());
}
