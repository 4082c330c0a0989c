//! Asks for a secret: on the terminal, where it is not shown, or on standard input.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
};

use accelnet_model::{Code, Problem};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// No token is longer.
const LIMIT_BYTES: u64 = 4096;

/// What was typed, or is on standard input if that is no terminal.
///
/// # Errors
/// If nothing can be read.
pub fn secret(prompt: &str) -> Result<String, Problem> {
    let read = if io::stdin().is_terminal() {
        on_terminal(prompt)
    } else {
        let mut text = String::new();
        let read = io::stdin()
            .lock()
            .take(LIMIT_BYTES)
            .read_to_string(&mut text);
        read.map(|_| text)
    };
    let text = read.map_err(|error| {
        let text = format!("The token cannot be read: {error}.");
        Problem::new(Code::InvalidArgument, text)
    })?;
    Ok(text.trim().to_owned())
}

/// The terminal itself, wherever standard output and error go.
fn on_terminal(prompt: &str) -> io::Result<String> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = write!(terminal, "{prompt}").and_then(|()| {
        let mut lines = BufReader::new(&terminal).take(LIMIT_BYTES);
        lines.read_line(&mut line)
    });
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    writeln!(terminal)?;
    read.map(|_| line)
}
