use accelnet_model::{Performance, VfUser, VmDesired, VmJob};

use super::*;
use crate::fixture;

/// `vm1` on VF 0 of `pf0`, looked at every ten seconds.
struct Bench {
    observed: Observed,
    desired: NodeDesired,
    vfs: BTreeMap<u32, Counters>,
    missed: u64,
    misuse: Option<BTreeMap<Option<u32>, u64>>,
    readable: bool,
    on_tap: bool,
    counts: Counts,
    now: Duration,
}

impl Bench {
    /// The card counts: another VF has sent something.
    fn new() -> Self {
        let mut observed = fixture::observed();
        fixture::put_on_vf(&mut observed, 0, 0);
        let mut vfs: BTreeMap<u32, Counters> = (0..7).map(|vf| (vf, Counters::default())).collect();
        vfs.insert(
            6,
            Counters {
                tx_packets: 1,
                ..Counters::default()
            },
        );
        let wish = VmDesired {
            uuid: observed.vms[0].uuid,
            level: Some(Performance::Low),
            prepare: false,
            add_nic: None,
            parked: false,
            migrate_to: None,
            waived: Vec::new(),
        };
        Self {
            observed,
            desired: NodeDesired {
                vms: vec![wish],
                ..fixture::desired()
            },
            vfs,
            missed: 0,
            misuse: None,
            readable: true,
            on_tap: false,
            counts: Counts::default(),
            now: Duration::ZERO,
        }
    }

    fn vf(&mut self) -> &mut Counters {
        self.vfs.get_mut(&0).unwrap()
    }

    fn tap(&mut self) -> &mut u64 {
        let mut ports = self.observed.bridges[0].ports.iter_mut();
        let port = ports.find(|port| port.ifname.as_str() == "vnet1");
        &mut port.unwrap().rx_packets
    }

    /// The next look, before which the guest sent so many frames by each.
    fn look(&mut self, by_vf: u64, by_tap: u64) -> &Told {
        self.vf().tx_packets += by_vf;
        *self.tap() += by_tap;
        self.now += Duration::from_secs(10);
        let name: IfName = "pf0".parse().unwrap();
        let own = Counters {
            rx_missed: Some(self.missed),
            ..Counters::default()
        };
        let traffic = Traffic {
            interfaces: [(name.clone(), own)].into(),
            vfs: [(name.clone(), self.vfs.clone())].into(),
            misuse: self.misuse.clone(),
            ..Traffic::default()
        };
        let read = match self.readable {
            true => [(name, traffic)].into(),
            false => BTreeMap::new(),
        };
        let on_tap = self.on_tap;
        let (observed, desired) = (&self.observed, &self.desired);
        self.counts
            .take(self.now, observed, desired, &read, |_| on_tap);
        self.counts.told()
    }

    fn is_idle(&mut self, by_vf: u64, by_tap: u64) -> bool {
        !self.look(by_vf, by_tap).idle_vfs.is_empty()
    }
}

#[test]
fn a_guest_that_sends_by_its_tap_alone_is_told_at_the_third_look_until_it_sends_by_its_vf() {
    let mut bench = Bench::new();
    assert_eq!(adapters(&bench.observed, &bench.desired).len(), 1);
    for expected in [false, false, false, true, true] {
        assert_eq!(bench.is_idle(0, 5), expected, "{:?}", bench.now);
    }
    // Silence says nothing.
    assert!(bench.is_idle(0, 0));
    let told = bench.counts.told().idle_vfs[0];
    assert_eq!(told.vm, bench.observed.vms[0].uuid);
    assert_eq!(told.vf, bench.observed.adapters[0].vfs[0].pci);
    assert!(!bench.is_idle(1, 50), "it sends by its VF, among others");
}

#[test]
fn silence_and_a_frame_now_and_then_are_no_sign() {
    let mut bench = Bench::new();
    bench.look(0, 0);
    // A switch-over: frames by the tap, and then by the VF.
    assert!(!bench.is_idle(0, 900));
    assert!(!bench.is_idle(0, 900));
    assert!(!bench.is_idle(3, 1));
    for _ in 0..20 {
        assert!(!bench.is_idle(0, 0));
    }
    assert!(!bench.is_idle(0, 1));
}

#[test]
fn of_a_card_that_counts_nothing_nothing_is_told() {
    let mut bench = Bench::new();
    bench.vfs.get_mut(&6).unwrap().tx_packets = 0;
    // One that counts what is received only counts nothing that is sent.
    bench.vf().rx_packets = 7;
    for _ in 0..9 {
        assert!(!bench.is_idle(0, 5));
    }
}

