//! A chat: one room per path, a name for everybody, and a line when somebody comes or goes.
//!
//! `cargo run --release --example chat` prints its address. Connect to `ws://ADDRESS/lobby?name=ann`
//! with as many clients as you like, on as many cores as there are: no lock, no shared state.

use ringbolt::handshake::UpgradeRequest;
use ringbolt::{
    Accept, CloseReason, Handler, Message, Publisher, Reject, Server, Shard, Topic, WebSocket,
};

/// One per shard.
pub(crate) struct Chat {
    /// Reaches the members of a room on every shard, even when there is no connection to send from.
    everywhere: Publisher,
}

/// Kept with each connection.
pub(crate) struct Member {
    name: String,
    room: String,
    topic: Option<Topic>,
}

impl Chat {
    pub(crate) fn new(shard: &mut Shard<'_>) -> Self {
        Self { everywhere: shard.publisher() }
    }
}

impl Handler for Chat {
    type Data = Member;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Member>, Reject> {
        let name = request.query("name").unwrap_or_default();
        if name.is_empty() || name.len() > 20 || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Reject::new(400, "Ask for /room?name=you, in letters and digits."));
        }
        let (name, room) = (name.to_owned(), request.path().to_owned());
        Ok(Accept::new(Member { name, room, topic: None }))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Member>) {
        let room = ws.data().room.clone();
        let topic = ws.topic(&room).filter(|topic| ws.subscribe(*topic));
        ws.data_mut().topic = topic;
        let Some(topic) = topic else { return ws.close() };
        let hello = format!("* {} joins", ws.data().name);
        say(ws, topic, &hello);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Member>, message: Message<'_>) {
        if let (Message::Text(text), Some(topic)) = (message, ws.data().topic) {
            let line = format!("{}: {text}", ws.data().name);
            say(ws, topic, &line);
        }
    }

    fn on_close(&mut self, member: Member, _: CloseReason) {
        if member.topic.is_some() {
            // A server that is too busy for a farewell may drop it.
            let _ = self.everywhere.publish(&member.room, &*format!("* {} leaves", member.name));
        }
    }
}

/// To everybody else in the room.
fn say(ws: &mut WebSocket<'_, Member>, room: Topic, line: &str) {
    if ws.publish(room, line).is_err() {
        // Too much waits in this room already: tell the author, if there is room for that.
        let _ = ws.send("* not delivered, try again");
    }
}

#[expect(clippy::print_stdout, reason = "a program tells its user where it listens")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().start(Chat::new)?;
    println!("listening on {}", server.address());
    server.join()?;
    Ok(())
}
