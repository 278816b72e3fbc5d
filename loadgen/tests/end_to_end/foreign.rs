//! Against servers of draft-02 that share no code with the generator; `scripts/interop` does more.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::document;

struct Peer {
    child: Child,
    url: String,
}

impl Peer {
    /// `None` if it cannot run here.
    fn start(program: &str, script: &str, arguments: &[&str]) -> Option<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/interop");
        let child = Command::new(program)
            .arg(peers.join(script))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.ok()?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("UTF-8");
        match line.trim().strip_prefix("listening on ") {
            Some(address) => Some(Self { url: format!("ws://{address}/"), child }),
            None => {
                // Its interpreter or library is not there.
                child.wait().expect("ended");
                None
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn measure(peer: &Peer) {
    for arguments in [
        ["echo", &peer.url, "-c", "5", "-p", "0", "--binary"],
        ["echo", &peer.url, "-c", "5", "-p", "126", "--text"],
        ["echo", &peer.url, "-c", "5", "-p", "70000", "--text"],
        ["storm", &peer.url, "-c", "5", "--origin", "http://example.com", "-q"],
    ] {
        let (code, document) =
            document(&[&arguments[..], &["-n", "100", "--warmup", "0"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {document:#}");
        assert_eq!(document["outcome"]["received"], 100, "{arguments:?}");
    }
}

#[test]
fn the_python_server() {
    match Peer::start("python3", "hybi02.py", &["server", "--port", "0"]) {
        Some(peer) => measure(&peer),
        None => println!("skipped: python3 is not there"),
    }
}

#[test]
fn em_websocket() {
    match Peer::start("ruby", "em_server.rb", &[]) {
        Some(peer) => measure(&peer),
        None => println!("skipped: ruby or the gem em-websocket is not there"),
    }
}
