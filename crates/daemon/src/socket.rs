//! The local administrator's socket: root and group `accelnet`.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
};

use anyhow::{Context, Result, bail};
use tokio::net::UnixListener;

/// The group whose members may connect.
const GROUP: &str = "accelnet";

/// Listens on `path`. A socket that nobody answers on is left over and replaced; one that somebody
/// answers on is another daemon's.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let shown = path.display();
    if UnixStream::connect(path).is_ok() {
        bail!("another accelnetd answers on {shown}; stop it first, or choose another --socket");
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{shown} is in the way"));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {shown}"))?;
    if let Some(group) = group_id() {
        rustix::fs::chown(path, None, Some(rustix::fs::Gid::from_raw(group)))
            .with_context(|| format!("cannot give {shown} to group {GROUP}"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// From `/etc/group` (group(5)); a machine without the group lets only root in.
fn group_id() -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let line = groups
        .lines()
        .find(|line| line.split(':').next() == Some(GROUP))?;
    line.split(':').nth(2)?.parse().ok()
}
