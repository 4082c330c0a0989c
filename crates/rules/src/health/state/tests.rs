use std::time::Duration;

use accelnet_model::{Code, FaultSeverity, Muted};

use super::*;
use crate::health::{Found, drift, link, version};

/// A state, its clock, and what is told of one adapter.
struct Watch {
    state: State,
    up: u64,
    tuning: Tuning,
    hidden: bool,
}

const OPENS: u64 = 10;
const CLOSES: u64 = 30;

fn object() -> FaultObject {
    FaultObject::on_node("adapter", &"node1".parse().unwrap(), "pf0")
}

fn finding(evidence: &str) -> Finding {
    Finding::new(&link::DOWN, object(), evidence)
}

fn down(evidence: &str) -> Found {
    let mut found = Found::default();
    found.wrong(&link::DOWN, finding(evidence));
    found
}

impl Watch {
    fn new() -> Self {
        Self {
            state: State::default(),
            up: 1000,
            tuning: Tuning::default(),
            hidden: false,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            at: Timestamp::from_second(1_800_000_000 + self.up as i64).unwrap(),
            up: Duration::from_secs(self.up),
        }
    }

    fn step(&mut self, after: u64, found: &Found) -> Stepped {
        self.up += after;
        let now = self.now();
        let (nobody, node1) = (BTreeSet::new(), ["node1".parse().unwrap()].into());
        let sight = Sight {
            silent: if self.hidden { &node1 } else { &nobody },
            unseen: &found.unseen,
            vm_elsewhere: &|_| false,
        };
        self.state.step(&found.verdicts, &sight, now, &self.tuning)
    }

    fn told(&mut self, after: u64, found: &Found) -> Vec<&'static str> {
        let changes = self.step(after, found).changes;
        changes
            .iter()
            .map(|change| match change {
                Changed::Opened(_) => "opened",
                Changed::Updated(_) => "updated",
                Changed::Closed(_) => "closed",
            })
            .collect()
    }
}

#[test]
fn a_fault_opens_after_its_window_and_closes_after_its_own() {
    let mut watch = Watch::new();
    let first = watch.step(0, &down("so"));
    assert_eq!(
        (first.changes.len(), first.next),
        (0, Some(Duration::from_secs(OPENS)))
    );
    assert!(first.keep.is_empty(), "a short wait is not written");
    assert_eq!(watch.told(OPENS - 1, &down("so")), Vec::<&str>::new());
    assert_eq!(watch.told(1, &down("so")), ["opened"]);
    let [fault] = &watch.state.open()[..] else {
        panic!("one is open");
    };
    assert_eq!(
        fault.opened.duration_since(fault.since).as_secs(),
        OPENS as i64
    );
    assert_eq!((fault.last_seen, fault.evidence.as_str()), (None, "so"));
    // It is gone, comes back within its window, and goes for good.
    let gone = watch.step(1, &Found::default());
    assert_eq!(gone.next, Some(Duration::from_secs(CLOSES)));
    assert!(watch.state.open()[0].last_seen.is_some());
    assert_eq!(watch.told(CLOSES - 1, &down("so")), Vec::<&str>::new());
    assert_eq!(watch.state.open()[0].last_seen, None);
    assert_eq!(watch.told(1, &Found::default()), Vec::<&str>::new());
    assert_eq!(
        watch.told(CLOSES - 1, &Found::default()),
        Vec::<&str>::new()
    );
    assert_eq!(watch.told(1, &Found::default()), ["closed"]);
    assert_eq!(watch.state, State::default());
}

#[test]
fn what_does_not_last_is_never_told() {
    let mut watch = Watch::new();
    for _ in 0..20 {
        assert_eq!(watch.told(1, &down("so")), Vec::<&str>::new());
        assert_eq!(watch.told(OPENS - 1, &Found::default()), Vec::<&str>::new());
    }
}

#[test]
fn what_cannot_be_seen_neither_opens_nor_closes() {
    let mut watch = Watch::new();
    watch.step(0, &down("so"));
    watch.step(OPENS, &down("so"));
    watch.hidden = true;
    assert_eq!(
        watch.told(10 * CLOSES, &Found::default()),
        Vec::<&str>::new()
    );
    assert!(watch.state.open()[0].last_seen.is_some());
    watch.hidden = false;
    // Seen again, it has to be right for its window first.
    assert_eq!(watch.told(1, &Found::default()), Vec::<&str>::new());
    assert_eq!(watch.told(CLOSES, &Found::default()), ["closed"]);
}

