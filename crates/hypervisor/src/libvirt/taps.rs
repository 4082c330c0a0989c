//! Where a tap is that libvirt only opened: the kernel tells.

use std::{fs, io, path::Path};

use accelnet_model::IfName;

use crate::{HypervisorError, Result};

/// The interface that a tap is a port of (`/sys/class/net/TAP/master`, a link: kernel, net/core/dev.c,
/// `netdev_adjacent_sysfs_add`); `None` if it is in nothing, or does not exist now.
///
/// # Errors
/// If that cannot be seen: then its VM is not.
pub fn master(tap: &IfName) -> Result<Option<IfName>> {
    of(&format!("/sys/class/net/{tap}/master"))
}

fn of(link: &str) -> Result<Option<IfName>> {
    let unseen = |message: String| HypervisorError::Refused {
        operation: format!("look at {link}"),
        message,
    };
    match fs::read_link(Path::new(link)) {
        Ok(to) => {
            let name = to.file_name().and_then(|name| name.to_str());
            let name = name.and_then(|name| name.parse().ok());
            name.map(Some)
                .ok_or_else(|| unseen(format!("it leads to {}", to.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unseen(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tap_s_bridge_is_what_the_kernel_s_link_names() {
        let link = std::env::temp_dir().join(format!("accelnet-tap-{}", std::process::id()));
        symlink("../../br0", &link).unwrap();
        let found = of(link.to_str().unwrap());
        fs::remove_file(&link).unwrap();
        assert_eq!(found.unwrap(), "br0".parse().ok());
        assert_eq!(of(link.to_str().unwrap()).unwrap(), None);
        // What is no link says nothing, and is no absence.
        fs::write(&link, "").unwrap();
        let unseen = of(link.to_str().unwrap());
        fs::remove_file(&link).unwrap();
        assert!(unseen.is_err());
    }
}
