//! Text in columns, as wide as it has to be and no wider than the terminal.
//!
//! A column is as wide as what is in it, but a cell that is much longer than its neighbours moves only
//! what follows it in its own row. On a terminal the last column, which is the one with words, goes on
//! below itself.

use unicode_width::UnicodeWidthStr;

use super::terminal;

/// Cells up to this make their column wider: a UUID is as long, a name seldom longer.
const USUAL: usize = 36;
/// A last column narrower than this would be a word a line.
pub const WORDS_MIN: usize = 24;

/// Rows below a header; each line begins with a blank.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    columns: usize,
}

impl Table {
    /// Nothing but the header.
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|text| text.to_uppercase()).collect()],
            columns: header.len(),
        }
    }

    /// Adds a row.
    pub fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text, for what standard output is.
    pub fn text(&self) -> String {
        self.text_of_width(terminal::width())
    }

    /// The text for a terminal that is so wide; `None` if it is for a file or a program.
    fn text_of_width(&self, width: Option<usize>) -> String {
        let widths = self.widths();
        let mut lines = Vec::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut at = 0;
            for (number, cell) in row.iter().enumerate() {
                if number + 1 == self.columns {
                    lines.extend(last(&mut line, cell, width));
                    break;
                }
                line.push(' ');
                line.push_str(cell);
                at += 1 + widths[number] + 1;
                // One that is longer shortens the gaps after it, as far as there are any.
                let wide = line.width();
                line.push_str(&" ".repeat(at.saturating_sub(wide).max(1)));
            }
            lines.push(line);
        }
        let lines = lines.iter().map(|line| line.trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let of_column = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let wide = cells.map(|cell| cell.width());
            // The header is never cut short; and if all are long, that is their usual length.
            let (header, rest): (Vec<_>, Vec<_>) = wide.enumerate().partition(|(row, _)| *row == 0);
            let most = header.iter().map(|(_, wide)| *wide).max().unwrap_or(0);
            let usual = rest
                .iter()
                .map(|(_, wide)| *wide)
                .filter(|wide| *wide <= USUAL);
            most.max(usual.max().unwrap_or(0))
        };
        (0..self.columns).map(of_column).collect()
    }
}

/// Adds the last cell to its line; what does not fit goes on below, and the lines before the last are
/// returned.
fn last(line: &mut String, cell: &str, width: Option<usize>) -> Vec<String> {
    line.push(' ');
    let from = line.width();
    let room = width.map(|width| width.saturating_sub(from));
    match room {
        Some(room) if room >= WORDS_MIN && cell.width() > room => {
            let mut parts = wrapped(cell, room).into_iter();
            line.push_str(&parts.next().unwrap_or_default());
            let mut done = Vec::new();
            for part in parts {
                let next = format!("{}{part}", " ".repeat(from));
                done.push(std::mem::replace(line, next));
            }
            done
        }
        _ => {
            line.push_str(cell);
            Vec::new()
        }
    }
}

/// Lines of words no wider than this; a word that is wider has a line of its own.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines
            .last_mut()
            .filter(|line| line.is_empty() || line.width() + 1 + word.width() <= width);
        match line {
            Some(line) => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 3]]) -> Table {
        let mut table = Table::new(&["name", "node", "note"]);
        for row in rows {
            table.add_row(row.map(str::to_owned));
        }
        table
    }

    #[test]
    fn a_long_name_moves_only_its_own_row() {
        let long = "x".repeat(60);
        let table = table(&[
            ["a", "n1", ""],
            [&long, "n1", "words"],
            ["äöü", "node2", "w"],
        ]);
        let text = table.text_of_width(None);
        let expected =
            format!(" NAME  NODE   NOTE\n a     n1\n {long}  n1  words\n äöü   node2  w");
        assert_eq!(text, expected);
    }

    #[test]
    fn words_go_on_below_themselves_on_a_terminal_only() {
        let words = "one two three four five six seven eight";
        let table = table(&[["a", "n1", words]]);
        assert_eq!(
            table.text_of_width(Some(40)),
            " NAME  NODE  NOTE\n a     n1    one two three four five six\n             seven eight"
        );
        for line in table.text_of_width(Some(40)).lines() {
            assert!(line.width() <= 40, "{line}");
        }
        assert!(table.text_of_width(None).ends_with(words));
        assert!(
            table.text_of_width(Some(20)).ends_with(words),
            "no room for words"
        );
    }

    #[test]
    fn wide_letters_take_two_places() {
        let table = table(&[["網路", "n", "x"], ["a", "n", "x"]]);
        assert_eq!(
            table.text_of_width(None),
            " NAME  NODE  NOTE\n 網路  n     x\n a     n     x"
        );
    }
}
