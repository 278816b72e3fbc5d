//! What a whole payload means: a message, or a control frame and the answer it asks for.

use super::{CloseFrame, Event, Origin, Place};
use crate::conn::Message;
use crate::conn::limits::InvalidUtf8;
use crate::conn::outbound::{Outbound, Output};
use crate::conn::state::Step;
use crate::wire::{CloseCode, Opcode, ProtocolError, close};

/// What to do with bad text, and where to keep the text that takes its place.
pub(super) struct TextPolicy<'e> {
    pub(super) invalid: InvalidUtf8,
    pub(super) replaced: &'e mut Option<String>,
}

/// Turns a whole payload into its event, text judged (DATA-01) and binary data as it is (DATA-02), and writes
/// the answer it asks for. A call of its own costs
/// as much as the work: the arguments and the event go through memory then.
#[inline(always)]
pub(super) fn event<'e>(
    opcode: Opcode,
    payload: &'e [u8],
    mut place: Place<'e>,
    text: TextPolicy<'e>,
    outbound: &mut Outbound,
    out: &mut impl Output,
) -> Option<Event<'e>> {
    let TextPolicy { invalid, replaced } = text;
    Some(match opcode {
        Opcode::Binary => Event::Message(Message::Binary(payload), place),
        Opcode::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(valid) => Event::Message(Message::Text(valid), place),
            Err(_) if invalid == InvalidUtf8::Replace => {
                let text = String::from_utf8_lossy(payload).into_owned();
                place.origin = Origin::Replaced;
                Event::Message(Message::Text(replaced.insert(text)), place)
            }
            Err(_) => return Some(failed(ProtocolError::InvalidUtf8, outbound, out)),
        },
        Opcode::Ping => {
            outbound.pong(payload, out);
            Event::Ping(payload)
        }
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => return Some(closed(payload, outbound, out)),
        // `admit` lets a continuation pass only inside an open message, whose opcode is given.
        Opcode::Continuation => return None,
    })
}

/// The peer's Close: judged by the dialect, and answered.
#[cold]
fn closed<'e>(payload: &'e [u8], outbound: &mut Outbound, out: &mut impl Output) -> Event<'e> {
    let said = if outbound.rules().close_codes {
        close::parse(payload)
    } else {
        Ok((CloseCode::NO_STATUS, ""))
    };
    match said {
        Ok((code, reason)) => {
            outbound.step(Step::ReceivedClose);
            outbound.answer_close(code, payload, out);
            Event::Close(CloseFrame { code, reason, payload })
        }
        Err(error) => failed(error, outbound, out),
    }
}

#[cold]
pub(super) fn failed<'e>(
    error: ProtocolError,
    outbound: &mut Outbound,
    out: &mut impl Output,
) -> Event<'e> {
    outbound.failed(error, out);
    Event::Failed(error)
}
