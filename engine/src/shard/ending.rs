//! How connections end: after callbacks, on request, and when the shard drains.

use std::time::{Duration, Instant};

use super::machine::Action;
use super::slot::Ending;
use super::table::ConnectionId;
use super::turn::Turn;
use super::{Application, Shard, TurnOutput, WebSocket};
use crate::conn::{Role, State};
use crate::handler::CloseReason;
use crate::hub::to_rfc6455;
use crate::wire::{CloseCode, Dialect};

/// How long the kernel may take to let go of connections that were cut.
const CUT_PATIENCE: Duration = Duration::from_millis(500);

impl<A: Application> Shard<A> {
    /// Applies what callbacks asked for: ended subscriptions, closed and ended connections.
    pub(super) fn attend(&mut self) {
        while self.world.needs_attention() {
            while let Some((id, topic)) = self.world.leaving.pop() {
                self.leave(id, topic);
            }
            while let Some(id) = self.world.attention.pop() {
                self.attend_to(id);
            }
        }
    }

    fn attend_to(&mut self, id: ConnectionId) {
        let failed = self.world.failed.take();
        let Some(slot) = self.table.find(id) else { return };
        if let Some(error) = failed {
            self.world.protocol_errors.count(error.index());
            // RFC 6455's peer is told why before TCP ends (§7.1.7).
            let told = slot.side.outbound.dialect() == Dialect::Rfc6455;
            let ending = if told { Ending::Fin } else { Ending::Now };
            return self.finish(id, CloseReason::Protocol(error), ending);
        }
        if slot.side.ended {
            return self.finish(id, CloseReason::Ended, Ending::Now);
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
                    Role::Server => Ending::Last,
                    Role::Client => Ending::Await,
                };
                let code = slot.close_code;
                self.finish(id, CloseReason::Clean(code), ending);
            }
            State::Failed => self.finish(id, CloseReason::HungUp, Ending::Now),
            State::CloseSent if !slot.closing => {
                slot.closing = true;
                slot.since = self.tick;
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
        slot.ending = how;
        slot.since = self.tick;
        if slot.state() != State::Closed {
            slot.side.outbound.fail();
        }
        let ticket = slot.opening.take().and_then(|opening| opening.ticket());
        let data = slot.data.take();
        match how {
            Ending::Now => {
                slot.side.send.abandon();
                self.requested.push(Action::Close(id));
            }
            Ending::Fin => {
                self.requested.push(Action::Shutdown(id));
                self.schedule(id);
            }
            Ending::Last => {
                self.requested.push(Action::Close(id));
                self.schedule(id);
            }
            Ending::Await => self.schedule(id),
            Ending::No => {}
        }
        self.dials.leave(ticket);
        if first {
            self.world.closed.count(reason.index());
            self.leave_all(id);
            if let Some(data) = data {
                self.app.on_close(&mut self.world, data, reason);
            }
        }
    }

    /// Starts the closing handshake of a connection, or gives up its opening one.
    pub(super) fn close_one(&mut self, id: ConnectionId, code: CloseCode, turn: &mut Turn) {
        let Some(slot) = self.table.find(id) else { return };
        match slot.state() {
            State::Opening => self.finish(id, CloseReason::Ended, Ending::Now),
            State::Open => {
                let mut out = TurnOutput { id, send: &mut slot.side.send, turn };
                slot.side.outbound.close(code, "", &mut out);
                self.attend_to(id);
            }
            _ => {}
        }
    }

    /// Queues a frame in draft-02's encoding for one connection, from a [`crate::Remote`].
    pub(super) fn send_frame(
        &mut self,
        id: ConnectionId,
        frame: bytes::Bytes,
        payload: usize,
        turn: &mut Turn,
    ) {
        let max = self.world.settings.max_outbound_bytes;
        let Some(slot) = self.table.find(id) else { return };
        let side = &mut slot.side;
        if !side.outbound.state().can_send() || side.send.queued(turn) + frame.len() > max {
            self.world.counters.sends_refused += 1;
            return;
        }
        self.world.counters.messages_out += 1;
        self.world.counters.bytes_out += payload as u64;
        let frame = match side.outbound.dialect() {
            Dialect::Hybi02 => frame,
            Dialect::Rfc6455 => to_rfc6455(&frame),
        };
        if side.send.is_blocked() {
            side.send.push_shared(frame);
        } else {
            side.send.push(id, turn, [&frame, &[]]);
        }
    }

    /// Everything that waited on the connection has left.
    pub(super) fn drained(&mut self, id: ConnectionId, turn: &mut Turn) {
        let Some(slot) = self.table.find(id) else { return };
        if slot.ending == Ending::Last {
            self.requested.push(Action::Close(id));
        }
        if slot.ending == Ending::Fin {
            self.requested.push(Action::Shutdown(id));
            if slot.half_closed {
                // The peer's end of TCP came before ours.
                let code = slot.close_code;
                self.finish(id, CloseReason::Clean(code), Ending::Now);
                return;
            }
        }
        if std::mem::take(&mut slot.side.send.refused)
            && let Some(data) = &mut slot.data
        {
            let mut ws = WebSocket::new(id, data, &mut slot.side, turn, &mut self.world);
            self.app.on_drain(&mut ws);
            self.attend();
        }
    }

    /// Stops accepting and starts every closing handshake.
    pub(super) fn start_drain(&mut self, deadline: Instant, turn: &mut Turn) {
        let first = self.drain.is_none();
        if self.cut {
            return;
        }
        self.drain = Some(self.drain.map_or(deadline, |old| old.min(deadline)));
        if first {
            self.requested.push(Action::StopAccepting);
            let ids: Vec<_> = self.table.ids().collect();
            for id in ids {
                self.close_one(id, CloseCode::GOING_AWAY, turn);
            }
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
        self.table.len() == 0
    }
}
