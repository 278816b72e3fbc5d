//! How connections end: after callbacks, on request, when a rule was broken (CLOSE-01), and when the shard
//! drains. TCP is closed as suits the case (CLOSE-05); a client closes it as soon as the server has
//! (CLOSE-06).

use std::time::{Duration, Instant};

use super::machine::Action;
use super::send_batch::SendBatch;
use super::slot::Ending;
use super::table::ConnectionId;
use super::{Application, BatchOutput, Shard, WebSocket};
use crate::conn::{Role, State};
use crate::error::TlsError;
use crate::outcome::CloseReason;
use crate::wire::{CloseCode, FrameHeader, Opcode};

/// How long the kernel may take to let go of connections that were cut.
const CUT_PATIENCE: Duration = Duration::from_millis(500);

impl<A: Application> Shard<A> {
    /// Applies what callbacks asked for: ended subscriptions, closed and ended connections.
    pub(super) fn attend(&mut self) {
        while self.context.needs_attention() {
            while let Some((id, topic)) = self.context.leaving.pop() {
                self.leave(id, topic);
            }
            while let Some(id) = self.context.attention.pop() {
                self.attend_to(id);
            }
            while let Some(id) = self.context.held.pop() {
                if let Some(slot) = self.table.find(id)
                    && !slot.side.hold.is_anybody()
                {
                    // From now on it is listened to again.
                    slot.heard = self.tick;
                }
                self.unpark(id);
                self.requested.push(Action::Receive(id));
            }
        }
    }

    fn attend_to(&mut self, id: ConnectionId) {
        let failed = self.context.failed.take();
        let said = std::mem::replace(&mut self.context.said, CloseCode::NO_STATUS);
        let Some(slot) = self.table.find(id) else { return };
        if let Some(error) = failed {
            self.context.protocol_errors.count(error.index());
            // Where the peer is told, TCP ends as after a closing handshake (RFC 6455 §7.1.7). Ours
            // is shut down first: closing it with bytes unread would reset it, and take from the
            // peer what it was told.
            let ending = match (slot.side.outbound.rules().close_codes, slot.side.outbound.role()) {
                (true, Role::Client) => Ending::Await,
                _ => Ending::Fin,
            };
            return self.finish(id, CloseReason::Protocol(error), ending);
        }
        if slot.side.ended {
            let established = slot.state() != State::Opening;
            let ending = if established { Ending::Fin } else { Ending::Now };
            return self.finish(id, CloseReason::Ended, ending);
        }
        // Its end is under way, and what it still had to say may be on its way out.
        if slot.ending != Ending::No {
            return;
        }
        match slot.state() {
            // A server closes TCP first in both roles of the closing handshake; a client waits
            // for that a little (AMB-14, CTL-07).
            State::Closed => {
                let ending = match slot.side.outbound.role() {
                    Role::Server if slot.may_close() => Ending::Last,
                    Role::Server => Ending::Fin,
                    Role::Client => Ending::Await,
                };
                self.finish(id, CloseReason::Clean(said), ending);
            }
            State::Failed => self.finish(id, CloseReason::HungUp, Ending::Now),
            State::CloseSent if !slot.closing => {
                slot.closing = true;
                slot.since = self.tick;
                if slot.side.outbound.role() == Role::Server {
                    slot.receive_singly();
                    self.requested.push(Action::Receive(id));
                }
                self.schedule(id);
            }
            _ => {}
        }
    }

    /// Ends a connection, or hastens its end. The application hears of it once.
    pub(super) fn finish(&mut self, id: ConnectionId, reason: CloseReason, how: Ending) {
        let Some(slot) = self.table.find(id) else { return };
        let first = slot.ending == Ending::No;
        if slot.ending == Ending::Now || (!first && how != Ending::Now) {
            return;
        }
        slot.release(id, &mut self.context.deflate_pool);
        slot.inbound.forget();
        slot.ending = how;
        slot.since = self.tick;
        if slot.state() != State::Closed {
            slot.side.outbound.fail();
        }
        let opening = slot.opening.take();
        let ticket = opening.as_ref().and_then(|opening| opening.ticket());
        let mut data = slot.data.take();
        let gone = slot.half_closed && slot.side.send.waiting() == 0;
        match how {
            // The server has ended TCP already: nothing is left to wait for.
            Ending::Await if gone => {
                slot.ending = Ending::Now;
                self.requested.push(Action::Close(id));
            }
            Ending::Now => {
                slot.side.send.abandon();
                self.requested.push(Action::Close(id));
            }
            Ending::Fin => {
                slot.receive_singly();
                self.requested.extend([Action::Shutdown(id), Action::Receive(id)]);
            }
            Ending::Last => self.requested.push(Action::Close(id)),
            Ending::Await | Ending::No => {}
        }
        if slot.deferred {
            self.unpark(id);
        }
        self.schedule(id);
        self.dials.leave(ticket);
        if first {
            // However it ends then.
            let refused = opening.and_then(|opening| opening.refusal());
            let reason = match &refused {
                Some((error, _)) => CloseReason::Response(*error),
                None => reason,
            };
            self.context.closed.count(reason.index());
            self.leave_all(id);
            if !self.context.missed.is_empty() {
                self.context.missed.remove(&id);
            }
            if let (Some((_, refusal)), Some(data)) = (&refused, &mut data) {
                self.app.on_refused(data, refusal);
            }
            if let Some(data) = data {
                self.app.on_close(&mut self.context, data, reason);
            }
        }
    }

