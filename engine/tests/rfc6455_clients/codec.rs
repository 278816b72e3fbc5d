//! A server's frames and handshakes written from the RFC alone: every bit can be set wrong. No code is
//! shared with the engine.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use sha1::{Digest as _, Sha1};

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

/// The key that a client would mask with; a server does not.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// Longer than any case takes that works, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame; the length takes so many bytes as `form` says, the shortest for `None`. A server's is not
/// masked, whatever the key.
pub(crate) fn frame_as(
    first: u8,
    payload: &[u8],
    _: Option<[u8; 4]>,
    form: Option<usize>,
) -> Vec<u8> {
    let shortest = match payload.len() {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    };
    let mut bytes = vec![first];
    let len = payload.len() as u64;
    match form.unwrap_or(shortest) {
        0 => bytes.push(u8::try_from(len).expect("short")),
        2 => {
            bytes.push(126);
            bytes.extend(u16::try_from(len).expect("short").to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A server's frame in the shortest form.
pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_as(first, payload.as_ref(), None, None)
}

/// A frame as a client would mask it, which a server must not.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(first, payload);
    let head = bytes.len() - payload.len();
    bytes[1] |= 0x80;
    for (byte, key) in bytes[head..].iter_mut().zip(KEY.iter().cycle()) {
        *byte ^= key;
    }
    bytes.splice(head..head, KEY);
    bytes
}

pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

/// What a server answers to a key (section 4.2.2, item 5.4).
pub(crate) fn accept(key: &str) -> String {
    let digest = Sha1::digest([key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat());
    let letters: Vec<_> =
        (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").collect();
    let mut out = Vec::new();
    for three in digest.chunks(3) {
        let sum = three.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let sum = sum << (8 * (3 - three.len()));
        out.extend([18, 12, 6, 0].map(|shift| letters[(sum >> shift & 63) as usize]));
        let padding = 3 - three.len();
        let end = out.len();
        out[end - padding..].fill(b'=');
    }
    String::from_utf8(out).expect("ASCII")
}

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

/// One connection that a client has made.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).expect("a mode");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, received: Vec::new() }
    }

    /// Writes on another thread.
    pub(crate) fn writer(&self) -> impl FnMut(&[u8]) + Send + use<> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        move |bytes| {
            // The client may have gone already.
            let _ = stream.write_all(bytes);
        }
    }

    /// Writes what the client takes; it may have gone already.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Ends the server's half of TCP.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The head of the client's request.
    pub(crate) fn request(&mut self) -> Option<String> {
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

/// A client's frame, which must be masked and in the shortest form.
fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0x80, "a client masks everything (section 5.1)");
    let (len, at) = match second & 0x7F {
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
    let key: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    let masked = bytes.get(at + 4..at + 4 + len)?;
    let payload = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((Frame { first, payload }, at + 4 + len))
}
