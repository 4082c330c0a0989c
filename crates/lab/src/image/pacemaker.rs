//! What nodes have beside the rest where a lab has Pacemaker: its packages, and a fence device that the lab answers.
//!
//! It is an image of its own: nobody else's nodes shall take longer to make or to boot.

/// Debian's packages. crmsh is the shell that administrators type into, jq turns JSON into its lines.
pub const PACKAGES: &[&str] = &[
    "corosync",
    "pacemaker",
    "pacemaker-cli-utils",
    "resource-agents",
    "crmsh",
    "jq",
];

/// What the packages enable, and is started only by who sets up a cluster.
pub const OFF: &[&str] = &[
    "corosync.service",
    "corosync-notifyd.service",
    "pacemaker.service",
    "pacemaker_remote.service",
    "crm_mon.service",
    "logd.service",
];

/// Files of the image: path below its root, mode, content.
pub const FILES: &[(&str, u32, &str)] = &[(
    "usr/sbin/fence_lab",
    0o755,
    include_str!("../../image/fence_lab"),
)];
