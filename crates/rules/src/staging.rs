//! What is staged on a VM's definition for its next cold start, and what of it is still to come.
//!
//! Standing by and root ports are what a VF needs, and are staged when that is asked for. Queues of
//! the software path follow the level: they are only ever raised, at most to the number of vCPUs, and
//! are never a reason to refuse, to wait for, or to restart anything.

use accelnet_model::{Intent, NicFacts, Performance, Staging, VmDesired, VmFacts, VmState};

use crate::observed::nics_on;

/// What the wish asks for and the VM's definition lacks.
pub fn missing(vm: &VmFacts, wish: &VmDesired, intent: &Intent) -> Staging {
    if !vm.persistent {
        return Staging::default();
    }
    let nics: Vec<&NicFacts> = nics_on(vm, &intent.bridge).collect();
    let staged = nics.iter().all(|nic| nic.standby_config)
        && vm.free_root_ports_config as usize >= nics.len();
    let standby = if wish.prepare && !staged {
        nics.iter().map(|nic| nic.mac).collect()
    } else {
        Vec::new()
    };
    let queues = wish.level.map(|level| queues(vm, intent, level));
    Staging {
        standby,
        queues: queues.unwrap_or_default(),
    }
}

/// NICs with fewer queues than the level has queue pairs. A definition that a manager makes anew is
/// left alone: the change would be gone with the next start.
fn queues(
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
) -> Vec<(accelnet_model::MacAddr, u32)> {
    let wanted = intent.levels.queue_pairs(level).min(vm.vcpus);
    if vm.managed_by.is_some() {
        return Vec::new();
    }
    nics_on(vm, &intent.bridge)
        .filter(|nic| nic.queues_can_be_raised && nic.queues_config < wanted)
        .map(|nic| (nic.mac, wanted))
        .collect()
}

/// The same in words, for a plan.
pub fn in_words(vm: &VmFacts, staging: &Staging) -> Vec<String> {
    let nic = |mac| vm.nics.iter().find(|nic| nic.mac == mac);
    let mut words = Vec::new();
    for mac in &staging.standby {
        if nic(*mac).is_some_and(|nic| !nic.standby_config) {
            words.push(format!(
                "let NIC {mac} stand by for a VF, from the VM's next cold start on"
            ));
        }
    }
    let ports = staging.standby.len();
    let missing = ports.saturating_sub(vm.free_root_ports_config as usize);
    if missing > 0 {
        words.push(format!(
            "add {missing} free PCIe root port(s), from the VM's next cold start on"
        ));
    }
    for (mac, queues) in &staging.queues {
        let now = nic(*mac).map_or(1, |nic| nic.queues_config);
        words.push(format!(
            "give NIC {mac} {queues} queues on the software path ({now} now), from the VM's next cold \
             start on"
        ));
    }
    words
}

/// What the definition of a running VM has and the VM itself has not yet.
pub fn to_come(vm: &VmFacts) -> Vec<String> {
    let mut words = Vec::new();
    if vm.state == VmState::Off {
        return words;
    }
    for nic in &vm.nics {
        let mac = nic.mac;
        if nic.standby_config && !nic.standby_live {
            words.push(format!("NIC {mac} stands by for a VF"));
        }
        if nic.queues_config > nic.queues_live {
            let (later, now) = (nic.queues_config, nic.queues_live);
            words.push(format!(
                "NIC {mac} has {later} queues on the software path ({now} now)"
            ));
        }
    }
    // Devices that were plugged take ports of the running VM only: then the ports tell nothing.
    if vm.free_root_ports_live == 0 && vm.hostdevs.is_empty() && vm.free_root_ports_config > 0 {
        let more = vm.free_root_ports_config;
        words.push(format!("{more} more free PCIe root port(s)"));
    }
    words
}

#[cfg(test)]
mod tests {
    use accelnet_model::Levels;

    use super::*;
    use crate::fixture;

