//! The opening handshake and both halves in one value, for programs that bring their own sockets.

mod config;
mod failure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::inbound::{CloseFrame, Event, Events, Inbound};
use super::outbound::{Gathered, Outbound};
use super::state::State;
use super::{Message, Part, Role, halves};
use crate::handshake::{
    AcceptError, ClientHandshake, ClientRequest, Deflate, RequestError, ResponseError,
    ServerHandshake, ServerPolicy, UpgradeRequest, UpgradeResponse, accept, hybi02, refuse,
    refuse_request,
};
use crate::wire::{CloseCode, Dialect, ProtocolError};

pub use config::ConnectionConfig;
pub use failure::Failure;

/// One WebSocket connection in either role, from the first byte of the opening handshake to the
/// last of the closing one. It does no I/O and reads no clock: the program around it
///
/// 1. gives it what arrived ([`Connection::handle_receive`]), that nothing more will arrive
///    ([`Connection::handle_eof`]) and what time it is ([`Connection::handle_timeout`], no earlier
///    than [`Connection::poll_timeout`]);
/// 2. writes [`Connection::transmit`] to the socket and says how much of it went
///    ([`Connection::transmitted`]);
/// 3. closes the socket once [`Connection::is_over`] and `transmit` is empty.
///
/// Output is not bounded here: a peer that pings and never reads makes it grow. Stop reading from
/// the socket while `transmit` is longer than the program likes.
#[derive(Debug)]
pub struct Connection {
    config: Arc<ConnectionConfig>,
    opening: Opening,
    /// The peer's handshake so far, if it did not arrive in one piece.
    gathered: Vec<u8>,
    inbound: Inbound,
    core: Core,
}

/// Which handshake is being read.
#[derive(Debug)]
enum Opening {
    Server(ServerHandshake),
    Client(ClientHandshake),
    Done,
}

/// What may be used while an event is still borrowed from the rest.
#[derive(Debug)]
struct Core {
    outbound: Outbound,
    out: Gathered,
    /// Bytes of `out` that were transmitted.
    transmitted: usize,
    deadline: Option<Instant>,
    closing_timeout: Duration,
    failure: Option<Failure>,
    /// The server has ended the TCP connection, had its time to do so, or is not waited for.
    waited: bool,
    /// What a server agreed to compress.
    deflate: Option<Deflate>,
}

impl Connection {
    /// The server's side of a connection that was accepted at `now`.
    #[must_use]
    pub fn server(config: &Arc<ConnectionConfig>, now: Instant) -> Self {
        let opening = Opening::Server(ServerHandshake::new());
        Self::new(config, Role::Server, now, opening, Gathered::default())
    }

    /// The client's side of a TCP connection to the host and port of `request`, made at `now`; its
    /// handshake is ready to transmit. The same state of `rng` gives the same keys.
    ///
    /// Where `request` offers permessage-deflate, what the server compresses is inflated; what is sent
    /// here is never compressed, which RFC 7692 §6 leaves to the sender.
    #[must_use]
    pub fn client(
        config: &Arc<ConnectionConfig>,
        request: &Arc<ClientRequest>,
        rng: &mut Rng,
        now: Instant,
    ) -> Self {
        let mut out = Gathered::default();
        let opening = Opening::Client(ClientHandshake::start(request, rng, &mut out.bytes));
        Self::new(config, Role::Client, now, opening, out)
    }

    fn new(
        config: &Arc<ConnectionConfig>,
        role: Role,
        now: Instant,
        opening: Opening,
        out: Gathered,
    ) -> Self {
        let (inbound, outbound) = halves(Dialect::Hybi02, role);
        let core = Core {
            outbound,
            out,
            transmitted: 0,
            deadline: now.checked_add(config.opening_timeout),
            closing_timeout: config.closing_timeout,
            failure: None,
            waited: false,
            deflate: None,
        };
        Self { config: Arc::clone(config), opening, gathered: Vec::new(), inbound, core }
    }

