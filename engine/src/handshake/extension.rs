//! The negotiation of permessage-deflate (RFC 7692 §7.1) in `Sec-WebSocket-Extensions` (RFC 6455
//! §9.1).
//!
//! Whether messages may refer to earlier ones, and how far back, is agreed on for each direction apart:
//! [`DeflateTerms`] is what this side wants, [`Deflate`] what became of it.

use super::common::list;

/// The extension's name.
const NAME: &str = "permessage-deflate";
/// The server's compressed messages do not refer to earlier ones (§7.1.1.1).
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
/// Nor do the client's (§7.1.1.2).
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
/// The server's window, 2 to this power (§7.1.2.1).
const SERVER_BITS: &str = "server_max_window_bits";
/// The client's (§7.1.2.2).
const CLIENT_BITS: &str = "client_max_window_bits";
/// The smallest window there is.
const LEAST_BITS: u8 = 8;
/// The smallest window that our compressor has: zlib's raw streams have none of 8 bits.
const LEAST_OWN_BITS: u8 = 9;
/// The largest.
const MOST_BITS: u8 = 15;

/// What this side wants of permessage-deflate, in either role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeflateTerms {
    /// Whether what this side sends may refer to its earlier messages ("context takeover"), if the
    /// peer does not forbid it. Costs a compressor per connection. Default false.
    pub takeover: bool,
    /// Whether the peer's messages may refer to its earlier ones. Costs an inflater per connection.
    /// Default false.
    pub peer_takeover: bool,
    /// The largest window of what this side sends, 2 to this power: 9 to 15, the default.
    pub window_bits: u8,
    /// The largest window of what the peer sends, 8 to 15, the default. A server can ask this only of
    /// a client that says it could keep to it; of the others it takes any. Saves memory of the peer.
    pub peer_window_bits: u8,
}

impl Default for DeflateTerms {
    fn default() -> Self {
        Self {
            takeover: false,
            peer_takeover: false,
            window_bits: MOST_BITS,
            peer_window_bits: MOST_BITS,
        }
    }
}

impl DeflateTerms {
    /// Sets in which directions messages may refer to earlier ones: of what this side sends, and of
    /// what the peer does.
    #[must_use]
    pub const fn with_takeover(mut self, ours: bool, peers: bool) -> Self {
        self.takeover = ours;
        self.peer_takeover = peers;
        self
    }

    /// Sets the largest windows, of what this side sends and of what the peer does.
    #[must_use]
    pub const fn with_window_bits(mut self, ours: u8, peers: u8) -> Self {
        self.window_bits = ours;
        self.peer_window_bits = peers;
        self
    }

    /// Our window within what our compressor can.
    fn own_bits(self) -> u8 {
        self.window_bits.clamp(LEAST_OWN_BITS, MOST_BITS)
    }

    /// The peer's within what there is.
    fn peer_bits(self) -> u8 {
        self.peer_window_bits.clamp(LEAST_BITS, MOST_BITS)
    }

    /// What a client offers (§7.1.1, §7.1.2).
    pub(super) fn offer(self) -> String {
        let mut offer = NAME.to_owned();
        if !self.peer_takeover {
            offer += &format!("; {SERVER_NO_TAKEOVER}");
        }
        if !self.takeover {
            offer += &format!("; {CLIENT_NO_TAKEOVER}");
        }
        if self.peer_bits() < MOST_BITS {
            offer += &format!("; {SERVER_BITS}={}", self.peer_bits());
        }
        offer += &format!("; {CLIENT_BITS}");
        if self.own_bits() < MOST_BITS {
            offer += &format!("={}", self.own_bits());
        }
        offer
    }
}

/// What both sides of a connection agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Deflate {
    /// The window of what this side sends, 2 to this power: 9 to 15, or 8, which a server may demand
    /// of a client. Our compressor has no such window: everything is sent uncompressed then.
    pub window_bits: u8,
    /// Whether what this side sends may refer to its earlier messages.
    pub takeover: bool,
    /// Whether the peer's messages may refer to its earlier ones.
    pub peer_takeover: bool,
    /// Whether a server's answer names its window.
    named: bool,
    /// The window that a server's answer demands of the client.
    demanded: Option<u8>,
}

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

/// The parameters of an offer or answer; each may stand there once.
#[derive(Debug, Default)]
struct Said {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// With a value or without.
    client_bits: Option<Option<u8>>,
}

