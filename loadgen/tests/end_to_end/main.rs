//! The program as its users run it: against servers in this process, and against one that shares
//! no code with it.

mod cli;
#[expect(dead_code, reason = "the engine's own tests run the rest")]
#[path = "../../../engine/tests/rfc6455_clients/cases.rs"]
mod client_cases;
mod comparisons;
mod connections;
mod dialects;
mod documents;
mod echo;
mod fan_and_storm;
mod foreign;
mod hostile;
mod payloads;
mod plans;
mod proxies;
mod reports;
mod secrets;
mod secure;
mod servers;
mod signals;
mod timing;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs `loadgen` to its end. Every run of these tests bounds itself.
fn loadgen(arguments: &[&str]) -> Output {
    command(arguments).output().expect("loadgen runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOADGEN_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it with `--json` and gives exit code and document.
fn document(arguments: &[&str]) -> (i32, Value) {
    let output = loadgen(&[arguments, &["--json"]].concat());
    let parsed = serde_json::from_slice(&output.stdout);
    let document: Value = parsed.unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(document["schema"], "ringbolt.loadgen/3");
    validate(&document).unwrap_or_else(|e| panic!("not as its schema says: {e}\n{document:#}"));
    (output.status.code().expect("no signal"), document)
}

/// Whether a document keeps to the schema that is in the tree.
fn validate(document: &Value) -> Result<(), String> {
    const NAME: &str = "urn:ringbolt:loadgen:result:2";
    let schema = include_str!("../../schema/result-3.json");
    let schema = serde_json::from_str(schema).expect("the schema is JSON");
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource(NAME, schema).expect("added");
    let index = compiler.compile(NAME, &mut schemas).expect("a schema");
    schemas.validate(document, index).map_err(|e| format!("{e:#}"))
}

/// A number of a document.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, not {value}"))
}
