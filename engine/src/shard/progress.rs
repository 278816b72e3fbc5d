//! Who makes progress is alive: what moves a connection's clock, and the look at its socket before any
//! deadline acts.
//!
//! Each byte that comes moves it, and each byte that the peer takes. What the peer has taken of what lies
//! in the kernel is known by asking only, and of a peer that takes its time everything may lie there. So
//! before silence ends a connection its socket is looked at. Four times per timeout it is seen to whether
//! there is anything to look at before that, output that was sent or that waits: a byte is known to have been
//! taken at most a quarter of the timeout later.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::machine::{Action, Look};
use super::send_batch::SendBatch;
use super::slot::{Ending, Slot};
use super::table::ConnectionId;
use super::wheel::{TICK, Tick, ticks};
use super::{Application, Shard};
use crate::config::Config;
use crate::conn::State;
use crate::fault::{Fault, is_back};

/// What is known of a connection's socket from the times that it was looked at. All counts of bytes wrap
/// round.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When it was last looked at.
    pub(super) looked: Tick,
    /// When somebody went to look, until he is back.
    pub(super) asked: Option<Tick>,
    /// How many bytes had been queued and given to the kernel then, and pings since.
    pub(super) handed: u32,
    /// As `handed`, for the look that is under way.
    pub(super) giving: u32,
    /// How many bytes the peer had taken, of what the kernel had been given.
    taken: u32,
    /// Behind so many there is at most a ping: that the peer's kernel takes it is no sign of life.
    spoken: u32,
    /// Where the last pings begin in all that was queued, and end.
    pings: Range<u32>,
    /// There was output before that which it had not taken.
    pub(super) outstanding: bool,
    /// No deadline acts before.
    pub(super) not_before: Tick,
    /// Bytes that were waiting to be read.
    pub(super) unread: u32,
}

/// Bytes of a keep-alive ping, at most, and of a record of TLS with one.
const PING: u32 = 6;
const PING_RECORD: u32 = 32;
/// A count of bytes falls by less than this: the end of a stream counts as a byte while it waits, and on a
/// unix socket memory is counted. A peer may have taken gigabytes since the last look.
const FALL: u32 = 1 << 24;

impl Watch {
    /// What is known of one whose peer had taken so many bytes, all there were but for pings.
    pub(super) fn new(seen: u32) -> Self {
        Self { handed: seen, giving: seen, taken: seen, spoken: seen, ..Self::default() }
    }

    /// A ping was queued that takes these bytes of all that was.
    pub(super) fn count_ping(&mut self, ping: Range<u32>) {
        let bytes = ping.end.wrapping_sub(ping.start);
        self.handed = self.handed.wrapping_add(bytes);
        self.giving = self.giving.wrapping_add(bytes);
        let start = if self.pings.end == ping.start { self.pings.start } else { ping.start };
        self.pings = start..ping.end;
    }

    /// How many bytes of pings are the last ones of so many that were queued.
    const fn pings_behind(&self, queued: u32) -> u32 {
        if self.pings.end == queued { queued.wrapping_sub(self.pings.start) } else { 0 }
    }

    /// Takes in what was seen of output; says whether the peer has taken any since the last time, other than
    /// pings. A ping has at most so many bytes, and if something else was sent, there are so many of pings
    /// behind it.
    fn compare(&mut self, look: Look, ping: u32, behind: u32) -> bool {
        let taken = look.given.wrapping_sub(look.untaken);
        // Pings are counted in `handed` when they are queued, so that what is more was something else.
        let news = is_ahead(self.giving, self.handed);
        let waited = is_ahead(self.spoken, self.taken);
        if news {
            self.handed = self.giving;
        }
        if look.untaken == 0 {
            (self.taken, self.spoken, self.outstanding) = (taken, taken, false);
            return news || waited;
        }
        if !news && !waited && look.untaken <= ping {
            // It may be a ping, or the end of the stream.
            self.outstanding = false;
            return false;
        }
        // Older pings that wait wait for their peer to read.
        let spoken = look.given.wrapping_sub(if news { behind } else { ping });
        if (news || look.untaken > ping) && is_ahead(spoken, self.spoken) {
            self.spoken = spoken;
        }
        let outstanding = is_ahead(self.spoken, taken);
        let heard = if outstanding { taken } else { self.spoken };
        let more = is_ahead(heard, self.taken);
        (self.taken, self.outstanding) = (taken, outstanding);
        more
    }
}

