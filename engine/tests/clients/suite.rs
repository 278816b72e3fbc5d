//! Clients over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringbolt::client::Handler;
use ringbolt::handshake::url::Url;
use ringbolt::handshake::{
    self, ClientRequest, HeadLimits, ResponseError, ServerHandshake, ServerPolicy,
};
use ringbolt::wire::{CloseCode, ProtocolError};
use ringbolt::{Clients, CloseReason, Config, ConnectionId, Endpoint, Fleet, Message, WebSocket};

use crate::variant::settings;

/// Opens some connections and leaves when all of them have ended.
struct Dialler {
    to: Endpoint,
    wanted: usize,
    connected: usize,
    opened: usize,
    refused: Vec<String>,
    reasons: Vec<CloseReason>,
    cookies: Vec<String>,
    give_up: Instant,
    gave_up: bool,
    /// Leaves the closing to the server.
    stays: bool,
}

impl Dialler {
    fn new(to: impl Into<Endpoint>, wanted: usize) -> Self {
        let give_up = Instant::now() + Duration::from_secs(30);
        Self {
            to: to.into(),
            wanted,
            connected: 0,
            opened: 0,
            refused: Vec::new(),
            reasons: Vec::new(),
            cookies: Vec::new(),
            give_up,
            gave_up: false,
            stays: false,
        }
    }

    fn run(self, config: Config) -> Self {
        Clients::new(config).run(self).expect("clients run").0
    }
}

impl Handler for Dialler {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        let request = request();
        while self.wanted > 0 {
            fleet.connect(Arc::clone(&request), None, self.to.clone(), ()).expect("room");
            self.wanted -= 1;
        }
        self.gave_up = now > self.give_up;
        if fleet.is_empty() || self.gave_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(10))
    }

    fn on_connected(&mut self, (): &mut ()) {
        self.connected += 1;
    }

    fn on_refused(&mut self, (): &mut (), refusal: &handshake::Refusal) {
        self.refused.push(refusal.to_string());
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>, response: &handshake::UpgradeResponse<'_>) {
        self.opened += 1;
        self.cookies.extend(response.cookies().map(|field| field.value_text().into_owned()));
        if !self.stays {
            ws.close();
        }
    }

    fn on_message(&mut self, _: &mut WebSocket<'_, ()>, _: Message<'_>) {}

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reasons.push(reason);
    }
}

pub(crate) fn request() -> Arc<ClientRequest> {
    let url = Url::parse("ws://localhost/").expect("a URL");
    Arc::new(ClientRequest::builder(url, "http://localhost").build().expect("a request"))
}

/// Reads a request, answers it, answers the Close behind it, and closes.
fn serve(mut stream: impl Read + Write) {
    upgrade(&mut stream);
    let mut close = [0; 2];
    stream.read_exact(&mut close).expect("a Close");
    assert_eq!(close, [1, 0]);
    stream.write_all(&close).expect("room for the Close");
}

/// Reads a request and answers it.
pub(crate) fn upgrade(stream: &mut (impl Read + Write)) {
    upgrade_with(stream, &[]);
}

/// Answers the request with an upgrade that has more fields.
fn upgrade_with(stream: &mut (impl Read + Write), fields: &[(&str, &str)]) {
    let (mut received, mut reader) = (Vec::new(), ServerHandshake::new());
    let mut out = Vec::new();
    loop {
        let mut part = [0; 1024];
        let n = stream.read(&mut part).expect("a request");
        assert!(n > 0, "the client went away in its request");
        received.extend_from_slice(&part[..n]);
        if let Some(request) = reader.read(&HeadLimits::default(), &received).expect("a request") {
            handshake::accept(&request, &ServerPolicy::new(), None, fields, &mut out)
                .expect("an answer");
            break;
        }
    }
    stream.write_all(&out).expect("room for the answer");
}

#[test]
fn connections_to_one_address_are_made_in_turn() {
    // covers: HS-C-02, HS-C-50, CTL-07
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (first, _) = listener.accept().expect("a client");
            // While this one waits for its answer no other may come.
            listener.set_nonblocking(true).expect("a mode");
            std::thread::sleep(Duration::from_millis(30));
            let second = listener.accept().map(|_| ()).map_err(|e| e.kind());
            assert_eq!(second, Err(ErrorKind::WouldBlock), "a second connection was begun");
            listener.set_nonblocking(false).expect("a mode");
            first.set_nonblocking(false).expect("a mode");
            first.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            serve(first);
        }
    });
    let done = Dialler::new(to, 3).run(settings());
    server.join().expect("the server's checks hold");
    assert_eq!(
        (done.opened, &done.reasons[..]),
        (3, &[CloseReason::Clean(CloseCode::NO_STATUS); 3][..])
    );
}

/// An address that nobody listens on, nor can: its port stays taken, or a server of another test might
/// get it.
pub(crate) fn deserted() -> SocketAddr {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port");
    let address = socket.local_addr().expect("an address").as_socket().expect("of IPv4");
    Box::leak(Box::new(socket));
    address
}

