//! The echo and broadcast server.

mod args;
mod doctor;
mod handlers;
mod log;
mod serve;
mod settings;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::Cli;
use settings::Settings;

/// Wrong flags, one by one (which `clap` says itself) or together.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // The rule that names the variables is in the help; each one again would drown the flags.
    let command =
        Cli::command().mut_subcommands(|command| command.mut_args(|flag| flag.hide_env(true)));
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|e| e.exit());
    let (mode, args) = match cli.command.into_parts() {
        Ok(parts) => parts,
        Err(look) => return doctor::run(&look),
    };
    match Settings::new(mode, args) {
        Ok(settings) => serve::run(&settings),
        Err(e) => serve::fail(format_args!("{e}"), USAGE),
    }
}
