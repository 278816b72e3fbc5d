//! The opening handshake of a shard's connections, both roles.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{Machine as _, ReadInterest};
use super::route::{self, Path};
use super::send_batch::SendBatch;
use super::slot::Ending;
use super::socket::WebSocket;
use super::table::ConnectionId;
use super::wheel::Tick;
use super::{Application, Context, Shard};
use crate::error::TlsError;
use crate::handshake::proxy::{ProxyError, Tunnel};
use crate::handshake::{
    self, ClientHandshake, ClientRequest, Deflate, Refusal, RequestError, ResponseError,
    ServerHandshake, Terms, Ticket, UpgradeResponse,
};
use crate::memory::Held;
use crate::outcome::{CloseReason, Reject};
use crate::wire::{Dialect, ProtocolError};

/// An opening handshake that needs a memory: every client's, and a server's when the head arrives
/// in pieces.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Everything received so far, when it was not enough.
    gathered: Vec<u8>,
    held: Held,
    reader: Reader,
    /// A client's place among those that connect to the same address.
    ticket: Option<Ticket>,
    /// What a client has before it on its way, where that is more than one address.
    path: Option<Box<Path>>,
    /// The server has refused, and since when the rest of what it says is waited for.
    refused: Option<(ResponseError, Tick)>,
}

/// How long a client waits for the rest of a refusal.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum Reader {
    Server(ServerHandshake),
    /// Before TCP stands, or TLS in it.
    Dialling(Arc<ClientRequest>),
    /// While a proxy opens a tunnel.
    Tunnel(Box<(Arc<ClientRequest>, Tunnel)>),
    Client(ClientHandshake),
}

impl Opening {
    pub(super) fn dial(
        request: Arc<ClientRequest>,
        ticket: Option<Ticket>,
        path: Option<Box<Path>>,
    ) -> Box<Self> {
        let reader = Reader::Dialling(request);
        let (gathered, held) = (Vec::new(), Held::default());
        Box::new(Self { gathered, held, reader, ticket, path, refused: None })
    }

    /// TCP stands: what a client will ask for, unless it is a proxy's turn first.
    #[cfg(feature = "tls")]
    pub(super) fn arrived(&mut self) -> Option<&Arc<ClientRequest>> {
        if let Some(path) = &mut self.path {
            path.arrived();
        }
        match &self.reader {
            Reader::Dialling(request) if !self.has_proxy() => Some(request),
            _ => None,
        }
    }

    /// Bytes of memory that hold what was received.
    pub(super) const fn held(&self) -> usize {
        self.held.bytes()
    }

    #[cfg(feature = "tls")]
    fn has_proxy(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.proxy.is_some())
    }

    pub(super) fn path(&mut self) -> Option<&mut Path> {
        self.path.as_deref_mut()
    }

    /// Why a client's handshake has failed that only waits for the rest of the server's refusal, and what
    /// is there of that.
    pub(super) fn refusal(&self) -> Option<(ResponseError, Refusal)> {
        let (error, _) = self.refused?;
        let Reader::Client(handshake) = &self.reader else { return None };
        Some((error, handshake.refusal(&self.gathered)?))
    }

    /// When that is over, and how long such a wait is.
    pub(super) const fn refused_since(&self) -> Option<(Tick, Duration)> {
        match self.refused {
            Some((_, since)) => Some((since, REFUSAL_PATIENCE)),
            None => None,
        }
    }

    /// When the attempt to connect that is under way gives way to another.
    pub(super) fn attempt_until(&self) -> Option<Tick> {
        self.path.as_ref()?.until()
    }

    pub(super) fn next_attempt(&mut self) -> Option<route::Next> {
        self.path.as_mut()?.next()
    }

    pub(super) const fn set_ticket(&mut self, ticket: Option<Ticket>) {
        self.ticket = ticket;
    }

    pub(super) const fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }
}

