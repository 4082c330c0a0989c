//! `devlink dev info` and `devlink dev eswitch show`, by generic netlink: serial number and firmware of
//! cards whose driver has devlink, and how their own switch forwards.
//!
//! A kernel or a driver without devlink is no error: there is nothing to say then. Answers come from the
//! card's firmware, which can be slow, and change with firmware updates only; so they are kept for a
//! while. A change of the switch's mode shows at once: in switchdev mode, and only then, the interface
//! has a `phys_switch_id` (Documentation/networking/switchdev.rst).
//!
//! Sources: include/uapi/linux/{genetlink,devlink}.h, Documentation/networking/devlink/devlink-info.rst.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use accelnet_model::{AdapterFacts, DevlinkFacts, EswitchMode, PciAddress, Support};

use super::{
    attributes::{find, iter, push, text, u16_at, u32_at},
    genl::{self, HEADER},
    netlink::Netlink,
    sysfs::{self, Root},
};
use crate::{HostError, Result};

const DEVLINK_CMD_ESWITCH_GET: u8 = 29;
const DEVLINK_CMD_PARAM_GET: u8 = 38;
const DEVLINK_CMD_INFO_GET: u8 = 51;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const ESWITCH_MODE: u16 = 25;
const PARAM: u16 = 80;
const PARAM_NAME: u16 = 81;
const PARAM_VALUES_LIST: u16 = 84;
const PARAM_VALUE: u16 = 85;
const PARAM_VALUE_DATA: u16 = 86;
const SERIAL_NUMBER: u16 = 99;
const VERSION_RUNNING: u16 = 101;
const VERSION_STORED: u16 = 102;
const VERSION_NAME: u16 = 103;
const VERSION_VALUE: u16 = 104;

/// An update that is stored, but does not run yet, shows after this at the latest.
const KEPT: Duration = Duration::from_secs(300);

/// Answers of a while ago.
#[derive(Debug, Default)]
pub struct Devlink(Mutex<HashMap<PciAddress, Kept>>);

#[derive(Debug)]
struct Kept {
    of: Of,
    at: Instant,
    answer: Answer,
}

/// Driver and firmware as ethtool has them, and the id of the card's switch: with others the answer is
/// another.
type Of = (Option<String>, Option<String>, Option<String>);

/// What devlink says of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Answer {
    info: Option<DevlinkFacts>,
    eswitch: Support<EswitchMode>,
    /// Addresses of the function's filter, its own included.
    max_macs: Support<u32>,
}

impl Answer {
    fn fill(&self, adapter: &mut AdapterFacts) {
        adapter.devlink = self.info.clone();
        adapter.filter_room = match self.max_macs {
            Support::Supported(all) => Support::Supported(all.saturating_sub(1)),
            other => other,
        };
        adapter.eswitch = self.eswitch;
    }
}

impl Devlink {
    /// Adds what devlink says to adapters.
    pub fn fill(&self, root: &Root, adapters: &mut [AdapterFacts]) {
        let now = Instant::now();
        self.fill_by(adapters, now, &mut Asker::default(), &|adapter| {
            let file = format!("sys/class/net/{}/phys_switch_id", adapter.ifname);
            // One that cannot be read is as good as none: it only says when to ask again.
            sysfs::read(&root.path(&file)).ok().flatten()
        });
    }

    fn fill_by(
        &self,
        adapters: &mut [AdapterFacts],
        now: Instant,
        ask: &mut impl Ask,
        switch: &dyn Fn(&AdapterFacts) -> Option<String>,
    ) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|pci, _| adapters.iter().any(|adapter| adapter.pci == *pci));
        for adapter in adapters {
            let of = (
                adapter.driver.clone(),
                adapter.firmware.clone(),
                switch(adapter),
            );
            let fresh = kept
                .get(&adapter.pci)
                .filter(|kept| kept.of == of && now.saturating_duration_since(kept.at) < KEPT);
            if let Some(kept) = fresh {
                kept.answer.fill(adapter);
                continue;
            }
            match ask.about(adapter.pci) {
                Ok(answer) => {
                    answer.fill(adapter);
                    let at = now;
                    kept.insert(adapter.pci, Kept { of, at, answer });
                }
                // What was said last is the best there is. Asked again at the next look, but for firmware
                // that keeps everybody waiting.
                Err(error) => {
                    tracing::debug!(%error, "devlink");
                    let last = kept.get(&adapter.pci).filter(|kept| kept.of == of);
                    let answer = last.map(|kept| kept.answer.clone()).unwrap_or_default();
                    answer.fill(adapter);
                    if let HostError::Deadline { .. } = error {
                        let at = now;
                        kept.insert(adapter.pci, Kept { of, at, answer });
                    }
                }
            }
        }
    }
}

