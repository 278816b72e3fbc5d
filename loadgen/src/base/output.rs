//! What is written: on standard output, on standard error, and into files.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::failure::Failure;

/// The name of the document in a folder of results.
pub(crate) const DOCUMENT: &str = "result.json";

/// Prints on standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    printed(std::io::stdout().write_all(text.as_bytes()))
}

/// What became of printing.
pub(crate) fn printed(written: std::io::Result<()>) -> Result<(), Failure> {
    match written.and_then(|()| std::io::stdout().flush()) {
        // Whoever read has gone, and wants no more of it.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::preflight(
            "cannot write to standard output",
            e.to_string(),
            "send it where there is room, or write it to a file with -o",
        )),
        _ => Ok(()),
    }
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| unwritable(path, &e))
}

pub(crate) fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::preflight(
        format!("cannot write {}", path.display()),
        error.to_string(),
        "name a file in a folder that exists and can be written to",
    )
}

/// Says something on standard error.
pub(crate) fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "loadgen: {text}"));
}
