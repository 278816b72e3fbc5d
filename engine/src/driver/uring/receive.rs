//! Receives of the ring driver: which kind is armed, what came, and waiting for buffers.

use std::io;
use std::time::Instant;

use super::Uring;
use crate::driver::DIRECT_READ_BYTES;
use crate::driver::connection::{Armed, Phase};
use crate::shard::machine::{Machine, ReadInterest};
use crate::shard::send_batch::Lease;
use crate::shard::table::ConnectionId;
use crate::sys::operation::{Class, Completion, Socket};

impl<M: Machine> Uring<M> {
    #[inline]
    pub(super) fn received(&mut self, completion: Completion, now: Instant) -> io::Result<()> {
        let Some((id, connection)) = self.find_completed(completion.user_data) else {
            self.stale(completion);
            return Ok(());
        };
        // A cancelled receive keeps its class until its last completion.
        let class = connection.class();
        if !completion.more() {
            connection.armed = Armed::No;
        }
        let closing = connection.phase == Phase::Closing;
        let lease = self.ring.lease(completion, class);
        let Ok(len) = usize::try_from(completion.result) else {
            self.return_memory(lease);
            return self.receive_failed(id, -completion.result, now);
        };
        let (lease, unused) = if len > 0 && !closing { (lease, None) } else { (None, lease) };
        let Some(lease) = lease else {
            self.return_memory(unused);
            if closing {
                return self.release(id);
            }
            return if len == 0 { self.end_of_stream(id, now) } else { Ok(()) };
        };
        let Some(input) = self.ring.lend(lease.number(), len) else { return Ok(()) };
        let want = self.machine.received(id, input, &lease, &mut self.sends, now);
        if self.sends.took_lease() {
            self.held.push(lease);
        } else {
            self.ring.end_lease(lease);
        }
        if self.connections[id.slot() as usize].armed != Armed::As(want) {
            self.reconcile(id, want)?;
        }
        Ok(())
    }

