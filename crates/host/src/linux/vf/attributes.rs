//! Address, VLAN, spoof check, trust, rates and link of a VF: only what differs is changed, and everything
//! is read back.

use std::{collections::BTreeMap, time::Duration};

use accelnet_model::{IfName, MacAddr, Support, VfAttributes, VfLink};

use crate::{
    HostError, IdleVf, Result,
    linux::{
        deadline,
        link::{self, Change, Vf},
    },
};

/// How long a VF may say that it is being reset (i40e: `EAGAIN`, "VF still in reset. Try again.";
/// ice: `EBUSY`) or be missing in the driver's answer.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// A PF's VFs as its driver shows them.
pub trait Card {
    /// All VFs by index.
    fn read(&self) -> Result<BTreeMap<u32, Vf>>;
    /// Changes one VF.
    fn change(&self, vf: u32, change: Change) -> Result<()>;
    /// The PF has a link.
    fn has_link(&self) -> Result<bool>;
}

impl Card for IfName {
    fn read(&self) -> Result<BTreeMap<u32, Vf>> {
        Ok(link::observe(self)?.vfs)
    }

    fn change(&self, vf: u32, change: Change) -> Result<()> {
        link::change(self, vf, change)
    }

    fn has_link(&self) -> Result<bool> {
        Ok(link::observe(self)?.carrier)
    }
}

/// See [`crate::Host::ensure_vf_attributes`].
pub fn ensure(card: &dyn Card, index: u32, wanted: &VfAttributes) -> Result<VfAttributes> {
    let before = read(card, index)?;
    let mut absent = Absent::default();
    for change in changes(&before, wanted) {
        apply(card, index, change, &mut absent)?;
    }
    let mut found = read(card, index)?.attributes;
    absent.mark(&mut found);
    if absent.carrier {
        let kept = VfAttributes {
            max_tx_rate_mbps: found.max_tx_rate_mbps,
            min_tx_rate_mbps: found.min_tx_rate_mbps,
            ..wanted.clone()
        };
        compare(index, &found, &kept)?;
        let operation = format!("set transmit rates on VF {index}");
        return Err(HostError::NeedsLink(operation));
    }
    compare(index, &found, wanted)?;
    Ok(found)
}

/// Refused if somebody has given the VF another address than it was seen with. What we took off is no address.
pub fn still_idle(card: &dyn Card, vf: &IdleVf) -> Result<()> {
    let carries = read(card, vf.index)?.attributes.mac;
    if carries == vf.mac || carries.is_zero() {
        return Ok(());
    }
    let users = vec![format!("VF {}: somebody has given it {carries}", vf.vf)];
    Err(HostError::VfsInUse { pf: vf.pf, users })
}

fn read(card: &dyn Card, index: u32) -> Result<Vf> {
    let operation = format!("the driver to show VF {index}");
    deadline::wait_for(&operation, BUSY_LIMIT, || Ok(card.read()?.remove(&index)))
}

