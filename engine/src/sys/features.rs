//! The features of the ring driver as switches: which there are, which are wanted, which must be.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// Something that a kernel's io_uring may have, and that the ring driver can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingFeature {
    /// One request accepts every connection of a listener; without it, one request each.
    MultishotAccept,
    /// The kernel picks a buffer when bytes arrive, so an idle connection owns none; without it a
    /// connection that waits for bytes owns 4 KiB.
    BufferRing,
    /// One request receives again and again; without it, one request each. Needs
    /// [`RingFeature::BufferRing`].
    MultishotReceive,
    /// What arrives is packed densely into a few large buffers instead of one small buffer per
    /// receive. Needs [`RingFeature::BufferRing`].
    IncrementalBuffers,
    /// The kernel's share of the work runs when the shard asks for it.
    DeferTaskrun,
    /// The kernel's share of the work interrupts nobody; the second best, used where
    /// [`RingFeature::DeferTaskrun`] is not.
    CoopTaskrun,
    /// Accepted sockets live in the ring's own file table.
    Direct,
    /// One indirection less per request.
    NoSqarray,
    /// A send that went through is not reported; without it, every send is.
    SkipSuccess,
    /// A shard that sleeps is woken by a message to its ring instead of by an eventfd.
    MsgRing,
    /// Large sends are not copied into the kernel.
    ZeroCopySend,
}

impl RingFeature {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::MultishotAccept,
        Self::BufferRing,
        Self::MultishotReceive,
        Self::IncrementalBuffers,
        Self::DeferTaskrun,
        Self::CoopTaskrun,
        Self::Direct,
        Self::NoSqarray,
        Self::SkipSuccess,
        Self::MsgRing,
        Self::ZeroCopySend,
    ];

    /// The name that flags, logs and result files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MultishotAccept => "multishot-accept",
            Self::BufferRing => "buffer-ring",
            Self::MultishotReceive => "multishot-recv",
            Self::IncrementalBuffers => "incremental",
            Self::DeferTaskrun => "defer-taskrun",
            Self::CoopTaskrun => "coop-taskrun",
            Self::Direct => "direct",
            Self::NoSqarray => "no-sqarray",
            Self::SkipSuccess => "skip-success",
            Self::MsgRing => "msg-ring",
            Self::ZeroCopySend => "zc-send",
        }
    }

    /// The first kernel that has it and does it well.
    #[must_use]
    pub const fn since(self) -> &'static str {
        match self {
            Self::SkipSuccess => "5.17",
            Self::MsgRing => "5.18",
            Self::MultishotAccept | Self::BufferRing | Self::CoopTaskrun => "5.19",
            Self::MultishotReceive => "6.0",
            Self::DeferTaskrun => "6.1",
            Self::ZeroCopySend => "6.2",
            Self::NoSqarray => "6.6",
            Self::IncrementalBuffers => "6.16",
            Self::Direct => "6.13",
        }
    }

    /// What it is good for.
    #[must_use]
    pub const fn gives(self) -> &'static str {
        match self {
            Self::MultishotAccept => "one request accepts every connection",
            Self::BufferRing => {
                "an idle connection owns no receive buffer; otherwise it owns 4 KiB"
            }
            Self::MultishotReceive => "one request receives again and again",
            Self::IncrementalBuffers => "what arrives is packed densely into a few large buffers",
            Self::DeferTaskrun => {
                "the kernel's work runs when we ask for it; this is what beats epoll"
            }
            Self::CoopTaskrun => {
                "the kernel's work interrupts nobody; second best to defer-taskrun"
            }
            Self::Direct => "accepted sockets without the process's file table",
            Self::NoSqarray => "a little less memory to touch per request",
            Self::SkipSuccess => "no completion for a send that went through",
            Self::MsgRing => "shards wake each other through their rings",
            Self::ZeroCopySend => "large sends without a copy; only with a real network card",
        }
    }

    /// The feature that this one needs.
    #[must_use]
    pub const fn needs(self) -> Option<Self> {
        match self {
            Self::MultishotReceive | Self::IncrementalBuffers => Some(Self::BufferRing),
            _ => None,
        }
    }
}

impl fmt::Display for RingFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RingFeature {
    type Err = InvalidFeatures;

