//! The command line of a node's QEMU, and its monitor.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    kvm::Accel,
    lab::{Options, SecondAdapter},
};

/// What one node's machine is made of.
#[derive(Debug)]
pub struct Machine<'a> {
    /// Name of its lab.
    pub lab: &'a str,
    /// Number, from 1.
    pub number: u8,
    /// Its disk.
    pub disk: &'a Path,
    /// Private directory of the node.
    pub directory: &'a Path,
    /// Directory that the node sees, read-only.
    pub share: &'a Path,
    /// Kernel (uncompressed) and initial file system.
    pub kernel: &'a Path,
    /// Initial file system that mounts the disk.
    pub initrd: &'a Path,
    /// Sockets of the wire, one per PF.
    pub wires: &'a [std::path::PathBuf],
    /// Socket of the management network, if there is one.
    pub management: Option<&'a Path>,
    /// Acceleration.
    pub accel: Accel,
}

impl Machine<'_> {
    /// The arguments of `qemu-system-x86_64`.
    ///
    /// Why what is there is there: LAB facts. An Intel IOMMU needs the split irqchip; `la57=off`
    /// because five-level paging slows software emulation of nested guests; fast string instructions
    /// are off because they are emulated byte by byte, and kernels that see them use nothing else to copy
    /// and clear memory (a node with a guest is up with a sixth to a quarter less work); the failover
    /// primary must sit below a PCIe root port; `romfile=` saves the time of option ROMs.
    pub fn arguments(&self, options: &Options) -> Vec<String> {
        let n = self.number;
        let path = |name: &str| self.directory.join(name).display().to_string();
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-name", &format!("accelnet-lab-node{n}")]);
        add(&["-M", "q35,kernel-irqchip=split,vmport=off,usb=off,hpet=off"]);
        match self.accel {
            Accel::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
            Accel::Tcg => add(&[
                "-accel",
                "tcg,thread=multi,tb-size=512",
                "-cpu",
                cpu(options.smt),
            ]),
        }
        add(&["-smp", processors(self.accel, options.smt)]);
        add(&[
            "-m",
            &options.memory_mib.to_string(),
            "-nodefaults",
            "-no-user-config",
        ]);
        add(&["-vga", "none", "-display", "none"]);
        if options.iommu {
            add(&["-device", "intel-iommu,intremap=on"]);
        }
        add(&["-kernel", &self.kernel.display().to_string()]);
        add(&["-initrd", &self.initrd.display().to_string()]);
        add(&["-append", &kernel_arguments(self.lab, n, options)]);
        let log = path("console.log");
        let serial = path("serial");
        add(&[
            "-chardev",
            &format!("socket,id=ser,path={serial},server=on,wait=off,logfile={log}"),
        ]);
        add(&["-serial", "chardev:ser"]);
        add(&["-qmp", &format!("unix:{},server=on,wait=off", path("qmp"))]);
        add(&[
            "-drive",
            &format!(
                "file={},format=qcow2,if=none,id=d0,cache=writeback,discard=unmap",
                self.disk.display()
            ),
        ]);
        add(&["-device", "virtio-blk-pci,drive=d0"]);
        // QEMU takes a free port; see [`forwarded_port`].
        add(&["-netdev", "user,id=mg,hostfwd=tcp:127.0.0.1:0-:22"]);
        add(&[
            "-device",
            &format!("virtio-net-pci,netdev=mg,mac=52:54:00:aa:00:{n:02x},romfile="),
        ]);
        let share = self.share.display();
        add(&[
            "-virtfs",
            &format!("local,path={share},mount_tag=lab,security_model=none,readonly=on"),
        ]);
        add(&["-device", "virtio-rng-pci"]);
        // A slot with nothing in it, for a card that is emulated in the node (image/lab-card).
        add(&[
            "-device",
            "pcie-root-port,id=empty,chassis=9,slot=9,bus=pcie.0,addr=0x18",
        ]);
        for (i, wire) in self.wires.iter().enumerate() {
            let slot = i + 1;
            let acs = if i == 1 && options.second_adapter == SecondAdapter::NoAcs {
                ",disable-acs=on"
            } else {
                ""
            };
            add(&[
                "-device",
                &format!(
                    "pcie-root-port,id=rp{slot},chassis={slot},slot={slot},bus=pcie.0,addr=0x1{i}{acs}"
                ),
            ]);
            add(&["-netdev", &stream(&format!("w{i}"), wire)]);
            let mac = format!("52:54:00:bb:{i:02x}:{n:02x}");
            add(&[
                "-device",
                &format!("igb,netdev=w{i},bus=rp{slot},mac={mac},romfile="),
            ]);
        }
        if let Some(management) = self.management {
            add(&["-netdev", &stream("m0", management)]);
            // In a slot of its own, behind those that QEMU gives: the others' addresses stay as they are.
            add(&[
                "-device",
                &format!(
                    "virtio-net-pci,netdev=m0,mac=52:54:00:ab:00:{n:02x},bus=pcie.0,addr=0x8,romfile="
                ),
            ]);
        }
        args
    }
}

