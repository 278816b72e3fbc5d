//! What connections have in common.

use std::time::Duration;

use crate::conn::Limits;
use crate::handshake::{HeadLimits, ServerPolicy};

/// What connections have in common; share one by `Arc`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// Bounds on frames and messages.
    pub limits: Limits,
    /// Bounds on the peer's handshake.
    pub head_limits: HeadLimits,
    /// What a server accepts; a client has no use for it.
    pub policy: ServerPolicy,
    /// How long the opening handshake may take. Default 10 seconds.
    pub opening_timeout: Duration,
    /// How long the peer's answer to our Close may take, and, for a client, the server's end of
    /// the TCP connection behind it (CLOSE-08, AMB-14). Default 5 seconds.
    pub closing_timeout: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            head_limits: HeadLimits::default(),
            policy: ServerPolicy::default(),
            opening_timeout: Duration::from_secs(10),
            closing_timeout: Duration::from_secs(5),
        }
    }
}

impl ConnectionConfig {
    /// Sets the bounds on frames and messages.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the bounds on the peer's handshake.
    #[must_use]
    pub const fn with_head_limits(mut self, limits: HeadLimits) -> Self {
        self.head_limits = limits;
        self
    }

    /// Sets what a server accepts.
    #[must_use]
    pub fn with_policy(mut self, policy: ServerPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how long the opening handshake may take.
    #[must_use]
    pub const fn with_opening_timeout(mut self, timeout: Duration) -> Self {
        self.opening_timeout = timeout;
        self
    }

    /// Sets how long the closing handshake may take.
    #[must_use]
    pub const fn with_closing_timeout(mut self, timeout: Duration) -> Self {
        self.closing_timeout = timeout;
        self
    }
}
