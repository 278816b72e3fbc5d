//! The bare servers and their clients, against each other: a floor that does not serve is none.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bare"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("the server says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Self { child, address }
    }

    /// Runs a client for a moment, and longer where a busy machine let nothing happen; how many
    /// messages or connections it counted.
    fn drive(&self, arguments: &[&str]) -> u64 {
        let counts = ["0.1", "1", "10"].iter().map(|seconds| self.drive_for(seconds, arguments));
        counts.into_iter().find(|count| *count > 0).unwrap_or(0)
    }

    fn drive_for(&self, seconds: &str, arguments: &[&str]) -> u64 {
        let pid = self.child.id().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_bare"))
            .args(&arguments[..1])
            .args([&self.address, "--pid", &pid, "-d", seconds, "--warmup", "0.02"])
            .args(&arguments[1..])
            .output()
            .expect("the client starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {errors}");
        let count = text.strip_prefix("{\"count\": ").and_then(|rest| rest.split(',').next());
        count.and_then(|count| count.parse().ok()).expect(&text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn echoes_come_back_whatever_the_size_and_the_way_of_receiving() {
    let servers: [&[&str]; 5] = [
        &["ring-echo"],
        &["ring-echo", "--receive", "large"],
        &["ring-echo", "--receive", "large-once"],
        &["epoll-echo"],
        &["epoll-echo", "--buffer", "4"],
    ];
    for arguments in servers {
        let server = Server::start(arguments);
        for load in [["-c", "20", "-p", "64"], ["-c", "3", "-p", "1000000"]] {
            let load = [&["drive"], &load[..]].concat();
            assert!(server.drive(&load) > 0, "{arguments:?} {load:?}");
        }
        assert!(server.drive(&["drive", "-c", "5", "--depth", "16"]) > 0, "{arguments:?}");
    }
}

#[test]
fn whole_messages_are_received_into_memory_of_their_own() {
    let server = Server::start(&["ring-echo", "--receive", "direct", "--message", "100010"]);
    assert!(server.drive(&["drive", "-c", "4", "-p", "100000"]) > 0);
}

#[test]
fn everybody_else_gets_what_one_sends() {
    for arguments in [&["ring-fanout", "--slice", "7"][..], &["ring-fanout"], &["epoll-fanout"]] {
        let server = Server::start(arguments);
        // The client sends the next burst when all have got the last one: one lost stops it.
        let count = server.drive(&["drive", "--fanout", "-c", "31", "--depth", "4"]);
        assert!(count >= 2 * 4 * 30, "{arguments:?}: {count}");
    }
}

#[test]
fn a_storm_is_answered_byte_for_byte() {
    for server in ["ring-accept", "epoll-accept"] {
        assert!(Server::start(&[server]).drive(&["storm", "-c", "8"]) > 8, "{server}");
    }
}
