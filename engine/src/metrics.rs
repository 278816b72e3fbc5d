//! What a shard counts. The counters are plain numbers on the shard's thread; a snapshot is a
//! copy, taken when somebody asks.

use std::fmt;

use crate::config::{FeatureSet, SelectedDriver};
use crate::error::TlsError;
use crate::handshake::RequestError;
use crate::outcome::CloseReason;
pub use crate::sys::counters::RingCounters;
use crate::sys::counters::counters;
use crate::wire::{Dialect, ProtocolError};

counters! {
    /// What happened to connections and messages.
    pub struct Counters {
        /// Connections that TCP gave us.
        accepted,
        /// Connections refused because the shard was full.
        refused,
        /// Opening handshakes that succeeded.
        opened,
        /// Successful opening handshakes that agreed on compression.
        opened_compressed,
        /// Successful opening handshakes that let messages refer to earlier ones, in one direction
        /// or both.
        opened_takeover,
        /// Opening handshakes that agreed on no references to earlier messages, because the
        /// compression budget had no memory left.
        takeover_declined,
        /// Opening handshakes that agreed on no compression, because the compression budget had no
        /// memory left; those of a client failed.
        compression_declined,
        /// Messages sent uncompressed, because the compression budget had no memory left.
        compression_skipped,
        /// TLS handshakes that succeeded.
        tls_handshakes,
        /// Successful TLS handshakes that resumed an earlier session.
        tls_resumed,
        /// Messages received whole.
        messages_in,
        /// Bytes of payload in the messages that were received whole.
        bytes_in,
        /// Messages sent to single connections.
        messages_out,
        /// Bytes of payload in the messages that were sent to single connections.
        bytes_out,
        /// Messages published by connections of the shard.
        publications,
        /// Publications of connections refused because too much waited, or the server drained.
        publications_refused,
        /// Publications that were accepted and that a drain had no time to deliver, counted once
        /// for every shard that should have delivered it.
        publications_lost,
        /// Pauses in reading from connections that published while too much that was published
        /// waited.
        publisher_pauses,
        /// Publish commands taken from other shards and threads, each with all that one turn published to a topic.
        publish_commands,
        /// Published messages queued to subscribers.
        deliveries,
        /// Published messages that a slow consumer missed.
        deliveries_dropped,
        /// Sends refused as full.
        sends_refused,
        /// Pings received.
        pings_in,
        /// Keep-alive pings sent.
        pings_out,
        /// Pauses in reading because too much waited to be sent.
        read_pauses,
        /// Reads that brought more work than one turn allows; the rest of the work was done in
        /// later turns.
        reads_deferred,
    }
}

/// One counter for each of a list of kinds, in the list's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally<const N: usize>([u64; N]);

impl<const N: usize> Tally<N> {
    /// Counts one more of the kind at this position.
    pub(crate) fn count(&mut self, kind: usize) {
        if let Some(n) = self.0.get_mut(kind) {
            *n += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, n) in self.0.iter_mut().zip(other.0) {
            *sum += n;
        }
    }
}

impl<const N: usize> std::ops::Deref for Tally<N> {
    type Target = [u64; N];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// All counters of one shard, or of several added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Connections that are open now, handshakes included.
    pub open: u64,
    /// Topics that have subscribers or are held open, on each shard.
    pub topics: u64,
    /// Bytes of the compression budgets in use or set aside.
    pub compression_bytes: u64,
    /// Bytes held for peers now, of the budgets of memory: unfinished messages, queues, publications,
    /// compression, and what is kept of them for reuse.
    pub memory_bytes: u64,
    /// The most bytes that were ever held for peers; for several shards the sum of each shard's most.
    pub memory_peak_bytes: u64,
    /// Connections and messages.
    pub counters: Counters,
    /// The ring.
    pub ring: RingCounters,
    /// Opening handshakes that succeeded, by [`Dialect::ALL`].
    pub opened: Tally<{ Dialect::ALL.len() }>,
    /// Ended connections by [`CloseReason::NAMES`].
    pub closed: Tally<{ CloseReason::NAMES.len() }>,
    /// Broken rules by [`ProtocolError::ALL`].
    pub protocol_errors: Tally<{ ProtocolError::ALL.len() }>,
    /// Unacceptable requests by [`RequestError::ALL`].
    pub request_errors: Tally<{ RequestError::ALL.len() }>,
    /// TLS connections given up, by [`TlsError::NAMES`].
    pub tls_errors: Tally<{ TlsError::NAMES.len() }>,
    /// CPU time of the shard's thread, in nanoseconds; 0 if unknown.
    pub cpu_nanos: u64,
    /// The driver that runs, and why not a better one; `None` while it is not known.
    pub driver: Option<SelectedDriver>,
}

