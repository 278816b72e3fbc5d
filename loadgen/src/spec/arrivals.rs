//! When messages are due. The times are fixed before the run and never move: a late message is
//! late, and its latency counts from when it was due.

use crate::base::clock::Nanos;
use crate::base::format::count;
use crate::base::units;

/// How many messages per second, over the time since the load began.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    /// One behind the other; the last one's end rate goes on for ever.
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    /// In seconds since the load began.
    start: f64,
    length: f64,
    /// Messages per second at its start and at its end; between them they change evenly.
    from: f64,
    to: f64,
    /// Messages due before it.
    before: f64,
}

/// A part of a run: how long, and at which rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stage {
    pub(crate) length: std::time::Duration,
    /// Messages per second at its start and at its end.
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A stage of a run: `30s:10k` at one rate, `10s:1k..10k` from one to another.
pub(crate) fn stage(text: &str) -> Result<Stage, String> {
    let wrong = || format!("`{text}` is not a stage; write it like 30s:10k or 10s:1k..10k");
    let (length, rates) = text.split_once(':').ok_or_else(wrong)?;
    let length = units::span(length)?;
    let any = |text: &str| if text == "0" { Ok(0.0) } else { units::rate(text) };
    let (from, to) = match rates.split_once("..") {
        Some((from, to)) => (any(from)?, any(to)?),
        None => (any(rates)?, any(rates)?),
    };
    Ok(Stage { length, from, to })
}

impl Profile {
    /// A rate that never changes.
    pub(crate) fn constant(rate: f64) -> Self {
        let segment = Segment { start: 0.0, length: 0.0, from: rate, to: rate, before: 0.0 };
        Self { segments: vec![segment] }
    }

    /// These stages, after `warmup` at the first one's first rate.
    pub(crate) fn staged(warmup: std::time::Duration, stages: &[Stage]) -> Self {
        let first = stages.first().map_or(0.0, |stage| stage.from);
        let warmup = Stage { length: warmup, from: first, to: first };
        let (mut start, mut before) = (0.0, 0.0);
        let mut segments = Vec::with_capacity(stages.len() + 1);
        for stage in [&warmup].into_iter().chain(stages) {
            let length = stage.length.as_secs_f64();
            segments.push(Segment { start, length, from: stage.from, to: stage.to, before });
            start += length;
            before += length * f64::midpoint(stage.from, stage.to);
        }
        Self { segments }
    }

    /// This profile with all rates multiplied.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        let scale = |one: &Segment| Segment {
            from: one.from * factor,
            to: one.to * factor,
            before: one.before * factor,
            ..*one
        };
        Self { segments: self.segments.iter().map(scale).collect() }
    }

    /// The highest rate.
    pub(crate) fn peak(&self) -> f64 {
        self.segments.iter().flat_map(|one| [one.from, one.to]).fold(0.0, f64::max)
    }

    pub(crate) const fn is_constant(&self) -> bool {
        self.segments.len() == 1
    }

    /// When so many messages have become due, in nanoseconds since the load began; `None` if they
    /// never do, because the last rate is 0.
    fn time(&self, count: f64) -> Option<f64> {
        let after = self.segments.partition_point(|one| one.before <= count);
        let segment = &self.segments[after.saturating_sub(1)];
        let more = count - segment.before;
        let change = segment.to - segment.from;
        let is_last = after == self.segments.len();
        if change == 0.0 || segment.length == 0.0 {
            // Nothing becomes due at rate 0: it does when the rate is above 0 again.
            let next = self.segments[after..].iter().find(|one| one.from.max(one.to) > 0.0);
            return match (segment.to > 0.0, next) {
                (true, _) => Some(segment.start * 1e9 + more * 1e9 / segment.to),
                (false, next) => next.map(|one| one.start * 1e9),
            };
        }
        // count = from t + change t² / (2 length), solved without subtracting what is near.
        let slope = change / segment.length;
        let square = (segment.from * segment.from + 2.0 * slope * more).max(0.0);
        let inside = 2.0 * more / (segment.from + square.sqrt()).max(f64::MIN_POSITIVE);
        if inside <= segment.length {
            return Some((segment.start + inside) * 1e9);
        }
        let end = segment.start + segment.length;
        let rest = more - segment.length * f64::midpoint(segment.from, segment.to);
        (is_last && segment.to > 0.0).then(|| (end + rest.max(0.0) / segment.to) * 1e9)
    }

    /// How many messages are due before a time in nanoseconds since the load began, to within a few.
    fn count(&self, time: f64) -> f64 {
        let seconds = time / 1e9;
        let after = self.segments.partition_point(|one| one.start <= seconds);
        let segment = &self.segments[after.saturating_sub(1)];
        let past = seconds - segment.start;
        if segment.length == 0.0 {
            return segment.before + past * segment.to;
        }
        let inside = past.min(segment.length);
        let slope = (segment.to - segment.from) / segment.length;
        segment.before
            + inside * (segment.from + slope * inside / 2.0)
            + (past - inside) * segment.to
    }
}

