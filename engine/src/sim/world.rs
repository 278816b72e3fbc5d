//! A world: it is built from a plan, runs until everything has ended, and is judged all the while.

mod judge;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use fastrand::Rng;

use super::app::{App, Dial};
use super::books::{Account, Books, MESSAGE_MIN, OUTSIDE, Said};
use super::driver::Driver;
use super::net::Net;
use super::peer::{self, Peer};
use super::plan::{Plan, duration};
use super::{Cuts, MILLI, Outcome, Promise, SECOND, Time};
use crate::config::Config;
use crate::conn::Message;
use crate::hub::{Hub, Publisher};
use crate::memory::Ledger;
use crate::shard::Shard;
use crate::shard::topics::Topics;
use crate::shard::wheel::TICK;
use crate::wire::CloseCode;

/// Steps after which a world should have ended.
const STEPS_MAX: u64 = 200_000;

/// When every world begins; only differences count.
fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// A shard with its driver, and what it was told.
struct Seat {
    driver: Driver,
    config: Arc<Config>,
    ledger: Ledger,
    client: bool,
}

/// One simulated world: servers, clients, peers and the network between them.
pub(super) struct World {
    plan: Plan,
    rng: Rng,
    now: Time,
    net: Net,
    books: Rc<RefCell<Books>>,
    seats: Vec<Seat>,
    hub: Arc<Hub>,
    client_hub: Option<Arc<Hub>>,
    peers: Vec<Peer>,
    publisher: Publisher,
    next_outside: Time,
    outside_seq: u32,
    drained: bool,
    client_drains_at: Time,
}

/// Something that may run now.
#[derive(Debug, Clone, Copy)]
enum Actor {
    Seat(usize),
    Peer(usize),
    Outside,
}

pub(super) fn run(seed: u64, cuts: &Cuts, text: bool) -> Outcome {
    let plan = Plan::new(seed, cuts);
    let mut world = World::new(plan, seed, text);
    world.live();
    world.end()
}

