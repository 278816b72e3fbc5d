//! The server's reader: from received bytes to an [`UpgradeRequest`].

mod line;

pub(super) use line::{RequestLine, is_head};
use line::{empty_line, judge_start};

use super::common::{Judged, Known, field, values};
use super::extension::{self, Deflate, DeflateTerms};
use super::hybi02::{self, KEY_3_LEN};
use super::rfc6455;
use super::scan::{Head, ScanError, Strictness};
use super::url::HostPort;
use super::{Field, HeadLimits, RequestError};
use crate::wire::Dialect;

/// The first byte of a TLS record that holds handshake messages, and the second of every record (RFC
/// 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_MAJOR: u8 = 3;

/// Reads one client's handshake (draft-02 §5.2.1, RFC 6455 §4.2.1), however it is cut into pieces.
///
/// The dialect is the client's choice: Sec-WebSocket-Version makes it RFC 6455, everything else is
/// judged as draft-02.
///
/// Bytes above U+007F may stand in any value: HTTP leaves them without a meaning (RFC 9110 §5.5), and
/// only a field that has to be understood is refused for them, by name. One empty line before the
/// request is skipped (RFC 9112 §2.2). A request that announces a body is refused, for its bytes would
/// be read as frames; of draft-02 `Content-Length: 8` is taken, which some HTTP library in between may
/// have added for the eight bytes of key_3 (the draft sends none, §5.1 step 30). An `Expect` is
/// ignored, as a server may where no body comes (RFC 9110 §10.1.1).
#[derive(Debug)]
pub struct ServerHandshake {
    /// The place reached, once a head turned out to be in pieces.
    partial: Option<Box<Partial>>,
}

#[derive(Debug)]
struct Partial {
    head: Head,
    /// The head's length, once it was complete and found to be right.
    judged: Option<usize>,
}

impl Default for ServerHandshake {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerHandshake {
    /// A reader at the start of a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Reads `received`: everything that was received on the connection, from its first byte. Each
    /// call's slice begins with the bytes of the call before, and none is scanned twice. `None` asks
    /// for more bytes. After the request was returned the reader is at its start again.
    ///
    /// What depends on the server, [`super::ServerPolicy::judge`] judges: call it before accepting.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks, as soon as the bytes show it, and the same however
    /// they are cut into pieces.
    #[inline]
    pub fn read<'a>(
        &mut self,
        limits: &HeadLimits,
        received: &'a [u8],
    ) -> Result<Option<UpgradeRequest<'a>>, RequestError> {
        let skipped = empty_line(received);
        let received = received.get(skipped..).unwrap_or_default();
        if self.partial.is_some() {
            return self.resume(limits, received, skipped);
        }
        match received {
            // Nothing to remember yet.
            [] | [b'\r' | TLS_HANDSHAKE] if skipped == 0 => return Ok(None),
            [TLS_HANDSHAKE, TLS_MAJOR, ..] if skipped == 0 => {
                return Err(RequestError::ClientSpeaksTls);
            }
            _ => {}
        }
        let mut head = Head::new(Strictness::Strict);
        let judged = match head.scan(limits, received) {
            Err(error) => return Err(scan_error(error, &head, received)),
            Ok(None) => {
                judge_start(received)?;
                None
            }
            Ok(Some(len)) => match UpgradeRequest::judge(&head, len, received, skipped)? {
                Some(request) => return Ok(Some(request)),
                None => Some(len),
            },
        };
        self.partial = Some(Box::new(Partial { head, judged }));
        Ok(None)
    }

    #[cold]
    fn resume<'a>(
        &mut self,
        limits: &HeadLimits,
        received: &'a [u8],
        skipped: usize,
    ) -> Result<Option<UpgradeRequest<'a>>, RequestError> {
        let Some(partial) = &mut self.partial else { return Ok(None) };
        if let Some(len) = partial.judged
            && received.len() < len + KEY_3_LEN
        {
            return Ok(None);
        }
        match partial.head.scan(limits, received) {
            Err(error) => Err(scan_error(error, &partial.head, received)),
            Ok(None) => {
                judge_start(received)?;
                Ok(None)
            }
            Ok(Some(len)) => {
                let request = UpgradeRequest::judge(&partial.head, len, received, skipped)?;
                partial.judged = Some(len);
                if request.is_some() {
                    self.partial = None;
                }
                Ok(request)
            }
        }
    }
}

