//! Whom a server takes and what it grants them, for its log: what decides about refusals, and what was
//! set otherwise than by default.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// What is told in any case, and how, where nothing is given.
const ALWAYS: [(&str, &str); 3] =
    [("allow_host", "any"), ("allow_origin", "any"), ("allow_missing_origin", "false")];
/// The headings of the flags that make a policy.
const HEADINGS: [&str; 4] = ["Which clients", "Compression", "Limits", "Timeouts"];
/// The flags under other headings that do.
const ALSO: [&str; 3] = ["tls_client_ca", "tls_client_auth", "tls_min"];
/// What the line `start` tells.
const IN_START: [&str; 10] = [
    "dialect",
    "max_message",
    "max_frame",
    "max_outbound",
    "memory_budget",
    "handshake_timeout",
    "idle_timeout",
    "ping_interval",
    "close_timeout",
    "drain",
];

/// The policy as `name=value` pairs, in the order of the help.
pub(crate) fn told(command: &Command, matches: &ArgMatches) -> String {
    let pairs = command.get_arguments().filter_map(|arg| {
        let name = arg.get_id().as_str();
        let always = ALWAYS.iter().find(|(one, _)| *one == name).map(|(_, nothing)| *nothing);
        let of_policy = arg.get_help_heading().is_some_and(|one| HEADINGS.contains(&one));
        if IN_START.contains(&name) || !(of_policy || ALSO.contains(&name)) {
            return None;
        }
        let value = given(arg, matches).or_else(|| always.map(str::to_owned))?;
        Some(format!("{name}={value}"))
    });
    pairs.collect::<Vec<_>>().join(" ")
}

/// What was given for a flag, if that is not its default.
fn given(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let name = arg.get_id().as_str();
    match matches.value_source(name)? {
        ValueSource::CommandLine | ValueSource::EnvVariable => {}
        _ => return None,
    }
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return matches.get_flag(name).then(|| "true".to_owned());
    }
    let values: Vec<_> = matches.get_raw(name)?.map(std::ffi::OsStr::to_string_lossy).collect();
    if values
        .iter()
        .map(|value| &**value)
        .eq(arg.get_default_values().iter().map(|one| one.to_string_lossy()))
    {
        return None;
    }
    let value = values.join(",");
    let plain = value.chars().all(|c| c.is_ascii_graphic() && c != '"');
    Some(if plain { value } else { format!("{value:?}") })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::told;
    use crate::args::Cli;

    fn policy(line: &str) -> String {
        let words = format!("engine echo {line}");
        let matches =
            Cli::command().try_get_matches_from(words.split(' ').filter(|word| !word.is_empty()));
        let matches = matches.expect("flags that parse");
        let (name, matches) = matches.subcommand().expect("a subcommand");
        told(Cli::command().find_subcommand(name).expect("there"), matches)
    }

    #[test]
    fn what_decides_about_refusals_is_always_told() {
        assert_eq!(policy(""), "allow_host=any allow_origin=any allow_missing_origin=false");
        assert_eq!(
            policy(
                "--allow-origin https://a.example,null --allow-host a.example --allow-missing-origin"
            ),
            "allow_host=a.example allow_origin=https://a.example,null allow_missing_origin=true"
        );
    }

    #[test]
    fn of_the_rest_is_told_what_is_not_the_default() {
        let more =
            policy("--max-fields 20 --max-line 8KiB --max-message 2m --cpus 0 --idle-timeout 9s");
        assert!(more.ends_with(" max_fields=20"), "{more}");
        let more = policy("--subprotocol a;b --require-subprotocol --compress --compress-level 9");
        for part in
            [" subprotocol=a;b ", " require_subprotocol=true ", " compress=true compress_level=9"]
        {
            assert!(more.contains(part), "{part} in {more}");
        }
        let tls = policy("--listen-tls 127.0.0.1:0 --tls-cert a --tls-key a --tls-client-ca x\ny");
        assert!(tls.starts_with("tls_client_ca=\"x\\ny\" allow_host="), "{tls}");
    }
}
