//! The smallest server: every message goes back to whoever sent it.
//!
//! `cargo run --release --example echo` prints its address and runs until it is killed.

use ringbolt::handshake::UpgradeRequest;
use ringbolt::{Accept, Handler, Message, Reject, Server, WebSocket};

struct Echo;

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        // The peer reads too slowly when this is refused; an echo has nothing better to say then.
        if ws.send(message).is_err() {
            ws.close();
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program tells its user where it listens")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().start(|_| Echo)?;
    println!("listening on {}", server.address());
    server.join()?;
    Ok(())
}
