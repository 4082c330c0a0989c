//! Deliberately broken variants of our code, each of which the simulator has to find.
//!
//! A variant is a change of the source, made in a copy of the tree: nothing of it is in what is shipped.
//! [`all_apply`] is for CI: each still fits the source; [`run`] builds and runs them, which takes minutes.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};

/// One thing that is wrong.
struct Mutant {
    /// What is wrong.
    name: &'static str,
    file: &'static str,
    /// What is there; once.
    from: &'static str,
    /// What is there instead.
    to: &'static str,
    /// Found by a cluster; else by a host by itself.
    cluster: bool,
    /// It is found within so many seeds.
    seeds: u32,
}

const fn host(
    name: &'static str,
    file: &'static str,
    [from, to]: [&'static str; 2],
    seeds: u32,
) -> Mutant {
    Mutant {
        name,
        file,
        from,
        to,
        cluster: false,
        seeds,
    }
}

const fn cluster(
    name: &'static str,
    file: &'static str,
    [from, to]: [&'static str; 2],
    seeds: u32,
) -> Mutant {
    Mutant {
        cluster: true,
        ..host(name, file, [from, to], seeds)
    }
}

const MACHINE: &str = "crates/agent/src/machine.rs";
const OUTCOMES: &str = "crates/agent/src/machine/outcomes.rs";
const SEEN: &str = "crates/agent/src/machine/seen.rs";
const CARRY: &str = "crates/agent/src/carry_out.rs";
const BOOT: &str = "crates/agent/src/boot.rs";
const VFS: &str = "crates/rules/src/plan/vfs.rs";
const MOVES: &str = "crates/rules/src/plan/moves.rs";
const L2: &str = "crates/rules/src/l2.rs";
const SUPPLY: &str = "crates/rules/src/eligibility/supply.rs";
const HUB: &str = "crates/server/src/nodes/hub.rs";
const TOLD: &str = "crates/server/src/told.rs";
const PARK: &str = "crates/server/src/state/park.rs";
const SETTLED: &str = "crates/server/src/state/settled.rs";
const QUEUE: &str = "crates/server/src/line.rs";
const CASE: &str = "crates/rules/src/capacity/case.rs";
const REPLICA: &str = "crates/store/src/replica.rs";
const LINE: &str = "crates/link/src/line.rs";

const ALL: &[Mutant] = &[
    host(
        "an old look wins over what was done since",
        OUTCOMES,
        [
            "Lane::Vm(vm) => self.looks.touch_vm(*vm, now),",
            "Lane::Vm(_) => {}",
        ],
        3000,
    ),
    host(
        "a wish older than the accepted one is taken",
        MACHINE,
        [
            "if desired.generation < accepted.generation {",
            "if false {",
        ],
        3000,
    ),
    host(
        "what is about to be done is not written before",
        MACHINE,
        ["if noted > 0 {", "if false {"],
        3000,
    ),
    host(
        "QEMU's taking of a VF is not heard",
        MACHINE,
        ["self.memory.departing.insert(vm);", ""],
        1000,
    ),
    host(
        "a look at a VM that is worked on is taken for true",
        SEEN,
        ["ours || touched.contains(&seen.uuid)", "false"],
        3000,
    ),
    host(
        "of a NIC all is done after what failed",
        CARRY,
        ["                failed.insert(nic);\n", ""],
        1000,
    ),
    host(
        "a VF that is gone back is not made clean",
        CARRY,
        [
            "match host.ensure_vf_baseline(idle) {",
            "match Ok::<_, HostError>(wanted.clone()) {",
        ],
        1000,
    ),
    host(
        "a VF that is being plugged is cleaned",
        VFS,
        ["kept || plugged", "kept"],
        6000,
    ),
    host(
        "a VF that somebody is setting up is cleaned",
        VFS,
        ["        || memory.setting_up.contains(&vf.pci)\n", ""],
        300,
    ),
    host(
        "VFs that the machine's start made are not known for ours",
        BOOT,
        [
            "ledger.ours.note(&Action::CreateVfs {",
            "let _ = (&Action::CreateVfs {",
        ],
        3000,
    ),
    host(
        "a VF of a switch-over is cleaned",
        VFS,
        ["held || moves || kept", "held || kept"],
        1000,
    ),
    host(
        "VFs that were touched stay as they are",
        VFS,
        [
            "if !vf.attributes.fulfils(&VfAttributes::baseline()) && !waits_for_link(adapter, vf) {",
            "if false {",
        ],
        1000,
    ),
    host(
        "a VF of somebody else is free",
        SUPPLY,
        [
            "vf.user == VfUser::Nobody && vf.group_peers",
            "vf.group_peers",
        ],
        1000,
    ),
    host(
        "a VF without link is given out",
        SUPPLY,
        [
            "else if !adapter.up || !adapter.carrier {",
            "else if false {",
        ],
        3000,
    ),
    host(
        "a VF is given out twice in a pass",
        MOVES,
        [
            "!memory.quarantined.contains(&vf.pci) && !given.contains(&vf.pci)",
            "!memory.quarantined.contains(&vf.pci)",
        ],
        1000,
    ),
    host(
        "a VF that carries something is given out",
        MOVES,
        [
            "            .filter(|vf| vf.attributes.fulfils(&VfAttributes::baseline()))\n",
            "",
        ],
        3000,
    ),
    host(
        "a VF is unplugged before its tap is open",
        MOVES,
        [
            "if free && (settled || !has_way(scene.observed, handle.device())) =>",
            "if free =>",
        ],
        1000,
    ),
    host(
        "a VF is plugged before its tap is open",
        MOVES,
        [
            "            } else if settled\n                && free",
            "            } else if free",
        ],
        1000,
    ),
    host(
        "a VM that was frozen stays so",
        MOVES,
        [
            "if holds && scene.nics_of(vm.uuid).all(open) {",
            "if false {",
        ],
        1000,
    ),
    host(
        "a frozen VM runs on before its tap is open",
        MOVES,
        [
            "if holds && scene.nics_of(vm.uuid).all(open) {",
            "let _ = open; if holds {",
        ],
        3000,
    ),
    host(
        "what QEMU has left of a VF is left to it",
        MOVES,
        [
            "            left_behind(&scene, vm, plan);\n",
            "let _ = left_behind;",
        ],
        3000,
    ),
    host(
        "a rule that comes later is let be",
        MOVES,
        [
            "return Some(Leave::Policy(problem.about(\"vm\", &nic.vm.name)));",
            "let _ = problem;",
        ],
        1000,
    ),
    host(
        "a VM stays on a VF whose link is gone",
        MOVES,
        [
            "    if !adapter.carrier || !scene.observed.is_active(adapter) {\n        return Some(Leave::NoWay);\n    }\n",
            "",
        ],
        1000,
    ),
    host(
        "the card goes on taking frames for a VM on its VF",
        L2,
        [
            "row(At::Uplink, false, false, true)",
            "row(At::Uplink, true, false, true)",
        ],
        100,
    ),
    host(
        "the card takes none for a VM on its tap",
        L2,
        [
            "row(At::Tap, true, true, true)",
            "row(At::Tap, false, true, true)",
        ],
        100,
    ),
    host(
        "only one path is open during a switch-over",
        L2,
        [
            "row(At::Nowhere, true, true, false)",
            "row(At::Tap, true, true, false)",
        ],
        100,
    ),
    host(
        "the bridge learns during a switch-over",
        L2,
        [
            "row(At::Nowhere, true, true, false)",
            "row(At::Nowhere, true, true, true)",
        ],
        100,
    ),
    host(
        "taps are not flooded during a switch-over",
        L2,
        [
            "row(At::Nowhere, true, true, false)",
            "row(At::Nowhere, true, false, false)",
        ],
        1000,
    ),
    host(
        "a VM that has left keeps its address here",
        L2,
        [
            "row(At::Nowhere, false, false, true)",
            "row(At::Tap, true, true, true)",
        ],
        3000,
    ),
    cluster(
        "a drained VM stays so after its node's start",
        PARK,
        [
            "boot.is_none_or(|boot| boot == before)",
            "boot.is_none_or(|_| before.len() < 1000)",
        ],
        1000,
    ),
    cluster(
        "a report of a session that is over counts",
        HUB,
        [
            ".filter(|session| session.number == up.session)",
            ".filter(|_| true)",
        ],
        2000,
    ),
    cluster(
        "a node that is silent is never down",
        HUB,
        [
            "self.last_sign + DOWN_AFTER",
            "self.last_sign + DOWN_AFTER * 100_000",
        ],
        2000,
    ),
    cluster(
        "a node is not told of a VM that came to it",
        TOLD,
        [" && known.vms == desired.vms", ""],
        1000,
    ),
    cluster(
        "a node that is another's is not told anew",
        TOLD,
        ["known.generation >= wish.changed_for_node(status) && ", ""],
        1000,
    ),
    cluster(
        "a write whose outcome is not known is taken for lost",
        SETTLED,
        [
            "Ok(Err(error @ StoreError::OutcomeUnknown { .. })) => error.to_string(),",
            "Ok(Err(error @ StoreError::OutcomeUnknown { .. })) => return Err(failed(&error)),",
        ],
        3000,
    ),
    cluster(
        "a write of our own is taken for another's",
        SETTLED,
        [
            "let ours = Generation::read(found)?.write == Some(write);",
            "let ours = Generation::read(found)?.write == Some(write) && false;",
        ],
        3000,
    ),
    cluster(
        "what was said to another server is not said again",
        LINE,
        ["        self.reports.mark_changed();\n", ""],
        1000,
    ),
    cluster(
        "a copy keeps what was deleted",
        REPLICA,
        [
            "Event::Delete { key, .. } => items.remove(&key),",
            "Event::Delete { .. } => None,",
        ],
        100,
    ),
    cluster(
        "a copy misses what is written while it begins to follow",
        REPLICA,
        [
            "store.watch(prefix, all.revision.next())",
            "store.watch(prefix, store.list(prefix, crate::Page::first(1)).await?.revision.next())",
        ],
        300,
    ),
    cluster(
        "a copy that lost its store is not read anew",
        REPLICA,
        [
            "        tokio::time::sleep(AGAIN).await;\n",
            "        std::future::pending::<()>().await;\n",
        ],
        100,
    ),
    cluster(
        "an agent does not hear what its server says of one VM",
        LINE,
        [
            "if let Some(new) = after(wish.as_ref(), &said) {",
            "if let Some(new) = after(None, &said) {",
        ],
        1000,
    ),
    host(
        "frames do not wait while their way changes",
        L2,
        ["    actions.extend(place.queue(Hold::Wait));\n", ""],
        3000,
    ),
    host(
        "frames that wait are let go by their deadline alone",
        L2,
        [
            "    if wanted.entry != At::Nowhere {\n        actions.extend(place.queue(Hold::Pass));\n    }\n",
            "",
        ],
        3000,
    ),
    host(
        "an entry at the uplink stays when the VM comes back",
        L2,
        [
            "At::Nowhere if place.has_entry(uplink, !wanted.filter) || unsure(uplink) => {",
            "At::Nowhere if false => {",
        ],
        1000,
    ),
    host(
        "a VF carries an address before frames for it have their way",
        L2,
        [
            "    entries(place, wanted, &mut actions);\n    actions.extend(place.dress.clone());\n",
            "    actions.extend(place.dress.clone());\n    entries(place, wanted, &mut actions);\n",
        ],
        3000,
    ),
    cluster(
        "the reserve is one node short",
        CASE,
        [
            "self.tolerated.saturating_sub(self.cluster.down.len())",
            "self.tolerated.saturating_sub(self.cluster.down.len() + 1)",
        ],
        1000,
    ),
    cluster(
        "what the store refused is said to be done",
        QUEUE,
        [
            "                    answer(own, &Err(problem));\n",
            "                    let _ = problem;\n                    answer(own, &Ok(wish));\n",
        ],
        1000,
    ),
    cluster(
        "a refusal after an unknown outcome is taken for the first try's",
        SETTLED,
        ["Ok(Err(error)) if !unknown => ", "Ok(Err(error)) => "],
        3000,
    ),
];

/// The source with what is wrong in it.
fn broken(root: &Path, mutant: &Mutant) -> Result<String> {
    let path = root.join(mutant.file);
    let text = std::fs::read_to_string(&path).with_context(|| mutant.file.to_owned())?;
    let count = text.matches(mutant.from).count();
    ensure!(
        count == 1,
        "'{}': what it changes is {count} times in {}",
        mutant.name,
        mutant.file
    );
    Ok(text.replace(mutant.from, mutant.to))
}

/// Each variant fits the source as it is.
pub fn all_apply(root: &Path) -> Result<String> {
    for mutant in ALL {
        broken(root, mutant)?;
    }
    Ok(format!("{} broken variants fit the source", ALL.len()))
}

fn copy(root: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()?;
    ensure!(listed.status.success(), "git ls-files failed");
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        write(&tree.join(name), &std::fs::read(root.join(name))?)?;
    }
    Ok(())
}

/// A file that stays as it is keeps its time: cargo goes by that.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let directory = path.parent().context("no directory")?;
    std::fs::create_dir_all(directory)?;
    Ok(std::fs::write(path, bytes)?)
}

