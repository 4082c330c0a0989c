//! Where the lab keeps things: images in the user's cache, a running lab in the runtime directory.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// Images: `$ACCELNET_LAB_CACHE`, else below `$XDG_CACHE_HOME`, else `~/.cache`.
pub fn cache() -> Result<PathBuf> {
    let path = if let Some(path) = std::env::var_os("ACCELNET_LAB_CACHE") {
        PathBuf::from(path)
    } else if let Some(path) = std::env::var_os("XDG_CACHE_HOME") {
        PathBuf::from(path).join("accelnet-lab")
    } else {
        let home = std::env::var_os("HOME").context("HOME is not set; set ACCELNET_LAB_CACHE")?;
        PathBuf::from(home).join(".cache/accelnet-lab")
    };
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Running labs of this user. Sockets live here, and their paths may have 107 bytes at most
/// (`sockaddr_un`, unix(7)), so it is kept short.
pub fn runtime_root() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(path) if path.len() < 40 => PathBuf::from(path).join("accelnet-lab"),
        _ => PathBuf::from(format!("/tmp/accelnet-lab-{uid}")),
    }
}

/// Creates a directory that only this user can enter, or makes sure that an existing one is ours.
pub fn create_private(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    let metadata = fs::symlink_metadata(path)?;
    let ours = metadata.is_dir() && metadata.uid() == rustix::process::getuid().as_raw();
    ensure!(
        ours,
        "{} belongs to somebody else; remove it",
        path.display()
    );
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    Ok(())
}