    fn return_memory(&mut self, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.ring.end_lease(lease);
        }
    }

    /// A completion of a connection that is gone.
    #[cold]
    fn stale(&mut self, completion: Completion) {
        self.ring.counters.stale_completions += 1;
        // A slot is freed only when nothing is armed, so this brings no memory; if it did, that is
        // worth more than knowing its class.
        let lease = self.ring.lease(completion, Class::Small);
        debug_assert!(lease.is_none());
        self.return_memory(lease);
    }

    fn end_of_stream(&mut self, id: ConnectionId, now: Instant) -> io::Result<()> {
        if let Some(connection) = self.find(id) {
            connection.read_closed = true;
        }
        self.machine.hung_up(id, None, &mut self.sends, now);
        Ok(())
    }

    #[cold]
    fn receive_failed(&mut self, id: ConnectionId, error: i32, now: Instant) -> io::Result<()> {
        let Some(connection) = self.find(id) else { return Ok(()) };
        if connection.phase == Phase::Closing {
            return self.release(id);
        }
        match error {
            // Not the connection's fault: it waits its turn for a buffer.
            libc::ENOBUFS => {
                self.ring.counters.buffers_exhausted += 1;
                self.park(id);
                Ok(())
            }
            libc::ECANCELED => {
                let want = self.machine.want(id);
                self.reconcile(id, want)
            }
            libc::EINTR | libc::EAGAIN => {
                let want = self.machine.want(id);
                self.reconcile(id, want)
            }
            _ => {
                connection.read_closed = true;
                self.machine.hung_up(id, Some(error), &mut self.sends, now);
                Ok(())
            }
        }
    }

    fn park(&mut self, id: ConnectionId) {
        if let Some(connection) = self.find(id)
            && !connection.parked
        {
            connection.parked = true;
            self.parked.push_back(id);
        }
    }

    /// Arms parked receives again once half a class's buffers are back, and no more of them than
    /// there are: arming all at once would only empty the ring again.
    pub(super) fn unpark(&mut self) -> io::Result<()> {
        if self.parked.is_empty() {
            return Ok(());
        }
        let mut available = [Class::Small, Class::Large].map(|class| self.ring.room(class));
        for _ in 0..self.parked.len() {
            let Some(id) = self.parked.pop_front() else { break };
            let want = self.machine.want(id);
            let Some(connection) = self.find(id) else { continue };
            let class = usize::from(matches!(want, ReadInterest::Large | ReadInterest::LargeOnce));
            if available[class] == 0 {
                self.parked.push_back(id);
                continue;
            }
            available[class] -= 1;
            connection.parked = false;
            self.reconcile(id, want)?;
        }
        Ok(())
    }

    pub(super) fn received_direct(
        &mut self,
        completion: Completion,
        now: Instant,
    ) -> io::Result<()> {
        let Some((id, memory)) = self.ring.take_received(completion) else { return Ok(()) };
        let Some(connection) = self.find(id) else { return Ok(()) };
        connection.armed = Armed::No;
        if connection.phase == Phase::Closing {
            return self.release(id);
        }
        let (n, error) = match usize::try_from(completion.result) {
            Ok(n) => (n, None),
            Err(_) => (0, Some(-completion.result)),
        };
        let looking = std::mem::take(&mut connection.looking);
        let want = self.machine.received_direct(id, memory, n, &mut self.sends, now);
        if looking {
            self.look(id, now)?;
        }
        match error {
            Some(error) => self.receive_failed(id, error, now),
            None if n == 0 => self.end_of_stream(id, now),
            None => self.reconcile(id, want),
        }
    }

    /// Makes the receive what is wanted: arms it, or cancels one of another kind first.
    pub(super) fn reconcile(&mut self, id: ConnectionId, want: ReadInterest) -> io::Result<()> {
        let Some(connection) = self.find(id) else { return Ok(()) };
        if connection.read_closed || connection.parked || connection.phase != Phase::Open {
            return Ok(());
        }
        let socket = connection.socket;
        match connection.armed {
            Armed::As(armed) if armed == want => Ok(()),
            // Only the peer's end is still awaited, and that may take long: what this receives into is
            // wanted back now.
            Armed::As(ReadInterest::Direct) if want == ReadInterest::SmallOnce => {
                connection.armed = Armed::Cancelling(ReadInterest::Direct);
                self.ring.cancel_direct(id)
            }
            // These end by themselves.
            Armed::As(ReadInterest::Direct | ReadInterest::SmallOnce | ReadInterest::LargeOnce)
            | Armed::Cancelling(_) => Ok(()),
            Armed::As(armed) => {
                connection.armed = Armed::Cancelling(armed);
                self.ring.cancel_receive(id)
            }
            Armed::No => {
                connection.armed =
                    if want == ReadInterest::Nothing { Armed::No } else { Armed::As(want) };
                match want {
                    ReadInterest::Nothing => Ok(()),
                    ReadInterest::Small => self.ring.receive(socket, id, Class::Small, false),
                    ReadInterest::SmallOnce => self.ring.receive(socket, id, Class::Small, true),
                    ReadInterest::Large => self.ring.receive(socket, id, Class::Large, false),
                    ReadInterest::LargeOnce => self.ring.receive(socket, id, Class::Large, true),
                    ReadInterest::Direct => self.receive_direct(id, socket),
                }
            }
        }
    }

    fn receive_direct(&mut self, id: ConnectionId, socket: Socket) -> io::Result<()> {
        match self.machine.take_direct(id) {
            Some((memory, wanted)) => {
                self.ring.receive_direct(socket, id, memory, wanted.min(DIRECT_READ_BYTES))
            }
            None => {
                self.connections[id.slot() as usize].armed = Armed::As(ReadInterest::Large);
                self.ring.receive(socket, id, Class::Large, false)
            }
        }
    }
}
