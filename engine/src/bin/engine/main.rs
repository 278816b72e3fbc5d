//! The echo and broadcast server.

mod args;
mod handlers;
mod log;
mod serve;
mod settings;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use settings::Settings;

/// Wrong flags, one by one (which `clap` says itself) or together.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let (mode, args) = Cli::parse().command.into_parts();
    match Settings::new(mode, args) {
        Ok(settings) => serve::run(&settings),
        Err(e) => serve::fail(format_args!("{e}"), USAGE),
    }
}