/// What became of a read during the opening handshake.
enum Opened {
    NotYet,
    /// The server refuses; whether it has said everything.
    Refusal(ResponseError, bool),
    /// The handshake is done; so many bytes were its.
    Done(usize),
    Refused(CloseReason),
}

impl<A: Application> Shard<A> {
    /// TCP stands: the client speaks first (HS-C-06 to HS-C-30).
    pub(super) fn start_client(&mut self, id: ConnectionId, sends: &mut SendBatch) {
        let Some(slot) = self.table.find(id) else { return };
        if slot.secure && !self.context.settings.has_client_tls() {
            // What is meant to be secret is never sent in the clear.
            return self.give_up(id, TlsError::NotConfigured);
        }
        let Some(opening) = &mut slot.opening else { return };
        let Reader::Dialling(request) = &opening.reader else { return };
        self.scratch.clear();
        if let Some(path) = &mut opening.path {
            path.arrived();
            if let Some(proxy) = path.proxy.take() {
                let most = self.context.settings.head.max_bytes();
                let tunnel = Tunnel::start(&proxy, request.url(), &mut self.scratch);
                let reader = (Arc::clone(request), tunnel.with_answer_max(most));
                opening.reader = Reader::Tunnel(Box::new(reader));
                return slot.side.send.push(id, sends, &self.scratch);
            }
        }
        opening.path = None;
        let handshake = ClientHandshake::start(request, &mut self.rng, &mut self.scratch);
        opening.reader = Reader::Client(handshake);
        slot.side.send.push(id, sends, &self.scratch);
        if !slot.secure
            && let Some(data) = &mut slot.data
        {
            self.app.on_connected(data);
        }
    }

    /// Reads during the opening handshake; bytes behind it are frames already (HS-C-50, AMB-10).
    pub(super) fn received_opening(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        sends: &mut SendBatch,
    ) -> ReadInterest {
        let Some(slot) = self.table.find(id) else { return ReadInterest::Nothing };
        if let Some(Opening { reader: Reader::Tunnel(_), .. }) = slot.opening.as_deref() {
            return self.received_from_proxy(id, input, sends);
        }
        let (mut reader, mut gathered, ticket, since) = match slot.opening.take() {
            Some(opening) => {
                let since = opening.refused.map(|(_, since)| since);
                (opening.reader, opening.gathered, opening.ticket, since)
            }
            None => (Reader::Server(ServerHandshake::new()), Vec::new(), None, None),
        };
        let first = gathered.is_empty();
        if !first {
            gathered.extend_from_slice(input);
        }
        let received = if first { &*input } else { &*gathered };
        let is_client = !matches!(reader, Reader::Server(_));
        let opened = match &mut reader {
            Reader::Server(reader) => self.read_request(id, reader, received, sends),
            Reader::Client(reader) => self.read_response(id, reader, received, sends),
            Reader::Dialling(_) | Reader::Tunnel(_) => Opened::Refused(CloseReason::HungUp),
        };
        if !matches!(opened, Opened::NotYet | Opened::Refusal(..)) {
            self.dials.leave(ticket);
        }
        match opened {
            Opened::NotYet | Opened::Refusal(..) => {
                if first {
                    gathered.extend_from_slice(input);
                }
                let refused = match opened {
                    Opened::Refusal(error, _) => Some((error, since.unwrap_or(self.tick))),
                    _ => None,
                };
                let mut held = Held::on(Some(&self.context.memory));
                held.set(gathered.capacity() + size_of::<Opening>());
                if let Some(slot) = self.table.find(id) {
                    let opening = Opening { gathered, held, reader, ticket, path: None, refused };
                    slot.opening = Some(Box::new(opening));
                }
                match opened {
                    Opened::Refusal(error, true) => {
                        self.finish(id, CloseReason::Response(error), Ending::Now);
                    }
                    Opened::Refusal(_, false) => self.schedule(id),
                    _ => {}
                }
                return self.want(id);
            }
            Opened::Done(taken) => {
                self.attend();
                let rest = if first { input } else { &mut gathered };
                let rest = &mut rest[taken..];
                return self.read(id, rest, rest.len(), None, sends);
            }
            Opened::Refused(reason) => {
                // What a server refuses with is to arrive. A client has nothing to say, and a server
                // that keeps its connection open need not be waited for.
                let ending = if is_client { Ending::Now } else { Ending::Fin };
                self.finish(id, reason, ending);
            }
        }
        self.want(id)
    }