/// Whether one count of bytes is larger than another that may be smaller by gigabytes.
const fn is_ahead(one: u32, other: u32) -> bool {
    let by = one.wrapping_sub(other);
    by > 0 && by < u32::MAX - FALL
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
    /// When a wake was last so late.
    late: Option<Tick>,
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
            late: None,
        }
    }

    pub(super) const fn sleep_until(&mut self, deadline: Option<Instant>) {
        self.asked = deadline;
    }

    /// Nobody is silent before: he may not have been asked, or heard, in time. Nothing is asked of one that
    /// ends: he has one timeout more to take what waits for him.
    pub(super) fn until<D>(self, slot: &Slot<D>, settings: &Config) -> Tick {
        let ends = slot.ending != Ending::No;
        let most = if ends { ticks(settings.close_timeout) } else { Tick::MAX };
        self.late.map_or(0, |late| late + self.grace.min(most))
    }

    #[inline]
    pub(super) fn woke(&mut self, now: Instant, tick: Tick) {
        if let Some(asked) = self.asked
            && now.saturating_duration_since(asked) >= self.from
            && !is_back(Fault::NoGraceAfterLateWake)
        {
            self.late = Some(tick);
        }
    }
}

impl<A: Application> Shard<A> {
    /// Has the socket looked at. Whoever was sent and did not come back has seen nothing.
    pub(super) fn look(&mut self, id: ConnectionId, sends: &mut SendBatch) {
        let tick = self.tick;
        let Some(slot) = self.table.find(id) else { return };
        let watch = slot.watch();
        if watch.asked.take().is_some() {
            watch.looked = tick;
            return self.decide(id, sends);
        }
        watch.asked = Some(tick);
        self.requested.push(Action::Look(id));
        self.schedule(id);
    }

    /// How many bytes the kernel has been given of a connection whose socket is looked at now.
    pub(super) fn count_given(&mut self, id: ConnectionId, sends: &SendBatch) -> u32 {
        let Some(slot) = self.table.find(id) else { return 0 };
        let given = slot.side.send.given(sends);
        slot.watch().giving = given;
        given
    }

    /// Takes in what was seen, and does what is due.
    pub(super) fn saw(&mut self, id: ConnectionId, look: Look, sends: &mut SendBatch) {
        let tick = self.tick;
        let settings = &self.context.settings;
        let Some(slot) = self.table.find(id) else { return };
        let reads = !slot.is_paused(settings.pause_reading_bytes);
        let blocked = slot.side.send.is_blocked();
        let open = slot.state() == State::Open;
        let (ending, heard, secure) = (slot.ending != Ending::No, slot.heard, slot.secure);
        let heeds_input = reads && !ending;
        let quarter = between_looks(slot, settings);
        let queued = slot.side.send.handed();
        let watch = slot.watch();
        // What a layer below has added is not known before the first look.
        let unknown = secure && watch.looked == 0;
        let (ping, behind) = match (secure, watch.pings_behind(queued)) {
            (false, behind) => (PING, behind),
            (true, 0) => (PING_RECORD, 0),
            (true, _) => (PING_RECORD, PING_RECORD),
        };
        let moved = watch.compare(look, ping, behind) || unknown;
        watch.outstanding |= blocked;
        // It has said something: that is read first.
        watch.not_before = if heeds_input && look.unread > 0 { tick + quarter } else { 0 };
        // Nobody listens to it, and it has said more. What was read since the last look has made room.
        let was_read = heard >= watch.looked || look.unread < watch.unread;
        let before = if was_read { 0 } else { watch.unread };
        let more = !heeds_input && !ending && look.unread > before;
        (watch.looked, watch.asked, watch.unread) = (tick, None, look.unread);
        let waits = blocked || look.untaken > 0;
        let moved = moved && !is_back(Fault::ProgressOnlyWhenAllLeft);
        // Silence is no fault of one that nobody listens to.
        let listened = more || open && !reads && !waits;
        if moved || listened && !is_back(Fault::SilenceWhileNotReading) {
            slot.taken = tick;
        }
        self.decide(id, sends);
        if !waits {
            self.forget_watch(id);
        }
    }

    /// Gives back the memory of what is known of a socket where one number says it all.
    fn forget_watch(&mut self, id: ConnectionId) {
        let Some(slot) = self.table.find(id) else { return };
        let open = slot.ending == Ending::No && slot.state() == State::Open;
        let Some(watch) = slot.watch.as_ref().filter(|_| open && !slot.secure) else { return };
        if watch.asked.is_none() && watch.not_before == 0 && watch.unread == 0 {
            slot.seen = watch.handed;
            slot.watch = None;
        }
    }
}

#[cfg(test)]
mod tests;
