use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 0x11]);

/// Which changes are refused, with what errno, how often.
type Refusal = (fn(Change) -> bool, i32, u32);

/// A driver in memory.
struct Fake {
    vf: RefCell<Vf>,
    log: RefCell<Vec<Change>>,
    refuse: RefCell<Vec<Refusal>>,
    /// Takes changes without doing them.
    deaf: bool,
    link: bool,
}

impl Fake {
    fn new(attributes: VfAttributes) -> Self {
        Self {
            vf: RefCell::new(Vf {
                attributes,
                dot1q: true,
            }),
            log: RefCell::default(),
            refuse: RefCell::default(),
            deaf: false,
            link: true,
        }
    }

    fn refusing(self, which: fn(Change) -> bool, errno: i32, times: u32) -> Self {
        self.refuse.borrow_mut().push((which, errno, times));
        self
    }
}

impl Card for Fake {
    fn read(&self) -> Result<BTreeMap<u32, Vf>> {
        Ok(BTreeMap::from([(3, self.vf.borrow().clone())]))
    }

    fn has_link(&self) -> Result<bool> {
        Ok(self.link)
    }

    fn change(&self, vf: u32, change: Change) -> Result<()> {
        assert_eq!(vf, 3);
        self.log.borrow_mut().push(change);
        for (which, errno, times) in self.refuse.borrow_mut().iter_mut() {
            if which(change) && *times > 0 {
                *times -= 1;
                return Err(HostError::kernel("change", *errno, None));
            }
        }
        if self.deaf {
            return Ok(());
        }
        let mut vf = self.vf.borrow_mut();
        let attributes = &mut vf.attributes;
        match change {
            Change::Mac(mac) => attributes.mac = mac,
            Change::Vlan(vlan, qos) => (attributes.vlan, attributes.qos) = (vlan, qos),
            Change::Spoofchk(on) => attributes.spoofchk = Support::Supported(on),
            Change::Trust(on) => attributes.trust = Support::Supported(on),
            Change::Link(link) => attributes.link = Support::Supported(link),
            Change::Rates { min_mbps, max_mbps } => {
                attributes.min_tx_rate_mbps = Support::Supported(min_mbps);
                attributes.max_tx_rate_mbps = Support::Supported(max_mbps);
            }
        }
        vf.dot1q = true;
        Ok(())
    }
}

fn is_rates(change: Change) -> bool {
    matches!(change, Change::Rates { .. })
}

fn with_min(change: Change) -> bool {
    matches!(change, Change::Rates { min_mbps, .. } if min_mbps != 0)
}

fn free() -> VfAttributes {
    VfAttributes {
        mac: GUEST,
        vlan: 5,
        qos: 1,
        spoofchk: Support::Supported(false),
        trust: Support::Supported(true),
        max_tx_rate_mbps: Support::Supported(100),
        min_tx_rate_mbps: Support::Supported(0),
        link: Support::Supported(VfLink::Down),
    }
}

#[test]
fn a_used_vf_comes_back_to_the_baseline_restrictions_first() {
    let card = Fake::new(free());
    let found = ensure(&card, 3, &VfAttributes::baseline()).unwrap();
    assert!(found.fulfils(&VfAttributes::baseline()));
    assert_eq!(
        *card.log.borrow(),
        [
            Change::Trust(false),
            Change::Spoofchk(true),
            Change::Mac(MacAddr::ZERO),
            Change::Vlan(0, 0),
            Change::Rates {
                min_mbps: 0,
                max_mbps: 0
            },
            Change::Link(VfLink::Auto)
        ]
    );
    card.log.borrow_mut().clear();
    ensure(&card, 3, &VfAttributes::baseline()).unwrap();
    assert_eq!(
        *card.log.borrow(),
        [],
        "the second time there is nothing to do"
    );
}

#[test]
fn a_driver_without_minimum_rate_gets_the_maximum_alone() {
    // igb: EINVAL for a minimum.
    let card = Fake::new(VfAttributes::for_mac(GUEST)).refusing(with_min, libc::EINVAL, 9);
    let wanted = VfAttributes {
        min_tx_rate_mbps: Support::Supported(10),
        max_tx_rate_mbps: Support::Supported(100),
        ..VfAttributes::for_mac(GUEST)
    };
    let found = ensure(&card, 3, &wanted).unwrap();
    assert_eq!(found.min_tx_rate_mbps, Support::Unsupported);
    assert_eq!(found.max_tx_rate_mbps, Support::Supported(100));
    assert!(!found.fulfils(&wanted));
}

