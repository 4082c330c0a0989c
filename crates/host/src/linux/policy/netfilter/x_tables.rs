//! Whether a table of x_tables does anything with frames that pass a bridge, asked by x_tables' own old interface.
//!
//! A table is there for good once somebody has looked at it (`iptables-legacy -L`), and most of what hosts have in one is
//! for the host itself (INPUT, OUTPUT). Only the chains that br_netfilter has called count here: one that has no rule and
//! whose policy is ACCEPT lets everything pass. What rules say is not read.
//!
//! Sources: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h,
//! netfilter_arp/arp_tables.h, netfilter/x_tables.h.

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::Family;
use crate::{
    HostError, Result,
    linux::attributes::{u16_at, u32_at},
};

/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `NF_INET_NUMHOOKS`; ARP's three are fewer.
const HOOKS: usize = 5;
/// `NF_ACCEPT`, as a standard target has it: the negative of one more.
const ACCEPT: u32 = -2_i32 as u32;
/// `struct xt_entry_target`, before a standard target's verdict; the name, empty for that, is behind its size.
const TARGET: usize = 32;
/// `struct ipt_get_entries` before the entries, which are aligned to 8 bytes; the size is behind the name.
const ENTRIES: usize = 40;

/// How a family has its tables.
struct Kind {
    level: libc::c_int,
    domain: AddressFamily,
    /// `…_SO_GET_INFO`; `…_SO_GET_ENTRIES` is the next.
    get_info: libc::c_int,
    hooks: usize,
    /// Where an entry has its `target_offset`.
    target_offset: usize,
    /// Numbers of the hooks that bridged frames pass: before routing, forward, after routing.
    passed: &'static [usize],
}

fn kind(family: Family) -> Option<Kind> {
    let ip = Kind {
        level: libc::IPPROTO_IP,
        domain: AddressFamily::INET,
        get_info: 64,
        hooks: HOOKS,
        // struct ipt_ip, nfcache
        target_offset: 84 + 4,
        passed: &[0, 2, 4],
    };
    match family {
        Family::Ip => Some(ip),
        Family::Ip6 => Some(Kind {
            level: libc::IPPROTO_IPV6,
            domain: AddressFamily::INET6,
            // struct ip6t_ip6, nfcache
            target_offset: 136 + 4,
            ..ip
        }),
        Family::Arp => Some(Kind {
            get_info: 96,
            hooks: 3,
            // struct arpt_arp
            target_offset: 164,
            passed: &[2],
            ..ip
        }),
        Family::Inet | Family::Netdev | Family::Bridge => None,
    }
}

/// True if frames that pass a bridge may meet something in this table of this thread's network.
///
/// # Errors
/// If it could not be read, or changed meanwhile.
pub fn concerns_bridged(family: Family, table: &str) -> Result<bool> {
    let operation = format!("read table {table} of x_tables");
    let odd = || {
        HostError::Malformed(format!(
            "{operation}: its entries are not as they should be"
        ))
    };
    let kind = kind(family).ok_or_else(odd)?;
    let info = ask(&operation, &kind, kind.get_info, table, None)?;
    let size = Info(&info, kind.hooks).size().ok_or_else(odd)?;
    let entries = ask(&operation, &kind, kind.get_info + 1, table, Some(size))?;
    judge(&kind, &info, &entries[ENTRIES..]).ok_or_else(odd)
}

/// `struct ipt_getinfo` and its like: name, valid hooks, where each begins, where its policy is, entries, size.
struct Info<'a>(&'a [u8], usize);

impl Info<'_> {
    fn number(&self, at: usize) -> Option<u32> {
        u32_at(self.0, NAME + 4 * at)
    }

    fn has(&self, hook: usize) -> Option<bool> {
        Some(self.number(0)? & 1 << hook != 0)
    }

    fn begins(&self, hook: usize) -> Option<usize> {
        Some(self.number(1 + hook)? as usize)
    }

    fn policy(&self, hook: usize) -> Option<usize> {
        Some(self.number(1 + self.1 + hook)? as usize)
    }

    fn size(&self) -> Option<usize> {
        Some(self.number(2 + 2 * self.1)? as usize)
    }

    /// How long it is.
    fn length(hooks: usize) -> usize {
        NAME + 4 * (3 + 2 * hooks)
    }
}

/// `None` if it is not to be understood.
fn judge(kind: &Kind, info: &[u8], entries: &[u8]) -> Option<bool> {
    let info = Info(info, kind.hooks);
    for hook in kind.passed {
        if !info.has(*hook)? {
            continue;
        }
        let at = info.policy(*hook)?;
        if info.begins(*hook)? != at {
            return Some(true);
        }
        let entry = entries.get(at..)?;
        let target = entry.get(usize::from(u16_at(entry, kind.target_offset)?)..)?;
        let is_standard = *target.get(2)? == 0;
        if !is_standard || u32_at(target, TARGET)? != ACCEPT {
            return Some(true);
        }
    }
    Some(false)
}

