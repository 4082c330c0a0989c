//! libvirt's events, and QEMU's that it passes on.
//!
//! One thread runs libvirt's default event loop for the whole process. Callbacks publish to all
//! subscribers, wake whoever waits for a device to go, and note which VMs run. They ask nothing of
//! libvirt (what they are given knows its name), for they hold up all other events and answers.

use std::{
    ffi::{CStr, c_char, c_int, c_longlong, c_uint, c_void},
    sync::{Arc, Mutex, Once, PoisonError, mpsc},
};

use uuid::Uuid;
use virt::{connect::Connect, sys};

use super::{
    monitor::{self, MonitorEvent},
    state::Here,
    waiters::Waiters,
};
use crate::{HypervisorError, HypervisorEvent, Result};

/// Where events go.
#[derive(Debug, Default)]
pub struct Sink {
    subscribers: Mutex<Vec<mpsc::Sender<HypervisorEvent>>>,
    /// Who waits for a device.
    pub waiters: Waiters,
    /// VMs that have run here.
    pub here: Here,
}

impl Sink {
    /// Sends all events from now on.
    pub fn subscribe(&self, events: mpsc::Sender<HypervisorEvent>) {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(events);
    }

    /// Tells everybody; subscribers that are gone are forgotten.
    pub fn publish(&self, event: HypervisorEvent) {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|subscriber| subscriber.send(event).is_ok());
    }

    /// A VM's life went on.
    fn lifecycle(&self, vm: Uuid, start: Option<u32>, event: c_int, detail: c_int) {
        match (life(event, detail), start) {
            (Life::Runs, Some(start)) => self.here.runs(vm, start),
            (Life::Ends, _) => self.here.stopped(vm),
            _ => {}
        }
        self.waiters.changed(vm);
        self.publish(HypervisorEvent::Vm(vm));
    }

    /// A device came or went, or did not go.
    fn device(&self, vm: Uuid, removal_failed: bool) {
        if removal_failed {
            self.waiters.refused(vm);
        } else {
            self.waiters.changed(vm);
        }
        self.publish(HypervisorEvent::Device(vm));
    }

    /// QEMU told something.
    fn monitor(&self, vm: Uuid, event: MonitorEvent) {
        match event {
            MonitorEvent::UnplugPrimary => self.publish(HypervisorEvent::UnplugPrimary(vm)),
            MonitorEvent::Migration(phase) => {
                self.waiters.changed(vm);
                self.publish(HypervisorEvent::Migration(vm, phase));
            }
            // libvirt tells the same of all devices that it knows.
            MonitorEvent::DeviceDeleted => self.waiters.changed(vm),
        }
    }
}

/// What a lifecycle event says of where a VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    Ends,
    Other,
}

/// "Started" is also told of a VM that comes in (with the detail "migrated" or "restored") before it runs.
fn life(event: c_int, detail: c_int) -> Life {
    match event as sys::virDomainEventType {
        sys::VIR_DOMAIN_EVENT_RESUMED => Life::Runs,
        sys::VIR_DOMAIN_EVENT_STARTED if detail as u32 == sys::VIR_DOMAIN_EVENT_STARTED_BOOTED => {
            Life::Runs
        }
        sys::VIR_DOMAIN_EVENT_STOPPED => Life::Ends,
        _ => Life::Other,
    }
}

/// Starts the process's event loop, once.
pub fn start_loop() {
    static START: Once = Once::new();
    START.call_once(|| {
        // SAFETY: takes no arguments; libvirt asks for it before the first connection.
        unsafe { sys::virEventRegisterDefaultImpl() };
        // Without this libvirt prints every error on standard error as well.
        // SAFETY: a null pointer and a valid function are what it takes.
        unsafe { sys::virSetErrorFunc(std::ptr::null_mut(), Some(ignore_error)) };
        std::thread::spawn(|| {
            loop {
                // SAFETY: takes no arguments; only this thread runs the loop.
                if unsafe { sys::virEventRunDefaultImpl() } < 0 {
                    tracing::error!(
                        "libvirt's event loop ended; changes are found by looking only"
                    );
                    return;
                }
            }
        });
    });
}

unsafe extern "C" fn ignore_error(_: *mut c_void, _: sys::virErrorPtr) {}

