//! The life of a connection, as one table; nothing else assigns a [`State`].
//!
//! ```text
//!             Opened          SentClose          ReceivedClose
//!  Opening ───────────▶ Open ───────────▶ CloseSent ───────────▶ Closed (clean)
//!     │                  │ ReceivedClose                             ▲
//!     │                  ▼                  SentClose                │
//!     │             CloseReceived ───────────────────────────────────┘
//!     └── Failed from anywhere ──▶ Failed
//! ```
//!
//! A connection is closed *cleanly* when both sides have sent a Close frame before either closed
//! TCP (draft-02 §1.4, §7.3; CLOSE-07; RFC 6455 §7.1.4). The Close frame that tells a peer of RFC 6455
//! which rule it broke is sent on the way to Failed.

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The opening handshake has not finished.
    Opening,
    /// Messages flow both ways.
    Open,
    /// We started the closing handshake; messages may still arrive.
    CloseSent,
    /// The peer started the closing handshake and our answer is due.
    CloseReceived,
    /// Both Close frames are through: the TCP connection may go.
    Closed,
    /// A rule was broken or TCP ended early: the TCP connection must go.
    Failed,
}

/// What moves a connection from one [`State`] to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Opened,
    SentClose,
    ReceivedClose,
    Failed,
}

impl State {
    /// The table. A step that a state does not know leaves it where it is: a second Close frame
    /// of either side means nothing (CTL-06, CTL-08).
    #[must_use]
    pub(crate) const fn after(self, step: Step) -> Self {
        match (self, step) {
            (Self::Opening, Step::Opened) => Self::Open,
            (Self::Open, Step::SentClose) => Self::CloseSent,
            (Self::Open, Step::ReceivedClose) => Self::CloseReceived,
            (Self::CloseSent, Step::ReceivedClose) | (Self::CloseReceived, Step::SentClose) => {
                Self::Closed
            }
            (Self::Closed, _) => Self::Closed,
            (_, Step::Failed) => Self::Failed,
            (state, _) => state,
        }
    }

    /// Whether data frames may be sent: never after a Close (CTL-05).
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether bytes that arrive are still read; after the peer's Close they are discarded
    /// (CTL-06).
    #[must_use]
    pub const fn can_receive(self) -> bool {
        matches!(self, Self::Open | Self::CloseSent)
    }

    /// Whether nothing more will be sent or read.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::State::{CloseReceived, CloseSent, Closed, Failed, Open, Opening};
    use super::Step;

    #[test]
    fn every_cell_of_the_table() {
        // covers: CTL-04, CTL-05, CTL-06, CTL-08, CLOSE-07
        let rows = [
            (Opening, [Open, Opening, Opening, Failed]),
            (Open, [Open, CloseSent, CloseReceived, Failed]),
            (CloseSent, [CloseSent, CloseSent, Closed, Failed]),
            (CloseReceived, [CloseReceived, Closed, CloseReceived, Failed]),
            (Closed, [Closed, Closed, Closed, Closed]),
            (Failed, [Failed, Failed, Failed, Failed]),
        ];
        for (state, expected) in rows {
            let steps = [Step::Opened, Step::SentClose, Step::ReceivedClose, Step::Failed];
            for (step, next) in steps.into_iter().zip(expected) {
                assert_eq!(state.after(step), next, "{state:?} after {step:?}");
            }
        }
        assert!(Open.can_send() && !CloseSent.can_send() && !CloseReceived.can_send());
        assert!(CloseSent.can_receive() && !CloseReceived.can_receive() && !Closed.can_receive());
    }
}
