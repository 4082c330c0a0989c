//! libvirt's events: the only place that needs the raw bindings.
//!
//! One thread runs libvirt's default event loop for the whole process. Callbacks publish to all
//! subscribers, and wake whoever waits for a device to go.

use std::{
    ffi::{c_int, c_void},
    sync::{Arc, Condvar, Mutex, Once, PoisonError, mpsc},
    time::Duration,
};

use uuid::Uuid;
use virt::{connect::Connect, sys};

use crate::{HypervisorError, HypervisorEvent, Result};

/// Where events go.
#[derive(Debug, Default)]
pub struct Hub {
    subscribers: Mutex<Vec<mpsc::Sender<HypervisorEvent>>>,
    device_changes: Mutex<u64>,
    device_changed: Condvar,
}

impl Hub {
    /// Sends all events from now on.
    pub fn subscribe(&self, events: mpsc::Sender<HypervisorEvent>) {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(events);
    }

    /// Tells everybody; subscribers that are gone are forgotten.
    pub fn publish(&self, event: HypervisorEvent) {
        let mut subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.send(event).is_ok());
        if matches!(event, HypervisorEvent::Device(_) | HypervisorEvent::Vm(_)) {
            *self
                .device_changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner) += 1;
            self.device_changed.notify_all();
        }
    }

    /// How many events about devices or VMs there have been.
    pub fn device_changes(&self) -> u64 {
        *self
            .device_changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there have been more than `seen`, or for `limit`.
    pub fn wait_for_device_change(&self, seen: u64, limit: Duration) {
        let changes = self
            .device_changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Whether it was the change or the limit, the caller looks at the VM again.
        let _unused = self
            .device_changed
            .wait_timeout_while(changes, limit, |now| *now <= seen);
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
pub fn register(connection: &Connect, hub: &Arc<Hub>) -> Result<()> {
    let lifecycle: unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        c_int,
        c_int,
        *mut c_void,
    ) -> c_int = on_lifecycle;
    // SAFETY: libvirt's interface for all kinds of events is one function-pointer type to
    // which the callback of each kind is cast; it is called with the arguments of its kind.
    let lifecycle = unsafe { std::mem::transmute::<*const (), Generic>(lifecycle as *const ()) };
    let device: unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        *const std::ffi::c_char,
        *mut c_void,
    ) = on_device;
    // SAFETY: as above.
    let device = unsafe { std::mem::transmute::<*const (), Generic>(device as *const ()) };
    let kinds = [
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, device),
    ];
    for (kind, callback) in kinds {
        let opaque = Arc::into_raw(Arc::clone(hub)).cast_mut().cast::<c_void>();
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
        if registered < 0 {
            // SAFETY: libvirt did not take the reference.
            unsafe { release(opaque) };
            let message = virt::error::Error::last_error().message().to_owned();
            return Err(HypervisorError::Unavailable(message));
        }
    }
    Ok(())
}

type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);

unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: `opaque` came from Arc::into_raw in `register`, once per callback.
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Hub>()) });
}

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt passes the domain and what was registered.
    unsafe { publish(domain, opaque, HypervisorEvent::Vm) };
    0
}

unsafe extern "C" fn on_device(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const std::ffi::c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt passes the domain and what was registered.
    unsafe { publish(domain, opaque, HypervisorEvent::Device) };
}

unsafe fn publish(
    domain: sys::virDomainPtr,
    opaque: *mut c_void,
    event: impl FnOnce(Uuid) -> HypervisorEvent,
) {
    let mut bytes = [0u8; 16];
    // SAFETY: VIR_UUID_BUFLEN is 16; the domain is valid during the callback.
    if unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) } == 0 {
        // SAFETY: the reference taken in `register` lives until `release`.
        let hub = unsafe { &*opaque.cast_const().cast::<Hub>() };
        hub.publish(event(Uuid::from_bytes(bytes)));
    }
}
