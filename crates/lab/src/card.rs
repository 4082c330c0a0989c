//! What the emulated card forgets, done on its behalf: all multicast for a promiscuous PF, and no frame
//! of its own.
//!
//! A PF that is a bridge's port is promiscuous. Linux's igb then sets VMOLR.MPME of the PF's pool
//! ("multicast promiscuous enable" in Intel's datasheet of the 82576) and writes no multicast table.
//! QEMU's igb does not know that bit (`igb_receive_assign` in hw/net/igb_core.c), so multicast from a
//! VF, IPv6 neighbour discovery with it, would never reach the PF. It does know VMOLR.ROMPE ("accept what
//! matches the multicast table"), and with a full table that means the same. So wherever the driver
//! sets MPME, this sets ROMPE and fills the table. With a full table the other pools that use it get
//! more multicast than they asked for, which their guests drop.
//!
//! Linux's igb fills the unicast table (UTA) too, and sets VMOLR.ROPE, so that a promiscuous PF gets all
//! unicast. A real card never gives a pool back what it sent itself (DTXSWC.LLE is off, "local loopback
//! enable"); QEMU does, and takes ROMPE for ROPE: the PF would get back each frame that it sends to the
//! wire, and the bridge flood it. So this empties the table. What comes from the wire for unknown
//! addresses reaches the PF as the default pool; what VFs send to the wire it does not see.
//!
//! Registers are reached by the card's I/O window (IOADDR, IODATA in the datasheet), which the
//! driver does not use. The driver sets the bits anew now and then, so probes (kprobes, the tracing
//! file system) on its functions that do so tell when to look again.
//!
//! A PF that is set up anew, as when VFs are made, gets its mode first and BAM and AUPE ("accept broadcast",
//! "accept untagged") with its rings. A mode that was read before and written after would take these two
//! away, and the PF would receive nothing at all. So the mode is read last, and written at once with them.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

const DRIVER: &str = "/sys/bus/pci/drivers/igb";
const TRACING: &str = "/sys/kernel/tracing";

/// Places in the I/O window.
const IOADDR: u64 = 0;
const IODATA: u64 = 4;
/// VMOLR of pool 0; one for each of the eight pools.
const VMOLR: u32 = 0x5ad0;
const POOLS: u32 = 8;
const AUPE: u32 = 1 << 24;
const ROMPE: u32 = 1 << 25;
const BAM: u32 = 1 << 27;
const MPME: u32 = 1 << 28;
/// The multicast table: 4096 bits.
const MTA: u32 = 0x5200;
/// The unicast table, as long; it cannot be read.
const UTA: u32 = 0xa000;
const TABLE_WORDS: u32 = 128;

/// The driver's functions that write VMOLR of the PF's pool.
const WRITERS: [&str; 2] = ["igb_set_rx_mode", "igb_configure_rx_ring"];

/// Stands in for the cards of this node until the process ends.
pub fn serve() -> Result<()> {
    let mut changes = watch()?;
    let mut line = [0; 4096];
    loop {
        for window in windows() {
            // A card that is being unbound or removed is no card any more.
            if let Err(error) = accept_all(&window) {
                eprintln!("{}: {error}", window.display());
            }
        }
        match changes.read(&mut line) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the driver cannot be watched any more"),
        }
    }
}

/// A stream with a line for each time that the driver has written a pool's mode. It blocks in between.
fn watch() -> Result<File> {
    let root = Path::new(TRACING);
    let instance = root.join("instances/lab-card");
    fs::create_dir_all(&instance).context("no tracing file system")?;
    for writer in WRITERS {
        // From the second start on it is there already.
        let event = instance.join("events/lab_card").join(writer);
        if !event.exists() {
            let mut events = OpenOptions::new()
                .append(true)
                .open(root.join("kprobe_events"))?;
            let probe = format!("r:lab_card/{writer} {writer}\n");
            std::io::Write::write_all(&mut events, probe.as_bytes())
                .with_context(|| format!("{writer} of igb cannot be watched"))?;
        }
        fs::write(event.join("enable"), "1")?;
    }
    Ok(File::open(instance.join("trace_pipe"))?)
}

/// I/O windows of the cards that igb drives.
fn windows() -> Vec<PathBuf> {
    let entries = fs::read_dir(DRIVER).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path().join("resource2"))
        .filter(|path| path.exists())
        .collect()
}

fn accept_all(window: &Path) -> std::io::Result<()> {
    let card = Registers(OpenOptions::new().read(true).write(true).open(window)?);
    for pool in 0..POOLS {
        let register = VMOLR + 4 * pool;
        if card.read(register)? & MPME == 0 {
            continue;
        }
        if card.read(MTA)? != u32::MAX {
            card.fill(MTA, u32::MAX)?;
        }
        card.fill(UTA, 0)?;
        let mode = card.read(register)?;
        let whole = mode | ROMPE | AUPE | BAM;
        if mode & MPME != 0 && mode != whole {
            card.write(register, whole)?;
        }
    }
    Ok(())
}

/// A card's registers behind its I/O window.
struct Registers(File);

impl Registers {
    fn read(&self, register: u32) -> std::io::Result<u32> {
        self.0.write_all_at(&register.to_le_bytes(), IOADDR)?;
        let mut value = [0; 4];
        self.0.read_exact_at(&mut value, IODATA)?;
        Ok(u32::from_le_bytes(value))
    }

    fn fill(&self, table: u32, value: u32) -> std::io::Result<()> {
        (0..TABLE_WORDS).try_for_each(|word| self.write(table + 4 * word, value))
    }

    fn write(&self, register: u32, value: u32) -> std::io::Result<()> {
        self.0.write_all_at(&register.to_le_bytes(), IOADDR)?;
        self.0.write_all_at(&value.to_le_bytes(), IODATA)
    }
}
