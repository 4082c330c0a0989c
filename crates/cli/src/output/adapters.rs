//! Tables of adapters.

use accelnet_api::Adapter;
use accelnet_model::{DevlinkFacts, EswitchMode, Isolated, Support, VfUser};

use super::{
    printable, problem_text,
    tables::{add, dash, table, text},
};

/// `accelnet adapter list`.
pub fn adapters(adapters: &[Adapter]) -> String {
    let mut rows = table(&[
        "adapter", "node", "intent", "pci", "driver", "link", "sr-iov", "vfs", "used", "levels",
    ]);
    for adapter in adapters {
        let facts = &adapter.status.facts;
        let levels: Vec<_> = adapter.levels.iter().map(ToString::to_string).collect();
        add(
            &mut rows,
            [
                facts.ifname.to_string(),
                adapter.node.to_string(),
                dash(adapter.intent.as_ref()),
                facts.pci.to_string(),
                dash(facts.driver.as_ref()),
                match (&adapter.isolated, facts.carrier) {
                    (Some(_), true) => "up, isolated".to_owned(),
                    (Some(_), false) => "down, isolated".to_owned(),
                    (None, true) => "up".to_owned(),
                    (None, false) => "down".to_owned(),
                },
                format!("{:?}", facts.sriov),
                format!("{}/{}", facts.vfs.len(), facts.total_vfs),
                facts
                    .vfs
                    .iter()
                    .filter(|vf| vf.user != VfUser::Nobody)
                    .count()
                    .to_string(),
                if levels.is_empty() {
                    "-".to_owned()
                } else {
                    levels.join(",")
                },
            ],
        );
    }
    text(&rows)
}

fn support<T: ToString>(value: &Support<T>) -> String {
    match value {
        Support::Supported(value) => value.to_string(),
        Support::Unsupported => "unsupported".to_owned(),
        Support::Unknown => "unknown".to_owned(),
    }
}

/// Serial number and firmware by component; what is stored and does not run yet is said.
fn card(devlink: &DevlinkFacts) -> String {
    let mut parts: Vec<String> = devlink
        .serial
        .iter()
        .map(|serial| format!("serial {serial}"))
        .collect();
    let running = devlink.running.iter();
    parts.extend(running.map(|(name, version)| format!("{name} {version}")));
    let mut out = format!("  card: {}\n", printable(&parts.join("  ")));
    for (name, running, stored) in devlink.staged() {
        let text = format!(
            "{name} {running} runs; {stored} is stored and runs after the card's next reset"
        );
        out.push_str(&format!("  {}\n", printable(&text)));
    }
    out
}

/// A line about an adapter that is taken out of the pool.
pub fn out_of_pool(isolated: &Isolated) -> String {
    let Isolated {
        node,
        adapter,
        since,
        because,
        ..
    } = isolated;
    let because = printable(because);
    let because = because.trim_end_matches('.');
    format!(
        "  {adapter} gives no VFs since {since:.0}: {because}. 'accelnet adapter release {adapter} --node {node}' lets it back\n"
    )
}

/// `accelnet adapter show`.
pub fn adapter(adapter: &Adapter) -> String {
    let facts = &adapter.status.facts;
    let mut out = format!(
        "{} on {}\n  {} {}  driver {} {}  firmware {}\n  permanent address {}  link {}  MTU {}  SR-IOV {:?}\n",
        facts.ifname,
        adapter.node,
        facts.pci,
        printable(&facts.pci_id),
        printable(&dash(facts.driver.as_ref())),
        printable(facts.driver_version.as_deref().unwrap_or_default()),
        printable(&dash(facts.firmware.as_ref())),
        facts.id.permanent_mac,
        if facts.carrier { "up" } else { "down" },
        facts.mtu,
        facts.sriov,
    );
    if let Some(isolated) = &adapter.isolated {
        out.push_str(&out_of_pool(isolated));
    }
    if let Some(devlink) = &facts.devlink {
        out.push_str(&card(devlink));
    }
    if !facts.altnames.is_empty() {
        let names: Vec<String> = facts.altnames.iter().map(ToString::to_string).collect();
        out.push_str(&format!("  also called {}\n", printable(&names.join(", "))));
    }
    if let Some(mode) = facts.eswitch.value() {
        let mode = match mode {
            EswitchMode::Legacy => "legacy",
            EswitchMode::Switchdev => "switchdev",
            EswitchMode::Other => "another",
        };
        out.push_str(&format!("  mode of the card's switch: {mode}\n"));
    }
    for owner in &facts.vf_owners {
        out.push_str(&format!("  {}\n", printable(owner)));
    }
    let mut rows = table(&[
        "vf",
        "pci",
        "driver",
        "mac",
        "vlan",
        "spoofchk",
        "trust",
        "max Mbit/s",
        "user",
    ]);
    for vf in &facts.vfs {
        let user = match (&vf.user, vf.vm) {
            (VfUser::Process { pid, command }, vm) => format!("{command} (pid {pid}) {}", dash(vm)),
            (VfUser::Reserved, _) => format!("VM {}, which comes in", dash(vf.promised)),
            (VfUser::HostDriver { driver }, _) => format!("host driver {driver}"),
            (VfUser::Others { why }, _) => format!("not ours: {why}"),
            (VfUser::Nobody, _) => match vf.promised {
                Some(vm) => format!("VM {vm}, at its next start"),
                None => "free".to_owned(),
            },
        };
        add(
            &mut rows,
            [
                vf.index.to_string(),
                vf.pci.to_string(),
                dash(vf.driver.as_ref()),
                vf.attributes.mac.to_string(),
                vf.attributes.vlan.to_string(),
                support(&vf.attributes.spoofchk),
                support(&vf.attributes.trust),
                support(&vf.attributes.max_tx_rate_mbps),
                user,
            ],
        );
    }
    out.push_str(&text(&rows));
    out.push('\n');
    for problem in adapter
        .status
        .problems
        .iter()
        .chain(&adapter.status.quarantined)
    {
        out.push_str(&problem_text(problem, None));
    }
    out
}
