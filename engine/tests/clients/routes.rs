//! Names with several addresses, and proxies: over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringbolt::client::Handler;
use ringbolt::handshake::proxy::{Proxy, ProxyError};
use ringbolt::handshake::{ClientRequest, UpgradeResponse, Url};
use ringbolt::wire::{CloseCode, Dialect};
use ringbolt::{
    Accept, Addresses, Clients, CloseReason, Config, Fleet, Message, Reject, Route, Server,
    WebSocket,
};

use crate::suite::{PATIENCE, deserted};
use crate::variant::settings;

/// Opens connections, sends one message on each, expects it back, and closes.
struct Dialler {
    requests: Vec<Arc<ClientRequest>>,
    route: Route,
    connected: usize,
    echoes: usize,
    reasons: Vec<CloseReason>,
    give_up: Instant,
}

impl Dialler {
    fn new(url: &str, route: impl Into<Route>, each: usize) -> Self {
        let url = Url::parse(url).expect("a URL");
        let request = |dialect| {
            let builder = ClientRequest::builder(url.clone(), "http://localhost");
            Arc::new(builder.dialect(dialect).build().expect("a request"))
        };
        let requests = Dialect::ALL.map(request).into_iter();
        Self {
            requests: requests.flat_map(|one| std::iter::repeat_n(one, each)).collect(),
            route: route.into(),
            connected: 0,
            echoes: 0,
            reasons: Vec::new(),
            give_up: Instant::now() + PATIENCE,
        }
    }

    fn run(self, config: Config) -> Self {
        Clients::new(config).run(self).expect("clients run").0
    }

    #[track_caller]
    fn all_well(&self, connections: usize) {
        assert_eq!((self.connected, self.echoes), (connections, connections), "{:?}", self.reasons);
        assert!(self.reasons.iter().all(|reason| reason.is_clean()), "{:?}", self.reasons);
    }
}

impl Handler for Dialler {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        for request in self.requests.drain(..) {
            let from = Some(Ipv4Addr::LOCALHOST.into());
            fleet.connect(request, from, self.route.clone(), ()).expect("room");
        }
        if fleet.is_empty() || now > self.give_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(10))
    }

    fn on_connected(&mut self, (): &mut ()) {
        self.connected += 1;
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>, _: &UpgradeResponse<'_>) {
        ws.send("through the tunnel").expect("room");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        assert!(matches!(message, Message::Text("through the tunnel")), "{message:?}");
        self.echoes += 1;
        ws.close();
    }

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reasons.push(reason);
    }
}

struct Echo;

impl ringbolt::Handler for Echo {
    type Data = ();

    fn on_upgrade(
        &mut self,
        _: &ringbolt::handshake::UpgradeRequest<'_>,
    ) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        ws.send(message).expect("room");
    }
}

fn echo() -> Server {
    Server::builder().shards(1).config(settings()).start(|_| Echo).expect("it starts")
}

fn end(server: Server) {
    server.drain(Duration::ZERO);
    server.join().expect("it ends");
}

fn any(all: impl IntoIterator<Item = SocketAddr>) -> Arc<Addresses> {
    Arc::new(Addresses::new(all).expect("an address"))
}

// ---- names

#[test]
fn the_addresses_of_a_name_are_tried_in_turn_and_the_dead_one_once() {
    // covers: HS-C-04
    let server = echo();
    let (dead, alive) = (deserted(), server.address());
    for in_turn in [true, false] {
        let name = any([dead, alive]);
        let config = settings().with(|config| config.connect_in_turn = in_turn);
        let first = Dialler::new("ws://localhost/", Arc::clone(&name), 1).run(config.clone());
        first.all_well(2);
        // From now on it is known which of them answers.
        let next = Route::from(Arc::clone(&name)).endpoint().expect("one");
        assert_eq!(next.ip(), Some(alive.ip()));
        assert_eq!(next.to_string(), alive.to_string());
        Dialler::new("ws://localhost/", Arc::clone(&name), 20).run(config).all_well(40);
        let counts: Vec<_> = name.connected().collect();
        assert_eq!(counts, [(dead, 0), (alive, 42)]);
    }
    end(server);
}

#[test]
fn an_address_of_another_family_is_reached_without_the_source() {
    let server = echo();
    // Nobody listens on IPv6 there, or the machine has none.
    let dead = SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), server.address().port());
    let name = any([dead, server.address()]);
    Dialler::new("ws://localhost/", name, 3).run(settings()).all_well(6);
    end(server);
}

#[test]
fn where_no_address_answers_the_first_error_is_told_once() {
    // covers: HS-C-04, CLOSE-01
    let name = any([deserted(), deserted(), deserted()]);
    let done = Dialler::new("ws://localhost/", name, 3).run(settings());
    assert_eq!((done.connected, done.reasons), (0, vec![CloseReason::Transport(111); 6]));
}

