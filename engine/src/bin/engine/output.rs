//! What the program prints before it serves, and how it says that it cannot.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use crate::variables::Variables;

/// The server could not start, or broke.
pub(crate) const FAILED: u8 = 1;

/// Prints on standard output. What cannot be printed is an error, which is said here; that its reader
/// has gone is none.
pub(crate) fn print(text: &str) -> Result<(), ExitCode> {
    let mut stdout = io::stdout();
    printed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// What became of printing.
fn printed(written: io::Result<()>) -> Result<(), ExitCode> {
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(complain(
            format_args!(
                "cannot write to standard output: {e}. To fix it: send it where there is room, or to \
                 /dev/null."
            ),
            FAILED,
        )),
        _ => Ok(()),
    }
}

/// What `clap` has to say: help and the version, or why the command line is wrong.
pub(crate) fn clap(error: &clap::Error, variables: &Variables) -> ExitCode {
    if !error.use_stderr() {
        let written = error.print().and_then(|()| io::stdout().flush());
        return printed(written).err().unwrap_or(ExitCode::SUCCESS);
    }
    // Nobody reads it if that fails.
    let _ = match variables.explain_usage(&error.render().to_string()) {
        Some(text) => io::stderr().write_all(text.as_bytes()),
        None => error.print(),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED))
}

/// Says why there is no server, and which variables gave the flags that are to blame.
pub(crate) fn fail(error: &dyn fmt::Display, variables: &Variables, code: u8) -> ExitCode {
    complain(format_args!("{}", variables.explain(&error.to_string())), code)
}

pub(crate) fn complain(what: fmt::Arguments<'_>, code: u8) -> ExitCode {
    drop(writeln!(io::stderr(), "engine: {what}"));
    ExitCode::from(code)
}
