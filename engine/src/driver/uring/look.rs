//! Looks at sockets, and the end of what takes too long.

use std::io;
use std::net::Shutdown;
use std::time::Instant;

use super::Uring;
use crate::driver::connection::{Armed, Phase};
use crate::shard::machine::{Look, Machine, ReadInterest};
use crate::shard::table::ConnectionId;
use crate::sys::operation::{Completion, Socket};
use crate::sys::socket::queues;

impl<M: Machine> Uring<M> {
    /// Looks at a connection's socket for the machine.
    pub(super) fn look(&mut self, id: ConnectionId, now: Instant) -> io::Result<()> {
        let given = self.machine.given(id, &self.sends);
        let socket = match self.find(id) {
            Some(connection) if connection.phase == Phase::Open => {
                if connection.armed == Armed::As(ReadInterest::Direct) {
                    // What it has brought by now nobody knows before it ends.
                    let first = !std::mem::replace(&mut connection.looking, true);
                    return if first { self.ring.cancel_direct(id) } else { Ok(()) };
                }
                Some(connection.socket)
            }
            _ => None,
        };
        let (untaken, unread) = match socket {
            Some(Socket::Direct(_)) => {
                return socket.map_or(Ok(()), |socket| self.ring.look_at(socket, id, given));
            }
            Some(Socket::Descriptor(fd)) => {
                self.ring.counters.enters += 2;
                let (untaken, unread) = queues(fd);
                // What has left the socket and waits for its turn here has arrived, too.
                let told: u32 = self.batch.iter().map(|completion| completion.brings(id)).sum();
                (untaken, unread.saturating_add(told).saturating_add(self.ring.received_early(id)))
            }
            None => (0, 0),
        };
        let look = Look { given, untaken, unread };
        self.machine.looked(id, look, &mut self.sends, now);
        Ok(())
    }

    pub(super) fn looked(&mut self, completion: Completion, now: Instant) {
        if let Some((id, look)) = self.ring.looked(completion) {
            self.machine.looked(id, look, &mut self.sends, now);
        }
    }

    /// What keeps a connection from being closed takes too long: it is cancelled by name, and its
    /// socket shut down.
    #[cold]
    pub(super) fn force(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.find(id) else { return Ok(()) };
        let idle = connection.shutdowns == 0;
        self.ring.cancel_all(id)?;
        if idle { self.shut_down(id, Shutdown::Both) } else { Ok(()) }
    }
}