#[test]
fn an_address_that_says_nothing_gives_way_to_the_next_in_its_share_of_the_time() {
    // A backlog that is full drops what comes: nothing answers, as behind a firewall.
    let full =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    full.listen(0).expect("it listens");
    let silent = full.local_addr().expect("bound").as_socket().expect("an address");
    let mut waiting = Vec::new();
    loop {
        match TcpStream::connect_timeout(&silent, Duration::from_millis(200)) {
            Ok(stream) => waiting.push(stream),
            Err(_) => break,
        }
        assert!(waiting.len() < 64, "the backlog is never full");
    }
    let server = echo();
    let name = any([silent, server.address()]);
    let config = settings().with(|config| {
        config.handshake_timeout = Duration::from_secs(2);
        config.connect_in_turn = false;
    });
    Dialler::new("ws://localhost/", Arc::clone(&name), 1).run(config).all_well(2);
    assert_eq!(name.connected().map(|(_, n)| n).collect::<Vec<_>>(), [0, 2]);
    end(server);
}

// ---- proxies

/// What a proxy of these tests does with a client.
type Serve = fn(TcpStream, &[u8]);

/// A proxy that reads each client's head and then does as it is told.
fn proxy(clients: usize, serve: Serve) -> (Proxy, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let mut heads = Vec::new();
        let mut under_way = Vec::new();
        for _ in 0..clients {
            let (mut client, _) = listener.accept().expect("a client");
            client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).expect("the rest of the head");
                head.extend(byte);
            }
            heads.push(String::from_utf8(head.clone()).expect("text"));
            under_way.push(std::thread::spawn(move || serve(client, &head)));
        }
        under_way.into_iter().for_each(|one| one.join().expect("its checks hold"));
        heads
    });
    let text = format!("http://us%65r:p%40ss@{at}");
    (text.parse().expect("a proxy"), serving)
}

/// Where a CONNECT wants to go.
fn target(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head).into_owned();
    head.split(' ').nth(1).expect("a target").to_owned()
}

/// Carries bytes both ways until both are done.
fn carry(client: TcpStream, server: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        // A reset of the one is the end for the other.
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    };
    let (from, to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    let back = std::thread::spawn(move || copy(server, client));
    copy(from, to);
    back.join().expect("no panic");
}

fn open_tunnel(mut client: TcpStream, head: &[u8]) {
    let server = TcpStream::connect(target(head)).expect("the server listens");
    // In pieces, and with an interim answer before it.
    for part in ["HTTP/1.1 103 x\r\n\r\nHTT", "P/1.0 200", " OK\r\nVia: x\r\n", "\r\n"] {
        client.write_all(part.as_bytes()).expect("room");
        std::thread::yield_now();
    }
    carry(client, server);
}

fn through(proxy: Proxy) -> Route {
    let url = Url::parse("ws://unused/").expect("a URL");
    ringbolt::client::route(&url, Some(proxy)).expect("an address")
}

#[test]
fn a_connection_runs_through_a_proxy_s_tunnel() {
    // covers: HS-C-03
    let server = echo();
    let (proxy, serving) = proxy(6, open_tunnel);
    let url = format!("ws://{}/", server.address());
    Dialler::new(&url, through(proxy), 3).run(settings()).all_well(6);
    for head in serving.join().expect("the proxy's checks hold") {
        let expected = format!("CONNECT {} HTTP/1.1\r\n", server.address());
        assert!(head.starts_with(&expected), "{head}");
        assert!(head.contains("\r\nProxy-authorization: Basic dXNlcjpwQHNz\r\n"), "{head}");
        assert!(!head.contains("\r\nAuthorization"), "{head}");
    }
    end(server);
}

#[test]
fn a_proxy_gets_the_name_of_the_server_and_an_address_of_ipv6_in_brackets() {
    // covers: HS-C-02, HS-C-03
    fn refuse(mut client: TcpStream, _: &[u8]) {
        client.write_all(b"HTTP/1.1 502 No Route\r\nContent-Length: 5\r\n\r\nsorry").expect("room");
        drop(client.read_to_end(&mut Vec::new()));
    }
    for (url, target) in [
        ("ws://no-such-host.invalid:81/a", "no-such-host.invalid:81"),
        ("ws://us%65r:p%40ss@[2001:db8:0::1]/", "[2001:db8::1]:80"),
    ] {
        let (proxy, serving) = proxy(2, refuse);
        let done = Dialler::new(url, through(proxy), 1).run(settings());
        assert_eq!(done.connected, 0, "no tunnel");
        assert_eq!(done.reasons, [CloseReason::Proxy(ProxyError::Refused(502)); 2]);
        for head in serving.join().expect("the proxy's checks hold") {
            assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
            assert!(!head.contains("\r\nAuthorization"), "the server's is not the proxy's: {head}");
        }
    }
}

