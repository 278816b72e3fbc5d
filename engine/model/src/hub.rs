//! The engine's own mailbox, and what it needs of its surroundings.

#[expect(dead_code, reason = "the models do not use all of it")]
#[path = "../../src/hub/mailbox.rs"]
mod mailbox;
pub(crate) mod sync;

pub(crate) use mailbox::{Mailbox, Reservation, Weight};

/// More than any model puts into a box.
const MAILBOX_BYTES: u64 = 16 << 20;

/// A command, by its number; not 0.
#[derive(Debug)]
pub(crate) struct PublishCommand(pub(crate) u64);

/// Other mail, by its number; not 0.
#[derive(Debug)]
pub(crate) struct Command(pub(crate) u64);

/// What is told by one number that threads may share.
pub(crate) trait Numbered {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

impl Numbered for PublishCommand {
    fn number(self) -> u64 {
        self.0
    }

    fn of(number: u64) -> Self {
        Self(number)
    }
}

impl Numbered for Command {
    fn number(self) -> u64 {
        self.0
    }

    fn of(number: u64) -> Self {
        Self(number)
    }
}
