//! The program `engine` as its users meet it: what it prints, what signals do, how it fails.

mod sandbox;
mod stopped;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::rfc6455;
use crate::support::{CLOSE, Client, PATIENCE, TEXT, frame, request, wait_until};

const ENGINE: &str = env!("CARGO_BIN_EXE_engine");

/// The program, running; what it says on stderr is gathered.
struct Program {
    child: Child,
    address: SocketAddr,
    log: mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl Program {
    fn start(args: &str) -> Self {
        let mut command = Command::new(ENGINE);
        command.args(args.split_whitespace());
        Self::spawn(command)
    }

    /// Starts the engine under a limit of open files.
    fn start_with_files(files: u32, args: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files} && exec {ENGINE} {args}"));
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (send, log) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut line = String::new();
        stdout.read_line(&mut line).expect("one line");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix('\n'));
        let Some(address) = address else {
            panic!("the first line is {line:?}; it said {:?}", log.iter().collect::<Vec<_>>())
        };
        let address = address.parse().expect("an address");
        thread::spawn(move || {
            let mut rest = String::new();
            drop(stdout.read_to_string(&mut rest));
            assert_eq!(rest, "", "one line on stdout and no more");
        });
        Self { child, address, log, heard: Vec::new() }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill is there");
        assert!(sent.success(), "it still runs");
    }

    /// The next line of the log that contains `text`.
    #[track_caller]
    fn logged(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.heard.push(line),
                Err(_) => panic!("no line with `{text}` in {:#?}", self.heard),
            }
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the program to its end: exit code, stdout and stderr.
fn run(args: &str) -> (i32, String, String) {
    let output = Command::new(ENGINE)
        .args(args.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

fn counter(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    value.unwrap_or_else(|| panic!("no {name} in {line}")).parse().expect("a number")
}

#[test]
fn it_says_where_it_listens_serves_counts_and_ends_on_sigterm() {
    // covers: CTL-07, CLOSE-09
    let mut engine = Program::start("echo --listen 127.0.0.1:0 --shards 2");
    let start = engine.logged("start mode=echo");
    for part in ["shards=2", "driver=uring", "kernel=", "open_files=", "connections="] {
        assert!(start.contains(part), "{part} in {start}");
    }
    assert!(start.contains(&format!("address={}", engine.address)), "{start}");
    assert_eq!(start.as_bytes().get(19), Some(&b'.'), "a time in front: {start}");
    let mut client = Client::connect(engine.address, "/");
    client.expect_alive();
    engine.signal("USR1");
    let counters = engine.logged("counters open=1");
    assert_eq!(counter(&counters, "messages_in"), 1);
    engine.signal("TERM");
    client.expect(CLOSE, b"");
    client.send(&frame(CLOSE, b""));
    client.expect_end();
    drop(client);
    let end = engine.logged("end open=0");
    assert_eq!(counter(&end, "closed_clean"), 1, "{end}");
    assert_eq!(engine.wait().code(), Some(0));
    assert!(TcpStream::connect(engine.address).is_err(), "nobody listens any more");
}

#[test]
fn a_drain_is_cut_at_its_deadline() {
    // covers: CLOSE-08
    let mut engine = Program::start("echo --shards 1 --drain 300ms");
    let mut rude = Client::connect(engine.address, "/");
    rude.expect_alive();
    let begun = Instant::now();
    engine.signal("INT");
    rude.expect(CLOSE, b"");
    rude.expect_end();
    assert_eq!(engine.wait().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(300), "cut after {:?}", begun.elapsed());
    let end = engine.logged("end open=0");
    assert_eq!(counter(&end, "closed_timed_out"), 1, "{end}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut engine = Program::start("echo --shards 1 --drain 1h");
        let mut rude = Client::connect(engine.address, "/");
        engine.signal("TERM");
        rude.expect(CLOSE, b"");
        engine.logged("drain signal=SIGTERM");
        engine.signal(name);
        assert_eq!(engine.wait().code(), Some(code));
    }
}

#[test]
fn a_closed_stdout_does_not_kill_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    // Its reader has gone before it writes.
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("exec {ENGINE} echo --shards 1 --listen {address} >&-"))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_until("it listens", || TcpStream::connect(address).is_ok());
    Client::connect(address, "/").expect_alive();
    child.kill().expect("it still runs");
    child.wait().expect("ended");
}