#[test]
fn a_vf_that_cannot_be_used_or_was_given_up_is_not_idle() {
    let spoil: [fn(&mut Bench); 6] = [
        |bench| bench.observed.adapters[0].vfs[0].active_vectors = 0,
        |bench| bench.observed.adapters[0].carrier = false,
        |bench| bench.observed.vms[0].state = VmState::Paused,
        |bench| bench.observed.vms[0].job = Some(VmJob::Outgoing),
        |bench| bench.on_tap = true,
        |bench| bench.desired.vms.clear(),
    ];
    for spoil in spoil {
        let mut bench = Bench::new();
        for _ in 0..4 {
            bench.look(0, 5);
        }
        assert_eq!(bench.counts.told().idle_vfs.len(), 1);
        spoil(&mut bench);
        assert!(!bench.is_idle(0, 5));
        assert!(!bench.is_idle(0, 5));
    }
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut bench = Bench::new();
    bench.look(0, 5);
    bench.look(0, 5);
    bench.look(0, 5);
    bench.readable = false;
    for _ in 0..9 {
        assert!(!bench.is_idle(0, 5));
    }
    bench.readable = true;
    assert!(bench.is_idle(0, 5));
    bench.readable = false;
    assert!(bench.is_idle(0, 5));
}

#[test]
fn counters_that_go_back_tell_nothing_of_the_time_since() {
    let mut bench = Bench::new();
    bench.vf().tx_packets = 1_000;
    bench.vf().tx_dropped = Some(500);
    bench.missed = 1_000_000;
    *bench.tap() = 1_000;
    bench.look(0, 0);
    assert!(!bench.is_idle(0, 5));
    assert!(!bench.is_idle(0, 5));
    // The driver was loaded again, and the VF made anew: all begins at nothing.
    *bench.vf() = Counters {
        tx_dropped: Some(0),
        ..Counters::default()
    };
    bench.missed = 0;
    assert!(!bench.is_idle(0, 5));
    assert!(bench.is_idle(0, 5), "it goes on from where it began anew");
    let told = bench.counts.told();
    assert_eq!(
        (&told.vf_drops[..], &told.adapter_drops[..]),
        (&[][..], &[][..])
    );
    // A tap that was made anew.
    *bench.tap() = 0;
    bench.vf().tx_packets = u64::MAX;
    assert!(!bench.is_idle(0, 0), "it sent by its VF");
    // A counter that is at its end begins at nothing.
    bench.vf().tx_packets = 3;
    assert!(!bench.is_idle(0, 5));
}

#[test]
fn another_vf_is_another_beginning() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        bench.look(0, 5);
    }
    bench.observed.vms[0].hostdevs.clear();
    fixture::put_on_vf(&mut bench.observed, 0, 1);
    bench.vfs.get_mut(&1).unwrap().tx_dropped = Some(70);
    assert!(!bench.is_idle(0, 5));
    assert!(!bench.is_idle(0, 5));
    bench.now += TOLD_EVERY;
    bench.look(0, 0);
    assert!(
        bench.counts.told().vf_drops.is_empty(),
        "what others' frames were dropped before is not this VM's"
    );
    bench.observed.vms[0].hostdevs.clear();
    // A VF that libvirt has forgotten and QEMU has open would be the VM's still.
    for vf in &mut bench.observed.adapters[0].vfs {
        vf.user = VfUser::Nobody;
    }
    assert!(adapters(&bench.observed, &bench.desired).is_empty());
    assert!(!bench.is_idle(0, 5));
    assert!(bench.counts.nics.is_empty() && bench.counts.adapters.is_empty());
}

#[test]
fn drops_are_summed_up_since_the_first_look_and_told_once_a_minute() {
    let mut bench = Bench::new();
    bench.missed = 10;
    bench.vf().rx_dropped = Some(10);
    bench.vf().tx_dropped = Some(10);
    assert!(bench.look(1, 0).vf_drops.is_empty());
    bench.missed += 3;
    bench.vf().rx_dropped = Some(14);
    bench.vf().tx_dropped = Some(15);
    let told = bench.look(1, 0).clone();
    assert_eq!(told.adapter_drops[0].no_buffer, 3);
    let drops = &told.vf_drops[0];
    assert_eq!((drops.to_guest, drops.from_guest), (4, 5));
    for seconds in (10..60).step_by(10) {
        bench.missed += 1;
        assert_eq!(bench.look(1, 0), &told, "after {seconds} s");
    }
    bench.missed += 1;
    assert_eq!(bench.look(1, 0).adapter_drops[0].no_buffer, 9);
}

#[test]
fn what_a_driver_says_of_a_vf_is_its_vm_s_since_it_has_it() {
    let mut bench = Bench::new();
    // Said of whoever had the VF before, and of others.
    bench.misuse = Some([(Some(0), 5), (Some(3), 9), (None, 7)].into());
    assert_eq!(*bench.look(1, 0), Told::default());
    bench.misuse = Some([(Some(0), 7), (Some(3), 20), (None, 8)].into());
    let told = bench.look(1, 0).clone();
    assert_eq!((told.vf_drops[0].misused, told.vf_drops.len()), (2, 1));
    assert_eq!(told.adapter_drops[0].misused, 1);
    // A log that cannot be read, and one that begins anew, say nothing.
    for misuse in [None, Some(BTreeMap::new())] {
        bench.misuse = misuse;
        bench.now += TOLD_EVERY;
        assert_eq!(bench.look(1, 0).vf_drops[0].misused, 2);
    }
    bench.misuse = Some([(Some(0), 1)].into());
    bench.now += TOLD_EVERY;
    assert_eq!(bench.look(1, 0).vf_drops[0].misused, 3);
}
