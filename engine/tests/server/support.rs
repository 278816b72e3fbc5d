//! A client of draft-02 written from the draft alone, on blocking sockets of the standard library,
//! and what keeps the tests of a running server short. It shares no code with the engine.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use ringbolt::handshake::{ServerPolicy, UpgradeRequest};
use ringbolt::metrics::Snapshot;
use ringbolt::{Accept, Builder, Config, Handler, Message, Part, Reject, Server, Topic, WebSocket};
use socket2::{Domain, Type};

/// Longer than anything takes that works, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const CLOSE: u8 = 1;
pub(crate) const PING: u8 = 2;
pub(crate) const PONG: u8 = 3;
pub(crate) const TEXT: u8 = 4;
pub(crate) const BINARY: u8 = 5;

/// The bit that says that the message goes on.
pub(crate) const MORE: u8 = 0x80;

/// A whole frame; `first` is its first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(len as u8),
        len @ 126..=65535 => {
            bytes.push(126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A frame of each of these messages, one behind the other.
pub(crate) fn frames(first: u8, messages: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let frames: Vec<_> = messages.iter().map(|message| frame(first, message.as_ref())).collect();
    frames.concat()
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// Letters, so many and always the same for a seed.
pub(crate) fn letters(len: usize, seed: u64) -> String {
    pattern(len, seed).into_iter().map(|b| char::from(b'a' + b % 26)).collect()
}

/// The request of the draft's example in §5.2.2 for this resource name.
pub(crate) fn request(resource: &str) -> Vec<u8> {
    let head = format!(
        "GET {resource} HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
         Upgrade: WebSocket\r\nSec-WebSocket-Key1: 3e6b263  4 17 80\r\n\
         Origin: http://example.com\r\nSec-WebSocket-Key2: 17  9 G`ZD9   2 2b 7X 3 /r90\r\n\
         Sec-WebSocket-Draft: 2\r\n\r\nWjN}}|M(6"
    );
    head.into_bytes()
}

/// The answer to its challenge.
pub(crate) const ANSWER: &[u8; 16] = b"n`9eBk9z$R8pOtVb";

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// One connection of a test.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    received: Vec<u8>,
    at: usize,
}

impl Client {
    /// A TCP connection and nothing more.
    pub(crate) fn raw(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).expect("the server listens"))
    }

    /// A client on a stream that is open already, from either side.
    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream)
    }

    /// An established connection.
    pub(crate) fn connect(address: SocketAddr, resource: &str) -> Self {
        let mut client = Self::raw(address);
        client.send(&request(resource));
        client.finish_opening();
        client
    }

    /// An established connection whose kernel takes little at a time.
    pub(crate) fn small(address: SocketAddr) -> Self {
        let mut client = Self::of(small_stream(address));
        client.send(&request("/"));
        client.finish_opening();
        client
    }

    /// Whether anything comes before the stream's read timeout.
    pub(crate) fn is_readable(&self) -> bool {
        self.at < self.received.len() || self.stream.peek(&mut [0]).is_ok_and(|n| n > 0)
    }

    pub(crate) fn hang_up(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
    }
}

impl<S: Read + Write> Client<S> {
    /// A connection over this stream.
    pub(crate) const fn over(stream: S) -> Self {
        Self { stream, received: Vec::new(), at: 0 }
    }

