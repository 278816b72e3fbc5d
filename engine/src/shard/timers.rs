//! Timeouts and keep-alive pings.

use super::machine::Action;
use super::progress::{between_looks, last_progress, timeout};
use super::send_batch::SendBatch;
use super::slot::{Ending, Slot};
use super::table::ConnectionId;
use super::wheel::{Tick, ticks};
use super::{Application, BatchOutput, Shard};
use crate::config::Config;
use crate::conn::State;
use crate::fault::{Fault, is_back};
use crate::outcome::CloseReason;
use crate::wire::CloseCode;

/// What is due next on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The connection's socket is to be looked at.
    Look,
    /// The phase has lasted too long.
    TimedOut,
    /// Another address is tried.
    NextAddress,
    /// The peer has been silent too long.
    Idle,
    /// The peer has been silent for a while.
    Ping,
    /// The kernel has not let go of it.
    Release,
    /// It is seen to whether there is anything to look at.
    Nothing,
}

/// The tick at which `timeout` has passed since `start`: the tick it began in had partly passed.
const fn after(start: Tick, timeout: Tick) -> Tick {
    start.saturating_add(timeout).saturating_add(1)
}

/// When the next thing is due, and what, at `now`. Nobody is held to be silent before `grace`.
fn deadline<D>(slot: &Slot<D>, settings: &Config, grace: Tick, now: Tick) -> Option<(Tick, Due)> {
    if slot.ending == Ending::Now {
        return Some((after(slot.since, ticks(settings.close_timeout)), Due::Release));
    }
    let attempt = slot.opening.as_ref().and_then(|opening| opening.attempt_until());
    if let Some(until) = attempt.filter(|_| slot.ending == Ending::No) {
        return Some((until, Due::NextAddress));
    }
    let refused = slot.opening.as_ref().and_then(|opening| opening.refused_since());
    if let Some((since, patience)) = refused.filter(|_| slot.ending == Ending::No) {
        let patience = ticks(patience.min(settings.handshake_timeout));
        return Some((after(since, patience), Due::TimedOut));
    }
    let open = slot.ending == Ending::No && !slot.closing && slot.state() == State::Open;
    let silence =
        (!open || !settings.idle_timeout.is_zero()).then(|| silence(slot, settings, grace, now));
    // One ping per interval of silence, counted from the last ping, too: a lost pong costs nothing
    // while there is time for another. Behind output that waits none would arrive.
    let pings = open && !settings.ping_interval.is_zero() && !slot.side.send.is_blocked();
    let ping = pings
        .then(|| (after(slot.heard.max(slot.since), ticks(settings.ping_interval)), Due::Ping));
    match (silence, ping) {
        (Some(silence), Some(ping)) => Some(if ping.0 <= silence.0 { ping } else { silence }),
        (silence, ping) => silence.or(ping),
    }
}

/// When silence ends the connection, or its socket is looked at before that.
fn silence<D>(slot: &Slot<D>, settings: &Config, grace: Tick, now: Tick) -> (Tick, Due) {
    let watch = slot.watch.as_deref();
    let quarter = between_looks(slot, settings);
    if let Some(asked) = watch.and_then(|watch| watch.asked) {
        return (after(asked, quarter), Due::Look);
    }
    let start = last_progress(slot);
    let end = after(start, ticks(timeout(slot, settings))).max(grace);
    let end = end.max(watch.map_or(0, |watch| watch.not_before));
    let looked = watch.map_or(0, |watch| watch.looked);
    let next = after(start.max(looked), quarter);
    let opening = slot.ending == Ending::No && slot.state() == State::Opening;
    let open = slot.ending == Ending::No && !slot.closing;
    let outstanding = watch.is_some_and(|watch| watch.outstanding);
    let waits = !open || slot.side.send.is_blocked() || outstanding;
    if next < end && !opening {
        if waits || slot.was_sent() && !is_back(Fault::SentIsSeenAtTheEnd) {
            return (next, Due::Look);
        }
        // Sending tells nobody, so it is seen to now and then.
        let past = now.saturating_sub(next) / (quarter + 1) + u32::from(now >= next);
        let again = next.saturating_add(past.saturating_mul(quarter + 1));
        if again < end {
            return (again, Due::Nothing);
        }
    }
    if looked < end && !is_back(Fault::NoLookBeforeDeadline) {
        return (end, Due::Look);
    }
    (end, if open && !opening { Due::Idle } else { Due::TimedOut })
}

