//! From words to arguments, with a plan file between the defaults and what was typed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser as _};
use ringbolt::handshake::url::without_secrets;
use toml::Value;

use crate::base::failure::Failure;
use crate::base::output;
use crate::cli::arguments::{Cli, Command};
use crate::cli::variables::Variables;

/// Reads the command line, and tells what of it stands in the environment; wrong usage ends the
/// process, as `clap` does it.
pub(crate) fn parse() -> Result<(Cli, Variables), Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match plan_file(&words) {
        Some(file) => with_file(&words, &file)?,
        None => understood(Cli::try_parse_from(&words), &words),
    };
    let Command::Run(run) = cli.command else { return Ok((cli, variables(&words))) };
    let table = read(&run.file)?;
    let scenario = scenario(&table).ok_or_else(|| {
        wrong(&run.file, "it does not name its scenario".to_owned(), "add `scenario = \"echo\"`")
    })?;
    let program = words.first().cloned().unwrap_or_default();
    let head = [program, scenario.into(), "--plan".into(), run.file.clone().into()];
    let words: Vec<OsString> = head.into_iter().chain(run.options).collect();
    with_file(&words, &run.file).map(|cli| (cli, variables(&words)))
}

/// The arguments that the words leave to the environment.
pub(crate) fn variables(words: &[OsString]) -> Variables {
    Variables::new(&Cli::command(), words, |name| std::env::var_os(name))
}

/// What was understood of the words; wrong usage ends the process.
fn understood<T>(parsed: Result<T, clap::Error>, words: &[OsString]) -> T {
    parsed.unwrap_or_else(|error| {
        if !error.use_stderr() {
            // Help, or the version.
            let code = match output::printed(error.print()) {
                Ok(()) => 0,
                Err(failure) => {
                    output::complain(&failure.to_string());
                    failure.exit_code()
                }
            };
            std::process::exit(code.into());
        }
        let text = error.render().to_string();
        let told = variables(words).explain_usage(&text);
        let shown = without_secrets_of(told.as_deref().unwrap_or(&text), words);
        if shown == text {
            error.exit();
        }
        // Nobody reads it if that fails.
        let _ = write!(std::io::stderr(), "{shown}");
        std::process::exit(error.exit_code())
    })
}

/// A text that may quote words: a URL among them that stands where none is expected is shown without
/// its password.
fn without_secrets_of(text: &str, words: &[OsString]) -> String {
    let variables = ["LOADGEN_URL", "LOADGEN_PROXY"].iter().filter_map(std::env::var_os);
    let mut shown = text.to_owned();
    for word in words.iter().cloned().chain(variables) {
        let word = word.to_string_lossy();
        let value = word.split_once('=').map_or(&*word, |(_, value)| value);
        for secret in [&*word, value].into_iter().filter(|text| text.contains('@')) {
            shown = shown.replace(secret, &without_secrets(secret));
        }
    }
    shown
}

/// The file that the words, or the environment, name.
fn plan_file(words: &[OsString]) -> Option<PathBuf> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            break;
        }
        if text == "--plan" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(file) = text.strip_prefix("--plan=") {
            return Some(file.into());
        }
    }
    std::env::var_os("LOADGEN_PLAN").map(PathBuf::from)
}

fn read(file: &Path) -> Result<toml::Table, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| wrong(file, e.to_string(), "give a file that can be read"))?;
    text.parse().map_err(|e: toml::de::Error| {
        let why = e.message().to_owned();
        let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        wrong(
            file,
            format!("line {line}: {why}"),
            "write it as TOML; `loadgen run --help` shows an example",
        )
    })
}

fn scenario(table: &toml::Table) -> Option<&str> {
    table.get("scenario").and_then(Value::as_str)
}

/// What of a file stands behind the words.
struct Default {
    id: clap::Id,
    values: Vec<String>,
}

impl Default {
    /// The plan's options, as they would be typed.
    fn words(&self, sub: &clap::Command) -> Vec<String> {
        let arg = sub.get_arguments().find(|arg| *arg.get_id() == self.id);
        let is_flag = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
        let word = |value: &String| match arg.and_then(Arg::get_long) {
            Some(long) if is_flag => format!("--{long}"),
            Some(long) => format!("--{long}={value}"),
            None => value.clone(),
        };
        self.values.iter().map(word).collect()
    }
}

