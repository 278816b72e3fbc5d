//! What a connection's bytes say, handed to the application.

use super::machine::{Machine as _, Want};
use super::round::Round;
use super::send::TurnOutput;
use super::socket::WebSocket;
use super::table::ConnectionId;
use super::turn::{Loan, Turn};
use super::{Application, Shard};
use crate::conn::{Event, State};

/// Hands over what is not a whole message. Being cold, it tells the compiler which way is the usual one:
/// the application's callback for messages is inlined into the loop then.
#[cold]
fn rare<A: Application>(
    app: &mut A,
    event: Event<'_>,
    mut ws: WebSocket<'_, A::Data>,
    loan: Option<&Loan>,
) {
    match event {
        Event::Message(..) => {}
        Event::Part(part, place) => {
            ws.world.counters.messages_in += u64::from(part.is_last());
            ws.world.counters.bytes_in += part.payload().len() as u64;
            let mut ws = ws.at(place, loan);
            app.on_part(&mut ws, part);
            if ws.side.ended {
                ws.side.outbound.fail();
            }
        }
        Event::Pong(payload) => app.on_pong(&mut ws, payload),
        Event::Ping(_) => ws.world.counters.pings_in += 1,
        Event::Failed(error) => ws.world.failed = Some(error),
        Event::Close(frame) => {
            ws.world.said = frame.code;
            if ws.side.outbound.rules().close_codes {
                app.on_closing(ws.data, frame.code, frame.reason);
            }
        }
    }
}

impl<A: Application> Shard<A> {
    /// Reads the next bytes of a connection and hands what they say to the application; the kernel gave
    /// `len` bytes in one go. All that is read comes through this one place, so that it can be one piece of
    /// code, without calls.
    #[inline(never)]
    pub(super) fn read(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        len: usize,
        loan: Option<&Loan>,
        turn: &mut Turn,
    ) -> Want {
        let Some(slot) = self.table.find(id) else { return Want::Nothing };
        if len > 0 {
            slot.heard = self.tick;
        }
        if slot.deferred && !self.round.slicing {
            self.defer_more(id, input);
            return Want::Nothing;
        }
        if slot.state() == State::Opening {
            return self.received_opening(id, input, turn);
        }
        let limits = self.limits;
        let work = self.round.left(&mut slot.worked);
        self.world.spent = 0;
        let mut events = slot.inbound.receive(&limits, input).within(work);
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
                    if slot.side.ended {
                        // Nothing more is read; the next round takes the message's memory back.
                        slot.side.outbound.fail();
                    }
                }
                event => rare(
                    &mut self.app,
                    event,
                    WebSocket::new(id, data, &mut slot.side, turn, &mut self.world),
                    loan,
                ),
            }
        }
        // What compressing the answers took cannot be cut, and is paid for in later turns.
        let steps = (work.left() - events.left().left()).saturating_add(self.world.spent);
        let (spent, unread) = (events.is_spent(), events.unread());
        drop(events);
        Round::note(&mut slot.worked, steps);
        let over = slot.state().is_over();
        let want = if spent {
            let rest = input.len().saturating_sub(unread);
            self.defer(id, input.get(rest..).unwrap_or_default());
            Want::Nothing
        } else {
            slot.want(len, self.world.settings.pause_reading_bytes)
        };
        // Whoever holds much is in the middle of a large message, or does not read.
        let short = want != Want::Small && self.world.memory.is_over();
        if short {
            self.relieve(turn);
        }
        if want == Want::Nothing || short || self.world.needs_attention() || over {
            return self.attend_after(id);
        }
        want
    }

    /// Does what a read has led to, and says how to receive then.
    #[cold]
    fn attend_after(&mut self, id: ConnectionId) -> Want {
        let pause = self.world.settings.pause_reading_bytes;
        if let Some(slot) = self.table.find(id)
            && !slot.paused
            && slot.is_paused(pause)
        {
            slot.paused = true;
            self.world.counters.read_pauses += 1;
        }
        self.world.attention.push(id);
        self.attend();
        self.want(id)
    }
}
