//! Servers that are reached through a proxy.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::servers::{Answer, Running};
use crate::{command, document, loadgen};

/// A proxy that takes CONNECT from whoever has its password, as long as the test runs; and how many it let
/// through.
fn proxy() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, count) = (listener.local_addr().expect("an address"), Arc::default());
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, count) = (client.expect("a connection"), Arc::clone(&counted));
            thread::spawn(move || serve(client, &count));
        }
    });
    (address, count)
}

fn serve(mut client: TcpStream, count: &AtomicU64) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(client.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    // `me:p@ss`.
    if !head.contains("authorization: Basic bWU6cEBzcw==\r\n") {
        let refusal = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal).expect("room");
    }
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let Ok(server) = TcpStream::connect(target.expect("a target")) else { return };
    count.fetch_add(1, Ordering::Relaxed);
    if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_err() {
        return;
    }
    let (from, to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    thread::spawn(move || carry(server, client));
    carry(from, to);
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // A reset of the one is the end for the other.
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}

fn short(url: &str) -> [&str; 8] {
    ["echo", url, "-c", "3", "-n", "30", "--warmup", "0"]
}

#[test]
fn a_run_through_a_proxy_says_so_and_keeps_its_password() {
    let server = Running::echo(|_, _| Answer::Send);
    let (address, count) = proxy();
    let typed = format!("http://me:p%40ss@{address}");
    for dialect in ["hybi-02", "rfc6455"] {
        let before = count.load(Ordering::Relaxed);
        let run = [&short(&server.url)[..], &["--ws-version", dialect, "--proxy", &typed]].concat();
        let (code, found) = document(&run);
        assert_eq!(code, 0, "{found:#}");
        assert_eq!(count.load(Ordering::Relaxed) - before, 3, "{dialect}");
        assert_eq!(found["workload"]["proxy"], format!("http://{address}"));
        assert!(!found.to_string().contains("p%40ss"), "{found}");
    }
    let (_, straight) = document(&short(&server.url));
    assert!(straight["workload"]["proxy"].is_null());
}

#[test]
fn a_proxy_comes_from_the_environment_where_that_is_asked_for() {
    // A loopback address is exempt, and without `env` the variables mean nothing.
    let server = Running::echo(|_, _| Answer::Send);
    let (address, count) = proxy();
    for asked in [&["--proxy", "env"][..], &[]] {
        let mut command = command(&[&short(&server.url)[..], asked].concat());
        command.env("http_proxy", format!("http://me:p%40ss@{address}"));
        command.env_remove("ws_proxy").env_remove("no_proxy").env_remove("NO_PROXY");
        let output = command.output().expect("loadgen runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
    // Other hosts are not.
    let run = ["echo", "ws://192.0.2.1:9/", "-n", "1", "--warmup", "0", "--proxy", "env"];
    let mut command = command(&run);
    command
        .env("ws_proxy", format!("http://{address}"))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY");
    let output = command.output().expect("loadgen runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the proxy wants credentials"), "{said}");
    assert!(said.contains("check --proxy"), "{said}");
}

#[test]
fn what_is_no_proxy_is_refused_without_its_password() {
    for (proxy, why) in [
        ("https://me:w0rd@h:1", "would have to be reached over TLS"),
        ("ftp://me:w0rd@h:1", "neither http nor socks5"),
        ("http://me:w0rd@h:99999", "not a number up to 65535"),
    ] {
        let output = loadgen(&["echo", "ws://127.0.0.1:9/", "-n", "1", "--proxy", proxy]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && !said.contains("w0rd"), "{said}");
    }
    let socket = loadgen(&["echo", "unix:/nowhere:/", "-n", "1", "--proxy", "http://h:1"]);
    let said = String::from_utf8_lossy(&socket.stderr).into_owned();
    assert_eq!(socket.status.code(), Some(2), "{said}");
    assert!(said.contains("unix socket cannot be reached through a proxy"), "{said}");
}
