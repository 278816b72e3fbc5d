//! The client role: whom it trusts, what it says when it does not, and messages both ways.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use ringbolt::client::Handler;
use ringbolt::handshake::url::Url;
use ringbolt::handshake::{ClientRequest, ResponseError, UpgradeResponse};
use ringbolt::metrics::Snapshot;
use ringbolt::wire::{CloseCode, Dialect};
use ringbolt::{
    ClientTls, ClientTlsBuilder, Clients, CloseReason, Config, Driver, Fleet, Message, Route,
    Server, ServerTls, TlsError, WebSocket,
};

use crate::authority::{Authority, Identity};
use crate::peer::{World, config};
use crate::support::{Echo, PATIENCE, Running, pattern};

/// Opens connections to a URL, sends a message of each size on each of them and expects it back, and
/// closes.
pub(crate) struct Dialler {
    requests: Vec<Arc<ClientRequest>>,
    to: Route,
    sizes: Vec<usize>,
    pub(crate) echoes: usize,
    pub(crate) reasons: Vec<CloseReason>,
    give_up: Instant,
}

impl Dialler {
    pub(crate) fn new(url: &str, to: impl Into<Route>, connections: usize) -> Self {
        let request = |n: usize| {
            let url = Url::parse(url).expect("a URL");
            let dialect = Dialect::ALL[n % 2];
            let builder = ClientRequest::builder(url, "http://localhost").dialect(dialect);
            Arc::new(builder.build().expect("a request"))
        };
        Self {
            requests: (0..connections).map(request).collect(),
            to: to.into(),
            sizes: vec![1, 1000, 16_384, 70_000, 1 << 20],
            echoes: 0,
            reasons: Vec::new(),
            give_up: Instant::now() + PATIENCE,
        }
    }

    pub(crate) fn run(self, driver: Driver, tls: Option<&ClientTls>) -> (Self, Snapshot) {
        let config: Config = config(driver).with(|config| {
            config.connect_in_turn = false;
            config.client_tls = tls.cloned();
            config.handshake_timeout = Duration::from_secs(5);
        });
        Clients::new(config).run(self).expect("clients run")
    }

    fn say(&self, ws: &mut WebSocket<'_, usize>) {
        match self.sizes.get(*ws.data()) {
            Some(len) => {
                let bytes = pattern(*len, *len as u64);
                ws.send(Message::Binary(&bytes)).expect("room");
            }
            None => ws.close(),
        }
    }
}

impl Handler for Dialler {
    /// How many messages have come back.
    type Data = usize;

    fn on_turn(&mut self, fleet: &mut Fleet<'_, usize>, now: Instant) -> Option<Instant> {
        for request in self.requests.drain(..) {
            fleet.connect(request, None, self.to.clone(), 0).expect("room");
        }
        if fleet.is_empty() || now > self.give_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(10))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, usize>, _: &UpgradeResponse<'_>) {
        self.say(ws);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, usize>, message: Message<'_>) {
        let len = self.sizes[*ws.data()];
        assert!(message.payload() == pattern(len, len as u64), "{len} bytes came back changed");
        self.echoes += 1;
        *ws.data_mut() += 1;
        self.say(ws);
    }

    fn on_close(&mut self, _: usize, reason: CloseReason) {
        self.reasons.push(reason);
    }
}

pub(crate) fn trusting(authority: &Authority) -> ClientTlsBuilder {
    ClientTls::builder().authorities(authority.pem_source())
}

pub(crate) fn built(builder: ClientTlsBuilder) -> ClientTls {
    builder.build().expect("usable files")
}

/// What ended a connection to this server.
fn reason(driver: Driver, server: &Running, tls: &ClientTls) -> CloseReason {
    let to = server.address();
    let url = format!("wss://localhost:{}/", to.port());
    let (done, _) = Dialler::new(&url, to, 1).run(driver, Some(tls));
    let [reason] = done.reasons[..] else { panic!("{:?}", done.reasons) };
    reason
}

fn showing(identity: &Identity, driver: Driver) -> Running {
    let tls = ServerTls::builder().certificate(identity.chain(), identity.key());
    serve(tls.build().expect("usable files"), driver)
}

