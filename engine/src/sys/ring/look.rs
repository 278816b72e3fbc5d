//! Looks at sockets that have no descriptor, and the end of what takes too long.

use std::io;

use io_uring::{opcode, squeue};

use super::{InFlight, Ring, to_key};
use crate::sys::batch::{Fill, Gather};
use crate::sys::id::ConnectionId;
use crate::sys::look::Look;
use crate::sys::operation::{Completion, Operation, Socket, UserData, on};

/// `SOCKET_URING_OP_SIOCINQ`: how much waits to be read.
pub(super) const UNREAD: u32 = 0;
/// `SOCKET_URING_OP_SIOCOUTQ`: how much the peer's kernel has not taken.
pub(super) const UNTAKEN: u32 = 1;

/// A look that is under way: the kernel is asked two things.
#[derive(Debug)]
pub(super) struct Looking {
    id: ConnectionId,
    look: Look,
    /// Answers that are still to come.
    left: u8,
}

impl<S: Gather, R: Fill> Ring<S, R> {
    /// Asks the kernel what is to be seen of a socket that has been given so many bytes.
    pub(crate) fn look_at(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        given: u32,
    ) -> io::Result<()> {
        let look = Look { given, ..Look::default() };
        let key = to_key(self.in_flight.insert(InFlight::Look(Looking { id, look, left: 2 })));
        self.push(command(socket, UNREAD), UserData::key(Operation::LookUnread, key))?;
        self.push(command(socket, UNTAKEN), UserData::key(Operation::LookUntaken, key))
    }

    /// Bytes that the kernel has received for a connection and that no exchange has told of yet.
    pub(crate) fn received_early(&mut self, id: ConnectionId) -> u32 {
        self.reap();
        self.early.iter().map(|completion| completion.brings(id)).sum()
    }

    /// What was seen, once all of it is known. A kernel that will not tell has seen nothing.
    pub(crate) fn looked(&mut self, completion: Completion) -> Option<(ConnectionId, Look)> {
        let key = completion.user_data.low() as usize;
        let Some(InFlight::Look(looking)) = self.in_flight.get_mut(key) else { return None };
        let bytes = u32::try_from(completion.result).unwrap_or(0);
        match completion.user_data.operation() {
            Operation::LookUnread => looking.look.unread = bytes,
            _ => looking.look.untaken = bytes,
        }
        looking.left -= 1;
        if looking.left > 0 {
            return None;
        }
        let seen = (looking.id, looking.look);
        self.in_flight.remove(key);
        Some(seen)
    }

    /// Ends a direct receive, which completes with what it has.
    pub(crate) fn cancel_direct(&mut self, id: ConnectionId) -> io::Result<()> {
        self.cancel_in_flight(id, |one| matches!(one, InFlight::Receive { .. }))
    }

    /// Ends whatever the kernel has of a connection, and says nothing of it otherwise.
    pub(crate) fn cancel_all(&mut self, id: ConnectionId) -> io::Result<()> {
        self.cancel_receive(id)?;
        self.cancel_in_flight(id, |_| true)
    }

    fn cancel_in_flight(
        &mut self,
        id: ConnectionId,
        which: impl Fn(&InFlight<S, R>) -> bool,
    ) -> io::Result<()> {
        let of_it = self.in_flight.iter().filter(|(_, one)| which(one));
        let targets: Vec<_> = of_it.filter_map(|(key, one)| one.target(id, to_key(key))).collect();
        for target in targets {
            let cancel = self.unreported(opcode::AsyncCancel::new(target.0).build());
            self.push(cancel, UserData::connection(Operation::Cancel, id))?;
        }
        Ok(())
    }
}

pub(super) fn command(socket: Socket, what: u32) -> squeue::Entry {
    on(
        socket,
        |fd| opcode::UringCmd16::new(fd, what).build(),
        |fd| opcode::UringCmd16::new(fd, what).build(),
    )
}

impl<S: Gather, R> InFlight<S, R> {
    /// What it is called, if it is of this connection and can take long.
    fn target(&self, of: ConnectionId, key: u32) -> Option<UserData> {
        let (id, operation) = match self {
            Self::Send(send) if !send.is_over() => (send.id(), Operation::SlowSend),
            Self::Receive { id, .. } => (*id, Operation::ReceiveDirect),
            Self::Connect { id, .. } => (*id, Operation::Connect),
            Self::Send(_) | Self::Look(_) => return None,
        };
        (id == of).then(|| UserData::key(operation, key))
    }
}
