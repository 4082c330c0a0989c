//! vfio: who holds a VF, binding one to a driver for it, and the vectors its user has enabled.

use std::{collections::BTreeMap, fs, time::Duration};

use accelnet_model::{DriverName, Interrupts, PciAddress, VfUser, adapter::is_vfio};

use super::{
    deadline, pci,
    sysfs::{self, Root},
    vfio_driver,
};
use crate::{HostError, Result};

/// Binding resets the function, which may take a second (PCIe: a function has 1 s after a reset).
const BIND_LIMIT: Duration = Duration::from_secs(10);

/// Whether a function on vfio-pci is open: the driver enables the PCI device with the first open and
/// disables it with the last close (drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_core_enable`). It
/// costs one small file, where [`Openers::scan`] looks at every descriptor of every process. None
/// if the kernel does not say.
pub fn is_open(root: &Root, vf: PciAddress) -> Result<Option<bool>> {
    let enabled = sysfs::parse::<u32>(&root.pci(vf).join("enable"))?;
    Ok(enabled.map(|count| count != 0))
}

/// Processes that have vfio files open.
#[derive(Debug, Default)]
pub struct Openers(BTreeMap<String, (u32, String)>);

impl Openers {
    /// Looks through the file descriptors of all processes. Processes that end meanwhile, or that
    /// may not be looked at, are left out.
    pub fn scan(root: &Root) -> Result<Self> {
        let mut openers = BTreeMap::new();
        for pid in sysfs::names(&root.path("proc"))? {
            let Ok(number) = pid.parse::<u32>() else {
                continue;
            };
            let descriptors = root.path(&format!("proc/{pid}/fd"));
            let names = match sysfs::names(&descriptors) {
                Err(error) if error.errno() == Some(libc::EACCES) => continue,
                other => other?,
            };
            for descriptor in names {
                let Ok(target) = fs::read_link(descriptors.join(descriptor)) else {
                    continue;
                };
                // A process in a mount namespace of its own (libvirt's QEMU) may see /dev
                // elsewhere: the end of the path counts.
                let target = target.to_string_lossy();
                let Some((_, name)) = target.rsplit_once("/vfio/") else {
                    continue;
                };
                openers
                    .entry(name.to_owned())
                    .or_insert_with(|| (number, command(root, number)));
            }
        }
        Ok(Self(openers))
    }

    /// Who holds `vf`, which is bound to `driver`.
    pub fn user(&self, root: &Root, vf: PciAddress, driver: Option<&str>) -> Result<VfUser> {
        Ok(match driver {
            // pci-stub exists to keep others away.
            None | Some("pci-stub") => VfUser::Nobody,
            Some(driver) if is_vfio(driver) => match self.process(root, vf)? {
                Some(process) => process,
                // Held by a process of another PID namespace, or one that may not be looked at.
                None if is_open(root, vf)? == Some(true) => VfUser::Process {
                    pid: 0,
                    command: "a process that cannot be seen from here".into(),
                },
                None => VfUser::Nobody,
            },
            Some(driver) => VfUser::HostDriver {
                driver: driver.to_owned(),
            },
        })
    }

    /// The group's file `/dev/vfio/N`, or with iommufd the device's own `/dev/vfio/devices/vfioN`.
    fn process(&self, root: &Root, vf: PciAddress) -> Result<Option<VfUser>> {
        let group = pci::iommu_group(root, vf)?.map(|group| group.to_string());
        let devices = sysfs::names(&root.pci(vf).join("vfio-dev"))?;
        let devices = devices.iter().map(|name| format!("devices/{name}"));
        let mut names = group.into_iter().chain(devices);
        let opener = names.find_map(|name| self.0.get(&name));
        Ok(opener.map(|(pid, command)| VfUser::Process {
            pid: *pid,
            command: command.clone(),
        }))
    }
}

/// `/proc/PID/comm`, which the process itself chose: without control characters.
fn command(root: &Root, pid: u32) -> String {
    let text = sysfs::read(&root.path(&format!("proc/{pid}/comm")));
    // It ended meanwhile, or is not to be looked at: its number is enough.
    let text = text.ok().flatten().unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).collect()
}

/// One VF's user now.
pub fn user(root: &Root, vf: PciAddress) -> Result<VfUser> {
    let driver = pci::driver(root, vf)?;
    let openers = match driver.as_deref() {
        Some(driver) if is_vfio(driver) => Openers::scan(root)?,
        _ => Openers::default(),
    };
    openers.user(root, vf, driver.as_deref())
}

/// A user in words; None for nobody.
pub fn in_words(user: &VfUser) -> Option<String> {
    match user {
        VfUser::Nobody => None,
        VfUser::Process { pid: 0, command } => Some(command.clone()),
        VfUser::Process { pid, command } => Some(format!("{command} (pid {pid})")),
        VfUser::Reserved => Some("the agent, for a VM that comes in".into()),
        VfUser::HostDriver { driver } => Some(format!("host driver {driver}")),
        VfUser::Others { why } => Some(why.clone()),
    }
}

/// Interrupts by function, from the vfio entries of `/proc/interrupts`. Their names are
/// `vfio-msix[N](ADDRESS)`, `vfio-msi[N](ADDRESS)` and `vfio-intx(ADDRESS)`
/// (drivers/vfio/pci/vfio_pci_intrs.c); before them stands how often each processor took one.
pub fn interrupts(text: &str) -> BTreeMap<PciAddress, Interrupts> {
    let mut found: BTreeMap<PciAddress, Interrupts> = BTreeMap::new();
    for line in text.lines() {
        let Some((before, name)) = line.rsplit_once("vfio-") else {
            continue;
        };
        let address = name
            .rsplit_once('(')
            .and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
        let Some(address) = address else { continue };
        let counts = before.split_once(':').map_or("", |(_, counts)| counts);
        let counts = counts.split_ascii_whitespace();
        let counts = counts.map_while(|count| count.parse::<u64>().ok());
        let of = found.entry(address).or_default();
        of.vectors += 1;
        of.fired = counts.fold(of.fired, u64::saturating_add);
    }
    found
}

