//! What a client application steers: the connections it opens.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::machine::Action;
use super::opening::Opening;
use super::route::{Route, source};
use super::send_batch::SendBatch;
use super::slot::Slot;
use super::socket::WebSocket;
use super::table::{ConnectionId, Table};
use super::wheel::ticks;
use super::{Application, Context, Shard};
use crate::conn::Role;
use crate::handshake::{ClientRequest, ConnectQueue, RemoteHost, Ticket};
use crate::outcome::Full;

/// The connections of a client, for the length of a callback.
#[derive(Debug)]
pub struct Fleet<'a, D> {
    table: &'a mut Table<Slot<D>>,
    context: &'a mut Context,
    sends: &'a mut SendBatch,
    dials: &'a mut Dials,
    tick: super::wheel::Tick,
}

/// Most connections to different addresses that are under way at once; the draft asks to keep that
/// low.
const CONNECTING_MAX: usize = 256;

/// Connections that an application has asked for and that are not under way yet.
#[derive(Debug)]
pub(super) struct Dials {
    /// Decides whose turn it is; without it everybody's.
    queue: Option<ConnectQueue>,
    waiting: HashMap<Ticket, Action>,
    ready: VecDeque<Action>,
}

impl Dials {
    pub(super) fn new(in_turn: bool) -> Self {
        let queue = in_turn.then(|| ConnectQueue::new(CONNECTING_MAX));
        Self { queue, waiting: HashMap::new(), ready: VecDeque::new() }
    }

    pub(super) fn enter(&mut self, host: RemoteHost) -> Option<Ticket> {
        Some(self.queue.as_mut()?.enter(host))
    }

    /// Adds a connection that is to be made when its ticket says so; without one as soon as possible.
    pub(super) fn add(&mut self, ticket: Option<Ticket>, connect: Action) {
        match ticket {
            Some(ticket) => drop(self.waiting.insert(ticket, connect)),
            None => self.ready.push_back(connect),
        }
    }

    /// Gives up a place in the queue: the connection is established, or failed.
    pub(super) fn leave(&mut self, ticket: Option<Ticket>) {
        if let (Some(queue), Some(ticket)) = (&mut self.queue, ticket) {
            queue.leave(ticket);
            self.waiting.remove(&ticket);
        }
    }

    /// The next connection whose turn it is.
    fn next(&mut self) -> Option<Action> {
        if let Some(queue) = &mut self.queue {
            while let Some(ticket) = queue.poll_start() {
                if let Some(connect) = self.waiting.remove(&ticket) {
                    return Some(connect);
                }
            }
        }
        self.ready.pop_front()
    }
}

impl<D> Fleet<'_, D> {
    /// Opens a connection: TCP, then the opening handshake. `on_open` tells when it is
    /// established, `on_close` when that failed. A wss URL is reached by TLS, as `Config::client_tls`
    /// says. Under [`crate::Config::connect_in_turn`] it waits until no other connection to the
    /// address is under way; unix sockets know no such turns.
    ///
    /// `to` is where the server is, an address or all those of its name, or a proxy: see [`Route`]. Each
    /// address of a name has its share of the handshake timeout; if all fail, `on_close` tells what the
    /// first one failed with. `from` is an address of this machine to connect from; it does not count
    /// where the other end's is of another family.
    ///
    /// # Errors
    ///
    /// [`Full`] at the limit `max_connections`.
    pub fn connect(
        &mut self,
        request: Arc<ClientRequest>,
        from: Option<IpAddr>,
        to: impl Into<Route>,
        data: D,
    ) -> Result<ConnectionId, Full> {
        let route = to.into();
        let to = route.endpoint().ok_or(Full)?;
        let remote = route.remote(request.url(), &to);
        let path = route.begin(&to, from);
        let ticket = remote.and_then(|host| self.dials.enter(host));
        let mut slot = Slot::new(Role::Client, self.tick);
        slot.data = Some(data);
        slot.secure = request.url().secure();
        slot.opening = Some(Opening::dial(request, ticket, path));
        let Ok(id) = self.table.insert(slot) else {
            self.dials.leave(ticket);
            return Err(Full);
        };
        self.context.counters.accepted += 1;
        self.dials.add(ticket, Action::Connect { id, from: source(from, &to), to });
        Ok(id)
    }

    /// The connection, if it still lives; what is sent on it leaves at the end of this turn.
    pub fn socket(&mut self, id: ConnectionId) -> Option<WebSocket<'_, D>> {
        let slot = self.table.find(id)?;
        let data = slot.data.as_mut()?;
        Some(WebSocket::new(id, data, &mut slot.side, self.sends, self.context))
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
        self.context.stop = true;
    }
}

impl<A: Application> Shard<A> {
    /// An attempt to connect has failed, or takes too long: whether the next address of the name will be
    /// tried. That begins when the socket of this one is gone.
    pub(super) fn try_next(&mut self, id: ConnectionId, error: i32) -> bool {
        let Some(slot) = self.table.find(id) else { return false };
        let path = slot.opening.as_mut().and_then(|opening| opening.path());
        let more = path.is_some_and(|path| path.failed(error));
        if more {
            self.requested.push(Action::Close(id));
        }
        more
    }

    /// The socket of a connection is gone: makes the next attempt, if there is to be one.
    pub(super) fn dial_next(&mut self, id: ConnectionId) -> bool {
        let Some(slot) = self.table.find(id) else { return false };
        let Some(opening) = &mut slot.opening else { return false };
        let Some((from, to, host)) = opening.next_attempt() else { return false };
        // Behind a proxy it is the same host as before, and its turn goes on.
        if let Some(host) = host {
            self.dials.leave(opening.ticket());
            opening.set_ticket(self.dials.enter(host));
            self.dials.add(opening.ticket(), Action::Connect { id, from, to });
        } else {
            self.dials.add(None, Action::Connect { id, from, to });
        }
        true
    }

    pub(super) fn run_application(
        &mut self,
        sends: &mut SendBatch,
        now: Instant,
    ) -> Option<Instant> {
        let mut fleet = Fleet {
            table: &mut self.table,
            context: &mut self.context,
            sends,
            dials: &mut self.dials,
            tick: self.tick,
        };
        let wake = self.app.on_turn(&mut fleet, now);
        self.attend();
        wake
    }

    /// Makes the connections whose turn it is; their time runs from now.
    pub(super) fn start_dials(&mut self) {
        while let Some(connect) = self.dials.next() {
            let Action::Connect { id, .. } = connect else { continue };
            if let Some(slot) = self.table.find(id) {
                let begun = slot.since;
                slot.since = self.tick;
                if let Some(path) = slot.opening.as_mut().and_then(|opening| opening.path()) {
                    let timeout = ticks(self.context.settings.handshake_timeout);
                    slot.since = path.attempt(self.tick, begun, timeout);
                }
                self.requested.push(connect);
                self.schedule(id);
            }
        }
    }
}
