//! TLS between a driver and a shard: the driver moves records, the shard sees what is in them. It comes
//! before the opening handshake, on both sides (HS-C-05, HS-S-21).
//!
//! ```text
//!  driver ── records ──▶ Session::receive ── plain bytes ──▶ shard
//!  driver ◀── records ── seal: one entry of the turn at a time, its plain bytes replaced ── shard
//! ```
//!
//! A driver of a server or client without TLS runs the bare shard, and pays nothing for this. Here
//! connections of plain listeners pass through at the cost of a look into a table.
//!
//! Records are encrypted when the turn is about to be sent ([`Machine::seal`]): whatever a connection
//! queued in it leaves in as few records as it fills. What waits behind a send that blocked waits as
//! plain bytes and is encrypted when its turn comes, so that the order of records is the order of
//! bytes. What TLS itself has to say goes before the next such bytes. Kernel TLS would take a session
//! over once its handshake is done ([`Session::open`]); from then on its connection would pass through
//! here like a plain one.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod end;
mod session;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use crate::conn::Reassembly;
use crate::credentials::{ClientTls, ServerTls};
use crate::error::TlsError;
use crate::handshake::ClientRequest;
use crate::hub::Mailbox;
use crate::memory::Share;
use crate::metrics::RingCounters;
use crate::shard::machine::{Action, Look, Machine, Next, ReadInterest, Secured};
use crate::shard::send::{Piece, Transmit};
use crate::shard::send_batch::{Chunk, Lease, ROOM_MAX, Segment, SendBatch};
use crate::shard::table::ConnectionId;
pub use end::TlsEnd;
use session::{OVERHEAD, RECORD, Session};

/// A machine that puts TLS around another one.
pub(crate) struct Tls<M> {
    inner: M,
    /// What each listener shows, by its place; nothing where it is a plain one.
    acceptors: Vec<Option<Acceptor>>,
    client: Option<ClientTls>,
    /// By slot; plain connections have none.
    sessions: Vec<Option<Box<Session>>>,
    /// Sessions that have something of their own to send.
    talking: Vec<ConnectionId>,
    /// Ends of connections that wait for their close_notify to leave with this turn.
    held: Vec<Action>,
    /// Connections whose close_notify has left.
    due: VecDeque<Action>,
    /// What a read was decrypted to.
    plain: Vec<u8>,
    /// What the next record will hold.
    content: Vec<u8>,
    /// The ranges of the entry that is being encrypted.
    segments: Vec<Segment>,
}

/// A listener's configuration, and which of its versions is in use.
struct Acceptor {
    tls: ServerTls,
    version: u64,
    config: Arc<rustls::ServerConfig>,
}

impl Acceptor {
    fn new(tls: ServerTls) -> Self {
        let (version, config) = (tls.version(), tls.current());
        Self { tls, version, config }
    }

    fn session(&mut self, id: ConnectionId) -> Result<Session, TlsError> {
        let version = self.tls.version();
        if version != self.version {
            (self.version, self.config) = (version, self.tls.current());
        }
        let side = UnbufferedServerConnection::new(Arc::clone(&self.config));
        Ok(Session::server(id.generation(), side.map_err(|e| session::reason(&e))?))
    }
}

impl<M: fmt::Debug> fmt::Debug for Tls<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<M: Secured> Tls<M> {
    /// A layer over `inner`, whose listeners are secured where there is a configuration at their
    /// place.
    pub(crate) fn new(
        inner: M,
        servers: impl IntoIterator<Item = Option<ServerTls>>,
        client: Option<ClientTls>,
    ) -> Self {
        Self {
            inner,
            acceptors: servers.into_iter().map(|tls| tls.map(Acceptor::new)).collect(),
            client,
            sessions: Vec::new(),
            talking: Vec::new(),
            held: Vec::new(),
            due: VecDeque::new(),
            plain: Vec::new(),
            content: Vec::with_capacity(RECORD),
            segments: Vec::new(),
        }
    }

    pub(crate) fn into_inner(self) -> M {
        self.inner
    }

