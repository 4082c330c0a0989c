//! `accelnetd hook`: what libvirt asks before a VM comes in on its VF, by a live migration or from a saved file.
//!
//! libvirt calls its hooks at many moments and waits for each; the script that is installed asks us at two of them and
//! passes all others at once. A definition that names no VF of ours passes unchanged. For one that does, the agent
//! keeps a free VF of this node, and the definition is told to name that one: QEMU finds it taken and plugs none while
//! the VM stands still; when the VM runs here it is given a VF as any other. Without a VF the answer is no, with the
//! reason for whoever migrates, and the VM goes on where it is.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use accelnet_api::incoming::{HOST_PATH, IncomingVm, KeptVfs};
use accelnet_hypervisor::libvirt::incoming;
use accelnet_model::{Code, MacAddr, PciAddress, Problem};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::ask_host::ask_host;

/// Agent and server have 5 s each; what takes longer is no answer.
const LIMIT: Duration = Duration::from_secs(12);

#[derive(Debug, Subcommand)]
pub enum Hook {
    /// Install it; libvirt's daemon has to be restarted once.
    Install(Place),
    /// Take it away again.
    Remove(Place),
    /// What libvirt calls: the definition comes by standard input, and leaves by standard output if it changes.
    #[command(hide = true)]
    Call(Call),
}

#[derive(Debug, Args)]
pub struct Place {
    /// libvirt's directory of hooks.
    #[arg(
        long,
        default_value = accelnet_host::linux::hook::DIRECTORY,
        value_name = "DIR"
    )]
    hooks: PathBuf,
}

#[derive(Debug, Args)]
pub struct Call {
    /// Socket of the agent.
    #[arg(long, env = "ACCELNET_SOCKET", default_value = accelnet_api::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The VM's name.
    vm: String,
    /// What is done: migrate, restore.
    operation: String,
    /// How far it is: begin.
    suboperation: String,
    /// More that libvirt says.
    extra: Vec<String>,
}

/// Runs it.
pub fn run(hook: &Hook) -> Result<()> {
    match hook {
        Hook::Install(place) => install(&place.hooks),
        Hook::Remove(place) => remove(&place.hooks),
        Hook::Call(call) => self::call(call),
    }
}

fn script(program: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         # libvirt asks accelnet before a VM comes in on its VF. Written by 'accelnetd hook install'.\n\
         [ -x '{program}' ] || exit 0\n\
         case \"$2 $3\" in\n\
         'migrate begin' | 'restore begin') exec '{program}' hook call -- \"$@\" ;;\n\
         esac\n",
        program = program.display()
    )
}

fn install(hooks: &Path) -> Result<()> {
    let program = std::env::current_exe().context("where this program is cannot be told")?;
    let path = hooks.join(accelnet_host::linux::hook::FILE);
    let shown = path.display();
    let text = script(&program);
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        writeln!(io::stdout(), "{shown} is there already.")?;
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    // Into the same file: that it was there before libvirt's daemon began shows by its age.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&path)
        .with_context(|| format!("{shown} cannot be written"))?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()?;
    writeln!(
        io::stdout(),
        "{shown} is there.\n\nNext, as libvirt looks for hooks at its start only (VMs go on meanwhile):\n  \
         systemctl restart libvirtd      or virtqemud, where that is what runs"
    )?;
    Ok(())
}

/// Takes the hook away, if it is there.
pub fn remove(hooks: &Path) -> Result<()> {
    let path = hooks.join(accelnet_host::linux::hook::FILE);
    let shown = path.display();
    match fs::remove_file(&path) {
        Ok(()) => writeln!(io::stdout(), "{shown} is gone.")?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            writeln!(io::stdout(), "{shown} is not there.")?;
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{shown} cannot be removed"));
        }
    }
    Ok(())
}

fn call(call: &Call) -> Result<()> {
    let comes = matches!(call.operation.as_str(), "migrate" | "restore");
    if !comes || call.suboperation != "begin" {
        return Ok(());
    }
    let mut definition = String::new();
    io::stdin()
        .read_to_string(&mut definition)
        .context("libvirt gave no definition")?;
    let vm = match incoming::read(&definition) {
        Ok(None) => return Ok(()),
        Ok(Some(vm)) => vm,
        // It is libvirt's, and will be libvirt's to refuse.
        Err(error) => {
            tracing::warn!(vm = call.vm, %error, "the definition passes as it is");
            return Ok(());
        }
    };
    match ask(&call.socket, vm) {
        Ok(kept) => {
            let changed = incoming::with_vfs(&definition, &kept)?;
            io::stdout().write_all(changed.as_bytes())?;
            Ok(())
        }
        // Where nobody answers, what was saved is worth more than that it comes in unseen: the agent takes off it
        // what it must not have as soon as it is there.
        Err(problem) if call.operation == "restore" && is_silence(problem.code) => {
            tracing::warn!(vm = call.vm, %problem, "the definition passes as it is");
            Ok(())
        }
        Err(problem) => bail!("accelnet: {} {}", problem.detail, problem.cure),
    }
}

fn is_silence(code: Code) -> bool {
    matches!(code, Code::ServerNotRunning | Code::AgentUnreachable)
}

fn ask(socket: &Path, vm: incoming::Incoming) -> Result<Vec<(MacAddr, PciAddress)>, Problem> {
    let asked = IncomingVm {
        uuid: vm.uuid,
        name: vm.name,
        nics: vm.nics,
    };
    let kept: KeptVfs = ask_host(socket, HOST_PATH, &asked, LIMIT).map_err(|problem| {
        match problem.code {
            Code::AgentUnreachable => problem.with_cure(
                "Start accelnetd on this node, or take the VM off its VF first ('accelnet vm park').",
            ),
            _ => problem,
        }
    })?;
    let kept = kept.vfs.into_iter();
    Ok(kept.map(|kept| (kept.nic, kept.vf)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_installed_once_and_removed() {
        let hooks = tempfile::tempdir().unwrap();
        let path = hooks.path().join(accelnet_host::linux::hook::FILE);
        for _ in 0..2 {
            install(hooks.path()).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
        for _ in 0..2 {
            remove(hooks.path()).unwrap();
            assert!(!path.exists());
        }
    }

    /// Only the two moments reach the program, with all that libvirt says; all others pass, also without it.
    #[test]
    fn all_other_moments_pass_at_once() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("accelnetd");
        let hook = place.path().join("hook");
        fs::write(&hook, script(&program)).unwrap();
        let run = |words: &[&str]| {
            let ended = std::process::Command::new("sh")
                .arg(&hook)
                .args(words)
                .output();
            let ended = ended.unwrap();
            (
                ended.status.code(),
                String::from_utf8(ended.stdout).unwrap(),
            )
        };
        let passes = (Some(0), String::new());
        assert_eq!(run(&["vm1", "migrate", "begin", "-"]), passes, "no program");
        fs::write(&program, "#!/bin/sh\necho \"$@\"; exit 3\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        for other in [
            "prepare begin -",
            "start begin -",
            "migrate end -",
            "stopped end -",
        ] {
            let words: Vec<&str> = ["vm 1"].into_iter().chain(other.split(' ')).collect();
            assert_eq!(run(&words), passes, "{other}");
        }
        for operation in ["migrate", "restore"] {
            let said = format!("hook call -- vm 1 {operation} begin -\n");
            assert_eq!(run(&["vm 1", operation, "begin", "-"]), (Some(3), said));
        }
    }
}
