//! What the dialects ask of a connection beyond the look of a frame, one table each: nothing else
//! in `conn` and above asks which dialect it is.

use super::Role;
use crate::wire::Dialect;

/// One dialect's policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Clients mask every frame and servers none (RFC 6455 §5.1).
    client_masks: bool,
    /// Close frames carry a code and a reason (RFC 6455 §5.5.1), and so a failure is told to the
    /// peer by one, before TCP ends as it does after a closing handshake (§7.1.7). Without, the
    /// answer to a Close repeats its payload (AMB-13), and a failure ends TCP at once.
    pub(crate) close_codes: bool,
    /// Text is judged as its bytes arrive, and bad text always ends the connection (RFC 6455
    /// §8.1). Without, a whole message is judged, a client reads bad text as U+FFFD (UTF8-01) and
    /// the limits say what a server does.
    pub(crate) strict_text: bool,
    /// Longest payload of a control frame (RFC 6455 §5.5; AMB-06).
    pub(crate) control_max: usize,
    /// Whether a server of draft-00 can pass the opening handshake (AMB-11).
    pub(crate) draft_00_passes: bool,
}

const HYBI02: Rules = Rules {
    client_masks: false,
    close_codes: false,
    strict_text: false,
    control_max: usize::MAX,
    draft_00_passes: true,
};

const RFC6455: Rules = Rules {
    client_masks: true,
    close_codes: true,
    strict_text: true,
    control_max: 125,
    draft_00_passes: false,
};

impl Rules {
    /// The dialect's table; by value, so that one line of it is a comparison and no load.
    #[inline(always)]
    pub(crate) const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Hybi02 => HYBI02,
            Dialect::Rfc6455 => RFC6455,
        }
    }

    /// Whether this role's frames are masked.
    #[inline(always)]
    pub(crate) const fn masks(self, role: Role) -> bool {
        self.client_masks && matches!(role, Role::Client)
    }
}