    /// Takes the next bytes of the stream, received at `now`. Draw the events until there is none,
    /// or what is left of `input` is lost.
    ///
    /// A handshake that is whole in `input` is read where it lies, and so is every message; bytes
    /// behind the handshake are frames, also when they came before a server's answer (AMB-10).
    #[must_use = "what is not drawn is lost"]
    pub fn handle_receive<'c>(&'c mut self, input: &'c mut [u8], now: Instant) -> Received<'c> {
        let Self { config, opening, gathered, inbound, core } = self;
        let inbound = Some(inbound);
        Received { config, opening, gathered, inbound, core, input, skip: 0, events: None, now }
    }

    /// The peer has ended its half of the TCP connection, or TCP has failed. Says what was lost by
    /// it; nothing after a closing handshake.
    pub fn handle_eof(&mut self) -> Option<Failure> {
        self.core.waited = true;
        let failure = match (self.core.outbound.state(), &self.opening) {
            (State::Closed | State::Failed, _) => {
                self.core.deadline = None;
                return None;
            }
            (State::Opening, Opening::Server(_)) => Failure::Request(RequestError::ConnectionEnded),
            (State::Opening, Opening::Client(_)) => {
                Failure::Response(ResponseError::ConnectionEnded)
            }
            _ => Failure::ConnectionLost,
        };
        Some(self.core.fail(failure))
    }

    /// Acts on the deadlines that have passed by `now`, and says what has failed if one has.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Failure> {
        self.core.deadline.filter(|&deadline| now >= deadline)?;
        self.core.deadline = None;
        self.core.waited = true;
        match self.core.outbound.state() {
            State::Opening => Some(self.core.fail(Failure::OpeningTimeout)),
            State::CloseSent => Some(self.core.fail(Failure::ClosingTimeout)),
            _ => None,
        }
    }

    /// When to call [`Connection::handle_timeout`], unless something happens before.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.core.deadline
    }

    /// The bytes to write to the socket.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.core.out.bytes.get(self.core.transmitted..).unwrap_or_default()
    }

    /// Counts `n` bytes of [`Connection::transmit`] as written.
    pub fn transmitted(&mut self, n: usize) {
        let core = &mut self.core;
        let out = &mut core.out.bytes;
        core.transmitted = core.transmitted.saturating_add(n).min(out.len());
        // Moving the rest when it is the smaller part costs no more than the writing did.
        if core.transmitted > out.len() / 2 {
            out.drain(..core.transmitted);
            core.transmitted = 0;
        }
    }

    /// Sends a message as one frame. Says `false`, and sends nothing, unless the connection is open
    /// (CTL-05).
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> bool {
        self.core.outbound.message(message.into(), &mut self.core.out)
    }

    /// Sends a ping. Says `false`, and sends nothing, unless the connection is open.
    pub fn ping(&mut self, payload: &[u8]) -> bool {
        self.core.outbound.ping(payload, &mut self.core.out)
    }

    /// Starts the closing handshake at `now`: [`CloseCode::NORMAL`], which draft-02 cannot say (its
    /// Close is empty, CTL-09). Does nothing unless the connection is open.
    pub fn close(&mut self, now: Instant) {
        self.close_with(CloseCode::NORMAL, "", now);
    }

    /// Begins the closing handshake with this code and reason. [`crate::wire::ClosePayload::new`]
    /// says what of them is sent; draft-02 has neither.
    pub fn close_with(&mut self, code: CloseCode, reason: &str, now: Instant) {
        self.core.close(code, reason, now);
    }

    /// The dialect spoken, once the opening handshake has settled it.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.core.outbound.dialect()
    }

    /// Where the connection is in its life.
    #[must_use]
    pub const fn state(&self) -> State {
        self.core.outbound.state()
    }

    /// Which side of the connection this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.core.outbound.role()
    }

    /// Whether the TCP connection is to be closed, once [`Connection::transmit`] is empty. After a
    /// closing handshake, or in RFC 6455 a Close that told the server what it broke (§7.1.7), a
    /// server closes at once; a client gives it time to do so (AMB-14, RFC 6455 §7.1.1).
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.core.outbound.state(), State::Closed | State::Failed)
            && (matches!(self.core.outbound.role(), Role::Server) || self.core.waited)
    }

    /// Whether the connection was closed *cleanly*: both sides have sent a Close (CLOSE-07).
    #[must_use]
    pub const fn closed_cleanly(&self) -> bool {
        matches!(self.core.outbound.state(), State::Closed)
    }

    /// Why the connection failed, if it did.
    #[must_use]
    pub const fn failure(&self) -> Option<Failure> {
        self.core.failure
    }
}

