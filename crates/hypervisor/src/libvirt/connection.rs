//! One connection to libvirt, renewed when it breaks.

use std::sync::{Arc, Mutex, PoisonError};

use virt::connect::Connect;

use super::events::{self, Hub};
use crate::{HypervisorError, HypervisorEvent, Result};

/// Seconds between keepalive messages, and how many may go unanswered: a daemon that hangs is given
/// up after about half a minute (libvirt's own default for clients is 5 s × 5).
const KEEPALIVE: (i32, u32) = (5, 6);

/// The connection.
#[derive(Debug)]
pub struct Connection {
    uri: String,
    current: Mutex<Option<Connect>>,
    events: Arc<Hub>,
}

impl Connection {
    /// To this URI; not connected yet.
    pub fn new(uri: &str, events: Arc<Hub>) -> Self {
        Self {
            uri: uri.to_owned(),
            current: Mutex::new(None),
            events,
        }
    }

    /// The connection, opened (again) if need be.
    pub fn get(&self) -> Result<Connect> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = current.as_ref() {
            if connection.is_alive().unwrap_or(false) {
                return Ok(connection.clone());
            }
            *current = None;
            self.events.publish(HypervisorEvent::Disconnected);
        }
        events::start_loop();
        let connection = Connect::open(Some(&self.uri))
            .map_err(|error| HypervisorError::Unavailable(error.message().to_owned()))?;
        // Drivers within the process (the test driver) know no keepalive, and need none.
        let _ = connection.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
        events::register(&connection, &self.events)?;
        *current = Some(connection.clone());
        self.events.publish(HypervisorEvent::Connected);
        Ok(connection)
    }
}
