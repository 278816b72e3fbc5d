//! What a client application steers: the connections it opens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::machine::Action;
use super::opening::Opening;
use super::slot::Slot;
use super::socket::WebSocket;
use super::table::{ConnectionId, Table};
use super::turn::Turn;
use super::{Application, Shard, World};
use crate::conn::Role;
use crate::handler::Full;
use crate::handshake::ClientRequest;

/// The connections of a client, for the length of a callback.
#[derive(Debug)]
pub struct Fleet<'a, D> {
    table: &'a mut Table<Slot<D>>,
    world: &'a mut World,
    turn: &'a mut Turn,
    requested: &'a mut Vec<Action>,
    opened: &'a mut Vec<ConnectionId>,
    tick: super::wheel::Tick,
}

impl<D> Fleet<'_, D> {
    /// Opens a connection: TCP, then the opening handshake. `on_open` tells when it is
    /// established, `on_close` when that failed. Nothing limits how many are under way at once;
    /// [`crate::handshake`] has the queue that draft-02 §5.1 step 2 asks of user agents.
    ///
    /// # Errors
    ///
    /// [`Full`] at the limit `max_connections`.
    pub fn connect(
        &mut self,
        request: Arc<ClientRequest>,
        from: Option<IpAddr>,
        to: SocketAddr,
        data: D,
    ) -> Result<ConnectionId, Full> {
        let mut slot = Slot::new(Role::Client, self.tick);
        slot.data = Some(data);
        slot.opening = Some(Opening::dial(request));
        let id = self.table.insert(slot).map_err(|_| Full)?;
        self.world.counters.accepted += 1;
        self.opened.push(id);
        self.requested.push(Action::Connect { id, from, to });
        Ok(id)
    }

    /// The connection, if it still lives; what is sent on it leaves at the end of this turn.
    pub fn socket(&mut self, id: ConnectionId) -> Option<WebSocket<'_, D>> {
        let slot = self.table.find(id)?;
        let data = slot.data.as_mut()?;
        Some(WebSocket::new(id, data, &mut slot.side, self.turn, self.world))
    }

    /// Connections that have not ended.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Leaves the loop at the end of this turn, whatever is still open.
    pub const fn stop(&mut self) {
        self.world.stop = true;
    }
}

impl<A: Application> Shard<A> {
    pub(super) fn run_application(&mut self, turn: &mut Turn, now: Instant) -> Option<Instant> {
        let mut opened = Vec::new();
        let mut fleet = Fleet {
            table: &mut self.table,
            world: &mut self.world,
            turn,
            requested: &mut self.requested,
            opened: &mut opened,
            tick: self.tick,
        };
        let wake = self.app.on_turn(&mut fleet, now);
        for id in opened {
            self.schedule(id);
        }
        self.attend();
        wake
    }
}
