//! What a connection's bytes say, handed to the application.

use super::machine::{Machine as _, Want};
use super::send::TurnOutput;
use super::socket::WebSocket;
use super::table::ConnectionId;
use super::turn::{Loan, Turn};
use super::work::Round;
use super::{Application, Shard};
use crate::conn::{Event, State};

impl<A: Application> Shard<A> {
    #[inline]
    pub(super) fn read(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        loan: Option<&Loan>,
        turn: &mut Turn,
    ) -> Want {
        let Some(slot) = self.table.find(id) else { return Want::Nothing };
        slot.heard = self.tick;
        if slot.deferred {
            self.defer_more(id, input);
            return Want::Nothing;
        }
        if slot.state() == State::Opening {
            return self.received_opening(id, input, turn);
        }
        self.deliver(id, input, input.len(), loan, turn)
    }

    /// Reads the next bytes of an open connection and hands what they say to the application; the
    /// kernel gave `len` bytes in one go.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        len: usize,
        loan: Option<&Loan>,
        turn: &mut Turn,
    ) -> Want {
        if let Some(unread) = self.hand_over(id, input, loan, turn) {
            let rest = input.len().saturating_sub(unread);
            self.defer(id, input.get(rest..).unwrap_or_default());
        }
        self.after_reading(id, len, turn)
    }

    /// Hands over what the connection may read in this turn. Says how many bytes at the end of the input
    /// are left, if there is more to do of it.
    #[inline]
    pub(super) fn hand_over(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        loan: Option<&Loan>,
        turn: &mut Turn,
    ) -> Option<usize> {
        let slot = self.table.find(id)?;
        let limits = self.limits;
        let work = self.round.left(&mut slot.worked);
        self.world.spent = 0;
        let (mut led_to, mut events) = (0, slot.inbound.receive(&limits, input).within(work));
        loop {
            let mut out =
                TurnOutput { id, send: &mut slot.side.send, turn, codec: &mut self.world.codec };
            let Some(event) = events.next_event(&mut slot.side.outbound, &mut out) else { break };
            // Without data the connection is ending: its last bytes are read and dropped.
            let Some(data) = &mut slot.data else { continue };
            match event {
                Event::Message(message, place) => {
                    self.world.counters.messages_in += 1;
                    self.world.counters.bytes_in += message.payload().len() as u64;
                    let ws = WebSocket::new(id, data, &mut slot.side, turn, &mut self.world);
                    self.app.on_message(&mut ws.at(place, loan), message);
                    if self.world.spent > 0 {
                        led_to += self.world.spent;
                        events.spend(std::mem::take(&mut self.world.spent));
                    }
                    if slot.side.ended {
                        // Nothing more is read; the next round takes the message's memory back.
                        slot.side.outbound.fail();
                    }
                }
                Event::Part(part, place) => {
                    self.world.counters.messages_in += u64::from(part.is_last());
                    self.world.counters.bytes_in += part.payload().len() as u64;
                    let ws = WebSocket::new(id, data, &mut slot.side, turn, &mut self.world);
                    self.app.on_part(&mut ws.at(place, loan), part);
                    if slot.side.ended {
                        slot.side.outbound.fail();
                    }
                }
                Event::Pong(payload) => {
                    let mut ws = WebSocket::new(id, data, &mut slot.side, turn, &mut self.world);
                    self.app.on_pong(&mut ws, payload);
                }
                Event::Ping(_) => self.world.counters.pings_in += 1,
                Event::Failed(error) => self.world.failed = Some(error),
                Event::Close(frame) => {
                    self.world.said = frame.code;
                    if slot.side.outbound.rules().close_codes {
                        self.app.on_closing(data, frame.code, frame.reason);
                    }
                }
            }
        }
        let steps = (work.left() - events.left().left()).max(led_to);
        let rest = events.is_spent().then(|| events.unread());
        Round::note(&mut slot.worked, steps);
        rest
    }

    /// Says how to receive after a read of `len` bytes, and does what it has led to.
    #[inline]
    pub(super) fn after_reading(&mut self, id: ConnectionId, len: usize, turn: &mut Turn) -> Want {
        let Some(slot) = self.table.find(id) else { return Want::Nothing };
        let pause = self.world.settings.pause_reading_bytes;
        let want = slot.want(len, pause);
        if want == Want::Nothing && !slot.paused && slot.is_paused(pause) {
            slot.paused = true;
            self.world.counters.read_pauses += 1;
        }
        let over = slot.state().is_over();
        // Whoever holds much is in the middle of a large message, or does not read.
        let short = want != Want::Small && self.world.memory.is_over();
        if short {
            self.relieve(turn);
        }
        if over || short || self.world.needs_attention() {
            self.world.attention.push(id);
            self.attend();
            return self.want(id);
        }
        want
    }
}
