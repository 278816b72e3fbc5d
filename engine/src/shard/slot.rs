//! What a shard keeps per connection.

use super::deflate_pool::DeflatePool;
use super::machine::ReadInterest;
use super::opening::Opening;
use super::progress::Watch;
use super::round::Worked;
use super::send::SendSide;
use super::table::ConnectionId;
use super::topics::Subscriptions;
use super::wheel::Tick;
use super::{DIRECT_FROM, SMALL_READ, SMALL_READS};
use crate::conn::{self, Inbound, Inflater, Outbound, Role, State};
use crate::fault::{Fault, is_back};
use crate::handshake::Deflate;
use crate::wire::{Dialect, FIRST};

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection is alive.
    No,
    /// We will close TCP first: what is queued leaves, then our end, then we wait for the peer's.
    Fin,
    /// We close TCP as soon as what is queued has left; the peer has nothing more to say.
    Last,
    /// The peer will close TCP first; we wait for it.
    Await,
    /// At once.
    Now,
}

/// Who wants nothing read from a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hold(u8);

impl Hold {
    /// The application.
    pub(crate) const APPLICATION: Self = Self(1);
    /// The connection publishes, and too much that was published waits.
    pub(crate) const PUBLISHER: Self = Self(2);

    pub(crate) const fn has(self, who: Self) -> bool {
        self.0 & who.0 != 0
    }

    pub(crate) const fn set(&mut self, who: Self, held: bool) {
        self.0 = if held { self.0 | who.0 } else { self.0 & !who.0 };
    }

    pub(crate) const fn is_anybody(self) -> bool {
        self.0 != 0
    }
}

/// What a callback may change of its connection.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) outbound: Outbound,
    pub(crate) send: SendSide,
    pub(crate) subscriptions: Subscriptions,
    /// The application wants it gone without a closing handshake.
    pub(crate) ended: bool,
    /// Who wants nothing read from it.
    pub(crate) hold: Hold,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Slot<D> {
    pub(crate) inbound: Inbound,
    pub(crate) side: Side,
    /// The application's data, from the upgrade until `on_close`.
    pub(crate) data: Option<D>,
    /// The opening handshake, where it needs a memory.
    pub(crate) opening: Option<Box<Opening>>,
    /// When the peer last sent anything.
    pub(crate) heard: Tick,
    /// When the peer was last known to take anything.
    pub(crate) taken: Tick,
    /// What is known of its socket, once it was looked at.
    pub(super) watch: Option<Box<Watch>>,
    /// When the present phase (opening, closing, ending) began; in an open connection, when the
    /// last keep-alive ping was sent.
    pub(crate) since: Tick,
    /// When its entry in the wheel comes up; `Tick::MAX` when it has none.
    pub(crate) scheduled: Tick,
    /// What it has done lately.
    pub(super) worked: Worked,
    pub(crate) ending: Ending,
    /// Nothing is read from it because too much waits to be sent, or the application says so.
    pub(crate) paused: bool,
    /// The peer has closed its end of TCP.
    pub(crate) half_closed: bool,
    /// The connection is TLS, or will be.
    pub(crate) secure: bool,
    /// The closing handshake's time is running.
    pub(crate) closing: bool,
    /// The connection has input left for its next slices.
    pub(super) deferred: bool,
    /// What it has read lately.
    reads: Reads,
    /// How many bytes its peer had been given, and had taken, when its socket was last looked at, and
    /// pings since; while there is no watch, which knows more.
    pub(super) seen: u32,
}

/// What a connection has read lately, in one byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reads(u8);

impl Reads {
    /// Small reads to go before small buffers do again; 0 with small buffers. While the peer's end is
    /// waited for it stays above 0.
    const LARGE: u8 = 0x1F;
    /// Whether messages were larger than a large buffer lately.
    const DIRECT: u8 = 0x20;
    /// Whether one read was too much for a turn lately.
    const GREEDY: u8 = 0x40;

    const fn large(self) -> u8 {
        self.0 & Self::LARGE
    }