/// Ends with this code after it found its standard output full, and says so.
fn expect_unprinted(args: &str) {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    let mut command = Command::new(ENGINE);
    let output = command.args(args.split_whitespace()).stdout(full).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args}: {stderr}");
    for part in ["cannot write to standard output", "No space left", "To fix it"] {
        assert!(stderr.contains(part), "{args}: {part} in {stderr}");
    }
}

#[test]
fn what_must_be_printed_and_cannot_be_is_an_error() {
    for args in ["echo --shards 1", "doctor", "doctor --json", "--help", "echo -h", "--version"] {
        expect_unprinted(args);
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for args in ["doctor", "--help"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(ENGINE).arg(args).stdout(writer).output().expect("it runs");
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{args}");
    }
}

#[test]
fn a_wrong_value_is_told_with_the_variable_that_it_came_from() {
    let rows = [
        (
            "ENGINE_MAX_MESSAGE",
            "1x",
            2,
            "note: --max-message comes from the variable ENGINE_MAX_MESSAGE",
        ),
        ("ENGINE_MAX_FRAME", "2m", 2, " (--max-frame comes from the variable ENGINE_MAX_FRAME)"),
        (
            "ENGINE_ALLOW_ORIGIN",
            "https://*",
            2,
            " (--allow-origin comes from the variable ENGINE_ALLOW_ORIGIN)",
        ),
        (
            "ENGINE_ALLOW_ORIGIN",
            "",
            2,
            "ENGINE_ALLOW_ORIGIN is empty: unset it to leave --allow-origin out",
        ),
        (
            "ENGINE_MAX_OUTBOUND",
            "",
            2,
            "ENGINE_MAX_OUTBOUND is empty: unset it to leave --max-outbound out",
        ),
        ("ENGINE_COMPRESS", "maybe", 2, "note: --compress comes from the variable ENGINE_COMPRESS"),
        ("ENGINE_LISTEN", "192.0.2.1:0", 1, " (--listen comes from the variable ENGINE_LISTEN)"),
    ];
    for (name, value, code, told) in rows {
        let output = Command::new(ENGINE).arg("echo").env(name, value).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}={value}: {stderr}");
        assert!(stderr.contains(told), "{name}={value}: {stderr}");
    }
    // What is typed is not from there.
    let mut typed = Command::new(ENGINE);
    typed.args(["echo", "--max-frame", "2m"]).env("ENGINE_MAX_FRAME", "1k");
    let output = typed.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("--max-frame 2MiB") && !stderr.contains("ENGINE_"), "{stderr}");
}

#[test]
fn it_logs_whom_it_takes_and_what_is_not_as_usual() {
    let mut engine = Program::start("echo --shards 1");
    let policy = engine.logged("policy ");
    assert!(
        policy.ends_with("policy allow_host=any allow_origin=any allow_missing_origin=false"),
        "{policy}"
    );
    let mut engine = Program::start(
        "echo --shards 1 --allow-origin https://a.example,null --allow-missing-origin --max-fields 20",
    );
    let policy = engine.logged("policy ");
    for part in
        ["allow_origin=https://a.example,null", "allow_missing_origin=true", "max_fields=20"]
    {
        assert!(policy.contains(part), "{part} in {policy}");
    }
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let engine = Program::start("echo --shards 1");
    for args in ["echo --shards 1", "broadcast --shards 2"] {
        let (code, stdout, stderr) = run(&format!("{args} --listen {}", engine.address));
        assert_eq!((code, &*stdout), (1, ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for part in [&*engine.address.to_string(), "in use", "To fix it", "ss -ltnp"] {
            assert!(stderr.contains(part), "{part} in {stderr}");
        }
    }
    let mut client = Client::connect(engine.address, "/");
    client.expect_alive();
}

#[test]
fn wrong_flags_are_explained() {
    let rows = [
        ("echo --max-message 1x", "--max-message"),
        ("echo --idle-timeout 10", "10s"),
        ("echo --shards 2 --cpus 0", "--cpus"),
        ("echo --cpus 3-1", "backwards"),
        ("echo --slow-consumer maybe", "drop"),
        ("echo --max-frame 2m", "--max-message"),
        ("echo --listen nonsense", "--listen nonsense"),
        ("echo --spin-budget 101", "0..=100"),
        ("echo --handshake-timeout 0", "--handshake-timeout"),
        ("", "Usage"),
        ("ehco", "echo"),
    ];
    for (args, part) in rows {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, &*stdout), (2, ""), "{args}: {stderr}");
        assert!(stderr.contains(part), "{args}: {stderr}");
    }
}