struct Bench {
    tree: PathBuf,
    target: PathBuf,
}

impl Bench {
    fn cargo(&self) -> Result<()> {
        let built = Command::new("cargo")
            .args(["build", "--quiet", "-p", "accelnet-sim"])
            .env("CARGO_TARGET_DIR", &self.target)
            .env("RUSTFLAGS", "-Awarnings")
            .current_dir(&self.tree)
            .status()?;
        ensure!(built.success(), "it cannot be built");
        Ok(())
    }

    fn simulate(&self, mutant: &Mutant) -> Result<Output> {
        let mut command = Command::new(self.target.join("debug/accelnet-sim"));
        command.args(["--seeds", &mutant.seeds.to_string()]);
        if mutant.cluster {
            command.arg("--cluster");
        }
        Ok(command.output()?)
    }
}

/// Builds and runs those whose names have one of these words in them, or all.
pub fn run(root: &Path, words: &[String]) -> Result<()> {
    let place = root.join("target/mutants");
    let bench = Bench {
        tree: place.join("tree"),
        target: place.join("target"),
    };
    copy(root, &bench.tree)?;
    bench.cargo()?;
    let chosen = |mutant: &&Mutant| {
        words.is_empty() || words.iter().any(|word| mutant.name.contains(word.as_str()))
    };
    let mut survived = Vec::new();
    for mutant in ALL.iter().filter(chosen) {
        let path = bench.tree.join(mutant.file);
        write(&path, broken(root, mutant)?.as_bytes())?;
        bench.cargo().context(mutant.name)?;
        let output = bench.simulate(mutant)?;
        write(&path, &std::fs::read(root.join(mutant.file))?)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let seed = said.lines().find_map(|line| line.strip_prefix("seed "));
        match (output.status.success(), seed) {
            (true, _) => {
                println!("NOT FOUND in {} seeds: {}", mutant.seeds, mutant.name);
                survived.push(mutant.name);
            }
            (false, Some(seed)) => println!("{}: seed {seed}", mutant.name),
            (false, None) => println!(
                "{}: {}",
                mutant.name,
                said.lines().last().unwrap_or_default()
            ),
        }
    }
    if survived.is_empty() {
        return Ok(());
    }
    bail!("not found: {}", survived.join(", "))
}
