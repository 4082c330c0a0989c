//! The node's kernel modules that are ours, built against the headers of the node's own kernel:
//!
//! | module | what |
//! |---|---|
//! | `lab_echo` | takes back the emulated card's echo (`image/lab-echo/lab_echo.c` says why) |
//! | `lab_card` | a card with many VFs that carries no frames (`image/lab-card/lab_card.c`) |
//! | `lab_card_vfio` | the vfio driver made for its VFs, a "variant driver" |

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::shell;

/// What they are built from.
const SOURCES: &[(&str, &str)] = &[
    (
        "lab_echo.c",
        include_str!("../../image/lab-echo/lab_echo.c"),
    ),
    (
        "lab_card.c",
        include_str!("../../image/lab-card/lab_card.c"),
    ),
    (
        "lab_card.h",
        include_str!("../../image/lab-card/lab_card.h"),
    ),
    (
        "lab_card_vfio.c",
        include_str!("../../image/lab-card/lab_card_vfio.c"),
    ),
    ("Kbuild", "obj-m := lab_echo.o lab_card.o lab_card_vfio.o\n"),
];

const MODULES: [&str; 3] = ["lab_echo.ko", "lab_card.ko", "lab_card_vfio.ko"];

/// What the modules depend on, for the image's checksum.
pub fn inputs() -> String {
    let files = SOURCES.iter();
    files
        .map(|(name, text)| format!("{name}\n{text}\n"))
        .collect()
}

/// Builds them with the headers whose packages (`linux-headers-*`, `linux-kbuild-*`) are in `packages`,
/// and adds them to the modules below `root`. The packages are removed.
pub fn build(packages: &Path, release: &str, scratch: &Path, root: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(scratch);
    let (headers, place) = (scratch.join("headers"), scratch.join("modules"));
    fs::create_dir_all(&headers)?;
    fs::create_dir_all(&place)?;
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
    for (name, text) in SOURCES {
        fs::write(place.join(name), text)?;
    }
    let mut make = Command::new("make");
    make.arg("-s").arg("-C").arg(&kernel);
    make.arg(format!("M={}", place.display()));
    shell::run(make.args(["CC=gcc", "modules"]))
        .context("the node's own kernel modules cannot be built")?;
    // Where modules are looked for that no kernel's package has (depmod.d(5), "updates").
    let target = root.join("lib/modules").join(release).join("updates");
    fs::create_dir_all(&target)?;
    for module in MODULES {
        fs::copy(place.join(module), target.join(module))?;
    }
    shell::run(Command::new("depmod").arg("-b").arg(root).arg(release))?;
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
