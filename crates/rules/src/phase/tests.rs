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
