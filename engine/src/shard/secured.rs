//! What a layer under a shard asks of it.

use std::sync::Arc;
use std::time::Instant;

use super::machine::{ReadInterest, Secured};
use super::send_batch::SendBatch;
use super::table::ConnectionId;
use super::{Application, Shard};
use crate::credentials::Security;
use crate::error::TlsError;
use crate::handshake::ClientRequest;

impl<A: Application> Secured for Shard<A> {
    #[inline]
    fn received_plain(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        sends: &mut SendBatch,
        _: Instant,
    ) -> ReadInterest {
        self.read(id, input, input.len(), None, sends)
    }

    fn dialled(&mut self, id: ConnectionId) -> Option<Arc<ClientRequest>> {
        let slot = self.table.find(id).filter(|slot| slot.secure)?;
        let request = slot.opening.as_mut()?.arrived().cloned()?;
        if let Some(data) = &mut slot.data {
            self.app.on_connected(data);
        }
        Some(request)
    }

    fn tunnelled(&mut self) -> Option<(ConnectionId, Vec<u8>)> {
        self.tunnelled.pop()
    }

    fn secured(&mut self, id: ConnectionId, security: Security) {
        self.context.counters.tls_handshakes += 1;
        self.context.counters.tls_resumed += u64::from(security.resumed);
        // A server's connection has no data yet.
        if let Some(data) = self.table.find(id).and_then(|slot| slot.data.as_mut()) {
            self.app.on_secured(data, security);
        }
    }

    fn heard(&mut self, id: ConnectionId) {
        if let Some(slot) = self.table.find(id) {
            slot.heard = self.tick;
        }
    }

    fn insecure(&mut self, id: ConnectionId, error: TlsError) {
        self.give_up(id, error);
    }

    fn must_wait(&mut self, id: ConnectionId) -> bool {
        self.has_to_leave(id)
    }

    fn layer_holds(&mut self, id: ConnectionId, bytes: usize) {
        if let Some(slot) = self.table.find(id) {
            let now = u32::try_from(bytes).unwrap_or(u32::MAX);
            let mut before = std::mem::replace(&mut slot.side.send.elsewhere, now) as usize;
            self.context.memory.change(&mut before, now as usize);
        }
    }
}