/// What has to change, restrictions before and relaxations after everything else, so that the VF
/// is never freer than before and after.
fn changes(before: &Vf, wanted: &VfAttributes) -> Vec<Change> {
    let have = &before.attributes;
    let flag = |have: &Support<bool>, want: &Support<bool>| {
        let want = *want.value()?;
        let same = have.is(&want) || (have == &Support::Unsupported && !want);
        (!same).then_some(want)
    };
    let spoofchk = flag(&have.spoofchk, &wanted.spoofchk);
    let trust = flag(&have.trust, &wanted.trust);
    let vlan =
        (have.vlan, have.qos) != (wanted.vlan, wanted.qos) || (wanted.vlan != 0 && !before.dot1q);
    let rate = |have: &Support<u32>, want: &Support<u32>| {
        let have = have.value().copied().unwrap_or(0);
        (have, want.value().copied().unwrap_or(have))
    };
    let (min, min_mbps) = rate(&have.min_tx_rate_mbps, &wanted.min_tx_rate_mbps);
    let link = wanted.link.value().copied().filter(|want| {
        let follows = have.link.value().is_none() && *want == VfLink::Auto;
        !have.link.is(want) && !follows
    });
    let (max, max_mbps) = rate(&have.max_tx_rate_mbps, &wanted.max_tx_rate_mbps);
    let rates = (min, max) != (min_mbps, max_mbps);
    [
        trust.filter(|on| !on).map(Change::Trust),
        spoofchk.filter(|on| *on).map(Change::Spoofchk),
        link.filter(|link| *link == VfLink::Down).map(Change::Link),
        (have.mac != wanted.mac).then_some(Change::Mac(wanted.mac)),
        vlan.then_some(Change::Vlan(wanted.vlan, wanted.qos)),
        rates.then_some(Change::Rates { min_mbps, max_mbps }),
        link.filter(|link| *link != VfLink::Down).map(Change::Link),
        spoofchk.filter(|on| !on).map(Change::Spoofchk),
        trust.filter(|on| *on).map(Change::Trust),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Attributes that the driver turned out not to have, or not to change now.
#[derive(Debug, Default)]
struct Absent {
    /// A carrier, without which it changes no rate.
    carrier: bool,
    link: bool,
    spoofchk: bool,
    trust: bool,
    min_rate: bool,
    max_rate: bool,
}

impl Absent {
    fn mark(&self, attributes: &mut VfAttributes) {
        if self.spoofchk {
            attributes.spoofchk = Support::Unsupported;
        }
        if self.trust {
            attributes.trust = Support::Unsupported;
        }
        if self.link {
            attributes.link = Support::Unsupported;
        }
        if self.min_rate {
            attributes.min_tx_rate_mbps = Support::Unsupported;
        }
        if self.max_rate {
            attributes.max_tx_rate_mbps = Support::Unsupported;
        }
    }
}

/// Makes one change; notes it as absent if the driver does not have it.
fn apply(card: &dyn Card, index: u32, change: Change, absent: &mut Absent) -> Result<()> {
    let Err(error) = patiently(card, index, change) else {
        return Ok(());
    };
    match change {
        Change::Spoofchk(_) if error.is_unsupported() => absent.spoofchk = true,
        Change::Trust(_) if error.is_unsupported() => absent.trust = true,
        Change::Link(_) if error.is_unsupported() => absent.link = true,
        // A driver without minimum rate says EINVAL (igb) or EOPNOTSUPP; the maximum alone shows
        // which of the two it was.
        Change::Rates { min_mbps, max_mbps }
            if min_mbps != 0 && (error.is_unsupported() || error.errno() == Some(libc::EINVAL)) =>
        {
            absent.min_rate = true;
            let only_max = Change::Rates {
                min_mbps: 0,
                max_mbps,
            };
            return apply(card, index, only_max, absent);
        }
        Change::Rates { .. } if error.is_unsupported() => {
            absent.min_rate = true;
            absent.max_rate = true;
        }
        // igb (`igb_ndo_set_vf_bw`): even the limit is not taken away then.
        Change::Rates { .. } if error.errno() == Some(libc::EINVAL) && !card.has_link()? => {
            absent.carrier = true;
        }
        _ => return Err(error),
    }
    Ok(())
}

fn patiently(card: &dyn Card, index: u32, change: Change) -> Result<()> {
    let operation = format!("VF {index} to be ready for a change");
    let mut last = None;
    let result = deadline::wait_for(&operation, BUSY_LIMIT, || {
        match card.change(index, change) {
            Ok(()) => Ok(Some(())),
            Err(error) if matches!(error.errno(), Some(libc::EAGAIN | libc::EBUSY)) => {
                last = Some(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    match (result, last) {
        // The kernel's words say more than that time ran out.
        (Err(HostError::Deadline { .. }), Some(error)) => Err(error),
        (result, _) => result,
    }
}

/// What the driver took but did not do.
fn compare(index: u32, found: &VfAttributes, wanted: &VfAttributes) -> Result<()> {
    fn unlike<T: PartialEq>(found: &Support<T>, wanted: &Support<T>) -> bool {
        matches!((found, wanted), (Support::Supported(a), Support::Supported(b)) if a != b)
    }
    let in_words = |attributes: &VfAttributes| {
        let VfAttributes {
            mac,
            vlan,
            qos,
            spoofchk,
            trust,
            max_tx_rate_mbps,
            min_tx_rate_mbps,
            link,
        } = attributes;
        let mac = if *mac == MacAddr::ZERO {
            "none".to_owned()
        } else {
            mac.to_string()
        };
        format!(
            "address {mac}, VLAN {vlan} priority {qos}, spoof check {}, trust {}, rate {} to {}, link {}",
            shown(spoofchk),
            shown(trust),
            shown(min_tx_rate_mbps),
            shown(max_tx_rate_mbps),
            shown(&link_in_words(link))
        )
    };
    let different = (found.mac, found.vlan, found.qos) != (wanted.mac, wanted.vlan, wanted.qos)
        || unlike(&found.spoofchk, &wanted.spoofchk)
        || unlike(&found.trust, &wanted.trust)
        || unlike(&found.link, &wanted.link)
        || unlike(&found.max_tx_rate_mbps, &wanted.max_tx_rate_mbps)
        || unlike(&found.min_tx_rate_mbps, &wanted.min_tx_rate_mbps);
    if !different {
        return Ok(());
    }
    Err(HostError::NotAsAsked {
        operation: format!("set the attributes of VF {index}"),
        wanted: in_words(wanted),
        found: in_words(found),
    })
}

fn link_in_words(link: &Support<VfLink>) -> Support<&'static str> {
    match link {
        Support::Supported(VfLink::Auto) => Support::Supported("auto"),
        Support::Supported(VfLink::Up) => Support::Supported("up"),
        Support::Supported(VfLink::Down) => Support::Supported("down"),
        Support::Unsupported => Support::Unsupported,
        Support::Unknown => Support::Unknown,
    }
}

fn shown<T: ToString>(value: &Support<T>) -> String {
    match value {
        Support::Supported(value) => value.to_string(),
        Support::Unsupported => "unsupported".into(),
        Support::Unknown => "unknown".into(),
    }
}

#[cfg(test)]
mod tests;