#[test]
fn evidence_is_told_anew_once_a_minute_and_a_worse_fault_at_once() {
    let mut watch = Watch::new();
    watch.step(0, &down("a"));
    watch.step(OPENS, &down("a"));
    assert_eq!(watch.told(30, &down("b")), Vec::<&str>::new());
    assert_eq!(watch.told(29, &down("c")), Vec::<&str>::new());
    assert_eq!(watch.told(1, &down("d")), ["updated"]);
    assert_eq!(watch.state.open()[0].evidence, "d");
    let mut worse = finding("d");
    worse.severity = FaultSeverity::Critical;
    let mut found = Found::default();
    found.wrong(&link::DOWN, worse);
    assert_eq!(watch.told(1, &found), ["updated"]);
}

#[test]
fn what_is_counted_opens_by_how_often_and_closes_when_it_has_ended() {
    let mut watch = Watch::new();
    let lost = |total| {
        let mut found = Found::default();
        found.counted(&link::FLAPS, finding("Lost."), total);
        found
    };
    // What was before the first look is not news.
    assert_eq!(watch.told(0, &lost(40)), Vec::<&str>::new());
    for total in 41..44 {
        assert_eq!(watch.told(60, &lost(total)), Vec::<&str>::new());
    }
    assert_eq!(watch.told(60, &lost(44)), ["opened"]);
    assert_eq!(
        watch.state.open()[0].evidence,
        "Lost. 4 times within 15 min."
    );
    // A counter that begins anew counts from there.
    assert_eq!(watch.told(600, &lost(1)), ["updated"]);
    assert_eq!(watch.told(899, &lost(1)), Vec::<&str>::new());
    assert_eq!(watch.told(2, &lost(1)), Vec::<&str>::new());
    assert_eq!(watch.told(900, &lost(1)), ["closed"]);
    // Now and then is not often.
    for total in 2..20 {
        assert_eq!(watch.told(400, &lost(total)), Vec::<&str>::new());
    }
}

#[test]
fn a_server_that_takes_over_knows_what_was_open_and_what_waits_long() {
    let mut watch = Watch::new();
    let mut found = down("so");
    let node = FaultObject::node(&"node1".parse().unwrap());
    found.wrong(
        &version::DETECTION,
        Finding::new(&version::DETECTION, node, "old"),
    );
    let stepped = watch.step(0, &found);
    assert_eq!(stepped.keep.len(), 1, "what waits for a day is written");
    watch.step(OPENS, &found);
    let kept: Vec<Kept> = watch
        .state
        .entries
        .keys()
        .filter_map(|key| watch.state.kept(key, &watch.tuning))
        .collect();
    assert_eq!(kept.len(), 2);
    let text = serde_json::to_string(&kept).unwrap();
    // Half a day later, by another clock.
    let mut after = Watch::new();
    let half_a_day = 12 * 3600;
    let now = Moment {
        at: watch.now().at + jiff::SignedDuration::from_secs(half_a_day),
        up: Duration::from_secs(3),
    };
    after.state = State::restored(serde_json::from_str::<Vec<Kept>>(&text).unwrap(), now);
    assert_eq!(after.state.open().len(), 1);
    // Its clock that goes forward begins anew: what passed before is in what was kept.
    after.up = 3;
    assert_eq!(
        after.told(half_a_day as u64 - 20, &found),
        Vec::<&str>::new()
    );
    assert_eq!(after.told(40, &found), ["opened"]);
    // It does not close what it has not seen.
    after.hidden = true;
    assert_eq!(
        after.told(10 * CLOSES, &Found::default()),
        Vec::<&str>::new()
    );
}

#[test]
fn what_is_muted_stays_so_when_it_comes_back_until_its_time_is_over() {
    let mut watch = Watch::new();
    watch.step(0, &down("so"));
    watch.step(OPENS, &down("so"));
    let id = watch.state.open()[0].id.clone();
    let until = watch.now().at + jiff::SignedDuration::from_secs(500);
    let mute = |fault: &mut Fault| {
        fault.muted = Some(Muted {
            by: "alice".into(),
            until,
            note: None,
        });
    };
    assert!(watch.state.mark("0123", mute).is_none());
    assert!(watch.state.mark(&id, mute).is_some());
    assert!(!watch.state.open()[0].is_unattended());
    watch.step(1, &Found::default());
    assert_eq!(watch.told(CLOSES, &Found::default()), ["closed"]);
    assert_eq!(watch.state.open(), []);
    watch.step(100, &down("again"));
    assert_eq!(watch.told(OPENS, &down("again")), ["opened"]);
    assert!(watch.state.open()[0].muted.is_some());
    let over = watch.step(500, &down("again"));
    assert!(over.shows && over.keep.len() == 1);
    assert!(watch.state.open()[0].is_unattended());
    // One that is gone and muted is forgotten with its mute.
    watch.state.mark(&id, mute);
    watch.step(1, &Found::default());
    let gone = watch.step(CLOSES, &Found::default());
    assert_eq!(gone.keep.len(), 1);
    assert_eq!(watch.state, State::default());
}

