//! What is held against the engine after each round, and at the end.

use std::time::Duration;

use super::{Seat, World};
use crate::outcome::CloseReason;
use crate::sim::books::{Books, Seen};
use crate::sim::{MILLI, Outcome, Promise, Time};

/// A tick of the shards' clock, and more than a round takes.
const SLACK: Time = 70 * MILLI;

/// How late the engine may be with somebody who is silent, beside the quarter of the timeout: a few ticks, for
/// the parts of them that have passed, and for a look.
const PATIENCE: Time = 320 * MILLI;

/// What a turn may bring beyond the budget, beside what it sends: what is not yet a block of its arena.
const TURN_BYTES: usize = 24 << 10;
/// What the queue of a connection may take beyond its limit: whoever has nothing waiting is sent anything.
const QUEUE_BYTES: usize = 1 << 10;

/// Messages of one connection in one round: a slice of a small world, and what may be begun before it is
/// spent.
const SLICE: u64 = 18;

fn micros(time: Duration) -> Time {
    u64::try_from(time.as_micros()).unwrap_or(Time::MAX)
}

impl World {
    /// Judges what a round of a shard has done.
    pub(super) fn judge(&mut self, at: usize) {
        self.judge_ended(at);
        self.judge_silent(at);
        self.judge_cuts(at);
        self.judge_counters(at);
        self.judge_memory(at);
        self.judge_slices();
    }

    /// Whoever was told to be silent, or too slow to close, must have been (P1).
    fn judge_ended(&mut self, at: usize) {
        let now = self.now;
        let seat = &mut self.seats[at];
        let books = &mut *self.books.borrow_mut();
        let side = usize::from(seat.client);
        for ended in std::mem::take(&mut books.ended) {
            let net = &self.net;
            let of =
                |link: Option<usize>| link.is_some_and(|link| net.links[link].key == ended.key);
            let place = seat.driver.conns.iter().position(|conn| of(conn.link));
            let Some(place) = place else { continue };
            seat.driver.conns[place].ended = Some(now);
            let timeout = match ended.reason {
                CloseReason::Idle => seat.config.idle_timeout,
                CloseReason::TimedOut => seat.config.close_timeout,
                _ => continue,
            };
            let drained = books.drain.is_some_and(|(_, deadline)| now >= deadline);
            if !books.accounts[ended.key].opened[side] || drained || seat.client {
                continue;
            }
            let [open, closing, _] = seat.driver.known_progress(place, net, now);
            let progress = if ended.reason == CloseReason::Idle { open } else { closing };
            let silent = now.saturating_sub(progress);
            if silent + MILLI < micros(timeout) {
                let text = format!(
                    "{} was ended as {:?} {} ms after its last progress, of {timeout:?}",
                    ended.key,
                    ended.reason,
                    silent / MILLI,
                );
                books.accuse(Promise::Alive, text);
            }
            judge_grace(seat, books, ended.key, now);
        }
    }

    /// Whoever makes no progress is ended, a quarter of the timeout later at the latest (P1).
    fn judge_silent(&mut self, at: usize) {
        let now = self.now;
        let seat = &mut self.seats[at];
        let timeout = micros(seat.config.idle_timeout);
        if timeout == 0 {
            return;
        }
        // What was taken while nobody looked may have been taken just before.
        let late = seat.driver.stopped.max(seat.driver.late.unwrap_or(0));
        let excused = late + timeout.max(micros(grace(seat)));
        for place in 0..seat.driver.conns.len() {
            let Some(since) = seat.driver.silent_since(place, &self.net, now) else { continue };
            let end = (since + timeout + timeout / 4).max(excused) + PATIENCE;
            if now > end {
                let key = seat.driver.conns[place].link.map(|link| self.net.links[link].key);
                let text = format!(
                    "{} is there {} ms after its last progress, of {} ms",
                    key.unwrap_or(usize::MAX),
                    (now - since) / MILLI,
                    timeout / MILLI,
                );
                self.books.borrow_mut().accuse(Promise::Alive, text);
            }
        }
    }

    /// Whoever was cut with something to be sent must have taken nothing for long (P1).
    fn judge_cuts(&mut self, at: usize) {
        let now = self.now;
        let seat = &mut self.seats[at];
        let books = &mut *self.books.borrow_mut();
        let side = usize::from(seat.client);
        for cut in std::mem::take(&mut seat.driver.cuts) {
            let link = &self.net.links[cut.link];
            let key = link.key;
            books.note("cut", &[key as u64, cut.bytes as u64]);
            let Some(account) = books.accounts.get_mut(key) else { continue };
            account.cut = true;
            let given_up = match account.reasons[side] {
                None => true,
                Some(reason) => matches!(
                    reason,
                    CloseReason::SlowConsumer
                        | CloseReason::Memory
                        | CloseReason::HungUp
                        | CloseReason::Transport(_)
                        | CloseReason::TimedOut
                ),
            };
            let drained = books.drain.is_some_and(|(_, deadline)| now >= deadline);
            let short = seat.ledger.peak() > seat.ledger.budget();
            let silent = now.saturating_sub(cut.since);
            let patient = silent + MILLI >= micros(seat.config.close_timeout);
            if given_up || cut.gone || drained || short || patient || seat.client {
                continue;
            }
            let reason = account.reasons[side];
            let text = format!(
                "{key} ({reason:?}) lost {} bytes {} ms after it had taken some",
                cut.bytes,
                silent / MILLI,
            );
            books.accuse(Promise::Alive, text);
        }
    }

