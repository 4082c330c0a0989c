//! Events of the kernel: links, forwarding entries, traffic control, packet filter rules.

use std::{sync::mpsc, thread, time::Duration};

use accelnet_model::MacAddr;

use super::{
    attributes::{find, text, u16_at, u32_at},
    netlink::Netlink,
    uapi::{
        IFINFOMSG, IFLA_IFNAME, NDA_LLADDR, NDA_VLAN, NDMSG, NTF_SELF, RTM_DELLINK, RTM_DELNEIGH,
        RTM_GETTFILTER, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWQDISC, RTNLGRP_LINK, RTNLGRP_NEIGH,
        RTNLGRP_TC, text_of,
    },
};
use crate::{HostError, HostEvent, Result};

/// Changes of packet filter rules (include/uapi/linux/netfilter/nfnetlink.h).
const NFNLGRP_NFTABLES: u32 = 7;

/// How soon a thread notices that nobody listens any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// See [`crate::Host::watch`]: a thread per protocol, ended when the receiver is dropped.
pub fn watch(events: mpsc::Sender<HostEvent>) -> Result<()> {
    let mut route = Netlink::route()?;
    for group in [RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC] {
        route.join(group)?;
    }
    follow(route, events.clone(), |kind, payload| match kind {
        RTM_NEWLINK | RTM_DELLINK => {
            let attributes = payload.get(IFINFOMSG..)?;
            Some(HostEvent::Link(text_of(attributes, IFLA_IFNAME)))
        }
        // Those of other families are no forwarding entries.
        RTM_NEWNEIGH | RTM_DELNEIGH if payload.first() == Some(&(libc::AF_BRIDGE as u8)) => {
            let port = name_of(u32_at(payload, 4)?);
            let attributes = payload.get(NDMSG..)?;
            let mac = MacAddr(*find(attributes, NDA_LLADDR)?.first_chunk()?);
            let vlan = find(attributes, NDA_VLAN).and_then(|vlan| u16_at(vlan, 0));
            let gone = kind == RTM_DELNEIGH;
            // `ndm_flags`: those of cards' own filters come in the same words (net/core/rtnetlink.c,
            // `rtnl_fdb_notify`).
            Some(match payload.get(10)? & NTF_SELF {
                0 => HostEvent::Fdb {
                    port,
                    mac,
                    vlan,
                    gone,
                },
                _ => HostEvent::Filter { port, mac, gone },
            })
        }
        // RTM_*QDISC, *TCLASS, *TFILTER
        RTM_NEWQDISC..=RTM_GETTFILTER => {
            Some(HostEvent::TrafficControl(name_of(u32_at(payload, 4)?)))
        }
        _ => None,
    });
    match Netlink::open(libc::NETLINK_NETFILTER) {
        // A kernel without packet filters has no rules to tell of.
        Err(error) if error.is_unsupported() => {}
        other => {
            let mut filter = other?;
            filter.join(NFNLGRP_NFTABLES)?;
            follow(filter, events, |_, _| Some(HostEvent::Firewall));
        }
    }
    Ok(())
}

fn name_of(index: u32) -> String {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: if_indextoname writes at most IF_NAMESIZE bytes, zero included.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        format!("#{index}")
    } else {
        text(&name)
    }
}

fn follow(
    mut socket: Netlink,
    sender: mpsc::Sender<HostEvent>,
    read: impl Fn(u16, &[u8]) -> Option<HostEvent> + Send + 'static,
) {
    thread::spawn(move || {
        loop {
            let events: Vec<HostEvent> = match socket.receive(PATIENCE) {
                Ok(messages) => messages
                    .iter()
                    .filter_map(|message| read(message.kind, &message.payload))
                    .collect(),
                Err(HostError::Kernel {
                    code: libc::ENOBUFS,
                    ..
                }) => vec![HostEvent::Overrun],
                Err(error) => {
                    tracing::warn!(%error, "kernel events");
                    vec![HostEvent::Overrun]
                }
            };
            // Nothing happened: find out whether anybody still listens by the only way there is.
            let idle = events.is_empty();
            for event in events {
                if sender.send(event).is_err() {
                    return;
                }
            }
            if idle && sender.send(HostEvent::Idle).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use accelnet_model::FdbKey;

    use super::*;
    use crate::{
        Entry,
        linux::{
            bridge::master_of,
            fdb,
            own_network::{bridge, cable, in_own_network, name},
        },
    };

    #[test]
    fn what_changes_is_told_by_name() {
        in_own_network(|root| {
            assert!(bridge("br0", &[], &["t0"]));
            let (sender, events) = mpsc::channel();
            watch(sender).unwrap();
            let mac = MacAddr([2, 0, 0, 0, 0, 7]);
            let port = name("t0");
            let (number, by_vlan) = master_of(root, &port).unwrap();
            let of = FdbKey { mac, vlan: None };
            fdb::ensure_entry(&port, number, by_vlan, of, Entry::Sticky).unwrap();
            fdb::filter::ensure(&port, mac, true).unwrap();
            cable("alone", None);
            let mut missing = vec![
                HostEvent::Link("alone".into()),
                HostEvent::Fdb {
                    port: "t0".into(),
                    mac,
                    vlan: None,
                    gone: false,
                },
                HostEvent::Filter {
                    port: "t0".into(),
                    mac,
                    gone: false,
                },
            ];
            let end = Instant::now() + Duration::from_secs(10);
            while !missing.is_empty() {
                let left = end.saturating_duration_since(Instant::now());
                let event = events.recv_timeout(left);
                let event = event.unwrap_or_else(|_| panic!("not told: {missing:?}"));
                missing.retain(|wanted| *wanted != event);
            }
        });
    }
}
