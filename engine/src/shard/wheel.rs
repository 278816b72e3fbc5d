//! Deadlines, coarse and cheap: a hashed wheel that each connection stands in once.
//!
//! Nothing is re-armed when a message arrives: the connection notes the tick, and when its entry
//! comes up it is asked for its real deadline and put back there.

use std::time::{Duration, Instant};

use super::table::ConnectionId;

/// The wheel's resolution; every timeout is kept to within one tick above it.
pub(crate) const TICK: Duration = Duration::from_millis(64);
/// Ticks that the wheel spans, 32.8 s; later deadlines are put back when they come up.
const BUCKETS: u32 = 512;

/// A point in time, in ticks since the shard began; lasts eight years.
pub(crate) type Tick = u32;

/// How many ticks `duration` takes, rounded up.
pub(crate) fn ticks(duration: Duration) -> Tick {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(Tick::MAX / 2)
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Wheel {
    epoch: Instant,
    buckets: Vec<Vec<ConnectionId>>,
    occupied: [u64; BUCKETS as usize / 64],
    /// Everything before this tick has come up.
    cursor: Tick,
}

impl Wheel {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: [0; BUCKETS as usize / 64],
            cursor: 0,
        }
    }

    /// The tick that `now` lies in.
    #[inline]
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        let elapsed = now.saturating_duration_since(self.epoch).as_millis() / TICK.as_millis();
        Tick::try_from(elapsed).unwrap_or(Tick::MAX)
    }

    /// Lets `id` come up at `at`, or as late before it as the wheel spans; says when.
    pub(crate) fn schedule(&mut self, id: ConnectionId, at: Tick) -> Tick {
        let at = at.clamp(self.cursor, self.cursor + BUCKETS - 1);
        let bucket = at % BUCKETS;
        self.buckets[bucket as usize].push(id);
        self.occupied[bucket as usize / 64] |= 1 << (bucket % 64);
        at
    }

    /// Takes those that have come up by `now`, one tick's worth at a time, and says which tick it
    /// was; `None` when none is left.
    pub(crate) fn expired(&mut self, now: Tick, out: &mut Vec<ConnectionId>) -> Option<Tick> {
        while self.cursor <= now {
            let at = self.cursor;
            let bucket = (at % BUCKETS) as usize;
            self.cursor += 1;
            if !self.buckets[bucket].is_empty() {
                std::mem::swap(&mut self.buckets[bucket], out);
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
                return Some(at);
            }
            if self.occupied.iter().all(|word| *word == 0) {
                self.cursor = now + 1;
            }
        }
        None
    }

    /// When the next entry comes up.
    pub(crate) fn next(&self) -> Option<Instant> {
        let first = (0..BUCKETS).find(|ahead| {
            let bucket = (self.cursor + ahead) % BUCKETS;
            self.occupied[bucket as usize / 64] >> (bucket % 64) & 1 == 1
        })?;
        // The tick must be over before it comes up.
        Some(self.epoch + TICK * (self.cursor + first) + Duration::from_millis(1))
    }
}