/// Asks about one function.
trait Ask {
    /// What devlink says: nothing if there is no devlink, or it has nothing to say.
    fn about(&mut self, pci: PciAddress) -> Result<Answer>;
}

/// This machine's kernel, asked when there is something to ask.
#[derive(Default)]
struct Asker(Option<Option<(Netlink, u16)>>);

impl Ask for Asker {
    fn about(&mut self, pci: PciAddress) -> Result<Answer> {
        let eswitch = self.request(DEVLINK_CMD_ESWITCH_GET, pci, &[])?;
        let info = self.request(DEVLINK_CMD_INFO_GET, pci, &[])?;
        let mut name = Vec::new();
        push(&mut name, PARAM_NAME, b"max_macs\0");
        // A driver that has parameters and not this one says EINVAL (net/devlink/param.c).
        let max_macs = match self.request(DEVLINK_CMD_PARAM_GET, pci, &name) {
            Err(error) if error.errno() == Some(libc::EINVAL) => None,
            other => other?,
        };
        Ok(Answer {
            info: info.map(|list| read(&list)),
            eswitch: eswitch.map_or(Support::Unsupported, |list| mode(&list)),
            max_macs: max_macs.map_or(Support::Unsupported, |list| number(&list)),
        })
    }
}

impl Asker {
    /// The attributes of the answer; None if the driver has no devlink, or nothing to say.
    fn request(&mut self, command: u8, pci: PciAddress, more: &[u8]) -> Result<Option<Vec<u8>>> {
        let family = match &mut self.0 {
            Some(family) => family,
            asked => asked.insert(genl::family("devlink")?),
        };
        let Some((socket, family)) = family else {
            return Ok(None);
        };
        let mut request = genl::header(command);
        push(&mut request, BUS_NAME, b"pci\0");
        push(&mut request, DEV_NAME, format!("{pci}\0").as_bytes());
        request.extend(more);
        let operation = format!("ask devlink about {pci}");
        match socket.request(&operation, *family, 0, &request) {
            Ok(answers) => {
                let list = answers
                    .first()
                    .and_then(|answer| answer.payload.get(HEADER..));
                Ok(list.map(<[u8]>::to_vec))
            }
            Err(error) if error.is_gone() || error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A parameter's value: the first, which is the one in use where it can be changed while the driver runs, or
/// with its next start.
pub fn number(list: &[u8]) -> Support<u32> {
    let value = find(list, PARAM)
        .and_then(|parameter| find(parameter, PARAM_VALUES_LIST))
        .and_then(|values| find(values, PARAM_VALUE))
        .and_then(|value| find(value, PARAM_VALUE_DATA))
        .and_then(|data| u32_at(data, 0));
    value.map_or(Support::Unsupported, Support::Supported)
}

/// `DEVLINK_ESWITCH_MODE_…` (include/uapi/linux/devlink.h).
pub fn mode(list: &[u8]) -> Support<EswitchMode> {
    match find(list, ESWITCH_MODE).and_then(|value| u16_at(value, 0)) {
        None => Support::Unsupported,
        Some(0) => Support::Supported(EswitchMode::Legacy),
        Some(1) => Support::Supported(EswitchMode::Switchdev),
        Some(_) => Support::Supported(EswitchMode::Other),
    }
}

pub fn read(list: &[u8]) -> DevlinkFacts {
    let versions = |kind: u16| {
        let parts = iter(list).filter(move |(found, _)| *found == kind);
        let pairs = parts.filter_map(|(_, part)| {
            let value = |kind| find(part, kind).map(printable);
            Some((value(VERSION_NAME)?, value(VERSION_VALUE)?))
        });
        pairs.collect::<BTreeMap<String, String>>()
    };
    DevlinkFacts {
        serial: find(list, SERIAL_NUMBER)
            .map(printable)
            .filter(|serial| !serial.is_empty()),
        running: versions(VERSION_RUNNING),
        stored: versions(VERSION_STORED),
    }
}

/// Firmware's texts are shown to people.
fn printable(bytes: &[u8]) -> String {
    let text = text(bytes);
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(message: &mut Vec<u8>, kind: u16, name: &str, value: &str) {
        let mut part = Vec::new();
        push(&mut part, VERSION_NAME, format!("{name}\0").as_bytes());
        push(&mut part, VERSION_VALUE, format!("{value}\0").as_bytes());
        // NLA_F_NESTED
        push(message, kind | 0x8000, &part);
    }

    #[test]
    fn an_answer_is_read() {
        let mut message = Vec::new();
        push(&mut message, BUS_NAME, b"pci\0");
        push(&mut message, SERIAL_NUMBER, b"00-11\x07-22\0");
        version(&mut message, VERSION_RUNNING, "fw.version", "22.36.1010");
        version(&mut message, VERSION_RUNNING, "fw.psid", "MT_0000000359");
        version(&mut message, VERSION_STORED, "fw.version", "22.41.1000");
        let facts = read(&message);
        assert_eq!(facts.serial.as_deref(), Some("00-11-22"));
        assert_eq!(facts.running["fw.psid"], "MT_0000000359");
        let staged: Vec<_> = facts.staged().collect();
        assert_eq!(staged, [("fw.version", "22.36.1010", "22.41.1000")]);
        assert_eq!(read(&[]), DevlinkFacts::default());
    }

    #[test]
    fn the_mode_of_the_cards_switch_is_read() {
        for (number, expected) in [
            (0u16, EswitchMode::Legacy),
            (1, EswitchMode::Switchdev),
            (2, EswitchMode::Other),
        ] {
            let mut message = Vec::new();
            push(&mut message, ESWITCH_MODE, &number.to_ne_bytes());
            assert_eq!(mode(&message), Support::Supported(expected));
        }
        assert_eq!(mode(&[]), Support::Unsupported);
    }

    #[test]
    fn the_value_of_a_parameter_is_read() {
        let mut message = Vec::new();
        let inner = |kind, value: &[u8]| {
            let mut bytes = Vec::new();
            push(&mut bytes, kind, value);
            bytes
        };
        let data = inner(PARAM_VALUE_DATA, &128u32.to_ne_bytes());
        let values = inner(PARAM_VALUE, &data);
        let mut parameter = inner(PARAM_NAME, b"max_macs\0");
        parameter.extend(inner(PARAM_VALUES_LIST, &values));
        push(&mut message, BUS_NAME, b"pci\0");
        push(&mut message, PARAM, &parameter);
        assert_eq!(number(&message), Support::Supported(128));
        assert_eq!(number(&data), Support::Unsupported);
    }

    /// Counts how often it is asked; the fifth time nobody answers.
    struct Counted(u32);

    impl Ask for Counted {
        fn about(&mut self, _: PciAddress) -> Result<Answer> {
            self.0 += 1;
            if self.0 == 5 {
                return Err(HostError::kernel("ask", libc::ENOMEM, None));
            }
            Ok(Answer {
                info: (self.0 > 1).then(DevlinkFacts::default),
                eswitch: Support::Supported(EswitchMode::Legacy),
                max_macs: Support::Supported(128),
            })
        }
    }

    fn adapter() -> AdapterFacts {
        let bridge = "br0".parse().unwrap();
        let uplink = "pf0".parse().unwrap();
        let machine = crate::twin::Machine::igb("node1", &bridge, &uplink);
        machine.adapters.into_iter().next().unwrap()
    }

    #[test]
    fn answers_are_kept_until_something_changed_or_for_a_while() {
        let (devlink, mut ask, now) = (Devlink::default(), Counted(0), Instant::now());
        let switch = std::cell::RefCell::new(None);
        let same = |_: &AdapterFacts| switch.borrow().clone();
        let mut adapters = [adapter()];
        for _ in 0..3 {
            devlink.fill_by(&mut adapters, now, &mut ask, &same);
            assert_eq!((ask.0, &adapters[0].devlink), (1, &None));
        }
        adapters[0].firmware = Some("2".into());
        devlink.fill_by(&mut adapters, now, &mut ask, &same);
        assert_eq!(ask.0, 2);
        assert!(adapters[0].devlink.is_some());
        devlink.fill_by(&mut adapters, now + KEPT, &mut ask, &same);
        assert_eq!(ask.0, 3);
        // One that went away and came back is asked anew.
        devlink.fill_by(&mut [], now + KEPT, &mut ask, &same);
        devlink.fill_by(&mut adapters, now + KEPT, &mut ask, &same);
        assert_eq!(ask.0, 4);
        // An error is no answer: the last one stands, and the next look asks again.
        for asked in [5, 6] {
            adapters[0].devlink = None;
            devlink.fill_by(&mut adapters, now + 2 * KEPT, &mut ask, &same);
            assert_eq!((ask.0, adapters[0].devlink.is_some()), (asked, true));
        }
        assert!(adapters[0].eswitch.is(&EswitchMode::Legacy));
        assert!(adapters[0].filter_room.is(&127));
        // The card's switch went into another mode.
        *switch.borrow_mut() = Some("1e00".to_owned());
        devlink.fill_by(&mut adapters, now + 2 * KEPT, &mut ask, &same);
        assert_eq!(ask.0, 7);
    }

    #[test]
    fn this_kernel_can_be_asked() {
        // No such function: nothing to say, and no error, with devlink or without.
        let nobody = PciAddress {
            domain: 0xffff,
            bus: 0xff,
            device: 0x1f,
            function: 7,
        };
        let nothing = Answer {
            info: None,
            eswitch: Support::Unsupported,
            max_macs: Support::Unsupported,
        };
        assert_eq!(Asker::default().about(nobody), Ok(nothing));
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
            mode(&bytes);
            number(&bytes);
        }
    }
}
