//! Phases from single signs, and from any evidence in any order.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A guest on its tap, that has no VF.
fn seen(at: u64) -> Evidence {
    Evidence {
        here: true,
        plugged: false,
        driven: false,
        link: true,
        seen_at_tap: false,
        stands_on_vf: false,
        frames: 0,
        counted: SECOND * u32::try_from(at).unwrap(),
        going: None,
        departing: false,
    }
}

/// The same with a VF that it drives.
fn driven(at: u64) -> Evidence {
    Evidence {
        plugged: true,
        driven: true,
        ..seen(at)
    }
}

/// What is told of evidence that comes every second, from second 0.
fn told(evidence: impl IntoIterator<Item = Evidence>, mut past: Option<Past>) -> Past {
    for (second, seen) in (0..).zip(evidence) {
        past = Some(phase(&seen, past, SECOND * second));
    }
    past.unwrap()
}

fn on_vf() -> Past {
    let past = told((0..5).map(driven), None);
    assert_eq!(past.phase, Phase::Vf);
    past
}

#[test]
fn a_silent_guest_is_on_its_vf_after_three_seconds_and_a_talkative_one_after_one() {
    for second in 0..3 {
        let past = told((0..=second).map(driven), None);
        assert_eq!(past.phase, Phase::Both, "{second}");
    }
    on_vf();
    // It sent twenty frames by its tap, and stopped.
    let frames = |at: u64| Evidence {
        frames: 20 * at.min(1),
        ..driven(at)
    };
    assert_eq!(told((0..=1).map(frames), None).phase, Phase::Both);
    assert_eq!(told((0..=2).map(frames), None).phase, Phase::Vf);
}

#[test]
fn time_that_nothing_was_counted_in_is_no_silence() {
    let stale = (0..20).map(|_| driven(0));
    assert_eq!(told(stale, None).phase, Phase::Both);
}

#[test]
fn both_paths_open_at_every_sign_that_a_vf_is_not_used() {
    type Sign = fn(&mut Evidence);
    let signs: [Sign; 5] = [
        |seen| seen.driven = false,
        |seen| seen.link = false,
        |seen| seen.seen_at_tap = true,
        |seen| seen.frames += 1,
        |seen| seen.going = Some(Going::Back),
    ];
    for (number, sign) in signs.iter().enumerate() {
        let mut seen = driven(5);
        assert_eq!(phase(&seen, Some(on_vf()), 5 * SECOND).phase, Phase::Vf);
        sign(&mut seen);
        let found = phase(&seen, Some(on_vf()), 5 * SECOND).phase;
        assert_eq!(found, Phase::Both, "{number}");
    }
}

#[test]
fn an_agent_that_has_just_started_sees_where_it_left_a_nic() {
    let stands = Evidence {
        stands_on_vf: true,
        ..driven(0)
    };
    assert_eq!(phase(&stands, None, Duration::ZERO).phase, Phase::Vf);
    assert_eq!(phase(&driven(0), None, Duration::ZERO).phase, Phase::Both);
    assert_eq!(phase(&seen(0), None, Duration::ZERO).phase, Phase::Tap);
}

#[test]
fn a_vf_without_driver_is_given_up_after_a_while_and_tried_again_when_it_has_one() {
    let bare = |at| Evidence {
        driven: false,
        ..driven(at)
    };
    let limit = BOTH_LIMIT.as_secs();
    assert_eq!(told((0..limit).map(bare), None).phase, Phase::Both);
    let past = told((0..=limit + 5).map(bare), None);
    assert_eq!((past.phase, past.given_up), (Phase::Tap, true));
    let found = phase(&driven(limit + 6), Some(past), SECOND * 36);
    assert_eq!((found.phase, found.given_up), (Phase::Both, false));
}

#[test]
fn a_guest_that_leaves_has_both_until_it_lets_go() {
    let leaves = Evidence {
        departing: true,
        ..driven(6)
    };
    let past = phase(&leaves, Some(on_vf()), 6 * SECOND);
    assert_eq!(past.phase, Phase::Both);
    let let_go = Evidence {
        driven: false,
        ..leaves
    };
    assert_eq!(phase(&let_go, Some(past), 6 * SECOND).phase, Phase::Tap);
    let gone = Evidence {
        here: false,
        ..leaves
    };
    assert_eq!(phase(&gone, Some(past), 6 * SECOND).phase, Phase::Absent);
}

#[test]
fn what_was_sent_before_both_paths_opened_says_nothing() {
    // A talkative guest that fell silent when its switch-over began.
    let chatty = (0..60).map(|at| Evidence {
        frames: 1000 * at,
        ..seen(at)
    });
    let opened = (60..62).map(|at| Evidence {
        frames: 59_000,
        going: Some(Going::ToVf),
        ..seen(at)
    });
    let drives = |until: u64| {
        (62..=until).map(|at| Evidence {
            frames: 59_000,
            going: Some(Going::ToVf),
            ..driven(at)
        })
    };
    let found = |until| {
        told(
            chatty.clone().chain(opened.clone()).chain(drives(until)),
            None,
        )
    };
    assert_eq!(found(63).phase, Phase::Both);
    assert_eq!(
        found(64).phase,
        Phase::Vf,
        "three seconds after its last look without driver"
    );
}

#[test]
fn a_vm_whose_migration_ends_before_its_guest_let_go_is_not_given_up_at_once() {
    let past = told((0..100).map(driven), None);
    let leaves = Evidence {
        departing: true,
        ..driven(100)
    };
    let past = phase(&leaves, Some(past), 100 * SECOND);
    let stays = Evidence {
        frames: 1,
        ..driven(101)
    };
    let past = phase(&stays, Some(past), 101 * SECOND);
    assert_eq!((past.phase, past.given_up), (Phase::Both, false));
}

