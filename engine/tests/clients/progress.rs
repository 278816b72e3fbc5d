//! Our side reads slowly, or the server does: whoever makes progress is alive, from the client's side, too.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ringbolt::client::Handler;
use ringbolt::handshake;
use ringbolt::wire::CloseCode;
use ringbolt::{Clients, CloseReason, Config, ConnectionId, Fleet, Message, WebSocket};
use socket2::{Domain, Type};

use crate::suite::{PATIENCE, request, upgrade};
use crate::variant::settings;

const PART: usize = 256 << 10;
/// Parts that a slow reader needs several times [`IDLE`] for.
const PARTS: u8 = 8;
const IDLE: Duration = Duration::from_millis(600);
/// Bytes that are read at a time by those who are slow, and how long they are busy with them.
const SIP: usize = 32 << 10;
const SIP_PAUSE: Duration = Duration::from_millis(25);

const CLOSE: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
const BINARY: u8 = 5;

/// What the client does once it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Waits for what comes, and reads nothing for a while after each message.
    ReadSlowly,
    /// Sends [`PARTS`] messages and closes.
    SendMuch,
    /// Closes at once.
    Close,
}

struct Caller {
    to: SocketAddr,
    task: Task,
    begun: bool,
    messages: usize,
    /// When reading goes on.
    resume: Option<(ConnectionId, Instant)>,
    reason: Option<CloseReason>,
    give_up: Instant,
}

impl Caller {
    /// Runs until the connection has ended, and tells how that was and how many messages had come.
    fn run(to: SocketAddr, task: Task, config: Config) -> (CloseReason, usize) {
        let give_up = Instant::now() + PATIENCE;
        let caller =
            Self { to, task, begun: false, messages: 0, resume: None, reason: None, give_up };
        let (done, _) = Clients::new(config).run(caller).expect("clients run");
        (done.reason.expect("it ended in time"), done.messages)
    }
}

impl Handler for Caller {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        if !std::mem::replace(&mut self.begun, true) {
            fleet.connect(request(), None, self.to, ()).expect("room");
        }
        if let Some((id, at)) = self.resume
            && now >= at
        {
            self.resume = None;
            if let Some(mut ws) = fleet.socket(id) {
                ws.hold_reading(false);
            }
        }
        if fleet.is_empty() || now > self.give_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(10))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>, _: &handshake::UpgradeResponse<'_>) {
        match self.task {
            Task::ReadSlowly => {}
            Task::SendMuch => {
                for n in 0..PARTS {
                    ws.send(Message::Binary(&vec![n; PART])).expect("room");
                }
                ws.close();
            }
            Task::Close => ws.close(),
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        self.messages += 1;
        assert_eq!(message.payload().len(), PART);
        if self.task == Task::ReadSlowly {
            ws.hold_reading(true);
            self.resume = Some((ws.id(), Instant::now() + IDLE / 3));
        }
    }

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reason = Some(reason);
    }
}

/// A listener whose connections take little at a time.
fn listen() -> (TcpListener, SocketAddr) {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(8192).expect("a size");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a free port");
    socket.listen(1).expect("a listener");
    let listener: TcpListener = socket.into();
    let to = listener.local_addr().expect("an address");
    (listener, to)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("a client");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    upgrade(&mut stream);
    stream
}

/// Settings under which nothing but silence ends a connection, and that soon.
fn impatient() -> Config {
    settings().with(|config| {
        config.idle_timeout = IDLE;
        config.ping_interval = IDLE / 3;
        config.close_timeout = IDLE;
    })
}

/// A message of [`PART`] bytes, all of this number.
fn part(n: u8) -> Vec<u8> {
    let mut frame = vec![BINARY, 127];
    frame.extend((PART as u64).to_be_bytes());
    frame.resize(frame.len() + PART, n);
    frame
}

/// The first two bytes of the next frame that is neither a Ping nor a Pong without payload.
fn head(stream: &mut TcpStream) -> [u8; 2] {
    let mut head = [PING, 0];
    while matches!(head, [PING | PONG, 0]) {
        stream.read_exact(&mut head).expect("another frame");
    }
    head
}

