//! What the terminal can do, and what its user wants of it.

use std::{env, io::IsTerminal, os::fd::AsFd};

use terminal_size::{Width, terminal_size_of};

/// The width of the terminal that standard output is; `None` if it is none.
pub fn width() -> Option<usize> {
    width_of(std::io::stdout())
}

/// The same of standard error.
pub fn error_width() -> Option<usize> {
    width_of(std::io::stderr())
}

fn width_of(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let (Width(columns), _) = terminal_size_of(stream)?;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// True if problems on standard error may be coloured: it is a terminal that knows colours, and nobody
/// said no (no-color.org).
pub fn colours() -> bool {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && moves_about()
}

/// True if standard error is a terminal on which a line can be written anew.
pub fn moves_about() -> bool {
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    std::io::stderr().is_terminal() && !dumb
}
