//! Clients over real sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringbolt::client::Handler;
use ringbolt::handshake::url::Url;
use ringbolt::handshake::{self, ClientRequest, HeadLimits, ServerHandshake, ServerPolicy};
use ringbolt::wire::CloseCode;
use ringbolt::{Clients, CloseReason, Config, Fleet, Message, WebSocket};

/// Opens some connections and leaves when all of them have ended.
struct Dialler {
    to: SocketAddr,
    wanted: usize,
    opened: usize,
    reasons: Vec<CloseReason>,
    give_up: Instant,
}

impl Dialler {
    fn new(to: SocketAddr, wanted: usize) -> Self {
        let give_up = Instant::now() + Duration::from_secs(30);
        Self { to, wanted, opened: 0, reasons: Vec::new(), give_up }
    }

    fn run(self, config: Config) -> Self {
        Clients::new(config).run(self).expect("clients run").0
    }
}

impl Handler for Dialler {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        let url = Url::parse(&format!("ws://{}/", self.to)).expect("a URL");
        let request = ClientRequest::builder(url, "http://localhost").build().expect("a request");
        let request = Arc::new(request);
        while self.wanted > 0 {
            fleet.connect(Arc::clone(&request), None, self.to, ()).expect("room");
            self.wanted -= 1;
        }
        if fleet.is_empty() || now > self.give_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(10))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>, _: &handshake::UpgradeResponse<'_>) {
        self.opened += 1;
        ws.close();
    }

    fn on_message(&mut self, _: &mut WebSocket<'_, ()>, _: Message<'_>) {}

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reasons.push(reason);
    }
}

/// Reads a request, answers it, answers the Close behind it, and closes.
fn serve(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let (mut received, mut reader) = (Vec::new(), ServerHandshake::new());
    let mut out = Vec::new();
    loop {
        let mut part = [0; 1024];
        let n = stream.read(&mut part).expect("a request");
        assert!(n > 0, "the client went away in its request");
        received.extend_from_slice(&part[..n]);
        if let Some(request) = reader.read(&HeadLimits::default(), &received).expect("a request") {
            let none: &[(&str, &str)] = &[];
            handshake::accept(&request, &ServerPolicy::new(), None, none, &mut out)
                .expect("an answer");
            break;
        }
    }
    stream.write_all(&out).expect("room for the answer");
    let mut close = [0; 2];
    stream.read_exact(&mut close).expect("a Close");
    assert_eq!(close, [1, 0]);
    stream.write_all(&close).expect("room for the Close");
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
            serve(first);
        }
    });
    let done = Dialler::new(to, 3).run(config());
    server.join().expect("the server's checks hold");
    assert_eq!(
        (done.opened, &done.reasons[..]),
        (3, &[CloseReason::Clean(CloseCode::NO_STATUS); 3][..])
    );
}

#[test]
fn a_connection_that_cannot_be_opened_fails_and_lets_the_next_one_try() {
    // covers: HS-C-04, HS-C-02, CLOSE-01
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    drop(listener);
    let done = Dialler::new(to, 4).run(config());
    assert_eq!(done.opened, 0);
    assert_eq!(done.reasons, [CloseReason::Transport(111); 4], "refused, each of them");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    // covers: HS-C-31, CLOSE-01
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let config = config().with(|config| {
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
    let done = Dialler::new(to, 1).run(config());
    server.join().expect("the server's checks hold");
    assert_eq!(done.opened, 0);
    assert!(matches!(done.reasons[..], [CloseReason::Response(_)]), "{:?}", done.reasons);
}

fn config() -> Config {
    Config::new().with(|config| config.driver = crate::DRIVER)
}
