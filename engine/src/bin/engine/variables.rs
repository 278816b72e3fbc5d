//! Which arguments have their value from a variable of the environment, for errors that speak of them.
//! Both programs use this.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, Command};

/// An argument that a variable gives its value.
#[derive(Debug)]
struct Given {
    /// The argument's name, as errors show it.
    name: String,
    variable: String,
    value: String,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Variables(Vec<Given>);

impl Variables {
    /// The variables of the command that `words` name; what is typed wins over the `environment`.
    pub(crate) fn new(
        command: &Command,
        words: &[OsString],
        environment: impl Fn(&OsStr) -> Option<OsString>,
    ) -> Self {
        let texts: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let Some(named) = texts.get(1).and_then(|name| command.find_subcommand(&**name)) else {
            return Self(Vec::new());
        };
        let alone = |one: Command| one.mut_args(|arg| arg.env(Resettable::Reset));
        let typed = command.clone().mut_subcommands(alone).ignore_errors(true);
        let typed = typed.try_get_matches_from(words).ok();
        let typed = typed.as_ref().and_then(|typed| typed.subcommand_matches(named.get_name()));
        let is_typed = |arg: &Arg| {
            let source = typed.and_then(|typed| typed.value_source(arg.get_id().as_str()));
            // What is typed and wrong is not among the matches.
            source == Some(ValueSource::CommandLine) || texts.iter().any(|word| is_of(arg, word))
        };
        let given = named.get_arguments().filter_map(|arg| {
            let variable = arg.get_env()?;
            let value = environment(variable).filter(|_| !is_typed(arg))?;
            let named = || arg.get_value_names()?.first().map(|name| format!("<{name}>"));
            Some(Given {
                name: arg.get_long().map(|long| format!("--{long}")).or_else(named)?,
                variable: variable.to_string_lossy().into_owned(),
                value: value.to_string_lossy().into_owned(),
            })
        });
        Self(given.collect())
    }

    /// What to add to an error: from where the arguments are that it names, or whose values it quotes.
    /// Empty if they were typed.
    pub(crate) fn note(&self, error: &str) -> String {
        let told = self.0.iter().filter(|given| given.is_named_in(error)).map(|given| {
            let Given { name, variable, value } = given;
            if value.is_empty() {
                format!("the variable {variable} is empty: unset it to leave {name} out")
            } else {
                format!("{name} comes from the variable {variable}")
            }
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// An error of one line with its note behind it.
    pub(crate) fn explain(&self, error: &str) -> String {
        match self.note(error) {
            note if note.is_empty() => error.to_owned(),
            note => format!("{error} ({note})"),
        }
    }

    /// An error of `clap`, with the note between what is wrong and how it is used; `None` if there is
    /// nothing to add.
    pub(crate) fn explain_usage(&self, error: &str) -> Option<String> {
        let note = self.note(error);
        let (wrong, usage) = error.split_once("\n\n").unwrap_or((error, ""));
        (!note.is_empty()).then(|| format!("{}\n\n  note: {note}\n\n{usage}", wrong.trim_end()))
    }
}

/// Whether a word is the name of an argument, maybe with its value.
fn is_of(arg: &Arg, word: &str) -> bool {
    let long = arg.get_long().and_then(|long| word.strip_prefix("--")?.strip_prefix(long));
    let short = arg.get_short().and_then(|short| word.strip_prefix('-')?.strip_prefix(short));
    long.is_some_and(|rest| rest.is_empty() || rest.starts_with('=')) || short.is_some()
}

/// Values that are shorter stand in many texts by chance.
const VALUE_MIN: usize = 4;

impl Given {
    fn is_named_in(&self, text: &str) -> bool {
        let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let named = text
            .match_indices(&self.name)
            .any(|(at, name)| !text[at + name.len()..].starts_with(goes_on));
        let quoted = |value: &str| value.len() >= VALUE_MIN && text.contains(value);
        named || self.value.split(',').any(quoted)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{Arg, ArgAction, Command};

    use super::Variables;

    /// What `words` leave to an environment in which every variable has this value.
    fn variables(words: &str, value: &str) -> Variables {
        let args = ["max-frame", "max-frames", "cert", "rate"].map(|long| {
            let arg = Arg::new(long).long(long).env(format!("P_{}", long.to_uppercase()));
            if long == "rate" { arg.short('r') } else { arg }
        });
        let url = Arg::new("url").value_name("URL").env("P_URL").action(ArgAction::Set);
        let command = Command::new("p").subcommand(Command::new("run").args(args).arg(url));
        let words: Vec<_> = words.split(' ').map(OsString::from).collect();
        Variables::new(&command, &words, |_| Some(value.into()))
    }

    #[test]
    fn errors_are_told_from_which_variable_an_argument_is() {
        let frame = "--max-frame comes from the variable P_MAX-FRAME";
        let given = variables("p run", "9x");
        assert_eq!(given.note("invalid value '9x' for '--max-frame <SIZE>'"), frame);
        assert_eq!(given.note("--max-frame 9 is more than that"), frame);
        assert_eq!(given.note("--max-framed is no flag"), "");
        assert_eq!(given.note("'<URL>' is wrong"), "<URL> comes from the variable P_URL");
        assert_eq!(given.explain("--max-frame."), format!("--max-frame. ({frame})"));
        let usage = given.explain_usage("error: --max-frame\n\nUsage: p\n");
        assert_eq!(usage, Some(format!("error: --max-frame\n\n  note: {frame}\n\nUsage: p\n")));
        assert_eq!(given.explain_usage("error: x"), None);
        let empty = "the variable P_RATE is empty: unset it to leave --rate out";
        assert_eq!(variables("p run", "").note("--rate is wrong"), empty);
    }

    #[test]
    fn what_is_quoted_is_found_too() {
        let given = variables("p run --max-frame 1 --max-frames 1 --rate 1 url", "a,/etc/b.pem");
        let note = "--cert comes from the variable P_CERT";
        assert_eq!(given.note("cannot read /etc/b.pem: no such file"), note);
        assert_eq!(given.note("a"), "");
    }

    #[test]
    fn what_is_typed_is_from_nowhere_else() {
        for typed in ["--max-frame 1", "--max-frame=1", "-r 1", "-r1", "--max-frame"] {
            let note = variables(&format!("p run {typed}"), "9").note("--max-frame --rate");
            let other = if typed.starts_with("-r") { "--max-frame" } else { "--rate" };
            assert!(note.starts_with(other) && !note.contains(','), "{typed}: {note}");
        }
        assert_eq!(variables("p run there", "9").note("<URL>"), "");
        assert_eq!(variables("p", "9").note("--rate"), "");
    }
}