#[test]
fn a_driver_without_rates_says_unsupported_and_keeps_the_rest() {
    let card = Fake::new(VfAttributes::baseline()).refusing(is_rates, libc::EOPNOTSUPP, 9);
    let wanted = VfAttributes {
        max_tx_rate_mbps: Support::Supported(100),
        ..VfAttributes::for_mac(GUEST)
    };
    let found = ensure(&card, 3, &wanted).unwrap();
    assert_eq!(found.max_tx_rate_mbps, Support::Unsupported);
    assert_eq!(found.mac, GUEST);
}

#[test]
fn a_refused_value_is_an_error_not_an_absence() {
    // igb refuses a rate above the link's with EINVAL.
    let card = Fake::new(VfAttributes::baseline()).refusing(is_rates, libc::EINVAL, 9);
    let wanted = VfAttributes {
        max_tx_rate_mbps: Support::Supported(100_000),
        ..VfAttributes::baseline()
    };
    let error = ensure(&card, 3, &wanted).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EINVAL));
}

#[test]
fn a_driver_that_changes_no_rate_without_link_does_the_rest_and_says_what_it_lacks() {
    let card = Fake {
        link: false,
        ..Fake::new(free()).refusing(is_rates, libc::EINVAL, 9)
    };
    let error = ensure(&card, 3, &VfAttributes::baseline()).unwrap_err();
    assert!(matches!(error, HostError::NeedsLink(_)), "{error}");
    let left = VfAttributes {
        max_tx_rate_mbps: Support::Supported(100),
        ..VfAttributes::baseline()
    };
    assert_eq!(card.vf.borrow().attributes, left);
}

#[test]
fn absent_trust_is_not_asked_for_and_absent_spoof_check_is_tried() {
    let bare = VfAttributes {
        spoofchk: Support::Unsupported,
        trust: Support::Unsupported,
        ..VfAttributes::baseline()
    };
    let is_spoofchk = |change| matches!(change, Change::Spoofchk(_));
    let card = Fake::new(bare.clone()).refusing(is_spoofchk, libc::EOPNOTSUPP, 9);
    let found = ensure(&card, 3, &VfAttributes::baseline()).unwrap();
    assert_eq!(*card.log.borrow(), [Change::Spoofchk(true)]);
    assert_eq!(found, bare);
    assert!(!found.fulfils(&VfAttributes::baseline()));
}

#[test]
fn a_link_that_cannot_be_set_is_unsupported_and_fits_if_it_shall_follow_the_adapters() {
    let is_link = |change| matches!(change, Change::Link(_));
    // igb reads as auto; others say nothing.
    for reads in [Support::Supported(VfLink::Auto), Support::Unknown] {
        let without = VfAttributes {
            link: reads,
            ..VfAttributes::for_mac(GUEST)
        };
        let card = Fake::new(without).refusing(is_link, libc::EOPNOTSUPP, 9);
        let found = ensure(&card, 3, &VfAttributes::for_mac(GUEST)).unwrap();
        assert_eq!(*card.log.borrow(), [], "nothing to set");
        assert!(found.fulfils(&VfAttributes::for_mac(GUEST)));
        let down = VfAttributes {
            link: Support::Supported(VfLink::Down),
            ..VfAttributes::for_mac(GUEST)
        };
        let found = ensure(&card, 3, &down).unwrap();
        assert_eq!(found.link, Support::Unsupported);
        assert!(!found.fulfils(&down));
        assert!(found.fulfils(&VfAttributes::for_mac(GUEST)));
    }
}

#[test]
fn a_link_goes_down_and_comes_back_and_is_read_back() {
    let with = |link| VfAttributes {
        link: Support::Supported(link),
        ..VfAttributes::for_mac(GUEST)
    };
    let card = Fake::new(with(VfLink::Auto));
    for link in [VfLink::Down, VfLink::Up, VfLink::Auto] {
        let found = ensure(&card, 3, &with(link)).unwrap();
        assert!(found.fulfils(&with(link)));
        assert_eq!(
            card.log.borrow_mut().drain(..).as_slice(),
            [Change::Link(link)]
        );
    }
    let deaf = Fake {
        deaf: true,
        ..Fake::new(with(VfLink::Auto))
    };
    let error = ensure(&deaf, 3, &with(VfLink::Down))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("link down") && error.contains("link auto"),
        "{error}"
    );
}

