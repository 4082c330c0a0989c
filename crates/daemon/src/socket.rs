//! The local administrator's socket: root and group `accelnet`.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Group;
use rustix::io::Errno;
use tokio::net::UnixListener;

use crate::lock;

/// The group whose members may connect.
const GROUP: &str = "accelnet";
/// Owner and group may connect (connecting needs the right to write).
const MODE: u32 = 0o660;

/// A socket that is listened on; gone from the file system when dropped.
#[derive(Debug)]
pub struct Socket {
    /// For the server.
    pub listener: UnixListener,
    /// Removes it at the end.
    pub path: RemovedAtEnd,
}

/// A path that is removed when this is dropped.
#[derive(Debug)]
pub struct RemovedAtEnd {
    path: PathBuf,
    /// Held until the path is gone, so that nobody else takes the path, or has it taken, meanwhile.
    _turn: lock::Held,
}

impl Drop for RemovedAtEnd {
    fn drop(&mut self) {
        // At worst a stale one is left, which the next start replaces.
        let _ = fs::remove_file(&self.path);
    }
}

/// The right to make and remove the socket. Without it two daemons that start at once could each take the other's
/// new socket for one left over.
fn turn(path: &Path) -> Result<lock::Held> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    lock::take(Path::new(&name), |who| {
        let path = path.display();
        format!("another accelnetd has {path}: {who}; stop it first, or choose another --socket")
    })
}

/// Listens on `path`. A socket that nobody answers on is left over and replaced; one that somebody
/// answers on is another daemon's, and what is no socket is not ours.
pub fn listen(path: &Path) -> Result<Socket> {
    let shown = path.display();
    let turn = turn(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) => {
            let is_socket = found.file_type().is_socket();
            ensure!(is_socket, "{shown} is in the way: it is no socket");
            remove_stale(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {shown}"))?;
    let socket = Socket {
        listener,
        path: RemovedAtEnd {
            path: path.to_owned(),
            _turn: turn,
        },
    };
    if let Some(group) = group_id()? {
        match rustix::fs::chown(path, None, Some(rustix::fs::Gid::from_raw(group))) {
            // A server that has no rights on its host, and is not of the group itself (chown(2)).
            Err(Errno::PERM) => tracing::info!("{shown} is for root only, not for group {GROUP}"),
            given => given.with_context(|| format!("cannot give {shown} to group {GROUP}"))?,
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .with_context(|| format!("cannot set the rights of {shown}"))?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> Result<()> {
    let shown = path.display();
    match UnixStream::connect(path) {
        Ok(_) => {
            bail!("another accelnetd answers on {shown}; stop it first, or choose another --socket")
        }
        // Nobody listens (connect(2)), or it went meanwhile.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) => {}
        Err(error) => return Err(error).with_context(|| format!("{shown} is in use")),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the stale {shown}"))
        }
        _ => Ok(()),
    }
}

/// Of whatever source the machine has groups from (nsswitch.conf(5)); a machine without the group lets
/// only root in.
fn group_id() -> Result<Option<u32>> {
    let group = Group::from_name(GROUP).with_context(|| format!("cannot look up group {GROUP}"))?;
    Ok(group.map(|group| group.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As after a crash: the file is there, and nobody listens.
    fn leave_over(path: &Path) {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        // A process that another test forks just now has the listener too, until it runs its program.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while UnixStream::connect(path).is_ok() {
            assert!(std::time::Instant::now() < until, "somebody listens");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/accelnet.sock");
        let first = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let error = listen(&path).unwrap_err().to_string();
        assert!(error.contains("another accelnetd"), "{error}");
        drop(first);
        assert!(!path.exists());
        leave_over(&path);
        let second = listen(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_one_listens_and_can_be_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accelnet.sock");
        // One is left over, which all of them would replace.
        leave_over(&path);
        let starts = (0..16).map(|_| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || listen(&path))
        });
        let starts: Vec<_> = starts.collect();
        let mut sockets = Vec::new();
        for start in starts {
            sockets.extend(start.await.unwrap().ok());
        }
        assert_eq!(sockets.len(), 1);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn groups_are_those_of_the_machine() {
        // Its absence is no error, and root's is there wherever groups come from.
        assert!(group_id().is_ok());
        assert_eq!(Group::from_name("root").unwrap().unwrap().gid.as_raw(), 0);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        let error = listen(&path).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
