//! A compressed archive that its owner alone can read, and that is there once it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use tar::{Builder, Header};

/// One that is written.
pub struct Archive {
    builder: Builder<GzEncoder<File>>,
    /// What all that is in it lies in.
    directory: String,
    target: PathBuf,
    part: Part,
    at: u64,
}

/// What is not whole yet; gone if it does not become so.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // It has its name already if it was kept.
        let _ = fs::remove_file(&self.0);
    }
}

impl Archive {
    /// Begins one beside its place.
    pub fn create(target: &Path, directory: String, at: Timestamp) -> io::Result<Self> {
        let mut part = target.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        Ok(Self {
            builder: Builder::new(GzEncoder::new(file, Compression::default())),
            directory,
            target: target.to_owned(),
            part: Part(part),
            at: u64::try_from(at.as_second()).unwrap_or(0),
        })
    }

    /// Adds a file.
    pub fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        let path = format!("{}/{name}", self.directory);
        self.builder.append_data(&mut header, path, text.as_bytes())
    }

    /// It is whole.
    pub fn finish(self) -> io::Result<()> {
        let file = self.builder.into_inner()?.finish()?;
        file.sync_all()?;
        fs::rename(&self.part.0, &self.target)
    }
}
