//! Carrying out a switch-over, step by step.
//!
//! No choices are made here: the sequence and what undoes it are data (`accelnet_rules::attach`).

use std::time::Duration;

use accelnet_host::{HoldQueue, Host, HostError};
use accelnet_hypervisor::{Hypervisor, HypervisorError, VfAttachment};
use accelnet_model::{Code, Problem, VfAttributes};
use accelnet_rules::{
    attach::{ATTACH, DETACH, STILL_PLUGGED, Step, undo},
    plan::Switch,
};

/// The guest uses the VF when no frame has come by its tap for this long; "registered" is too early.
const QUIET: Duration = Duration::from_secs(1);
/// Of a guest that sends little, a second's silence says little, and that it drives the VF does not mean
/// that it sends there: drivers look for the link every two seconds (igbvf's `igbvf_watchdog_task`), and
/// 2.6 s were seen in the lab.
const QUIET_IF_SILENT: Duration = Duration::from_secs(3);
/// Frames a second, and at least so many in all, of a guest whose silence is a sign.
const TALKATIVE: u64 = 10;
/// Plug to link-up took up to 5 s in the lab; a guest that takes six times that has no driver.
const ON_VF_LIMIT: Duration = Duration::from_secs(30);
const UNPLUG_LIMIT: Duration = Duration::from_secs(20);
/// Counters have no events; looking costs some microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A switch-over and what it works on.
pub struct Work<'a> {
    /// What is to be done.
    pub switch: &'a Switch,
    /// The machine.
    pub host: &'a dyn Host,
    /// Its VMs.
    pub hypervisor: &'a dyn Hypervisor,
}

