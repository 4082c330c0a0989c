use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn member(text: &str, id: u128) -> Member {
    Member {
        id: Uuid::from_u128(id),
        name: name(text),
        joined: Timestamp::UNIX_EPOCH,
    }
}

fn up(session: u64, sequence: u64) -> Up {
    Up {
        session,
        sequence,
        at: None,
        answers: Vec::new(),
        traffic: None,
        status: None,
    }
}

fn with_status(up: Up, generation: u64) -> Up {
    let status = NodeStatus {
        generation,
        ..NodeStatus::default()
    };
    Up {
        status: Some(Box::new(status)),
        ..up
    }
}

const ID: Uuid = Uuid::from_u128(1);

#[tokio::test]
async fn only_the_last_session_counts_and_in_it_the_order_of_reports() {
    let (hub, now) = (Hub::new([member("a", 1)], 0), Instant::now());
    let first = hub.follow(&name("a"), ID, now).unwrap();
    let take = |up| hub.take_in(&name("a"), ID, up, now);
    assert_eq!(take(up(first.session, 1)), Ok(Taken::Sign));
    assert!(matches!(
        take(with_status(up(first.session, 2), 1)),
        Ok(Taken::Status(_))
    ));
    assert_eq!(take(up(first.session, 2)).unwrap_err().code, Code::Conflict);
    let second = hub.follow(&name("a"), ID, now).unwrap();
    // Whoever reads the first one's answer sees that it is over.
    assert!(first.questions.has_changed().is_err());
    assert_eq!(take(up(first.session, 3)).unwrap_err().code, Code::Conflict);
    assert_eq!(take(up(second.session, 1)), Ok(Taken::Sign));
}

#[tokio::test]
async fn another_identity_of_the_same_name_is_nobody() {
    let (hub, now) = (Hub::new([member("a", 1)], 0), Instant::now());
    let following = hub.follow(&name("a"), ID, now).unwrap();
    hub.add(member("a", 2));
    assert!(following.wish.has_changed().is_err());
    for (name, id) in [(name("a"), ID), (name("b"), ID)] {
        let problem = hub.follow(&name, id, now).unwrap_err();
        assert_eq!(problem.code, Code::NodeNotMember);
        let problem = hub.take_in(&name, id, up(1, 1), now).unwrap_err();
        assert_eq!(problem.code, Code::NodeNotMember);
    }
    assert!(hub.follow(&name("a"), Uuid::from_u128(2), now).is_ok());
    assert!(hub.remove(&name("a")) && !hub.remove(&name("a")));
    assert!(hub.names().is_empty() && hub.member(&name("a")).is_none());
}

#[test]
fn clock_and_certificate_are_of_the_session() {
    let (hub, now) = (Hub::new([member("a", 1)], 0), Instant::now());
    let a = name("a");
    let second = SignedDuration::from_secs(1);
    hub.note_clock(&a, Some(second));
    assert!(hub.clocks_and_certificates().is_empty(), "no session");
    hub.follow(&a, ID, now).unwrap();
    hub.note_clock(&a, Some(second));
    hub.note_renewal(&a, Timestamp::UNIX_EPOCH);
    let known = hub.clocks_and_certificates();
    assert_eq!(known[&a], (Some(second), Some(Timestamp::UNIX_EPOCH)));
    hub.follow(&a, ID, now).unwrap();
    assert_eq!(hub.clocks_and_certificates()[&a], (None, None));
}

#[tokio::test]
async fn the_answer_to_a_question_is_the_report_that_names_it() {
    let (hub, now) = (Arc::new(Hub::new([member("a", 1)], 0)), Instant::now());
    let problem = hub.refresh(&name("a")).await.unwrap_err();
    assert_eq!(problem.code, Code::AgentUnreachable);
    let mut following = hub.follow(&name("a"), ID, now).unwrap();
    let asking = Arc::clone(&hub);
    let asked = tokio::spawn(async move { asking.refresh(&name("a")).await });
    following.questions.changed().await.unwrap();
    let question = *following
        .questions
        .borrow_and_update()
        .first_key_value()
        .unwrap()
        .0;
    let before = with_status(up(following.session, 1), 1);
    hub.take_in(&name("a"), ID, before, now).unwrap();
    assert!(!asked.is_finished());
    let mut answer = with_status(up(following.session, 2), 2);
    answer.answers = vec![question];
    hub.take_in(&name("a"), ID, answer, now).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().generation, 2);
    assert!(following.questions.borrow().is_empty());
}

