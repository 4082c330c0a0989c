//! Which counters are whose: of adapters' VFs, and of VMs' NICs.

use accelnet_model::{
    AdapterFacts, Counted, Counters, Interrupts, NicCounted, NicStatus, NodeStatus, PciAddress,
    Traffic, VmStatus,
};

/// What was counted of the VFs of an adapter, in the order of their numbers, and whether anything shows that its
/// driver counts at all: one that does not says zero of every VF. The same of what is dropped, which fewer drivers
/// count: where no VF of the adapter had any, it is not known.
pub fn of_adapter<'a>(
    adapter: &'a AdapterFacts,
    traffic: &'a Traffic,
) -> Option<(bool, impl Iterator<Item = (u32, Counters)> + use<'a>)> {
    let vfs = traffic.vfs.get(&adapter.ifname)?;
    let counts = vfs.values().any(Counters::is_any);
    let any = |of: fn(&Counters) -> Option<u64>| vfs.values().any(|vf| of(vf) > Some(0));
    let (to, from) = (any(|vf| vf.rx_dropped), any(|vf| vf.tx_dropped));
    let counted = vfs.iter().map(move |(number, of)| {
        let counters = Counters {
            rx_dropped: of.rx_dropped.filter(|_| to),
            tx_dropped: of.tx_dropped.filter(|_| from),
            ..*of
        };
        (*number, counters)
    });
    Some((counts, counted))
}

/// What was counted of the NICs of a VM.
pub fn of_vm(
    status: &NodeStatus,
    vm: &VmStatus,
    traffic: &Result<Traffic, String>,
) -> Vec<NicCounted> {
    let nics = vm.nics.iter();
    nics.map(|nic| NicCounted {
        vm: vm.facts.uuid,
        mac: nic.mac,
        software: of_tap(vm, nic, traffic),
        vf: of_vf(status, nic, traffic),
        pci: nic.vf,
        interrupts: nic.vf.and_then(|pci| of_interrupts(pci, traffic)),
    })
    .collect()
}

fn of_tap(vm: &VmStatus, nic: &NicStatus, traffic: &Result<Traffic, String>) -> Option<Counted> {
    let mut facts = vm.facts.nics.iter();
    let tap = facts.find(|facts| facts.mac == nic.mac)?.tap.as_ref()?;
    Some(match traffic {
        Err(because) => not_seen(because),
        Ok(traffic) => match traffic.interfaces.get(tap) {
            Some(counters) => Counted::Counted(counters.from_the_other_end()),
            None => not_seen("its tap was not there any more"),
        },
    })
}

fn of_vf(
    status: &NodeStatus,
    nic: &NicStatus,
    traffic: &Result<Traffic, String>,
) -> Option<Counted> {
    let pci = nic.vf?;
    let traffic = match traffic {
        Ok(traffic) => traffic,
        Err(because) => return Some(not_seen(because)),
    };
    let adapters = status.adapters.iter().map(|adapter| &adapter.facts);
    let found = adapters
        .filter_map(|facts| Some((facts, facts.vfs.iter().find(|vf| vf.pci == pci)?)))
        .next();
    let Some((adapter, vf)) = found else {
        return Some(not_seen("its adapter is not seen"));
    };
    let counted = of_adapter(adapter, traffic).and_then(|(counts, mut vfs)| {
        let (_, counters) = vfs.find(|(number, _)| *number == vf.index)?;
        Some((counts, counters))
    });
    Some(match counted {
        None => not_seen("the kernel tells nothing of its adapter's VFs"),
        Some((true, counters)) => Counted::Counted(counters),
        Some((false, _)) => Counted::NotCounted {
            driver: adapter
                .driver
                .clone()
                .unwrap_or_else(|| "its driver".to_owned()),
        },
    })
}

/// A VF without any has no line: no driver drives it.
fn of_interrupts(pci: PciAddress, traffic: &Result<Traffic, String>) -> Option<Interrupts> {
    let read = traffic.as_ref().ok()?.interrupts.as_ref()?;
    Some(read.get(&pci).copied().unwrap_or_default())
}

