//! Pairs of a NIC and a device that somebody else set up: in the VM's definition, as the kernel's and libvirt's
//! documentation have it, or by a command.
//!
//! Such a device comes with each start of the VM, whatever accelnet does meanwhile. So the VM is refused with
//! what to do, the device is never unplugged or given other attributes, and of where frames go the evidence
//! decides, as for any other NIC.

use accelnet_model::{Code, HostdevFacts, NicFacts, Problem, VmFacts};

/// The device that somebody else made the NIC's fast half: an `<interface type='hostdev'>`, to which libvirt gives
/// the address itself, as accelnet plugs plain host devices. A plain one that stands in the definition is what a
/// restore, a migration or an old definition brought along: it has no address, or what accelnet gave it, and is
/// put right (DESIGN: VMs that come back).
pub fn of_others<'a>(vm: &'a VmFacts, nic: &NicFacts) -> Option<&'a HostdevFacts> {
    vm.hostdevs.iter().find(|device| {
        let teams = device.teaming_with.is_some() && device.teaming_with == nic.alias;
        let its = teams || device.mac == Some(nic.mac);
        its && device.mac.is_some() && !device.is_ours()
    })
}

/// Why such a VM is not managed, and what to do.
pub fn problem(vm: &VmFacts, nic: &NicFacts) -> Option<Problem> {
    let device = of_others(vm, nic)?.pci;
    let mac = nic.mac;
    let how = match vm.hostdevs_config.contains(&device) {
        true => "by the VM's own definition",
        false => "by a pool of libvirt's, or a command",
    };
    let link = match nic.link_up {
        true => "",
        false => "; the NIC's link is set down there, so that without the VF there is no way",
    };
    let text = format!("NIC {mac} is paired with {device} {how}{link}.");
    let up = match nic.link_up {
        true => "",
        false => " and <link state='down'/>",
    };
    let cure = format!(
        "Take the device's element{up} out of the definition ('virsh edit'), leave the NIC its <teaming \
         type='persistent'/>, shut the VM down and start it; accelnet can give it a VF then. As it is, accelnet \
         leaves that device alone."
    );
    let problem = Problem::new(Code::VfInUseByOthers, text).with_cure(cure);
    Some(problem.about("nic", mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn device(mac: bool, alias: &str, staged: bool) -> VmFacts {
        let mut vm = fixture::vm(1);
        let pci = "0000:01:10.0".parse().unwrap();
        vm.hostdevs.push(HostdevFacts {
            pci,
            mac: mac.then_some(vm.nics[0].mac),
            alias: Some(alias.to_owned()),
            teaming_with: vm.nics[0].alias.clone(),
        });
        vm.hostdevs_config.extend(staged.then_some(pci));
        vm
    }

    #[test]
    fn what_comes_with_each_start_is_others() {
        let ours = HostdevFacts::alias_for(fixture::vm(1).nics[0].mac);
        for (vm, others) in [
            (device(true, "hostdev0", true), true),
            (device(true, "hostdev0", false), true),
            // Of a restore, or an old definition.
            (device(false, "hostdev0", true), false),
            // QEMU remembers the first device's name, so ours may have libvirt's.
            (device(false, "hostdev0", false), false),
            (device(false, &ours, false), false),
            (device(false, &ours, true), false),
            (fixture::vm(1), false),
        ] {
            assert_eq!(of_others(&vm, &vm.nics[0]).is_some(), others, "{vm:?}");
            assert_eq!(problem(&vm, &vm.nics[0]).is_some(), others);
        }
        let mut vm = device(true, "hostdev0", true);
        // Of another NIC.
        (vm.hostdevs[0].mac, vm.hostdevs[0].teaming_with) = (None, Some("net7".into()));
        assert_eq!(of_others(&vm, &vm.nics[0]), None);
    }

    #[test]
    fn a_link_that_is_set_down_is_part_of_what_to_do() {
        let mut vm = device(true, "hostdev0", true);
        let up = problem(&vm, &vm.nics[0]).unwrap();
        vm.nics[0].link_up = false;
        let down = problem(&vm, &vm.nics[0]).unwrap();
        assert!(!up.cure.contains("state='down'") && down.cure.contains("state='down'"));
        assert!(down.detail.contains("own definition") && down.detail.contains("no way"));
        assert!(!up.detail.contains("policy") && up.detail.contains("0000:01:10.0"));
    }
}