impl Work<'_> {
    /// The steps.
    pub fn sequence(&self) -> &'static [Step] {
        if self.switch.to_vf { ATTACH } else { DETACH }
    }

    /// Does all steps. If one fails, what was done is undone; all errors are told, the cause first.
    pub fn run(&self, mut progress: impl FnMut(usize, Step)) -> Result<(), Vec<Problem>> {
        let sequence = self.sequence();
        for (number, step) in sequence.iter().enumerate() {
            progress(number, *step);
            tracing::debug!(vm = self.switch.vm_name, vf = %self.switch.vf, %step, "switch-over");
            if let Err(problem) = self.step(*step) {
                tracing::warn!(vm = self.switch.vm_name, %step, %problem, "switch-over failed");
                let mut problems = vec![problem];
                problems.extend(self.undo(number));
                return Err(problems
                    .into_iter()
                    .map(|p| p.about("vm", &self.switch.vm_name))
                    .collect());
            }
        }
        Ok(())
    }

    /// Undoes a sequence that failed at step number `failed`; what goes wrong meanwhile.
    fn undo(&self, failed: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        for step in undo(self.sequence(), failed, self.switch.standing) {
            let Err(problem) = self.step(step) else {
                continue;
            };
            problems.push(problem);
            if step == Step::Unplug {
                let left = STILL_PLUGGED.iter();
                problems.extend(left.filter_map(|step| self.step(*step).err()));
                break;
            }
        }
        problems
    }

    fn step(&self, step: Step) -> Result<(), Problem> {
        let Switch {
            tap,
            uplink,
            port,
            mac,
            ..
        } = self.switch;
        let host = self.host;
        let done = match step {
            Step::TapLearningOff => host.ensure_port_learning(tap, false),
            Step::TapLearningOn => host.ensure_port_learning(tap, true),
            Step::TapPass => host.ensure_hold_queue(tap, HoldQueue::Pass),
            Step::TapHold => host.ensure_hold_queue(tap, HoldQueue::Hold),
            Step::TapRoom => host.ensure_tap_room(tap),
            Step::TapFloodOff => host.ensure_port_flood(tap, false),
            Step::TapFloodOn => host.ensure_port_flood(tap, true),
            Step::FilterAdd => host.ensure_pf_filter(uplink, *mac, true),
            Step::FilterRemove => host.ensure_pf_filter(uplink, *mac, false),
            Step::TapEntryAdd => host.ensure_bridge_entry(tap, *mac, true),
            Step::TapEntryRemove => host.ensure_bridge_entry(tap, *mac, false),
            Step::UplinkEntryAdd => host.ensure_bridge_entry(port, *mac, true),
            Step::UplinkEntryRemove => host.ensure_bridge_entry(port, *mac, false),
            Step::VfVectors => return self.vectors(),
            Step::VfDress => return self.dress(&self.switch.attributes),
            Step::VfClean => {
                return clean_vf(host, self.switch.pf, self.switch.vf_index, self.switch.vf);
            }
            Step::Plug => return self.plug(),
            Step::Unplug => return self.unplug(),
            Step::WaitOnVf => return self.wait_on_vf(),
        };
        match done {
            Ok(()) => Ok(()),
            // A VM that stops in the middle takes its tap along; there is nothing left to set there.
            Err(error) if error.is_gone() && !self.switch.to_vf => {
                tracing::debug!(%error, %step, "gone");
                Ok(())
            }
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    fn failed(&self, text: &str) -> Problem {
        let code = if self.switch.to_vf {
            Code::VfAttachFailed
        } else {
            Code::VfDetachFailed
        };
        Problem::new(code, format!("{text}."))
    }

    fn vectors(&self) -> Result<(), Problem> {
        let Some(vectors) = self.switch.vectors_given() else {
            return Ok(());
        };
        let given = self.host.ensure_vf_vectors(self.switch.vf, vectors);
        given.map_err(|error| self.failed(&error.to_string()))
    }

    fn dress(&self, wanted: &VfAttributes) -> Result<(), Problem> {
        let Switch { pf, vf_index, .. } = self.switch;
        let found = self
            .host
            .ensure_vf_attributes(*pf, *vf_index, wanted)
            .map_err(|error| self.failed(&error.to_string()))?;
        if found.fulfils(wanted) {
            return Ok(());
        }
        if let (Some(rate), None) = (
            wanted.max_tx_rate_mbps.value(),
            found.max_tx_rate_mbps.value(),
        ) && *rate > 0
        {
            let uplink = &self.switch.uplink;
            let text = format!(
                "The driver of {uplink} cannot limit what its VFs send; {rate} Mbit/s are wanted."
            );
            let problem = Problem::new(Code::TxRateNotPossible, text);
            return Err(problem.about("adapter", uplink));
        }
        Err(self.failed(&format!(
            "VF {vf_index} cannot enforce what it must: it has {found:?}"
        )))
    }

    fn plug(&self) -> Result<(), Problem> {
        let attachment = VfAttachment {
            pci: self.switch.vf,
            mac: self.switch.mac,
            persistent_alias: self.switch.alias.clone(),
        };
        self.hypervisor
            .attach_vf(self.switch.vm, &attachment)
            .map_err(|error| self.failed(&error.to_string()))
    }

    fn unplug(&self) -> Result<(), Problem> {
        match self
            .hypervisor
            .detach_vf(self.switch.vm, self.switch.vf, UNPLUG_LIMIT)
        {
            // A VM that stopped has let go.
            Ok(()) | Err(HypervisorError::NoSuchVm(_) | HypervisorError::NotRunning) => Ok(()),
            Err(error) => Err(Problem::new(Code::VfDetachFailed, format!("{error}."))),
        }
    }

    /// Evidence that the guest is on the VF: its driver has the VF's interrupts enabled, and no frame
    /// of it came by the tap for [`QUIET`].
    fn wait_on_vf(&self) -> Result<(), Problem> {
        let failed = |error: HostError| self.failed(&error.to_string());
        let begun = self.host.now();
        let at_first = self.host.rx_packets(&self.switch.tap).map_err(failed)?;
        let (mut frames, mut quiet_since) = (at_first, begun);
        let mut vectors;
        loop {
            self.host.pause(LOOK_EVERY);
            let now = self.host.now();
            vectors = self.host.active_vectors(self.switch.vf).map_err(failed)?;
            let count = self.host.rx_packets(&self.switch.tap).map_err(failed)?;
            if count != frames || vectors == 0 {
                (frames, quiet_since) = (count, now);
            }
            let (came, time) = (count - at_first, quiet_since.saturating_sub(begun));
            let needed = match came >= TALKATIVE.max(TALKATIVE * time.as_secs()) {
                true => QUIET,
                false => QUIET_IF_SILENT,
            };
            if now.saturating_sub(quiet_since) >= needed {
                return Ok(());
            }
            if now.saturating_sub(begun) >= ON_VF_LIMIT {
                break;
            }
        }
        let text = if vectors == 0 {
            "no driver in the guest has taken the VF"
        } else {
            "the guest has a driver for the VF but goes on sending by its virtio NIC"
        };
        let seconds = ON_VF_LIMIT.as_secs();
        Err(Problem::new(
            Code::GuestWithoutFailover,
            format!("After {seconds} s {text}."),
        ))
    }
}

/// Brings a VF that nobody uses to the safe baseline: function-level reset, attributes, read back. A
/// limit that stays because the adapter has no link is no failure: the VF is not given out with it, and
/// the plan takes it away when there is a link.
pub fn clean_vf(
    host: &dyn Host,
    pf: accelnet_model::PciAddress,
    index: u32,
    vf: accelnet_model::PciAddress,
) -> Result<(), Problem> {
    let quarantine = |text: String| {
        Problem::new(Code::VfQuarantined, format!("VF {vf}: {text}.")).about("vf", vf)
    };
    host.reset_vf(vf)
        .map_err(|error| quarantine(error.to_string()))?;
    let wanted = VfAttributes::baseline();
    let found = match host.ensure_vf_attributes(pf, index, &wanted) {
        Err(HostError::NeedsLink(operation)) => {
            tracing::info!(%vf, operation, "waits for a link");
            return Ok(());
        }
        other => other.map_err(|error| quarantine(error.to_string()))?,
    };
    if found.fulfils(&wanted) {
        return Ok(());
    }
    Err(quarantine(format!(
        "it should carry {wanted:?} but carries {found:?}"
    )))
}