/// Vectors alone.
pub fn vectors(text: &str) -> BTreeMap<PciAddress, u32> {
    let found = interrupts(text).into_iter();
    found.map(|(pci, of)| (pci, of.vectors)).collect()
}

/// [`interrupts`] of the machine.
pub fn observe_interrupts(root: &Root) -> Result<BTreeMap<PciAddress, Interrupts>> {
    Ok(interrupts(&read_interrupts(root)?))
}

/// [`vectors`] of the machine.
pub fn observe_vectors(root: &Root) -> Result<BTreeMap<PciAddress, u32>> {
    Ok(vectors(&read_interrupts(root)?))
}

fn read_interrupts(root: &Root) -> Result<String> {
    let file = "proc/interrupts";
    let text = sysfs::read(&root.path(file))?;
    text.ok_or_else(|| HostError::Malformed(format!("/{file} does not exist")))
}

/// True if vfio-pci is loaded or built in, or `modprobe` would find it.
pub fn available(root: &Root, kernel: &str) -> Result<bool> {
    if vfio_driver::loaded(root, "vfio_pci")?.is_some() {
        return Ok(true);
    }
    for list in ["modules.dep", "modules.builtin"] {
        let list = root.path(&format!("lib/modules/{kernel}/{list}"));
        let text = sysfs::read(&list)?.unwrap_or_default();
        let mut modules = text.lines().map(|line| {
            let module = line.split(':').next().unwrap_or_default();
            module.rsplit('/').next().unwrap_or_default()
        });
        if modules.any(|file| matches!(file.split('.').next(), Some("vfio-pci" | "vfio_pci"))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// See [`crate::Host::ensure_vf_vfio`].
pub fn ensure_bound(root: &Root, vf: PciAddress, wanted: Option<&DriverName>) -> Result<()> {
    ensure_bound_by(root, vf, wanted, &sysfs::write)
}

/// [`ensure_bound`] by another way to write.
pub fn ensure_bound_by(
    root: &Root,
    vf: PciAddress,
    wanted: Option<&DriverName>,
    write: sysfs::Write<'_>,
) -> Result<()> {
    let directory = root.pci(vf);
    if !directory.exists() {
        return Err(HostError::Gone(format!("PCI function {vf}")));
    }
    let Some(pf) = sysfs::link_to(&directory.join("physfn"))? else {
        return Err(HostError::Malformed(format!(
            "{vf} is no virtual function: it is left alone"
        )));
    };
    let driver = pci::driver(root, vf)?;
    if driver.as_deref().is_some_and(|driver| {
        is_vfio(driver) && wanted.is_none_or(|wanted| vfio_driver::is(driver, wanted.as_str()))
    }) {
        return Ok(());
    }
    // A driver that is asked to let go waits until nobody has the function open.
    if driver.as_deref().is_some_and(is_vfio)
        && let Some(user) = in_words(&user(root, vf)?)
    {
        let users = vec![format!("VF {vf}: {user}")];
        return Err(HostError::VfsInUse { pf, users });
    }
    let module = match wanted {
        Some(wanted) => wanted.to_string(),
        None => vfio_driver::module_for(root, vf)?,
    };
    let wanted = vfio_driver::ensure_loaded(root, &module)?;
    let operation = format!("bind {vf} to {wanted}");
    write(&directory.join("driver_override"), &wanted, &operation)?;
    if let Some(driver) = driver {
        let operation = format!("take {vf} from driver {driver}");
        let unbind = directory.join("driver/unbind");
        write(&unbind, &vf.to_string(), &operation)?;
    }
    let probe = root.path("sys/bus/pci/drivers_probe");
    write(&probe, &vf.to_string(), &operation)?;
    // Another process's udev rule may bind at the same moment: the probe's own result is not all.
    let bound = deadline::wait_for(&operation, BIND_LIMIT, || {
        Ok(pci::driver(root, vf)?.filter(|driver| *driver == wanted))
    });
    match bound {
        Err(HostError::Deadline { .. }) => {}
        other => return other.map(drop),
    }
    Err(HostError::NotAsAsked {
        operation,
        wanted,
        found: match (pci::driver(root, vf)?, pci::iommu_group(root, vf)?) {
            (Some(driver), _) => driver,
            // vfio-pci takes no function without a group, and the probe does not say so.
            (None, None) => "no driver, for want of an IOMMU group".into(),
            (None, Some(_)) => "no driver".into(),
        },
    })
}

/// See [`crate::Host::reset_vf`].
pub fn reset(root: &Root, vf: PciAddress) -> Result<()> {
    let directory = root.pci(vf);
    if !directory.exists() {
        return Err(HostError::Gone(format!("PCI function {vf}")));
    }
    let Some(pf) = sysfs::link_to(&directory.join("physfn"))? else {
        return Err(HostError::Malformed(format!(
            "{vf} is no virtual function: it is left alone"
        )));
    };
    if let Some(user) = in_words(&user(root, vf)?) {
        return Err(HostError::VfsInUse {
            pf,
            users: vec![format!("VF {vf}: {user}")],
        });
    }
    let operation = format!("reset VF {vf}");
    let reset = directory.join("reset");
    if !reset.exists() {
        return Err(HostError::kernel(operation, libc::EOPNOTSUPP, None));
    }
    sysfs::write(&reset, "1", &operation)
}

#[cfg(test)]
mod tests;