fn not_seen(because: &str) -> Counted {
    Counted::NotSeen {
        because: because.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use accelnet_model::{AdapterStatus, NicPath};
    use accelnet_rules::fixture;

    use super::*;

    /// A VM with a tap, on VF 0 of an adapter of two.
    fn scene() -> (NodeStatus, VmStatus) {
        let facts = fixture::adapter(2);
        let mut vm = fixture::vm(1);
        vm.nics[0].tap = Some("vnet0".parse().unwrap());
        let mut vm = VmStatus::of(vm);
        vm.nics[0] = NicStatus {
            path: NicPath::Vf,
            adapter: Some(facts.ifname.clone()),
            vf: Some(facts.vfs[0].pci),
            ..vm.nics[0].clone()
        };
        let status = NodeStatus {
            adapters: vec![AdapterStatus::of(facts)],
            ..NodeStatus::default()
        };
        (status, vm)
    }

    fn received(rx_packets: u64) -> Counters {
        Counters {
            rx_packets,
            ..Counters::default()
        }
    }

    fn traffic(of_vfs: [u64; 2]) -> Traffic {
        let vfs: BTreeMap<u32, Counters> = (0..).zip(of_vfs.map(received)).collect();
        Traffic {
            interfaces: [("vnet0".parse().unwrap(), received(7))].into(),
            vfs: [(fixture::adapter(2).ifname, vfs)].into(),
            interrupts: Some(BTreeMap::new()),
            ..Traffic::default()
        }
    }

    #[test]
    fn zero_is_a_count_only_where_something_else_was_counted() {
        let (status, vm) = scene();
        let of = |traffic| of_vm(&status, &vm, &Ok(traffic)).remove(0).vf.unwrap();
        assert_eq!(of(traffic([5, 0])), Counted::Counted(received(5)));
        // The driver counts: another VF had packets.
        assert_eq!(of(traffic([0, 5])), Counted::Counted(received(0)));
        let none = of(traffic([0, 0]));
        assert!(
            matches!(&none, Counted::NotCounted { driver } if driver == "igb"),
            "{none:?}"
        );
    }

    #[test]
    fn no_drops_are_known_of_a_driver_that_counts_packets_alone() {
        let (status, vm) = scene();
        let of = |second: Option<u64>| {
            let mut traffic = traffic([5, 5]);
            for vfs in traffic.vfs.values_mut() {
                vfs.get_mut(&0).unwrap().tx_dropped = Some(0);
                vfs.get_mut(&1).unwrap().tx_dropped = second;
            }
            match of_vm(&status, &vm, &Ok(traffic)).remove(0).vf {
                Some(Counted::Counted(of)) => of.tx_dropped,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of(Some(0)), None);
        assert_eq!(of(Some(7)), Some(0));
    }

    #[test]
    fn interrupts_that_were_not_read_are_not_none() {
        let (status, vm) = scene();
        let pci = vm.nics[0].vf.unwrap();
        let of = |interrupts| {
            let traffic = Traffic {
                interrupts,
                ..traffic([1, 1])
            };
            of_vm(&status, &vm, &Ok(traffic)).remove(0).interrupts
        };
        let some = Interrupts {
            vectors: 3,
            fired: 70,
        };
        assert_eq!(of(Some([(pci, some)].into())), Some(some));
        assert_eq!(of(Some(BTreeMap::new())), Some(Interrupts::default()));
        assert_eq!(of(None), None);
        let late = Err("the kernel is busy".to_owned());
        assert_eq!(of_vm(&status, &vm, &late).remove(0).interrupts, None);
    }

    #[test]
    fn what_was_not_read_is_not_seen_and_a_tap_is_told_from_the_guest_s_side() {
        let (status, mut vm) = scene();
        let seen = of_vm(&status, &vm, &Ok(traffic([1, 1]))).remove(0);
        let Some(Counted::Counted(tap)) = seen.software else {
            panic!("{seen:?}");
        };
        assert_eq!((tap.tx_packets, tap.rx_packets), (7, 0));
        let unread = of_vm(&status, &vm, &Err("the kernel is busy".to_owned())).remove(0);
        for counted in [unread.software, unread.vf] {
            assert!(
                matches!(&counted, Some(Counted::NotSeen { because }) if because.contains("busy")),
                "{counted:?}"
            );
        }
        let gone = of_vm(&status, &vm, &Ok(Traffic::default())).remove(0);
        assert!(matches!(gone.software, Some(Counted::NotSeen { .. })));
        assert!(matches!(gone.vf, Some(Counted::NotSeen { .. })));
        vm.facts.nics[0].tap = None;
        vm.nics[0].vf = None;
        let without = of_vm(&status, &vm, &Ok(traffic([1, 1]))).remove(0);
        assert_eq!((without.software, without.vf), (None, None));
    }
}
