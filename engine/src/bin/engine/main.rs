//! The echo and broadcast server.

mod args;
mod doctor;
mod handlers;
mod log;
mod output;
mod policy;
mod serve;
mod settings;
mod units;
mod variables;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::Cli;
use settings::Settings;
use variables::Variables;

/// Wrong flags, one by one (which `clap` says itself) or together.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // The rule that names the variables is in the help; each one again would drown the flags.
    let command =
        Cli::command().mut_subcommands(|command| command.mut_args(|flag| flag.hide_env(true)));
    let words: Vec<OsString> = std::env::args_os().collect();
    let variables = Variables::new(&command, &words, |name| std::env::var_os(name));
    let parsed = command.clone().try_get_matches_from(&words).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((matches, cli))
    });
    let (matches, cli) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return output::clap(&error, &variables),
    };
    let (mode, args) = match cli.command.into_parts() {
        Ok(parts) => parts,
        Err(look) => return doctor::run(&look),
    };
    let policy = matches
        .subcommand()
        .and_then(|(name, matches)| Some(policy::told(command.find_subcommand(name)?, matches)));
    let settings = match Settings::new(mode, args) {
        Ok(settings) => settings,
        Err(e) => return output::fail(&e, &variables, USAGE),
    };
    serve::run(&settings, &policy.unwrap_or_default(), &variables)
}