/// How messages come at a given rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Process {
    /// At equal distances, the connections in turn.
    #[default]
    Constant,
    /// Independent of each other, as from many users: a Poisson process, on connections at random.
    Poisson,
}

impl Process {
    /// The name that flags and result documents use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// The arrivals of an open loop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrivals {
    pub(crate) profile: Profile,
    pub(crate) process: Process,
    /// What a Poisson process is drawn from.
    pub(crate) seed: u64,
}

impl Arrivals {
    /// What people read of it.
    pub(crate) fn describe(&self) -> String {
        let process = match self.process {
            Process::Constant => String::new(),
            Process::Poisson => format!(", Poisson of seed {}", self.seed),
        };
        let up_to = if self.profile.is_constant() { "at" } else { "in stages up to" };
        format!("open loop {up_to} {}/s{process}", count(self.profile.peak()))
    }
}

/// Which of a run's arrivals are a worker's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    /// The worker's number, and how many there are.
    pub(crate) offset: u64,
    pub(crate) stride: u64,
    /// All connections of the run, and this worker's.
    pub(crate) connections: u64,
    pub(crate) here: u64,
}

/// The arrivals of one worker, in order of time. Of a constant process message `k` of the run belongs
/// to connection `k mod connections`, and a worker has every `stride`-th connection. A Poisson
/// process is the sum of one for each worker.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start: Nanos,
    profile: Profile,
    turns: Turns,
    round: u64,
    connection: u64,
    /// For a Poisson process: the source of random numbers, and the messages of the run so far, as
    /// far as this worker knows of them.
    draw: Option<(fastrand::Rng, f64)>,
    due: Option<Nanos>,
}

impl Schedule {
    pub(crate) fn new(start: Nanos, arrivals: &Arrivals, turns: Turns) -> Self {
        let draw = (arrivals.process == Process::Poisson).then(|| {
            // Far apart for neighbouring seeds and workers.
            let seed = arrivals.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17);
            (fastrand::Rng::with_seed(seed ^ turns.offset.wrapping_mul(0xD1B5_4A32_D192_ED03)), 0.0)
        });
        let profile = arrivals.profile.clone();
        let mut this = Self { start, profile, turns, round: 0, connection: 0, draw, due: None };
        this.step();
        this
    }

    /// A constant rate, for connections that are opened at one.
    pub(crate) fn steady(start: Nanos, rate: f64, turns: Turns) -> Self {
        let profile = Profile::constant(rate);
        Self::new(start, &Arrivals { profile, process: Process::Constant, seed: 0 }, turns)
    }

    /// When the next message is due; `None` if none is, or this worker has no connection.
    #[inline]
    pub(crate) const fn due(&self) -> Option<Nanos> {
        self.due
    }

    /// Takes the next message: the connection, by its place among the worker's, and when it is due.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<(usize, Nanos)> {
        let taken = (usize::try_from(self.connection).unwrap_or(usize::MAX), self.due?);
        if self.draw.is_none() {
            self.connection += 1;
            if self.connection >= self.turns.here {
                self.connection = 0;
                self.round += 1;
            }
        }
        self.step();
        Some(taken)
    }

    /// Finds when the next message is due.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    fn step(&mut self) {
        let Turns { connections, stride, offset, here } = self.turns;
        if here == 0 {
            return;
        }
        let count = match &mut self.draw {
            None => (self.round * connections + self.connection * stride + offset) as f64,
            Some((rng, count)) => {
                self.connection = rng.u64(0..here);
                *count -= (1.0 - rng.f64()).ln() * connections as f64 / here as f64;
                *count
            }
        };
        self.due = self.profile.time(count).map(|time| self.start + ceil(time));
    }
}

