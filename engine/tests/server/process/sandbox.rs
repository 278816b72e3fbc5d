//! The program where a sandbox refuses io_uring, all of it or single calls: what it does without, and
//! what it says.

use std::process::Command;

use super::{ENGINE, Program, rfc6455};
use crate::support::Client;

/// Numbers of the system calls, the same on every architecture.
const SETUP: u32 = 425;
const ENTER: u32 = 426;
const REGISTER: u32 = 427;

/// Operations of `io_uring_register`.
#[cfg(feature = "tokio-uring")]
const BUFFERS: u32 = 0;
const PROBE: u32 = 8;
const FILES2: u32 = 13;
const PBUF_RING: u32 = 22;

/// A system call that is refused: all of it, or only with this second argument.
struct Refusal {
    call: u32,
    second: Option<u32>,
    errno: i32,
}

const fn refuse(call: u32, errno: i32) -> Refusal {
    Refusal { call, second: None, errno }
}

const fn refuse_registering(operation: u32, errno: i32) -> Refusal {
    Refusal { call: REGISTER, second: Some(operation), errno }
}

/// The program under a seccomp filter that refuses these calls.
fn sandboxed(refusals: &[Refusal], args: &str) -> Command {
    // Loads the call's number, or the low half of its second argument; jumps; returns.
    const SANDBOX: &str = "
import ctypes, os, struct, sys
code = []
for rule in sys.argv[1].split():
    call, second, errno = map(int, rule.split(':'))
    code.append((0x20, 0, 0, 0))
    code.append((0x15, 0, 1 if second < 0 else 3, call))
    if second >= 0:
        code += [(0x20, 0, 0, 24), (0x15, 0, 1, second)]
    code.append((0x06, 0, 0, 0x50000 | errno))
code.append((0x06, 0, 0, 0x7FFF0000))
libc = ctypes.CDLL(None, use_errno=True)
program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *i) for i in code))
class Prog(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
prog = Prog(len(code), ctypes.addressof(program))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(prog), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
";
    let rules: Vec<_> = refusals
        .iter()
        .map(|Refusal { call, second, errno }| {
            let second = second.map_or_else(|| "-1".to_owned(), |second| second.to_string());
            format!("{call}:{second}:{errno}")
        })
        .collect();
    let mut command = Command::new("python3");
    command.args(["-c", SANDBOX, &rules.join(" "), ENGINE]).args(args.split(' '));
    command
}

/// What `io_uring_setup` may answer, and how that is told.
const REFUSALS: [(i32, &str); 4] = [
    (libc::EPERM, "forbidden here"),
    (libc::ENOSYS, "has no io_uring"),
    (libc::EINVAL, "too old"),
    (libc::ENOMEM, "locked memory"),
];

/// It does not start: one line that says why, with these parts, and what to do.
#[track_caller]
fn expect_refusal(mut command: Command, parts: &[&str]) {
    let output = command.output().expect("python3 is there, as for the interop tests");
    assert!(output.stdout.is_empty(), "it does not claim to listen");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in parts.iter().chain(&["To fix it"]) {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
}

/// Both dialects work, over a listener of the program, which then ends well.
#[track_caller]
fn expect_service(mut engine: Program) {
    Client::connect(engine.address, "/").expect_alive();
    rfc6455::expect_echo(engine.address);
    engine.signal("TERM");
    assert_eq!(engine.wait().code(), Some(0));
}

#[test]
fn a_driver_asked_for_by_name_and_refused_is_an_error_with_its_remedy() {
    for (errno, cause) in REFUSALS {
        for driver in ["uring", "tokio-uring"] {
            let args = format!("echo --shards 1 --driver {driver}");
            if driver == "uring" || cfg!(feature = "tokio-uring") {
                expect_refusal(sandboxed(&[refuse(SETUP, errno)], &args), &[cause]);
            }
        }
    }
    let args = "echo --shards 1 --driver uring";
    expect_refusal(sandboxed(&[refuse(ENTER, libc::EPERM)], args), &["forbidden here"]);
}

#[test]
fn where_io_uring_is_refused_epoll_is_taken_and_the_reason_told() {
    for (errno, cause) in REFUSALS {
        let command = sandboxed(&[refuse(SETUP, errno)], "echo --shards 2");
        let mut engine = Program::spawn(command);
        let took = engine.logged("driver took=epoll");
        assert!(took.contains(cause), "{took}");
        assert!(engine.logged("start mode=echo").contains("driver=epoll"));
        Client::connect(engine.address, "/").expect_alive();
        // The counters tell the reason, too.
        let (_, reason) = took.split_once(" because=").expect("a reason");
        let counted = format!(" driver=epoll because={reason}");
        engine.signal("USR1");
        let counters = engine.logged("counters open=");
        assert!(counters.ends_with(&counted), "{counted} in {counters}");
        engine.signal("TERM");
        let end = engine.logged("end open=0");
        assert!(end.ends_with(&counted), "{counted} in {end}");
        assert_eq!(engine.wait().code(), Some(0));
    }
}

#[test]
fn rings_that_can_be_made_and_not_used_are_not_taken() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let command = sandboxed(&[refuse(ENTER, errno)], "echo --shards 1");
        let mut engine = Program::spawn(command);
        engine.logged("driver took=epoll");
        expect_service(engine);
    }
}

