//! Echo requests from anywhere in the lab to several addresses at once, so that what an event costs one of
//! them is compared with what it costs another in the same seconds.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::{Lab, Pace, Pinging, program::Program};
use crate::probe::{Log, analysis::Echoes};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The host on the wire.
    Wire,
    /// A node's own kernel.
    Node(&'a str),
    /// A guest, which must stay where it is meanwhile.
    Guest(&'a str),
}

/// Requests that go on until they are told to stop.
#[derive(Debug)]
pub struct Calling(End);

#[derive(Debug)]
enum End {
    Wire(Vec<Pinging>),
    Program(Program),
}

impl Lab {
    /// Starts echo requests to each of these addresses, so many a second to each. Kernels answer them.
    pub fn start_calling(&self, from: Place<'_>, to: &[Ipv4Addr], pps: u32) -> Result<Calling> {
        let mut words = vec!["accelnet-lab-guest".to_owned(), "echo".into()];
        words.push(pps.to_string());
        words.extend(to.iter().map(ToString::to_string));
        let (node, words) = match from {
            Place::Wire => {
                let pinging = to
                    .iter()
                    .map(|address| self.ping_address(*address, Pace::Rate { pps }))
                    .collect::<Result<_>>()?;
                return Ok(Calling(End::Wire(pinging)));
            }
            Place::Node(node) => (node, words),
            Place::Guest(guest) => {
                let guest = self.guest(guest)?;
                (guest.node.as_str(), self.guest_command(guest, &words))
            }
        };
        let program = Program::start(self, node, &words);
        let program = program.with_context(|| format!("to ask at {from:?}"))?;
        Ok(Calling(End::Program(program)))
    }
}

impl Calling {
    /// Asks no more, waits for late answers, and tells what came of it, in the order of the addresses.
    pub fn stop(self) -> Result<Vec<Echoes>> {
        match self.0 {
            End::Wire(pinging) => pinging.into_iter().map(Pinging::stop).collect(),
            End::Program(program) => {
                let logs: Vec<Log> = program.finish()?;
                Ok(logs.iter().map(Echoes::of).collect())
            }
        }
    }
}
