//! However a connection, a server or a client ends, its sockets go.

use std::net::{SocketAddr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt::client::Handler;
use ringbolt::handshake::ClientRequest;
use ringbolt::handshake::url::Url;
use ringbolt::{Clients, CloseReason, Fleet, Message, Server, WebSocket};
use socket2::{Domain, Socket, Type};

use crate::support::{
    BINARY, CLOSE, Client, Echo, PATIENCE, Running, config, echo, frame, pattern, request,
    wait_until,
};
use crate::{alone, descriptors, seed};

/// One connection, ended in one of many ways.
fn live_and_end(address: SocketAddr, way: usize) {
    let mut client = Client::raw(address);
    match way {
        // Nothing said; half a request; a request that is none.
        0 => return,
        1 => return client.send(&request("/")[..40]),
        2 => {
            client.send(b"HELLO\r\n\r\n");
            while client.take(1).is_some() {}
            return;
        }
        _ => {}
    }
    client.send(&request("/"));
    client.finish_opening();
    match way {
        3 => client.close(),
        4 => client.hang_up(),
        // A reset.
        5 => {
            let socket = socket2::SockRef::from(&client.stream);
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        // In the middle of a message.
        6 => client.send(&frame(BINARY, &pattern(100_000, 1))[..50_000]),
        // While the server cannot send what it owes.
        7 => {
            for _ in 0..8 {
                client.send(&frame(BINARY, &pattern(200_000, 1)));
            }
        }
        // A rule broken, and the end awaited; the Close frame comes before it.
        8 => {
            client.send(&[0x0F, 0]);
            while client.take(1).is_some() {}
        }
        _ => {
            client.send(&frame(CLOSE, b""));
            assert_eq!(client.frame().first, CLOSE);
            client.expect_end();
        }
    }
}

#[test]
fn no_socket_is_left_of_connections_however_they_end() {
    let _alone = alone();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let server = echo(
        2,
        config().with(|config| {
            config.handshake_timeout = Duration::from_millis(300);
            config.close_timeout = Duration::from_millis(300);
        }),
    );
    let before = descriptors();
    let address = server.address();
    for _ in 0..3 {
        let mut ways: Vec<_> = (0..10).cycle().take(200).collect();
        rng.shuffle(&mut ways);
        let runs: Vec<_> = ways
            .chunks(25)
            .map(<[usize]>::to_vec)
            .map(|ways| thread::spawn(move || ways.iter().for_each(|w| live_and_end(address, *w))))
            .collect();
        for run in runs {
            assert!(run.join().is_ok(), "seed {seed}: peers see the end");
        }
        server.wait_for_nothing();
        wait_until(&format!("no socket is left (seed {seed})"), || descriptors() == before);
    }
}

#[test]
fn nothing_is_left_of_a_server_that_is_cut_off() {
    let _alone = alone();
    let before = descriptors();
    for patience in [0, 50] {
        let builder = Server::builder().shards(2).config(config());
        let server = Running::new(builder, || Echo);
        let mut clients: Vec<_> =
            (0..100).map(|_| Client::connect(server.address(), "/")).collect();
        // Some owe something, some are owed something.
        for (n, client) in clients.iter_mut().enumerate() {
            match n % 3 {
                0 => client.send(&frame(BINARY, &pattern(50_000, 1))[..20_000]),
                1 => client.send(&frame(BINARY, &pattern(300_000, 1))),
                _ => {}
            }
        }
        let begun = Instant::now();
        server.end(Duration::from_millis(patience));
        assert!(begun.elapsed() < Duration::from_secs(4), "the end waited for a time limit");
        for client in &mut clients {
            while client.take(1).is_some() {}
        }
        drop(clients);
        wait_until("no descriptor is left", || descriptors() == before);
    }
}

/// Connects once, and panics or stops.
struct One {
    to: SocketAddr,
    started: Option<Instant>,
    /// It panics once this much has passed.
    panics_after: Option<Duration>,
    reasons: Vec<CloseReason>,
}

impl One {
    fn new(to: SocketAddr, panics_after: Option<Duration>) -> Self {
        Self { to, started: None, panics_after, reasons: Vec::new() }
    }
}

impl Handler for One {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        let url = Url::parse(&format!("ws://{}/", self.to)).expect("a URL");
        let request = ClientRequest::builder(url, "http://localhost").build().expect("a request");
        let started = *self.started.get_or_insert_with(|| {
            fleet.connect(Arc::new(request), None, self.to, ()).expect("room");
            now
        });
        assert!(self.panics_after.is_none_or(|after| now - started < after), "as wanted");
        if fleet.is_empty() || now - started > PATIENCE {
            fleet.stop();
        }
        Some(now + Duration::from_millis(10))
    }

    fn on_message(&mut self, _: &mut WebSocket<'_, ()>, _: Message<'_>) {}

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reasons.push(reason);
    }
}

#[test]
fn an_attempt_to_connect_that_nobody_answers_is_given_up() {
    let _alone = alone();
    let before = descriptors();
    // A full backlog: the kernel answers no more.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("a backlog");
    let to = listener.local_addr().expect("an address").as_socket().expect("of IP");
    let filling: Vec<_> = (0..4)
        .filter_map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.connect_timeout(&to.into(), Duration::from_millis(50)).ok().map(|()| socket)
        })
        .collect();
    let config = config().with(|config| config.handshake_timeout = Duration::from_millis(100));
    let begun = Instant::now();
    let (one, end) = Clients::new(config).run(One::new(to, None)).expect("it runs");
    assert!(begun.elapsed() < Duration::from_secs(4), "given up after {:?}", begun.elapsed());
    assert_eq!(one.reasons, [CloseReason::TimedOut]);
    assert_eq!((end.open, end.ring.operations_in_flight), (0, 0), "{end}");
    drop((filling, listener));
    assert_eq!(descriptors(), before);
}

#[test]
fn a_panic_of_the_application_passes_through_and_leaves_no_socket() {
    let _alone = alone();
    let before = descriptors();
    // It accepts, and says nothing: a read is in flight when the application panics.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let one = One::new(to, Some(Duration::from_millis(50)));
    let clients = Clients::new(config());
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| clients.run(one).map(drop)));
    let panic = ended.expect_err("the panic comes out");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as wanted"));
    let (mut peer, _) = listener.accept().expect("it was there");
    assert!(std::io::copy(&mut peer, &mut std::io::sink()).is_ok(), "the peer sees the end");
    drop((peer, listener));
    wait_until("no descriptor is left", || descriptors() == before);
}

#[test]
fn a_thread_that_runs_a_runtime_is_told_so() {
    let _alone = alone();
    tokio_uring::start(async {
        let to = "127.0.0.1:1".parse().expect("an address");
        let error = Clients::new(config()).run(One::new(to, None)).err().expect("an error");
        assert!(error.to_string().contains("already runs a tokio runtime"), "{error}");
        // A server's shards have threads of their own.
        let server =
            Server::builder().shards(1).config(config()).start(|_| Echo).expect("a server");
        server.drain(Duration::ZERO);
        server.join().expect("an orderly end");
    });
}
