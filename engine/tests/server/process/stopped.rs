//! The program when it was stopped for longer than its timeouts, as by a debugger, a frozen control group
//! or a sleeping machine.

use std::thread;
use std::time::Duration;

use ringbolt::Driver;

use super::Program;
use crate::support::{Client, PING, TEXT, wait_until};

const IDLE: Duration = Duration::from_secs(1);

/// Whether the program is stopped.
fn is_stopped(program: &Program) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.child.id()));
    // The name, in parentheses, may have anything in it.
    stat.expect("it runs").rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

#[test]
fn those_who_spoke_while_the_program_was_stopped_are_heard() {
    // covers: SEC-05
    let mut all: Vec<_> = Driver::built()
        .map(|driver| {
            let limits = "--idle-timeout 1s --ping-interval 300ms";
            let program = Program::start(&format!("echo --shards 1 --driver {driver} {limits}"));
            let clients: Vec<_> = (0..10).map(|_| Client::connect(program.address, "/")).collect();
            (program, clients)
        })
        .collect();
    for (program, _) in &all {
        program.signal("STOP");
        wait_until("it is stopped", || is_stopped(program));
    }
    for (_, clients) in &mut all {
        clients.iter_mut().for_each(|client| client.text("are you back?"));
    }
    // Twice as long as anybody may be silent.
    thread::sleep(2 * IDLE);
    for (program, clients) in &mut all {
        program.signal("CONT");
        for client in clients {
            let mut frame = client.frame();
            while frame.first == PING {
                frame = client.frame();
            }
            assert_eq!((frame.first, &frame.payload[..]), (TEXT, &b"are you back?"[..]));
        }
    }
}