    fn from_str(name: &str) -> Result<Self, InvalidFeatures> {
        Self::ALL
            .into_iter()
            .find(|feature| feature.name() == name)
            .ok_or_else(|| InvalidFeatures::Unknown(name.to_owned()))
    }
}

/// Some of the features.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FeatureSet(u16);

impl FeatureSet {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Every feature.
    pub const ALL: Self = Self((1 << RingFeature::ALL.len()) - 1);

    const fn bit(feature: RingFeature) -> u16 {
        1 << feature as u16
    }

    /// Whether a feature is among them.
    #[must_use]
    pub const fn contains(self, feature: RingFeature) -> bool {
        self.0 & Self::bit(feature) != 0
    }

    /// This set, with one more feature.
    #[must_use]
    pub const fn with(self, feature: RingFeature) -> Self {
        Self(self.0 | Self::bit(feature))
    }

    /// This set, without one of its features.
    #[must_use]
    pub const fn without(self, feature: RingFeature) -> Self {
        Self(self.0 & !Self::bit(feature))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The features in this set, in the order of [`RingFeature::ALL`].
    pub fn iter(self) -> impl Iterator<Item = RingFeature> {
        RingFeature::ALL.into_iter().filter(move |feature| self.contains(*feature))
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        self.iter().enumerate().try_for_each(|(index, feature)| {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{feature}")
        })
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which features a ring is to have. Those wanted are used where the kernel has them. If
/// a required one is missing, starting fails. The others are not used.
///
/// As text it is a list that is read from left to right: `default`, `all` and `none` want that
/// many, `-direct` leaves one out, `+zc-send` requires one. What leads no list is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingFeatures {
    wanted: FeatureSet,
    required: FeatureSet,
}

impl Default for RingFeatures {
    /// All but message rings, which save something only where many shards are woken at once,
    /// zero-copy sends, which cost more than they save where packets are looped back, and
    /// incremental buffers, which make no difference below ten thousand connections.
    fn default() -> Self {
        let wanted = FeatureSet::ALL
            .without(RingFeature::IncrementalBuffers)
            .without(RingFeature::MsgRing)
            .without(RingFeature::ZeroCopySend);
        Self { wanted, required: FeatureSet::NONE }
    }
}

impl RingFeatures {
    /// These where the kernel gives them, and no others.
    #[must_use]
    pub const fn want(wanted: FeatureSet) -> Self {
        Self { wanted, required: FeatureSet::NONE }
    }

    /// These features, with this one required: if the kernel does not have it, starting fails.
    #[must_use]
    pub const fn require(self, feature: RingFeature) -> Self {
        Self { wanted: self.wanted.with(feature), required: self.required.with(feature) }
    }

    /// These features, without this one.
    #[must_use]
    pub const fn forbid(self, feature: RingFeature) -> Self {
        Self { wanted: self.wanted.without(feature), required: self.required.without(feature) }
    }

    /// The features to use where the kernel has them.
    #[must_use]
    pub const fn wanted(self) -> FeatureSet {
        self.wanted
    }

    /// The wanted features without which starting fails.
    #[must_use]
    pub const fn required(self) -> FeatureSet {
        self.required
    }
}

impl FromStr for RingFeatures {
    type Err = InvalidFeatures;

    fn from_str(list: &str) -> Result<Self, InvalidFeatures> {
        let mut features = Self::default();
        for item in list.split(',').map(str::trim) {
            features = match (item, item.strip_prefix('-')) {
                ("default", _) => Self::default(),
                ("all", _) => Self::want(FeatureSet::ALL),
                ("none", _) => Self::want(FeatureSet::NONE),
                (_, Some(name)) => features.forbid(name.parse()?),
                _ => features.require(item.strip_prefix('+').unwrap_or(item).parse()?),
            };
        }
        for feature in features.required.iter() {
            if let Some(other) = feature.needs().filter(|other| !features.wanted.contains(*other)) {
                return Err(InvalidFeatures::Needs(feature, other));
            }
        }
        Ok(features)
    }
}

/// Why a list of features means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidFeatures {
    /// No feature has this name.
    Unknown(String),
    /// The first is required and the second, without which it cannot be, is left out.
    Needs(RingFeature, RingFeature),
}

impl fmt::Display for InvalidFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(
                    f,
                    "no ring feature is called {name:?}; the known ones are {}, each with + or - in \
                     front, and default, all and none",
                    FeatureSet::ALL
                )
            }
            Self::Needs(one, other) => write!(f, "{one} needs {other}: leave both out, or neither"),
        }
    }
}