impl<A: Application> Shard<A> {
    /// Puts the connection's next deadline into the wheel, unless an entry comes up before it: that
    /// one will put itself back. An entry that was overtaken is ignored when it comes up.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        let (now, lateness) = (self.tick, self.lateness);
        let Some(slot) = self.table.find(id) else { return };
        let grace = lateness.until(slot, &self.context.settings);
        // With keep-alive off nothing is due, but a later phase will schedule again.
        if let Some((at, _)) = deadline(slot, &self.context.settings, grace, now)
            && at < slot.scheduled
        {
            slot.scheduled = self.wheel.schedule(id, at);
        }
    }

    pub(super) fn run_timers(&mut self, sends: &mut SendBatch) {
        let mut expired = std::mem::take(&mut self.expired);
        while let Some(at) = self.wheel.expired(self.tick, &mut expired) {
            for id in expired.drain(..) {
                self.check(id, at, sends);
            }
        }
        self.expired = expired;
        self.attend();
    }

    fn check(&mut self, id: ConnectionId, at: Tick, sends: &mut SendBatch) {
        let Some(slot) = self.table.find(id) else { return };
        if slot.scheduled != at {
            return;
        }
        slot.scheduled = Tick::MAX;
        self.decide(id, sends);
    }

    /// Does what is due, or sees to it that it will be.
    pub(super) fn decide(&mut self, id: ConnectionId, sends: &mut SendBatch) {
        let (tick, lateness) = (self.tick, self.lateness);
        let Some(slot) = self.table.find(id) else { return };
        let grace = lateness.until(slot, &self.context.settings);
        let Some((due, what)) = deadline(slot, &self.context.settings, grace, tick) else { return };
        if tick < due {
            return self.schedule(id);
        }
        match what {
            Due::NextAddress => {
                self.try_next(id, libc::ETIMEDOUT);
                self.schedule(id);
            }
            Due::Look => self.look(id, sends),
            Due::Nothing => self.schedule(id),
            Due::TimedOut => {
                // With input unread the kernel would reset it, and take from the peer what it was
                // told.
                let unread = slot.watch.as_ref().is_some_and(|watch| watch.unread > 0);
                let first = slot.ending == Ending::No && slot.closing;
                let ending = if first && unread { Ending::Fin } else { Ending::Now };
                self.finish(id, CloseReason::TimedOut, ending);
            }
            Due::Idle => {
                // It may live and only have been silent.
                let mut out = BatchOutput {
                    id,
                    send: &mut slot.side.send,
                    sends,
                    deflate_pool: &mut self.context.deflate_pool,
                };
                slot.side.outbound.tell(CloseCode::GOING_AWAY, "silent for too long", &mut out);
                self.finish(id, CloseReason::Idle, Ending::Fin);
            }
            Due::Ping => {
                slot.since = tick;
                self.context.counters.pings_out += 1;
                let before = slot.side.send.handed();
                let mut out = BatchOutput {
                    id,
                    send: &mut slot.side.send,
                    sends,
                    deflate_pool: &mut self.context.deflate_pool,
                };
                slot.side.outbound.ping(&[], &mut out);
                slot.count_ping(before);
                self.schedule(id);
            }
            Due::Release => {
                slot.since = tick;
                self.requested.push(Action::Close(id));
                self.schedule(id);
            }
        }
    }
}