impl Said {
    /// Reads one extension of a list; `None` if it is another, or malformed (§7.1).
    fn read(element: &str) -> Option<Self> {
        let mut said = Self::default();
        for (name, value) in parameters(element)? {
            let twice = match (name, value) {
                (SERVER_NO_TAKEOVER, None) => std::mem::replace(&mut said.server_no_takeover, true),
                (CLIENT_NO_TAKEOVER, None) => std::mem::replace(&mut said.client_no_takeover, true),
                (SERVER_BITS, Some(value)) => said.server_bits.replace(bits(value)?).is_some(),
                (CLIENT_BITS, None) => said.client_bits.replace(None).is_some(),
                (CLIENT_BITS, Some(value)) => {
                    said.client_bits.replace(Some(bits(value)?)).is_some()
                }
                _ => return None,
            };
            if twice {
                return None;
            }
        }
        Some(said)
    }
}

/// What a server makes of one offer; `None` declines it.
fn accept(element: &str, terms: DeflateTerms) -> Option<Deflate> {
    let said = Said::read(element)?;
    let window_bits = terms.own_bits().min(said.server_bits.unwrap_or(MOST_BITS));
    if window_bits < LEAST_OWN_BITS {
        return None;
    }
    // What the client offers without a demand of ours it keeps to on its own (§7.1.2.2).
    let demanded = said
        .client_bits
        .map(|most| most.unwrap_or(MOST_BITS))
        .and_then(|most| (terms.peer_bits() < most).then(|| terms.peer_bits()));
    Some(Deflate {
        window_bits,
        takeover: terms.takeover && !said.server_no_takeover,
        peer_takeover: terms.peer_takeover && !said.client_no_takeover,
        named: said.server_bits.is_some() || window_bits < MOST_BITS,
        demanded,
    })
}

/// The first of a client's offers that a server can take (§7.1.3).
pub(super) fn choose<'v>(
    values: impl Iterator<Item = &'v str>,
    terms: DeflateTerms,
) -> Option<Deflate> {
    values.flat_map(list).find_map(|element| accept(element, terms))
}

impl Deflate {
    /// An agreement, for tests.
    #[cfg(test)]
    pub(crate) const fn of(window_bits: u8, takeover: bool, peer_takeover: bool) -> Self {
        Self { window_bits, takeover, peer_takeover, named: false, demanded: None }
    }

    /// Terms on which messages that this side sends do not refer to earlier ones; a side may always
    /// do without.
    #[must_use]
    pub const fn without_takeover(mut self) -> Self {
        self.takeover = false;
        self
    }

    /// Terms on which messages of the peer do not refer to earlier ones; a server's answer may
    /// always forbid that.
    #[must_use]
    pub const fn without_peer_takeover(mut self) -> Self {
        self.peer_takeover = false;
        self
    }

    /// What the server answers, as the value of Sec-WebSocket-Extensions.
    pub(super) fn write_answer(self, out: &mut Vec<u8>) {
        let mut answer = NAME.to_owned();
        if !self.takeover {
            answer += &format!("; {SERVER_NO_TAKEOVER}");
        }
        if !self.peer_takeover {
            answer += &format!("; {CLIENT_NO_TAKEOVER}");
        }
        if self.named {
            answer += &format!("; {SERVER_BITS}={}", self.window_bits);
        }
        if let Some(bits) = self.demanded {
            answer += &format!("; {CLIENT_BITS}={bits}");
        }
        out.extend_from_slice(answer.as_bytes());
    }

    /// What a client makes of the answer to its offer of `terms`; `None` fails the connection (§7.1).
    pub(super) fn judge_answer(value: &str, terms: DeflateTerms) -> Option<Self> {
        let mut elements = list(value);
        let element = elements.next().filter(|_| elements.next().is_none());
        let said = Said::read(element?)?;
        // What was offered is accepted with it or not at all (§7.1.1.1, §7.1.2.1).
        if !(terms.peer_takeover || said.server_no_takeover) {
            return None;
        }
        if terms.peer_bits() < said.server_bits.unwrap_or(MOST_BITS) {
            return None;
        }
        let window_bits = match said.client_bits {
            None => terms.own_bits(),
            // The value may be left away in an offer alone (§7.1.2.2).
            Some(demanded) => demanded.filter(|bits| *bits <= terms.own_bits())?,
        };
        Some(Self {
            window_bits,
            takeover: terms.takeover && !said.client_no_takeover && window_bits >= LEAST_OWN_BITS,
            peer_takeover: !said.server_no_takeover,
            named: false,
            demanded: None,
        })
    }
}

#[cfg(test)]
mod tests;