#[test]
fn a_connection_that_cannot_be_opened_fails_and_lets_the_next_one_try() {
    // covers: HS-C-04, HS-C-02, CLOSE-01
    let done = Dialler::new(deserted(), 4).run(settings());
    assert_eq!(done.opened, 0);
    assert_eq!(done.reasons, [CloseReason::Transport(111); 4], "refused, each of them");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    // covers: HS-C-31, CLOSE-01
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let config = settings().with(|config| {
        config.handshake_timeout = Duration::from_millis(100);
        config.connect_in_turn = false;
    });
    let done = Dialler::new(to, 5).run(config);
    assert_eq!((done.opened, done.reasons), (0, vec![CloseReason::TimedOut; 5]));
}

#[test]
fn a_wrong_answer_fails_the_connection() {
    // covers: HS-C-33, HS-C-48, CLOSE-01
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut part = [0; 1024];
        assert!(stream.read(&mut part).expect("a request") > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").expect("room");
        // The client closes; whatever it does with unread bytes, the connection ends.
        while matches!(stream.read(&mut part), Ok(n) if n > 0) {}
    });
    let done = Dialler::new(to, 1).run(settings());
    server.join().expect("the server's checks hold");
    assert_eq!((done.connected, done.opened), (1, 0));
    assert_eq!(done.refused, ["404 Not Found"]);
    assert!(matches!(done.reasons[..], [CloseReason::Response(_)]), "{:?}", done.reasons);
}

/// Runs one client against a server that reads the request, writes this answer, and keeps the
/// connection open until the client is done.
fn answered_by(answer: &'static [u8]) -> Dialler {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let (done, is_done) = mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut part = [0; 1024];
        assert!(stream.read(&mut part).expect("a request") > 0);
        stream.write_all(answer).expect("room");
        is_done.recv().expect_err("the client is done");
    });
    // Longer than anybody waits for it.
    let config = settings().with(|config| {
        config.close_timeout = Duration::from_secs(600);
        config.handshake_timeout = Duration::from_secs(600);
    });
    let dialler = Dialler::new(to, 1).run(config);
    drop(done);
    server.join().expect("the server's checks hold");
    assert!(!dialler.gave_up, "the client waited for {:?}", answer.escape_ascii());
    dialler
}

#[test]
fn a_refusal_ends_the_client_though_the_server_keeps_the_connection() {
    // covers: HS-C-33, CLOSE-01
    for answer in [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nsorry".as_slice(),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 500000\r\n\r\nsorry",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n",
    ] {
        let done = answered_by(answer);
        assert_eq!((done.connected, done.opened), (1, 0));
        assert!(done.refused[0].starts_with("404 Not Found"), "{:?}", done.refused);
        assert_eq!(done.refused.len(), 1);
        let [CloseReason::Response(error)] = done.reasons[..] else { panic!("{:?}", done.reasons) };
        assert_eq!(error, ResponseError::StatusCode);
    }
}

/// What a client was told of by a server that refuses in these pieces, and why it ended.
fn refused_in(pieces: &[&[u8]], ends: bool) -> (String, CloseReason) {
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        assert!(stream.read(&mut [0; 1024]).expect("a request") > 0);
        for piece in pieces {
            stream.write_all(&piece).expect("room");
            std::thread::yield_now();
        }
        if ends {
            stream.shutdown(std::net::Shutdown::Write).expect("connected");
        }
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let done = Dialler::new(to, 1).run(settings());
    server.join().expect("the server's checks hold");
    let [told] = &done.refused[..] else { panic!("{:?}", done.refused) };
    (told.clone(), done.reasons[0])
}

#[test]
fn a_refusal_is_told_with_the_reason_that_the_server_gives() {
    // covers: HS-C-33
    let head: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n";
    for (pieces, ends, told) in [
        (&[head, b"Content-Length: 7\r\n\r\n", b"not", b" you", b"more"][..], false, ": not you"),
        (&[head, b"Transfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n", b"0\r\n\r\n"], false, ": not"),
        // The end of the connection is the end of what it says.
        (&[head, b"Content-Length: 99\r\n\r\n", b"not you"], true, ": not you"),
        (&[head, b"\r\n"], true, ""),
        // Nor is more than a little time lost on a server that says no more.
        (&[head, b"Content-Length: 99\r\n\r\n", b"not you"], false, ": not you"),
        (&[head], false, ""),
    ] {
        let (is, reason) = refused_in(pieces, ends);
        assert_eq!(is, format!("403 Forbidden{told}"));
        assert_eq!(reason, CloseReason::Response(ResponseError::StatusCode));
    }
}