    const fn set_large(&mut self, reads: u8) {
        self.0 = self.0 & !Self::LARGE | reads;
    }

    const fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

const _: () = assert!(SMALL_READS <= Reads::LARGE);

impl<D> Slot<D> {
    pub(crate) fn new(role: Role, now: Tick) -> Self {
        // Until the opening handshake settles the dialect.
        let (inbound, outbound) = conn::halves(FIRST, role);
        Self {
            inbound,
            side: Side {
                outbound,
                send: SendSide::new(),
                subscriptions: Subscriptions::new(),
                ended: false,
                hold: Hold::default(),
            },
            data: None,
            opening: None,
            heard: now,
            taken: now,
            watch: None,
            since: now,
            scheduled: Tick::MAX,
            worked: Worked::default(),
            ending: Ending::No,
            paused: false,
            half_closed: false,
            secure: false,
            closing: false,
            deferred: false,
            reads: Reads::default(),
            seen: 0,
        }
    }

    /// The opening handshake has succeeded.
    pub(super) fn opened(&mut self, dialect: Dialect) {
        self.inbound.opened(dialect);
        self.side.outbound.opened(dialect);
    }

    /// The opening handshake has agreed on compression.
    pub(super) const fn deflate(&mut self, agreed: Deflate) {
        self.inbound.inflate(agreed);
        self.side.outbound.deflate(agreed);
    }

