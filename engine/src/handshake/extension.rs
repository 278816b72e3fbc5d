//! The negotiation of permessage-deflate (RFC 7692 §7.1) in `Sec-WebSocket-Extensions` (RFC 6455
//! §9.1).
//!
//! We never refer to earlier messages, nor let the peer do so: a connection then owns no window, and
//! what is compressed for one is right for all.

use super::rfc6455::list;

/// The extension's name.
const NAME: &str = "permessage-deflate";
/// The peer's compressed messages do not refer to earlier ones (§7.1.1.1).
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
/// Nor do the client's (§7.1.1.2).
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
/// The server's window, 2 to this power (§7.1.2.1).
const SERVER_BITS: &str = "server_max_window_bits";
/// The client's (§7.1.2.2).
const CLIENT_BITS: &str = "client_max_window_bits";
/// The smallest window that our compressor has; 8 is legal and refused (§7.1.2.1 lets us).
const LEAST_BITS: u8 = 9;
/// The largest.
const MOST_BITS: u8 = 15;

/// What both sides of a connection agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Deflate {
    /// The window of what this side sends, 2 to this power: 9 to 15.
    pub window_bits: u8,
    /// Whether the offer named the server's window: then the answer does, too.
    named: bool,
}

/// What a client offers: nothing kept between messages, any window.
pub(super) const OFFER: &str = concat!(
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; ",
    "client_max_window_bits"
);

/// The parameters of one extension in a list, each with its value, if it is this one.
fn parameters(element: &str) -> Option<impl Iterator<Item = (&str, Option<&str>)>> {
    let mut parts = element.split(';').map(|part| part.trim_matches([' ', '\t']));
    (parts.next()? == NAME).then_some(())?;
    Some(parts.map(|part| match part.split_once('=') {
        Some((name, value)) => {
            let value = value.trim_matches([' ', '\t']);
            let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            (name.trim_matches([' ', '\t']), Some(quoted.unwrap_or(value)))
        }
        None => (part, None),
    }))
}

/// Bits of a window, in the only form there is: no leading zero (§7.1.2).
fn bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=MOST_BITS).contains(bits))?;
    (!value.starts_with(['0', '+'])).then_some(bits)
}

/// What a server makes of one offer; `None` declines it, also when it is malformed (§7.1).
fn accept(element: &str) -> Option<Deflate> {
    let mut agreed = Deflate { window_bits: MOST_BITS, named: false };
    let mut seen = [false; 4];
    for (name, value) in parameters(element)? {
        let (place, right) = match (name, value) {
            (SERVER_NO_TAKEOVER, None) => (0, true),
            (CLIENT_NO_TAKEOVER, None) => (1, true),
            (SERVER_BITS, Some(value)) => {
                agreed.window_bits = bits(value)?;
                agreed.named = true;
                (2, agreed.window_bits >= LEAST_BITS)
            }
            (CLIENT_BITS, value) => (3, value.is_none_or(|value| bits(value).is_some())),
            _ => return None,
        };
        let place = seen.get_mut(place)?;
        if !right || std::mem::replace(place, true) {
            return None;
        }
    }
    Some(agreed)
}

/// The first of a client's offers that a server can take (§7.1.3).
pub(super) fn choose<'v>(values: impl Iterator<Item = &'v str>) -> Option<Deflate> {
    values.flat_map(list).find_map(accept)
}

impl Deflate {
    /// What the server answers, as the value of Sec-WebSocket-Extensions.
    pub(super) fn write_answer(self, out: &mut Vec<u8>) {
        for part in [NAME, "; ", SERVER_NO_TAKEOVER, "; ", CLIENT_NO_TAKEOVER] {
            out.extend_from_slice(part.as_bytes());
        }
        if self.named {
            out.extend_from_slice(format!("; {SERVER_BITS}={}", self.window_bits).as_bytes());
        }
    }

    /// What a client makes of the answer to its offer; `None` fails the connection (§7.1).
    pub(super) fn judge_answer(value: &str) -> Option<Self> {
        let mut elements = list(value);
        let element = elements.next().filter(|_| elements.next().is_none());
        let mut agreed = Self { window_bits: MOST_BITS, named: false };
        let mut seen = [false; 4];
        for (name, value) in parameters(element?)? {
            let place = match (name, value) {
                (SERVER_NO_TAKEOVER, None) => 0,
                (CLIENT_NO_TAKEOVER, None) => 1,
                (SERVER_BITS, Some(value)) => {
                    bits(value)?;
                    2
                }
                (CLIENT_BITS, Some(value)) => {
                    agreed.window_bits = bits(value).filter(|bits| *bits >= LEAST_BITS)?;
                    3
                }
                _ => return None,
            };
            if std::mem::replace(seen.get_mut(place)?, true) {
                return None;
            }
        }
        // Offered, so accepted with it or not at all (§7.1.1.1).
        seen.first().copied().unwrap_or(false).then_some(agreed)
    }
}

#[cfg(test)]
mod tests;
