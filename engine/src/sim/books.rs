//! What everybody was promised, and whether it was kept.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write as _;

use super::{Promise, SECOND, Time, Violation};
use crate::config::SlowConsumer;
use crate::hub::Remote;
use crate::outcome::CloseReason;

/// Bytes of a message before its filling.
pub(super) const MESSAGE_MIN: usize = 10;
/// The publisher that is no connection.
pub(super) const OUTSIDE: usize = 255;

/// What a message says; the rest of it is filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) what: u8,
    pub(super) key: usize,
    pub(super) seq: u32,
    pub(super) extra: u8,
    pub(super) len: usize,
}

impl Said {
    pub(super) fn write(self) -> Vec<u8> {
        let Self { what, key, seq, extra, len } = self;
        let mut text =
            format!("{}{key:02x}{seq:06x}{}", char::from(what), char::from(b'0' + extra));
        text.extend((MESSAGE_MIN..len).map(|at| filling(seq, at)));
        text.into_bytes()
    }

    /// Reads a message; its filling must be right.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..MESSAGE_MIN)?;
        let text = std::str::from_utf8(head).ok()?;
        let key = usize::from_str_radix(&text[1..3], 16).ok()?;
        let seq = u32::from_str_radix(&text[3..9], 16).ok()?;
        let said = Self { what: head[0], key, seq, extra: head[9] - b'0', len: bytes.len() };
        let mut right = (MESSAGE_MIN..).zip(&bytes[MESSAGE_MIN..]);
        right.all(|(at, byte)| filling(seq, at) == char::from(*byte)).then_some(said)
    }
}

fn filling(seq: u32, at: usize) -> char {
    let at = u32::try_from(at).unwrap_or(0);
    char::from(b'a' + ((seq ^ at >> 3) % 23) as u8)
}

/// How a peer saw its connection end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    End,
    Reset,
}

/// A publication: by whom, on which topic, and the number that its publisher gave it.
type Publication = (usize, u8, u32);

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) server: usize,
    /// At the server's end, and at a real client's.
    pub(super) opened: [bool; 2],
    /// What became of it at the server's end and at a real client's.
    pub(super) reasons: [Option<CloseReason>; 2],
    /// Messages that the server's application sent to it and that have not arrived.
    owed: VecDeque<Said>,
    /// The number of the next message that the server's application will get.
    expected: u32,
    /// Publications that were taken while it was subscribed and that have not arrived.
    publications: Vec<Publication>,
    last: BTreeMap<(usize, u8), u32>,
    ever: u8,
    /// Publications that it missed.
    missed: u64,
    /// Pings that it sent and that were not answered.
    pub(super) pings: VecDeque<Vec<u8>>,
    /// The server's application, or another thread, wants it closed.
    pub(super) dismissed: bool,
    /// The peer has sent Close before it got one.
    pub(super) left: bool,
    /// The peer does not keep to what a peer does: it is owed nothing any more.
    pub(super) faithless: bool,
    /// The connection was cut, and rightly.
    pub(super) cut: bool,
    pub(super) got_close: bool,
    pub(super) seen: Option<Seen>,
}

impl Account {
    pub(super) fn new(server: usize) -> Self {
        Self { server, ..Self::default() }
    }
}

/// An end that an application was told of, to be judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) key: usize,
    pub(super) reason: CloseReason,
}

/// The record of all that was promised, and whether it was kept.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) now: Time,
    pub(super) accounts: Vec<Account>,
    subscribers: [BTreeSet<usize>; 10],
    taken: HashSet<Publication>,
    pub(super) slow_consumer: SlowConsumer,
    /// When the drain began, and its deadline.
    pub(super) drain: Option<(Time, Time)>,
    pub(super) remotes: Vec<(usize, Remote)>,
    pub(super) ended: Vec<Ended>,
    /// Messages delivered to the application, by connection, since the last look.
    pub(super) delivered: BTreeMap<usize, u64>,
    pub(super) violation: Option<Violation>,
    pub(super) trace: Trace,
}

/// What happened, as a hash, and as text if somebody wants to read it.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) hash: u64,
    pub(super) events: u64,
    pub(super) text: Option<String>,
}