/// A stream of numbers of its own for each part of a world, so that one part can be left away without
/// changing what the others draw.
fn stream(seed: u64, part: u64) -> Rng {
    Rng::with_seed(seed ^ (part + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl World {
    fn new(plan: Plan, seed: u64, text: bool) -> Self {
        let mut accounts = Vec::new();
        for one in plan.peers.iter().chain(&plan.dials) {
            accounts.push(Account::new(one.server));
        }
        let books = Rc::new(RefCell::new(Books::new(accounts, plan.config.slow_consumer, text)));
        let hub = Hub::new(plan.servers, plan.config.mailbox_entries).expect("a waker");
        let hub = Arc::new(hub);
        let topics = plan.topics;
        let mut seats = Vec::new();
        let config = Arc::new(plan.config.clone());
        for server in 0..plan.servers {
            let app = app(&books, &plan, stream(seed, 10 + server as u64), Vec::new());
            let place = (Arc::clone(&hub), server);
            let rng = stream(seed, 20 + server as u64);
            seats.push(seat(app, &plan, Arc::clone(&config), place, rng));
        }
        let mut client_hub = None;
        if !plan.dials.is_empty() {
            let alone = Arc::new(Hub::new(1, 4).expect("a waker"));
            let dials = (plan.peers.len()..).zip(&plan.dials);
            let dials = dials.map(|(key, one)| dial(key, one)).collect();
            let app = app(&books, &plan, stream(seed, 30), dials);
            let config = Arc::new(plan.client_config.clone());
            let place = (Arc::clone(&alone), 0);
            seats.push(seat(app, &plan, config, place, stream(seed, 31)));
            client_hub = Some(alone);
        }
        let peers = plan.peers.iter().enumerate().filter(|(_, one)| one.start < Time::MAX);
        let peers = peers.map(|(key, one)| {
            Peer::new(key, one.clone(), plan.theme, topics, stream(seed, 100 + key as u64))
        });
        let mut rng = stream(seed, 0);
        Self {
            peers: peers.collect(),
            now: 0,
            net: Net::new(plan.servers, plan.nuisances, stream(seed, 1)),
            books,
            seats,
            publisher: Publisher { hub: Arc::clone(&hub) },
            hub,
            client_hub,
            next_outside: if plan.outside_ops > 0 { rng.u64(..SECOND) } else { Time::MAX },
            outside_seq: 0,
            drained: false,
            client_drains_at: plan.drain_at + rng.u64(..plan.drain_for + 20 * SECOND),
            plan,
            rng,
        }
    }

    fn live(&mut self) {
        for step in 0.. {
            if step == STEPS_MAX {
                let text = "the world does not end".to_owned();
                return self.books.borrow_mut().accuse(Promise::Liveness, text);
            }
            if self.books.borrow().violation.is_some() {
                return;
            }
            let carried = self.net.carry(self.now);
            self.command();
            if self.seats.iter().all(|seat| seat.driver.exited) {
                return;
            }
            let ready = self.ready();
            if ready.is_empty() {
                match self.next(carried) {
                    Some(next) => self.now = next.max(self.now),
                    None => {
                        let text = "nothing happens any more".to_owned();
                        return self.books.borrow_mut().accuse(Promise::Liveness, text);
                    }
                }
                continue;
            }
            self.books.borrow_mut().now = self.now;
            match ready[self.rng.usize(..ready.len())] {
                Actor::Seat(at) => self.round(at),
                Actor::Peer(at) => {
                    let (net, now) = (&mut self.net, self.now);
                    self.peers[at].step(net, &self.books, now);
                }
                Actor::Outside => self.interfere(),
            }
            self.now += self.rng.u64(1..300);
        }
    }

    /// What signals do.
    fn command(&mut self) {
        let now = self.now;
        self.plan.stops.retain(|(at, time)| {
            if *at > now {
                return true;
            }
            for seat in self.seats.iter_mut().filter(|seat| !seat.client) {
                seat.driver.stopped = now + time;
            }
            self.books.borrow_mut().note("stopped", &[*time]);
            false
        });
        if !self.drained && now >= self.plan.drain_at {
            self.drained = true;
            let deadline = now + self.plan.drain_for;
            let mut books = self.books.borrow_mut();
            books.now = now;
            books.drain = Some((now, deadline));
            books.note("drain", &[self.plan.drain_for]);
            self.hub.drain(base() + duration(deadline));
        }
        if self.client_drains_at <= now {
            self.client_drains_at = Time::MAX;
            if let Some(hub) = &self.client_hub {
                let accounts = &mut self.books.borrow_mut().accounts;
                for account in accounts.iter_mut().skip(self.plan.peers.len()) {
                    account.left = true;
                }
                hub.drain(base() + duration(now + 3 * SECOND));
            }
        }
    }

    fn ready(&self) -> Vec<Actor> {
        let now = self.now;
        let mut ready = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            if seat.driver.is_ready(&self.net, now) {
                ready.push(Actor::Seat(at));
            }
        }
        for (at, peer) in self.peers.iter().enumerate() {
            if peer.next(&self.net, now) <= now {
                ready.push(Actor::Peer(at));
            }
        }
        if self.next_outside <= now {
            ready.push(Actor::Outside);
        }
        ready
    }

    /// When something happens next.
    fn next(&self, carried: Option<Time>) -> Option<Time> {
        let now = self.now;
        let seats = self.seats.iter().filter_map(|seat| seat.driver.next(now));
        let peers = self.peers.iter().map(|peer| peer.next(&self.net, now));
        let drain = if self.drained { Time::MAX } else { self.plan.drain_at };
        let stops = self.plan.stops.iter().map(|(at, _)| *at);
        let others = [self.next_outside, drain, self.client_drains_at];
        let others = others.into_iter().chain(stops).chain(carried);
        seats.chain(peers).chain(others).filter(|at| *at < Time::MAX).min()
    }

    fn round(&mut self, at: usize) {
        self.seats[at].driver.round(&mut self.net, self.now);
        let busy = self.seats[at].driver.deadline.unwrap_or(0);
        let mut books = self.books.borrow_mut();
        for (what, numbers) in self.seats[at].driver.log.drain(..) {
            books.note(what, &numbers);
            if what == "close" || what == "closing" {
                books.socket_closed(numbers, self.now);
            }
        }
        books.note("round", &[at as u64, busy]);
        drop(books);
        self.judge(at);
    }

    /// Lets another thread of the servers' program do something.
    fn interfere(&mut self) {
        self.plan.outside_ops -= 1;
        let pause = self.rng.u64(..800 * MILLI);
        self.next_outside = if self.plan.outside_ops > 0 { self.now + pause } else { Time::MAX };
        if self.rng.bool() {
            let topic = self.rng.u8(..self.plan.topics);
            let most = if self.rng.bool() { 100 } else { 16_000 };
            let len = MESSAGE_MIN + self.rng.usize(..most);
            let seq = self.outside_seq;
            let said = Said { what: b'p', key: OUTSIDE, seq, extra: topic, len };
            let taken = self.publisher.publish(&topic.to_string(), Message::Binary(&said.write()));
            if taken.is_ok() {
                self.outside_seq += 1;
                self.books.borrow_mut().published(OUTSIDE, topic, seq);
            }
            return;
        }
        let mut books = self.books.borrow_mut();
        if books.remotes.is_empty() {
            return;
        }
        let (key, remote) = books.remotes[self.rng.usize(..books.remotes.len())].clone();
        if self.rng.u8(..5) > 0 {
            let said = Said { what: b'r', key, seq: 0, extra: 0, len: 30 };
            let sent = remote.send(Message::Binary(&said.write())).is_ok();
            books.note("remote", &[key as u64, u64::from(sent)]);
        } else if let Some(code) = CloseCode::new(4000) {
            books.accounts[key].dismissed = true;
            let closed = remote.close_with(code, &key.to_string()).is_ok();
            books.note("remote close", &[key as u64, u64::from(closed)]);
        }
    }
}

fn app(books: &Rc<RefCell<Books>>, plan: &Plan, rng: Rng, dials: Vec<Dial>) -> App {
    App {
        books: Rc::clone(books),
        base: base(),
        rng,
        theme: plan.theme,
        topics: plan.topics,
        holds: Vec::new(),
        client: !dials.is_empty(),
        dials,
    }
}

fn dial(key: usize, plan: &super::plan::PeerPlan) -> Dial {
    Dial {
        key,
        request: peer::request(key, plan),
        next: plan.start,
        plan: plan.clone(),
        id: None,
        open: false,
        seq: 0,
        held: false,
    }
}

fn seat(
    app: App,
    plan: &Plan,
    config: Arc<Config>,
    (hub, index): (Arc<Hub>, usize),
    rng: Rng,
) -> Seat {
    let client = app.client;
    let ledger = Ledger::new(config.memory_budget.unwrap_or(usize::MAX));
    let topics = Topics::new(config.max_topics, Arc::clone(&hub), index).on(ledger.clone());
    let shard = Shard::new(app, Arc::clone(&config), hub, index, base()).with_topics(topics);
    let running = [config.idle_timeout, config.ping_interval, config.close_timeout];
    let shortest = running.into_iter().filter(|time| !time.is_zero()).min().unwrap_or_default();
    let lateness = (shortest / 4).max(4 * TICK);
    let lateness = u64::try_from(lateness.as_micros()).unwrap_or(Time::MAX);
    let server = (!client).then_some(index);
    let driver = Driver::new(shard, base(), server, plan.nuisances, lateness, rng);
    Seat { driver, config, ledger, client }
}