fn scan_error(error: ScanError, head: &Head, received: &[u8]) -> RequestError {
    // The start goes first, as it would have, had it come alone.
    if let Err(error) = judge_start(received.get(..head.scanned()).unwrap_or(received)) {
        return error;
    }
    match error {
        ScanError::BareCarriageReturn => RequestError::BareCarriageReturn,
        ScanError::BareLineFeed => RequestError::BareLineFeed,
        ScanError::ControlByte => RequestError::ControlCharacter,
        ScanError::NameByte | ScanError::EmptyName => RequestError::FieldName,
        ScanError::NoColon => RequestError::FieldWithoutColon,
        ScanError::TooManyFields => RequestError::TooManyFields,
        ScanError::LineTooLong if head.first_line().is_none() => RequestError::RequestLineTooLong,
        ScanError::LineTooLong => RequestError::LineTooLong,
        ScanError::HeadTooLarge => RequestError::HeadTooLarge,
    }
}

/// A client's complete and well-formed request for a WebSocket, borrowed from the received bytes.
#[derive(Debug, Clone)]
pub struct UpgradeRequest<'a> {
    /// The head.
    bytes: &'a [u8],
    head: Head,
    len: usize,
    resource_name: &'a str,
    host: HostPort<'a>,
    host_text: &'a str,
    origin: Option<&'a str>,
    asks_for_subprotocol: bool,
    challenge: Challenge,
}

/// What the client wants answered, in the way of its dialect.
#[derive(Debug, Clone, Copy)]
pub(super) enum Challenge {
    Hybi02 { draft: u8, parts: (u32, u32), key_3: [u8; KEY_3_LEN] },
    Rfc6455 { key: [u8; rfc6455::KEY_LEN] },
}

/// What proves to the client that its request was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The sixteen bytes behind the head of draft-02's answer.
    Hybi02([u8; hybi02::ANSWER_LEN]),
    /// The value of RFC 6455's Sec-WebSocket-Accept.
    Rfc6455([u8; rfc6455::ANSWER_LEN]),
}

impl Answer {
    /// The bytes as they are sent.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Hybi02(bytes) => bytes,
            Self::Rfc6455(bytes) => bytes,
        }
    }
}

impl<'a> UpgradeRequest<'a> {
    /// Judges a complete head of `len` bytes, which `skipped` bytes stand before; `None` while key_3 is
    /// missing and all else is right.
    #[inline]
    fn judge(
        head: &Head,
        len: usize,
        received: &'a [u8],
        skipped: usize,
    ) -> Result<Option<Self>, RequestError> {
        judge_start(received)?;
        let (bytes, rest) = received.split_at_checked(len).unwrap_or((received, &[]));
        let line = RequestLine::read(bytes, head.first_line().unwrap_or_default())?;
        let known = Known::find(head, bytes);
        let judged = if known.version.is_some() {
            rfc6455::judge(head, bytes, rest, &line, &known)?
        } else {
            hybi02::judge(head, bytes, rest, &line, &known)?
        };
        let Some(Judged { host_text, host, origin, challenge, behind }) = judged else {
            return Ok(None);
        };
        Ok(Some(Self {
            bytes,
            head: head.clone(),
            len: skipped + bytes.len() + behind,
            resource_name: line.resource_name,
            host,
            host_text,
            origin,
            asks_for_subprotocol: known.protocol.is_some(),
            challenge,
        }))
    }