    fn judge_counters(&self, at: usize) {
        let now = self.now;
        let seat = &self.seats[at];
        let books = &mut *self.books.borrow_mut();
        let lost = seat.driver.machine.counters().publications_lost;
        let may_lose =
            books.drain.is_some_and(|(from, until)| now + MILLI >= from + (until - from) / 2);
        if lost > 0 && !may_lose {
            let text = format!("{lost} publications were lost on shard {at} without need");
            books.accuse(Promise::Publications, text);
        }
    }

    /// What is held stays within the budget, and what waits for one connection within its limit (P3).
    fn judge_memory(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let books = &mut *self.books.borrow_mut();
        let (held, budget) = (seat.ledger.held(), seat.ledger.budget());
        // What the turn sends was in its arena when the budget was looked at, and is copied where it blocks.
        let excused = seat.driver.brought + seat.driver.held_by_ended();
        let beyond = held.saturating_sub(budget.saturating_add(excused));
        if beyond > TURN_BYTES {
            books.accuse(Promise::Memory, format!("shard {at} holds {beyond} bytes too many"));
        }
        let most = seat.config.max_outbound_bytes;
        for conn in &seat.driver.conns {
            let queue = seat.driver.machine.queue_memory(conn.id);
            if queue > most + QUEUE_BYTES {
                let text = format!("a queue takes {queue} bytes beside what is in it, of {most}");
                books.accuse(Promise::Memory, text);
            }
        }
    }

    /// A round reads no more from one connection than a slice (P4).
    fn judge_slices(&self) {
        let books = &mut *self.books.borrow_mut();
        for (key, messages) in std::mem::take(&mut books.delivered) {
            if messages > SLICE {
                let text = format!("{messages} messages of {key} were read in one round");
                books.accuse(Promise::Slices, text);
            }
        }
    }

    // ---- the end

    pub(super) fn end(self) -> Outcome {
        let Self { seats, books, net, now, .. } = self;
        let turns = seats.iter().map(|seat| seat.driver.turns).sum();
        if books.borrow().violation.is_none() {
            settle(&seats, &mut books.borrow_mut());
        }
        drop(net);
        let mut held = Vec::new();
        for Seat { driver, ledger, client, .. } in seats {
            let cut = !driver.holds_nothing() && !client;
            // This is not taken off when a shard goes.
            let (left, others) = (!driver.holds_nothing(), driver.machine.held_by_others());
            drop(driver);
            held.push((if left { 0 } else { ledger.held() - others }, cut));
        }
        let mut books = books.borrow_mut();
        for (at, (held, cut)) in held.into_iter().enumerate() {
            let in_time = books.drain.is_none_or(|(_, deadline)| now < deadline);
            if held > 0 && books.violation.is_none() {
                books
                    .accuse(Promise::Counters, format!("shard {at} holds {held} bytes at the end"));
            }
            if cut && in_time && books.violation.is_none() {
                let text = format!("shard {at} left although connections were there");
                books.accuse(Promise::Counters, text);
            }
        }
        Outcome {
            violation: books.violation.take(),
            hash: books.trace.hash,
            events: books.trace.events,
            turns,
            trace: books.trace.text.take().unwrap_or_default(),
        }
    }
}

/// How long nobody is silent after a late wake.
fn grace(seat: &Seat) -> Duration {
    let config = &seat.config;
    let times = [config.ping_interval, config.idle_timeout, config.close_timeout];
    times.into_iter().find(|time| !time.is_zero()).unwrap_or_default()
}

/// After a late wake nobody is silent before a ping could have been answered.
fn judge_grace(seat: &Seat, books: &mut Books, key: usize, now: Time) {
    let grace = grace(seat);
    if let Some(late) = seat.driver.late
        && now + SLACK < late + micros(grace)
    {
        let text = format!("{key} was ended {} ms after a late wake", (now - late) / MILLI);
        books.accuse(Promise::Alive, text);
    }
}

/// What everybody was owed at the end.
fn settle(seats: &[Seat], books: &mut Books) {
    let mut dropped = Vec::new();
    for seat in seats.iter().filter(|seat| !seat.client) {
        dropped.push(seat.driver.machine.counters().deliveries_dropped);
    }
    for account in &mut books.accounts {
        match account.reasons[1] {
            None => {}
            Some(CloseReason::Clean(_)) => {
                // Draft-02's clients are not told of a Close by itself.
                (account.seen, account.got_close) = (Some(Seen::End), true);
            }
            Some(_) => account.faithless = true,
        }
    }
    books.settle(&dropped);
    for (at, seat) in seats.iter().enumerate() {
        let machine = &seat.driver.machine;
        let snapshot = machine.snapshot();
        if seat.driver.holds_nothing() && snapshot.open > 0 {
            let text = format!("shard {at} has {} connections at the end", snapshot.open);
            books.accuse(Promise::Counters, text);
        }
    }
}
