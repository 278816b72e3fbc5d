//! Who makes progress is alive: what moves a connection's clock, and the look at its socket before any
//! deadline acts.
//!
//! Each byte that comes moves it, and each byte that the peer takes. What the peer has taken of what lies
//! in the kernel is known by asking only, and of a peer that takes its time everything may lie there. So
//! before silence ends a connection its socket is looked at, and while output waits now and then before,
//! so that there is something to compare with.

use std::time::{Duration, Instant};

use super::machine::{Action, Look};
use super::slot::{Ending, Slot};
use super::table::ConnectionId;
use super::turn::Turn;
use super::wheel::{TICK, Tick, ticks};
use super::{Application, Shard};
use crate::config::Config;
use crate::conn::State;
use crate::fault::{Fault, is_back};

/// What is known of a connection's socket from the times that it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When it was last looked at.
    pub(super) looked: Tick,
    /// When somebody went to look, until he is back.
    pub(super) asked: Option<Tick>,
    /// Since when the peer is known to have taken nothing.
    since: Tick,
    /// How many bytes it had taken then.
    taken: u32,
    /// Bytes of keep-alive pings since: that its kernel takes them is no sign of life.
    pub(super) pinged: u32,
    /// There was output that it had not taken.
    outstanding: bool,
    /// No deadline acts before.
    pub(super) not_before: Tick,
    /// Bytes that were waiting to be read.
    pub(super) unread: u32,
}

/// Which time is running.
pub(super) fn timeout<D>(slot: &Slot<D>, settings: &Config) -> Duration {
    if slot.ending != Ending::No || slot.closing {
        settings.close_timeout
    } else if slot.state() == State::Opening {
        settings.handshake_timeout
    } else {
        settings.idle_timeout
    }
}

/// How long it is between two looks.
pub(super) fn between_looks<D>(slot: &Slot<D>, settings: &Config) -> Tick {
    (ticks(timeout(slot, settings)) / 4).max(1)
}

/// When the peer last made progress, or the present phase began.
pub(super) fn last_progress<D>(slot: &Slot<D>) -> Tick {
    if is_back(Fault::CloseTimeoutFromQueueing) && (slot.closing || slot.ending != Ending::No) {
        return slot.since;
    }
    match slot.ending {
        Ending::No if slot.state() == State::Opening => slot.since,
        Ending::No if slot.closing => slot.since.max(slot.heard).max(slot.taken),
        Ending::No => slot.heard.max(slot.taken),
        // What it still sends is read and dropped, and keeps nothing alive.
        Ending::Fin | Ending::Last | Ending::Await => slot.since.max(slot.taken),
        Ending::Now => slot.since,
    }
}

/// How late a wake is that keeps deadlines from acting, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lateness {
    from: Duration,
    grace: Tick,
    /// When the loop was to be back.
    asked: Option<Instant>,
    /// Nobody is silent before: he may not have been asked, or heard, in time.
    pub(super) until: Tick,
}

impl Lateness {
    pub(super) fn new(settings: &Config) -> Self {
        let Config { idle_timeout, ping_interval, close_timeout, .. } = settings;
        let running = [*idle_timeout, *ping_interval, *close_timeout];
        let shortest = running.into_iter().filter(|timeout| !timeout.is_zero()).min();
        let grace = if ping_interval.is_zero() { *idle_timeout } else { *ping_interval };
        Self {
            from: (shortest.unwrap_or_default() / 4).max(4 * TICK),
            grace: ticks(if grace.is_zero() { *close_timeout } else { grace }) + 1,
            asked: None,
            until: 0,
        }
    }

    pub(super) const fn sleep_until(&mut self, deadline: Option<Instant>) {
        self.asked = deadline;
    }

    #[inline]
    pub(super) fn woke(&mut self, now: Instant, tick: Tick) {
        if let Some(asked) = self.asked
            && now.saturating_duration_since(asked) >= self.from
            && !is_back(Fault::NoGraceAfterLateWake)
        {
            self.until = tick + self.grace;
        }
    }
}

impl<A: Application> Shard<A> {
    /// Has the socket looked at. Whoever was sent and did not come back has seen nothing.
    pub(super) fn look(&mut self, id: ConnectionId, turn: &mut Turn) {
        let tick = self.tick;
        let Some(slot) = self.table.find(id) else { return };
        let watch = slot.watch.get_or_insert_default();
        if watch.asked.take().is_some() {
            watch.looked = tick;
            return self.decide(id, turn);
        }
        watch.asked = Some(tick);
        self.requested.push(Action::Look(id));
        self.schedule(id);
    }

    /// Takes in what was seen, and does what is due.
    pub(super) fn saw(&mut self, id: ConnectionId, look: Look, turn: &mut Turn) {
        let tick = self.tick;
        let settings = &self.world.settings;
        let Some(slot) = self.table.find(id) else { return };
        let reads = !slot.is_paused(settings.pause_reading_bytes);
        let outstanding = slot.side.send.is_blocked() || look.untaken > 0;
        let (open, opening) = (slot.state() == State::Open, slot.state() == State::Opening);
        let heeds_input = reads && slot.ending == Ending::No;
        let (progress, quarter) = (last_progress(slot), between_looks(slot, settings));
        let whole = ticks(timeout(slot, settings));
        let watch = slot.watch.get_or_insert_default();
        // What was seen before the last progress is nothing to compare with.
        let comparable = watch.outstanding && watch.looked >= progress;
        let taken = look.given.wrapping_sub(look.untaken);
        // What it has taken since, it may have taken just now.
        let known = watch.taken.wrapping_add(if comparable { 0 } else { watch.pinged });
        let moved = taken.wrapping_sub(known).cast_signed() > 0;
        watch.pinged = 0;
        if moved || !comparable {
            (watch.since, watch.taken) = (tick, taken);
        }
        watch.not_before = match () {
            // It has said something: that is read first.
            () if heeds_input && look.unread > 0 => tick + quarter,
            // Silence is no fault of one that nobody listens to.
            () if outstanding && !opening => watch.since + whole,
            () => 0,
        };
        // Nobody listens to it, and it has said more. What was read since the last look has made room.
        let was_read = slot.heard > watch.looked || look.unread < watch.unread;
        let before = if was_read { 0 } else { watch.unread };
        let more = !heeds_input && slot.ending == Ending::No && look.unread > before;
        (watch.looked, watch.asked) = (tick, None);
        (watch.outstanding, watch.unread) = (outstanding, look.unread);
        let moved = moved && !is_back(Fault::ProgressOnlyWhenAllLeft);
        let excused = open && !reads && !outstanding && !is_back(Fault::SilenceWhileNotReading);
        if more && !is_back(Fault::SilenceWhileNotReading) {
            slot.heard = tick;
        }
        if moved || excused {
            slot.taken = tick;
        }
        self.decide(id, turn);
    }
}

#[cfg(test)]
mod tests;
