//! Peers that are no engine: scripts with a socket, which read as fast or slow as they were told and judge
//! everything that they are sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use fastrand::Rng;

use super::app::{commands, first, length};
use super::books::{Books, Said, Seen};
use super::codec::{self, BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};
use super::net::{Net, Read};
use super::plan::{Answer, Leave, PeerPlan, Reading, Theme};
use super::{MILLI, Promise, Time};
use crate::handshake::{ClientHandshake, ClientRequest, Url};
use crate::wire::Dialect;

/// Bytes that a peer's program has to send before it waits with more.
const OUT_MAX: usize = 64 << 10;

/// A scripted peer with its socket, and what it has seen so far.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: usize,
    plan: PeerPlan,
    theme: Theme,
    topics: u8,
    rng: Rng,
    pub(super) link: Option<usize>,
    /// What it has to send.
    out: Vec<u8>,
    /// What it has read and not understood yet.
    read: Vec<u8>,
    /// The message under way: its kind, whether it is compressed, and its bytes.
    message: Option<(u8, bool, Vec<u8>)>,
    opened: bool,
    close_sent: bool,
    close_got: bool,
    /// When it answers a Close.
    answers_at: Option<Time>,
    /// Nothing more is sent.
    mute: bool,
    seq: u32,
    next_op: Time,
    next_read: Time,
    /// The peer's time is over; whatever comes is not read.
    pub(super) over: bool,
}

/// A request for the connection of this key.
pub(super) fn request(key: usize, plan: &PeerPlan) -> Arc<ClientRequest> {
    let url = Url::parse(&format!("ws://sim.example/k{key}")).expect("a URL");
    let builder = ClientRequest::builder(url, "http://sim.example").dialect(plan.dialect);
    Arc::new(builder.compress(plan.deflate).build().expect("a request"))
}

impl Peer {
    pub(super) fn new(key: usize, plan: PeerPlan, theme: Theme, topics: u8, rng: Rng) -> Self {
        let next_op = plan.start;
        Self {
            key,
            plan,
            theme,
            topics,
            rng,
            link: None,
            out: Vec::new(),
            read: Vec::new(),
            message: None,
            opened: false,
            close_sent: false,
            close_got: false,
            answers_at: None,
            mute: false,
            seq: 0,
            next_op,
            next_read: 0,
            over: false,
        }
    }

    /// When it has something to do, at the latest; now, if that is possible already.
    pub(super) fn next(&self, net: &Net, now: Time) -> Time {
        if self.over {
            return Time::MAX;
        }
        let Some(link) = self.link.map(|link| &net.links[link]) else { return self.next_op };
        let mut next = self.answers_at.unwrap_or(Time::MAX);
        if self.may_operate() {
            next = next.min(self.next_op);
        }
        if link.is_readable(1) && self.reads_at(now) {
            next = next.min(self.next_read);
        }
        if link.is_writable(1) && !self.out.is_empty() {
            next = next.min(now);
        }
        next.max(now)
    }

    fn may_operate(&self) -> bool {
        self.opened && !self.mute && self.out.len() < OUT_MAX
    }

    const fn reads_at(&self, now: Time) -> bool {
        !matches!(self.plan.reading, Reading::Never(from) if now >= from)
    }

    /// Does what is due.
    pub(super) fn step(&mut self, net: &mut Net, books: &Rc<RefCell<Books>>, now: Time) {
        if self.link.is_none() {
            return self.connect(net, now);
        }
        self.read(net, books, now);
        if self.over {
            return;
        }
        if self.answers_at.is_some_and(|at| at <= now) {
            self.answers_at = None;
            self.send_close(books);
        }
        let most = if self.theme == Theme::Greed { 40 } else { 1 };
        for _ in 0..most {
            if !self.may_operate() || self.next_op > now + self.plan.every {
                break;
            }
            self.operate(net, books, now);
        }
        self.write(net, now);
    }

    fn connect(&mut self, net: &mut Net, now: Time) {
        let Some(link) = net.connect(self.plan.server, self.plan.rooms) else {
            self.over = true;
            return;
        };
        net.links[link].key = self.key;
        self.link = Some(link);
        self.next_op = Time::MAX;
        let request = request(self.key, &self.plan);
        let _ = ClientHandshake::start(&request, &mut self.rng, &mut self.out);
        self.write(net, now);
    }