    /// The values of all fields with this name, with the space behind the colon.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + '_ {
        values(&self.head, self.bytes, name)
    }

    /// How many of the received bytes the request took, draft-02's key_3 included. Bytes behind it came before
    /// the answer; they are kept, as frames (AMB-10).
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// False: a request has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The version of the protocol that the client asked for. Drafts 1 to 3 share their framing
    /// (AMB-16).
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        match self.challenge {
            Challenge::Hybi02 { .. } => Dialect::Hybi02,
            Challenge::Rfc6455 { .. } => Dialect::Rfc6455,
        }
    }

    /// The value of Sec-WebSocket-Draft: 1, 2 or 3; `None` in RFC 6455.
    #[must_use]
    pub const fn draft(&self) -> Option<u8> {
        match self.challenge {
            Challenge::Hybi02 { draft, .. } => Some(draft),
            Challenge::Rfc6455 { .. } => None,
        }
    }

    /// The resource name as it was sent: path and query.
    #[must_use]
    pub const fn resource_name(&self) -> &'a str {
        self.resource_name
    }

    /// The resource name without its query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.resource_name.split_once('?').map_or(self.resource_name, |(path, _)| path)
    }

    /// The raw value of the first `name=value` in the query, nothing decoded; empty for a bare
    /// `name`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&'a str> {
        let (_, query) = self.resource_name.split_once('?')?;
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The value of Host as it was sent: host and, if one was given, port.
    #[must_use]
    pub const fn host(&self) -> &'a str {
        self.host_text
    }

    /// Host, taken apart.
    pub(super) const fn host_port(&self) -> HostPort<'a> {
        self.host
    }

    /// The value of Origin as it was sent.
    #[must_use]
    pub const fn origin(&self) -> Option<&'a str> {
        self.origin
    }

    /// The subprotocols that the client asked for, in its order: Sec-WebSocket-Protocol split at
    /// spaces and commas (AMB-08); RFC 6455's names hold neither, and may stand in several fields.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.values("Sec-WebSocket-Protocol")
            .take(if self.asks_for_subprotocol { usize::MAX } else { 0 })
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split([' ', ',', '\t']))
            .filter(|name| !name.is_empty())
    }

    /// Whether Sec-WebSocket-Protocol is there, if only with an empty value, which is not the same
    /// as none (HS-S-22).
    pub(super) const fn asks_for_subprotocol(&self) -> bool {
        self.asks_for_subprotocol
    }

    /// What happens to the first of the client's offers of permessage-deflate that a server of these
    /// `terms` can take (RFC 7692 §7.1).
    #[must_use]
    pub fn deflate(&self, terms: DeflateTerms) -> Option<Deflate> {
        if self.dialect() == Dialect::Hybi02 {
            return None;
        }
        // What is not even text is a malformed offer, and declined as such.
        let values = self.values("Sec-WebSocket-Extensions");
        extension::choose(values.filter_map(|value| std::str::from_utf8(value).ok()), terms)
    }

    /// The value of the first field with this name, compared ASCII case-insensitively (HS-S-07). It may
    /// hold any bytes above U+007F (RFC 9110 §5.5).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|field| field.is(name)).map(|field| field.value)
    }

    /// The value of a field as text; `None` also where it is not UTF-8.
    #[must_use]
    pub fn field_str(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.field(name)?).ok()
    }

    /// All fields in the order they were sent.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        (0..self.head.complete_fields()).filter_map(|i| field(&self.head, self.bytes, i)).map(
            |(name, value)| {
                let value = value.strip_prefix(b" ").unwrap_or(value); // the one that `find` saw
                Field { name, value }
            },
        )
    }

    /// What proves that the request was read (HS-S-28, HS-S-29; RFC 6455 §4.2.2).
    #[must_use]
    pub fn answer(&self) -> Answer {
        match &self.challenge {
            Challenge::Hybi02 { parts: (first, second), key_3, .. } => {
                Answer::Hybi02(hybi02::answer(*first, *second, *key_3))
            }
            Challenge::Rfc6455 { key } => Answer::Rfc6455(rfc6455::answer(key)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