    /// Gives back what it has for compression: nothing more is read or sent.
    pub(super) fn release(&mut self, id: ConnectionId, deflate_pool: &mut DeflatePool) {
        let kept = self.inbound.keeps_inflater();
        match self.inbound.take_inflater() {
            Some(inflater) if !kept => deflate_pool.recycle_inflater(inflater),
            _ if kept => deflate_pool.release(Inflater::BYTES),
            _ => {}
        }
        if let Some(bits) = self.side.outbound.keeps_deflater() {
            deflate_pool.drop_deflater(id, bits);
            self.side.outbound.drop_deflater();
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.side.outbound.state()
    }

    /// Whether anything but pings was sent since its socket was last looked at.
    pub(super) fn was_sent(&self) -> bool {
        let seen = self.watch.as_ref().map_or(self.seen, |watch| watch.handed);
        self.side.send.handed() != seen
    }

    /// A ping was queued behind so many bytes, which is nothing to look for.
    pub(super) fn count_ping(&mut self, before: u32) {
        let after = self.side.send.handed();
        if self.watch.is_none() && self.seen == before {
            self.seen = after;
        } else {
            self.watch().count_ping(before..after);
        }
    }

    /// What is known of its socket; from the last look, if that was forgotten.
    pub(super) fn watch(&mut self) -> &mut Watch {
        let seen = self.seen;
        self.watch.get_or_insert_with(|| Box::new(Watch::new(seen)))
    }

    /// How to receive after a read of `len` bytes.
    #[inline]
    pub(crate) fn want(&mut self, len: usize, pause: usize) -> ReadInterest {
        let remaining = self.inbound.remaining();
        if remaining == 0 && self.reads.large() == 0 {
            return if self.is_paused(pause) { ReadInterest::Nothing } else { ReadInterest::Small };
        }
        self.want_large(len, remaining, pause)
    }

    /// How to receive when nothing was read.
    pub(crate) fn want_now(&mut self, pause: usize) -> ReadInterest {
        self.want(SMALL_READ, pause)
    }

    /// Whether TCP may be closed as soon as the last frames are on their way: whatever was sent is with
    /// the peer's kernel, and nothing more is to come that would make ours take it back by a reset. A
    /// peer in TLS has its close_notify to send.
    pub(super) fn may_close(&self) -> bool {
        let safe = !self.secure && self.side.send.is_little();
        safe || is_back(Fault::ResetOnUnread)
    }

    /// From now on the peer's end is waited for. A receive that goes on by itself misses that end where
    /// it is a reset on the heels of data, in kernels from 6.12 to 6.18 and some later ones (what wakes it
    /// twice before it runs counts as once); one that is asked for anew sees it.
    pub(super) const fn receive_singly(&mut self) {
        self.reads.set_large(SMALL_READS);
    }

    /// A read was too much for a turn. For a while what it sends is received in little memory, one read at
    /// a time, so that it does not take the buffers of all.
    pub(super) const fn greedy(&mut self) {
        self.reads.set_large(SMALL_READS);
        self.reads.0 |= Reads::GREEDY;
    }

    /// Whether [`Slot::receive_singly`] was said.
    const fn awaits_end(&self) -> bool {
        matches!(self.ending, Ending::Fin)
            || self.closing && matches!(self.side.outbound.role(), Role::Server)
    }

    // Apart, so that small messages do not carry it: 17 instructions less for each of them.
    #[inline(never)]
    fn want_large(&mut self, len: usize, remaining: u64, pause: usize) -> ReadInterest {
        if self.deferred {
            return ReadInterest::Nothing;
        }
        if self.awaits_end() {
            let paused = self.is_paused(pause);
            return if paused { ReadInterest::Nothing } else { ReadInterest::SmallOnce };
        }
        if remaining > 0 {
            self.reads.set_large(SMALL_READS);
            if remaining > DIRECT_FROM {
                self.reads.0 |= Reads::DIRECT;
            }
        } else if len < SMALL_READ {
            self.reads.set_large(self.reads.large() - 1);
        } else if (len as u64) < DIRECT_FROM / 2 {
            self.reads.0 &= !Reads::DIRECT;
        }
        if self.is_paused(pause) {
            ReadInterest::Nothing
        } else if self.reads.large() == 0 {
            self.reads = Reads::default();
            ReadInterest::Small
        } else if self.reads.has(Reads::GREEDY) && remaining == 0 {
            ReadInterest::SmallOnce
        } else if remaining > DIRECT_FROM {
            ReadInterest::Direct
        } else if self.reads.has(Reads::DIRECT | Reads::GREEDY) {
            ReadInterest::LargeOnce
        } else {
            ReadInterest::Large
        }
    }

    /// Whether nothing more should be read: so much waits to be sent, or somebody says so. Not
    /// while the connection ends: then its last bytes are awaited and dropped.
    #[inline]
    pub(crate) fn is_paused(&self, pause: usize) -> bool {
        let full = self.side.send.is_blocked() && self.side.send.waiting() > pause;
        (full || self.side.hold.is_anybody()) && matches!(self.ending, Ending::No)
    }

    /// Notes whether nothing more is read from it; 1 if that is new, for the counter of pauses.
    pub(super) fn note_pause(&mut self, pause: usize) -> u64 {
        let before = self.paused;
        self.paused = self.is_paused(pause);
        u64::from(self.paused && !before)
    }
}

// An idle connection costs a slot, its entry in the wheel and one in the driver's table; 256 bytes
// is what all of it may take.
const _: () = assert!(size_of::<Slot<()>>() <= 192);

#[cfg(test)]
mod tests {
    use super::{Ending, Hold, ReadInterest, Slot};
    use crate::conn::Role;

    #[test]
    fn a_peer_s_end_is_received_singly_and_in_little_memory() {
        for (ending, closing) in [(Ending::Fin, false), (Ending::No, true)] {
            let mut slot: Slot<()> = Slot::new(Role::Server, 0);
            assert_eq!(slot.want_now(usize::MAX), ReadInterest::Small);
            (slot.ending, slot.closing) = (ending, closing);
            slot.receive_singly();
            for len in [1, 100, 4096].into_iter().cycle().take(100) {
                assert_eq!(
                    slot.want(len, usize::MAX),
                    ReadInterest::SmallOnce,
                    "{ending:?} {closing}"
                );
            }
            slot.side.hold.set(Hold::APPLICATION, closing);
            let held = if closing { ReadInterest::Nothing } else { ReadInterest::SmallOnce };
            assert_eq!(slot.want_now(usize::MAX), held);
        }
    }
}
