//! Guests' libvirt definitions, also odd ones for tests of bad input.

use anyhow::{Result, ensure};

use super::{Guest, Lab};

/// How a definition differs from an ordinary one.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Machine type: `q35` or `pc`.
    pub machine: String,
    /// vCPUs.
    pub vcpus: u32,
    /// The NIC can stand by for a VF.
    pub standby: bool,
    /// Free PCIe root ports.
    pub root_ports: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// It has a NIC.
    pub nic: bool,
    /// Bridge of the NIC.
    pub bridge: String,
    /// Model of the NIC.
    pub model: String,
    /// More elements for the NIC (`<bandwidth>…`).
    pub nic_extra: String,
    /// The guest loads failover and VF drivers.
    pub failover: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            machine: "q35".into(),
            vcpus: 2,
            standby: true,
            root_ports: 2,
            memory_mib: 192,
            nic: true,
            bridge: "br0".into(),
            model: "virtio".into(),
            nic_extra: String::new(),
            failover: true,
        }
    }
}

impl Lab {
    /// Defines one more guest and, unless `off`, starts it and waits until its agent answers.
    pub fn define(
        &mut self,
        guest: Guest,
        shape: &Shape,
        off: bool,
        transient: bool,
    ) -> Result<()> {
        let node = self.node(&guest.node)?.name.clone();
        ensure!(
            self.guests.iter().all(|other| other.name != guest.name),
            "guest '{}' is there already",
            guest.name
        );
        let name = guest.name.clone();
        let mut script = format!(
            "cat > {name}.xml <<'END_OF_XML'\n{}\nEND_OF_XML\n",
            definition(&guest, shape)
        );
        if transient {
            script.push_str(&format!("virsh -q create {name}.xml\n"));
        } else {
            script.push_str(&format!("virsh -q define {name}.xml\n"));
            if !off {
                script.push_str(&format!("virsh -q start {name}\n"));
            }
        }
        if !off {
            script.push_str(&wait_until_up(&guest));
        }
        self.script(&node, &script)?;
        self.guests.push(guest);
        self.save()
    }
}

/// Script lines that wait until a started guest answers. Booting takes up to 30 s; one in about fifty
/// boots under nested software emulation ends in a guest that never answers, so it is started anew.
pub fn wait_until_up(guest: &Guest) -> String {
    wait_beside(guest, 1)
}

/// The same while so many guests boot at once, on whichever nodes: they share the machine.
pub fn wait_beside(guest: &Guest, guests: u8) -> String {
    let Guest { name, host, .. } = guest;
    let seconds = 60 * u32::from(guests);
    format!(
        "accelnet-lab-guest wait {host} {seconds} || {{ virsh -q destroy {name}; virsh -q start {name}; \
         accelnet-lab-guest wait {host} {}; }}\n",
        2 * seconds
    )
}

/// The definition of a guest.
pub fn definition(guest: &Guest, shape: &Shape) -> String {
    let Guest {
        name, host, mac, ..
    } = guest;
    let pcie = shape.machine == "q35";
    let controllers = if pcie {
        // One port each for NIC and vsock, and the free ones.
        let ports = 2 + shape.root_ports;
        let ports: Vec<_> = (1..=ports)
            .map(|i| format!("  <controller type='pci' model='pcie-root-port' index='{i}'/>"))
            .collect();
        format!(
            "  <controller type='pci' index='0' model='pcie-root'/>\n{}\n",
            ports.join("\n")
        )
    } else {
        String::new()
    };
    let teaming = if shape.standby {
        "<teaming type='persistent'/>"
    } else {
        ""
    };
    let driver = if shape.model == "virtio" {
        "<driver name='vhost'/>"
    } else {
        ""
    };
    let nic = if shape.nic {
        format!(
            "  <interface type='bridge'><mac address='{mac}'/><source bridge='{}'/><model type='{}'/>{driver}\
             {teaming}<rom enabled='no'/>{}</interface>\n",
            shape.bridge, shape.model, shape.nic_extra
        )
    } else {
        String::new()
    };
    let failover = if shape.failover {
        ""
    } else {
        " lab.NOFAILOVER=1"
    };
    format!(
        "<domain type='kvm'>
 <name>{name}</name>
 <memory unit='MiB'>{memory}</memory>
 <vcpu>{vcpus}</vcpu>
 <os><type arch='x86_64' machine='{machine}'>hvm</type><kernel>/lab/guest/vmlinux</kernel><initrd>/lab/guest/initrd</initrd>
  <cmdline>console=ttyS0 quiet loglevel=1 tsc=reliable mitigations=off nokaslr no_timer_check pci=noaer panic=1 lab.NAME={name} lab.HOST={host}{failover}</cmdline></os>
 <features><acpi/><apic/></features>
 <cpu mode='host-passthrough' check='none'/>
 <clock offset='utc'><timer name='hpet' present='no'/></clock>
 <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>restart</on_crash>
 <devices>
  <emulator>/usr/bin/qemu-system-x86_64</emulator>
{controllers}  <controller type='usb' model='none'/>
{nic}  <vsock model='virtio'><cid auto='no' address='{host}'/></vsock>
  <serial type='file'><source path='/var/log/libvirt/{name}.console'/></serial>
  <memballoon model='none'/>
 </devices>
</domain>",
        vcpus = shape.vcpus,
        memory = shape.memory_mib,
        machine = shape.machine,
    )
}
