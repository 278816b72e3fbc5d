//! Frames and handshakes written from the RFC alone: every bit can be set wrong. No code is shared
//! with the engine.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const RSV2: u8 = 0x20;
pub(crate) const RSV3: u8 = 0x10;

/// The key of section 5.7's examples.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// Longer than any case takes that works, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame; the length takes so many bytes as `form` says, the shortest for `None`.
pub(crate) fn frame_as(
    first: u8,
    payload: &[u8],
    key: Option<[u8; 4]>,
    form: Option<usize>,
) -> Vec<u8> {
    let shortest = match payload.len() {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    };
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    let len = payload.len() as u64;
    match form.unwrap_or(shortest) {
        0 => bytes.push(u8::try_from(len).expect("short") | mask),
        2 => {
            bytes.push(126 | mask);
            bytes.extend(u16::try_from(len).expect("short").to_be_bytes());
        }
        _ => {
            bytes.push(127 | mask);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(key.unwrap_or_default().iter().take(if key.is_some() { 4 } else { 0 }));
    let key = key.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A client's frame in the shortest form.
pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_as(first, payload.as_ref(), Some(KEY), None)
}

pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

/// The request of section 1.2, without its subprotocols.
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// The answer to its key.
const ACCEPT: &str = "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// What a read gave.
#[derive(Debug)]
pub(crate) enum Got {
    Frame(Frame),
    /// An orderly end of TCP.
    End,
    /// A reset, or nothing for too long.
    Broken(String),
}

/// One connection of a case.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    pub(crate) fn raw(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, received: Vec::new() }
    }

    /// A connection whose handshake is done.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let mut peer = Self::raw(address);
        peer.write(REQUEST.as_bytes());
        let head = peer.head().ok_or("no answer to the handshake")?;
        if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
            Ok(peer)
        } else {
            Err(format!("the handshake was answered with {head}"))
        }
    }

    /// Writes on another thread.
    pub(crate) fn writer(&self) -> impl FnMut(&[u8]) + Send + use<> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        move |bytes| {
            // The server may have closed already.
            let _ = stream.write_all(bytes);
        }
    }

    /// Writes what the server takes; it may have closed already.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The head of an HTTP answer; `None` if the connection ends before.
    pub(crate) fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.received.drain(..at + 4).collect();
                return String::from_utf8(head).ok();
            }
            if self.fill().ok()? == 0 {
                return None;
            }
        }
    }

    /// Everything until the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while matches!(self.fill(), Ok(n) if n > 0) {}
        std::mem::take(&mut self.received)
    }

    fn fill(&mut self) -> Result<usize, std::io::Error> {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(n) => {
                    self.received.extend(&buffer[..n]);
                    return Ok(n);
                }
            }
        }
    }

    /// The next frame or the end.
    pub(crate) fn read(&mut self) -> Got {
        loop {
            if let Some((frame, len)) = decode(&self.received) {
                self.received.drain(..len);
                return Got::Frame(frame);
            }
            match self.fill() {
                Ok(0) if self.received.is_empty() => return Got::End,
                Ok(0) => return Got::Broken("the end inside a frame".to_owned()),
                Ok(_) => {}
                Err(e) => return Got::Broken(e.to_string()),
            }
        }
    }
}

/// A server's frame, which must not be masked and must be in the shortest form.
fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server masks nothing (section 5.1)");
    let (len, at) = match second {
        126 => {
            let len = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
            assert!(len > 125, "a length in its shortest form (section 5.2)");
            (usize::from(len), 4)
        }
        127 => {
            let len = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            assert!(len > 0xFFFF, "a length in its shortest form (section 5.2)");
            (usize::try_from(len).ok()?, 10)
        }
        len => (usize::from(len), 2),
    };
    let payload = bytes.get(at..at + len)?.to_vec();
    Some((Frame { first, payload }, at + len))
}
