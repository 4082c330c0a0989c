//! Where a tap is that libvirt only opened: the kernel tells.

use std::{fs, io, path::Path};

use accelnet_model::IfName;

/// The interface that a tap is a port of (`/sys/class/net/TAP/master`, a link: kernel, net/core/dev.c,
/// `netdev_adjacent_sysfs_add`); `None` if it is in nothing, or does not exist now.
pub fn master(tap: &IfName) -> Option<IfName> {
    of(&format!("/sys/class/net/{tap}/master"))
}

fn of(link: &str) -> Option<IfName> {
    match fs::read_link(Path::new(link)) {
        Ok(to) => to.file_name()?.to_str()?.parse().ok(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, link, "a VM's tap cannot be looked at");
            }
            None
        }
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
        assert_eq!(found, "br0".parse().ok());
        assert_eq!(of(link.to_str().unwrap()), None);
    }
}
