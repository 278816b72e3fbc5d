//! Faults that once were there and that tests put back one at a time, to prove that the simulator
//! would find them. In a build without the feature `sim` none can be, and nothing asks.

/// Whether limits that are no settings are small: the simulator's worlds are, and would not meet them. Not
/// in unit tests, which know them.
pub const SMALL_WORLD: bool = cfg!(all(feature = "sim", not(test)));

/// One of two limits: the usual one, or that of a small world.
#[must_use]
pub const fn limit(usual: usize, small: usize) -> usize {
    if SMALL_WORLD { small } else { usual }
}

/// A mended fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// None: the engine as it is.
    None,
    /// A ping that comes between our Close and the peer's is not answered.
    PongAfterCloseMissing,
    /// A peer that takes a part of what waits for it counts as silent until it has taken all of it.
    ProgressOnlyWhenAllLeft,
    /// The time that a connection has to close runs from when our Close is queued.
    CloseTimeoutFromQueueing,
    /// Deadlines act on what is known, without a look at the socket.
    NoLookBeforeDeadline,
    /// What a silent peer was sent and has taken is looked for only when its time is up.
    SentIsSeenAtTheEnd,
    /// One that nobody listens to counts as silent.
    SilenceWhileNotReading,
    /// After the process was stopped deadlines act at once.
    NoGraceAfterLateWake,
    /// Once both Closes are through TCP is closed at once, whatever is unread on either side.
    ResetOnUnread,
    /// P2: publications that find another shard's mailbox full are dropped.
    MailDroppedWhenBoxFull,
    /// P2: publications of other shards that find too much waiting on their topic are dropped.
    LetterDroppedWhenTopicFull,
    /// P2: a drain closes connections before what was published has been delivered to them.
    DrainCutsFanOuts,
    /// A range that waits to be sent counts as its bytes, however few, and is never copied to others.
    QueuedPiecesCountBytesOnly,
    /// Nobody is ended for what is held of unfinished messages and unread output.
    NoMemoryBudget,
    /// P4: all that a read says is done in one go, however much that is.
    NoSlices,
}

impl Fault {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::PongAfterCloseMissing,
        Self::ProgressOnlyWhenAllLeft,
        Self::CloseTimeoutFromQueueing,
        Self::NoLookBeforeDeadline,
        Self::SentIsSeenAtTheEnd,
        Self::SilenceWhileNotReading,
        Self::NoGraceAfterLateWake,
        Self::ResetOnUnread,
        Self::MailDroppedWhenBoxFull,
        Self::LetterDroppedWhenTopicFull,
        Self::DrainCutsFanOuts,
        Self::QueuedPiecesCountBytesOnly,
        Self::NoMemoryBudget,
        Self::NoSlices,
    ];
}

#[cfg(feature = "sim")]
thread_local! {
    static PRESENT: std::cell::Cell<Fault> = const { std::cell::Cell::new(Fault::None) };
}

/// Puts a fault back on this thread, in the place of the last one.
#[cfg(feature = "sim")]
pub fn put_back(fault: Fault) {
    PRESENT.set(fault);
}

/// Whether a fault is there.
#[cfg(feature = "sim")]
#[must_use]
pub fn is_back(fault: Fault) -> bool {
    PRESENT.get() == fault
}

/// Whether a fault is there: never, in a build that serves.
#[cfg(not(feature = "sim"))]
#[inline(always)]
#[must_use]
pub const fn is_back(_: Fault) -> bool {
    false
}
