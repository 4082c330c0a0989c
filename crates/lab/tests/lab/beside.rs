//! Accelerated VMs (vm1, mostly) beside one that is not (vm2): the same echoes to all, in the same seconds, from
//! the same places, so that what a busy machine costs is not taken for what acceleration costs.

use std::time::Duration;

use accelnet_lab::{
    lab::{Place, wait},
    probe::analysis::Echoes,
};

use crate::rig::Rig;

/// Echoes a second to each: far from what the emulated node can carry.
pub const PPS: u32 = 10;

/// What one place missed of both.
#[derive(Debug)]
pub struct Beside {
    from: String,
    vm: String,
    pub accelerated: Echoes,
    pub plain: Echoes,
}

/// Has each of the places ask both VMs while something happens, and for two seconds more.
pub fn beside(rig: &mut Rig, from: &[Place<'_>], happens: impl FnOnce(&mut Rig)) -> Vec<Beside> {
    all_beside(rig, &["vm1"], from, happens)
}

/// The same with several accelerated VMs: what each place missed of each of them.
pub fn all_beside(
    rig: &mut Rig,
    accelerated: &[&str],
    from: &[Place<'_>],
    happens: impl FnOnce(&mut Rig),
) -> Vec<Beside> {
    let vms = accelerated.iter().chain(&["vm2"]);
    let to: Vec<_> = vms.map(|vm| rig.lab.guest(vm).unwrap().address()).collect();
    let calling: Vec<_> = from
        .iter()
        .map(|place| rig.lab.start_calling(*place, &to, PPS).unwrap())
        .collect();
    // An outage is measured from the last answer before it.
    wait(Duration::from_secs(1));
    happens(rig);
    wait(Duration::from_secs(2));
    let results = from.iter().zip(calling).flat_map(|(place, calling)| {
        let mut echoes = calling.stop().unwrap();
        let plain = echoes.pop().unwrap();
        let each = accelerated.iter().zip(echoes);
        let each = each.map(move |(vm, accelerated)| Beside {
            from: format!("{place:?}"),
            vm: (*vm).to_owned(),
            accelerated,
            plain: plain.clone(),
        });
        each.inspect(|result| eprintln!("           {}", result.in_words()))
    });
    results.collect()
}

/// What a busy machine costs whoever changes a path, in seconds: guest and agent wait for a processor as echoes
/// do in the same moments, once at either end.
fn busy_s(echoes: &Echoes) -> f64 {
    2.0 * echoes.round_trips.rtt_p99_us / 1e6
}

/// Nothing was lost but what a switch-over there and back may cost: the guest's own kernel drops a frame or two.
#[track_caller]
pub fn only_switched(echoes: &Echoes) {
    let most = 4.0 + busy_s(echoes) * f64::from(PPS);
    assert!(
        echoes.sent > 0 && echoes.lost() as f64 <= most,
        "more than {most:.0} lost: {echoes:?}"
    );
}

/// How many were missed, and for how long.
pub fn said(echoes: &Echoes) -> String {
    format!(
        "{} of {}, {:.1} s at a time",
        echoes.lost(),
        echoes.sent,
        echoes.longest_outage_s
    )
}

impl Beside {
    fn in_words(&self) -> String {
        format!(
            "{} missed of {}, accelerated, {}; of the other {}",
            self.from,
            self.vm,
            said(&self.accelerated),
            said(&self.plain)
        )
    }

    /// The accelerated VM was missed no longer than the other, but for so many seconds, and for what a busy machine
    /// costs.
    pub fn no_worse_by(&self, seconds: f64) {
        let (one, other) = (&self.accelerated, &self.plain);
        let seconds = seconds + busy_s(other);
        assert!(
            one.longest_outage_s <= other.longest_outage_s + seconds
                && one.lost() as f64 <= other.lost() as f64 + seconds * f64::from(PPS),
            "more than {seconds:.1} s worse: {self:?}"
        );
    }
}
