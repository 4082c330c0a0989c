//! Patterns of shells, as `modules.alias`, systemd and NetworkManager have them: `*`, `?` and `[a-f0]`.

/// True if the whole text fits the pattern. A bracket that does not close stands for itself.
pub fn fits(pattern: &str, text: &str) -> bool {
    fit(pattern.as_bytes(), text.as_bytes())
}

/// Goes back to the last `*` only: what fits with an earlier one fits with it too.
fn fit(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
                continue;
            }
            Some(_) => {
                if let Some(length) = one(&pattern[at..], text[seen]) {
                    (at, seen) = (at + length, seen + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((back, from)) = star else {
            return false;
        };
        star = Some((back, from + 1));
        (at, seen) = (back + 1, from + 1);
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern take this one byte; None if they do not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] if rest.contains(&b']') => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (set, not) = match &rest[..end] {
                [b'!' | b'^', set @ ..] => (set, true),
                set => (set, false),
            };
            (in_set(set, byte) != not).then_some(end + 2)
        }
        [first, ..] => (*first == byte).then_some(1),
        [] => None,
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = set {
        match rest {
            [b'-', last, more @ ..] => {
                if (*first..=*last).contains(&byte) {
                    return true;
                }
                set = more;
            }
            _ => {
                if *first == byte {
                    return true;
                }
                set = rest;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*ab", "aab", true),
            ("e?h[0-3a]", "eth2", true),
            ("e?h[0-3a]", "etha", true),
            ("e?h[!0-3]", "eth2", false),
            ("e[th", "e[th", true),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_asked(pattern in "[ab*?\\[\\]!-]{0,12}", text in "[ab\\[]{0,12}") {
            fits(&pattern, &text);
            let around = format!("*{}*", text.replace('[', "?"));
            prop_assert!(fits(&around, &text));
        }
    }
}
