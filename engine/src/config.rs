//! Every limit and timeout, with its default and its reason.

use std::fmt;
use std::time::Duration;

use crate::conn::Limits;
use crate::handshake::{DeflateTerms, HeadLimits, ServerPolicy};

pub use crate::drivers::{Driver, UnknownDriver};
pub use crate::sys::features::{
    FeatureSet, InvalidFeatures, MissingFeature, RingConfig, RingFeature, RingFeatures,
};

/// The settings of a server or of a set of client connections.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What one peer may send in messages.
    pub limits: Limits,
    /// What one peer may send in an opening handshake.
    pub head: HeadLimits,
    /// Which clients a server takes.
    pub policy: ServerPolicy,
    /// Most connections of one shard. Default 1,000,000; the kernel's file limit counts too.
    pub max_connections: usize,
    /// Most bytes that wait to be sent on one connection, with what it takes to have them queued (about
    /// a hundred for each range of memory that is shared or longer than 512 bytes); beyond it sends are
    /// refused and subscribers are slow consumers. Default 4 MiB, so that an echo of default limits is never
    /// refused: before reading pauses, `pause_reading_bytes` may wait, one batch of receive buffers
    /// be on its way out and another be read (1 MiB each), and a message of 1 MiB become whole.
    pub max_outbound_bytes: usize,
    /// While more than this waits, nothing is read from the connection. Default 256 KiB.
    pub pause_reading_bytes: usize,
    /// Most bytes that one shard holds for its peers: unfinished messages, what waits to be sent or
    /// published, compression, and what is kept of all that for reuse. Beyond it the connections that
    /// hold the most are ended ([`CloseReason::Memory`](crate::CloseReason::Memory)), those whose
    /// messages take it with code 1013 where there are codes, and publications and topics are refused.
    ///
    /// Default none: a server's shards have a quarter of the machine's memory, or of the limit of its
    /// control group, between them, and [`Clients`](crate::Clients) as much as a shard of a server with
    /// one per CPU; never less than 16 MiB each. The rest is for the kernel, which holds up to as much
    /// for the same sockets and is not counted here, and for the application. What does not grow with
    /// what peers do is not counted either: receive buffers, rings, and about 256 bytes for each
    /// connection.
    pub memory_budget: Option<usize>,
    /// What happens to a subscriber that is over `max_outbound_bytes`.
    pub slow_consumer: SlowConsumer,
    /// Most topics of one shard. Default 100,000.
    pub max_topics: usize,
    /// Entries of one shard's mailbox: so many publications of other shards and threads wait in it, one
    /// entry for all that a shard publishes to a topic in one turn, and 16 MiB of them; and as many
    /// messages from [`crate::Remote`]s. When it is full, nothing more is read from connections of other
    /// shards that publish to subscribers here, and what other threads send is refused as
    /// [`crate::Full`]. Default 4,096.
    pub mailbox_entries: usize,
    /// How long the opening handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// A connection whose peer makes no progress for this long is told so and ended: it sends no byte,
    /// and takes none of what is sent to it. While we read nothing from it (`pause_reading_bytes`,
    /// [`WebSocket::hold_reading`](crate::WebSocket::hold_reading)) its silence does not count, and only
    /// output that it does not take ends it. Where something was sent to it since it was last heard of, it
    /// may take a quarter longer: what a peer has taken is known by looking, four times per timeout. Default
    /// 2 min; zero turns it off.
    pub idle_timeout: Duration,
    /// A connection from which nothing was heard for this long is sent a ping, which keeps a
    /// living one from being idle, and finds the ones that are gone without the kernel saying so.
    /// After the process was stopped or starved, for a quarter of the shortest timeout or longer, nobody
    /// counts as silent before this time has passed once more (`idle_timeout`, where it is off). Default
    /// 45 s; zero turns it off.
    pub ping_interval: Duration,
    /// How long the answer to our Close, and the peer's end of TCP after it, may take, each from the
    /// last progress of the peer: a byte of ours that it takes or, before its Close, one that it sends.
    /// Default 5 s (CLOSE-08).
    pub close_timeout: Duration,
    /// Whether a client makes connections to one address one after the other, each established
    /// before the next is begun, as draft-02 §5.1 step 2 demands of clients (HS-C-02). A load
    /// generator cannot keep to that. Default true.
    pub connect_in_turn: bool,
    /// Makes the opening handshakes of clients, the keys that they draw and the order of their fields,
    /// the same in each run. For measuring only: keys are to be random (draft-02 §5.1, RFC 6455 §4.1).
    /// Default none.
    pub handshake_seed: Option<u64>,
    /// Compression of messages (RFC 7692), where RFC 6455's clients offer it. Default none: it costs
    /// far more CPU time than a message itself.
    pub compression: Option<Compression>,
    /// How clients reach wss URLs. Default none: a connection to one fails with
    /// [`TlsError::NotConfigured`](crate::TlsError::NotConfigured).
    #[cfg(feature = "tls")]
    pub client_tls: Option<crate::credentials::ClientTls>,
    /// How the kernel is talked to. Default [`Driver::Auto`].
    pub driver: Driver,
    /// The kernel interface's settings.
    pub ring: RingConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            head: HeadLimits::default(),
            policy: ServerPolicy::default(),
            max_connections: 1_000_000,
            max_outbound_bytes: 4 << 20,
            pause_reading_bytes: 256 << 10,
            memory_budget: None,
            slow_consumer: SlowConsumer::Close,
            max_topics: 100_000,
            mailbox_entries: 4096,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(45),
            close_timeout: Duration::from_secs(5),
            connect_in_turn: true,
            handshake_seed: None,
            compression: None,
            #[cfg(feature = "tls")]
            client_tls: None,
            driver: Driver::Auto,
            ring: RingConfig::default(),
        }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether clients can reach wss URLs.
    #[cfg(feature = "tls")]
    pub(crate) const fn has_client_tls(&self) -> bool {
        self.client_tls.is_some()
    }

    /// Whether clients can reach wss URLs.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "the same with the feature has to look")]
    pub(crate) const fn has_client_tls(&self) -> bool {
        false
    }

    /// Changes the settings in place: `Config::new().with(|c| c.max_topics = 10)`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// How messages are compressed (permessage-deflate, RFC 7692).