impl Snapshot {
    /// Adds another shard's counters.
    pub fn add(&mut self, other: &Self) {
        self.open += other.open;
        self.topics += other.topics;
        self.compression_bytes += other.compression_bytes;
        self.memory_bytes += other.memory_bytes;
        self.memory_peak_bytes += other.memory_peak_bytes;
        self.counters.add(&other.counters);
        self.ring.add(&other.ring);
        self.opened.add(&other.opened);
        self.closed.add(&other.closed);
        self.protocol_errors.add(&other.protocol_errors);
        self.request_errors.add(&other.request_errors);
        self.tls_errors.add(&other.tls_errors);
        self.cpu_nanos += other.cpu_nanos;
        if self.driver.is_none() {
            self.driver.clone_from(&other.driver);
        }
    }

    /// Every counter with its name, in a fixed order; kinds of errors and ends only where there
    /// were any.
    pub fn rows(&self) -> impl Iterator<Item = (String, u64)> {
        let plain = |prefix: &'static str| {
            move |(name, n): (&'static str, u64)| (format!("{prefix}{name}"), n)
        };
        let opened = Dialect::ALL.iter().map(|d| d.name()).zip(self.opened.0);
        let closed = CloseReason::NAMES.into_iter().zip(self.closed.0);
        let protocol = ProtocolError::ALL.iter().map(|e| e.name()).zip(self.protocol_errors.0);
        let request = RequestError::ALL.iter().map(|e| e.name()).zip(self.request_errors.0);
        let tls = TlsError::NAMES.into_iter().zip(self.tls_errors.0);
        [
            ("open", self.open),
            ("topics", self.topics),
            ("compression_bytes", self.compression_bytes),
            ("memory_bytes", self.memory_bytes),
            ("memory_peak_bytes", self.memory_peak_bytes),
        ]
        .map(|(name, n)| (name.to_owned(), n))
        .into_iter()
        .chain(self.counters.iter().map(plain("")))
        .chain(opened.filter(|(_, n)| *n > 0).map(plain("opened_")))
        .chain(closed.filter(|(_, n)| *n > 0).map(plain("closed_")))
        .chain(protocol.filter(|(_, n)| *n > 0).map(plain("protocol_error_")))
        .chain(request.filter(|(_, n)| *n > 0).map(plain("request_error_")))
        .chain(tls.filter(|(_, n)| *n > 0).map(plain("tls_error_")))
        .chain(self.ring.iter().map(plain("ring_")))
        .chain(std::iter::once(("cpu_nanos".to_owned(), self.cpu_nanos)))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().try_for_each(|(name, n)| write!(f, "{name}={n} "))?;
        let Some(taken) = &self.driver else { return f.write_str("driver=unknown") };
        write!(f, "driver={}", taken.driver)?;
        if let Some(because) = &taken.because {
            write!(f, " because={because:?}")?;
        }
        if taken.driver.has_ring_features() {
            let without = taken.without.iter();
            let without = without.fold(FeatureSet::NONE, |all, one| all.with(one.feature));
            write!(f, " ring_features={} ring_without={without}", taken.features)?;
        }
        let absences: Vec<_> =
            taken.absences().map(|(name, because)| format!("{name}: {because}")).collect();
        if absences.is_empty() {
            return Ok(());
        }
        write!(f, " without_because={:?}", absences.join("; "))
    }
}
