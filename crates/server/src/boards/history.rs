//! The last lines of a board, as many as a reader may be behind.

use std::collections::VecDeque;

use axum::body::Bytes;

/// Lines that are kept, at most; and what they hold. A reader that was away for a moment finds its place again, and
/// a cluster that changes as a whole costs no more than this.
const LINES_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 << 20;

/// Lines with numbers that grow by one.
#[derive(Debug, Default)]
pub struct History {
    lines: VecDeque<Bytes>,
    bytes: usize,
    /// Number of the newest line; 0 before the first.
    newest: u64,
}

impl History {
    /// Number of the newest line there has been.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Number of the line that was forgotten last.
    fn forgotten(&self) -> u64 {
        self.newest - self.lines.len() as u64
    }

    /// All lines after this one are there.
    pub fn knows(&self, number: u64) -> bool {
        (self.forgotten()..=self.newest).contains(&number)
    }

    /// One more line; older ones are forgotten for it.
    pub fn push(&mut self, line: Bytes) {
        self.newest += 1;
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            match self.lines.pop_front() {
                Some(old) => self.bytes -= old.len(),
                None => return,
            }
        }
    }

    /// Lines after this one, one at least and not many more bytes than `bytes_max`, and the number of the last of
    /// them; `None` if some are forgotten.
    pub fn after(&self, number: u64, bytes_max: usize) -> Option<(Vec<u8>, u64)> {
        if !self.knows(number) {
            return None;
        }
        let skipped = usize::try_from(number - self.forgotten()).ok()?;
        let (mut text, mut last) = (Vec::new(), number);
        for line in self.lines.range(skipped..) {
            if text.len() >= bytes_max {
                break;
            }
            text.extend_from_slice(line);
            last += 1;
        }
        Some((text, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn after(history: &History, number: u64, bytes_max: usize) -> Option<(String, u64)> {
        let (text, last) = history.after(number, bytes_max)?;
        Some((String::from_utf8(text).unwrap(), last))
    }

    #[test]
    fn a_reader_is_given_what_it_has_not_read() {
        let mut history = History::default();
        assert_eq!(after(&history, 0, 9), Some((String::new(), 0)));
        for text in ["a", "b", "c"] {
            history.push(line(text));
        }
        assert_eq!(after(&history, 0, 9), Some(("abc".to_owned(), 3)));
        assert_eq!(after(&history, 1, 1), Some(("b".to_owned(), 2)));
        assert_eq!(after(&history, 3, 9), Some((String::new(), 3)));
        // Nobody was told that one.
        assert_eq!(after(&history, 4, 9), None);
    }

    #[test]
    fn what_is_kept_is_bounded_in_lines_and_in_bytes() {
        let mut history = History::default();
        for _ in 0..LINES_MAX + 5 {
            history.push(line("x"));
        }
        assert_eq!(history.lines.len(), LINES_MAX);
        assert!(!history.knows(4) && history.knows(5));
        assert_eq!(history.newest(), LINES_MAX as u64 + 5);
        for _ in 0..10 {
            history.push(Bytes::from(vec![b'x'; BYTES_MAX / 4]));
        }
        assert!(history.bytes <= BYTES_MAX && history.lines.len() <= 4);
        // One that is larger than all that is kept is nowhere, and that is known.
        history.push(Bytes::from(vec![b'x'; BYTES_MAX + 1]));
        assert!(history.lines.is_empty() && history.bytes == 0);
        assert!(history.knows(history.newest()) && !history.knows(history.newest() - 1));
    }
}
