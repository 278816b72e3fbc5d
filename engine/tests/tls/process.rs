//! The program `engine` with TLS listeners: what it prints, what SIGHUP does, how it fails.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::authority::{Authority, Identity};
use crate::peer::{client, connect, shown};
use crate::support::{Client, PATIENCE};

const ENGINE: &str = env!("CARGO_BIN_EXE_engine");

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("text").to_owned()
    }

    fn store(&self, name: &str, identity: &Identity) -> (String, String) {
        let chain = self.write(&format!("{name}.pem"), &identity.chain);
        (chain, self.write(&format!("{name}.key"), &identity.key))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The program, running.
struct Program {
    child: Child,
    listening: Vec<String>,
    log: mpsc::Receiver<String>,
}

impl Program {
    /// Starts it and reads so many lines of where it listens.
    fn start(args: &[&str], listeners: usize) -> Self {
        let mut child = Command::new(ENGINE)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (send, log) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let listening: Vec<_> = stdout.lines().take(listeners).map_while(Result::ok).collect();
        if listening.len() < listeners {
            panic!("it said {listening:?} and {:?}", log.iter().collect::<Vec<_>>());
        }
        Self { child, listening, log }
    }

    fn address(&self, index: usize, scheme: &str) -> SocketAddr {
        let line = &self.listening[index];
        let address = line.strip_prefix(&format!("listening on {scheme}"));
        address.unwrap_or_else(|| panic!("{line}")).parse().expect("an address")
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill is there");
        assert!(sent.success(), "it still runs");
    }

    #[track_caller]
    fn logged(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => heard.push(line),
                Err(_) => panic!("no line with `{text}` in {heard:#?}"),
            }
        }
    }

    fn end(mut self) {
        self.signal("TERM");
        self.logged("end open=0");
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("a child").is_none() {
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

#[test]
fn plain_and_tls_listeners_stand_side_by_side() {
    let (folder, authority) = (Folder::new("listeners"), Authority::new("authority"));
    let (chain, key) = folder.store("server", &authority.issue(&["localhost"]));
    let engine = Program::start(
        &[
            "echo",
            "--listen=127.0.0.1:0",
            "--listen=127.0.0.1:0",
            "--listen-tls=127.0.0.1:0",
            "--listen-tls=127.0.0.1:0",
            &format!("--tls-cert={chain}"),
            &format!("--tls-key={key}"),
        ],
        4,
    );
    for index in [0, 1] {
        Client::connect(engine.address(index, ""), "/").expect_alive();
    }
    for index in [2, 3] {
        let config = client(&authority, rustls::ALL_VERSIONS, None);
        let mut client = connect(engine.address(index, "wss://"), config);
        client.expect_alive();
    }
    let start = engine.logged("start mode=echo");
    assert!(start.contains(&format!("wss://{}", engine.address(3, "wss://"))), "{start}");
    engine.end();
}

#[test]
fn a_hangup_signal_reads_the_files_again_and_broken_ones_change_nothing() {
    let (folder, authority) = (Folder::new("reload"), Authority::new("authority"));
    let first = authority.issue(&["localhost"]);
    let (chain, key) = folder.store("server", &first);
    let engine = Program::start(
        &[
            "echo",
            "--listen-tls=127.0.0.1:0",
            &format!("--tls-cert={chain}"),
            &format!("--tls-key={key}"),
        ],
        1,
    );
    let address = engine.address(0, "wss://");
    let trusting = || client(&authority, rustls::ALL_VERSIONS, None);
    let mut early = connect(address, trusting());
    assert_eq!(shown(&early), first.der());

    let second = authority.issue(&["localhost"]);
    folder.store("server", &second);
    engine.signal("HUP");
    engine.logged("tls reload=done");
    let mut late = connect(address, trusting());
    assert_eq!(shown(&late), second.der());
    early.expect_alive();
    late.expect_alive();

    folder.write("server.pem", "no certificate at all");
    engine.signal("HUP");
    let failed = engine.logged("tls reload=failed");
    assert!(failed.contains("server.pem") && failed.contains("To fix it"), "{failed}");
    let mut last = connect(address, trusting());
    assert_eq!(shown(&last), second.der());
    for client in [&mut early, &mut late, &mut last] {
        client.expect_alive();
    }
    drop((early, late, last));
    engine.end();
}

/// Runs the program, which must not start: exit code and what it says.
fn refused(args: &[&str]) -> (i32, String) {
    let mut child = Command::new(ENGINE)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            drop(child.kill());
            panic!("{args:?} does not end");
        }
        thread::sleep(Duration::from_millis(1));
    };
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    (status.code().expect("no signal"), said)
}

#[test]
fn files_that_cannot_be_used_say_why_and_what_to_do() {
    let (folder, authority) = (Folder::new("files"), Authority::new("authority"));
    let (chain, key) = folder.store("server", &authority.issue(&["localhost"]));
    let (_, other) = folder.store("other", &authority.issue(&["localhost"]));
    let missing = folder.0.join("missing.pem").to_str().expect("text").to_owned();
    let nonsense = folder.write("nonsense.pem", "nonsense");
    let locked = folder.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let torn = folder.write("torn.pem", "-----BEGIN CERTIFICATE-----\n!!!\n");
    let rows = [
        (&missing, &key, "cannot read the certificate"),
        (&chain, &missing, "cannot read the key"),
        (&nonsense, &key, "no section `BEGIN CERTIFICATE`"),
        (&torn, &key, "not well-formed PEM"),
        (&chain, &nonsense, "no section `BEGIN PRIVATE KEY`"),
        (&chain, &locked, "encrypted with a passphrase"),
        (&key, &chain, "swap the two"),
        (&chain, &other, "is not the key of the certificate"),
    ];
    for (chain, key, why) in rows {
        let args = [
            "echo",
            "--listen-tls=127.0.0.1:0",
            &format!("--tls-cert={chain}"),
            &format!("--tls-key={key}"),
        ];
        let (code, said) = refused(&args);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(why) && said.contains("To fix it"), "{why}: {said}");
    }
    let (code, said) = refused(&[
        "echo",
        "--listen-tls=127.0.0.1:0",
        &format!("--tls-cert={chain}"),
        &format!("--tls-key={key}"),
        &format!("--tls-client-ca={nonsense}"),
    ]);
    assert!(code == 1 && said.contains("nonsense.pem"), "{said}");
    let (code, said) = refused(&["echo", "--tls-client-auth=optional"]);
    assert!(code == 2 && said.contains("--tls-client-ca"), "{said}");
}
