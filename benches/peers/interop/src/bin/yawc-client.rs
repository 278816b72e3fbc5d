//! yawc as a client that compresses what it sends, each way with what was sent before.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use peers_interop::{Client, Heard, Kind, Say};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;
use yawc::{CompressionLevel, Frame, OpCode, Options, WebSocket};

/// Bytes that came in. The library does not tell what was agreed upon; this does.
static RECEIVED: AtomicUsize = AtomicUsize::new(0);

/// Far below what is echoed, of which all but little repeats.
const MOST: usize = 500_000;

fn count(bytes: &[u8]) {
    RECEIVED.fetch_add(bytes.len(), Ordering::Relaxed);
}

type Counted = InspectReader<TcpStream, fn(&[u8])>;

struct Yawc(WebSocket<Counted>);

impl Client for Yawc {
    const SENDS_BAD_TEXT: bool = true;

    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let stream = InspectReader::new(stream, count as fn(&[u8]));
        let url = format!("ws://{address}/").parse().expect("a URL");
        let options = Options::default()
            .with_compression_level(CompressionLevel::default())
            .with_limits(4 << 20, 8 << 20)
            .with_utf8();
        Self(WebSocket::handshake(url, stream, options).await.expect("an upgrade"))
    }

    async fn say(&mut self, say: Say) {
        let frame = match say {
            Say::Text(text) => Frame::text(text),
            Say::Binary(bytes) => Frame::binary(bytes),
            Say::Ping(payload) => Frame::ping(payload),
            Say::Close(code, reason) => Frame::close(code.into(), reason),
            Say::Fragments(kind, parts) => {
                let last = parts.len() - 1;
                for (n, part) in parts.into_iter().enumerate() {
                    let frame = match kind {
                        _ if n > 0 => Frame::continuation(part),
                        Kind::Text => Frame::text(part),
                        Kind::Binary => Frame::binary(part),
                    };
                    self.0.send(frame.with_fin(n == last)).await.expect("room");
                }
                return;
            }
        };
        // Where the server has ended the connection meanwhile, hearing tells.
        let _ = self.0.send(frame).await;
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let frame = self.0.next().await.expect("a frame");
            match frame.opcode() {
                OpCode::Text => return Heard::Text(frame.as_str().to_owned()),
                OpCode::Binary => return Heard::Binary(frame.into_payload().to_vec()),
                OpCode::Pong => return Heard::Pong(frame.into_payload().to_vec()),
                OpCode::Close => return Heard::Close(frame.close_code().map(u16::from)),
                OpCode::Ping | OpCode::Continuation => {}
            }
        }
    }
}

fn main() {
    peers_interop::run::<Yawc>();
    let received = RECEIVED.load(Ordering::Relaxed);
    assert!(received < MOST, "{received} bytes came in: the server does not compress");
}