#[test]
fn an_address_or_a_cpu_that_is_not_there_is_one_clear_error() {
    for (args, part) in [("echo --listen 192.0.2.1:0", "ip addr"), ("echo --cpus 4000", "CPU 4000")]
    {
        let (code, _, stderr) = run(args);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(part) && stderr.contains("To fix it"), "{stderr}");
    }
}

#[test]
fn help_teaches() {
    let (code, long, _) = run("echo --help");
    assert_eq!(code, 0);
    for part in
        ["Examples:", "Units:", "Signals:", "Exit codes:", "[default: 1MiB]", "ENGINE_MAX_MESSAGE"]
    {
        assert!(long.contains(part), "{part} in {long}");
    }
    let (_, short, _) = run("echo -h");
    assert!(short.len() < long.len() && !short.contains("Exit codes"), "{short}");
    assert_eq!(run("--version").0, 0);
}

#[test]
fn the_environment_sets_flags_and_the_command_line_wins() {
    let mut command = Command::new(ENGINE);
    command.args(["echo", "--max-message", "2k"]);
    command.env("ENGINE_SHARDS", "1").env("ENGINE_MAX_MESSAGE", "9k");
    command.env("ENGINE_MAX_FRAME", "1k").env("ENGINE_ALLOW_ORIGIN", "http://a,http://example.com");
    let mut engine = Program::spawn(command);
    let start = engine.logged("start");
    for part in ["shards=1", "max_message=2KiB", "max_frame=1KiB"] {
        assert!(start.contains(part), "{part} in {start}");
    }
    Client::connect(engine.address, "/").expect_alive();
}

#[test]
fn hosts_origins_and_subprotocols_are_checked_where_that_was_asked_for() {
    // covers: HS-S-10, HS-S-11, HS-S-12, SEC-02, AMB-12
    let engine = Program::start(
        "echo --shards 1 --allow-host example.com --allow-origin http://example.com \
         --subprotocol chat",
    );
    Client::connect(engine.address, "/").expect_alive();
    let good = String::from_utf8(request("/")).expect("text");
    let refused = [
        good.replace("Host: example.com", "Host: evil.example"),
        good.replace("Origin: http://example.com", "Origin: http://evil.example"),
        good.replace("Origin: http://example.com\r\n", ""),
        good.replace("Upgrade: WebSocket", "Upgrade: WebSocket\r\nSec-WebSocket-Protocol: mail"),
    ];
    for request in &refused {
        let mut client = Client::raw(engine.address);
        client.send(request.as_bytes());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 4"), "{request} got {head}");
    }
    let spoken =
        good.replace("Upgrade: WebSocket", "Upgrade: WebSocket\r\nSec-WebSocket-Protocol: chat");
    let mut client = Client::raw(engine.address);
    client.send(spoken.as_bytes());
    assert!(client.head().contains("Sec-WebSocket-Protocol: chat\r\n"));
    // And without being asked, every host and origin is taken.
    let engine = Program::start("echo --shards 1");
    for request in &refused[..2] {
        asking(engine.address, request).expect_alive();
    }
}

/// A connection that this request has established.
fn asking(address: SocketAddr, request: &str) -> Client {
    let mut client = Client::raw(address);
    client.send(request.as_bytes());
    client.finish_opening();
    client
}

