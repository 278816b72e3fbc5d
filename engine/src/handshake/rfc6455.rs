//! RFC 6455's opening handshake: what it wants of a request and of an answer, and how it writes both.
//!
//! [`hybi02`](super::hybi02) has the same functions in the same order.

mod key;

use fastrand::Rng;

pub use super::common::is_token;
pub use key::{ANSWER_LEN, KEY_LEN, answer, is_key, write_key};

use super::common::{Judged, Known, elements, is_token_of_bytes, text, values};
use super::request::{Answer, Challenge, RequestLine};
use super::response::{CONNECTION, Once, PROTOCOL, UPGRADE};
use super::scan::Head;
use super::url::HostPort;
use super::{ClientRequest, Deflate, RequestError, ResponseError, UpgradeRequest, Url};

/// The version this module speaks, as `Sec-WebSocket-Version` says it.
pub const VERSION: u8 = 13;

// ---- a server

/// Judges a request of RFC 6455 (§4.2.1), whose head is complete; never `None`.
#[inline]
pub(super) fn judge<'a>(
    head: &Head,
    bytes: &'a [u8],
    _: &[u8],
    line: &RequestLine<'a>,
    known: &Known<'a>,
) -> Result<Option<Judged<'a>>, RequestError> {
    line.judge_version()?;
    if known.twice {
        return Err(RequestError::DuplicateField);
    }
    // An absolute URI says for whom it is, and Host does not count then (RFC 9112 §3.2.2).
    let host = known.host.ok_or(RequestError::HostMissing)?;
    let host = line.authority.map_or_else(|| text(host, RequestError::HostMalformed), Ok)?;
    let key = known.key.ok_or(RequestError::KeyMissing)?;
    let key = key.try_into().ok().filter(|key: &[u8; _]| is_key(key));
    let judged = Judged {
        host: HostPort::parse(host).ok_or(RequestError::HostMalformed)?,
        host_text: host,
        origin: known.origin()?,
        challenge: Challenge::Rfc6455 { key: key.ok_or(RequestError::KeyMalformed)? },
        behind: 0,
    };
    if known.upgrade.is_none() {
        return Err(RequestError::UpgradeMissing);
    }
    known.body.judge(0)?;
    judge_fields(head, bytes, known)?;
    // Last, so that whoever is told of the right version got everything else right.
    if known.version != Some(b"13") {
        return Err(RequestError::VersionUnsupported);
    }
    Ok(Some(judged))
}

/// The fields that hold lists, each of which may stand there several times.
fn judge_fields(head: &Head, bytes: &[u8], known: &Known<'_>) -> Result<(), RequestError> {
    let elements = |name| values(head, bytes, name).flat_map(elements);
    if !elements("Upgrade").any(|name| name.eq_ignore_ascii_case(b"websocket")) {
        return Err(RequestError::UpgradeValue);
    }
    if !elements("Connection").any(|name| name.eq_ignore_ascii_case(b"upgrade")) {
        return Err(RequestError::ConnectionValue);
    }
    let mut asked = false;
    for (i, name) in elements("Sec-WebSocket-Protocol").enumerate() {
        asked = true;
        if !is_token_of_bytes(name)
            || elements("Sec-WebSocket-Protocol").take(i).any(|other| other == name)
        {
            return Err(RequestError::SubprotocolMalformed);
        }
    }
    if known.protocol.is_some() && !asked {
        return Err(RequestError::SubprotocolMalformed);
    }
    Ok(())
}

/// What stands before the answer to the key in every answer of RFC 6455.
const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: ";

/// Writes a server's answer up to what answers the key, without the end of its line (§4.2.2 item 5).
pub(super) fn write_head(_: &UpgradeRequest<'_>, answer: &Answer, _: bool, out: &mut Vec<u8>) {
    out.reserve(256);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(answer.as_bytes());
}

// ---- a client

/// Whether this can be asked for as a subprotocol (§4.1 item 10).
pub(super) fn is_subprotocol(name: &str) -> bool {
    is_token(name)
}

/// The fields of RFC 6455 §4.1 items 4 to 10; Host comes first, as HTTP recommends.
pub(super) fn lines(url: &Url, origin: &str, protocols: &[String]) -> Vec<String> {
    let mut lines = vec![
        format!("Host: {}\r\n", url.host_port()),
        "Upgrade: websocket\r\n".to_owned(),
        "Connection: Upgrade\r\n".to_owned(),
        format!("Sec-WebSocket-Version: {}\r\n", VERSION),
    ];
    if !origin.is_empty() {
        lines.push(format!("Origin: {origin}\r\n"));
    }
    if !protocols.is_empty() {
        lines.push(format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", ")));
    }
    lines
}

/// Writes the fields in their order, the key last; gives what the server must answer.
pub(super) fn start(lines: &[String], rng: &mut Rng, out: &mut Vec<u8>) -> Answer {
    for line in lines {
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(b"Sec-WebSocket-Key: ");
    let expected = write_key(rng, out);
    out.extend_from_slice(b"\r\n\r\n");
    Answer::Rfc6455(expected)
}

/// The fields that RFC 6455 wants once; the last two may be absent.
pub(super) const ONCE: [Once; 5] = [
    UPGRADE,
    CONNECTION,
    Once::new("sec-websocket-accept", ResponseError::AnswerCount, ResponseError::Answer),
    PROTOCOL,
    Once::new("sec-websocket-extensions", ResponseError::Extension, ResponseError::Extension),
];

/// How many of [`ONCE`] must stand in the answer.
pub(super) const fn needed(_: &ClientRequest) -> usize {
    3
}

/// Whether field `i` of [`ONCE`] has the value it must have (§4.1, items 2 to 6 of the last list).
pub(super) fn is_right(
    i: usize,
    value: &[u8],
    request: &ClientRequest,
    expected: &Answer,
) -> Option<bool> {
    let value = value.trim_ascii();
    Some(match i {
        0 => value.eq_ignore_ascii_case(b"websocket"),
        1 => elements(value).any(|name| name.eq_ignore_ascii_case(b"upgrade")),
        2 => value == expected.as_bytes(),
        3 => request.protocols().any(|name| value == name.as_bytes()),
        _ => match (request.deflate_terms(), std::str::from_utf8(value)) {
            // None was asked for.
            (None, _) => value.is_empty(),
            (Some(terms), Ok(value)) => Deflate::judge_answer(value, terms).is_some(),
            (Some(_), Err(_)) => false,
        },
    })
}

#[cfg(test)]
mod tests;