/// The events of one read; see [`Connection::handle_receive`].
#[derive(Debug)]
#[must_use = "what is not drawn is lost"]
pub struct Received<'c> {
    config: &'c ConnectionConfig,
    opening: &'c mut Opening,
    gathered: &'c mut Vec<u8>,
    /// Until `events` has it.
    inbound: Option<&'c mut Inbound>,
    core: &'c mut Core,
    /// Until `events` has it.
    input: &'c mut [u8],
    /// Bytes of `input` that belong to the handshake.
    skip: usize,
    events: Option<Events<'c>>,
    now: Instant,
}

/// What happened on a [`Connection`]. It is borrowed from the received bytes and cannot be kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionEvent<'e> {
    /// To a server: a client asks for a WebSocket, and the policy has no objection. Accept or
    /// reject it; dropped, it is rejected.
    Request(Upgrade<'e>),
    /// To a client: the connection is established (HS-C-50). The response has the subprotocol and
    /// the cookies (HS-C-51).
    Opened(UpgradeResponse<'e>, Sender<'e>),
    /// A whole message.
    Message(Message<'e>, Sender<'e>),
    /// A piece of a message, with [`Limits::part_bytes`](super::Limits::part_bytes).
    Part(Part<'e>, Sender<'e>),
    /// A ping; its pong is already written, also after our own Close.
    Ping(&'e [u8]),
    /// A pong, asked for or not (AMB-05).
    Pong(&'e [u8]),
    /// The peer's Close; the connection is closed cleanly. If we had not sent one, its answer is
    /// already written.
    Close(CloseFrame<'e>),
    /// The connection has failed.
    Failed(Failure),
}

impl Received<'_> {
    /// The next event, or `None` when the input is used up.
    pub fn next_event(&mut self) -> Option<ConnectionEvent<'_>> {
        if matches!(self.opening, Opening::Done) { self.framed() } else { self.opened() }
    }

    /// Reads the handshake: in place if it is whole, else behind the pieces that came before.
    fn opened(&mut self) -> Option<ConnectionEvent<'_>> {
        if self.core.outbound.state().is_over() {
            return None;
        }
        let input: &[u8] = self.input.get(self.skip..).unwrap_or_default();
        // No handshake is longer, with what may stand before it, so none of its bytes is left behind.
        let max = 2 * self.config.head_limits.max_bytes() + hybi02::ANSWER_LEN;
        let before = self.gathered.len();
        let part = input.get(..max.saturating_sub(before)).unwrap_or(input);
        if before == 0 {
            let opened = self.opening.read(self.config, input, self.core, self.now);
            if let Some((event, len)) = opened {
                self.skip = len;
                return Some(event);
            }
            self.gathered.extend_from_slice(part);
            self.skip = self.input.len();
            return None;
        }
        self.gathered.extend_from_slice(part);
        self.skip = self.input.len();
        let (event, len) = self.opening.read(self.config, self.gathered, self.core, self.now)?;
        self.skip = len.saturating_sub(before);
        Some(event)
    }

    fn framed(&mut self) -> Option<ConnectionEvent<'_>> {
        if self.events.is_none() {
            let inbound = self.inbound.take()?;
            let input = std::mem::take(&mut self.input);
            let input = input.get_mut(self.skip..).unwrap_or_default();
            // The handshake was told and nothing points into it any more.
            *self.gathered = Vec::new();
            inbound.opened(self.core.outbound.dialect());
            if let Some(agreed) = self.core.deflate.take() {
                inbound.inflate(agreed);
            }
            self.events = Some(inbound.receive(&self.config.limits, input));
        }
        let event =
            self.events.as_mut()?.next_event(&mut self.core.outbound, &mut self.core.out)?;
        Some(match event {
            Event::Message(message, _) => {
                ConnectionEvent::Message(message, Sender { core: self.core, now: self.now })
            }
            Event::Part(part, _) => {
                ConnectionEvent::Part(part, Sender { core: self.core, now: self.now })
            }
            Event::Ping(payload) => ConnectionEvent::Ping(payload),
            Event::Pong(payload) => ConnectionEvent::Pong(payload),
            Event::Close(frame) => {
                self.core.set_deadline(self.now);
                ConnectionEvent::Close(frame)
            }
            Event::Failed(error) => {
                let failure = match error {
                    ProtocolError::OlderFraming => Failure::FramingMismatch,
                    error => Failure::Protocol(error),
                };
                ConnectionEvent::Failed(self.core.failed(failure, self.now))
            }
        })
    }
}

