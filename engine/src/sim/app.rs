//! The applications: a server's, which does what messages tell it, and a client's, which tells it.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;

use super::books::{Books, MESSAGE_MIN, Said};
use super::plan::{Leave, PeerPlan, Reading, Theme, duration};
use super::{MILLI, SECOND, Time};
use crate::conn::{Message, Part};
use crate::handler::WebSocket;
use crate::handshake::{ClientRequest, UpgradeRequest, UpgradeResponse};
use crate::outcome::{Accept, CloseReason, Reject};
use crate::shard::table::ConnectionId;
use crate::shard::{Application, Context, Fleet};
use crate::wire::{CloseCode, Dialect};

/// What an application keeps with a connection.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) key: usize,
}

/// A client's connection, and when it does what.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) key: usize,
    pub(super) plan: PeerPlan,
    pub(super) request: Arc<ClientRequest>,
    pub(super) next: Time,
    pub(super) id: Option<ConnectionId>,
    pub(super) open: bool,
    pub(super) seq: u32,
    pub(super) held: bool,
}

/// Either application.
#[derive(Debug)]
pub(super) struct App {
    pub(super) books: Rc<RefCell<Books>>,
    pub(super) base: Instant,
    pub(super) rng: Rng,
    pub(super) theme: Theme,
    pub(super) topics: u8,
    /// When which connections are read from again.
    pub(super) holds: Vec<(Time, ConnectionId)>,
    /// What a client is to open; none of a server.
    pub(super) dials: Vec<Dial>,
    pub(super) client: bool,
}

/// What messages tell a server to do, by theme: as often as they stand there.
pub(super) const fn commands(theme: Theme) -> &'static [u8] {
    match theme {
        Theme::Everything => b"eeefksppuhcxg",
        Theme::SlowReaders => b"ekkkkgg",
        Theme::Silence => b"eehhg",
        Theme::Endings => b"eekkgggcx",
        Theme::FanOut => b"ssppppppu",
        Theme::Flood => b"spppppppppppppppk",
        Theme::Bulk => b"eekkfbbb",
        Theme::Greed => b"eeeeeek",
    }
}

/// What comes before that, where little else would happen otherwise.
pub(super) fn first(theme: Theme, seq: u32) -> Option<u8> {
    let first: &[u8] = match theme {
        Theme::Flood => b"ksk",
        Theme::FanOut => b"s",
        _ => b"",
    };
    first.get(seq as usize).copied()
}

/// How long a message is, by theme.
pub(super) fn length(rng: &mut Rng, theme: Theme, what: u8) -> usize {
    let most = match (theme, what) {
        (Theme::Flood, b'p') | (Theme::Greed, b'e') => return MESSAGE_MIN,
        (_, b'e' | b'f' | b'p' | b'b') if rng.u8(..20) == 0 || theme == Theme::Bulk => 16_000,
        (_, b'p') if rng.u8(..6) == 0 => 16_000,
        (_, b'e' | b'f' | b'p') => 600,
        _ => 40,
    };
    MESSAGE_MIN + rng.usize(..most)
}

impl App {
    fn key(path: &str) -> Option<usize> {
        path.strip_prefix("/k")?.parse().ok()
    }

    /// Does what a message says.
    fn serve(&mut self, ws: &mut WebSocket<'_, Data>, message: Message<'_>) {
        let Some(said) = Said::read(message.payload()) else { return };
        let key = ws.data().key;
        self.books.borrow_mut().arrived(said);
        match said.what {
            b'e' if ws.send(message).is_ok() => self.books.borrow_mut().owes(key, said),
            b'f' => {
                let size = NonZeroUsize::new(1 + said.len / 3).unwrap_or(NonZeroUsize::MIN);
                if ws.send_fragmented(message, size).is_ok() {
                    self.books.borrow_mut().owes(key, said);
                }
            }
            b'k' => self.burst(ws, said),
            b's' if ws.is_open() => {
                let topic = said.extra % self.topics;
                let opened = ws.topic(&topic.to_string());
                if opened.is_some_and(|topic| ws.subscribe(topic)) {
                    self.books.borrow_mut().subscribed(key, topic);
                }
            }
            b'u' => {
                let topic = said.extra % self.topics;
                if let Some(opened) = ws.topic(&topic.to_string()) {
                    ws.unsubscribe(opened);
                    self.books.borrow_mut().unsubscribed(key, topic);
                }
            }
            b'p' => {
                let opened = ws.topic(&said.extra.to_string());
                if opened.is_some_and(|topic| ws.publish(topic, message).is_ok()) {
                    self.books.borrow_mut().published(key, said.extra, said.seq);
                }
            }
            b'h' => {
                ws.hold_reading(true);
                let now = self.books.borrow().now;
                self.holds.push((now + (u64::from(said.extra) + 1) * 700 * MILLI, ws.id()));
            }
            b'c' => {
                self.books.borrow_mut().accounts[key].dismissed = true;
                ws.close();
            }
            b'x' => {
                self.books.borrow_mut().accounts[key].dismissed = true;
                ws.end();
            }
            b'g' => ws.ping(b"are you there"),
            _ => {}
        }
    }

