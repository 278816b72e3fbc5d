//! What a seed means: the machines, their settings, who connects to them, and what goes wrong.

use std::time::Duration;

use fastrand::Rng;

use super::{Cuts, MILLI, SECOND, Time};
use crate::config::{Compression, Config, SlowConsumer};
use crate::conn::Limits;
use crate::wire::Dialect;

/// Things that go wrong, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nuisances(u32);

impl Nuisances {
    /// Reads and what the network carries are split anywhere.
    pub(super) const SHORT_READS: Self = Self(1);
    /// Completions come later than they could, and out of order between connections.
    pub(super) const LATE: Self = Self(1 << 1);
    /// Receives find no buffer.
    pub(super) const NO_BUFFERS: Self = Self(1 << 2);
    /// Accepts find no file.
    pub(super) const NO_FILES: Self = Self(1 << 3);
    /// Sends are taken in part although there is room, or not at all.
    pub(super) const BLOCKED_SENDS: Self = Self(1 << 4);
    /// Sends go the slow way although the kernel would have taken them.
    pub(super) const SLOW_WAY: Self = Self(1 << 5);
    /// The kernel lets go of connections late, or when it is forced to.
    pub(super) const LATE_RELEASE: Self = Self(1 << 6);
    /// A receive that goes on by itself misses a reset on the heels of data.
    pub(super) const MISSED_RESETS: Self = Self(1 << 7);
    /// The process is stopped for a while.
    pub(super) const STOPS: Self = Self(1 << 8);
    /// The network takes its time.
    pub(super) const LATENCY: Self = Self(1 << 9);
    /// Sockets have little room.
    pub(super) const SMALL_SOCKETS: Self = Self(1 << 10);
    /// The turn is sent in the middle of a batch.
    pub(super) const CUT_TURNS: Self = Self(1 << 11);
    /// Other threads publish, send and close.
    pub(super) const OUTSIDE: Self = Self(1 << 12);
    /// Peers vanish: a reset, or an end without a Close.
    pub(super) const GONE: Self = Self(1 << 13);
    /// Peers break the protocol.
    pub(super) const RUDE: Self = Self(1 << 14);
    /// Messages are compressed.
    pub(super) const COMPRESSION: Self = Self(1 << 15);
    /// Memory is short.
    pub(super) const LITTLE_MEMORY: Self = Self(1 << 16);

    /// Their names, in the order of their bits.
    pub(super) const NAMES: [&'static str; 17] = [
        "short-reads",
        "late",
        "no-buffers",
        "no-files",
        "blocked-sends",
        "slow-way",
        "late-release",
        "missed-resets",
        "stops",
        "latency",
        "small-sockets",
        "cut-turns",
        "outside",
        "gone",
        "rude",
        "compression",
        "little-memory",
    ];

    pub(super) const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    fn draw(rng: &mut Rng, without: u32) -> Self {
        // Each alone, a few together, or none: what hides behind one is seen without it.
        let mut set = 0;
        let odds = [2, 4, 8][rng.usize(..3)];
        for bit in 0..Self::NAMES.len() {
            set |= u32::from(rng.u8(..odds) == 0) << bit;
        }
        Self(set & !without)
    }
}

/// What a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Everything,
    /// Much is sent to peers that take their time.
    SlowReaders,
    /// Connections that are not read from, and silence.
    Silence,
    /// Closing handshakes, whatever is under way.
    Endings,
    /// Publications to many.
    FanOut,
    /// Small publications to those who do not read.
    Flood,
    /// Large messages, and some that never end.
    Bulk,
    /// More work than a turn has time for.
    Greed,
}

const THEMES: [Theme; 8] = [
    Theme::Everything,
    Theme::SlowReaders,
    Theme::Silence,
    Theme::Endings,
    Theme::FanOut,
    Theme::Flood,
    Theme::Bulk,
    Theme::Greed,
];

/// How a peer reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    Eager,
    /// So many bytes each so often.
    Steady(usize, Time),
    /// Everything, but nothing for so long between.
    Pausing(Time),
    /// Nothing any more from then on.
    Never(Time),
}

/// What a peer does when it is told Close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    AtOnce,
    After(Time),
    /// Sends a ping before anything else.
    PingFirst,
    Never,
}

/// How a peer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Close,
    Stay,
    /// The end of TCP without a Close.
    Fin,
    Reset,
    /// A Close, and then more.
    CloseAndMore,
}