impl Opening {
    /// The event that the handshake in `received` makes, and its length, once it is whole or wrong.
    fn read<'e>(
        &mut self,
        config: &'e ConnectionConfig,
        received: &'e [u8],
        core: &'e mut Core,
        now: Instant,
    ) -> Option<(ConnectionEvent<'e>, usize)> {
        let limits = &config.head_limits;
        let (event, len) = match self {
            Self::Server(handshake) => match handshake.read(limits, received) {
                Ok(request) => {
                    let request = request?;
                    match config.policy.judge(&request) {
                        Ok(()) => {
                            let len = request.len();
                            let policy = &config.policy;
                            let upgrade = Upgrade { request, policy, core, answered: false };
                            (ConnectionEvent::Request(upgrade), len)
                        }
                        Err(error) => (core.refuse_request(error, received), 0),
                    }
                }
                Err(error) => (core.refuse_request(error, received), 0),
            },
            Self::Client(handshake) => match handshake.read(limits, received) {
                Ok(response) => {
                    let response = response?;
                    let len = response.len();
                    core.opened(handshake.request().dialect());
                    core.deflate = response.deflate();
                    (ConnectionEvent::Opened(response, Sender { core, now }), len)
                }
                Err(error) => (ConnectionEvent::Failed(core.fail(Failure::Response(error))), 0),
            },
            Self::Done => return None,
        };
        *self = Self::Done;
        Some((event, len))
    }
}

/// A client's request, waiting for its answer. Dropped, it is rejected.
#[derive(Debug)]
pub struct Upgrade<'e> {
    request: UpgradeRequest<'e>,
    policy: &'e ServerPolicy,
    core: &'e mut Core,
    answered: bool,
}

impl<'e> Upgrade<'e> {
    /// What the client asks for.
    #[must_use]
    pub const fn request(&self) -> &UpgradeRequest<'e> {
        &self.request
    }

    /// The subprotocol that the policy would take.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&'e str> {
        self.policy.choose_subprotocol(&self.request)
    }

    /// Accepts: the connection is open, and messages may be sent behind the answer at once
    /// (HS-S-34). `fields` are further fields of the answer, Set-Cookie and the like.
    ///
    /// # Errors
    ///
    /// What would break the answer, a subprotocol that was not asked for or a field that may not
    /// stand there; the request is rejected then, with status 500.
    pub fn accept(
        mut self,
        subprotocol: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Result<(), AcceptError> {
        self.answered = true;
        match accept(&self.request, self.policy, subprotocol, fields, &mut self.core.out.bytes) {
            Ok(()) => {
                self.core.opened(self.request.dialect());
                Ok(())
            }
            Err(error) => {
                self.core.refuse(500, "the server could not answer", Failure::Rejected);
                Err(error)
            }
        }
    }

    /// Rejects, with an HTTP `status` and one `sentence` for people; the connection ends (§7.2).
    pub fn reject(mut self, status: u16, sentence: &str) {
        self.answered = true;
        self.core.refuse(status, sentence, Failure::Rejected);
    }
}