    /// Sends much at once.
    fn burst(&self, ws: &mut WebSocket<'_, Data>, said: Said) {
        let key = ws.data().key;
        for part in 0..=u32::from(said.extra) {
            let seq = said.seq * 16 + part;
            let len = MESSAGE_MIN + (seq as usize * 379) % 1500;
            let one = Said { what: b'd', key, seq, extra: 0, len };
            let text = one.write();
            let text = std::str::from_utf8(&text).unwrap_or_default();
            if ws.send(Message::Text(text)).is_err() {
                return;
            }
            self.books.borrow_mut().owes(key, one);
        }
    }

    // ---- the client's side

    /// Does what is due, and says when more is.
    fn operate(&mut self, fleet: &mut Fleet<'_, Data>, now: Time) -> Time {
        let mut next = Time::MAX;
        for at in 0..self.dials.len() {
            if self.dials[at].next <= now {
                self.operate_one(at, fleet, now);
            }
            next = next.min(self.dials[at].next);
        }
        next
    }

    fn operate_one(&mut self, at: usize, fleet: &mut Fleet<'_, Data>, now: Time) {
        let dial = &mut self.dials[at];
        let Some(id) = dial.id else {
            dial.next = Time::MAX;
            let port = 1 + u16::try_from(dial.plan.server).unwrap_or(0);
            let to: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
            let data = Data { key: dial.key };
            dial.id = fleet.connect(Arc::clone(&dial.request), None, to, data).ok();
            return;
        };
        dial.next = now + 1 + self.rng.u64(..=dial.plan.every.max(1));
        let Some(mut ws) = fleet.socket(id) else {
            dial.next = Time::MAX;
            return;
        };
        if let Reading::Pausing(time) = dial.plan.reading
            && self.rng.u8(..4) == 0
        {
            dial.held = !dial.held;
            ws.hold_reading(dial.held);
            dial.next = now + time;
            return;
        }
        if dial.plan.ops == 0 {
            dial.next = if dial.held { now + SECOND } else { Time::MAX };
            if dial.held {
                dial.held = false;
                ws.hold_reading(false);
            } else if dial.plan.leave != Leave::Stay && ws.is_open() {
                self.books.borrow_mut().accounts[dial.key].left = true;
                ws.close();
            }
            return;
        }
        dial.plan.ops -= 1;
        let commands = commands(self.theme);
        let any = commands[self.rng.usize(..commands.len())];
        let what = first(self.theme, dial.seq).unwrap_or(any);
        if what == b'b' {
            return;
        }
        let extra = self.rng.u8(..if what == b'p' { self.topics } else { 10 });
        let len = length(&mut self.rng, self.theme, what);
        let said = Said { what, key: dial.key, seq: dial.seq, extra, len };
        let text = said.write();
        let sent = match std::str::from_utf8(&text) {
            Ok(text) if self.rng.bool() => ws.send(Message::Text(text)),
            _ => ws.send(Message::Binary(&text)),
        };
        dial.seq += u32::from(sent.is_ok());
        if self.rng.u8(..6) == 0 && ws.is_open() {
            let payload = dial.seq.to_string().into_bytes();
            ws.ping(&payload);
        }
    }
}

impl Application for App {
    type Data = Data;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Data>, Reject> {
        let key = Self::key(request.path()).ok_or(Reject::NOT_FOUND)?;
        Ok(Accept::new(Data { key }))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Data>, _: Option<&UpgradeResponse<'_>>) {
        let key = ws.data().key;
        let mut books = self.books.borrow_mut();
        let draft = u64::from(ws.dialect() == Dialect::Hybi02);
        books.note("open", &[key as u64, u64::from(self.client), draft]);
        books.accounts[key].opened[usize::from(self.client)] = true;
        if self.client {
            let dial = self.dials.iter_mut().find(|dial| dial.key == key);
            if let Some(dial) = dial {
                (dial.open, dial.next) = (true, books.now + 1);
            }
            return;
        }
        books.remotes.push((key, ws.remote()));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Data>, message: Message<'_>) {
        if self.client {
            let key = ws.data().key;
            self.books.borrow_mut().received(key, message.payload());
        } else {
            self.serve(ws, message);
        }
    }

    fn part_bytes(&self) -> Option<NonZeroU32> {
        None
    }

    fn on_part(&mut self, _: &mut WebSocket<'_, Data>, _: Part<'_>) {}

    fn on_pong(&mut self, _: &mut WebSocket<'_, Data>, _: &[u8]) {}

    fn on_drain(&mut self, _: &mut WebSocket<'_, Data>) {}

    fn on_closing(&mut self, data: &mut Data, code: CloseCode, reason: &str) {
        if self.client {
            let code = Some(code.get());
            self.books.borrow_mut().received_close(data.key, code, reason.as_bytes());
        }
    }

    fn on_close(&mut self, _: &mut Context, data: Data, reason: CloseReason) {
        if let Some(dial) = self.dials.iter_mut().find(|dial| dial.key == data.key) {
            dial.next = Time::MAX;
        }
        self.books.borrow_mut().closed(data.key, usize::from(self.client), reason);
    }

    fn on_turn(&mut self, fleet: &mut Fleet<'_, Data>, _: Instant) -> Option<Instant> {
        let time = self.books.borrow().now;
        let mut next = self.operate(fleet, time);
        self.holds.retain(|(until, id)| {
            if *until > time {
                next = next.min(*until);
                return true;
            }
            if let Some(mut ws) = fleet.socket(*id) {
                ws.hold_reading(false);
            }
            false
        });
        (next < Time::MAX).then(|| self.base + duration(next))
    }
}
