//! Which driver hands a function to user space: vfio-pci, or a vendor's variant that does more
//! (`mlx5_vfio_pci` for ConnectX VFs).
//!
//! Variants say in `modules.alias` for which functions they are, with `vfio_pci:` where other drivers have
//! `pci:`, and are never taken by the kernel itself. Of those that fit a function the one with the fewest
//! wildcards is meant for it: Linux commit cc6711b0bf36 ("PCI / VFIO: Add 'override_only' support for VFIO
//! PCI sub system"), whose words libvirt follows too (src/util/virpci.c). vfio-pci fits everything.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use accelnet_model::PciAddress;

use super::{
    deadline, glob,
    sysfs::{self, Root},
};
use crate::{HostError, Result};

/// The module that takes every function.
const MODULE: &str = "vfio_pci";

/// Loading a module reads some files; a second is usual on a slow disk.
const MODPROBE_LIMIT: Duration = Duration::from_secs(30);

/// True if the driver is called so, or its module is: modules' names have `_` where drivers' may have `-`
/// (kernel: scripts/Makefile.lib, `name-fix`).
pub fn is(driver: &str, name: &str) -> bool {
    driver.replace('-', "_") == name.replace('-', "_")
}

/// The module whose driver is meant for a function.
pub fn module_for(root: &Root, function: PciAddress) -> Result<String> {
    let modalias = sysfs::read(&root.pci(function).join("modalias"))?;
    let kernel = sysfs::read(&root.path("proc/sys/kernel/osrelease"))?;
    // A kernel with all drivers built in, or a container, has no list.
    let list = match kernel {
        Some(kernel) => sysfs::read(&root.path(&format!("lib/modules/{kernel}/modules.alias")))?,
        None => None,
    };
    let found = modalias.zip(list).and_then(|(modalias, list)| {
        let device = modalias.strip_prefix("pci:")?;
        best(&list, device).map(str::to_owned)
    });
    Ok(found.unwrap_or_else(|| MODULE.to_owned()))
}

/// Of `alias vfio_pci:PATTERN MODULE` lines that fit the module whose pattern has the fewest wildcards.
fn best<'a>(list: &'a str, device: &str) -> Option<&'a str> {
    let lines = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next())
        else {
            return None;
        };
        Some((alias.strip_prefix("vfio_pci:")?, module))
    });
    let fitting = lines.filter(|(pattern, _)| glob::fits(pattern, device));
    let wildcards = |pattern: &str| pattern.bytes().filter(|byte| *byte == b'*').count();
    let best = fitting.min_by_key(|(pattern, _)| wildcards(pattern));
    best.map(|(_, module)| module)
}

/// The name of the module's driver, if it is there.
pub fn loaded(root: &Root, module: &str) -> Result<Option<String>> {
    let module = module.replace('-', "_");
    let own = sysfs::names(&root.path(&format!("sys/module/{module}/drivers")))?;
    let mut own = own.iter().filter_map(|name| name.strip_prefix("pci:"));
    if let Some(driver) = own.next() {
        return Ok(Some(driver.to_owned()));
    }
    // Built in, without parameters.
    let all = sysfs::names(&root.path("sys/bus/pci/drivers"))?;
    Ok(all.into_iter().find(|driver| is(driver, &module)))
}

/// Loads the module if its driver is not there; the driver's name.
pub fn ensure_loaded(root: &Root, module: &str) -> Result<String> {
    if let Some(driver) = loaded(root, module)? {
        return Ok(driver);
    }
    let operation = format!("modprobe {module}");
    let mut child = Command::new("modprobe")
        .args(["--", module])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| HostError::io(&operation, &error))?;
    let status = deadline::wait_for(&operation, MODPROBE_LIMIT, || {
        child
            .try_wait()
            .map_err(|error| HostError::io(&operation, &error))
    });
    if status.is_err() {
        // Out of time: end what we started, and reap it.
        child.kill().and_then(|()| child.wait()).ok();
    }
    let status = status?;
    loaded(root, module)?.ok_or_else(|| {
        HostError::Malformed(format!(
            "{operation}: the driver is not there afterwards ({status})"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fixture;

    const LIST: &str = "# Aliases extracted from modules themselves.\n\
        alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n\
        alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
        alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
        alias vfio_pci:v00008086d00004940sv*sd*bc*sc*i* qat_vfio_pci\n";

    #[test]
    fn the_pattern_with_the_fewest_wildcards_is_meant() {
        let mlx5 = "v000015B3d0000101Esv000015B3sd00000058bc02sc00i00";
        let igbvf = "v00008086d000010CAsv00001AF4sd00001100bc02sc00i00";
        assert_eq!(best(LIST, mlx5), Some("mlx5_vfio_pci"));
        assert_eq!(best(LIST, igbvf), Some("vfio_pci"));
        assert_eq!(best("alias vfio_pci:\nalias\n", igbvf), None);
    }

    #[test]
    fn without_a_list_it_is_vfio_pci() {
        let machine = fixture::mlx5();
        let vf: PciAddress = "0000:5e:00.3".parse().unwrap();
        assert_eq!(module_for(machine.root(), vf).unwrap(), "vfio_pci");
        machine.write("proc/sys/kernel/osrelease", "6.12.0\n");
        machine.write(
            "sys/bus/pci/devices/0000:5e:00.3/modalias",
            "pci:v000015B3d0000101Esv000015B3sd00000058bc02sc00i00\n",
        );
        assert_eq!(module_for(machine.root(), vf).unwrap(), "vfio_pci");
        machine.write("lib/modules/6.12.0/modules.alias", LIST);
        assert_eq!(module_for(machine.root(), vf).unwrap(), "mlx5_vfio_pci");
    }

    #[test]
    fn drivers_are_found_by_their_modules() {
        let machine = fixture::mlx5();
        let root = machine.root();
        assert_eq!(
            loaded(root, "vfio_pci").unwrap().as_deref(),
            Some("vfio-pci")
        );
        assert_eq!(loaded(root, "hisi_acc_vfio_pci").unwrap(), None);
        machine.directory("sys/module/hisi_acc_vfio_pci/drivers/pci:hisi-acc-vfio-pci");
        let driver = loaded(root, "hisi-acc-vfio-pci").unwrap();
        assert_eq!(driver.as_deref(), Some("hisi-acc-vfio-pci"));
    }
}
