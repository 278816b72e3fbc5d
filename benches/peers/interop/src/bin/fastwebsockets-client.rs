//! fastwebsockets as a client.

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, handshake};
use http_body_util::Empty;
use hyper::Request;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use peers_interop::{Client, Heard, Kind, Say};
use tokio::net::TcpStream;

/// Runs what hyper wants to run beside the connection.
struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

struct Fast(FragmentCollector<TokioIo<Upgraded>>);

impl Client for Fast {
    const SENDS_BAD_TEXT: bool = true;

    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let request = Request::builder()
            .uri(format!("http://{address}/"))
            .header("Host", address)
            .header("Upgrade", "websocket")
            .header("Connection", "upgrade")
            .header("Sec-WebSocket-Key", handshake::generate_key())
            .header("Sec-WebSocket-Version", "13")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let (ws, _) = handshake::client(&Spawn, request, stream).await.expect("an upgrade");
        Self(FragmentCollector::new(ws))
    }

    async fn say(&mut self, say: Say) {
        let owned = |bytes: Vec<u8>| Payload::Owned(bytes);
        let frame = match say {
            Say::Text(text) => Frame::text(owned(text.into_bytes())),
            Say::Binary(bytes) => Frame::binary(owned(bytes)),
            Say::Ping(payload) => Frame::new(true, OpCode::Ping, None, owned(payload)),
            Say::Close(code, reason) => Frame::close(code, reason.as_bytes()),
            Say::Fragments(kind, parts) => {
                let last = parts.len() - 1;
                for (n, part) in parts.into_iter().enumerate() {
                    let opcode = match kind {
                        _ if n > 0 => OpCode::Continuation,
                        Kind::Text => OpCode::Text,
                        Kind::Binary => OpCode::Binary,
                    };
                    let frame = Frame::new(n == last, opcode, None, owned(part));
                    self.0.write_frame(frame).await.expect("room");
                }
                return;
            }
        };
        // Where the server has ended the connection meanwhile, hearing tells.
        let _ = self.0.write_frame(frame).await;
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let frame = self.0.read_frame().await.expect("a frame");
            let payload = frame.payload.to_vec();
            match frame.opcode {
                OpCode::Text => {
                    return Heard::Text(String::from_utf8(payload).expect("text"));
                }
                OpCode::Binary => return Heard::Binary(payload),
                OpCode::Pong => return Heard::Pong(payload),
                OpCode::Close => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Heard::Close(code);
                }
                OpCode::Ping | OpCode::Continuation => {}
            }
        }
    }
}

fn main() {
    peers_interop::run::<Fast>();
}
