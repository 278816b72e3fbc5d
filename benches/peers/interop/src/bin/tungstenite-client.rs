//! tokio-tungstenite as a client.

use futures_util::{SinkExt as _, StreamExt as _};
use peers_interop::{Client, Heard, Kind, Say};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

struct Tungstenite(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client for Tungstenite {
    const SENDS_BAD_TEXT: bool = true;

    async fn connect(address: &str) -> Self {
        let (ws, _) = tokio_tungstenite::connect_async(format!("ws://{address}/"))
            .await
            .expect("a connection");
        Self(ws)
    }

    async fn say(&mut self, say: Say) {
        let message = match say {
            Say::Text(text) => Message::text(text),
            Say::Binary(bytes) => Message::binary(bytes),
            Say::Ping(payload) => Message::Ping(payload.into()),
            Say::Close(code, reason) => {
                Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
            }
            Say::Fragments(kind, parts) => {
                let last = parts.len() - 1;
                for (n, part) in parts.into_iter().enumerate() {
                    let data = match kind {
                        _ if n > 0 => Data::Continue,
                        Kind::Text => Data::Text,
                        Kind::Binary => Data::Binary,
                    };
                    let frame = Frame::message(part, OpCode::Data(data), n == last);
                    self.0.send(Message::Frame(frame)).await.expect("room");
                }
                return;
            }
        };
        // Where the server has ended the connection meanwhile, hearing tells.
        let _ = self.0.send(message).await;
    }

    async fn hear(&mut self) -> Heard {
        loop {
            match self.0.next().await.expect("a message").expect("no error") {
                Message::Text(text) => return Heard::Text(text.to_string()),
                Message::Binary(bytes) => return Heard::Binary(bytes.to_vec()),
                Message::Pong(payload) => return Heard::Pong(payload.to_vec()),
                Message::Close(frame) => return Heard::Close(frame.map(|frame| frame.code.into())),
                Message::Ping(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn main() {
    peers_interop::run::<Tungstenite>();
}