#[tokio::test]
async fn what_was_counted_answers_its_question_and_who_gives_up_leaves_nothing() {
    let (hub, now) = (Arc::new(Hub::new([member("a", 1)], 0)), Instant::now());
    let vm = Uuid::from_u128(7);
    let mut following = hub.follow(&name("a"), ID, now).unwrap();
    let a = name("a");
    let mut asked = hub.traffic(&a, vm);
    assert!(futures::poll!(asked.as_mut()).is_pending());
    let questions = following.questions.borrow_and_update().clone();
    let (number, question) = questions.first_key_value().unwrap();
    assert_eq!(*question, crate::nodes::Question::Traffic(vm));
    let answer = |sequence, number| Up {
        traffic: Some(VmCounted {
            number,
            nics: Vec::new(),
        }),
        ..up(following.session, sequence)
    };
    let take = |up| hub.take_in(&a, ID, up, now);
    // Of another question, or of one that nobody waits for.
    assert_eq!(take(answer(1, number + 1)), Ok(Taken::Sign));
    assert!(futures::poll!(asked.as_mut()).is_pending());
    assert_eq!(take(answer(2, *number)), Ok(Taken::Sign));
    assert_eq!(asked.await, Ok(Vec::new()));
    assert!(following.questions.borrow().is_empty());
    let mut given_up = hub.traffic(&a, vm);
    assert!(futures::poll!(given_up.as_mut()).is_pending());
    assert_eq!(following.questions.borrow().len(), 1);
    drop(given_up);
    assert!(following.questions.borrow().is_empty());
    hub.with_session(&a, |session| assert!(session.asked.nobody_waits()));
}

#[tokio::test]
async fn who_asks_is_not_left_waiting_by_a_session_that_ends() {
    let (hub, now) = (Arc::new(Hub::new([member("a", 1)], 0)), Instant::now());
    let mut following = hub.follow(&name("a"), ID, now).unwrap();
    let asking = Arc::clone(&hub);
    let asked = tokio::spawn(async move { asking.refresh(&name("a")).await });
    following.questions.changed().await.unwrap();
    let silent = hub.end_silent(now + DOWN_AFTER);
    assert_eq!(silent.len(), 1);
    assert_eq!(
        asked.await.unwrap().unwrap_err().code,
        Code::AgentUnreachable
    );
}

#[tokio::test]
async fn a_node_without_a_sign_is_down_and_is_said_once() {
    let (hub, now) = (
        Hub::new([member("a", 1), member("b", 2)], 0),
        Instant::now(),
    );
    let a = hub.follow(&name("a"), ID, now).unwrap();
    hub.follow(&name("b"), Uuid::from_u128(2), now).unwrap();
    let later = now + Duration::from_secs(6);
    hub.take_in(&name("a"), ID, up(a.session, 1), later)
        .unwrap();
    assert_eq!(hub.next_end(later), Duration::from_secs(4));
    assert!(hub.end_silent(later).is_empty());
    let ended = hub.end_silent(now + DOWN_AFTER);
    assert_eq!(ended[0].0, name("b"));
    assert!(hub.is_up(&name("a")) && !hub.is_up(&name("b")));
    assert!(hub.end_silent(now + DOWN_AFTER).is_empty());
    // A report of the session that was ended is of the past.
    let late = hub.take_in(&name("b"), Uuid::from_u128(2), up(2, 1), later);
    assert_eq!(late.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn what_a_node_shall_be_waits_for_it() {
    let (hub, now) = (Hub::new([member("a", 1)], 0), Instant::now());
    let desired = NodeDesired {
        generation: 3,
        ..NodeDesired::default()
    };
    hub.set_desired(&name("a"), desired);
    let following = hub.follow(&name("a"), ID, now).unwrap();
    let wish = following.wish.borrow().as_ref().map(|wish| wish.generation);
    assert_eq!(wish, Some(3));
}
