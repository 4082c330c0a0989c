use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use clap::Parser;
use flate2::read::GzDecoder;

use super::*;
use crate::{
    args::{Args, Format},
    place,
};

/// No text has it by chance.
const SECRET: &str = "q7Zr2LkV9xT4mB8nW1cY6hJ3";

fn call() -> Call {
    let args = Args::try_parse_from(["accelnet", "--socket", "/nonexistent/socket", "status"]);
    Call {
        client: place::client(&args.unwrap().place).unwrap(),
        format: Format::Json,
    }
}

/// A host of accelnet's with a secret in each place that one could be in.
fn host(place: &Path) -> Host {
    let root = place.join("root");
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("SECRET", SECRET)).unwrap();
    };
    write("etc/os-release", "PRETTY_NAME=x\nTOKEN=SECRET\n");
    write("proc/version", "Linux\n");
    write("proc/cmdline", "iommu=pt password=SECRET quiet\n");
    write("proc/modules", "vfio 1\n");
    write("proc/interrupts", "1: vfio-msix[0](0000:01:10.0)\n");
    write(
        "var/lib/accelnet/ledger.json",
        "{\"a\": \"accelnet-1.admin.SECRET\", \"k\": \"-----BEGIN PRIVATE KEY-----\\nSECRET\\n-----END PRIVATE KEY-----\\n\"}",
    );
    write(
        "etc/accelnet/accelnetd.toml",
        "[server]\nstore = \"etcd://me:SECRET@etcd1:2379\"\n",
    );
    write(
        "etc/libvirt/qemu/web1.xml",
        "<domain>\n<graphics type='vnc' passwd='SECRET'/>\n<name>web1</name>\n</domain>\n",
    );
    write("sys/bus/pci/devices/0000:01:00.0/class", "0x020000\n");
    write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x8086\n");
    write("sys/bus/pci/devices/0000:01:00.0/sriov_numvfs", "7\n");
    write("sys/bus/pci/devices/0000:02:00.0/class", "0x010000\n");
    let journal = place.join("journal");
    let said = format!(
        "#!/bin/sh\ncat <<'X'\nAuthorization: Bearer {SECRET}\njoining with accelnet-join-1.4f1c.{SECRET}\n\
         -----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----\nready\nX\necho \"$*\"\n"
    );
    fs::write(&journal, said).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o755)).unwrap();
    Host::at(root, journal)
}

fn read(file: &Path) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(file).unwrap()));
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let (_, name) = name.split_once('/').unwrap();
            (name.to_owned(), text)
        })
        .collect()
}

#[tokio::test]
async fn what_a_host_shows_is_there_and_no_secret_is() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("bundle.tar.gz");
    let ended = bundle(&call(), &host(place.path()), Some(file.clone())).await;
    assert_eq!(ended.unwrap(), exit::OK);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let parts = read(&file);
    for (name, text) in &parts {
        for part in SECRET.as_bytes().windows(8) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!text.contains(part), "{name}: {text}");
        }
    }
    for (name, what) in [
        ("host/os-release", "PRETTY_NAME=x"),
        (
            "host/kernel-command-line",
            "iommu=pt password=[removed] quiet",
        ),
        ("host/ledger.json", "[removed]"),
        ("host/accelnetd.toml", "etcd://me:[removed]@etcd1:2379"),
        ("host/vms/web1.xml", "<name>web1</name>"),
        (
            "host/pci.txt",
            "0000:01:00.0 class=0x020000 vendor=0x8086 sriov_numvfs=7\n",
        ),
        ("host/journal.txt", "ready\n"),
        ("host/journal.txt", "--unit accelnet-agent"),
        ("version.txt", "accelnet "),
        // No server answers, and the rest is there.
        ("missing.txt", "server/status.json: "),
    ] {
        let found = parts.iter().find(|(part, _)| part == name);
        let (_, text) = found.unwrap_or_else(|| panic!("no {name}"));
        assert!(text.contains(what), "{name}: {text}");
    }
    let pci = parts
        .iter()
        .find(|(name, _)| name == "host/pci.txt")
        .unwrap();
    assert!(!pci.1.contains("0000:02:00.0"), "{}", pci.1);
    let left = fs::read_dir(place.path()).unwrap();
    assert_eq!(left.count(), 3, "the bundle, the host and its journal");
}

#[tokio::test]
async fn one_that_cannot_be_written_is_said() {
    let place = tempfile::tempdir().unwrap();
    let file = Some("/nonexistent/bundle.tar.gz".into());
    let error = bundle(&call(), &host(place.path()), file)
        .await
        .unwrap_err();
    let problems = error.into_problems();
    assert!(
        problems[0].detail.contains("cannot be written"),
        "{problems:?}"
    );
}
