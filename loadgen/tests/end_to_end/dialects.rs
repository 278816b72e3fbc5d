//! The same scenarios in either dialect, against a server that takes both.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;

use ringbolt::wire::Dialect;

use crate::servers::{Answer, Running};
use crate::timing::upgrade;
use crate::{document, loadgen};

/// What loadgen says of a server that reads a request, writes these bytes and waits for its end.
fn told_of(arguments: &[&str], answer: impl FnOnce(&mut TcpStream) + Send) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a client");
            answer(&mut stream);
            // The client closes; whatever it does with unread bytes, the connection ends.
            while matches!(stream.read(&mut [0; 64]), Ok(n) if n > 0) {}
        });
        let run = ["echo", &url, "-c", "1", "-n", "1", "--warmup", "0"];
        let output = loadgen(&[&run[..], arguments].concat());
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    })
}

#[test]
fn a_server_of_an_older_framing_is_named() {
    // covers: AMB-11
    let said = told_of(&[], |stream| {
        upgrade(stream);
        stream.write_all(b"\x00Hello\xFF").expect("room");
    });
    assert!(said.contains("the framing of draft-00"), "{said}");
}

#[test]
fn the_limits_of_an_answer_are_flags() {
    for (flag, value) in [("--max-handshake", "100"), ("--max-line", "30"), ("--max-fields", "2")] {
        let said = told_of(&[flag, value], upgrade);
        assert!(said.contains(flag), "{flag}: {said}");
    }
}

#[test]
fn every_scenario_in_every_dialect() {
    for dialect in Dialect::ALL {
        let name = dialect.name();
        let echo = Running::echo(|_, _| Answer::Send);
        for payload in ["0", "64", "70000"] {
            let (code, document) = document(&[
                "echo",
                &echo.url,
                "--dialect",
                name,
                "-c",
                "5",
                "-n",
                "200",
                "--warmup",
                "0",
                "--depth",
                "4",
                "-p",
                payload,
                "--text",
            ]);
            assert_eq!(code, 0, "{document:#}");
            assert_eq!(document["workload"]["dialect"], name);
            assert_eq!(document["outcome"]["received"], 200);
            assert_eq!(document["outcome"]["connections_ended_unclean"], 0);
        }
        let relay = Running::relay(0);
        let (code, document) = document(&[
            "broadcast",
            &relay.url,
            "--dialect",
            name,
            "-c",
            "5",
            "-n",
            "40",
            "--warmup",
            "0",
        ]);
        assert_eq!(code, 0, "{document:#}");
        assert_eq!(document["outcome"]["delivery_ratio"]["received"], 40 * 5);
        let (code, document) = crate::document(&[
            "storm",
            &echo.url,
            "--dialect",
            name,
            "-c",
            "5",
            "-n",
            "50",
            "--warmup",
            "0",
        ]);
        assert_eq!(code, 0, "{document:#}");
    }
}

#[test]
fn compressed_with_and_without_takeover() {
    let server = Running::compressing();
    let none = serde_json::json!({ "sent": false, "received": false });
    let both = serde_json::json!({ "sent": true, "received": true });
    for (n, (which, said)) in [("none", none), ("both", both)].into_iter().enumerate() {
        let (code, document) = document(&[
            "echo",
            &server.url,
            "--ws-version",
            "rfc6455",
            "--compress",
            "--compress-takeover",
            which,
            "-c",
            "5",
            "-n",
            "300",
            "--warmup",
            "0",
            "-p",
            "2000",
            "--text",
        ]);
        assert_eq!(code, 0, "{document:#}");
        assert_eq!(document["outcome"]["received"], 300);
        assert_eq!(document["outcome"]["connections_ended_unclean"], 0);
        assert_eq!(document["workload"]["compression_takeover"], said);
        let runs = n as u64 + 1;
        assert_eq!(server.compressed(), (5 * runs, 5 * n as u64), "{which}");
    }
}

/// Lets connections to a unix socket through to a server's port.
fn behind_a_unix_socket(path: &Path, port: SocketAddr) {
    let listener = UnixListener::bind(path).expect("a path of our own");
    let copy = |mut from: Box<dyn Read + Send>, mut to: Box<dyn Write + Send>| {
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut part) {
                if to.write_all(&part[..n]).is_err() {
                    break;
                }
            }
        })
    };
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = TcpStream::connect(port).expect("the server");
            let (near_in, far_out) =
                (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
            std::thread::spawn(move || {
                let up = copy(Box::new(near_in), Box::new(far_out));
                let (near_out, far_in) =
                    (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
                let down = copy(Box::new(far_in), Box::new(near_out));
                // The server ends TCP first.
                down.join().expect("copied");
                drop(near.shutdown(Shutdown::Both));
                up.join().expect("copied");
                drop(far.shutdown(Shutdown::Both));
            });
        }
    });
}

#[test]
fn a_server_behind_a_unix_socket() {
    let server = Running::echo(|_, _| Answer::Send);
    let address = server.url.trim_start_matches("ws://").trim_end_matches("/room");
    let path = std::env::temp_dir().join(format!("loadgen-unix-{}", std::process::id()));
    behind_a_unix_socket(&path, address.parse().expect("an address"));
    let url = format!("unix:{}:/room", path.display());
    for (driver, scenario) in [("uring", "echo"), ("epoll", "echo"), ("epoll", "storm")] {
        let arguments =
            [scenario, &url, "-c", "5", "-n", "50", "--warmup", "0", "--driver", driver];
        let (code, document) = document(&arguments);
        assert_eq!(code, 0, "{driver}: {document:#}");
        assert_eq!(document["outcome"]["received"], 50);
        assert_eq!(document["workload"]["address"], format!("unix:{}", path.display()));
    }
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_server_that_goes_away_says_so() {
    let server = Running::echo(|seen, _| if seen >= 30 { Answer::GoAway } else { Answer::Send });
    let (code, document) = document(&[
        "echo",
        &server.url,
        "-c",
        "4",
        "-d",
        "60s",
        "--warmup",
        "0",
        "--ws-version",
        "rfc6455",
    ]);
    assert_eq!(code, 1, "{document:#}");
    let closed = &document["outcome"]["errors"]["closed"];
    assert_eq!(
        (&closed["count"], closed["examples"].as_array().map(Vec::len)),
        (&4.into(), Some(3))
    );
    let reasons = closed["reasons"].as_object().expect("an object");
    assert_eq!(reasons.len(), 1, "{closed}");
    assert!(
        reasons.iter().all(|(why, count)| why.contains("code 1001") && *count == 4),
        "{closed}"
    );
}