impl std::error::Error for InvalidFeatures {}

/// A feature that was wanted and does not work here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingFeature {
    /// The feature.
    pub feature: RingFeature,
    /// What keeps it from being used.
    pub because: String,
}

/// Why there is no ring, or none as it is to be.
#[derive(Debug)]
pub(crate) enum SetUpError {
    /// The kernel gives none.
    Ring(io::Error),
    /// It lacks a feature that it must have.
    Feature(MissingFeature),
}

/// How the ring driver is set up; the defaults are the fastest measured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RingConfig {
    /// Submission queue entries. A full queue costs one more system call, so this is no limit.
    /// Default 1,024.
    pub submission_entries: u32,
    /// Completion queue entries. Default 8,192.
    pub completion_entries: u32,
    /// Small receive buffers, 4 KiB each, that the kernel picks from; a power of two. Few, because
    /// their whole size is the cache footprint of receiving. Default 256. With
    /// [`RingFeature::IncrementalBuffers`] it is the same memory in buffers of 64 KiB.
    pub small_buffers: u16,
    /// Large receive buffers, 64 KiB each, for connections in the middle of large messages; a
    /// power of two. Default 16.
    pub large_buffers: u16,
    /// How long to look for completions before sleeping; zero, the default, sleeps at once.
    pub spin: Duration,
    /// Most of a shard's time that may be spent looking without finding, in percent of one core.
    /// Beyond it the shard sleeps at once until it has caught up. Default 100 when `spin` is set:
    /// a spinning shard owns its core.
    pub spin_budget_percent: u32,
    /// What of io_uring is used; all that pays where the kernel gives it.
    pub features: RingFeatures,
    /// Sends of at least so many bytes are not copied, where [`RingFeature::ZeroCopySend`] is on.
    /// Default 32 KiB.
    pub zero_copy_bytes: usize,
}

impl RingConfig {
    /// Most connections on one shard that a ring's own file table can hold
    /// ([`RingFeature::Direct`]). Up to that the table is as large as the process's limit of open
    /// files.
    pub const MAX_DIRECT: u32 = 1 << 20;
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            submission_entries: 1024,
            completion_entries: 8192,
            small_buffers: 256,
            large_buffers: 16,
            spin: Duration::ZERO,
            spin_budget_percent: 100,
            features: RingFeatures::default(),
            zero_copy_bytes: 32 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FeatureSet, InvalidFeatures, RingFeature, RingFeatures};

    #[test]
    fn a_list_is_read_from_left_to_right() {
        let usual = RingFeatures::default();
        let row = |list: &str| list.parse::<RingFeatures>().expect(list);
        assert_eq!(row("default"), usual);
        assert_eq!(row("all").wanted(), FeatureSet::ALL);
        assert_eq!(row("all,none"), RingFeatures::want(FeatureSet::NONE));
        assert_eq!(row("-direct").wanted(), usual.wanted().without(RingFeature::Direct));
        let required = row("none, +direct,zc-send ,-direct");
        assert_eq!(required.wanted(), FeatureSet::NONE.with(RingFeature::ZeroCopySend));
        assert_eq!(required.required(), required.wanted());
        for feature in RingFeature::ALL {
            assert_eq!(feature.name().parse(), Ok(feature));
            let off = row(&format!("all,-{feature}")).wanted();
            assert_eq!(off, FeatureSet::ALL.without(feature));
            assert_eq!(off.iter().count(), RingFeature::ALL.len() - 1);
        }
    }

    #[test]
    fn what_means_nothing_is_told() {
        for list in ["", "dirct", "-", "+", "all,,none", "-all", "ALL"] {
            let error = list.parse::<RingFeatures>().expect_err(list);
            assert!(matches!(error, InvalidFeatures::Unknown(_)), "{list}: {error}");
            assert!(error.to_string().contains("multishot-recv"), "{error}");
        }
        for feature in ["multishot-recv", "incremental"] {
            let error = format!("+{feature},-buffer-ring").parse::<RingFeatures>();
            let error = error.expect_err("it needs the other").to_string();
            assert!(error.contains(&format!("{feature} needs buffer-ring")), "{error}");
        }
    }
}
