//! An adapter's PCIe link as it was trained, and its errors.
//!
//! Files: `current_link_speed` and its like (Documentation/ABI/testing/sysfs-bus-pci), `aer_dev_*`
//! (…/sysfs-bus-pci-devices-aer_stats). Where one is missing, or says that the kernel does not know, it was not seen.

use std::path::Path;

use accelnet_model::{PciAddress, PcieLink, Support};

use super::{
    pci,
    sysfs::{self, Root},
};
use crate::Result;

/// The link of a function, measured against what it and the port above it can do.
pub fn observe(root: &Root, function: PciAddress) -> Result<Support<PcieLink>> {
    let own = root.pci(function);
    let now = (
        speed(&own, "current_link_speed")?,
        lanes(&own, "current_link_width")?,
    );
    let best = (
        speed(&own, "max_link_speed")?,
        lanes(&own, "max_link_width")?,
    );
    let ((Some(speed_mts), Some(lanes_now)), (Some(card_mts), Some(card_lanes))) = (now, best)
    else {
        return Ok(Support::Unknown);
    };
    // A card in a slot that can do less is as well off as it can be there.
    let above = pci::place(root, function)?.bridges.last().copied();
    let above = above.map(|bridge| root.pci(bridge));
    let slot = match &above {
        Some(port) => (
            speed(port, "max_link_speed")?,
            lanes(port, "max_link_width")?,
        ),
        None => (None, None),
    };
    Ok(Support::Supported(PcieLink {
        speed_mts,
        lanes: lanes_now,
        best_speed_mts: slot.0.unwrap_or(card_mts).min(card_mts),
        best_lanes: slot.1.unwrap_or(card_lanes).min(card_lanes),
    }))
}

/// Errors so far that were not corrected.
pub fn errors(root: &Root, function: PciAddress) -> Result<Support<u64>> {
    let directory = root.pci(function);
    let total = |file: &str, total: &str| -> Result<Option<u64>> {
        let text = sysfs::read(&directory.join(file))?;
        Ok(text.and_then(|text| count_of(&text, total)))
    };
    let nonfatal = total("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL")?;
    let fatal = total("aer_dev_fatal", "TOTAL_ERR_FATAL")?;
    Ok(match (nonfatal, fatal) {
        (Some(nonfatal), Some(fatal)) => Support::Supported(nonfatal.saturating_add(fatal)),
        _ => Support::Unknown,
    })
}

/// `TOTAL_ERR_FATAL 0`, among others of its kind.
fn count_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn speed(directory: &Path, file: &str) -> Result<Option<u32>> {
    let text = sysfs::read(&directory.join(file))?;
    Ok(text.as_deref().and_then(mts))
}

/// `8.0 GT/s PCIe` in MT/s; nothing of `Unknown`.
fn mts(text: &str) -> Option<u32> {
    let (number, unit) = text.split_once(' ')?;
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let gts: u32 = whole.parse().ok()?;
    let tenths: u32 = tenths.get(..1)?.parse().ok()?;
    unit.starts_with("GT/s")
        .then(|| gts.checked_mul(1000)?.checked_add(tenths * 100))?
}

fn lanes(directory: &Path, file: &str) -> Result<Option<u32>> {
    // 255 and 0 stand for a width that nobody knows.
    let width = sysfs::parse::<u32>(&directory.join(file))?;
    Ok(width.filter(|width| (1..=32).contains(width)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn speeds_are_read_in_every_form_that_kernels_have_had() {
        for (text, speed) in [
            ("2.5 GT/s", Some(2_500)),
            ("8.0 GT/s PCIe", Some(8_000)),
            ("8 GT/s", Some(8_000)),
            ("32.0 GT/s PCIe", Some(32_000)),
            ("Unknown", None),
            ("Unknown speed", None),
            ("", None),
        ] {
            assert_eq!(mts(text), speed, "{text}");
        }
    }

    #[test]
    fn a_link_is_measured_against_card_and_slot() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let (port, card) = ("0000:00:10.0", "0000:01:00.0");
        let slot = root.path(&format!("sys/devices/pci0000:00/{port}"));
        let own = slot.join(card);
        fs::create_dir_all(&own).unwrap();
        let bus = root.path("sys/bus/pci/devices");
        fs::create_dir_all(&bus).unwrap();
        std::os::unix::fs::symlink(&slot, bus.join(port)).unwrap();
        std::os::unix::fs::symlink(&own, bus.join(card)).unwrap();
        let function = card.parse().unwrap();
        assert_eq!(observe(&root, function).unwrap(), Support::Unknown);
        assert_eq!(errors(&root, function).unwrap(), Support::Unknown);
        let write = |directory: &Path, which: &str, speed: &str, lanes: &str| {
            fs::write(directory.join(format!("{which}_link_speed")), speed).unwrap();
            fs::write(directory.join(format!("{which}_link_width")), lanes).unwrap();
        };
        write(&own, "current", "8.0 GT/s PCIe\n", "4\n");
        write(&own, "max", "16.0 GT/s PCIe\n", "16\n");
        let link = |link: Support<PcieLink>| *link.value().unwrap();
        let alone = link(observe(&root, function).unwrap());
        assert_eq!((alone.best_speed_mts, alone.best_lanes), (16_000, 16));
        assert!(alone.is_below_its_best());
        assert_eq!(alone.mbps(), 31_507);
        // The slot can do no more.
        write(&slot, "max", "8.0 GT/s PCIe\n", "4\n");
        assert!(!link(observe(&root, function).unwrap()).is_below_its_best());
        // What nobody knows is not seen.
        write(&own, "current", "Unknown\n", "0\n");
        assert_eq!(observe(&root, function).unwrap(), Support::Unknown);
        fs::write(
            own.join("aer_dev_nonfatal"),
            "DLP 1\nTOTAL_ERR_NONFATAL 3\n",
        )
        .unwrap();
        fs::write(own.join("aer_dev_fatal"), "DLP 0\nTOTAL_ERR_FATAL 1\n").unwrap();
        assert_eq!(errors(&root, function).unwrap(), Support::Supported(4));
    }
}