    /// Reads the answer to the opening handshake.
    pub(crate) fn finish_opening(&mut self) {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "refused: {head}");
        assert_eq!(self.take(16).expect("an answer"), ANSWER, "the answer to the challenge");
    }

    /// The head of an HTTP answer.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.take(1).expect("the rest of the head"));
        }
        String::from_utf8(head).expect("a head is text")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// Sends bytes where the server may have closed already; whether they left.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.send(&frame(TEXT, text.as_bytes()));
    }

    /// The next `n` bytes, or `None` if the stream ends before them or breaks.
    pub(crate) fn take(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.received.len() - self.at < n {
            if self.at > 0 {
                self.received.drain(..self.at);
                self.at = 0;
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.received.extend(&buffer[..len]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came until the read timeout")
                }
                Err(_) => return None,
            }
        }
        let bytes = self.received[self.at..self.at + n].to_vec();
        self.at += n;
        Some(bytes)
    }

    /// The next frame, or `None` at the end of the stream.
    pub(crate) fn try_frame(&mut self) -> Option<Frame> {
        let head = self.take(2)?;
        let len = match head[1] {
            126 => u16::from_be_bytes(self.take(2)?.try_into().expect("two")).into(),
            127 => u64::from_be_bytes(self.take(8)?.try_into().expect("eight")),
            len => len.into(),
        };
        Some(Frame { first: head[0], payload: self.take(len as usize)? })
    }

    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame().expect("another frame before the end of the stream")
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, first: u8, payload: &[u8]) {
        let frame = self.frame();
        assert_eq!((frame.first, frame.payload.len()), (first, payload.len()));
        // First as a whole, which is quick in a build for tests, too.
        if frame.payload != payload {
            let differ = |(got, due): (&u8, &u8)| got != due;
            let at = frame.payload.iter().zip(payload).position(differ).expect("they differ");
            let (got, due) = (&frame.payload[at..], &payload[at..]);
            let (got, due) = (&got[..got.len().min(16)], &due[..due.len().min(16)]);
            panic!("the payload is another from byte {at} on: {got:02x?} for {due:02x?}");
        }
    }

    /// Reads `parts` messages of a [`Fountain`], a little at a time and with pauses, so that it takes about
    /// three times as long as `timeout`. Pings between them are not answered.
    ///
    /// # Errors
    ///
    /// The reader itself was kept from reading.
    #[track_caller]
    pub(crate) fn sip(&mut self, parts: usize, timeout: Duration) -> Result<(), HeldUp> {
        let mut pace = Pace::new(timeout);
        for n in 0..parts {
            let mut take = |len| {
                let bytes = self.take(len);
                pace.step()?;
                Ok(bytes.unwrap_or_else(|| panic!("the end in part {n} of {parts}")))
            };
            let mut head = take(2)?;
            while head == [PING, 0] {
                head = take(2)?;
            }
            head.extend(take(8)?);
            assert_eq!(head[2..], (PART as u64).to_be_bytes(), "the length of part {n}");
            for _ in 0..PART / SIP {
                let part = take(SIP)?;
                assert!(part.iter().all(|byte| *byte == n as u8), "part {n}");
                thread::sleep(timeout / PAUSES);
            }
        }
        Ok(())
    }

    #[track_caller]
    pub(crate) fn expect_text(&mut self, text: &str) {
        let frame = self.frame();
        assert_eq!((frame.first, &*String::from_utf8_lossy(&frame.payload)), (TEXT, text));
    }

    /// The server ends the stream, orderly or with a reset, and sends nothing before.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.take(1), None, "nothing more was to come");
    }

    /// Whether the connection still echoes.
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.text("are you there?");
        self.expect_text("are you there?");
    }

    /// The whole closing handshake, from this side.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.send(&frame(CLOSE, b""));
        while let Some(frame) = self.try_frame() {
            if frame.first == CLOSE {
                return self.expect_end();
            }
        }
        panic!("no answer to the Close");
    }
}

/// A TCP connection whose kernel takes little at a time.
pub(crate) fn small_stream(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // With less the window closes to a part of a segment where the kernel sends without a copy, and then
    // each segment waits for its timer: what is read here comes with 9 kB/s.
    socket.set_recv_buffer_size(8192).expect("a size");
    socket.connect(&address.into()).expect("the server listens");
    socket.into()
}

/// Somebody slow was even slower than he wanted to be: the machine was busy with others.
#[derive(Debug)]
#[must_use = "what was measured says nothing about the server"]
pub(crate) struct HeldUp(Duration);

/// Watches somebody slow who has to do something in less than a timeout again and again.
#[derive(Debug)]
pub(crate) struct Pace {
    timeout: Duration,
    last: Instant,
}

impl Pace {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, last: Instant::now() }
    }

    /// Something was done. Between two bytes that a reader's kernel takes there are two steps at most, so
    /// none may take longer than half of the timeout.
    pub(crate) fn step(&mut self) -> Result<(), HeldUp> {
        let took = self.last.elapsed();
        self.last = Instant::now();
        if took < self.timeout / 2 { Ok(()) } else { Err(HeldUp(took)) }
    }
}

