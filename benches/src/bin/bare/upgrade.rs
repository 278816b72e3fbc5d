//! The opening handshake, which the bare servers must answer to be driven by a real client.

use ringbolt::handshake::{HeadLimits, ServerHandshake, ServerPolicy, accept};

/// The answer to the example request of draft-02 section 1.2, which the accepting servers give to
/// every request unread.
pub(crate) const CANNED: &[u8] = b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n\
    Upgrade: WebSocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Origin: http://example.com\r\n\
    Sec-WebSocket-Location: ws://example.com/demo\r\n\r\n\
    8jKS'y:G*Co,Wxa-";

/// The answer to a request that arrived whole and alone; `None` for anything else, which ends the
/// connection.
pub(crate) fn answer(received: &[u8]) -> Option<Vec<u8>> {
    let request = ServerHandshake::new().read(&HeadLimits::default(), received).ok()??;
    let mut out = Vec::new();
    let policy = ServerPolicy::new().require_origin(false);
    accept(&request, &policy, None, &[] as &[(&str, &str)], &mut out).ok()?;
    (request.len() == received.len()).then_some(out)
}

/// What the first byte of a frame makes of the bytes behind it, for the servers that fan out: what
/// one client says to the server alone is not for the others.
pub(crate) enum Kind {
    /// For the others.
    Data,
    /// A Close frame, to be answered by another.
    Close,
    /// A ping or pong.
    Beat,
}

pub(crate) fn kind(bytes: &[u8]) -> Kind {
    match bytes.first().map(|byte| byte & 0x0F) {
        Some(1) => Kind::Close,
        Some(2 | 3) => Kind::Beat,
        _ => Kind::Data,
    }
}
