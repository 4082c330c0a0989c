//! Text of others (names of VMs, messages of kernels and guests) as a terminal may have it.
//!
//! Nothing that drives a terminal leaves this program but our own colours: control characters, and
//! those that turn the direction of writing, are shown as what they are.

/// Characters that a terminal acts on instead of showing them.
fn drives(letter: char) -> bool {
    // Directional formatting (Unicode TR 9, 2.): a name could be made to look like another one.
    let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns
}

/// One line of text.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if drives(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A document of JSON or YAML: outside of texts in quotes neither has such characters but ends of
/// lines, and in them both know this way to write them.
pub fn document(text: &str) -> String {
    use std::fmt::Write;
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter != '\n' && drives(letter) {
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{1b}[31m\n\u{9b}2J\u{7f}\u{202e}b";

    #[test]
    fn nothing_that_drives_a_terminal_is_left() {
        assert_eq!(
            printable(NASTY),
            "a\\u{1b}[31m\\n\\u{9b}2J\\u{7f}\\u{202e}b"
        );
        assert_eq!(printable("web 1/'ä'\"…"), "web 1/'ä'\"…");
    }

    #[test]
    fn documents_mean_the_same() {
        let json = document(&serde_json::to_string_pretty(&[NASTY]).unwrap());
        assert!(
            !json.contains(|letter| letter != '\n' && drives(letter)),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [NASTY]);
        let yaml = document(&yaml_serde::to_string(&[NASTY]).unwrap());
        assert!(
            !yaml.contains(|letter| letter != '\n' && drives(letter)),
            "{yaml}"
        );
        assert_eq!(yaml_serde::from_str::<Vec<String>>(&yaml).unwrap(), [NASTY]);
    }
}
