//! draft-02's opening handshake: what it wants of a request and of an answer, and how it writes both.
//!
//! [`rfc6455`](super::rfc6455) has the same functions in the same order.

mod key;

use fastrand::Rng;

pub use key::{ANSWER_LEN, KEY_3_LEN, answer, key_part, write_key};

use super::common::{Judged, Known, decimal, lowercase, text};
use super::request::{Answer, Challenge, RequestLine};
use super::response::{CONNECTION, Once, PROTOCOL, UPGRADE};
use super::scan::{FIELDS_MAX, Head};
use super::url::{HostPort, default_port};
use super::{ClientRequest, RequestError, ResponseError, UpgradeRequest, Url};

/// The draft this module speaks, as `Sec-WebSocket-Draft` says it.
pub const DRAFT: u8 = 2;

// ---- a server

/// Judges a request of draft-02 (§5.2.1), whose head is complete and which `rest` follows; `None` while
/// key_3 is missing and all else is right.
#[inline]
pub(super) fn judge<'a>(
    _: &Head,
    _: &'a [u8],
    rest: &[u8],
    line: &RequestLine<'a>,
    known: &Known<'a>,
) -> Result<Option<Judged<'a>>, RequestError> {
    if line.authority.is_some() {
        return Err(RequestError::ResourceName);
    }
    let draft = judge_fields(known)?;
    let host_text = text(known.host.unwrap_or_default(), RequestError::HostMalformed)?;
    let host = HostPort::parse(host_text).ok_or(RequestError::HostMalformed)?;
    if let Some(protocol) = known.protocol {
        text(protocol, RequestError::SubprotocolMalformed)?;
    }
    let (Some(key_1), Some(key_2)) = (known.key_1, known.key_2) else {
        return Err(RequestError::KeyMissing);
    };
    let parts = (key_part(key_1)?, key_part(key_2)?);
    let origin = known.origin()?;
    let Some(&key_3) = rest.first_chunk::<KEY_3_LEN>() else { return Ok(None) };
    let challenge = Challenge::Hybi02 { draft, parts, key_3 };
    Ok(Some(Judged { host_text, host, origin, challenge, behind: KEY_3_LEN }))
}

/// The fields of draft-02 that have one value for every server; returns the draft.
fn judge_fields(known: &Known<'_>) -> Result<u8, RequestError> {
    if let Some(error) = known.hybi02_forbids {
        return Err(error);
    }
    let upgrade = known.upgrade.ok_or(RequestError::UpgradeMissing)?;
    if !upgrade.eq_ignore_ascii_case(b"WebSocket") {
        return Err(RequestError::UpgradeValue);
    }
    if !known.connection.is_some_and(|value| value.eq_ignore_ascii_case(b"Upgrade")) {
        return Err(RequestError::ConnectionValue);
    }
    known.body.judge(KEY_3_LEN)?; // AMB-24
    let draft = match trim_spaces(known.draft.ok_or(RequestError::DraftMissing)?) {
        b"1" => 1,
        b"2" => 2,
        b"3" => 3,
        _ => return Err(RequestError::DraftUnsupported), // AMB-15
    };
    known.host.ok_or(RequestError::HostMissing)?;
    Ok(draft)
}

/// The value without the spaces around it.
fn trim_spaces(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// What stands before the origin in every answer of draft-02.
const HEAD: &[u8] = b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n\
    Upgrade: WebSocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Origin: ";

/// Writes a server's answer up to the location, without the end of its line (§5.2.2 steps 2 to 7; HS-S-23). The answer
/// to the keys comes behind the head.
pub(super) fn write_head(
    request: &UpgradeRequest<'_>,
    _: &Answer,
    secure: bool,
    out: &mut Vec<u8>,
) {
    let resource_name = request.resource_name();
    out.reserve(256 + request.host().len() + resource_name.len());
    out.extend_from_slice(HEAD);
    lowercase(request.origin().unwrap_or_default(), out);
    out.extend_from_slice(b"\r\nSec-WebSocket-Location: ");
    out.extend_from_slice(if secure { b"wss://" } else { b"ws://" });
    let target = request.host_port();
    lowercase(target.host, out);
    if let Some(port) = target.port.filter(|&port| port != default_port(secure)) {
        out.push(b':');
        decimal(u32::from(port), out);
    }
    out.extend_from_slice(resource_name.as_bytes());
}

// ---- a client

/// Whether this can be asked for as a subprotocol (§5.1 step 15).
pub(super) fn is_subprotocol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, 0x21..=0x7E))
}

