//! `accelnet admin …`

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use accelnet_api::{
    ClientError,
    backup::{Backup, BackupHeader},
};
use accelnet_model::{Code, Problem, problem::exit};
use serde::Serialize;

use crate::{
    args::AdminCommand,
    call::{Call, Ended},
    output::{self, printable},
};

/// What was saved.
#[derive(Debug, Serialize)]
struct Saved {
    file: PathBuf,
    sha256: String,
    #[serde(flatten)]
    header: BackupHeader,
}

/// Runs one `admin` command.
pub async fn run(call: &Call, command: &AdminCommand) -> Ended {
    let AdminCommand::Backup { file } = command;
    if file.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        save(call, file, &mut out).await?;
        return Ok(exit::OK);
    }
    let part = Part::beside(file)?;
    let backup = save(call, file, &mut &part.file).await?;
    part.keep(file)?;
    let saved = Saved {
        file: file.clone(),
        sha256: backup.sha256,
        header: backup.header,
    };
    output::print(call.format, &saved, text);
    Ok(exit::OK)
}

fn text(saved: &Saved) -> String {
    let file = saved.file.display().to_string();
    let holds = saved.header.holds.iter();
    let holds: Vec<String> = holds.map(|what| format!("  {}", printable(what))).collect();
    format!(
        "Saved in {}, readable by you alone. It holds:\n{}\nTo put it back: accelnetd restore --help",
        printable(&file),
        holds.join("\n")
    )
}

async fn save(call: &Call, file: &Path, out: &mut impl Write) -> Result<Backup, ClientError> {
    let backup = call.client.backup(|bytes| {
        out.write_all(bytes)
            .map_err(|error| unwritable(file, &error).into())
    });
    let backup = backup.await?;
    out.flush().map_err(|error| unwritable(file, &error))?;
    Ok(backup)
}

fn unwritable(file: &Path, error: &io::Error) -> Problem {
    let text = format!("{} cannot be written: {error}.", file.display());
    Problem::new(Code::InvalidArgument, text)
        .with_cure("Name a file in a directory that you may write to, with room for it.")
}

/// A file that is not whole yet, beside the one that it becomes; gone if it does not.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn beside(target: &Path) -> Result<Self, Problem> {
        let mut path = target.as_os_str().to_owned();
        path.push(format!(".{}.part", std::process::id()));
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| unwritable(target, &error))?;
        Ok(Self { file, path })
    }

    fn keep(self, target: &Path) -> Result<(), Problem> {
        let kept = self.file.sync_all();
        let kept = kept.and_then(|()| fs::rename(&self.path, target));
        kept.map_err(|error| unwritable(target, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has its name already if it was kept.
        let _ = fs::remove_file(&self.path);
    }
}