/// Waits for the end of the stream, which is no reset; pings may come before it.
fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an orderly end");
    assert!(rest.chunks(2).all(|frame| frame == [PING, 0]), "{rest:?}");
}

#[test]
fn a_server_is_not_silent_while_our_side_does_not_read() {
    let (listener, to) = listen();
    let server = thread::spawn(move || {
        let mut stream = accept(&listener);
        // All of it is on its way long before it is read.
        for n in 0..PARTS {
            stream.write_all(&part(n)).expect("the client takes it");
        }
        stream.write_all(&[CLOSE, 0]).expect("room");
        assert_eq!(head(&mut stream), [CLOSE, 0]);
        drop(stream);
    });
    let (reason, messages) = Caller::run(to, Task::ReadSlowly, impatient());
    server.join().expect("the server's checks hold");
    assert_eq!((reason, messages), (CloseReason::Clean(CloseCode::NO_STATUS), usize::from(PARTS)));
}

#[test]
fn a_server_that_reads_slowly_gets_all_that_was_sent_before_our_close() {
    // covers: CTL-04
    let (listener, to) = listen();
    let server = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut bytes = vec![0; SIP];
        for n in 0..PARTS {
            assert_eq!(head(&mut stream), [BINARY, 127], "part {n}");
            let mut len = [0; 8];
            stream.read_exact(&mut len).expect("a length");
            assert_eq!(len, (PART as u64).to_be_bytes());
            for _ in 0..PART / SIP {
                stream.read_exact(&mut bytes).expect("the client waits for us");
                assert!(bytes.iter().all(|byte| *byte == n), "part {n}");
                thread::sleep(SIP_PAUSE);
            }
        }
        assert_eq!(head(&mut stream), [CLOSE, 0]);
        stream.write_all(&[CLOSE, 0]).expect("room");
        stream.shutdown(Shutdown::Write).expect("it is open");
        expect_end(&mut stream);
    });
    let (reason, _) = Caller::run(to, Task::SendMuch, impatient());
    server.join().expect("the server's checks hold");
    assert_eq!(reason, CloseReason::Clean(CloseCode::NO_STATUS));
}

#[test]
fn what_the_server_still_sends_after_our_close_is_read_and_its_pings_are_answered() {
    // covers: CTL-03, CTL-05
    let (listener, to) = listen();
    let server = thread::spawn(move || {
        let mut stream = accept(&listener);
        assert_eq!(head(&mut stream), [CLOSE, 0]);
        // Longer than the client waits for one that is silent.
        for n in 0..PARTS {
            stream.write_all(&part(n)).expect("the client takes it");
            stream.write_all(&[PING, 1, n]).expect("room");
            let mut pong = [0; 3];
            stream.read_exact(&mut pong).expect("a Pong");
            assert_eq!(pong, [PONG, 1, n]);
            thread::sleep(IDLE / 4);
        }
        stream.write_all(&[CLOSE, 0]).expect("room");
        stream.shutdown(Shutdown::Write).expect("it is open");
        expect_end(&mut stream);
    });
    let (reason, _) = Caller::run(to, Task::Close, impatient());
    server.join().expect("the server's checks hold");
    assert_eq!(reason, CloseReason::Clean(CloseCode::NO_STATUS));
}

#[test]
fn a_client_with_both_closes_ends_with_the_server_or_after_its_timeout() {
    // covers: CTL-07
    for ends in [true, false] {
        let (listener, to) = listen();
        let server = thread::spawn(move || {
            let mut stream = accept(&listener);
            assert_eq!(head(&mut stream), [CLOSE, 0]);
            stream.write_all(&[CLOSE, 0]).expect("room");
            if ends {
                stream.shutdown(Shutdown::Write).expect("it is open");
            }
            expect_end(&mut stream);
        });
        // Where the server ends first, waiting for this would be far too long.
        let timeout = if ends { 20 * PATIENCE } else { IDLE };
        let config = impatient().with(|config| config.close_timeout = timeout);
        let begun = Instant::now();
        let (reason, _) = Caller::run(to, Task::Close, config);
        server.join().expect("the server's checks hold");
        assert_eq!(reason, CloseReason::Clean(CloseCode::NO_STATUS));
        assert!(ends || begun.elapsed() >= IDLE / 2, "the server had time to end first");
    }
}