///
/// On the default terms neither side refers to earlier messages: a connection owns no window then,
/// and a publication is compressed once for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// Messages of fewer bytes are sent as they are. Default 256.
    pub min_bytes: usize,
    /// 1, fast, to 9, thorough. Default 3.
    pub level: u8,
    /// What a server agrees to. What a client offers is in its request.
    pub terms: DeflateTerms,
    /// Most bytes of one shard for compression: inflaters of messages under way, compressors, and what
    /// connections keep between messages, [`Inflater::BYTES`](crate::conn::Inflater::BYTES) and
    /// [`Deflater::bytes`](crate::conn::Deflater::bytes) each. Default 64 MiB.
    ///
    /// What connections keep is set aside when they open, and takes at most half of it; those that
    /// find no room open without keeping anything, and when all of it is in use, without
    /// compression. A compressed message that finds no room for its inflater ends its connection with
    /// code 1013, and a message that finds none for a compressor is sent as it is.
    pub budget_bytes: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { min_bytes: 256, level: 3, terms: DeflateTerms::default(), budget_bytes: 64 << 20 }
    }
}

impl Compression {
    /// Sets the length in bytes from which on messages are compressed.
    #[must_use]
    pub const fn with_min_bytes(mut self, bytes: usize) -> Self {
        self.min_bytes = bytes;
        self
    }

    /// Sets how thoroughly is compressed, from 1 to 9.
    #[must_use]
    pub const fn with_level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Sets what a server agrees to.
    #[must_use]
    pub const fn with_terms(mut self, terms: DeflateTerms) -> Self {
        self.terms = terms;
        self
    }

    /// Sets the most bytes of one shard for compression.
    #[must_use]
    pub const fn with_budget_bytes(mut self, bytes: usize) -> Self {
        self.budget_bytes = bytes;
        self
    }
}

/// The driver that runs, and why not a better one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectedDriver {
    /// The driver; never [`Driver::Auto`].
    pub driver: Driver,
    /// Why the driver that is tried before it was not taken; `None` if it was not tried.
    pub because: Option<String>,
    /// The features of the ring that are in use; none for other drivers.
    pub features: FeatureSet,
    /// The features that were wanted and do not work here.
    pub without: Vec<MissingFeature>,
    /// Why the tokio-uring driver reads and writes without registered buffers, on one shard at least;
    /// `None` where it has them, and of other drivers. It works without them, and costs a little more.
    pub unregistered: Option<String>,
}

impl SelectedDriver {
    pub(crate) const fn new(driver: Driver, because: Option<String>) -> Self {
        Self {
            driver,
            because,
            features: FeatureSet::NONE,
            without: Vec::new(),
            unregistered: None,
        }
    }

    /// Notes what became of the ring's features.
    pub(crate) fn with_features(
        mut self,
        features: FeatureSet,
        without: Vec<MissingFeature>,
    ) -> Self {
        self.features = features;
        self.without = without;
        self
    }

    /// Also notes what another shard goes without: the memory that may be locked can run out
    /// between two of them.
    pub(crate) fn with_unregistered_of(mut self, other: &Self) -> Self {
        self.unregistered = self.unregistered.or_else(|| other.unregistered.clone());
        self
    }

    /// What was wanted and does not work here, by name, each with the reason: features of the ring, or
    /// the `registered-buffers` of the tokio-uring driver.
    pub fn absences(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let features = self.without.iter().map(|one| (one.feature.name(), one.because.as_str()));
        let buffers = self.unregistered.as_deref().map(|because| ("registered-buffers", because));
        features.chain(buffers)
    }
}

impl fmt::Display for SelectedDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.because {
            None => self.driver.fmt(f),
            Some(because) => write!(f, "{} ({because})", self.driver),
        }
    }
}

/// What happens to a subscriber that reads too slowly. Control frames are never dropped, and
/// every drop is counted, for the shard and for the subscriber
/// ([`publications_missed`](crate::WebSocket::publications_missed)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// Its connection is ended.
    Close,
    /// It misses the publications that find no room.
    Drop,
}