    fn insert(&mut self, id: ConnectionId, session: Session) {
        let slot = id.slot() as usize;
        if slot >= self.sessions.len() {
            self.sessions.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.sessions.get_mut(slot) {
            *place = Some(Box::new(session));
        }
    }

    /// A connection of ours whose TCP stands and which is to be secured.
    fn dial(&mut self, id: ConnectionId, request: &ClientRequest) {
        let Some(tls) = &self.client else {
            return self.inner.insecure(id, TlsError::NotConfigured);
        };
        let side = match tls.name(request.url().host()) {
            Some(name) => UnbufferedClientConnection::new(tls.config(), name),
            // No certificate could be for it.
            None => return self.inner.insecure(id, TlsError::WrongName),
        };
        let started = side.map_err(|e| session::reason(&e)).and_then(|side| {
            let mut session = Session::client(id.generation(), side);
            session.start().map(|()| session)
        });
        match started {
            Ok(session) => {
                self.insert(id, session);
                self.list(id);
            }
            Err(error) => self.inner.insecure(id, error),
        }
    }

    /// A proxy has opened the tunnel of a connection of ours: it is secured as if TCP stood just now.
    #[cold]
    fn tunnelled(
        &mut self,
        id: ConnectionId,
        mut rest: Vec<u8>,
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest {
        self.connected(id, sends, now);
        if !rest.is_empty() && find(&mut self.sessions, id).is_some() {
            return self.read(id, &mut rest, sends, now);
        }
        self.want(id)
    }

    /// Notes that the session may have something of its own to send.
    fn list(&mut self, id: ConnectionId) {
        if let Some(session) = find(&mut self.sessions, id)
            && !session.out.is_empty()
            && !session.blocked
            && !std::mem::replace(&mut session.listed, true)
        {
            self.talking.push(id);
        }
    }

    /// Reads records, and hands what is in them to the connection.
    fn read(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest {
        let len = input.len();
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        // Also where it makes no whole record yet.
        self.inner.heard(id);
        let Some(session) = find(&mut self.sessions, id) else { return ReadInterest::Nothing };
        let (open, read_closed) = (session.open, session.read_closed);
        let outcome = session.receive(input, &mut plain);
        let opened = session.open && !open;
        let closed = session.read_closed && !read_closed;
        let (security, client) = (session.security(), session.is_client());
        if let Some(holds) = session.holds_now() {
            self.inner.layer_holds(id, holds);
        }
        self.list(id);
        if opened && let Some(security) = security {
            self.inner.secured(id, security);
            if client {
                self.inner.connected(id, sends, now);
            }
        }
        if !plain.is_empty() {
            self.inner.received_plain(id, &mut plain, sends, now);
        }
        self.plain = plain;
        match outcome {
            Err(error) => self.inner.insecure(id, error),
            // The peer's close_notify ends what it says as the end of TCP would (RFC 8446 §6.1).
            Ok(()) if closed => self.inner.hung_up(id, None, sends, now),
            Ok(()) => {}
        }
        let inner = self.inner.want(id);
        find(&mut self.sessions, id).map_or(inner, |session| session.want(len, inner))
    }

    // ---- sending

    /// A send that had blocked is done: encrypts what the connection gives as the next one.
    fn next(
        &mut self,
        id: ConnectionId,
        mut sent: impl FnMut(&mut M) -> Option<Transmit>,
    ) -> Option<Transmit> {
        while let Some(next) = sent(&mut self.inner) {
            if find(&mut self.sessions, id).is_none() {
                return Some(next);
            }
            let records = self.encrypt(id, &next);
            if records.bytes() > 0 {
                return Some(records);
            }
            // Nothing more can be said on this connection: what waits is dropped.
        }
        if let Some(session) = find(&mut self.sessions, id) {
            session.blocked = false;
        }
        self.list(id);
        None
    }

    /// Encrypts what is to be sent next on a connection that had blocked.
    fn encrypt(&mut self, id: ConnectionId, next: &Transmit) -> Transmit {
        let Self { sessions, content, .. } = self;
        let mut records = Transmit::on(next.ledger());
        let Some(session) = find(sessions, id) else { return records };
        let mut bytes = std::mem::take(&mut session.out);
        bytes.reserve(next.bytes() + (next.bytes() / RECORD + 1) * OVERHEAD);
        let sealed = seal_pieces(session, next, content, &mut bytes);
        let end = bytes.len();
        session.count(next.bytes(), end);
        self.inner.blocked(id, end, end);
        if end > 0 {
            let bytes = Share::exact(next.ledger(), bytes);
            records.push(Piece::new(Chunk::Counted(bytes), 0, end));
        }
        if let Err(error) = sealed {
            self.inner.insecure(id, error);
        }
        records
    }
}

fn find(sessions: &mut [Option<Box<Session>>], id: ConnectionId) -> Option<&mut Session> {
    let session = sessions.get_mut(id.slot() as usize)?.as_mut()?;
    (session.generation == id.generation()).then_some(&mut **session)
}

/// Moves bytes from the front of `rest` to what the next record will hold; whether that is full.
fn fill(content: &mut Vec<u8>, rest: &mut &[u8]) -> bool {
    let (part, later) = rest.split_at(rest.len().min(RECORD - content.len()));
    content.extend_from_slice(part);
    *rest = later;
    content.len() == RECORD
}

/// Puts records in the place of what an entry held.
fn seal_entry(
    session: &mut Session,
    sends: &mut SendBatch,
    index: usize,
    content: &mut Vec<u8>,
    segments: &mut Vec<Segment>,
) -> Result<(), TlsError> {
    let Some(held) = sends.empty_entry(index) else { return Ok(()) };
    segments.clear();
    segments.extend(sends.segments(&held));
    tell(session, sends, index);
    let mut put = |sends: &mut SendBatch, content: &mut Vec<u8>| {
        let record =
            sends.append(index, content.len() + OVERHEAD, |room| session.encrypt(content, room));
        content.clear();
        record
    };
    content.clear();
    for segment in segments {
        let mut done = 0;
        // The turn cannot be read and written at once: records are put together outside of it.
        while let Some(mut rest) = sends.resolve(*segment).and_then(|bytes| bytes.get(done..))
            && !rest.is_empty()
        {
            let full = fill(content, &mut rest);
            done = segment.len as usize - rest.len();
            if full {
                put(sends, content)?;
            }
        }
    }
    if content.is_empty() { Ok(()) } else { put(sends, content) }
}

/// Appends what the session has of its own to an entry of the turn.
fn tell(session: &mut Session, sends: &mut SendBatch, index: usize) {
    for part in std::mem::take(&mut session.out).chunks(ROOM_MAX) {
        let copied: Result<(), TlsError> = sends.append(index, part.len(), |room| {
            room.copy_from_slice(part);
            Ok(part.len())
        });
        debug_assert!(copied.is_ok(), "copying cannot fail");
    }
}

/// Appends the records of what waited behind a send that blocked.
fn seal_pieces(
    session: &mut Session,
    next: &Transmit,
    content: &mut Vec<u8>,
    records: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let mut put = |content: &mut Vec<u8>| {
        let start = records.len();
        records.resize(start + content.len() + OVERHEAD, 0);
        let written = session.encrypt(content, records.get_mut(start..).unwrap_or_default());
        records.truncate(start + written.as_ref().copied().unwrap_or_default());
        content.clear();
        written.map(drop)
    };
    content.clear();
    for mut piece in next.pieces() {
        while !piece.is_empty() {
            if fill(content, &mut piece) {
                put(content)?;
            }
        }
    }
    if content.is_empty() { Ok(()) } else { put(content) }
}

impl<M: Secured> Machine for Tls<M> {
    fn turn_began(&mut self, now: Instant) {
        self.inner.turn_began(now);
    }

    fn accepted(
        &mut self,
        listener: usize,
        sends: &mut SendBatch,
        now: Instant,
    ) -> Option<ConnectionId> {
        let id = self.inner.accepted(listener, sends, now)?;
        if let Some(Some(acceptor)) = self.acceptors.get_mut(listener) {
            match acceptor.session(id) {
                Ok(session) => self.insert(id, session),
                Err(error) => self.inner.insecure(id, error),
            }
        }
        Some(id)
    }

    fn connected(&mut self, id: ConnectionId, sends: &mut SendBatch, now: Instant) {
        match self.inner.dialled(id) {
            Some(request) => self.dial(id, &request),
            None => self.inner.connected(id, sends, now),
        }
    }

    #[inline]
    fn received(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        lease: &Lease,
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest {
        if find(&mut self.sessions, id).is_some() {
            return self.read(id, input, sends, now);
        }
        let want = self.inner.received(id, input, lease, sends, now);
        if self.client.is_some()
            && let Some((id, rest)) = self.inner.tunnelled()
        {
            return self.tunnelled(id, rest, sends, now);
        }
        want
    }

    fn take_direct(&mut self, id: ConnectionId) -> Option<(Box<Reassembly>, u64)> {
        if find(&mut self.sessions, id).is_some() {
            return None;
        }
        self.inner.take_direct(id)
    }

    fn received_direct(
        &mut self,
        id: ConnectionId,
        memory: Box<Reassembly>,
        n: usize,
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest {
        self.inner.received_direct(id, memory, n, sends, now)
    }

    fn want(&mut self, id: ConnectionId) -> ReadInterest {
        let inner = self.inner.want(id);
        find(&mut self.sessions, id).map_or(inner, |session| session.want_now(inner))
    }

    fn hung_up(
        &mut self,
        id: ConnectionId,
        error: Option<i32>,
        sends: &mut SendBatch,
        now: Instant,
    ) {
        if let Some(session) = find(&mut self.sessions, id) {
            session.read_closed = true;
            session.mute |= error.is_some();
        }
        self.inner.hung_up(id, error, sends, now);
    }

    fn seal(&mut self, sends: &mut SendBatch) {
        let mut failed = None;
        for index in 0..sends.entries().len() {
            let Some(id) = sends.entries().get(index).map(|entry| entry.id) else { break };
            let Some(session) = find(&mut self.sessions, id) else { continue };
            let bytes = |sends: &SendBatch| {
                sends.entries().get(index).map_or(0, |entry| entry.bytes as usize)
            };
            let plain = bytes(sends);
            let sealed = seal_entry(session, sends, index, &mut self.content, &mut self.segments);
            session.count(plain, bytes(sends));
            if let Err(error) = sealed {
                self.inner.insecure(id, error);
                self.list(id);
                failed = self.inner.mailbox();
            }
        }
        if let Some(mailbox) = failed {
            // There is something to do that nothing else may wake the driver for.
            mailbox.waker().wake();
        }
        while let Some(id) = self.talking.pop() {
            let Some(session) = find(&mut self.sessions, id) else { continue };
            session.listed = false;
            if !session.out.is_empty() && !session.blocked {
                let index = sends.add_entry(id);
                session.count(0, session.out.len());
                tell(session, sends, index);
            }
        }
    }

    fn blocked(&mut self, id: ConnectionId, bytes: usize, footprint: usize) {
        if let Some(session) = find(&mut self.sessions, id) {
            session.blocked = true;
        }
        self.inner.blocked(id, bytes, footprint);
    }

    fn sent(&mut self, id: ConnectionId, sends: &mut SendBatch, now: Instant) -> Option<Transmit> {
        self.next(id, |inner| inner.sent(id, sends, now))
    }

    fn sent_at_once(
        &mut self,
        id: ConnectionId,
        sends: &mut SendBatch,
        now: Instant,
    ) -> Option<Transmit> {
        self.next(id, |inner| inner.sent_at_once(id, sends, now))
    }

    fn took(&mut self, id: ConnectionId, bytes: usize) {
        self.inner.took(id, bytes);
    }

    fn given(&mut self, id: ConnectionId, sends: &SendBatch) -> u32 {
        let plain = self.inner.given(id, sends);
        find(&mut self.sessions, id).map_or(plain, |session| plain.wrapping_add(session.added))
    }

    fn looked(&mut self, id: ConnectionId, look: Look, sends: &mut SendBatch, now: Instant) {
        self.inner.looked(id, look, sends, now);
    }

    fn settled(&mut self) {
        self.inner.settled();
        self.due.extend(self.held.drain(..));
    }

    fn run(&mut self, sends: &mut SendBatch, now: Instant) -> Next {
        let next = self.inner.run(sends, now);
        Next { busy: next.busy || !self.held.is_empty(), ..next }
    }

    fn poll_action(&mut self) -> Option<Action> {
        while let Some(action) = self.due.pop_front() {
            // If the close_notify blocked, the connection asks again when it has left.
            if let Action::Shutdown(id) | Action::Close(id) = action
                && !self.inner.must_wait(id)
            {
                return Some(action);
            }
        }
        while let Some(action) = self.inner.poll_action() {
            if action == Action::Tidy {
                while self.sessions.pop_if(|last| last.is_none()).is_some() {}
                self.sessions.shrink_to(2 * self.sessions.len());
                self.plain = Vec::new();
            }
            let (Action::Shutdown(id) | Action::Close(id)) = action else { return Some(action) };
            let session = find(&mut self.sessions, id);
            // What is listed has its close_notify to send since another action of this turn.
            let tells = |session: &mut Session| session.close() || session.listed;
            if !session.is_some_and(|session| !session.blocked && tells(session)) {
                return Some(action);
            }
            self.list(id);
            self.held.push(action);
        }
        None
    }

    fn released(&mut self, id: ConnectionId) {
        let session = self.sessions.get_mut(id.slot() as usize);
        let of_it = |session: &mut Box<Session>| session.generation == id.generation();
        drop(session.and_then(|session| session.take_if(of_it)));
        self.inner.released(id);
    }

    fn mailbox(&self) -> Option<&Mailbox> {
        self.inner.mailbox()
    }

    fn note_ring(&mut self, counters: &RingCounters) {
        self.inner.note_ring(counters);
    }
}