    /// Reads what a proxy says until its tunnel is open; what is behind that comes out of the tunnel.
    #[cold]
    fn received_from_proxy(
        &mut self,
        id: ConnectionId,
        input: &[u8],
        sends: &mut SendBatch,
    ) -> ReadInterest {
        let Some(slot) = self.table.find(id) else { return ReadInterest::Nothing };
        // What is not sent yet cannot have been answered.
        let unasked = slot.side.send.queued(sends) > 0;
        let Some(opening) = &mut slot.opening else { return ReadInterest::Nothing };
        let Reader::Tunnel(tunnel) = &mut opening.reader else { return ReadInterest::Nothing };
        opening.gathered.extend_from_slice(input);
        self.scratch.clear();
        let (request, tunnel) = &mut **tunnel;
        let read = match tunnel.read(&opening.gathered, &mut self.scratch) {
            Ok(_) if unasked => Err(ProxyError::Malformed),
            read => read,
        };
        let taken = match read {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                if !self.scratch.is_empty() {
                    slot.side.send.push(id, sends, &self.scratch);
                }
                return self.want(id);
            }
            Err(error) => {
                self.finish(id, CloseReason::Proxy(error), Ending::Fin);
                return self.want(id);
            }
        };
        let mut rest = std::mem::take(&mut opening.gathered).split_off(taken);
        opening.reader = Reader::Dialling(Arc::clone(request));
        if slot.secure {
            // The layer above goes on, as if TCP stood just now.
            self.tunnelled.push((id, rest));
            return self.want(id);
        }
        self.start_client(id, sends);
        if rest.is_empty() {
            return self.want(id);
        }
        self.received_opening(id, &mut rest, sends)
    }

    fn read_request(
        &mut self,
        id: ConnectionId,
        reader: &mut ServerHandshake,
        received: &[u8],
        sends: &mut SendBatch,
    ) -> Opened {
        let settings = Arc::clone(&self.context.settings);
        let request = match reader.read(&settings.head, received) {
            Ok(None) => return Opened::NotYet,
            Ok(Some(request)) => request,
            Err(error) => return self.refuse_request(id, error, received, sends),
        };
        if let Err(error) = settings.policy.judge(&request) {
            return self.refuse_request(id, error, received, sends);
        }
        let accept = match self.app.on_upgrade(&request) {
            Ok(accept) => accept,
            Err(reject) => return self.reject(id, reject, sends),
        };
        let subprotocol = match &accept.subprotocol {
            Some(name) => Some(&**name),
            None => settings.policy.choose_subprotocol(&request),
        };
        self.scratch.clear();
        let deflate = settings
            .compression
            .and_then(|compression| request.deflate(compression.terms))
            .and_then(|agreed| self.agree(id, agreed));
        let secure = self.table.find(id).is_some_and(|slot| slot.secure);
        let terms = Terms { deflate, secure };
        let written = handshake::accept_with(
            &request,
            &settings.policy,
            subprotocol,
            &accept.fields,
            terms,
            &mut self.scratch,
        );
        if written.is_err() {
            // What the handler asked for cannot be said; it hears of the end of what it accepted.
            self.app.on_close(&mut self.context, accept.data, CloseReason::Ended);
            let sentence = "The server's application gave an answer that cannot be sent.";
            return self.reject(id, Reject::new(500, sentence), sends);
        }
        let (taken, dialect) = (request.len(), request.dialect());
        if let Some(slot) = self.table.find(id) {
            slot.side.send.push(id, sends, &self.scratch);
            slot.data = Some(accept.data);
        }
        self.count_compressed(deflate);
        self.open(id, dialect, None, sends);
        Opened::Done(taken)
    }

    fn read_response(
        &mut self,
        id: ConnectionId,
        reader: &mut ClientHandshake,
        received: &[u8],
        sends: &mut SendBatch,
    ) -> Opened {
        let settings = Arc::clone(&self.context.settings);
        match reader.read(&settings.head, received) {
            Ok(None) => Opened::NotYet,
            Ok(Some(response)) => {
                if let Some(agreed) = response.deflate() {
                    let Context { deflate_pool, counters, .. } = &mut self.context;
                    let Some(followed) = deflate_pool.follow(agreed, counters) else {
                        let error = ProtocolError::CompressionBudget;
                        self.context.protocol_errors.count(error.index());
                        return Opened::Refused(CloseReason::Protocol(error));
                    };
                    if let Some(slot) = self.table.find(id) {
                        slot.deflate(followed);
                    }
                    self.count_compressed(Some(followed));
                }
                self.open(id, reader.request().dialect(), Some(&response), sends);
                Opened::Done(response.len())
            }
            Err(error) => match reader.refusal(received) {
                Some(refusal) => {
                    let full = received.len() >= settings.head.max_bytes();
                    Opened::Refusal(error, full || refusal.is_whole())
                }
                None => Opened::Refused(CloseReason::Response(error)),
            },
        }
    }

    /// What a server can do of what it would agree to; what the connection keeps is its own from now
    /// on, and is given back when it ends, also if it never opens.
    fn agree(&mut self, id: ConnectionId, agreed: Deflate) -> Option<Deflate> {
        let slot = self.table.find(id)?;
        let agreed = self.context.deflate_pool.agree(agreed, &mut self.context.counters)?;
        slot.deflate(agreed);
        Some(agreed)
    }

    const fn count_compressed(&mut self, agreed: Option<Deflate>) {
        let Some(agreed) = agreed else { return };
        self.context.counters.opened_compressed += 1;
        if agreed.takeover || agreed.peer_takeover {
            self.context.counters.opened_takeover += 1;
        }
    }

    /// The connection is established (HS-C-50, HS-S-34).
    fn open(
        &mut self,
        id: ConnectionId,
        dialect: Dialect,
        response: Option<&UpgradeResponse<'_>>,
        sends: &mut SendBatch,
    ) {
        let Some(slot) = self.table.find(id) else { return };
        slot.opened(dialect);
        self.context.counters.opened += 1;
        self.context.opened.count(dialect.index());
        // Its keep-alive may be due before its handshake would have been.
        self.schedule(id);
        let Some(slot) = self.table.find(id) else { return };
        if let Some(data) = &mut slot.data {
            let mut ws = WebSocket::new(id, data, &mut slot.side, sends, &mut self.context);
            self.app.on_open(&mut ws, response);
        }
    }

    fn refuse_request(
        &mut self,
        id: ConnectionId,
        error: RequestError,
        received: &[u8],
        sends: &mut SendBatch,
    ) -> Opened {
        self.context.request_errors.count(error.index());
        self.scratch.clear();
        handshake::refuse_request(error, received, &mut self.scratch);
        self.answer(id, sends);
        Opened::Refused(CloseReason::Request(error))
    }

    fn reject(&mut self, id: ConnectionId, reject: Reject, sends: &mut SendBatch) -> Opened {
        self.refuse(id, reject.status, reject.sentence, sends);
        Opened::Refused(CloseReason::Ended)
    }

    /// Answers with this status and sentence.
    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        status: u16,
        sentence: &str,
        sends: &mut SendBatch,
    ) {
        self.scratch.clear();
        handshake::refuse(status, sentence, &mut self.scratch);
        self.answer(id, sends);
    }

    /// Sends what was written.
    fn answer(&mut self, id: ConnectionId, sends: &mut SendBatch) {
        if let Some(slot) = self.table.find(id) {
            slot.side.send.push(id, sends, &self.scratch);
        }
    }
}
