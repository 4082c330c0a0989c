//! BPF programs that are attached to a device and see its frames in the kernel: tcx (Linux 6.6) and netkit
//! (6.7). XDP shows itself among the interfaces.
//!
//! Asked for by `BPF_PROG_QUERY` (include/uapi/linux/bpf.h, kernel/bpf/syscall.c, `bpf_prog_query`), which
//! costs about a microsecond and no dump.

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{finding, unread};
use crate::{HostError, linux::links::Interface};

const BPF_PROG_QUERY: libc::c_int = 16;
const TCX: [(u32, &str); 2] = [(46, "tcx ingress"), (47, "tcx egress")];
const NETKIT: [(u32, &str); 2] = [(54, "netkit primary"), (55, "netkit peer")];

/// `union bpf_attr` as this command has it.
#[repr(C)]
#[derive(Default)]
struct Query {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    padding: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Asks once for what the kernel can have at all.
#[derive(Debug, Default)]
pub struct Programs {
    /// Kinds of attachment that this kernel does not have.
    none: Vec<u32>,
}

impl Programs {
    /// What is attached to a device; `role` says what it is on the path.
    pub fn on(&mut self, device: &Interface, role: &str) -> Vec<PolicyFinding> {
        let netkit = NETKIT.iter().filter(|_| device.kind == "netkit");
        let mut found = Vec::new();
        for (kind, place) in TCX.iter().chain(netkit) {
            if self.none.contains(kind) {
                continue;
            }
            match count(device.index, *kind) {
                Ok(0) => {}
                Ok(count) => {
                    let rule = format!("{count} BPF program(s) at {place}");
                    let name = format!("{role}/{}", place.replace(' ', "-"));
                    found.push(finding(PolicyKind::Ebpf, &device.name, rule, &name));
                }
                // No such kind of attachment, or no BPF.
                Err(libc::EINVAL | libc::ENOSYS) => self.none.push(*kind),
                // Nothing was ever attached there, or the device is gone (kernel/bpf/tcx.c, `tcx_prog_query`).
                Err(libc::ENOENT | libc::ENODEV) => {}
                Err(errno) => found.push(unknown(device, errno)),
            }
        }
        found
    }
}

fn unknown(device: &Interface, errno: i32) -> PolicyFinding {
    let needs = match errno {
        libc::EPERM => " (it needs CAP_NET_ADMIN, and CAP_BPF where BPF is not for everybody)",
        _ => "",
    };
    let operation = format!("ask for the BPF programs of {}{needs}", device.name);
    let error = HostError::kernel(operation, errno, None);
    unread(PolicyKind::Ebpf, &device.name, &error)
}

/// How many programs are attached; the errno if the kernel does not say.
fn count(interface: u32, attach_type: u32) -> Result<u32, i32> {
    let mut query = Query {
        interface,
        attach_type,
        ..Query::default()
    };
    // SAFETY: pointer and size describe `query`, which is alive and written by nobody else during the call, and
    // the kernel writes no more than that; it has no pointers of ours (`program_ids` is 0).
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            std::ptr::from_mut(&mut query),
            size_of::<Query>(),
        )
    };
    if result == 0 {
        return Ok(query.count);
    }
    let error = std::io::Error::last_os_error();
    Err(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd, OwnedFd};

    use super::*;
    use crate::linux::{
        links::Links,
        own_network::{cable, in_own_network, name, skipped},
    };

    /// A call of bpf(2) that gives a descriptor.
    fn bpf<T>(command: libc::c_int, attribute: &T) -> Result<OwnedFd, i32> {
        // SAFETY: pointer and size describe `attribute`, which is alive during the call, as is what it points to.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_ref(attribute),
                size_of::<T>(),
            )
        };
        let failed = std::io::Error::last_os_error();
        let number = i32::try_from(result).ok().filter(|number| *number >= 0);
        match number {
            // SAFETY: the kernel has just made it for us.
            Some(number) => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
            None => Err(failed.raw_os_error().unwrap()),
        }
    }

    #[repr(C)]
    #[derive(Default)]
    struct Load {
        program_type: u32,
        instructions: u32,
        code: u64,
        license: u64,
        more: [u64; 6],
    }

    /// What this command has of `union bpf_attr`: program, interface, kind of attachment, flags.
    type Link = [u32; 16];

    #[test]
    fn a_program_at_tcx_is_found_where_it_is() {
        const BPF_PROG_LOAD: libc::c_int = 5;
        const BPF_LINK_CREATE: libc::c_int = 28;
        const SCHED_CLS: u32 = 3;
        in_own_network(|_| {
            for end in ["t0", "t1"] {
                cable(end, None);
            }
            let links = Links::read().unwrap();
            let link = |end: &str| links.required(&name(end)).unwrap();
            // mov r0, TCX_NEXT; exit
            let code: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
            let load = Load {
                program_type: SCHED_CLS,
                instructions: 2,
                code: code.as_ptr() as u64,
                license: c"GPL".as_ptr() as u64,
                ..Load::default()
            };
            let program = match bpf(BPF_PROG_LOAD, &load) {
                Err(errno @ (libc::EPERM | libc::ENOSYS)) => {
                    return skipped(
                        "tcx",
                        &format!("a program cannot be loaded (errno {errno})"),
                    );
                }
                other => other.unwrap(),
            };
            assert_eq!(Programs::default().on(link("t0"), "tap"), []);
            let mut attribute: Link = [0; 16];
            let program = std::os::fd::AsRawFd::as_raw_fd(&program);
            attribute[..3].copy_from_slice(&[program as u32, link("t0").index, TCX[1].0]);
            let attached = match bpf(BPF_LINK_CREATE, &attribute) {
                Err(libc::EINVAL) => return skipped("tcx", "the kernel has no tcx"),
                other => other.unwrap(),
            };
            let mut programs = Programs::default();
            let found = programs.on(link("t0"), "tap");
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].rule, "1 BPF program(s) at tcx egress");
            assert_eq!(found[0].name.as_deref(), Some("tap/tcx-egress"));
            assert_eq!(programs.on(link("t1"), "tap"), []);
            drop(attached);
            assert_eq!(programs.on(link("t0"), "tap"), []);
        });
    }

    #[test]
    fn without_the_right_to_ask_it_is_not_known() {
        let links = Links::read().unwrap();
        let device = links.iter().next().unwrap();
        let found = unknown(device, libc::EPERM);
        assert!(found.rule.contains("CAP_NET_ADMIN"), "{found:?}");
        assert_eq!(found.name, None, "nothing waives it");
    }
}