    fn wish(level: Option<Performance>, prepare: bool) -> VmDesired {
        VmDesired {
            uuid: fixture::vm(1).uuid,
            level,
            prepare,
            add_nic: None,
            parked: false,
            migrate_to: None,
            waived: Vec::new(),
        }
    }

    fn vm(vcpus: u32, queues: u32) -> VmFacts {
        let mut vm = fixture::vm(1);
        vm.vcpus = vcpus;
        (vm.nics[0].queues_live, vm.nics[0].queues_config) = (queues, queues);
        vm
    }

    #[test]
    fn queues_follow_the_level_and_are_only_raised() {
        use Performance::{High, Low, Medium};
        let mut intent = fixture::intent();
        for (vcpus, has, level, expected) in [
            (4, 1, Low, None),
            (4, 1, Medium, Some(2)),
            (4, 1, High, Some(4)),
            (2, 1, High, Some(2)),
            (8, 4, High, None),
            // The user's own choice.
            (8, 8, High, None),
            (8, 3, Medium, None),
            (8, 3, High, Some(4)),
        ] {
            let vm = vm(vcpus, has);
            let found = missing(&vm, &wish(Some(level), false), &intent);
            let expected: Vec<_> = expected
                .map(|queues| (vm.nics[0].mac, queues))
                .into_iter()
                .collect();
            assert_eq!(found.queues, expected, "{vcpus} {has} {level}");
            assert!(found.standby.is_empty());
        }
        intent.levels = Levels {
            queue_pairs: "High=8".parse().unwrap(),
            ..Levels::default()
        };
        let found = missing(&vm(16, 1), &wish(Some(High), false), &intent);
        assert_eq!(found.queues[0].1, 8);
    }

    #[test]
    fn definitions_that_are_not_the_operators_own_are_left_alone() {
        let intent = fixture::intent();
        let high = wish(Some(Performance::High), false);
        let cases: [fn(&mut VmFacts); 4] = [
            |vm| vm.managed_by = Some("a manager".into()),
            |vm| vm.persistent = false,
            |vm| vm.nics[0].queues_can_be_raised = false,
            |vm| vm.nics[0].bridge = "br9".parse().ok(),
        ];
        for change in cases {
            let mut vm = vm(4, 1);
            change(&mut vm);
            assert!(missing(&vm, &high, &intent).is_empty());
        }
        assert!(missing(&vm(4, 1), &wish(None, false), &intent).is_empty());
    }

    #[test]
    fn it_is_said_before_and_until_it_takes_effect() {
        let mut vm = vm(4, 1);
        (vm.nics[0].standby_live, vm.nics[0].standby_config) = (false, false);
        (vm.free_root_ports_live, vm.free_root_ports_config) = (0, 0);
        let intent = fixture::intent();
        let staging = missing(&vm, &wish(Some(Performance::High), true), &intent);
        let words = in_words(&vm, &staging).join("; ");
        for word in [
            "stand by",
            "1 free PCIe root port",
            "4 queues",
            "(1 now)",
            "cold start",
        ] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(to_come(&vm).is_empty());
        (vm.nics[0].standby_config, vm.nics[0].queues_config) = (true, 4);
        vm.free_root_ports_config = 1;
        let words = to_come(&vm).join("; ");
        for word in ["stands by", "1 more free", "4 queues", "(1 now)"] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(missing(&vm, &wish(Some(Performance::High), true), &intent).is_empty());
        (vm.nics[0].standby_live, vm.nics[0].queues_live) = (true, 4);
        // A VF is in the port by now.
        (vm.free_root_ports_live, vm.hostdevs) = (0, fixture::observed().vms[0].hostdevs.clone());
        vm.hostdevs.push(accelnet_model::HostdevFacts {
            pci: "0000:01:10.0".parse().unwrap(),
            mac: None,
            alias: None,
            teaming_with: None,
        });
        assert!(to_come(&vm).is_empty(), "{:?}", to_come(&vm));
    }
}
