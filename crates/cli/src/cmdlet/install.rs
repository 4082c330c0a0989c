//! Commands with the cmdlets' names in a directory.
//!
//! Each is a script of `/bin/sh` that hands its words on unchanged. A script survives that the
//! directory is moved or copied, and that `accelnet` is moved to anywhere on the path; what is ours
//! is known by its second line, so that nothing else is ever overwritten or removed. PowerShell takes
//! names in any letters, a Linux shell does not: each is there in small letters too.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use accelnet_model::{Code, Problem};

use super::{nearest::STAND_INS, table::CMDLETS};

const MARK: &str = "# accelnet cmdlet: made by 'accelnet cmdlet install'";
/// More than this is no script of ours.
const SCRIPT_LIMIT_BYTES: u64 = 16 << 10;

/// The names of a cmdlet's commands.
fn names(cmdlet: &str) -> [String; 2] {
    [cmdlet.to_owned(), cmdlet.to_ascii_lowercase()]
}

/// The cmdlets, and what only says which of them to use.
fn all() -> impl Iterator<Item = &'static str> {
    let stand_ins = STAND_INS.iter().map(|one| one.name);
    CMDLETS.iter().map(|cmdlet| cmdlet.name).chain(stand_ins)
}

/// Puts commands for each cmdlet there; how many were made or changed.
///
/// # Errors
/// If something else has one of the names (nothing was changed then), or nothing can be written.
pub fn install(directory: &Path) -> Result<usize, Problem> {
    let program = std::env::current_exe().map_err(|error| failed(directory, &error))?;
    let Some(program) = program.to_str() else {
        let text = format!("{} is no text.", program.display());
        return Err(Problem::new(Code::InvalidArgument, text)
            .with_cure("Move accelnet to a path of letters."));
    };
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let mut wanted = Vec::new();
    let all = all().flat_map(|cmdlet| names(cmdlet).map(|name| (cmdlet, name)));
    for (cmdlet, name) in all {
        let path = directory.join(name);
        let script = script(program, cmdlet);
        match found(&path).map_err(|error| failed(&path, &error))? {
            Found::Other => {
                let text = format!("{} exists and is not ours.", path.display());
                let cure = "Choose another directory, or move the file away.";
                return Err(Problem::new(Code::InvalidArgument, text).with_cure(cure));
            }
            Found::Ours(present) if present == script => {}
            Found::Ours(_) | Found::Nothing => wanted.push((path, script)),
        }
    }
    for (path, script) in &wanted {
        write(path, script).map_err(|error| failed(path, &error))?;
    }
    Ok(wanted.len())
}

/// Removes what is ours; of how many cmdlets.
///
/// # Errors
/// If the directory cannot be read or written.
pub fn uninstall(directory: &Path) -> Result<usize, Problem> {
    fs::read_dir(directory).map_err(|error| failed(directory, &error))?;
    let mut removed = 0;
    for cmdlet in all() {
        let mut any = false;
        for name in names(cmdlet) {
            let path = directory.join(name);
            let found = found(&path).map_err(|error| failed(&path, &error))?;
            if let Found::Ours(_) = found {
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
                any = true;
            }
        }
        // Stand-ins are not counted: they are no cmdlets.
        let counts = CMDLETS.iter().any(|known| known.name == cmdlet);
        removed += usize::from(any && counts);
    }
    Ok(removed)
}

enum Found {
    Nothing,
    Ours(String),
    Other,
}

fn found(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(data) if !data.is_file() || data.len() > SCRIPT_LIMIT_BYTES => return Ok(Found::Other),
        Ok(_) => {}
    }
    let bytes = fs::read(path)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) if text.lines().nth(1) == Some(MARK) => Found::Ours(text),
        _ => Found::Other,
    })
}

/// The program where it was, else the one on the path. `--` keeps every word from being taken for an
/// option of `accelnet`.
fn script(program: &str, cmdlet: &str) -> String {
    let program = program.replace('\'', "'\\''");
    format!(
        "#!/bin/sh\n{MARK}\nprogram='{program}'\n[ -x \"$program\" ] || program=accelnet\n\
         exec \"$program\" cmdlet run {cmdlet} -- \"$@\"\n"
    )
}

/// Whole or not at all: a shell may be about to run it.
fn write(path: &Path, script: &str) -> io::Result<()> {
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&aside)?;
    let written = file
        .write_all(script.as_bytes())
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&aside);
    }
    written
}

fn failed(path: &Path, error: &io::Error) -> Problem {
    let text = format!("{}: {error}.", path.display());
    Problem::new(Code::InvalidArgument, text).with_cure("Name a directory that you may write to.")
}