/// How many messages of all workers are due in `[from, to)`.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
pub(crate) fn offered(
    arrivals: &Arrivals,
    start: Nanos,
    (from, to): (Nanos, Nanos),
    turns: &[Turns],
) -> u64 {
    if arrivals.process == Process::Poisson {
        return turns.iter().map(|turns| drawn(arrivals, start, (from, to), *turns)).sum();
    }
    let profile = &arrivals.profile;
    let before = |at: Nanos| {
        let mut number = ceil(profile.count(at.saturating_sub(start) as f64)).saturating_sub(2);
        let due = |number: u64| profile.time(number as f64).map(|time| start + ceil(time));
        while due(number).is_some_and(|due| due < at) {
            number += 1;
        }
        number
    };
    before(to).saturating_sub(before(from))
}

/// What one worker's Poisson process offers, found by drawing it once more.
fn drawn(arrivals: &Arrivals, start: Nanos, (from, to): (Nanos, Nanos), turns: Turns) -> u64 {
    let mut schedule = Schedule::new(start, arrivals, turns);
    let mut count = 0;
    while let Some((_, due)) = schedule.take().filter(|(_, due)| *due < to) {
        count += u64::from(due >= from);
    }
    count
}

/// The first whole number not below `value`, which is a time or count of a run: far below 2^53.
fn ceil(value: f64) -> u64 {
    // A billionth of a nanosecond off is on time.
    let whole = (value - 1e-6).ceil().max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and below 2^53 for runs shorter than 100 days"
    )]
    {
        whole as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrivals, Process, Profile, Schedule, Stage, Turns, offered};

    const SECOND: u64 = 1_000_000_000;

    fn all_turns(connections: u64, workers: u64) -> Vec<Turns> {
        let here = |worker| (connections + workers - 1 - worker) / workers;
        (0..workers)
            .map(|offset| Turns { offset, stride: workers, connections, here: here(offset) })
            .collect()
    }

    /// Everything that the workers send until `end`, merged by time: when, and on which connection.
    fn merged(arrivals: &Arrivals, turns: &[Turns], end: u64) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        for one in turns {
            let mut schedule = Schedule::new(1000, arrivals, *one);
            while let Some((connection, at)) = schedule.take().filter(|(_, at)| *at < 1000 + end) {
                all.push((at, connection as u64 * one.stride + one.offset));
            }
        }
        all.sort_unstable();
        all
    }

    fn arrivals(profile: Profile, process: Process, seed: u64) -> Arrivals {
        Arrivals { profile, process, seed }
    }

    #[test]
    fn workers_together_keep_the_rate_and_the_round() {
        for (rate, connections, workers) in [(7.0, 5, 3), (1000.0, 10, 3), (333.0, 2, 3)] {
            let turns = all_turns(connections, workers);
            let arrivals = arrivals(Profile::constant(rate), Process::Constant, 0);
            let all = merged(&arrivals, &turns, SECOND);
            let expected = offered(&arrivals, 1000, (1000, SECOND + 1000), &turns);
            assert_eq!(all.len() as u64, expected, "{rate}/s over {connections}");
            for (k, (at, connection)) in all.iter().enumerate() {
                let exact = 1000.0 + k as f64 * 1e9 / rate;
                assert!((*at as f64 - exact).abs() <= 1.0, "message {k} at {at}, not {exact}");
                assert_eq!(*connection, k as u64 % connections, "message {k}");
            }
        }
    }

    #[test]
    fn a_schedule_does_not_drift() {
        // 1e9/3 has no end in binary or decimal.
        let mut schedule = Schedule::steady(0, 3.0, all_turns(1, 1)[0]);
        for _ in 0..3_000_000 {
            schedule.take();
        }
        assert_eq!(schedule.due(), Some(1_000_000 * SECOND));
    }

    #[test]
    fn offered_counts_a_window_without_its_end() {
        let ten = arrivals(Profile::constant(10.0), Process::Constant, 0);
        let count = |start, from, to| offered(&ten, start, (from, to), &all_turns(1, 1));
        assert_eq!(count(500, 500, 1_000_000_500), 10);
        assert_eq!(count(0, 0, 1), 1);
        assert_eq!(count(0, 1, 100_000_000), 0);
        assert_eq!(count(0, 1, 100_000_001), 1);
    }

    #[test]
    fn a_worker_without_connections_has_nothing_due() {
        assert_eq!(Schedule::steady(0, 1.0, all_turns(1, 2)[1]).due(), None);
    }

    fn stage(seconds: u64, from: f64, to: f64) -> Stage {
        Stage { length: Duration::from_secs(seconds), from, to }
    }

    #[test]
    fn stages_hold_and_ramp_as_they_say() {
        // A second of warm-up at 100/s, then 2 s of it, 4 s from 100/s up to 300/s, 1 s of nothing,
        // 1 s at 50/s.
        let stages = [
            stage(2, 100.0, 100.0),
            stage(4, 100.0, 300.0),
            stage(1, 0.0, 0.0),
            stage(1, 50.0, 50.0),
        ];
        let profile = Profile::staged(Duration::from_secs(1), &stages);
        assert_eq!(profile.peak(), 300.0);
        let turns = all_turns(7, 3);
        let arrivals = arrivals(profile, Process::Constant, 0);
        let all = merged(&arrivals, &turns, 9 * SECOND);
        let within = |from: u64, to: u64| {
            let range = 1000 + from * SECOND..1000 + to * SECOND;
            let count = all.iter().filter(|(at, _)| range.contains(at)).count() as u64;
            assert_eq!(
                count,
                offered(&arrivals, 1000, (range.start, range.end), &turns),
                "{from} s"
            );
            count
        };
        let counts =
            [(0, 1), (1, 3), (3, 4), (6, 7), (3, 7), (7, 8), (8, 9)].map(|(a, b)| within(a, b));
        assert_eq!(counts, [100, 200, 125, 275, 800, 0, 50]);
        // On the ramp the k-th message of it is due when 100 t + 25 t² = k.
        for (k, (at, _)) in all[300..1100].iter().enumerate() {
            let t = (*at - 1000) as f64 / 1e9 - 3.0;
            let error = 100.0 * t + 25.0 * t * t - k as f64;
            assert!(error.abs() < 1e-5, "message {k} of the ramp: {error}");
        }
        assert!(all.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn a_ramp_from_and_to_nothing_ends() {
        let stages = [stage(2, 0.0, 10.0), stage(2, 10.0, 0.0)];
        let arrivals = arrivals(Profile::staged(Duration::ZERO, &stages), Process::Constant, 0);
        let turns = all_turns(1, 1);
        assert_eq!(merged(&arrivals, &turns, 4 * SECOND).len(), 20);
        assert_eq!(offered(&arrivals, 0, (0, 4 * SECOND), &turns), 20);
        // The next would be due at the very end.
        assert!(merged(&arrivals, &turns, 100 * SECOND).len() <= 21);
    }

    #[test]
    fn a_poisson_process_has_its_rate_and_its_gaps_and_comes_again() {
        let turns = all_turns(10, 3);
        let drawn = |seed| {
            let arrivals = arrivals(Profile::constant(1000.0), Process::Poisson, seed);
            let all = merged(&arrivals, &turns, 20 * SECOND);
            let expected = offered(&arrivals, 1000, (1000, 20 * SECOND + 1000), &turns);
            assert_eq!(all.len() as u64, expected, "seed {seed}");
            all
        };
        let all = drawn(1);
        // 20,000 expected with a standard deviation of 141: the seed is fixed, so this is no chance.
        assert!(all.len().abs_diff(20_000) < 600, "{}", all.len());
        let gaps: Vec<f64> =
            all.windows(2).map(|pair| (pair[1].0 - pair[0].0) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential: the deviation is the mean, and 1/e of the gaps are longer than it.
        assert!(
            (mean - 1.0).abs() < 0.03 && (variance.sqrt() - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
        let longer = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1.0_f64).exp()).abs() < 0.02, "{longer}");
        for connection in 0..10 {
            let share = all.iter().filter(|(_, one)| *one == connection).count();
            assert!(share.abs_diff(2000) < 250, "connection {connection}: {share}");
        }
        assert_eq!(all, drawn(1), "the same seed gives the same times");
        assert_ne!(all, drawn(2));
    }

    #[test]
    fn stages_are_read() {
        let of = |from, to| Stage { length: Duration::from_secs(30), from, to };
        assert_eq!(super::stage("30s:10k"), Ok(of(1e4, 1e4)));
        assert_eq!(super::stage("30s:0..1.5k/s"), Ok(of(0.0, 1500.0)));
        for text in ["", "30s", "30s:", "0:5", ":5", "5:30s", "1s:1..", "1s:..5", "1s:1..2..3"] {
            assert!(super::stage(text).is_err(), "{text:?}");
        }
    }
}