fn with_file(words: &[OsString], file: &Path) -> Result<Cli, Failure> {
    let command = Cli::command();
    let named = words.get(1).and_then(|word| word.to_str());
    let known = named.and_then(|name| command.find_subcommand(name));
    let Some(sub) = known.filter(|sub| sub.get_arguments().any(|arg| arg.get_id() == "plan"))
    else {
        // Not of a scenario: other commands have no plan.
        return Ok(understood(Cli::try_parse_from(words), words));
    };
    let name = sub.get_name().to_owned();
    let table = read(file)?;
    if let Some(other) = scenario(&table).filter(|other| *other != name) {
        let why = format!("its scenario is {other}, not {name}");
        return Err(wrong(file, why, "run it with `loadgen run`"));
    }
    let defaults = defaults(sub, &table).map_err(|why| {
        wrong(file, why, "use the long options that `--help` of the scenario lists, as keys")
    })?;
    check(sub, &defaults)
        .map_err(|why| wrong(file, why, "correct it; values are written as for the options"))?;
    // Once without the file, to see what was typed, whatever it lacks without the file.
    let typed = command.clone().ignore_errors(true).get_matches_from(words);
    let typed = typed.subcommand_matches(&name);
    let stands = |default: &&Default| !typed.is_some_and(|typed| is_overruled(sub, typed, default));
    let of_file = defaults.iter().filter(stands).flat_map(|default| default.words(sub));
    // In front of what was typed, so that what one of them requires can be in the other.
    let (head, tail) = words.split_at(2);
    let whole = head.iter().cloned().chain(of_file.map(OsString::from)).chain(tail.iter().cloned());
    let whole: Vec<_> = whole.collect();
    let matches = understood(command.clone().try_get_matches_from(&whole), &whole);
    Ok(understood(Cli::from_arg_matches(&matches), &whole))
}

/// The values of a file, for the arguments that they are of.
fn defaults(sub: &clap::Command, table: &toml::Table) -> Result<Vec<Default>, String> {
    let mut all = Vec::new();
    for (key, value) in table.iter().filter(|(key, _)| *key != "scenario") {
        let is_it = |arg: &&Arg| match arg.get_long() {
            Some(long) => long == key && !matches!(long, "plan" | "help" | "version"),
            None => arg.get_id().as_str() == key,
        };
        let arg = sub.get_arguments().find(is_it);
        let arg = arg.ok_or_else(|| format!("there is no key `{key}` for {}", sub.get_name()))?;
        let values = match value {
            Value::Array(items) => items.iter().map(plain).collect::<Option<Vec<_>>>(),
            one => plain(one).map(|one| vec![one]),
        };
        let values = values.ok_or_else(|| format!("`{key}` is neither text, number nor list"))?;
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        if is_flag && !matches!(value, Value::Boolean(_)) {
            return Err(format!("`{key}` is neither true nor false"));
        }
        if !(is_flag && values == ["false"]) {
            all.push(Default { id: arg.get_id().clone(), values });
        }
    }
    Ok(all)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(time) => Some(time.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    }
}

/// Whether the file alone would be the beginning of a command line.
fn check(sub: &clap::Command, defaults: &[Default]) -> Result<(), String> {
    let name = sub.get_name().to_owned();
    let values = defaults.iter().flat_map(|default| default.words(sub));
    let words: Vec<_> = [name].into_iter().chain(values).map(OsString::from).collect();
    // The environment takes precedence over the file, and is not a part of it.
    let alone = sub.clone().mut_args(|arg| arg.env(Resettable::Reset));
    match alone.try_get_matches_from(&words) {
        Ok(_) => Ok(()),
        // It may be typed.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            Err(without_secrets_of(first, &words))
        }
    }
}

/// Whether something that was typed, or is in the environment, takes precedence over a value of the file.
fn is_overruled(sub: &clap::Command, typed: &ArgMatches, default: &Default) -> bool {
    let given = |arg: &&Arg| {
        let source = typed.value_source(arg.get_id().as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let excludes = |one: &Arg, other: &clap::Id| {
        sub.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other)
    };
    let of_file = sub.get_arguments().find(|arg| *arg.get_id() == default.id);
    sub.get_arguments().filter(given).any(|arg| {
        *arg.get_id() == default.id
            || excludes(arg, &default.id)
            || of_file.is_some_and(|of_file| excludes(of_file, arg.get_id()))
    })
}

fn wrong(file: &Path, why: String, remedy: &'static str) -> Failure {
    Failure::config(format!("cannot use the plan {}", file.display()), why, remedy)
}

/// Prints completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "loadgen", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}

/// Writes the manual pages: one for the program, and one for each command.
pub(crate) fn manual(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|e| unwritten(folder, &e))?;
    let mut pages = String::new();
    clap_mangen::generate_to(Cli::command(), folder).map_err(|e| unwritten(folder, &e))?;
    for entry in std::fs::read_dir(folder).map_err(|e| unwritten(folder, &e))?.flatten() {
        // Writing to a string cannot fail.
        let _ = writeln!(pages, "{}", entry.path().display());
    }
    output::print(&pages)
}

fn unwritten(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::preflight(
        format!("cannot write into {}", folder.display()),
        error.to_string(),
        "give a folder that can be written to",
    )
}