fn serve(tls: ServerTls, driver: Driver) -> Running {
    let any = "127.0.0.1:0".parse().expect("an address");
    let builder = Server::builder().bind_tls(any, tls).shards(1).config(config(driver));
    Running::new(builder, || Echo)
}

#[test]
fn a_client_asks_for_the_host_by_its_name() {
    // covers: HS-C-05
    let world = World::new();
    let other = world.authority.issue(&["elsewhere.test"]);
    let trust = built(trusting(&world.authority));
    for driver in Driver::built() {
        // Without a name the server would show the first certificate, which is for another host.
        let tls = ServerTls::builder()
            .certificate(other.chain(), other.key())
            .certificate(world.identity.chain(), world.identity.key());
        let server = serve(tls.build().expect("usable files"), driver);
        assert!(reason(driver, &server, &trust).is_clean());
        crate::echo::end(server);
    }
}

#[test]
fn many_clients_talk_to_a_server_in_both_dialects() {
    let world = World::new();
    let tls = built(trusting(&world.authority));
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let to = server.address();
        let url = format!("wss://localhost:{}/", to.port());
        let (done, counters) = Dialler::new(&url, to, 20).run(driver, Some(&tls));
        let clean = done.reasons.iter().filter(|reason| reason.is_clean()).count();
        assert_eq!((done.echoes, clean), (100, 20), "{:?}", done.reasons);
        assert_eq!(counters.counters.tls_handshakes, 20, "{counters}");
        crate::echo::end(server);
    }
}

#[test]
fn sessions_are_resumed_unless_that_is_turned_off() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let to = server.address();
        let url = format!("wss://127.0.0.1:{}/", to.port());
        for (tls, resumed) in [
            (built(trusting(&world.authority)), 1),
            (built(trusting(&world.authority).resumption(false)), 0),
        ] {
            for round in [0, resumed] {
                let (_, counters) = Dialler::new(&url, to, 1).run(driver, Some(&tls));
                assert_eq!(counters.counters.tls_resumed, round, "{counters}");
            }
        }
        crate::echo::end(server);
    }
}

