//! The output of commands: a closed or full standard output is an error of the command and never a panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use crate::service::Failure;

/// Prints a line. If the reader has closed the pipe, as `head` does, the command continues without output.
pub fn print(line: impl Display) -> Result<(), Failure> {
    unless_closed(print_or_fail(line))
}

/// Prints a whole text.
pub fn print_bytes(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text).and_then(|()| out.flush()))
}

fn unless_closed(printed: io::Result<()>) -> Result<(), Failure> {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

/// Prints each of the lines.
pub fn print_all(lines: impl IntoIterator<Item = impl Display>) -> Result<(), Failure> {
    lines.into_iter().try_for_each(print)
}

/// Prints a line that must not be lost: a closed pipe is an error, too.
pub fn print_or_fail(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
