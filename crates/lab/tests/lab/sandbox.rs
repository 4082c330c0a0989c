//! What each right of the agent's unit is for: it is taken away, and what fails then is what
//! `docs/reference/security.md` says. With all that is left to it everything works, which all other labs show.

use crate::rig::{Rig, words};

/// Where a right is taken away.
const LESS: &str = "/run/systemd/system/accelnetd.service.d/less.conf";

/// Something that works, as a condition of the node's shell.
struct Works {
    what: &'static str,
    condition: &'static str,
    /// What has to be so before the agent starts, and how it is undone.
    before: &'static str,
    after: &'static str,
}

/// Without the setting `less` one of them does not work.
struct Right {
    less: &'static str,
    needed_for: &'static Works,
}

/// Netlink: VFs' attributes, forwarding entries, the card's own switch.
const A_VF: Works = Works {
    what: "a VM goes to a VF",
    condition: "accelnet vm enable vm1 -p Low --timeout 60",
    before: "accelnet vm disable vm1 > /dev/null",
    after: "",
};

/// Configuration space beyond its first 64 bytes is shown to administrators only.
const ISOLATION: Works = Works {
    what: "a port that does not isolate is named",
    condition: "accelnet adapter show pf1 -o json | grep -q 'no Access Control Services on'",
    before: "",
    after: "",
};

/// modprobe of vfio-pci.
const MODULE: Works = Works {
    what: "vfio-pci is loaded when it is needed",
    condition: A_VF.condition,
    before: "accelnet vm disable vm1 > /dev/null; systemctl stop accelnetd; cd /sys/bus/pci/drivers/vfio-pci; \
             for vf in 0000:*; do echo $vf > unbind; done; modprobe -r vfio-pci",
    after: "modprobe vfio-pci",
};

/// A program that does with a VF what QEMU does first (include/uapi/linux/vfio.h): `perl /run/lab-holder.pl GROUP VF`.
macro_rules! holder {
    () => {
        r#"cat > /run/lab-holder.pl <<'END_OF_HOLDER'
open(C, "+<", "/dev/vfio/vfio") or die; open(G, "+<", "/dev/vfio/$ARGV[0]") or die;
ioctl(G, 0x3b68, pack("i", fileno(C))) or die; ioctl(C, 0x3b66, 1) or die; ioctl(G, 0x3b6a, "$ARGV[1]\0") or die;
sleep 600;
END_OF_HOLDER
"#
    };
}
pub(crate) use holder;

/// `/proc/PID/fd` of a QEMU that runs as a user of its own, and what its links point to.
const HOLDER: Works = Works {
    what: "a process of another user that has a VF is named",
    condition: "accelnet adapter show pf0 -o json | grep -q '\"command\": \"perl\"'",
    before: concat!(
        "accelnet vm disable vm1 > /dev/null\n",
        holder!(),
        r#"group=$(ls /dev/vfio | grep -m 1 '^[0-9]'); chmod 666 /dev/vfio/$group
vf=$(ls /sys/kernel/iommu_groups/$group/devices)
systemd-run -q --unit lab-holder -p User=nobody perl /run/lab-holder.pl $group $vf
timeout 30 sh -c 'until [ $(cat /sys/bus/pci/devices/'$vf'/enable) = 1 ]; do sleep 0.1; done'"#
    ),
    after: "systemctl stop lab-holder; chmod 600 /dev/vfio/[0-9]*",
};

/// A VF is kept for a VM that comes in on it: the agent has its group's file open.
const INCOMING: Works = Works {
    what: "a VF is kept for a VM that comes in",
    condition: "accelnetd hook call -- vm1 migrate begin - < /run/lab-vm1.xml > /run/lab-vm1.changed",
    before: "accelnet vm enable vm1 -p Low --timeout 60 > /dev/null\n\
             virsh dumpxml vm1 > /run/lab-vm1.xml\nvirsh -q destroy vm1",
    after: "systemctl restart accelnetd\n\
            timeout 60 sh -c 'until accelnet status > /dev/null 2>&1; do sleep 0.3; done'\n\
            virsh -q start vm1\naccelnet-lab-guest wait 101 180",
};

