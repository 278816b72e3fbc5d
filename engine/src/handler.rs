//! What an application implements and what it is given.

use std::num::NonZeroU32;
use std::time::Instant;

use crate::conn::{Message, Part};
use crate::handshake::{UpgradeRequest, UpgradeResponse};
use crate::outcome::{Accept, CloseReason, Reject};
pub use crate::shard::socket::WebSocket;
use crate::shard::{Application, Context, Fleet};
use crate::wire::CloseCode;

/// A server application: one value per shard, on the shard's thread, without locks and without
/// `Send`.
///
/// Callbacks must not block: every connection of the shard waits meanwhile. A panic in a callback
/// ends the process.
pub trait Handler {
    /// What the application keeps per connection, inline in the shard's table.
    type Data;

    /// A client asks for an upgrade. Host, Origin and subprotocols were already judged by the
    /// configured [`crate::handshake::ServerPolicy`].
    ///
    /// # Errors
    ///
    /// [`Reject`] refuses the connection with an HTTP status.
    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject>;

    /// The connection is established (HS-S-34); messages may be sent.
    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let _ = ws;
    }

    /// A whole message arrived. It is borrowed from the receive buffer: it cannot outlive the
    /// call.
    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>);

    /// Hands messages over in parts of at least so many bytes while more of them is still to come,
    /// by `on_part`, instead of gathering them whole: a large message then passes through the cache
    /// piece by piece, and takes no more memory than a part. What is smaller, what is compressed, and
    /// text whose bad sequences are replaced comes whole all the same. Asked once,
    /// before the first connection; the default gathers everything.
    fn part_bytes(&self) -> Option<NonZeroU32> {
        None
    }

    /// A part of a message arrived; only with [`Handler::part_bytes`]. A message that breaks a rule
    /// half-way ends the connection, so its last part may never come.
    fn on_part(&mut self, ws: &mut WebSocket<'_, Self::Data>, part: Part<'_>) {
        let _ = (ws, part);
    }

    /// Everything queued has left after a send was refused as [`Full`](crate::Full).
    fn on_drain(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let _ = ws;
    }

    /// The peer closes and says why (RFC 6455 §7.1.5, §7.1.6); the answer is sent, and `on_close`
    /// follows. Draft-02's Close says nothing, so this is not called there.
    fn on_closing(&mut self, data: &mut Self::Data, code: CloseCode, reason: &str) {
        let _ = (data, code, reason);
    }

    /// The connection is over. Runs exactly once for each [`Handler::on_upgrade`] that accepted;
    /// there is no socket left to send on, so the data is handed back.
    fn on_close(&mut self, data: Self::Data, reason: CloseReason) {
        let _ = (data, reason);
    }
}

/// A server's handler.
#[derive(Debug)]
pub(crate) struct Serve<H>(pub(crate) H);

impl<H: Handler> Application for Serve<H> {
    type Data = H::Data;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<H::Data>, Reject> {
        self.0.on_upgrade(request)
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, H::Data>, _: Option<&UpgradeResponse<'_>>) {
        self.0.on_open(ws);
    }

    #[inline]
    fn on_message(&mut self, ws: &mut WebSocket<'_, H::Data>, message: Message<'_>) {
        self.0.on_message(ws, message);
    }

    fn part_bytes(&self) -> Option<NonZeroU32> {
        self.0.part_bytes()
    }

    fn on_part(&mut self, ws: &mut WebSocket<'_, H::Data>, part: Part<'_>) {
        self.0.on_part(ws, part);
    }

    fn on_pong(&mut self, _: &mut WebSocket<'_, H::Data>, _: &[u8]) {}

    fn on_drain(&mut self, ws: &mut WebSocket<'_, H::Data>) {
        self.0.on_drain(ws);
    }

    fn on_closing(&mut self, data: &mut H::Data, code: CloseCode, reason: &str) {
        self.0.on_closing(data, code, reason);
    }

    fn on_close(&mut self, _: &mut Context, data: H::Data, reason: CloseReason) {
        self.0.on_close(data, reason);
    }

    #[inline]
    fn on_turn(&mut self, _: &mut Fleet<'_, H::Data>, _: Instant) -> Option<Instant> {
        None
    }
}
