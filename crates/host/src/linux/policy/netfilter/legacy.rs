//! Packet filters of x_tables. What their rules say is not read: one that bridged frames may meet is sign enough.

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{Called, Family, finding, x_tables};
use crate::{
    Result,
    linux::sysfs::{self, Root},
};

/// Tables of IP that somebody has used in this network (net/netfilter/x_tables.c, `xt_proto_init`).
pub fn tables(root: &Root, called: Called) -> Result<Vec<(Family, PolicyFinding)>> {
    let mut found = Vec::new();
    for (family, file, tool) in [
        (Family::Ip, "ip_tables_names", "iptables"),
        (Family::Ip6, "ip6_tables_names", "ip6tables"),
        (Family::Arp, "arp_tables_names", "arptables"),
    ] {
        if !called.calls(family) {
            continue;
        }
        // No such file: x_tables does not have the family.
        let names = sysfs::read(&root.path(&format!("proc/thread-self/net/{file}")))?;
        for table in names.unwrap_or_default().lines() {
            match x_tables::concerns_bridged(family, table) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => tracing::debug!(%error, "taken for one that has rules"),
            }
            let rule = format!(
                "legacy {tool} is in use, and its rules cannot be read; bridged frames meet it only because \
                 of net.bridge.bridge-nf-call-{tool}, which 'sysctl' turns off"
            );
            let name = format!("xtables/{}/{table}", family.name());
            let place = format!("table {table} of {tool}-legacy");
            found.push((family, finding(PolicyKind::Firewall, &place, rule, &name)));
        }
    }
    Ok(found)
}

/// ebtables', for kernels that do not tell what is attached.
pub fn ebtables(root: &Root) -> Result<Vec<PolicyFinding>> {
    // A kernel without modules has no such file, and builds none of them in by default.
    let modules = sysfs::read(&root.path("proc/modules"))?.unwrap_or_default();
    let loaded = modules.lines().filter_map(|line| line.split(' ').next());
    let tables =
        loaded.filter(|name| matches!(*name, "ebtable_filter" | "ebtable_nat" | "ebtable_broute"));
    Ok(tables
        .map(|name| {
            finding(
                PolicyKind::Firewall,
                &name,
                "legacy ebtables is in use (module loaded)",
                &format!("hook/{name}"),
            )
        })
        .collect())
}