#[test]
fn a_client_of_the_draft_without_an_origin_is_taken_only_where_that_is_allowed() {
    // covers: HS-S-11, AMB-12
    let good = String::from_utf8(request("/")).expect("text");
    let without = good.replace("Origin: http://example.com\r\n", "");
    let engine = Program::start("echo --shards 1");
    let mut client = Client::raw(engine.address);
    client.send(without.as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 403 "));
    let mut told = String::new();
    while let Some(byte) = client.take(1) {
        told.push(char::from(byte[0]));
    }
    assert!(told.contains("Origin"), "{told}");
    rfc6455::expect_echo(engine.address);
    for flags in ["", " --allow-origin http://example.com"] {
        let line = format!("echo --shards 1 --allow-missing-origin{flags}");
        let engine = Program::start(&line);
        asking(engine.address, &without).expect_alive();
    }
}

#[test]
fn what_is_no_opening_handshake_is_answered_by_the_book() {
    // covers: AMB-24, CONF-03
    let engine = Program::start("echo --shards 1 --max-line 300 --max-fields 12");
    let good = String::from_utf8(request("/")).expect("text");
    let with = |line: &str| good.replace("Upgrade: W", &format!("{line}\r\nUpgrade: W"));
    for (request, status, told) in [
        (with("Content-Length: 9"), 400, "body"),
        (with("Transfer-Encoding: chunked"), 400, "body"),
        (with("Content-Length: x"), 400, "Content-Length"),
        (good.replace("GET ", "POST "), 405, "GET"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "HTTP/2"),
        (with(&format!("Cookie: {}", "x".repeat(300))), 431, "--max-line"),
        (with(&"a: b\r\n".repeat(12)), 431, "--max-fields"),
        (good.replace("GET /", &format!("GET /{}", "x".repeat(300))), 414, "--max-line"),
        ("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), 426, "WebSocket client"),
        ("HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), 426, ""),
    ] {
        let mut client = Client::raw(engine.address);
        client.send(request.as_bytes());
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request} got {head}");
        let mut body = String::new();
        while let Some(byte) = client.take(1) {
            body.push(char::from(byte[0]));
        }
        assert!(body.contains(told), "{request} got {body}");
        assert_eq!(body.is_empty(), request.starts_with("HEAD"), "{request} got {body}");
    }
    // And what may come before and beside one is taken.
    asking(engine.address, &format!("\r\n{good}")).expect_alive();
    asking(engine.address, &with("Content-Length: 8\r\nCookie: \u{e9}\u{ff}")).expect_alive();
}

#[test]
fn where_tls_ends_in_front_the_location_is_wss() {
    // covers: HS-S-23
    let good = String::from_utf8(request("/")).expect("text");
    let told = good.replace("Upgrade: W", "X-Forwarded-Proto: https\r\nUpgrade: W");
    for (flag, request, scheme) in [
        ("", &good, "ws"),
        ("", &told, "ws"),
        (" --tls-in-front", &good, "wss"),
        (" --trust-forwarded-proto", &good, "ws"),
        (" --trust-forwarded-proto", &told, "wss"),
    ] {
        let engine = Program::start(&format!("echo --shards 1{flag}"));
        let mut client = Client::raw(engine.address);
        client.send(request.as_bytes());
        let head = client.head();
        let location = format!("Sec-WebSocket-Location: {scheme}://example.com/\r\n");
        assert!(head.contains(&location), "{flag} {request} got {head}");
    }
}

#[test]
fn both_dialects_are_spoken_unless_one_is_chosen() {
    let mut engine = Program::start("echo --shards 1");
    Client::connect(engine.address, "/").expect_alive();
    rfc6455::expect_echo(engine.address);
    engine.logged("dialects=hybi-02,rfc6455");
    let mut engine = Program::start("echo --shards 1 --dialect rfc6455");
    rfc6455::expect_echo(engine.address);
    engine.logged("dialects=rfc6455 ");
    let mut client = Client::raw(engine.address);
    client.send(&request("/"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let mut engine = Program::start("echo --shards 1 --dialect hybi-02");
    Client::connect(engine.address, "/").expect_alive();
    engine.logged("dialects=hybi-02 ");
}

#[test]
fn broadcast_goes_by_resource_name() {
    let engine = Program::start("broadcast --shards 2");
    let mut in_a: Vec<_> = (0..8).map(|_| Client::connect(engine.address, "/a?x=1")).collect();
    let mut in_b = Client::connect(engine.address, "/a?x=2");
    in_b.text("to nobody");
    // A subscription is made before the handshake's answer leaves, so nobody misses this.
    in_a[0].text("to the others");
    for client in &mut in_a[1..] {
        client.expect_text("to the others");
    }
    in_a[1].text("back");
    in_a[0].expect_text("back");
}

#[test]
fn epoll_asked_for_by_name_is_taken_without_a_reason() {
    let mut engine = Program::start("broadcast --shards 1 --driver epoll");
    let mut listener = Client::connect(engine.address, "/a");
    Client::connect(engine.address, "/a").text("heard");
    listener.expect_text("heard");
    let start = engine.logged("start mode=broadcast");
    assert!(start.contains("driver=epoll descriptors=process"), "{start}");
    assert!(!engine.heard.iter().any(|line| line.contains("took=")), "{:?}", engine.heard);
}

/// Fills the server until it takes no more; those it has taken work, and it takes others again when
/// some have gone.
fn out_of_files(args: &str) {
    let mut engine = Program::start_with_files(40, args);
    let mut taken: Vec<Client> = Vec::new();
    // One more than there can be; who finds no place waits in the backlog or is dropped.
    let mut outside = Vec::new();
    while outside.is_empty() {
        assert!(taken.len() < 60, "nothing limits it");
        let mut client = Client::raw(engine.address);
        client.try_send(&request("/"));
        client.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        match std::io::Read::read(&mut &client.stream, &mut [0; 1]) {
            Ok(1) => {
                client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                let head = client.head();
                assert!(head.starts_with("TTP/1.1 101 "), "{head}");
                client.take(16).expect("an answer");
                taken.push(client);
            }
            _ => outside.push(client),
        }
    }
    assert!(taken.len() >= 15, "only {}", taken.len());
    for client in &mut taken {
        client.expect_alive();
    }
    engine.signal("USR1");
    let counters = engine.logged("counters");
    assert!(counter(&counters, "ring_accept_failures") > 0, "{counters}");
    // Room again: newcomers are served, after the pause at the latest.
    drop(outside);
    for client in taken.drain(..10) {
        client.close();
    }
    wait_until("it accepts again", || {
        let Ok(stream) = TcpStream::connect(engine.address) else { return false };
        drop(stream);
        let mut client = Client::raw(engine.address);
        client.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        client.try_send(&request("/"));
        matches!(std::io::Read::read(&mut &client.stream, &mut [0; 1]), Ok(1))
    });
    for client in &mut taken {
        client.expect_alive();
    }
    engine.signal("TERM");
    for client in &mut taken {
        client.expect(CLOSE, b"");
    }
    drop(taken);
    assert_eq!(engine.wait().code(), Some(0));
}

#[test]
fn out_of_direct_descriptors_only_newcomers_suffer() {
    // covers: SEC-05
    out_of_files("echo --shards 1");
}

#[test]
fn out_of_open_files_only_newcomers_suffer() {
    // covers: SEC-05
    out_of_files("echo --shards 1 --no-direct-descriptors");
}

#[test]
fn out_of_open_files_under_epoll_only_newcomers_suffer() {
    out_of_files("echo --shards 1 --driver epoll");
}

#[test]
fn a_full_shard_refuses_and_counts() {
    // covers: SEC-05
    let mut engine = Program::start("echo --shards 1 --max-connections 5");
    let mut taken: Vec<_> = (0..5).map(|_| Client::connect(engine.address, "/")).collect();
    let mut refused = Client::raw(engine.address);
    refused.expect_end();
    for client in &mut taken {
        client.expect_alive();
    }
    engine.signal("USR1");
    let counters = engine.logged("counters");
    assert_eq!((counter(&counters, "refused"), counter(&counters, "open")), (1, 5));
    taken.pop().expect("five").close();
    wait_until("there is room again", || {
        let mut client = Client::raw(engine.address);
        client.try_send(&[request("/"), frame(TEXT, b"x")].concat());
        client.take(1).is_some()
    });
}

#[test]
fn every_address_of_a_name_is_listened_on() {
    let named: Vec<SocketAddr> = "localhost:0".to_socket_addrs().expect("localhost").collect();
    let mut child = Command::new(ENGINE)
        .args(["echo", "--shards", "1", "--listen", "localhost:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ips: std::collections::HashSet<_> = named.iter().map(SocketAddr::ip).collect();
    // One that the machine does not have is left out.
    let here = ips.iter().filter(|ip| TcpListener::bind((**ip, 0)).is_ok()).count();
    let mut found: Vec<SocketAddr> = Vec::new();
    for line in lines.take(here) {
        let line = line.expect("a line for each");
        let address = line.strip_prefix("listening on ").expect("an address");
        found.push(address.parse().expect("an address"));
    }
    for address in &found {
        assert!(ips.contains(&address.ip()), "{address}");
        assert_eq!(address.port(), found[0].port());
        let mut client = Client::connect(*address, "/");
        client.expect_alive();
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), here, "{found:?}");
}
