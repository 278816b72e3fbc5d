//! Deadlines, coarse and cheap: a hashed wheel that each connection stands in once.
//!
//! Nothing is re-armed when a message arrives: the connection notes the tick, and when its entry
//! comes up it is asked for its real deadline and put back there.

use std::time::{Duration, Instant};

use super::table::ConnectionId;

/// The wheel's resolution; every timeout is kept to within one tick above it.
pub(crate) const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 64;
/// Ticks that the wheel spans, 32.8 s; later deadlines are put back when they come up.
const BUCKETS: u32 = 512;
/// Entries that a bucket keeps memory for. Connections come in bursts, and each finds another bucket: if
/// all kept as much as their largest, one burst would in the end have its memory in each of them.
const KEPT: usize = 16;

/// A point in time, in ticks since the shard began; lasts eight years.
pub(crate) type Tick = u32;

/// How many ticks `duration` takes, rounded up.
pub(crate) fn ticks(duration: Duration) -> Tick {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(Tick::MAX / 2)
}

/// A hashed wheel of deadlines in which each connection stands once.
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
        let elapsed = now.saturating_duration_since(self.epoch);
        let millis = elapsed.as_secs() * 1000 + u64::from(elapsed.subsec_millis());
        Tick::try_from(millis / TICK_MILLIS).unwrap_or(Tick::MAX)
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
                out.append(&mut self.buckets[bucket]);
                self.buckets[bucket].shrink_to(KEPT);
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
        let first = self.first_occupied()?;
        Some(self.epoch + TICK * (self.cursor + first))
    }

    /// How many ticks ahead of the cursor the first entry stands; word by word, because it is asked
    /// for before every sleep.
    fn first_occupied(&self) -> Option<u32> {
        let begin = self.cursor % BUCKETS;
        let words = self.occupied.len();
        (0..=words).find_map(|n| {
            let index = (begin as usize / 64 + n) % words;
            let mut word = self.occupied[index];
            if n == 0 {
                word &= u64::MAX << (begin % 64);
            }
            let bit = word.trailing_zeros();
            #[expect(clippy::cast_possible_truncation, reason = "an index of eight words")]
            let bucket = index as u32 * 64 + bit;
            (bit < 64).then_some((bucket + BUCKETS - begin) % BUCKETS)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BUCKETS, ConnectionId, KEPT, TICK, Wheel};

    fn all(wheel: &mut Wheel, now: u32) -> Vec<(u32, u32)> {
        let (mut found, mut ids) = (Vec::new(), Vec::new());
        while let Some(at) = wheel.expired(now, &mut ids) {
            found.extend(ids.drain(..).map(|id| (at, id.slot())));
        }
        found
    }

    #[test]
    fn entries_come_up_at_their_tick_and_not_before() {
        let epoch = Instant::now();
        let mut wheel = Wheel::new(epoch);
        assert_eq!(wheel.next(), None);
        for at in [3, 64, 130, 500] {
            assert_eq!(wheel.schedule(ConnectionId::new(at, 0), at), at);
        }
        assert_eq!(wheel.next(), Some(epoch + TICK * 3));
        assert_eq!(all(&mut wheel, 2), []);
        assert_eq!(all(&mut wheel, 3), [(3, 3)]);
        assert_eq!(wheel.next(), Some(epoch + TICK * 64));
        assert_eq!(all(&mut wheel, 200), [(64, 64), (130, 130)]);
        // Round the end of the wheel, in the word where the cursor stands.
        let round = wheel.schedule(ConnectionId::new(7, 0), 200 + BUCKETS - 1);
        assert_eq!(wheel.next(), Some(epoch + TICK * 500));
        assert_eq!(all(&mut wheel, 600), [(500, 500)]);
        assert_eq!(wheel.next(), Some(epoch + TICK * round));
        assert_eq!(all(&mut wheel, 5000), [(round, 7)]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_beyond_the_span_comes_up_early_and_a_past_one_at_once() {
        let mut wheel = Wheel::new(Instant::now());
        assert_eq!(wheel.schedule(ConnectionId::new(1, 0), 1_000_000), BUCKETS - 1);
        assert_eq!(all(&mut wheel, 10), []);
        assert_eq!(wheel.schedule(ConnectionId::new(2, 0), 0), 11);
        assert_eq!(all(&mut wheel, BUCKETS), [(11, 2), (BUCKETS - 1, 1)]);
    }

    #[test]
    fn what_bursts_took_is_given_back() {
        let (mut wheel, mut ids) = (Wheel::new(Instant::now()), Vec::new());
        for at in 0..4 * BUCKETS {
            for slot in 0..1000 {
                wheel.schedule(ConnectionId::new(slot, 0), at);
            }
            assert_eq!(wheel.expired(at, &mut ids), Some(at));
            assert_eq!(ids.drain(..).count(), 1000);
        }
        let kept: usize = wheel.buckets.iter().map(Vec::capacity).sum();
        assert!(kept <= BUCKETS as usize * KEPT, "room for {kept} entries");
    }

    #[test]
    fn a_tick_is_where_its_time_lies() {
        let epoch = Instant::now();
        let wheel = Wheel::new(epoch);
        assert_eq!(wheel.tick(epoch + Duration::from_millis(63)), 0);
        assert_eq!(wheel.tick(epoch + Duration::from_millis(64)), 1);
        assert_eq!(wheel.tick(epoch + Duration::from_secs(3600)), 56_250);
    }
}