impl Drop for Upgrade<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.core.refuse(403, "the request was not accepted", Failure::Rejected);
        }
    }
}

/// Sends on a connection while one of its events is borrowed.
#[derive(Debug)]
pub struct Sender<'e> {
    core: &'e mut Core,
    now: Instant,
}

impl Sender<'_> {
    /// Sends a message, as [`Connection::send`] does.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> bool {
        self.core.outbound.message(message.into(), &mut self.core.out)
    }

    /// Sends a part of a message as a frame of its own; no other message can be sent before its last
    /// one. Says `false`, and sends nothing, unless the connection is open and the part is in order.
    pub fn send_part(&mut self, part: Part<'_>) -> bool {
        self.core.outbound.part(part, &mut self.core.out)
    }

    /// Sends a ping, as [`Connection::ping`] does.
    pub fn ping(&mut self, payload: &[u8]) -> bool {
        self.core.outbound.ping(payload, &mut self.core.out)
    }

    /// Begins the closing handshake, as [`Connection::close`] does, at the time of the read.
    pub fn close(&mut self) {
        self.close_with(CloseCode::NORMAL, "");
    }

    /// Begins the closing handshake, as [`Connection::close_with`] does, at the time of the read.
    pub fn close_with(&mut self, code: CloseCode, reason: &str) {
        self.core.close(code, reason, self.now);
    }
}

impl Core {
    fn opened(&mut self, dialect: Dialect) {
        self.outbound.opened(dialect);
        self.deadline = None;
    }

    fn close(&mut self, code: CloseCode, reason: &str, now: Instant) {
        if self.outbound.state().can_send() {
            self.outbound.close(code, reason, &mut self.out);
            self.set_deadline(now);
        }
    }

    /// The closing handshake has one deadline from our Close on; a client that only answered waits
    /// as long for the end of the TCP connection.
    fn set_deadline(&mut self, now: Instant) {
        let waits = match self.outbound.state() {
            State::CloseSent => true,
            State::Closed => self.outbound.role() == Role::Client && !self.waited,
            _ => return,
        };
        self.deadline = match self.deadline {
            None if waits => now.checked_add(self.closing_timeout),
            deadline => deadline.filter(|_| waits),
        };
    }

    fn fail(&mut self, failure: Failure) -> Failure {
        self.outbound.fail();
        self.deadline = None;
        self.waited = true;
        *self.failure.get_or_insert(failure)
    }

    /// The peer broke a rule and knows it, if the dialect can tell: a client waits for the server's
    /// end of the TCP connection then.
    fn failed(&mut self, failure: Failure, now: Instant) -> Failure {
        let waited = self.waited;
        let failure = self.fail(failure);
        if self.outbound.rules().close_codes && self.outbound.role() == Role::Client && !waited {
            self.waited = false;
            self.deadline = now.checked_add(self.closing_timeout);
        }
        failure
    }

    fn refuse_request<'e>(&mut self, error: RequestError, received: &[u8]) -> ConnectionEvent<'e> {
        refuse_request(error, received, &mut self.out.bytes);
        ConnectionEvent::Failed(self.fail(Failure::Request(error)))
    }

    fn refuse(&mut self, status: u16, sentence: &str, failure: Failure) -> Failure {
        refuse(status, sentence, &mut self.out.bytes);
        self.fail(failure)
    }
}

#[cfg(test)]
mod tests;
