//! What a shard calls: a server's handler or a client's.

use std::num::NonZeroU32;
use std::time::Instant;

use super::socket::WebSocket;
use super::{Context, Fleet};
use crate::conn::{Message, Part};
#[cfg(feature = "tls")]
use crate::credentials::Security;
use crate::handshake::{Refusal, UpgradeRequest, UpgradeResponse};
use crate::outcome::{Accept, CloseReason, Reject};
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
    fn on_close(&mut self, context: &mut Context, data: Self::Data, reason: CloseReason);
    /// Called once per turn of the loop; says when it wants the next one.
    fn on_turn(&mut self, fleet: &mut Fleet<'_, Self::Data>, now: Instant) -> Option<Instant>;
}