/// What the kernel says of a card that makes no VFs, which only root may read (`kernel.dmesg_restrict`).
const LOG: Works = Works {
    what: "the kernel's log is read",
    condition: "ls -l /proc/$(systemctl show -P MainPID accelnetd)/fd | grep -q /dev/kmsg",
    before: "sysctl -q kernel.dmesg_restrict=1",
    after: "",
};

/// The socket is given to the group.
const GROUP: Works = Works {
    what: "members of the group may use the socket",
    condition: "[ $(stat -c %G /run/accelnet/accelnet.sock) = accelnet ]",
    before: "groupadd -f accelnet",
    after: "",
};

const RIGHTS: &[Right] = &[
    right("CapabilityBoundingSet=~CAP_NET_ADMIN", &A_VF),
    right("CapabilityBoundingSet=~CAP_SYS_ADMIN", &ISOLATION),
    right("CapabilityBoundingSet=~CAP_SYS_MODULE", &MODULE),
    right("CapabilityBoundingSet=~CAP_SYS_PTRACE", &HOLDER),
    right("CapabilityBoundingSet=~CAP_DAC_READ_SEARCH", &HOLDER),
    right("CapabilityBoundingSet=~CAP_SYSLOG", &LOG),
    right("CapabilityBoundingSet=~CAP_CHOWN", &GROUP),
    right("DeviceAllow=\nDeviceAllow=char-vfio* rw", &LOG),
    right("ProtectKernelTunables=yes", &A_VF),
    right("ProtectKernelModules=yes", &MODULE),
    right("ProtectKernelLogs=yes", &LOG),
    right("RestrictAddressFamilies=~AF_NETLINK", &A_VF),
    right("DeviceAllow=\nDeviceAllow=/dev/kmsg r", &INCOMING),
];

const fn right(less: &'static str, needed_for: &'static Works) -> Right {
    Right { less, needed_for }
}

impl Works {
    /// The agent starts and has looked, and then it works or does not; which, and what was said.
    fn tried(&self, rig: &Rig) -> (bool, String) {
        let Self {
            condition, before, ..
        } = self;
        rig.node(&format!(
            "{before}\nsystemctl restart accelnetd\n\
             timeout 60 sh -c 'until accelnet adapter show pf0 > /dev/null 2>&1; do sleep 0.3; done' || true"
        ));
        let run = rig.command(&["bash", "-c", &format!("{condition} 2>&1")]);
        if !self.after.is_empty() {
            rig.node(self.after);
        }
        (run.code == 0, run.out)
    }
}

/// Each thing works with what the unit leaves.
pub fn all_is_there(rig: &mut Rig) {
    rig.json(&words("enable --intent compute --when now"));
    for works in [&ISOLATION, &LOG, &GROUP, &MODULE, &HOLDER, &A_VF, &INCOMING] {
        let (mut done, mut said) = works.tried(rig);
        if !done {
            // A guest in software emulation now and then takes longer than it is given.
            (done, said) = works.tried(rig);
        }
        assert!(done, "{}: {said}", works.what);
    }
}

/// Each right is there for something.
pub fn one_is_missing(rig: &mut Rig) {
    let mut useless = Vec::new();
    for Right { less, needed_for } in RIGHTS {
        rig.node(&format!(
            "mkdir -p $(dirname {LESS}); printf '[Service]\\n%s\\n' '{less}' > {LESS}; systemctl daemon-reload"
        ));
        let (works, said) = needed_for.tried(rig);
        let what = needed_for.what;
        eprintln!(
            "  without {less:?}: {what}: {works}: {}",
            said.lines().last().unwrap_or_default()
        );
        if works {
            useless.push((*less, what));
        }
        rig.node(&format!(
            "rm {LESS}; systemctl daemon-reload; systemctl restart accelnetd\n\
             timeout 60 sh -c 'until accelnet status > /dev/null 2>&1; do sleep 0.3; done'"
        ));
    }
    assert!(useless.is_empty(), "works without it: {useless:?}");
}

/// And as it was.
pub fn all_is_there_again(rig: &mut Rig) {
    let (works, said) = A_VF.tried(rig);
    assert!(works, "{said}");
    rig.until_path("vm1", "vf", 60);
    rig.json(&words("vm disable vm1"));
    rig.until_path("vm1", "synthetic", 60);
}