/// Asks with a table's name; for entries their size is behind it, and they are behind that.
fn ask(
    operation: &str,
    kind: &Kind,
    option: libc::c_int,
    table: &str,
    size: Option<usize>,
) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| HostError::io(operation, &error);
    let length = size.map_or(Info::length(kind.hooks), |size| ENTRIES + size);
    let mut buffer = vec![0; length];
    // Ends with a zero.
    for (to, from) in buffer[..NAME - 1].iter_mut().zip(table.bytes()) {
        *to = from;
    }
    if let Some(size) = size {
        buffer[NAME..NAME + 4].copy_from_slice(&(size as u32).to_ne_bytes());
    }
    let socket =
        rustix::net::socket_with(kind.domain, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
    let mut length = length as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel reads and writes at most `length` bytes of the buffer, which is that
    // long and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            kind.level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(buffer),
        _ => Err(failed(std::io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policies of chains one after the other, each with so many bytes of rules before it.
    fn table(kind: &Kind, chains: &[(usize, usize, i32)]) -> (Vec<u8>, Vec<u8>) {
        let length = kind.target_offset + 24;
        let (mut begins, mut policies) = (vec![0; kind.hooks], vec![0; kind.hooks]);
        let (mut valid, mut entries) = (0_u32, Vec::new());
        for (hook, rules, verdict) in chains {
            valid |= 1 << hook;
            begins[*hook] = entries.len() as u32;
            entries.resize(entries.len() + rules, 0xee);
            policies[*hook] = entries.len() as u32;
            let mut entry = vec![0; length];
            entry[kind.target_offset..kind.target_offset + 2]
                .copy_from_slice(&(length as u16).to_ne_bytes());
            let mut target = vec![0; TARGET];
            target.extend(verdict.to_ne_bytes());
            entries.extend([entry, target].concat());
        }
        let mut info = vec![0; NAME];
        let numbers = [&[valid][..], &begins, &policies, &[1, entries.len() as u32]].concat();
        info.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        assert_eq!(info.len(), Info::length(kind.hooks));
        (info, entries)
    }

    #[test]
    fn rules_and_policies_count_where_bridged_frames_pass() {
        const DROP: i32 = -1;
        const PASS: i32 = -2;
        for family in [Family::Ip, Family::Ip6] {
            let kind = kind(family).unwrap();
            let judged = |chains: &[(usize, usize, i32)]| {
                let (info, entries) = table(&kind, chains);
                judge(&kind, &info, &entries)
            };
            let empty = [(1, 0, PASS), (2, 0, PASS), (3, 0, PASS)];
            assert_eq!(judged(&empty), Some(false));
            // A firewall of the host itself.
            assert_eq!(
                judged(&[(1, 400, DROP), (2, 0, PASS), (3, 0, PASS)]),
                Some(false)
            );
            assert_eq!(
                judged(&[(1, 0, PASS), (2, 152, PASS), (3, 0, PASS)]),
                Some(true)
            );
            assert_eq!(
                judged(&[(1, 0, PASS), (2, 0, DROP), (3, 0, PASS)]),
                Some(true)
            );
            assert_eq!(judged(&[(0, 0, PASS), (4, 152, PASS)]), Some(true));
        }
        let arp = kind(Family::Arp).unwrap();
        let judged = |chains: &[(usize, usize, i32)]| {
            let (info, entries) = table(&arp, chains);
            judge(&arp, &info, &entries)
        };
        assert_eq!(
            judged(&[(0, 300, DROP), (1, 0, PASS), (2, 0, PASS)]),
            Some(false)
        );
        assert_eq!(
            judged(&[(0, 0, PASS), (1, 0, PASS), (2, 0, DROP)]),
            Some(true)
        );
    }

    #[test]
    fn what_is_cut_short_is_not_understood() {
        let kind = kind(Family::Ip).unwrap();
        let (info, entries) = table(&kind, &[(2, 0, -2)]);
        assert_eq!(judge(&kind, &info, &entries), Some(false));
        for end in 0..entries.len() {
            assert_eq!(judge(&kind, &info, &entries[..end]), None, "{end}");
        }
        assert_eq!(judge(&kind, &info[..40], &entries), None);
    }

    /// Asked of this machine's kernel: a name that no table has.
    #[test]
    fn a_table_that_is_not_there_is_an_error() {
        for family in [Family::Ip, Family::Ip6, Family::Arp] {
            assert!(concerns_bridged(family, "no-such-table").is_err());
        }
    }
}