    fn write(&mut self, net: &mut Net, now: Time) {
        let Some(link) = self.link.filter(|_| !self.out.is_empty()) else { return };
        let most =
            if self.rng.u8(..4) == 0 { self.rng.usize(1..=self.out.len()) } else { usize::MAX };
        let bytes = &self.out[..self.out.len().min(most)];
        match net.links[link].write(1, bytes, now) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(_) => self.out.clear(),
        }
        if self.out.is_empty() && self.mute && self.plan.leave == Leave::Fin {
            net.links[link].shut_down(1, now);
        }
    }

    // ---- what it does

    fn send(&mut self, kind: u8, last: bool, payload: &[u8]) {
        let key = self.rng.u32(..).to_be_bytes();
        codec::write(&mut self.out, self.plan.dialect, (kind, last), payload, key);
    }

    fn send_close(&mut self, books: &Rc<RefCell<Books>>) {
        if self.mute {
            return;
        }
        if !self.close_got {
            books.borrow_mut().accounts[self.key].left = true;
        }
        let payload =
            if self.plan.dialect == Dialect::Rfc6455 { &1000u16.to_be_bytes()[..] } else { &[] };
        self.send(CLOSE, true, payload);
        (self.close_sent, self.mute) = (true, true);
    }

    fn operate(&mut self, net: &mut Net, books: &Rc<RefCell<Books>>, now: Time) {
        self.next_op = now + 1 + self.rng.u64(..=self.plan.every.max(1));
        if self.plan.ops == 0 {
            return self.leave(net, books, now);
        }
        self.plan.ops -= 1;
        if self.rng.u8(..12) == 0 {
            return self.ping(books);
        }
        let commands = commands(self.theme);
        let any = commands[self.rng.usize(..commands.len())];
        let what = first(self.theme, self.seq).unwrap_or(any);
        let extra = self.rng.u8(..if what == b'p' { self.topics } else { 10 });
        let len = length(&mut self.rng, self.theme, what);
        let len = if what == b'b' { 4 * len } else { len };
        let said = Said { what, key: self.key, seq: self.seq, extra, len };
        let text = said.write();
        let kind = if self.rng.bool() { TEXT } else { BINARY };
        if what == b'b' {
            // A message that never ends.
            books.borrow_mut().accounts[self.key].faithless = true;
            self.mute = true;
            return self.send(kind, false, &text);
        }
        self.seq += 1;
        if self.rng.u8(..8) == 0 {
            let cut = self.rng.usize(..text.len());
            self.send(kind, false, &text[..cut]);
            if self.rng.bool() {
                self.ping(books);
            }
            return self.send(CONTINUATION, true, &text[cut..]);
        }
        self.send(kind, true, &text);
    }

    fn ping(&mut self, books: &Rc<RefCell<Books>>) {
        let payload = self.rng.u16(..).to_string().into_bytes();
        self.send(PING, true, &payload);
        books.borrow_mut().accounts[self.key].pings.push_back(payload);
    }

    fn leave(&mut self, net: &mut Net, books: &Rc<RefCell<Books>>, now: Time) {
        self.next_op = Time::MAX;
        let faithless = |books: &Rc<RefCell<Books>>| {
            books.borrow_mut().accounts[self.key].faithless = true;
        };
        match self.plan.leave {
            Leave::Stay => {}
            Leave::Close => self.send_close(books),
            Leave::Fin => {
                faithless(books);
                self.mute = true;
            }
            Leave::Reset => {
                faithless(books);
                if let Some(link) = self.link {
                    net.links[link].abort(1, now);
                }
                self.over = true;
            }
            Leave::CloseAndMore => {
                self.send_close(books);
                self.send(PING, true, b"more");
                let more = [b'm'; 2000];
                self.send(TEXT, true, &more);
            }
        }
    }

    // ---- what it is told

    fn read(&mut self, net: &mut Net, books: &Rc<RefCell<Books>>, now: Time) {
        let Some(link) = self.link else { return };
        if !self.reads_at(now) || self.next_read > now {
            return;
        }
        let (most, pause) = match self.plan.reading {
            Reading::Eager | Reading::Never(_) => (usize::MAX, 0),
            Reading::Steady(bytes, every) => (bytes, every),
            Reading::Pausing(time) if self.rng.u8(..4) == 0 => (usize::MAX, time),
            Reading::Pausing(_) => (usize::MAX, 0),
        };
        if !net.links[link].is_readable(1) {
            return;
        }
        let at = self.read.len();
        self.read.resize(at + net.links[link].unread(1).min(most), 0);
        let got = net.links[link].read(1, &mut self.read[at..], now);
        self.next_read = now + pause;
        match got {
            Read::Bytes(_) | Read::Nothing => {}
            Read::End => return self.saw(Seen::End, net, books, now),
            Read::Reset => return self.saw(Seen::Reset, net, books, now),
        }
        if let Err(wrong) = self.understand(books, now) {
            books.borrow_mut().accuse(Promise::Echo, format!("{} got {wrong}", self.key));
        }
    }

    /// Notes that the connection has ended, and how.
    fn saw(&mut self, seen: Seen, net: &mut Net, books: &Rc<RefCell<Books>>, now: Time) {
        let mut books = books.borrow_mut();
        books.note("saw the end", &[self.key as u64, u64::from(seen == Seen::Reset)]);
        books.accounts[self.key].seen = Some(seen);
        if let Some(link) = self.link {
            net.links[link].close(1, now);
        }
        self.over = true;
    }

    fn understand(&mut self, books: &Rc<RefCell<Books>>, now: Time) -> Result<(), &'static str> {
        if !self.opened && !self.understand_head(books, now)? {
            return Ok(());
        }
        let mut from = 0;
        let read = std::mem::take(&mut self.read);
        while let Some(frame) = codec::header(self.plan.dialect, &read[from..])? {
            let begin = from + frame.head;
            let Some(payload) = read.get(begin..begin + frame.len) else { break };
            if self.close_got && !matches!(frame.kind, PING | PONG) {
                return Err("a message or a Close behind Close");
            }
            self.hear(frame, payload, books, now)?;
            from = begin + frame.len;
        }
        self.read = read;
        self.read.drain(..from);
        Ok(())
    }

    /// The server's answer: whether it is whole.
    fn understand_head(
        &mut self,
        books: &Rc<RefCell<Books>>,
        now: Time,
    ) -> Result<bool, &'static str> {
        let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        let answer = if self.plan.dialect == Dialect::Hybi02 { 16 } else { 0 };
        if !self.read.starts_with(b"HTTP/1.1 101 ") {
            // It was refused; the end follows.
            (self.mute, self.opened) = (true, false);
            self.read.clear();
            return Ok(false);
        }
        if self.read.len() < end + 4 + answer {
            return Ok(false);
        }
        let head = &self.read[..end];
        let agreed = head.windows(18).any(|part| part == b"permessage-deflate");
        if agreed && !self.plan.deflate {
            return Err("an extension that it did not ask for");
        }
        self.read.drain(..end + 4 + answer);
        self.opened = true;
        self.next_op = now + self.rng.u64(..=self.plan.every.max(1));
        books.borrow_mut().note("peer open", &[self.key as u64]);
        Ok(true)
    }

    fn hear(
        &mut self,
        frame: Frame,
        payload: &[u8],
        books: &Rc<RefCell<Books>>,
        now: Time,
    ) -> Result<(), &'static str> {
        match frame.kind {
            PING => {
                if self.plan.answers_pings && !self.mute | self.close_sent {
                    self.send(PONG, true, payload);
                }
            }
            PONG => books.borrow_mut().received_pong(self.key, payload),
            CLOSE => self.hear_close(payload, books, now),
            kind => {
                let (kind, compressed, mut bytes) = match (kind, self.message.take()) {
                    (CONTINUATION, Some(message)) => message,
                    (CONTINUATION, None) => return Err("a continuation of nothing"),
                    (_, Some(_)) => return Err("a message within a message"),
                    (kind, None) => (kind, frame.compressed, Vec::new()),
                };
                bytes.extend(payload);
                if !frame.last {
                    self.message = Some((kind, compressed, bytes));
                    return Ok(());
                }
                if compressed {
                    let deflate = self.plan.deflate;
                    bytes = codec::inflate(&bytes)
                        .filter(|_| deflate)
                        .ok_or("a compressed message that cannot be inflated")?;
                }
                books.borrow_mut().received(self.key, &bytes);
            }
        }
        Ok(())
    }

    fn hear_close(&mut self, payload: &[u8], books: &Rc<RefCell<Books>>, now: Time) {
        self.close_got = true;
        let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
        let reason = payload.get(2..).unwrap_or_default();
        books.borrow_mut().received_close(self.key, code, reason);
        if self.close_sent || self.mute {
            return;
        }
        self.next_op = Time::MAX;
        match self.plan.answer {
            Answer::AtOnce => self.answers_at = Some(now),
            Answer::After(time) => {
                // So long that it may be cut.
                self.answers_at = Some(now + time);
                if time > 200 * MILLI {
                    books.borrow_mut().accounts[self.key].faithless = true;
                }
            }
            Answer::PingFirst => {
                self.ping(books);
                self.answers_at = Some(now + self.rng.u64(..50 * MILLI));
            }
            Answer::Never => {
                books.borrow_mut().accounts[self.key].faithless = true;
            }
        }
    }
}