#[derive(Debug, Clone)]
pub(super) struct PeerPlan {
    pub(super) server: usize,
    pub(super) start: Time,
    pub(super) dialect: Dialect,
    pub(super) deflate: bool,
    pub(super) reading: Reading,
    pub(super) answers_pings: bool,
    pub(super) answer: Answer,
    pub(super) leave: Leave,
    pub(super) ops: usize,
    pub(super) every: Time,
    pub(super) rooms: [[usize; 2]; 2],
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) theme: Theme,
    pub(super) servers: usize,
    pub(super) config: Config,
    pub(super) client_config: Config,
    pub(super) peers: Vec<PeerPlan>,
    /// Connections of a real client; it is there if there are any.
    pub(super) dials: Vec<PeerPlan>,
    pub(super) topics: u8,
    pub(super) outside_ops: usize,
    pub(super) nuisances: Nuisances,
    /// When the process of the servers is stopped, and for how long.
    pub(super) stops: Vec<(Time, Time)>,
    pub(super) drain_at: Time,
    pub(super) drain_for: Time,
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

pub(super) fn duration(time: Time) -> Duration {
    Duration::from_micros(time)
}

impl Plan {
    pub(super) fn new(seed: u64, cuts: &Cuts) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let theme = THEMES[rng.usize(..THEMES.len())];
        let nuisances = Nuisances::draw(rng, cuts.without);
        let servers = 1 + rng.usize(..[2, 3][usize::from(theme == Theme::FanOut)]);
        let config = config(rng, theme, nuisances);
        let client_config = config_of_client(rng, &config);
        let most = if theme == Theme::FanOut { 8 } else { 5 };
        let count = 1 + rng.usize(..most);
        let peers: Vec<_> = (0..count).map(|_| peer(rng, theme, nuisances, servers)).collect();
        let dialled = if rng.u8(..3) == 0 { 1 + rng.usize(..3) } else { 0 };
        let dials: Vec<_> = (0..dialled).map(|_| peer(rng, theme, nuisances, servers)).collect();
        let stops = if nuisances.has(Nuisances::STOPS) {
            (0..1 + rng.usize(..2))
                .map(|_| (rng.u64(..8 * SECOND), rng.u64(100 * MILLI..6 * SECOND)))
                .collect()
        } else {
            Vec::new()
        };
        let (drain_at, drain_for) =
            (rng.u64(200 * MILLI..15 * SECOND), rng.u64(500 * MILLI..20 * SECOND));
        let outside = nuisances.has(Nuisances::OUTSIDE);
        let mut plan = Self {
            theme,
            servers,
            config,
            client_config,
            peers,
            dials,
            topics: 1 + rng.u8(..3),
            outside_ops: if outside { rng.usize(5..40) } else { 0 },
            nuisances,
            stops,
            drain_at,
            drain_for,
        };
        plan.cut(cuts);
        plan
    }

    /// Leaves away what a failing seed is tried without.
    fn cut(&mut self, cuts: &Cuts) {
        let keep = |index: usize| cuts.absent & 1 << index == 0;
        let peers = self.peers.len();
        for (index, peer) in self.peers.iter_mut().chain(&mut self.dials).enumerate() {
            peer.ops = peer.ops.min(cuts.ops);
            if !keep(index) {
                peer.start = Time::MAX;
            }
        }
        // Numbers stay what they are: whoever is left away never comes.
        if self.dials.iter().all(|dial| dial.start == Time::MAX) {
            self.dials.clear();
        }
        debug_assert_eq!(peers, self.peers.len());
        self.outside_ops = self.outside_ops.min(cuts.ops);
    }
}