/// Runs a test of somebody slow with this timeout, and again with a longer one if he was held up: then a
/// server may rightly have taken him for one who is gone.
#[track_caller]
pub(crate) fn on_time(timeout: Duration, test: impl Fn(Duration) -> Result<(), HeldUp>) {
    const TRIES: u32 = 5;
    let mut last = HeldUp(Duration::ZERO);
    for timeout in (0..TRIES).map(|n| timeout * (1 << n)) {
        match test(timeout) {
            Ok(()) => return,
            Err(held_up) => last = held_up,
        }
    }
    panic!("held up in each of {TRIES} tries, in the last one for {:?}", last.0);
}

/// Waits until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A server that ends with its test.
#[derive(Debug)]
pub(crate) struct Running(Option<Server>);

impl Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0.as_ref().expect("it runs")
    }
}

impl From<Server> for Running {
    fn from(server: Server) -> Self {
        Self(Some(server))
    }
}

impl Running {
    pub(crate) fn new<H: Handler + 'static>(
        builder: Builder,
        handler: impl Fn() -> H + Send + Clone + 'static,
    ) -> Self
    where
        H::Data: 'static,
    {
        Self(Some(builder.start(move |_| handler()).expect("it starts")))
    }

    /// Ends it orderly and gives the final counters.
    pub(crate) fn end(mut self, patience: Duration) -> Snapshot {
        let server = self.0.take().expect("it runs");
        server.drain(patience);
        server.join().expect("the shards end well")
    }

    /// Waits until no connection is open and nothing is held for one.
    #[track_caller]
    pub(crate) fn wait_for_nothing(&self) -> Snapshot {
        let mut last = self.snapshot();
        wait_until("nothing is left of the connections", || {
            last = self.snapshot();
            last.open == 0 && last.ring.buffers_held == 0 && last.ring.operations_in_flight == 0
        });
        last
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.0.take() {
            server.drain(Duration::ZERO);
            let ended = server.join();
            if !thread::panicking() {
                ended.expect("the shards end well");
            }
        }
    }
}

/// Settings that take any client of a test.
pub(crate) fn config() -> Config {
    crate::settings().with(|config| config.policy = ServerPolicy::new())
}

/// A server on `shards` shards that sends everything back.
pub(crate) fn echo(shards: usize, config: Config) -> Running {
    Running::new(Server::builder().shards(shards).config(config), || Echo)
}

/// Bytes of a part of what a [`Fountain`] sends.
pub(crate) const PART: usize = 256 << 10;
/// Bytes that are read at a time by those who are slow. What they are busy with in between takes them this
/// part of a timeout.
const SIP: usize = 64 << 10;
pub(crate) const PAUSES: u32 = 32;

/// Sends as many parts as it is asked for, each of bytes of its number, and closes if that is asked for,
/// too.
#[derive(Debug)]
pub(crate) struct Fountain;

impl Handler for Fountain {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        let Message::Text(asked) = message else { return };
        let (parts, end) = asked.split_once(' ').unwrap_or((asked, ""));
        for n in 0..parts.parse().expect("a number") {
            ws.send(Message::Binary(&vec![n; PART])).expect("room");
        }
        match end {
            "close" => ws.close(),
            "end" => ws.end(),
            _ => {}
        }
    }
}

/// Sends everything back.
#[derive(Debug)]
pub(crate) struct Echo;

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        let sent = ws.send(message);
        // A drain may have begun.
        assert!(sent.is_ok() || !ws.is_open(), "reading pauses before there is no room");
    }
}

/// Sends everything back, in parts of so many bytes where it comes in parts.
#[derive(Debug)]
pub(crate) struct Relay(pub(crate) NonZeroU32);

impl Handler for Relay {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        Echo.on_message(ws, message);
    }

    fn part_bytes(&self) -> Option<NonZeroU32> {
        Some(self.0)
    }

    fn on_part(&mut self, ws: &mut WebSocket<'_, ()>, part: Part<'_>) {
        let sent = ws.send_part(part);
        // A drain may have begun.
        assert!(sent.is_ok() || !ws.is_open(), "reading pauses before there is no room");
    }
}

/// One topic that everybody subscribes to, and what is done with a message there.
#[derive(Debug)]
pub(crate) struct Room(pub(crate) fn(&mut WebSocket<'_, Option<Topic>>, Topic, Message<'_>));

impl Handler for Room {
    type Data = Option<Topic>;

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
        Ok(Accept::new(None))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let topic = ws.topic("room").expect("few topics");
        assert!(ws.subscribe(topic));
        *ws.data_mut() = Some(topic);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        let topic = ws.data().expect("subscribed when opened");
        (self.0)(ws, topic, message);
    }
}
