//! The node's kernel module that takes back the emulated card's echo (`image/lab-echo/lab_echo.c` says
//! why), built against the headers of the node's own kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::shell;

const SOURCE: &str = include_str!("../../image/lab-echo/lab_echo.c");
const KBUILD: &str = include_str!("../../image/lab-echo/Kbuild");

/// What the module depends on, for the image's checksum.
pub fn inputs() -> String {
    format!("{SOURCE}\n{KBUILD}\n")
}

/// Builds it with the headers whose packages (`linux-headers-*`, `linux-kbuild-*`) are in `packages`,
/// and puts it below `root`. The packages are removed.
pub fn build(packages: &Path, release: &str, scratch: &Path, root: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(scratch);
    let (headers, module) = (scratch.join("headers"), scratch.join("module"));
    fs::create_dir_all(&headers)?;
    fs::create_dir_all(&module)?;
    for package in packages_in(packages)? {
        shell::run(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(&package)
                .arg(&headers),
        )?;
        fs::remove_file(package)?;
    }
    let kernel = headers.join(format!("usr/src/linux-headers-{release}"));
    // They are not installed where they think they are (Debian's names its common part by a whole path).
    let makefile = kernel.join("Makefile");
    let text = fs::read_to_string(&makefile)
        .with_context(|| format!("there are no headers of kernel {release}"))?;
    let below = format!("include {}/usr/src/", headers.display());
    // It may be a link, as it is in Ubuntu's, whose common part is a whole tree of its own.
    if text.contains("include /usr/src/") {
        fs::write(&makefile, text.replace("include /usr/src/", &below))?;
    }
    // With it, type information would be made too, which takes another tool.
    let _ = fs::remove_file(kernel.join("vmlinux"));
    fs::write(module.join("lab_echo.c"), SOURCE)?;
    fs::write(module.join("Kbuild"), KBUILD)?;
    let mut make = Command::new("make");
    make.arg("-s").arg("-C").arg(&kernel);
    make.arg(format!("M={}", module.display()));
    shell::run(make.args(["CC=gcc", "modules"]))
        .context("the node's module against the card's echo cannot be built")?;
    let target = root.join("usr/local/lib/lab_echo.ko");
    fs::create_dir_all(target.parent().context("no parent")?)?;
    fs::copy(module.join("lab_echo.ko"), target)?;
    fs::remove_dir_all(scratch)?;
    Ok(())
}

fn packages_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-") {
            found.push(path);
        }
    }
    Ok(found)
}