/// The fields of draft-02 §5.1 steps 7 to 16 (HS-C-07 to HS-C-09, HS-C-13 to HS-C-16).
pub(super) fn lines(url: &Url, origin: &str, protocols: &[String]) -> Vec<String> {
    let mut lines = vec![
        "Upgrade: WebSocket\r\n".to_owned(),
        "Connection: Upgrade\r\n".to_owned(),
        format!("Host: {}\r\n", url.host_port()),
        format!("Origin: {origin}\r\n"),
        format!("Sec-WebSocket-Draft: {}\r\n", DRAFT),
    ];
    if !protocols.is_empty() {
        lines.push(format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(" ")));
    }
    lines
}

/// The lines that differ from connection to connection.
pub(super) const KEYS: usize = 2;

/// Writes the fields in random order, the keys among them, and key_3 (HS-C-26 to HS-C-29); gives what the server must answer.
pub(super) fn start(lines: &[String], rng: &mut Rng, out: &mut Vec<u8>) -> Answer {
    let count = lines.len() + KEYS;
    let mut order: [u8; FIELDS_MAX] = std::array::from_fn(|i| i.to_le_bytes()[0]);
    let order = order.get_mut(..count).unwrap_or_default();
    rng.shuffle(order);
    let mut numbers = [0; KEYS];
    for &i in &*order {
        let i = usize::from(i);
        match (lines.get(i), numbers.get_mut(i.wrapping_sub(lines.len()))) {
            (Some(line), _) => out.extend_from_slice(line.as_bytes()),
            (None, Some(number)) => {
                let first = i == lines.len();
                let name: &[u8] =
                    if first { b"Sec-WebSocket-Key1: " } else { b"Sec-WebSocket-Key2: " };
                out.extend_from_slice(name);
                *number = write_key(rng, out);
                out.extend_from_slice(b"\r\n");
            }
            (None, None) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    let key_3: [u8; KEY_3_LEN] = rng.u64(..).to_be_bytes();
    out.extend_from_slice(&key_3);
    let [number_1, number_2] = numbers;
    Answer::Hybi02(answer(number_1, number_2, key_3))
}

/// The fields that draft-02 wants once; the last one only if a subprotocol was asked for.
pub(super) const ONCE: [Once; 5] = [
    UPGRADE,
    CONNECTION,
    Once::new("sec-websocket-origin", ResponseError::OriginCount, ResponseError::OriginValue),
    Once::new("sec-websocket-location", ResponseError::LocationCount, ResponseError::LocationValue),
    PROTOCOL,
];

/// How many of [`ONCE`] must stand in the answer.
pub(super) fn needed(request: &ClientRequest) -> usize {
    if request.protocols().next().is_some() { 5 } else { 4 }
}

/// Whether field `i` of [`ONCE`] has the value it must have; `None` if that does not matter.
pub(super) fn is_right(
    i: usize,
    value: &[u8],
    request: &ClientRequest,
    _: &Answer,
) -> Option<bool> {
    Some(match i {
        0 => value.eq_ignore_ascii_case(b"websocket"),
        1 => value.eq_ignore_ascii_case(b"upgrade"),
        2 => value == request.origin().as_bytes(),
        3 => value == request.location().as_bytes(),
        _ if request.protocols().next().is_none() => return None,
        _ => request.protocols().any(|name| value == name.as_bytes()),
    })
}

/// Whether the first bytes behind a server's handshake are those of draft-00's framing: 0x00 begins
/// a text frame there and ends with 0xFF, 0xFF 0x00 closes. A draft-00 server answers a draft-02
/// client's handshake correctly, so this is the first sign of the mistake (AMB-11).
///
/// In draft-02 these bytes can only be an error: a continuation without a message, or a header with
/// all reserved bits set.
#[must_use]
pub fn looks_like_draft_00(first_bytes: &[u8]) -> bool {
    match first_bytes {
        [0xFF, ..] => true,
        [0x00, text @ ..] => text.contains(&0xFF) || text.first().is_some_and(|&b| b >= 0x20),
        _ => false,
    }
}