#[test]
fn a_counter_that_went_back_is_that_of_a_new_tap() {
    let at = |frames: u64, at: u64| Evidence {
        frames,
        ..driven(at)
    };
    let past = told([at(500, 0), at(510, 1), at(520, 2), at(3, 3)], None);
    assert_eq!(past.phase, Phase::Both);
    let past = phase(&at(3, 5), Some(past), 5 * SECOND);
    assert_eq!(past.phase, Phase::Both, "three frames are not many");
    assert_eq!(phase(&at(3, 6), Some(past), 6 * SECOND).phase, Phase::Vf);
}

/// One look: what it shows, how long after the one before, and how old its counters are.
#[derive(Debug, Clone)]
struct Look {
    after: Duration,
    lag: Duration,
    frames: i64,
    shows: Evidence,
}

fn any_look() -> impl Strategy<Value = Look> {
    let mostly = || prop::bool::weighted(0.9);
    let rarely = || prop::bool::weighted(0.1);
    let going = prop_oneof![
        6 => Just(None),
        2 => Just(Some(Going::ToVf)),
        1 => Just(Some(Going::Back)),
    ];
    let frames = prop_oneof![6 => Just(0), 2 => 1..5_i64, 1 => 20..100_i64, 1 => Just(-1)];
    (
        (0..4000_u64, 0..1500_u64, frames),
        (mostly(), mostly(), mostly(), mostly()),
        (rarely(), any::<bool>(), going, rarely()),
    )
        .prop_map(|((after, lag, frames), here, rest)| Look {
            after: Duration::from_millis(after),
            lag: Duration::from_millis(lag),
            frames,
            shows: Evidence {
                here: here.0,
                plugged: here.1,
                driven: here.1 && here.2,
                link: here.1 && here.3,
                seen_at_tap: rest.0,
                stands_on_vf: rest.1,
                going: rest.2,
                departing: rest.3,
                ..seen(0)
            },
        })
}

/// What is true since both paths were opened.
struct Opened {
    at: Duration,
    /// The same, or when the tap was made anew.
    watched: Duration,
    frames: i64,
    /// The last time that a frame was counted, or the guest could not use its VF.
    quiet: Duration,
}

proptest! {
    #[test]
    fn whatever_is_seen_in_whatever_order(looks in prop::collection::vec(any_look(), 1..60)) {
        let (mut now, mut counted, mut frames) = (Duration::from_secs(100), Duration::ZERO, 1000_u64);
        let mut past: Option<Past> = None;
        let mut opened: Option<Opened> = None;
        for look in looks {
            now += look.after;
            counted = counted.max(now.saturating_sub(look.lag));
            let before = frames;
            frames = match look.frames {
                -1 => 0,
                more => frames + more.unsigned_abs(),
            };
            let seen = Evidence { frames, counted, ..look.shows };
            let was = past.map(|past| past.phase);
            let gave_up = past.is_some_and(|past| past.given_up);
            let found = phase(&seen, past, now);
            let usable = seen.driven && seen.link;
            let begins = usable && !past.is_some_and(|past| past.usable);
            if let Some(opened) = opened.as_mut().filter(|_| begins) {
                (opened.at, opened.watched) = (now, now);
            }
            if let Some(opened) = &mut opened {
                if frames < before {
                    opened.frames = 0;
                    opened.watched = opened.quiet.max(counted);
                }
                opened.frames += look.frames.max(0);
                if frames != before || !usable {
                    opened.quiet = opened.quiet.max(counted);
                }
            }

            prop_assert_eq!(found.phase == Phase::Absent, !seen.here);
            let stays = seen.here && seen.plugged && !seen.departing;
            if found.phase == Phase::Vf {
                prop_assert!(stays && usable && seen.going != Some(Going::Back));
            }
            if seen.here && !seen.plugged && seen.going.is_none() {
                prop_assert_eq!(found.phase, Phase::Tap);
            }
            let by_tap = frames != before || seen.seen_at_tap;
            if was == Some(Phase::Vf) && stays && (by_tap || !usable) {
                prop_assert_eq!(found.phase, Phase::Both, "at once");
            }
            if let (Some(Phase::Both), Phase::Vf, Some(opened)) = (was, found.phase, &opened) {
                let needed = if opened.frames < 10 { 3 } else { 1 };
                let silent = counted.saturating_sub(opened.quiet);
                prop_assert!(silent >= Duration::from_secs(needed), "{:?}", silent);
            }
            if found.given_up && !gave_up {
                let open = opened.as_ref().map(|opened| now - opened.at);
                prop_assert!(open >= Some(BOTH_LIMIT), "{:?}", open);
            }
            // What a guest does while QEMU takes its device away says nothing either.
            let departs = seen.departing && seen.plugged && seen.going != Some(Going::Back);
            if found.phase == Phase::Both && (was != Some(Phase::Both) || departs) {
                opened = Some(Opened { at: now, watched: now, frames: 0, quiet: now });
            }
            if found.phase == Phase::Both && stays && seen.going.is_none() {
                let open = opened.as_ref().map(|opened| now - opened.watched);
                prop_assert!(open < Some(BOTH_LIMIT), "{:?}", open);
            }
            prop_assert!(!found.given_up || found.phase == Phase::Tap);
            past = Some(found);
        }
    }
}
