//! What a shard calls: a server's handler or a client's.

use std::num::NonZeroU32;
use std::time::Instant;

use super::socket::WebSocket;
use super::{Fleet, World};
use crate::conn::{Message, Part};
#[cfg(feature = "tls")]
use crate::credentials::Security;
use crate::handler::{Accept, CloseReason, Handler, Reject};
use crate::handshake::{Refusal, UpgradeRequest, UpgradeResponse};
use crate::wire::CloseCode;

/// Both kinds of application, as the shard sees them.
pub(crate) trait Application {
    type Data;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject>;
    /// TCP stands; the client's opening handshake follows.
    fn on_connected(&mut self, data: &mut Self::Data) {
        let _ = data;
    }
    /// TLS stands inside it.
    #[cfg(feature = "tls")]
    fn on_secured(&mut self, data: &mut Self::Data, security: Security) {
        let _ = (data, security);
    }
    /// The server's answer to the opening handshake has another status than 101.
    fn on_refused(&mut self, data: &mut Self::Data, refusal: &Refusal) {
        let _ = (data, refusal);
    }
    fn on_open(
        &mut self,
        ws: &mut WebSocket<'_, Self::Data>,
        response: Option<&UpgradeResponse<'_>>,
    );
    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>);
    fn part_bytes(&self) -> Option<NonZeroU32>;
    fn on_part(&mut self, ws: &mut WebSocket<'_, Self::Data>, part: Part<'_>);
    fn on_pong(&mut self, ws: &mut WebSocket<'_, Self::Data>, payload: &[u8]);
    fn on_drain(&mut self, ws: &mut WebSocket<'_, Self::Data>);
    fn on_closing(&mut self, data: &mut Self::Data, code: CloseCode, reason: &str);
    fn on_close(&mut self, world: &mut World, data: Self::Data, reason: CloseReason);
    /// Called once per turn of the loop; says when it wants the next one.
    fn on_turn(&mut self, fleet: &mut Fleet<'_, Self::Data>, now: Instant) -> Option<Instant>;
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

    fn on_close(&mut self, _: &mut World, data: H::Data, reason: CloseReason) {
        self.0.on_close(data, reason);
    }

    #[inline]
    fn on_turn(&mut self, _: &mut Fleet<'_, H::Data>, _: Instant) -> Option<Instant> {
        None
    }
}