#[test]
fn a_detection_that_was_turned_off_closes_what_it_had_found() {
    let mut watch = Watch::new();
    watch.step(0, &down("so"));
    watch.step(OPENS, &down("so"));
    watch.tuning = "adapter_link_down=off".parse().unwrap();
    assert_eq!(watch.told(1, &down("so")), ["closed"]);
    assert_eq!(watch.state, State::default());
}

#[test]
fn since_a_time_of_day_counts_from_then() {
    let mut watch = Watch::new();
    let mut found = Found::default();
    let mut known = Finding::new(&version::DETECTION, object(), "old");
    known.since = Some(watch.now().at - jiff::SignedDuration::from_hours(23));
    found.wrong(&version::DETECTION, known.clone());
    let first = watch.step(0, &found);
    assert_eq!(first.next, Some(Duration::from_secs(3600)));
    assert_eq!(watch.told(3600, &found), ["opened"]);
    assert_eq!(Some(watch.state.open()[0].since), known.since);
}

#[test]
fn the_worst_is_first_and_of_these_the_oldest() {
    let mut watch = Watch::new();
    let mut found = Found::default();
    let node = |name: &str| FaultObject::node(&name.parse().unwrap());
    found.counted(
        &drift::DETECTION,
        Finding::new(&drift::DETECTION, node("b"), "It"),
        0,
    );
    watch.step(0, &found);
    found.counted(
        &drift::DETECTION,
        Finding::new(&drift::DETECTION, node("b"), "It"),
        1,
    );
    watch.step(1, &found);
    found.wrong(&link::DOWN, finding("so"));
    watch.step(1, &found);
    watch.step(OPENS, &found);
    let codes: Vec<Code> = watch.state.open().iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [Code::AdapterLinkDown, Code::DriftRepaired]);
}

#[test]
fn what_was_done_about_a_fault_is_the_end_of_its_evidence() {
    let mut watch = Watch::new();
    watch.step(0, &down("Down."));
    watch.step(OPENS, &down("Down."));
    let id = watch.state.open()[0].id.clone();
    let remarked = watch.state.remark(&id, "It stays.", watch.now());
    assert!(matches!(&remarked.changes[..], [Changed::Updated(_)]));
    let evidence = |watch: &Watch| watch.state.open()[0].evidence.clone();
    assert_eq!(evidence(&watch), "Down. It stays.");
    // Said again it is no news, and what is found stands before it.
    assert_eq!(
        watch.state.remark(&id, "It stays.", watch.now()),
        Stepped::default()
    );
    assert_eq!(watch.told(1, &down("Down.")), [""; 0]);
    assert_eq!(watch.told(100, &down("No carrier.")), ["updated"]);
    assert_eq!(evidence(&watch), "No carrier. It stays.");
    assert_eq!(watch.state.found(&id), Some("No carrier."));
    let key = Key::of(link::DOWN.code, &object());
    let kept = watch.state.kept(&key, &watch.tuning).unwrap();
    let text = serde_json::to_string(&kept).unwrap();
    watch.state = State::restored([serde_json::from_str(&text).unwrap()], watch.now());
    watch.state.remark(&id, "It went.", watch.now());
    assert_eq!(evidence(&watch), "No carrier. It went.");
    // The next fault is another.
    watch.step(1, &Found::default());
    assert_eq!(watch.told(CLOSES, &Found::default()), ["closed"]);
    watch.step(1, &down("Down."));
    watch.step(OPENS, &down("Down."));
    assert_eq!(evidence(&watch), "Down.");
    assert_eq!(
        watch.state.remark("none", "x", watch.now()),
        Stepped::default()
    );
}

#[test]
fn what_somebody_says_is_cured_closes_and_counts_anew() {
    let mut watch = Watch::new();
    let flaps = |total| {
        let mut found = Found::default();
        let finding = Finding::new(&link::FLAPS, object(), "Flaps.");
        found.counted(&link::FLAPS, finding, total);
        found
    };
    watch.step(0, &flaps(0));
    assert_eq!(watch.told(1, &flaps(4)), ["opened"]);
    let key = Key::of(link::FLAPS.code, &object());
    let cleared = watch.state.cleared(&key);
    assert!(matches!(&cleared.changes[..], [Changed::Closed(_)]));
    assert!(cleared.keep.contains(&key) && watch.state.open().is_empty());
    assert_eq!(watch.told(1, &flaps(4)), [""; 0]);
    assert_eq!(watch.told(1, &flaps(7)), [""; 0], "three since then");
    assert_eq!(watch.told(1, &flaps(8)), ["opened"]);
}