#[test]
fn interim_responses_are_skipped_and_cookies_handed_over() {
    // covers: AMB-21, HS-C-51
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let cookie = [("Set-Cookie", "a=b; Path=/"), ("Set-Cookie2", "c=d")];
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: ").expect("room");
        std::thread::yield_now();
        stream.write_all(b"b\r\n\r\n").expect("room");
        upgrade_with(&mut stream, &cookie);
        let mut close = [0; 2];
        stream.read_exact(&mut close).expect("a Close");
        stream.write_all(&close).expect("room for the Close");
    });
    let done = Dialler::new(to, 1).run(settings());
    server.join().expect("the server's checks hold");
    assert_eq!(done.reasons, [CloseReason::Clean(CloseCode::NO_STATUS)]);
    assert_eq!((done.opened, done.refused.len()), (1, 0));
    assert_eq!(done.cookies, ["a=b; Path=/", "c=d"]);
}

#[test]
fn a_server_of_an_older_framing_is_named() {
    // covers: AMB-11
    for frames in [b"\x00Hello\xFF".as_slice(), b"\xFF\x00"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let to = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            upgrade(&mut stream);
            stream.write_all(frames).expect("room");
            // The client closes; whatever it does with unread bytes, the connection ends.
            while matches!(stream.read(&mut [0; 64]), Ok(n) if n > 0) {}
        });
        let mut dialler = Dialler::new(to, 1);
        dialler.stays = true;
        let done = dialler.run(settings());
        server.join().expect("the server's checks hold");
        assert_eq!(done.reasons, [CloseReason::Protocol(ProtocolError::OlderFraming)]);
        assert!(ProtocolError::OlderFraming.to_string().contains("draft-00"));
    }
}

#[test]
fn unix_sockets_are_connected_to() {
    let path =
        std::env::temp_dir().join(format!("ringbolt-{}-{}", settings().driver, std::process::id()));
    let listener = UnixListener::bind(&path).expect("a listener");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        serve(stream);
    });
    let to = Endpoint::Unix(path.as_path().into());
    assert_eq!(to.to_string(), format!("unix:{}", path.display()));
    let done = Dialler::new(to.clone(), 1).run(settings());
    server.join().expect("the server's checks hold");
    assert_eq!((done.connected, done.opened), (1, 1));
    assert_eq!(done.reasons, [CloseReason::Clean(CloseCode::NO_STATUS)]);
    std::fs::remove_file(&path).expect("removed");
    let done = Dialler::new(to, 1).run(settings());
    assert_eq!(done.reasons, [CloseReason::Transport(2)], "nothing is there");
    let long = Endpoint::Unix(std::path::Path::new(&"x".repeat(200)).into());
    let done = Dialler::new(long, 1).run(settings());
    assert!(matches!(done.reasons[..], [CloseReason::Transport(_)]), "{:?}", done.reasons);
}

/// Holds its reading once it is open, lets the server send then, and reads again when it has been
/// told that the server did.
struct Holder {
    to: SocketAddr,
    id: Option<ConnectionId>,
    /// Turns since the connection was open, and since the server has sent.
    turns: [u32; 2],
    sent: Arc<AtomicBool>,
    released: bool,
    /// Whether the reading was still held when the message came.
    got: Option<bool>,
    reasons: Vec<CloseReason>,
}

impl Handler for Holder {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        let id = *self
            .id
            .get_or_insert_with(|| fleet.connect(request(), None, self.to, ()).expect("room"));
        if fleet.is_empty() {
            fleet.stop();
        } else if let Some(mut ws) = fleet.socket(id).filter(WebSocket::is_open) {
            self.turns[0] += 1;
            self.turns[1] += u32::from(self.sent.load(Ordering::Acquire));
            if self.turns[0] == 1 {
                ws.hold_reading(true);
            } else if self.turns[0] == 10 {
                ws.send("go").expect("room");
            } else if self.turns[1] == 10 {
                self.released = true;
                ws.hold_reading(false);
            }
        }
        Some(now + Duration::from_millis(2))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, _: Message<'_>) {
        self.got = Some(!self.released);
        ws.close();
    }

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reasons.push(reason);
    }
}

#[test]
fn nothing_is_read_while_the_application_holds_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let sent = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&sent);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        upgrade(&mut stream);
        let mut go = [0; 4];
        stream.read_exact(&mut go).expect("a message");
        assert_eq!(go, *b"\x04\x02go");
        stream.write_all(b"\x04\x01x").expect("room");
        told.store(true, Ordering::Release);
        let mut close = [0; 2];
        stream.read_exact(&mut close).expect("a Close");
        stream.write_all(&close).expect("room for the Close");
    });
    let (turns, reasons) = ([0; 2], Vec::new());
    let holder = Holder { to, id: None, turns, sent, released: false, got: None, reasons };
    let done = Clients::new(settings()).run(holder).expect("clients run").0;
    server.join().expect("the server's checks hold");
    assert_eq!(done.got, Some(false), "the message waited");
    assert_eq!(done.reasons, [CloseReason::Clean(CloseCode::NO_STATUS)]);
}

/// How long a server of these tests waits for its client.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