#[test]
fn bytes_behind_the_proxy_s_answer_come_out_of_the_tunnel() {
    // covers: HS-C-03
    /// A server that answers before it is asked, in the same segment: it is read, and is wrong.
    fn hasty(mut client: TcpStream, _: &[u8]) {
        let answer = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n";
        client.write_all(answer).expect("room");
        drop(client.read_to_end(&mut Vec::new()));
    }
    let (proxy, serving) = proxy(2, hasty);
    let done = Dialler::new("ws://127.0.0.1:1/", through(proxy), 1).run(settings());
    serving.join().expect("the proxy's checks hold");
    assert_eq!(done.connected, 2);
    for reason in done.reasons {
        assert!(matches!(reason, CloseReason::Response(_)), "{reason:?}");
    }
}

#[test]
fn a_proxy_that_refuses_sends_nonsense_or_ends_fails_the_connection() {
    // covers: HS-C-04, HS-C-33, CLOSE-01
    fn say(mut client: TcpStream, answer: &[u8]) {
        // It may have enough before the end.
        drop(client.write_all(answer));
        drop(client.read_to_end(&mut Vec::new()));
    }
    use ProxyError as E;
    let rows: [(Serve, CloseReason); 7] = [
        (
            |client, _| say(client, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            CloseReason::Proxy(E::AuthenticationRequired),
        ),
        (|client, _| say(client, b"HTTP/1.1 403 No\r\n\r\n"), CloseReason::Proxy(E::Refused(403))),
        (|client, _| say(client, b"HTTP/1.1 101 x\r\n\r\n"), CloseReason::Proxy(E::Refused(101))),
        (|client, _| say(client, b"SSH-2.0-x\r\n"), CloseReason::Proxy(E::Malformed)),
        (
            |client, _| say(client, &[b"HTTP/1.1 200 ", &[b'x'; 70_000][..]].concat()),
            CloseReason::Proxy(E::TooLarge),
        ),
        (|client, _| drop(client), CloseReason::HungUp),
        (
            |mut client, _| {
                client.write_all(b"HTTP/1.1 20").expect("room");
                client.shutdown(Shutdown::Write).expect("open");
                drop(client.read_to_end(&mut Vec::new()));
            },
            CloseReason::HungUp,
        ),
    ];
    for (serve, expected) in rows {
        let (proxy, serving) = proxy(2, serve);
        let done = Dialler::new("ws://127.0.0.1:1/", through(proxy), 1).run(settings());
        serving.join().expect("the proxy's checks hold");
        assert_eq!((done.connected, done.reasons), (0, vec![expected; 2]));
    }
}

#[test]
fn a_proxy_that_never_answers_is_given_up() {
    // covers: HS-C-31, CLOSE-01
    fn wait(mut client: TcpStream, _: &[u8]) {
        drop(client.write_all(b"HTTP/1.1 200 OK\r\n"));
        drop(client.read_to_end(&mut Vec::new()));
    }
    let (proxy, serving) = proxy(2, wait);
    let config = settings().with(|config| config.handshake_timeout = Duration::from_millis(100));
    let done = Dialler::new("ws://127.0.0.1:1/", through(proxy), 1).run(config);
    serving.join().expect("the proxy's checks hold");
    assert_eq!((done.connected, done.reasons), (0, vec![CloseReason::TimedOut; 2]));
    // Nor one that is not there at all.
    let nobody: Proxy = format!("http://{}", deserted()).parse().expect("a proxy");
    let done = Dialler::new("ws://127.0.0.1:1/", through(nobody), 1).run(settings());
    assert_eq!(done.reasons, [CloseReason::Transport(111); 2]);
}

#[test]
fn a_socks_proxy_is_spoken_to_in_its_own_way() {
    // covers: HS-C-03
    let server = echo();
    let to = server.address();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let speak = |mut client: TcpStream| {
            client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            for (expected, answer) in [
                (&b"\x05\x02\x00\x02"[..], &b"\x05\x02"[..]),
                (b"\x01\x04user\x04p@ss", b"\x01\x00"),
                (
                    &[&b"\x05\x01\x00\x03\x09localhost"[..], &to.port().to_be_bytes()].concat(),
                    b"\x05\x00\x00\x01\x7F\x00\x00\x01\x00\x01",
                ),
            ] {
                let mut said = vec![0; expected.len()];
                client.read_exact(&mut said).expect("more");
                assert_eq!(said, expected);
                client.write_all(answer).expect("room");
            }
            carry(client, TcpStream::connect(to).expect("the server listens"));
        };
        // One after the other, as they come to one host.
        (0..2).for_each(|_| speak(listener.accept().expect("a client").0));
    });
    let proxy: Proxy = format!("socks5://us%65r:p%40ss@{at}").parse().expect("a proxy");
    let url = format!("ws://localhost:{}/", to.port());
    let done = Dialler::new(&url, through(proxy), 1).run(settings());
    serving.join().expect("the proxy's checks hold");
    done.all_well(2);
    let clean = CloseReason::Clean(CloseCode::NO_STATUS);
    assert!(done.reasons.contains(&clean), "{:?}", done.reasons);
    end(server);
}