/// A cable: the end in the machine is called `id`, the other is a socket of the wire.
fn stream(id: &str, socket: &Path) -> String {
    let path = socket.display();
    format!("stream,id={id},server=off,reconnect-ms=200,addr.type=unix,addr.path={path}")
}

/// Emulated processors. With more than one, software emulation corrupts the memory of a node that runs
/// guests of its own: within minutes of guests booting its kernel crashes (seen with QEMU 10.0; not
/// once with one processor). Two threads are for checks of SMT only.
fn processors(accel: Accel, smt: bool) -> &'static str {
    match (accel, smt) {
        (Accel::Kvm, true) => "4,cores=2,threads=2",
        (Accel::Kvm, false) => "2",
        (Accel::Tcg, true) => "2,cores=1,threads=2",
        (Accel::Tcg, false) => "1",
    }
}

/// The emulated processor. With two threads it is the one that checks of SMT have always run on: no guest runs there,
/// which is what the others spare work for.
fn cpu(smt: bool) -> &'static str {
    match smt {
        true => "max,la57=off",
        false => "max,la57=off,erms=off,fsrm=off,fzrm=off,fsrs=off,fsrc=off",
    }
}

fn kernel_arguments(lab: &str, number: u8, options: &Options) -> String {
    let iommu = if options.iommu {
        "intel_iommu=on iommu=pt"
    } else {
        "intel_iommu=off"
    };
    // Server and agent are units of their own there.
    let cluster = if options.cluster.is_some() {
        " systemd.mask=accelnetd.service"
    } else {
        ""
    };
    let nodes = options.nodes;
    format!(
        "console=ttyS0 quiet loglevel=4 {iommu} mitigations=off nokaslr no_timer_check tsc=reliable \
         panic=-1 systemd.show_status=0 systemd.hostname=node{number} \
         systemd.machine_id={} lab.node={number} lab.nodes={nodes}{cluster}",
        machine_id(lab, number)
    )
}

/// Stays the same over restarts and differs between nodes (machine-id(5): 32 hexadecimal digits).
fn machine_id(lab: &str, number: u8) -> String {
    let hash = Sha256::digest(format!("accelnet-lab {lab} node{number}"));
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The port on loopback that leads to a node's sshd, from the monitor's `info usernet`: lines of
/// protocol and state, descriptor, source address and port, destination address and port, queues.
pub fn forwarded_port(table: &str) -> Option<u16> {
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines
        .find(|words| words.first() == Some(&"TCP[HOST_FORWARD]") && words.get(5) == Some(&"22"))?;
    line.get(3)?.parse().ok().filter(|port| *port != 0)
}

/// A connection to a machine's monitor (QMP).
#[derive(Debug)]
pub struct Qmp {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and negotiates.
    pub fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket)
            .with_context(|| format!("the machine behind {} does not run", socket.display()))?;
        writer.set_read_timeout(Some(Duration::from_secs(20)))?;
        let reader = BufReader::new(writer.try_clone()?);
        let mut qmp = Self { writer, reader };
        qmp.read()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.writer, "{request}")?;
        loop {
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {}", error["desc"]);
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self
            .reader
            .read_line(&mut line)
            .context("QEMU's monitor does not answer")?;
        if read == 0 {
            bail!("QEMU has ended");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_port_is_read() {
        let table = "Hub -1 (mg):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[ESTABLISHED]   13       127.0.0.1 50000       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]  12       127.0.0.1 45511       10.0.2.15    22     0     0\r
";
        assert_eq!(forwarded_port(table), Some(45511));
        assert_eq!(forwarded_port("Hub -1 (mg):\r\n"), None);
    }

    #[test]
    fn machine_ids_are_stable_and_distinct() {
        let id = machine_id("a", 1);
        assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()));
        assert_eq!(id, machine_id("a", 1));
        assert!(id != machine_id("a", 2) && id != machine_id("b", 1));
    }
}