/// Registers for what we want to know on a new connection.
pub fn register(connection: &Connect, sink: &Arc<Sink>) -> Result<()> {
    // SAFETY: libvirt's interface for all kinds of events is one function-pointer type to which the
    // callback of each kind is cast; it is called with the arguments of its kind.
    let (lifecycle, added, failed) = unsafe {
        (
            std::mem::transmute::<Lifecycle, Generic>(on_lifecycle),
            std::mem::transmute::<Device, Generic>(on_device),
            std::mem::transmute::<Device, Generic>(on_removal_failed),
        )
    };
    for (kind, callback) in [
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
        (sys::VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot as Generic),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, added),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, added),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, failed),
    ] {
        let opaque = Arc::into_raw(Arc::clone(sink)).cast_mut().cast::<c_void>();
        // SAFETY: the connection lives; a null domain means all; `opaque` is a reference that
        // `release` gives back when libvirt drops the callback.
        let registered = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connection.as_ptr(),
                std::ptr::null_mut(),
                kind as c_int,
                Some(callback),
                opaque,
                Some(release),
            )
        };
        taken(registered, opaque).map_err(HypervisorError::Unavailable)?;
    }
    // Drivers other than QEMU's have no such events, and VMs of theirs no such migrations.
    if let Err(message) = register_monitor(connection, sink) {
        tracing::warn!(message, "QEMU's own events are not to be had");
    }
    Ok(())
}

fn register_monitor(connection: &Connect, sink: &Arc<Sink>) -> std::result::Result<(), String> {
    let opaque = Arc::into_raw(Arc::clone(sink)).cast_mut().cast::<c_void>();
    // SAFETY: as in `register`; the expression is a C string that libvirt copies.
    let registered = unsafe {
        sys::virConnectDomainQemuMonitorEventRegister(
            connection.as_ptr(),
            std::ptr::null_mut(),
            monitor::EVENTS.as_ptr(),
            Some(on_monitor),
            opaque,
            Some(release),
            sys::VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX,
        )
    };
    taken(registered, opaque)
}

/// libvirt's answer to a registration; an error in its words.
fn taken(registered: c_int, opaque: *mut c_void) -> std::result::Result<(), String> {
    if registered >= 0 {
        return Ok(());
    }
    let message = virt::error::Error::last_error().message().to_owned();
    // SAFETY: libvirt did not take the reference.
    unsafe { release(opaque) };
    Err(message)
}

type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
type Lifecycle =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type Device =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);

unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: `opaque` came from Arc::into_raw in `register`, once per callback.
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Sink>()) });
}

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let tell = |sink: &Sink, vm| {
        // SAFETY: the domain is valid during the callback; -1 is no number of a start.
        let start = unsafe { sys::virDomainGetID(domain) };
        let start = (start != c_uint::MAX).then_some(start);
        sink.lifecycle(vm, start, event, detail);
    };
    // SAFETY: libvirt passes the domain and what was registered.
    unsafe { with_sink(domain, opaque, tell) };
    0
}

unsafe extern "C" fn on_reboot(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    opaque: *mut c_void,
) {
    let tell = |sink: &Sink, vm| sink.publish(HypervisorEvent::Rebooted(vm));
    // SAFETY: libvirt passes the domain and what was registered.
    unsafe { with_sink(domain, opaque, tell) };
}

unsafe extern "C" fn on_device(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt passes the domain and what was registered.
    unsafe { with_sink(domain, opaque, |sink, vm| sink.device(vm, false)) };
}

unsafe extern "C" fn on_removal_failed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt passes the domain and what was registered.
    unsafe { with_sink(domain, opaque, |sink, vm| sink.device(vm, true)) };
}

unsafe extern "C" fn on_monitor(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: *const c_char,
    _seconds: c_longlong,
    _micros: c_uint,
    details: *const c_char,
    opaque: *mut c_void,
) {
    let text = |of: *const c_char| {
        if of.is_null() {
            return String::new();
        }
        // SAFETY: libvirt passes C strings that live during the callback; the details may be missing.
        unsafe { CStr::from_ptr(of) }.to_string_lossy().into_owned()
    };
    if let Some(event) = monitor::event(&text(event), &text(details)) {
        // SAFETY: libvirt passes the domain and what was registered.
        unsafe { with_sink(domain, opaque, |sink, vm| sink.monitor(vm, event)) };
    }
}

/// # Safety
/// The domain is valid, `opaque` is what was registered.
unsafe fn with_sink(
    domain: sys::virDomainPtr,
    opaque: *mut c_void,
    tell: impl FnOnce(&Sink, Uuid),
) {
    let mut bytes = [0u8; 16];
    // SAFETY: VIR_UUID_BUFLEN is 16; the domain is valid during the callback.
    if unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) } == 0 {
        // SAFETY: the reference taken in `register` lives until `release`.
        let sink = unsafe { &*opaque.cast_const().cast::<Sink>() };
        tell(sink, Uuid::from_bytes(bytes));
    }
}

#[cfg(test)]
mod tests;