fn config(rng: &mut Rng, theme: Theme, nuisances: Nuisances) -> Config {
    let mut config = Config::new();
    let quick = theme == Theme::Silence || rng.u8(..3) == 0;
    config.idle_timeout = match rng.u8(..4) {
        0 => Duration::ZERO,
        _ if quick => millis(rng.u64(600..4000)),
        _ => millis(rng.u64(2000..30_000)),
    };
    config.ping_interval =
        if rng.u8(..3) == 0 { Duration::ZERO } else { millis(rng.u64(200..6000)) };
    config.close_timeout = millis(rng.u64(300..5000));
    config.handshake_timeout = millis(rng.u64(500..10_000));
    config.max_outbound_bytes = 1 << rng.u8(11..16);
    config.pause_reading_bytes = 1 << rng.u8(9..14);
    config.slow_consumer = if rng.bool() { SlowConsumer::Close } else { SlowConsumer::Drop };
    config.mailbox_entries = [1, 2, 4, 64][rng.usize(..4)];
    config.limits = Limits::default().with_max_message_bytes(64 << 10);
    config.handshake_seed = Some(rng.u64(..));
    config.memory_budget = Some(usize::MAX);
    if rng.u8(..20) == 0 {
        config.max_connections = 2;
    }
    if nuisances.has(Nuisances::LITTLE_MEMORY) || theme == Theme::Bulk && rng.u8(..3) == 0 {
        config.memory_budget = Some(rng.usize(64..256) << 10);
    }
    if nuisances.has(Nuisances::COMPRESSION) {
        let compression = Compression::default().with_min_bytes(rng.usize(..200)).with_level(1);
        config.compression = Some(compression);
    }
    config
}

fn config_of_client(rng: &mut Rng, server: &Config) -> Config {
    let mut config = server.clone();
    config.max_connections = 100;
    config.memory_budget = Some(usize::MAX);
    config.connect_in_turn = rng.bool();
    config.compression = None;
    if rng.bool() {
        config.idle_timeout = millis(rng.u64(600..20_000));
        config.ping_interval = millis(rng.u64(200..6000));
    }
    config
}

fn reading(rng: &mut Rng, theme: Theme) -> Reading {
    let kinds = match theme {
        Theme::SlowReaders => 1..10,
        Theme::Endings => 3..12,
        Theme::Flood => 5..12,
        _ => 5..17,
    };
    match rng.u8(kinds) {
        0..=6 => {
            let bytes = 1 << rng.u8(3..11);
            Reading::Steady(bytes, rng.u64(20 * MILLI..500 * MILLI))
        }
        7..=8 if theme != Theme::Flood => Reading::Pausing(rng.u64(100 * MILLI..4 * SECOND)),
        7..=9 => Reading::Never(rng.u64(..3 * SECOND)),
        _ => Reading::Eager,
    }
}

fn peer(rng: &mut Rng, theme: Theme, nuisances: Nuisances, servers: usize) -> PeerPlan {
    let small = nuisances.has(Nuisances::SMALL_SOCKETS)
        || matches!(theme, Theme::SlowReaders | Theme::Flood);
    let least = if small { 11 } else { 13 };
    let most = if theme == Theme::Flood { 13 } else { 16 };
    let mut room = || 1usize << rng.u8(least..most);
    let rooms = [[room(), room()], [room(), room()]];
    let gone = nuisances.has(Nuisances::GONE) && rng.u8(..3) == 0;
    let rude = nuisances.has(Nuisances::RUDE) && rng.u8(..3) == 0;
    let leave = match rng.u8(..8) {
        4 if gone => Leave::Fin,
        5..=6 if gone => Leave::Reset,
        0 | 4 if rude => Leave::CloseAndMore,
        0..=3 => Leave::Stay,
        _ => Leave::Close,
    };
    let answer = match rng.u8(..8) {
        0..=2 => Answer::AtOnce,
        3 => Answer::After(rng.u64(..6 * SECOND)),
        4 if rude => Answer::Never,
        _ => Answer::PingFirst,
    };
    let fast = matches!(theme, Theme::Flood | Theme::Greed);
    let ops = match theme {
        Theme::Flood | Theme::Greed => rng.usize(5..250),
        _ => rng.usize(1..30),
    };
    let dialect = if rng.u8(..3) == 0 { Dialect::Hybi02 } else { Dialect::Rfc6455 };
    let soon = if rng.bool() { 50 * MILLI } else { 3 * SECOND };
    PeerPlan {
        server: rng.usize(..servers),
        start: rng.u64(..soon),
        dialect,
        deflate: nuisances.has(Nuisances::COMPRESSION)
            && dialect == Dialect::Rfc6455
            && rng.u8(..4) > 0,
        reading: reading(rng, theme),
        answers_pings: !rude || rng.bool(),
        answer,
        leave,
        ops,
        every: if fast { rng.u64(..5 * MILLI) } else { rng.u64(..600 * MILLI) },
        rooms,
    }
}
