//! How connections begin: accepted from a listener, or made to a server.

use std::io;
use std::net::IpAddr;
use std::os::fd::IntoRawFd as _;
use std::time::Instant;

use super::Uring;
use crate::config::RingFeature;
use crate::driver::accept::{self, ACCEPT_PAUSE};
use crate::driver::connection::{Armed, Connection, Phase};
use crate::shard::machine::{Endpoint, Machine, ReadInterest};
use crate::shard::table::ConnectionId;
use crate::sys::operation::{Completion, Socket};

impl<M: Machine> Uring<M> {
    pub(super) fn accept(&mut self) -> io::Result<()> {
        for (index, listening) in self.listeners.iter_mut().enumerate() {
            if !std::mem::replace(&mut listening.active, true) {
                self.ring.accept(listening.listener.as_raw_fd(), index)?;
            }
        }
        Ok(())
    }

    pub(super) fn stop_accepting(&mut self) -> io::Result<()> {
        // Closing the listeners refuses newcomers; the kernel resets those that waited.
        self.accept_again = None;
        for (index, listening) in self.listeners.drain(..).enumerate() {
            if listening.active {
                self.ring.cancel_accept(index)?;
            }
        }
        Ok(())
    }

    pub(super) fn accepted(&mut self, completion: Completion, now: Instant) -> io::Result<()> {
        let index = completion.listener();
        let listening = self.listeners.get_mut(index);
        let serving = listening.is_some();
        let armed = listening.is_none_or(|listening| {
            listening.active &= completion.more();
            listening.active
        });
        let Ok(number) = u32::try_from(completion.result) else {
            if serving {
                // Out of files or memory, or the peer was gone again: only newcomers suffer.
                self.ring.counters.accept_failures += 1;
                self.accept_again = Some(now + ACCEPT_PAUSE);
            }
            return Ok(());
        };
        let socket = if self.ring.features().contains(RingFeature::Direct) {
            Socket::Direct(number)
        } else {
            Socket::Descriptor(completion.result)
        };
        if !armed {
            self.accept()?;
        }
        match self.machine.accepted(index, &mut self.sends, now) {
            Some(id) => {
                self.occupy(id, socket, Phase::Open);
                self.reconcile(id, ReadInterest::Small)
            }
            None => self.ring.close(socket),
        }
    }

    fn occupy(&mut self, id: ConnectionId, socket: Socket, phase: Phase) {
        let slot = id.slot() as usize;
        if slot >= self.connections.len() {
            self.connections.resize(slot + 1, Connection::FREE);
        }
        self.connections[slot] = Connection::new(socket, id.generation(), phase);
    }

    pub(super) fn connect(
        &mut self,
        id: ConnectionId,
        from: Option<IpAddr>,
        to: &Endpoint,
        now: Instant,
    ) -> io::Result<()> {
        match accept::outgoing(from, to) {
            Ok((socket, to)) => {
                let fd = socket.into_raw_fd();
                self.occupy(id, Socket::Descriptor(fd), Phase::Connecting);
                self.ring.connect(fd, id, to)
            }
            Err(e) => {
                let error = e.raw_os_error().unwrap_or(libc::EIO);
                self.machine.hung_up(id, Some(error), &mut self.sends, now);
                Ok(())
            }
        }
    }

    pub(super) fn connected(&mut self, completion: Completion, now: Instant) -> io::Result<()> {
        let Some(id) = self.ring.take_connected(completion) else { return Ok(()) };
        let Some(connection) = self.find(id) else { return Ok(()) };
        if connection.phase == Phase::Closing {
            connection.armed = Armed::No;
            return self.release(id);
        }
        connection.phase = Phase::Open;
        if completion.result < 0 {
            connection.read_closed = true;
            self.machine.hung_up(id, Some(-completion.result), &mut self.sends, now);
            return Ok(());
        }
        self.machine.connected(id, &mut self.sends, now);
        self.reconcile(id, ReadInterest::Small)
    }
}
