//! Repeats one operation a given number of times, to be counted by valgrind: scripts/instructions
//! subtracts the counts of two numbers of repetitions, which leaves the operation alone.

use std::io::Write as _;
use std::process::ExitCode;

use ringbolt_benches::operations::{ALL, Operation};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => {
            let mut out = std::io::stdout();
            for operation in ALL {
                let Operation { name, unit, units, .. } = operation;
                if writeln!(out, "{name}\t{unit}\t{units}").is_err() {
                    break;
                }
            }
            ExitCode::SUCCESS
        }
        [name, repetitions] => {
            let (Some(operation), Ok(count)) = (Operation::find(name), repetitions.parse::<u32>())
            else {
                drop(writeln!(
                    std::io::stderr(),
                    "instructions: no operation {name}, or {repetitions} is no number; without \
                     arguments the operations are listed"
                ));
                return ExitCode::from(2);
            };
            let mut repeat = operation.prepare();
            (0..count).for_each(|_| repeat());
            ExitCode::SUCCESS
        }
        _ => {
            drop(writeln!(std::io::stderr(), "usage: instructions [OPERATION REPETITIONS]"));
            ExitCode::from(2)
        }
    }
}