#[test]
fn where_rings_do_not_pay_the_next_rung_is_taken() {
    let mut engine = Program::start("echo --shards 1 --ring-features none");
    let next = if cfg!(feature = "tokio-uring") { "tokio-uring" } else { "epoll" };
    let took = engine.logged(&format!("driver took={next}"));
    assert!(took.contains("neither defer-taskrun nor coop-taskrun"), "{took}");
    expect_service(engine);
    // Asked for by name, it runs all the same.
    let mut engine = Program::start("echo --shards 1 --ring-features none --driver uring");
    assert!(engine.logged("start mode=echo").contains("ring_features=none "));
    expect_service(engine);
}

#[test]
fn registering_that_is_refused_costs_one_feature_and_no_more() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
        let buffers = refuse_registering(PBUF_RING, errno);
        let files = refuse_registering(FILES2, errno);
        let probe = refuse_registering(PROBE, errno);
        let mut engine = Program::spawn(sandboxed(&[buffers, files, probe], "echo --shards 1"));
        let mut reasons = Vec::new();
        for feature in ["buffer-ring", "multishot-recv", "direct"] {
            let line = engine.logged(&format!("driver without={feature} "));
            let cause = match (feature, errno) {
                ("multishot-recv", _) => "it needs buffer-ring",
                (_, libc::EINVAL) => "this kernel does not know it",
                _ => "a seccomp profile perhaps",
            };
            assert!(line.contains(cause), "{line}");
            let (_, because) = line.split_once(" because=").expect("a reason");
            reasons.push((feature, because.trim_matches('"').to_owned()));
        }
        let start = engine.logged("start mode=echo");
        let features = "ring_features=multishot-accept,defer-taskrun,no-sqarray,skip-success ";
        for part in ["driver=uring descriptors=process", features] {
            assert!(start.contains(part), "{part} in {start}");
        }
        engine.signal("USR1");
        let counters = engine.logged("counters");
        let without = "ring_without=buffer-ring,multishot-recv,direct without_because=\"";
        assert!(counters.contains(&format!("{features}{without}")), "{counters}");
        for (feature, because) in reasons {
            assert!(counters.contains(&format!("{feature}: {because}")), "{feature} in {counters}");
        }
        expect_service(engine);
    }
}

#[cfg(feature = "tokio-uring")]
#[test]
fn buffers_that_cannot_be_registered_are_told_and_done_without() {
    let rows =
        [(libc::ENOMEM, "limit of locked memory"), (libc::EPERM, "a seccomp profile perhaps")];
    for (errno, cause) in rows {
        let refusal = refuse_registering(BUFFERS, errno);
        let command = sandboxed(&[refusal], "echo --shards 2 --driver tokio-uring");
        let mut engine = Program::spawn(command);
        let line = engine.logged("driver without=registered-buffers because=");
        assert!(line.contains(cause), "{line}");
        engine.signal("USR1");
        let counters = engine.logged("counters");
        let told = "driver=tokio-uring without_because=\"registered-buffers: ";
        assert!(counters.contains(told) && counters.contains(cause), "{counters}");
        expect_service(engine);
    }
}

#[test]
fn a_feature_asked_for_by_name_and_refused_is_an_error_with_its_remedy() {
    let rows = [
        (PBUF_RING, "+buffer-ring", "buffer-ring"),
        (PBUF_RING, "+multishot-recv", "multishot-recv"),
        (FILES2, "+direct", "direct"),
    ];
    for (operation, list, feature) in rows {
        let named = format!("cannot use the ring feature {feature}");
        for driver in ["uring", "auto"] {
            let args = format!("echo --shards 1 --driver {driver} --ring-features {list}");
            let command = sandboxed(&[refuse_registering(operation, libc::EPERM)], &args);
            expect_refusal(command, &[&named, "--ring-features"]);
        }
    }
    // Where there is no ring, there is no feature of it either.
    let command =
        sandboxed(&[refuse(SETUP, libc::EPERM)], "echo --shards 1 --ring-features +direct");
    expect_refusal(command, &["forbidden here"]);
}

#[test]
fn the_doctor_tells_what_is_there_and_what_a_sandbox_takes_away() {
    let look = |mut command: Command| {
        let output = command.output().expect("it runs");
        assert!(output.stderr.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let expect = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    };
    let (code, text) = look(sandboxed(&[], "doctor"));
    assert_eq!(code, Some(0), "{text}");
    expect(&text, &["--driver auto takes uring\n", "  taken uring, full\n", "multishot-recv"]);
    expect(&text, &["  works epoll\n", "connections per shard, in its ring's own file table"]);
    let (code, json) = look(sandboxed(&[], "doctor --json"));
    assert_eq!(code, Some(0));
    expect(&json, &["\"schema\": \"ringbolt.doctor/1\"", "\"auto\": \"uring\"", "\"holds\": true"]);
    for (errno, cause) in REFUSALS {
        let (code, text) = look(sandboxed(&[refuse(SETUP, errno)], "doctor"));
        assert_eq!(code, Some(0), "epoll does: {text}");
        expect(&text, &["takes epoll", "  taken epoll\n", cause, "To fix it"]);
    }
    let (code, text) = look(sandboxed(&[refuse_registering(FILES2, libc::EPERM)], "doctor"));
    assert_eq!(code, Some(0), "{text}");
    expect(&text, &["takes uring\n", "  taken uring, reduced\n", "do without direct\n"]);
    expect(&text, &["connections per process\n"]);
    // What is required and not there ends the walk.
    let command =
        sandboxed(&[refuse_registering(FILES2, libc::EPERM)], "doctor --ring-features +direct");
    let (code, text) = look(command);
    assert_eq!(code, Some(69), "{text}");
    expect(&text, &["takes nothing", "  works epoll\n", "cannot use the ring feature direct"]);
}