    /// Ends a connection that is not secured, or no longer.
    pub(super) fn give_up(&mut self, id: ConnectionId, error: TlsError) {
        self.context.tls_errors.count(error.index());
        // Ours is shut down first: closing it with bytes unread would reset it, and take from the
        // peer what it was told.
        self.finish(id, CloseReason::Tls(error), Ending::Fin);
    }

    /// Whether something of the connection waits that must leave before it is ended.
    pub(super) fn has_to_leave(&mut self, id: ConnectionId) -> bool {
        let slot = self.table.find(id);
        slot.is_some_and(|slot| slot.ending != Ending::Now && slot.side.send.waiting() > 0)
    }

    /// Starts the closing handshake of a connection, or gives up its opening one.
    pub(super) fn close_one(
        &mut self,
        id: ConnectionId,
        code: CloseCode,
        reason: &str,
        sends: &mut SendBatch,
    ) {
        let Some(slot) = self.table.find(id) else { return };
        match slot.state() {
            State::Opening => self.finish(id, CloseReason::Ended, Ending::Now),
            State::Open => {
                let mut out = BatchOutput {
                    id,
                    send: &mut slot.side.send,
                    sends,
                    deflate_pool: &mut self.context.deflate_pool,
                };
                slot.side.outbound.close(code, reason, &mut out);
                self.attend_to(id);
            }
            _ => {}
        }
    }

    /// Queues a message for one connection, from a [`crate::Remote`].
    pub(super) fn send_mail(
        &mut self,
        id: ConnectionId,
        opcode: Opcode,
        payload: &[u8],
        sends: &mut SendBatch,
    ) {
        let max = self.context.settings.max_outbound_bytes;
        let Some(slot) = self.table.find(id) else { return };
        let side = &mut slot.side;
        if !side.outbound.can_send() || side.send.cost(sends) + payload.len() > max {
            self.context.counters.sends_refused += 1;
            return;
        }
        self.context.counters.messages_out += 1;
        self.context.counters.bytes_out += payload.len() as u64;
        let header = FrameHeader::whole(opcode, payload.len() as u64);
        let mut out = BatchOutput {
            id,
            send: &mut side.send,
            sends,
            deflate_pool: &mut self.context.deflate_pool,
        };
        side.outbound.frame(header, payload, &mut out);
    }

    /// Everything that waited on the connection has left.
    pub(super) fn drained(&mut self, id: ConnectionId, sends: &mut SendBatch) {
        let Some(slot) = self.table.find(id) else { return };
        if slot.ending == Ending::Last {
            // It did not leave at once, so the peer may be long in reading it.
            slot.ending = Ending::Fin;
            slot.receive_singly();
            self.requested.push(Action::Receive(id));
        }
        if matches!(slot.ending, Ending::Fin | Ending::Await) && slot.half_closed {
            // The peer's end of TCP came before ours.
            self.finish(id, CloseReason::Clean(CloseCode::NO_STATUS), Ending::Now);
            return;
        }
        if slot.ending == Ending::Fin {
            self.requested.push(Action::Shutdown(id));
        }
        if std::mem::take(&mut slot.side.send.refused)
            && let Some(data) = &mut slot.data
        {
            let mut ws = WebSocket::new(id, data, &mut slot.side, sends, &mut self.context);
            self.app.on_drain(&mut ws);
            self.attend();
        }
    }

    /// Whether a drain is over: everything is closed. What is open when its time is up is cut, and
    /// gets a moment more for the kernel to let go of it.
    pub(super) fn run_drain(&mut self, now: Instant) -> bool {
        let Some(deadline) = self.drain else { return false };
        if now >= deadline && self.table.len() > 0 {
            if self.cut {
                return true;
            }
            self.cut = true;
            self.drain = Some(now + CUT_PATIENCE);
            let ids: Vec<_> = self.table.ids().collect();
            for id in ids {
                self.finish(id, CloseReason::TimedOut, Ending::Now);
            }
        }
        self.table.len() == 0 && self.post.flushing.is_none()
    }
}