#[test]
fn a_server_that_cannot_be_trusted_is_told_so_and_left() {
    let world = World::new();
    let trust = built(trusting(&world.authority));
    let elsewhere = world.authority.issue(&["elsewhere.test"]);
    let authority = world.authority.issue_with(&["localhost"], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let expired = world.authority.issue_with(&["localhost"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let stranger = built(trusting(&Authority::new("another authority")));
        assert_eq!(reason(driver, &server, &stranger), CloseReason::Tls(TlsError::Untrusted));
        let everybody = built(ClientTls::builder().dangerous_trust_everybody());
        assert_eq!(reason(driver, &server, &everybody), CloseReason::Clean(CloseCode::NO_STATUS));
        let ended = crate::echo::end(server).to_string();
        assert!(ended.contains("tls_error_alert=1"), "{ended}");

        let server = showing(&elsewhere, driver);
        assert_eq!(reason(driver, &server, &trust), CloseReason::Tls(TlsError::WrongName));
        let other = built(trusting(&world.authority).server_name("elsewhere.test"));
        assert!(reason(driver, &server, &other).is_clean());
        crate::echo::end(server);

        let server = showing(&authority, driver);
        assert_eq!(reason(driver, &server, &trust), CloseReason::Tls(TlsError::Authority));
        crate::echo::end(server);

        let server = showing(&expired, driver);
        assert_eq!(reason(driver, &server, &trust), CloseReason::Tls(TlsError::Expired));
        crate::echo::end(server);
    }
}

#[test]
fn a_client_shows_its_certificate_where_one_is_wanted() {
    let world = World::new();
    let own = world.authority.issue(&["client"]);
    for driver in Driver::built() {
        let tls = ServerTls::builder()
            .certificate(world.identity.chain(), world.identity.key())
            .client_ca(world.authority.pem_source());
        let server = serve(tls.build().expect("usable files"), driver);
        let known = built(trusting(&world.authority).certificate(own.chain(), own.key()));
        assert!(reason(driver, &server, &known).is_clean());
        let unknown = built(trusting(&world.authority));
        // certificate_required (RFC 8446 §6.2)
        assert_eq!(reason(driver, &server, &unknown), CloseReason::Tls(TlsError::Alert(116)));
        crate::echo::end(server);
    }
}

#[test]
fn wss_is_never_spoken_in_the_clear() {
    let world = World::new();
    let tls = built(trusting(&world.authority));
    for driver in Driver::built() {
        // No TLS is configured: nothing at all is sent.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let to = listener.local_addr().expect("an address");
        let url = format!("wss://localhost:{}/", to.port());
        let taken = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said));
            said
        });
        let (done, _) = Dialler::new(&url, to, 1).run(driver, None);
        assert_eq!(done.reasons, [CloseReason::Tls(TlsError::NotConfigured)]);
        assert_eq!(taken.join().expect("it ran"), b"");

        // A server of plain HTTP answers a ClientHello as it answers everything; some without a head.
        for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "<!DOCTYPE HTML><title>Error</title>"] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
            let to = listener.local_addr().expect("an address");
            let url = format!("wss://localhost:{}/", to.port());
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                stream.write_all(answer.as_bytes()).expect("room");
                drop(stream.read_to_end(&mut Vec::new()));
            });
            let (done, _) = Dialler::new(&url, to, 1).run(driver, Some(&tls));
            assert_eq!(done.reasons, [CloseReason::Tls(TlsError::PlainServer)]);
            answering.join().expect("it ran");
        }
        let any = "127.0.0.1:0".parse().expect("an address");
        let builder = Server::builder().bind(any).shards(1).config(config(driver));
        let server = Running::new(builder, || Echo);
        // So does a server of ours.
        let to = server.address();
        let url = format!("wss://localhost:{}/", to.port());
        let (done, _) = Dialler::new(&url, to, 1).run(driver, Some(&tls));
        assert_eq!(done.reasons, [CloseReason::Tls(TlsError::PlainServer)]);
        // And ws URLs work beside.
        let to = server.address();
        let (done, _) = Dialler::new(&format!("ws://{to}/"), to, 2).run(driver, Some(&tls));
        assert_eq!(done.echoes, 10, "{:?}", done.reasons);
        let ended = crate::echo::end(server).to_string();
        assert!(ended.contains("request_error_client_speaks_tls=1"), "{ended}");
    }
}

#[test]
fn a_ws_url_at_a_port_of_tls_is_told_as_that() {
    let world = World::new();
    let alert: &[u8] = b"\x15\x03\x01\x00\x02\x02\x0A";
    for driver in Driver::built() {
        for pieces in [vec![alert], vec![&alert[..1], &alert[1..]]] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
            let to = listener.local_addr().expect("an address");
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                stream.set_nodelay(true).expect("an option");
                assert!(stream.read(&mut [0; 1024]).expect("a request") > 0);
                for piece in pieces {
                    stream.write_all(piece).expect("room");
                }
                drop(stream.read_to_end(&mut Vec::new()));
            });
            let (done, _) = Dialler::new(&format!("ws://{to}/"), to, 1).run(driver, None);
            let told = CloseReason::Response(ResponseError::ServerSpeaksTls);
            assert_eq!(done.reasons, [told]);
            answering.join().expect("it ran");
        }
        // A server of ours answers as it is spoken to.
        let server = world.echo(1, config(driver));
        let to = server.address();
        let (done, _) = Dialler::new(&format!("ws://{to}/"), to, 1).run(driver, None);
        assert_eq!(done.reasons, [CloseReason::Response(ResponseError::StatusCode)]);
        let ended = crate::echo::end(server).to_string();
        assert!(ended.contains("tls_error_plain_client=1"), "{ended}");
    }
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let world = World::new();
    let tls = built(trusting(&world.authority));
    for driver in Driver::built() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let to = listener.local_addr().expect("an address");
        let url = format!("wss://localhost:{}/", to.port());
        let mut config = config(driver);
        config.handshake_timeout = Duration::from_millis(200);
        config.client_tls = Some(tls.clone());
        let done = Clients::new(config).run(Dialler::new(&url, to, 1)).expect("clients run").0;
        assert_eq!(done.reasons, [CloseReason::TimedOut]);
    }
}
