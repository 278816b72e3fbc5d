//! tokio-websockets as a client.

use futures_util::{SinkExt as _, StreamExt as _};
use peers_interop::{Client, Heard, Kind, Say};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, CloseCode, Config, Message, WebSocketStream};

struct TokioWebsockets(WebSocketStream<TcpStream>);

impl Client for TokioWebsockets {
    // It takes whole messages only.
    const SENDS_BAD_TEXT: bool = false;

    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let url = format!("ws://{address}/");
        // It cuts messages into frames of this size on its own.
        let builder = ClientBuilder::new().uri(&url).expect("a URL");
        let builder = builder.config(Config::default().frame_size(30_000));
        let (ws, _) = builder.connect_on(stream).await.expect("an upgrade");
        Self(ws)
    }

    async fn say(&mut self, say: Say) {
        let message = match say {
            Say::Text(text) => Message::text(text),
            Say::Fragments(Kind::Text, parts) => {
                Message::text(String::from_utf8(parts.concat()).expect("text"))
            }
            Say::Fragments(Kind::Binary, parts) => Message::binary(parts.concat()),
            Say::Binary(bytes) => Message::binary(bytes),
            Say::Ping(payload) => Message::ping(payload),
            Say::Close(code, reason) => {
                Message::close(Some(CloseCode::try_from(code).expect("a code")), reason)
            }
        };
        // Where the server has ended the connection meanwhile, hearing tells.
        let _ = self.0.send(message).await;
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let message = self.0.next().await.expect("a message").expect("no error");
            if let Some((code, _)) = message.as_close() {
                return Heard::Close(Some(code.into()));
            }
            if let Some(text) = message.as_text() {
                return Heard::Text(text.to_owned());
            }
            if message.is_binary() {
                return Heard::Binary(message.as_payload().to_vec());
            }
            if message.is_pong() {
                return Heard::Pong(message.as_payload().to_vec());
            }
        }
    }
}

fn main() {
    peers_interop::run::<TokioWebsockets>();
}
