//! Guests that move between nodes, and a probe that goes with them.

use anyhow::{Context, Result, ensure};

use super::{
    Lab,
    measure::{Logs, WireEnd},
};
use crate::{probe::Log, shell};

/// Where the guest's end of a probe that goes with it keeps what it needs.
const PLACE: &str = "/tmp/following";

/// A probe whose guest may be moved meanwhile. Its end there hangs on nothing outside: the ordinary one's
/// input comes through the node that the guest leaves.
#[derive(Debug)]
pub struct Following {
    wire: WireEnd,
    guest: String,
    rate_pps: u32,
}

impl Lab {
    /// Migrates a running guest with its definition to another node, as a manager would do it: nobody is told
    /// before. Guests have no disks; their memory goes over the management network.
    pub fn migrate(&mut self, guest: &str, to: &str) -> Result<()> {
        let from = self.guest(guest)?.node.clone();
        ensure!(from != to, "{guest} is on {to} already");
        self.node(to)?;
        let script = format!(
            "virsh -q migrate --live --persistent --undefinesource {guest} \
             qemu+tcp://{to}/system --migrateuri tcp://{to}"
        );
        self.script(&from, &script)
            .with_context(|| format!("{guest} cannot be migrated from {from} to {to}"))?;
        self.is_now_on(guest, to)
    }

    /// A guest has come to another node, whoever brought it there.
    pub fn is_now_on(&mut self, guest: &str, node: &str) -> Result<()> {
        let node = self.node(node)?.name.clone();
        let mut guests = self.guests.iter_mut();
        let moved = guests.find(|other| other.name == guest);
        moved
            .with_context(|| format!("there is no guest {guest}"))?
            .node = node;
        self.save()
    }

    /// Starts numbered packets in both directions, so many a second each way, that go on while the guest moves.
    pub fn start_following(&self, guest: &str, rate_pps: u32) -> Result<Following> {
        let mut wire = WireEnd::of_probe(self, self.guest(guest)?, rate_pps)?;
        let probe = shell::join(&wire.words_in_guest(rate_pps));
        // Its input ends with the process that holds the other end of the pipe.
        let script = format!(
            "rm -rf {PLACE}; mkdir {PLACE}; cd {PLACE}; mkfifo until\n\
             setsid sh -c 'exec {probe} < until > log 2>&1' < /dev/null > /dev/null 2>&1 &\n\
             setsid sh -c 'echo $$ > holder; exec sleep 100000 > until' < /dev/null > /dev/null 2>&1 &\n\
             i=0; until grep -q ready log 2> /dev/null; do i=$((i+1)); [ $i -lt 300 ]; sleep 0.1; done"
        );
        self.guest_script(guest, &format!("set -e\n{script}"))
            .with_context(|| format!("the probe does not start in {guest}"))?;
        wire.begin()?;
        Ok(Following {
            wire,
            guest: guest.to_owned(),
            rate_pps,
        })
    }
}

impl Following {
    /// Stops sending at both ends, waits for what is on its way, and collects both ends' logs, wherever the
    /// guest is now.
    pub fn stop(mut self, lab: &Lab) -> Result<Logs> {
        self.wire.drain()?;
        let script = format!(
            "set -e; cd {PLACE}; kill $(cat holder)\n\
             i=0; until [ $(wc -l < log) -ge 2 ]; do i=$((i+1)); [ $i -lt 300 ]; sleep 0.1; done\n\
             sed -n 2p log"
        );
        let line = lab.guest_script(&self.guest, &script)?;
        let guest: Log =
            serde_json::from_str(&line).context("the probe in the guest ended without its log")?;
        Logs::new(self.wire.close()?, guest, self.rate_pps)
    }
}
