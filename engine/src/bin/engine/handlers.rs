//! The two applications: echo, and broadcast by resource name.

use std::num::NonZeroU32;

use ringbolt::handshake::UpgradeRequest;
use ringbolt::{Accept, Handler, Message, Part, Reject, Topic, WebSocket};

/// Sends every message back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo {
    /// Large messages go back in parts of so many bytes, before all of them has come.
    pub(crate) part_bytes: Option<NonZeroU32>,
}

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        // More than --max-outbound waits, though reading pauses long before: an echo that left a
        // message out would be wrong, so the connection ends; the refused send is counted.
        if ws.send(message).is_err() && ws.is_open() {
            ws.close();
        }
    }

    fn part_bytes(&self) -> Option<NonZeroU32> {
        self.part_bytes
    }

    fn on_part(&mut self, ws: &mut WebSocket<'_, ()>, part: Part<'_>) {
        if ws.send_part(part).is_err() && ws.is_open() {
            ws.close();
        }
    }
}

/// Delivers every message to the other connections of its topic.
#[derive(Debug)]
pub(crate) struct Broadcast;

/// What a broadcast connection is subscribed to.
#[derive(Debug)]
pub(crate) enum Seat {
    /// The resource name, until the connection is open.
    Asked(Box<str>),
    Subscribed(Topic),
    /// There are too many topics: the connection is being closed.
    None,
}

impl Handler for Broadcast {
    type Data = Seat;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Seat>, Reject> {
        Ok(Accept::new(Seat::Asked(request.resource_name().into())))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Seat>) {
        let Seat::Asked(name) = std::mem::replace(ws.data_mut(), Seat::None) else { return };
        match ws.topic(&name) {
            Some(topic) if ws.subscribe(topic) => *ws.data_mut() = Seat::Subscribed(topic),
            _ => ws.close(),
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Seat>, message: Message<'_>) {
        if let Seat::Subscribed(topic) = *ws.data() {
            // Refused when too much waits on the topic already: counted by the engine, and no
            // fault of this publisher's.
            let _ = ws.publish(topic, message);
        }
    }
}
