use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

fn objects(pairs: &[(&str, u32)]) -> Objects<u32> {
    BTreeMap::from_iter(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value)),
    )
}

/// A reader that came when there had been so many changes.
fn reader(board: &Arc<Board<u32>>, changes: u64, from: Option<&str>) -> Reader<u32> {
    let places = Arc::new(Semaphore::new(1));
    Reader {
        board: Arc::clone(board),
        looked: board.looked.subscribe(),
        stopping: watch::channel(false).1,
        at: At::Door {
            changes,
            from: from.map(|revision| board.number_of(revision).unwrap()),
        },
        _place: places.try_acquire_owned().unwrap(),
    }
}

/// Everything that there is to read now: events, objects, revisions.
fn read(reader: &mut Reader<u32>) -> Vec<(String, Value, Option<String>)> {
    let mut all = Vec::new();
    while let Some(lines) = reader.read() {
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Value = serde_json::from_slice(line).unwrap();
            let text = |field: &str| line[field].as_str().map(str::to_owned);
            all.push((
                text("event").unwrap(),
                line["object"].clone(),
                text("revision"),
            ));
        }
    }
    all
}

fn said(lines: &[(String, Value, Option<String>)]) -> Vec<String> {
    let lines = lines.iter();
    lines
        .map(|(event, object, _)| format!("{event} {object}"))
        .collect()
}

#[test]
fn a_reader_is_told_what_there_is_and_then_what_changes() {
    let board = Arc::new(Board::new());
    let mut early = reader(&board, 3, None);
    assert!(read(&mut early).is_empty());
    // A look that has not seen all that the reader may know of is not enough.
    board.show(objects(&[("a", 0)]), 2);
    assert!(read(&mut early).is_empty());
    board.show(objects(&[("a", 1), ("b", 1)]), 3);
    let begin = read(&mut early);
    assert_eq!(said(&begin), ["put 1", "put 1", "synced null"]);
    // From the middle of a list nobody can go on.
    let revisions: Vec<bool> = begin.iter().map(|line| line.2.is_some()).collect();
    assert_eq!(revisions, [false, false, true]);
    board.show(objects(&[("a", 2), ("c", 1)]), 4);
    let changed = read(&mut early);
    assert_eq!(said(&changed), ["put 2", "put 1", "gone \"b\""]);
    // A look that finds nothing new tells nothing.
    board.show(objects(&[("a", 2), ("c", 1)]), 5);
    assert!(read(&mut early).is_empty());
}

#[test]
fn whoever_lost_its_connection_goes_on_after_any_line() {
    let board = Arc::new(Board::new());
    board.show(objects(&[("a", 1)]), 0);
    let mut first = reader(&board, 0, None);
    let synced = read(&mut first).pop().unwrap().2.unwrap();
    board.show(objects(&[("b", 2), ("c", 3)]), 1);
    let lines = read(&mut first);
    assert_eq!(said(&lines), ["put 2", "put 3", "gone \"a\""]);
    let mut again = reader(&board, 1, Some(&synced));
    let told = read(&mut again);
    assert_eq!(told[..3], lines[..]);
    assert_eq!(said(&told[3..]), ["synced null"]);
    let middle = lines[0].2.as_deref();
    let told = read(&mut reader(&board, 1, middle));
    assert_eq!(said(&told), ["put 3", "gone \"a\"", "synced null"]);
    let newest = told.last().unwrap().2.as_deref();
    assert_eq!(newest, lines[2].2.as_deref());
    assert_eq!(said(&read(&mut reader(&board, 1, newest))), ["synced null"]);
}

#[test]
fn a_revision_of_elsewhere_or_of_long_ago_is_none() {
    let (board, other) = (Arc::new(Board::new()), Board::new());
    board.show(objects(&[("a", 0)]), 0);
    other.show(objects(&[("a", 0)]), 0);
    assert_eq!(board.number_of(&board.revision(0)), Some(0));
    assert_eq!(board.number_of(&other.revision(0)), None);
    for wrong in ["", ".", "1", &board.origin, &board.revision(1), "x.0"] {
        assert_eq!(board.number_of(wrong), None, "{wrong}");
    }
}

#[test]
fn a_slow_reader_is_told_to_start_over_and_no_more() {
    let board = Arc::new(Board::new());
    board.show(objects(&[("a", 0)]), 0);
    let mut slow = reader(&board, 0, None);
    read(&mut slow);
    // More than is kept.
    let many = (0..20_000).map(|number| (format!("{number:06}"), number));
    board.show(many.collect(), 1);
    assert_eq!(said(&read(&mut slow)), ["start_over null"]);
    assert!(slow.read().is_none() && matches!(slow.at, At::End));
    // Starting over works, however large it is.
    let told = read(&mut reader(&board, 1, None));
    assert_eq!((told.len(), told[20_000].0.as_str()), (20_001, "synced"));
}

#[test]
fn what_changes_while_the_list_is_told_comes_after_it() {
    let board = Arc::new(Board::new());
    let many = |value| -> Objects<u32> {
        let names = (0..20_000).map(|number| (format!("{number:06}"), value));
        names.collect()
    };
    board.show(many(1), 0);
    let mut reading = reader(&board, 0, None);
    let first = reading.read().unwrap();
    assert!(first.len() >= CHUNK_BYTES && first.len() < 2 * CHUNK_BYTES);
    let mut next = many(1);
    next.insert("000000".to_owned(), 2);
    board.show(next, 1);
    let rest = said(&read(&mut reading));
    assert_eq!(rest[rest.len() - 2..], ["put 2", "synced null"]);
    assert!(rest[..rest.len() - 2].iter().all(|line| line == "put 1"));
}

#[test]
fn there_is_a_place_for_so_many_and_it_is_given_back() {
    let boards = Boards::default();
    let places: Vec<_> = (0..WATCHES_MAX).map(|_| boards.place().unwrap()).collect();
    assert_eq!(boards.place().unwrap_err().code, Code::TooManyWatches);
    drop(places);
    assert!(boards.place().is_ok());
}