#[test]
fn a_vf_in_reset_is_tried_again() {
    let card = Fake::new(VfAttributes::baseline()).refusing(|_| true, libc::EAGAIN, 3);
    let found = ensure(&card, 3, &VfAttributes::for_mac(GUEST)).unwrap();
    assert_eq!(found.mac, GUEST);
    assert_eq!(card.log.borrow().len(), 4);
}

#[test]
fn what_the_driver_takes_but_does_not_do_is_reported() {
    let card = Fake {
        deaf: true,
        ..Fake::new(VfAttributes::baseline())
    };
    let error = ensure(&card, 3, &VfAttributes::for_mac(GUEST)).unwrap_err();
    assert!(matches!(error, HostError::NotAsAsked { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("address 52:54:00:77:00:11") && text.contains("address none"),
        "{text}"
    );
}

#[test]
fn who_gave_a_vf_another_address_is_about_to_use_it() {
    let idle = |mac| IdleVf {
        pf: "0000:01:00.0".parse().unwrap(),
        index: 3,
        vf: "0000:01:10.6".parse().unwrap(),
        mac,
    };
    let (ours, his) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    let card = Fake::new(VfAttributes::for_mac(his));
    assert_eq!(still_idle(&card, &idle(his)), Ok(()));
    let refused = still_idle(&card, &idle(ours)).unwrap_err();
    assert!(refused.to_string().contains(&his.to_string()), "{refused}");
    // We took it off ourselves, and were interrupted.
    let card = Fake::new(VfAttributes::baseline());
    assert_eq!(still_idle(&card, &idle(ours)), Ok(()));
}

#[test]
fn a_tag_of_another_protocol_is_replaced() {
    let card = Fake::new(free());
    card.vf.borrow_mut().dot1q = false;
    ensure(&card, 3, &free()).unwrap();
    assert_eq!(*card.log.borrow(), [Change::Vlan(5, 1)]);
}

fn attributes() -> impl Strategy<Value = VfAttributes> {
    let flag = prop_oneof![
        any::<bool>().prop_map(Support::Supported),
        Just(Support::Unsupported),
        Just(Support::Unknown)
    ];
    (
        prop_oneof![Just(MacAddr::ZERO), Just(GUEST)],
        0u16..3,
        0u8..2,
        flag.clone(),
        flag,
        0u32..3,
        0u32..3,
        prop_oneof![
            Just(Support::Supported(VfLink::Auto)),
            Just(Support::Supported(VfLink::Up)),
            Just(Support::Supported(VfLink::Down)),
            Just(Support::Unknown)
        ],
    )
        .prop_map(
            |(mac, vlan, qos, spoofchk, trust, max, min, link)| VfAttributes {
                mac,
                vlan,
                qos,
                spoofchk,
                trust,
                max_tx_rate_mbps: Support::Supported(max),
                min_tx_rate_mbps: Support::Supported(min),
                link,
            },
        )
}

proptest! {
    /// From anything to anything: what is wanted holds after, nothing is left to do, and on the
    /// way the VF is never freer than at the ends.
    #[test]
    fn every_wanted_state_is_reached(before in attributes(), wanted in attributes()) {
        let card = Fake::new(before);
        let found = ensure(&card, 3, &wanted).unwrap();
        prop_assert_eq!((found.mac, found.vlan, found.qos), (wanted.mac, wanted.vlan, wanted.qos));
        for (have, want) in [(found.spoofchk, wanted.spoofchk), (found.trust, wanted.trust)] {
            let absence = have == Support::Unsupported && want.is(&false);
            prop_assert!(want.value().is_none() || have == want || absence);
        }
        let follows = found.link.value().is_none() && wanted.link.is(&VfLink::Auto);
        prop_assert!(wanted.link.value().is_none() || found.link == wanted.link || follows);
        prop_assert_eq!(changes(&card.vf.borrow(), &wanted), vec![]);
        let log = card.log.borrow();
        let at = |wanted: Change| log.iter().position(|change| *change == wanted);
        let last = log.len().saturating_sub(1);
        prop_assert!(at(Change::Trust(true)).is_none_or(|index| index == last));
        prop_assert!(at(Change::Trust(false)).is_none_or(|index| index == 0));
    }
}
