//! An accelerated VM (vm1) beside one that is not (vm2): the same echoes to both, in the same seconds, from
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
    pub accelerated: Echoes,
    pub plain: Echoes,
}

/// Has each of the places ask both VMs while something happens, and for two seconds more.
pub fn beside(rig: &mut Rig, from: &[Place<'_>], happens: impl FnOnce(&mut Rig)) -> Vec<Beside> {
    let to = ["vm1", "vm2"].map(|vm| rig.lab.guest(vm).unwrap().address());
    let calling: Vec<_> = from
        .iter()
        .map(|place| rig.lab.start_calling(*place, &to, PPS).unwrap())
        .collect();
    // An outage is measured from the last answer before it.
    wait(Duration::from_secs(1));
    happens(rig);
    wait(Duration::from_secs(2));
    let results = from.iter().zip(calling).map(|(place, calling)| {
        let mut echoes = calling.stop().unwrap();
        let (plain, accelerated) = (echoes.pop().unwrap(), echoes.pop().unwrap());
        let result = Beside {
            from: format!("{place:?}"),
            accelerated,
            plain,
        };
        let said = |echoes: &Echoes| {
            format!(
                "{} of {}, {:.1} s at a time",
                echoes.lost(),
                echoes.sent,
                echoes.longest_outage_s
            )
        };
        eprintln!(
            "           {} missed of the accelerated VM {}; of the other {}",
            result.from,
            said(&result.accelerated),
            said(&result.plain)
        );
        result
    });
    results.collect()
}

impl Beside {
    /// The accelerated VM was missed no longer than the other, but for so many seconds.
    pub fn no_worse_by(&self, seconds: f64) {
        let (one, other) = (&self.accelerated, &self.plain);
        assert!(
            one.longest_outage_s <= other.longest_outage_s + seconds
                && one.lost() as f64 <= other.lost() as f64 + seconds * f64::from(PPS),
            "more than {seconds} s worse: {self:?}"
        );
    }
}
