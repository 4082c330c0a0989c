//! Bringing a lab up.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};

use super::{Guest, Lab, Node, Options, guests, process};
use crate::{image, kvm, paths, progress::Progress, shell, ssh};

impl Lab {
    /// Builds what is missing, boots the nodes, starts the product and the guests.
    pub fn up(name: &str, options: Options, progress: Progress) -> Result<Self> {
        ensure!((1..=9).contains(&options.nodes), "--nodes must be 1 to 9");
        ensure!(options.guests <= 100, "--guests must be at most 100");
        if let Some(cluster) = &options.cluster {
            cluster.check(&options)?;
        }
        let directory = Self::directory_of(name)?;
        if directory.exists() {
            bail!(
                "lab '{name}' is there already; take it down with 'accelnet-lab --name {name} down'"
            );
        }
        let images = image::ensure(options.variant, progress)?;
        paths::create_private(&paths::runtime_root())?;
        paths::create_private(&directory)?;
        let result = Self::bring_up(name, options, &images, &directory, progress);
        if result.is_err() && std::env::var_os("ACCELNET_LAB_KEEP").is_none() {
            let _ = Self::down(name);
        }
        result
    }

    fn bring_up(
        name: &str,
        options: Options,
        images: &image::Images,
        directory: &Path,
        progress: Progress,
    ) -> Result<Self> {
        let mut lab = plan(name, options, images)?;
        lab.save()?;
        lab.create_storage()?;
        lab.prepare_share(images)?;
        lab.start_wire(images)?;
        progress.step(format!(
            "booting {} node(s) with {}",
            lab.nodes.len(),
            lab.accel.name()
        ));
        for node in lab.nodes.clone() {
            fs::create_dir_all(directory.join(&node.name))?;
            create_disk(&images.node_disk, &lab.disk_of(&node))?;
            lab.start_node(&node.name)?;
        }
        // Every node and its guests at the same time: they wait more than they work.
        let shared = Arc::new(lab.clone());
        let threads: Vec<_> = lab
            .nodes
            .iter()
            .map(|node| {
                let (lab, name) = (Arc::clone(&shared), node.name.clone());
                std::thread::spawn(move || lab.settle_node(&name, progress))
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the lab panicked"))??;
        }
        if let Some(cluster) = lab.options.cluster {
            lab.form_cluster(cluster, progress)?;
        }
        progress.step("the lab is up");
        Ok(lab)
    }

    fn settle_node(&self, name: &str, progress: Progress) -> Result<()> {
        self.wait_for_node(name)?;
        progress.step(format!("{name} is up; starting its guests"));
        self.start_guests(name)?;
        if self.options.bin_dir.is_some() && self.options.cluster.is_none() {
            self.start_product(name)?;
        }
        Ok(())
    }

    /// What a lab that was killed left there belongs to nobody: the runtime directory was not there.
    fn create_storage(&self) -> Result<()> {
        let storage = paths::cache()?.join("labs").join(&self.name);
        symlink(&storage, self.storage())?;
        if storage.exists() {
            fs::remove_dir_all(&storage)?;
        }
        paths::create_private(&storage)
    }

    /// Copies programs, keys and the guests' kernel to where the nodes can read them.
    fn prepare_share(&self, images: &image::Images) -> Result<()> {
        let share = self.directory().join("share");
        for place in ["bin", "keys", "guest"] {
            fs::create_dir_all(share.join(place))?;
        }
        ssh::create_keys(&self.directory(), &share.join("keys"))?;
        let kernel = share.join("guest/vmlinux");
        // A copy only where the share lies on another file system than the images.
        if fs::hard_link(&images.kernel, &kernel).is_err() {
            fs::copy(&images.kernel, &kernel)?;
        }
        fs::copy(&images.guest_initrd, share.join("guest/initrd"))?;
        self.share_etcd()?;
        self.push_programs()
    }

    /// Copies the product's programs anew, for nodes to use from their next start on.
    pub fn push_programs(&self) -> Result<()> {
        let target = self.directory().join("share/bin");
        let mut programs = vec![image::guest_agent()?];
        for name in ["accelnet", "accelnetd"] {
            if let Some(directory) = &self.options.bin_dir {
                programs.push(directory.join(name));
            }
        }
        for program in programs {
            let name = program.file_name().context("no name")?;
            let fresh = target.join(format!("{}.new", name.to_string_lossy()));
            fs::copy(&program, &fresh).with_context(|| {
                format!(
                    "{} cannot be copied; build it with 'cargo build'",
                    program.display()
                )
            })?;
            fs::rename(&fresh, target.join(name))?;
        }
        Ok(())
    }

    /// Takes the product's programs, where there were none before, and starts it on all nodes.
    pub fn take_product(&mut self, programs: PathBuf) -> Result<()> {
        self.options.bin_dir = Some(programs);
        self.save()?;
        self.push_programs()?;
        for node in &self.nodes {
            // Without a program its unit has failed.
            self.script(&node.name, "systemctl reset-failed accelnetd")?;
            self.start_product(&node.name)?;
        }
        Ok(())
    }

    fn start_wire(&self, images: &image::Images) -> Result<()> {
        let place = self.directory().join("wire");
        fs::create_dir_all(&place)?;
        let log = File::create(place.join("log"))?;
        let mut command = Command::new(own_program()?);
        command.arg("wire").arg("--directory").arg(&place);
        for node in &self.nodes {
            if let Some(socket) = self.management_of(node) {
                command.arg("--management").arg(socket);
            }
            command.args(self.wires_of(node));
        }
        // The wire lives as long as the lab and so keeps the images from being cleaned away.
        let in_use = File::open(images.node_disk.with_file_name("in-use"))?;
        rustix::fs::flock(&in_use, rustix::fs::FlockOperation::LockShared)?;
        command
            .stdin(Stdio::from(in_use))
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = process::spawn(&mut command, &self.directory(), &place)?;
        let mut ready = [0; 6];
        let out = child.stdout.as_mut().context("no output")?;
        std::io::Read::read_exact(out, &mut ready).context("the wire did not start; see its log")
    }

    /// Waits for the server and adds the compute intent.
    fn start_product(&self, node: &str) -> Result<()> {
        let script = format!(
            "systemctl start accelnetd\n{} >/dev/null\n",
            self.compute_intent()
        );
        self.script(node, &script)
            .with_context(|| format!("the product does not start on {node}"))?;
        Ok(())
    }

    /// The command that adds the intent for the guests' bridge.
    pub(super) fn compute_intent(&self) -> String {
        let vfs = match self.options.vfs {
            0 => "auto".to_owned(),
            count => count.to_string(),
        };
        format!("accelnet intent add compute --type compute --bridge br0 --adapter pf0 --vfs {vfs}")
    }

    fn start_guests(&self, node: &str) -> Result<()> {
        let mine: Vec<&Guest> = self
            .guests
            .iter()
            .filter(|guest| guest.node == node)
            .collect();
        let mut script = String::from("cd /root\n");
        for guest in &mine {
            let xml = guests::definition(guest, &guests::Shape::default());
            script.push_str(&format!(
                "cat > {0}.xml <<'END_OF_XML'\n{xml}\nEND_OF_XML\n",
                guest.name
            ));
            script.push_str(&format!(
                "virsh -q define {0}.xml\nvirsh -q autostart {0}\nvirsh -q start {0}\n",
                guest.name
            ));
        }
        // Without the product it may be that it is being built meanwhile.
        let builds = if self.options.bin_dir.is_none() { 2 } else { 0 };
        for guest in &mine {
            script.push_str(&guests::wait_beside(guest, self.options.nodes + builds));
        }
        self.script(node, &script)
            .with_context(|| format!("the guests of {node} do not start"))?;
        Ok(())
    }
}

/// The program that holds the subcommand `wire`: ours, or the one beside a test program.
fn own_program() -> Result<PathBuf> {
    Ok(image::guest_agent()?.with_file_name("accelnet-lab"))
}

fn plan(name: &str, options: Options, images: &image::Images) -> Result<Lab> {
    let accel = kvm::probe(&images.kernel)?;
    let nodes = (1..=options.nodes).map(|number| Node {
        name: format!("node{number}"),
        number,
        ssh_port: 0,
    });
    let nodes = nodes.collect();
    let guests = (0..options.guests)
        .map(|i| {
            let host = 101 + i;
            Guest {
                name: format!("vm{}", i + 1),
                node: format!("node{}", i % options.nodes + 1),
                host,
                mac: format!("52:54:00:77:00:{host:02x}"),
            }
        })
        .collect();
    let images = images
        .node_disk
        .parent()
        .context("no directory")?
        .to_owned();
    Ok(Lab {
        name: name.to_owned(),
        options,
        nodes,
        guests,
        images,
        accel,
    })
}

fn create_disk(base: &Path, disk: &Path) -> Result<()> {
    shell::run(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .args([base, disk]),
    )?;
    Ok(())
}
