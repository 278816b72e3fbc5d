//! What a connection's bytes say, handed to the application.

use super::machine::{Machine as _, ReadInterest};
use super::round::Round;
use super::send::BatchOutput;
use super::send_batch::{Lease, SendBatch};
use super::socket::WebSocket;
use super::table::ConnectionId;
use super::{Application, Shard};
use crate::conn::{Event, State};

/// Hands over what is not a whole message. Being cold, it tells the compiler which way is the usual one:
/// the application's callback for messages is inlined into the loop then.
#[cold]
fn rare<A: Application>(
    app: &mut A,
    event: Event<'_>,
    mut ws: WebSocket<'_, A::Data>,
    lease: Option<&Lease>,
) {
    match event {
        Event::Message(..) => {}
        Event::Part(part, place) => {
            ws.context.counters.messages_in += u64::from(part.is_last());
            ws.context.counters.bytes_in += part.payload().len() as u64;
            let mut ws = ws.at(place, lease);
            app.on_part(&mut ws, part);
            if ws.side.ended {
                ws.side.outbound.fail();
            }
        }
        Event::Pong(payload) => app.on_pong(&mut ws, payload),
        Event::Ping(_) => ws.context.counters.pings_in += 1,
        Event::Failed(error) => ws.context.failed = Some(error),
        Event::Close(frame) => {
            ws.context.said = frame.code;
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
        lease: Option<&Lease>,
        sends: &mut SendBatch,
    ) -> ReadInterest {
        let Some(slot) = self.table.find(id) else { return ReadInterest::Nothing };
        if len > 0 {
            slot.heard = self.tick;
        }
        if slot.deferred && !self.round.slicing {
            self.defer_more(id, input);
            return ReadInterest::Nothing;
        }
        if slot.state() == State::Opening {
            return self.received_opening(id, input, sends);
        }
        let limits = self.limits;
        let work = self.round.left(&mut slot.worked);
        self.context.spent = 0;
        let mut events = slot.inbound.receive(&limits, input).within(work);
        loop {
            let mut out = BatchOutput {
                id,
                send: &mut slot.side.send,
                sends,
                deflate_pool: &mut self.context.deflate_pool,
            };
            let Some(event) = events.next_event(&mut slot.side.outbound, &mut out) else { break };
            // Without data the connection is ending: its last bytes are read and dropped.
            let Some(data) = &mut slot.data else { continue };
            match event {
                Event::Message(message, place) => {
                    self.context.counters.messages_in += 1;
                    self.context.counters.bytes_in += message.payload().len() as u64;
                    let ws = WebSocket::new(id, data, &mut slot.side, sends, &mut self.context);
                    self.app.on_message(&mut ws.at(place, lease), message);
                    if slot.side.ended {
                        // Nothing more is read; the next round takes the message's memory back.
                        slot.side.outbound.fail();
                    }
                }
                event => rare(
                    &mut self.app,
                    event,
                    WebSocket::new(id, data, &mut slot.side, sends, &mut self.context),
                    lease,
                ),
            }
        }
        // What compressing the answers took cannot be cut, and is paid for in later turns.
        let steps = (work.left() - events.left().left()).saturating_add(self.context.spent);
        let (spent, unread) = (events.is_spent(), events.unread());
        drop(events);
        Round::note(&mut slot.worked, steps);
        let over = slot.state().is_over();
        let want = if spent {
            let rest = input.len().saturating_sub(unread);
            self.defer(id, input.get(rest..).unwrap_or_default());
            ReadInterest::Nothing
        } else {
            slot.want(len, self.context.settings.pause_reading_bytes)
        };
        // Whoever holds much is in the middle of a large message, or does not read.
        let short = want != ReadInterest::Small && self.context.memory.is_over();
        if short {
            self.relieve(sends);
        }
        if want == ReadInterest::Nothing || short || self.context.needs_attention() || over {
            return self.attend_after(id);
        }
        want
    }

    /// Does what a read has led to, and says how to receive then.
    #[cold]
    fn attend_after(&mut self, id: ConnectionId) -> ReadInterest {
        let pause = self.context.settings.pause_reading_bytes;
        if let Some(slot) = self.table.find(id) {
            self.context.counters.read_pauses += slot.note_pause(pause);
        }
        self.context.attention.push(id);
        self.attend();
        self.want(id)
    }
}