impl Trace {
    pub(super) fn note(&mut self, now: Time, what: &str, numbers: &[u64]) {
        self.events += 1;
        let mut hash = self.hash ^ now;
        for byte in what.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        for number in numbers {
            hash = (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
        self.hash = hash;
        if let Some(text) = &mut self.text {
            let seconds = now / SECOND;
            let _ = write!(text, "{seconds:>3}.{:06} {what}", now % SECOND);
            for number in numbers {
                let _ = write!(text, " {number}");
            }
            text.push('\n');
        }
    }
}

impl Books {
    pub(super) fn new(accounts: Vec<Account>, slow_consumer: SlowConsumer, text: bool) -> Self {
        Self {
            now: 0,
            accounts,
            subscribers: Default::default(),
            taken: HashSet::new(),
            slow_consumer,
            drain: None,
            remotes: Vec::new(),
            ended: Vec::new(),
            delivered: BTreeMap::new(),
            violation: None,
            trace: Trace { hash: 0xCBF2_9CE4_8422_2325, events: 0, text: text.then(String::new) },
        }
    }

    pub(super) fn note(&mut self, what: &str, numbers: &[u64]) {
        self.trace.note(self.now, what, numbers);
    }

    /// A promise was broken; the first one counts.
    pub(super) fn accuse(&mut self, promise: Promise, text: impl Into<String>) {
        let text = text.into();
        self.trace.note(self.now, &format!("VIOLATION of {promise:?}: {text}"), &[]);
        self.violation.get_or_insert(Violation { promise, text });
    }

    // ---- what applications say

    /// The server's application got a message.
    pub(super) fn arrived(&mut self, said: Said) {
        *self.delivered.entry(said.key).or_default() += 1;
        let account = &mut self.accounts[said.key];
        let expected = std::mem::replace(&mut account.expected, said.seq + 1);
        if said.seq != expected {
            let text = format!("{} sent {}, and {expected} was due", said.key, said.seq);
            self.accuse(Promise::Echo, text);
        }
    }

    /// The server's application sent a message, and it was taken.
    pub(super) fn owes(&mut self, to: usize, said: Said) {
        self.accounts[to].owed.push_back(said);
    }

    pub(super) fn subscribed(&mut self, key: usize, topic: u8) {
        self.subscribers[usize::from(topic)].insert(key);
        self.accounts[key].ever |= 1 << topic;
    }

    pub(super) fn unsubscribed(&mut self, key: usize, topic: u8) {
        self.subscribers[usize::from(topic)].remove(&key);
        self.accounts[key].publications.retain(|(_, on, _)| *on != topic);
    }

    /// A publication was taken: all who are subscribed now are owed it, but its publisher.
    pub(super) fn published(&mut self, by: usize, topic: u8, seq: u32) {
        self.note("publication taken", &[by as u64, topic.into(), seq.into()]);
        self.taken.insert((by, topic, seq));
        for key in &self.subscribers[usize::from(topic)] {
            if *key != by {
                self.accounts[*key].publications.push((by, topic, seq));
            }
        }
    }

    pub(super) fn closed(&mut self, key: usize, role: usize, reason: CloseReason) {
        self.note("closed", &[key as u64, role as u64, reason.index() as u64]);
        if role == 0 {
            for topic in &mut self.subscribers {
                topic.remove(&key);
            }
        }
        let account = &mut self.accounts[key];
        if account.reasons[role].replace(reason).is_some() {
            self.accuse(Promise::Counters, format!("{key} was closed twice"));
        }
        self.ended.push(Ended { key, reason });
    }

    // ---- what peers say

    /// A peer got a whole message.
    pub(super) fn received(&mut self, key: usize, bytes: &[u8]) {
        let Some(said) = Said::read(bytes) else {
            let shown = bytes[..bytes.len().min(40)].escape_ascii();
            return self.accuse(Promise::Echo, format!("{key} got what nobody sent: {shown}"));
        };
        self.note("got", &[key as u64, said.what.into(), said.key as u64, said.seq.into()]);
        match said.what {
            b'p' => self.received_publication(key, (said.key, said.extra, said.seq)),
            b'r' if said.key != key => {
                let text = format!("{key} got what a remote sent to {}", said.key);
                self.accuse(Promise::Handles, text);
            }
            b'r' => {}
            _ => {
                let owed = self.accounts[key].owed.pop_front();
                if owed != Some(said) {
                    self.accuse(Promise::Echo, format!("{key} got {said:?}, due was {owed:?}"));
                }
            }
        }
    }

    fn received_publication(&mut self, key: usize, publication: Publication) {
        let (by, topic, seq) = publication;
        let taken = self.taken.contains(&publication);
        let account = &mut self.accounts[key];
        let before = account.last.insert((by, topic), seq);
        let wrong = match () {
            () if !taken => Some("that was refused"),
            () if by == key => Some("of its own"),
            () if account.ever & 1 << topic == 0 => Some("of a topic that it never had"),
            () if before.is_some_and(|before| before >= seq) => Some("twice or out of order"),
            () => None,
        };
        if let Some(wrong) = wrong {
            let text = format!("{key} got publication {seq} of {by} on {topic} {wrong}");
            return self.accuse(Promise::Publications, text);
        }
        let due = account.publications.len();
        // What came before it from the same publisher will not come any more.
        account.publications.retain(|(b, t, s)| (*b, *t) != (by, topic) || *s > seq);
        let gone = due - account.publications.len();
        let missed = gone.saturating_sub(1) as u64;
        account.missed += missed;
        if missed > 0 && self.slow_consumer == SlowConsumer::Close {
            let text =
                format!("{key} missed {missed} publications of {by} before {seq} on {topic}");
            self.accuse(Promise::Publications, text);
        }
    }

    pub(super) fn received_pong(&mut self, key: usize, payload: &[u8]) {
        let due = self.accounts[key].pings.pop_front();
        if due.as_deref() != Some(payload) {
            let shown = payload.escape_ascii();
            self.accuse(Promise::Endings, format!("{key} got a pong of {shown}, due was {due:?}"));
        }
    }

    /// A peer was told Close, with this reason if there is one.
    pub(super) fn received_close(&mut self, key: usize, code: Option<u16>, reason: &[u8]) {
        self.note("got Close", &[key as u64, code.unwrap_or(0).into()]);
        self.accounts[key].got_close = true;
        if code == Some(4000) && reason != key.to_string().as_bytes() {
            let shown = reason.escape_ascii();
            self.accuse(Promise::Handles, format!("{key} got the Close of {shown}"));
        }
    }

    // ---- at the end

    /// Judges what every connection was owed; `dropped` publications were counted as missed by each
    /// server.
    pub(super) fn settle(&mut self, dropped: &[u64]) {
        for key in 0..self.accounts.len() {
            self.settle_one(key);
        }
        for (server, dropped) in dropped.iter().enumerate() {
            let here = self.accounts.iter().filter(|account| account.server == server);
            let missed: u64 = here.map(|account| account.missed).sum();
            if missed > *dropped {
                let text = format!("{missed} missed on server {server}, and {dropped} counted");
                self.accuse(Promise::Publications, text);
            }
        }
    }

    /// A socket was closed: of the connection, on this side. Once the time of a drain is up, what had not left
    /// is cut.
    pub(super) fn socket_closed(&mut self, [key, side, _]: [u64; 3], now: Time) {
        let late = self.drain.is_some_and(|(_, deadline)| now >= deadline);
        let account = usize::try_from(key).ok().and_then(|key| self.accounts.get_mut(key));
        if let (true, 0, Some(account)) = (late, side, account) {
            account.cut = true;
        }
    }

    fn settle_one(&mut self, key: usize) {
        let drops = self.slow_consumer == SlowConsumer::Drop;
        let account = &mut self.accounts[key];
        let Some(reason) = account.reasons[0].filter(|_| account.opened[0]) else { return };
        let Some(seen) = account.seen.filter(|_| !account.faithless) else { return };
        let clean = matches!(reason, CloseReason::Clean(_));
        let given_up = matches!(
            reason,
            CloseReason::SlowConsumer | CloseReason::Memory | CloseReason::TimedOut
        );
        if account.cut || given_up {
            return;
        }
        let mut found = Vec::new();
        if !account.owed.is_empty() {
            let (count, first) = (account.owed.len(), account.owed[0]);
            found.push((Promise::Alive, format!("{count} messages never came, first {first:?}")));
        }
        if clean && !account.got_close {
            found.push((Promise::Endings, "no Close came".to_owned()));
        }
        if clean && !account.pings.is_empty() {
            found.push((Promise::Endings, "a ping was never answered".to_owned()));
        }
        // A real client need not wait for a server that holds it for longer than its timeout.
        let scripted = account.reasons[1].is_none();
        if scripted && matches!(reason, CloseReason::HungUp | CloseReason::Transport(_)) {
            found.push((Promise::Endings, "the server thinks that it left".to_owned()));
        }
        // Where the drain was what ended it: had it not begun, everything would have come.
        let drained = clean && !account.dismissed && !account.left && self.drain.is_some();
        if drained && drops {
            account.missed += account.publications.len() as u64;
        } else if let (true, Some(first)) = (drained, account.publications.first()) {
            let count = account.publications.len();
            let text = format!("{count} publications never came before a drain, first {first:?}");
            found.push((Promise::Publications, text));
        }
        for (promise, text) in found {
            self.accuse(promise, format!("{key} ({reason:?}, {seen:?}): {text}"));
        }
    }
}
