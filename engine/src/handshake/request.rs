//! The server's reader: from received bytes to an [`UpgradeRequest`].

use super::hybi02::{self, KEY_3_LEN};
use super::scan::{Head, ScanError, Strictness};
use super::url::HostPort;
use super::{Field, HeadLimits, RequestError};
use crate::wire::Dialect;

/// Reads one client's handshake (draft-02 §5.2.1), however it is cut into pieces.
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
        if self.partial.is_some() {
            return self.resume(limits, received);
        }
        let mut head = Head::new(Strictness::Strict);
        let judged = match head.scan(limits, received) {
            Err(error) => return Err(scan_error(error, &head, received)),
            Ok(None) => {
                judge_start(received)?;
                if received.is_empty() {
                    return Ok(None); // nothing to remember yet
                }
                None
            }
            Ok(Some(len)) => match UpgradeRequest::judge(&head, len, received)? {
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
                let request = UpgradeRequest::judge(&partial.head, len, received)?;
                partial.judged = Some(len);
                if request.is_some() {
                    self.partial = None;
                }
                Ok(request)
            }
        }
    }
}

/// The beginning of every request.
const GET: &[u8] = b"GET /";

/// What the first bytes of a head show, complete or not.
#[inline]
fn judge_start(received: &[u8]) -> Result<(), RequestError> {
    if received.iter().zip(GET).all(|(is, wanted)| is == wanted) {
        return Ok(());
    }
    if received.starts_with(b"GET ") {
        return Err(RequestError::ResourceName);
    }
    // Another method is told from another protocol: only the former gets an HTTP answer.
    let method = received.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match received.get(method) {
        None if method <= METHOD_MAX => Ok(()),
        Some(b' ') if (1..=METHOD_MAX).contains(&method) => Err(RequestError::MethodNotGet),
        _ => Err(RequestError::NotHttp),
    }
}

/// No registered HTTP method is longer (UPDATEREDIRECTREF has 17 letters).
const METHOD_MAX: usize = 17;

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
        ScanError::LineTooLong => RequestError::LineTooLong,
        ScanError::HeadTooLarge => RequestError::HeadTooLarge,
    }
}

/// A client's complete and well-formed request for a WebSocket, borrowed from the received bytes.
#[derive(Debug, Clone)]
pub struct UpgradeRequest<'a> {
    text: &'a str,
    head: Head,
    len: usize,
    resource_name: &'a str,
    known: Known<'a>,
    host: HostPort<'a>,
    draft: u8,
    parts: (u32, u32),
    key_3: [u8; KEY_3_LEN],
}

/// The fields that the handshake is about.
#[derive(Debug, Clone, Copy, Default)]
struct Known<'a> {
    upgrade: Option<&'a str>,
    connection: Option<&'a str>,
    host: Option<&'a str>,
    origin: Option<&'a str>,
    protocol: Option<&'a str>,
    draft: Option<&'a str>,
    key_1: Option<&'a str>,
    key_2: Option<&'a str>,
}

impl<'a> UpgradeRequest<'a> {
    /// Judges a complete head of `len` bytes; `None` while key_3 is missing and all else is right.
    #[inline]
    fn judge(head: &Head, len: usize, received: &'a [u8]) -> Result<Option<Self>, RequestError> {
        judge_start(received)?;
        let (bytes, rest) = received.split_at_checked(len).unwrap_or((received, &[]));
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| RequestError::InvalidUtf8)?;
        let resource_name = resource_name(text, head.first_line().unwrap_or_default())?;
        let known = Known::find(head, text)?;
        let draft = known.judge_invariants()?;
        let host = known.host.ok_or(RequestError::HostMissing)?;
        let host = HostPort::parse(host).ok_or(RequestError::HostMalformed)?;
        let (Some(key_1), Some(key_2)) = (known.key_1, known.key_2) else {
            return Err(RequestError::KeyMissing);
        };
        let parts = (hybi02::key_part(key_1.as_bytes())?, hybi02::key_part(key_2.as_bytes())?);
        let Some(&key_3) = rest.first_chunk::<KEY_3_LEN>() else { return Ok(None) };
        let len = len + KEY_3_LEN;
        let head = head.clone();
        Ok(Some(Self { text, head, len, resource_name, known, host, draft, parts, key_3 }))
    }

    /// How many of the received bytes the request took, key_3 included. Bytes behind it came before
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
        Dialect::Hybi02
    }

    /// The value of Sec-WebSocket-Draft: 1, 2 or 3.
    #[must_use]
    pub const fn draft(&self) -> u8 {
        self.draft
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
    pub fn host(&self) -> &'a str {
        self.known.host.unwrap_or_default()
    }

    /// Host, taken apart.
    pub(super) const fn host_port(&self) -> HostPort<'a> {
        self.host
    }

    /// The value of Origin as it was sent.
    #[must_use]
    pub const fn origin(&self) -> Option<&'a str> {
        self.known.origin
    }

    /// The subprotocols that the client asked for, in its order: the value of Sec-WebSocket-Protocol
    /// split at spaces and commas (AMB-08).
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let value = self.known.protocol.unwrap_or_default();
        value.split([' ', ',']).filter(|name| !name.is_empty())
    }

    /// Whether Sec-WebSocket-Protocol is there, if only with an empty value, which is not the same
    /// as none (HS-S-22).
    pub(super) const fn asks_for_subprotocol(&self) -> bool {
        self.known.protocol.is_some()
    }

    /// The value of the first field with this name, compared ASCII case-insensitively (HS-S-07).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|field| field.is(name)).map(|field| field.value)
    }

    /// All fields in the order they were sent.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        (0..self.head.complete_fields()).filter_map(|i| field(&self.head, self.text, i)).map(
            |(name, value)| {
                let value = value.strip_prefix(' ').unwrap_or(value); // the one that `find` saw
                Field { name: name.as_bytes(), value: value.as_bytes() }
            },
        )
    }

    /// The sixteen bytes that prove the request was read (HS-S-28, HS-S-29).
    #[must_use]
    pub fn answer(&self) -> [u8; hybi02::ANSWER_LEN] {
        hybi02::answer(self.parts.0, self.parts.1, self.key_3)
    }
}

impl<'a> Known<'a> {
    #[inline]
    fn find(head: &Head, text: &'a str) -> Result<Self, RequestError> {
        let mut known = Self::default();
        for i in 0..head.complete_fields() {
            let Some((name, value)) = field(head, text, i) else { continue };
            let Some(value) = value.strip_prefix(' ') else {
                return Err(RequestError::FieldWithoutSpace);
            };
            let Some(place) = known.place(name.as_bytes()) else { continue };
            if place.replace(value).is_some() {
                return Err(RequestError::DuplicateField);
            }
        }
        Ok(known)
    }

    /// Where the value of the field with this name belongs.
    #[inline]
    fn place(&mut self, name: &[u8]) -> Option<&mut Option<&'a str>> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"Host") => Some(&mut self.host),
            6 if is(b"Origin") => Some(&mut self.origin),
            7 if is(b"Upgrade") => Some(&mut self.upgrade),
            10 if is(b"Connection") => Some(&mut self.connection),
            18 if is(b"Sec-WebSocket-Key1") => Some(&mut self.key_1),
            18 if is(b"Sec-WebSocket-Key2") => Some(&mut self.key_2),
            19 if is(b"Sec-WebSocket-Draft") => Some(&mut self.draft),
            22 if is(b"Sec-WebSocket-Protocol") => Some(&mut self.protocol),
            _ => None,
        }
    }

    /// The fields that have one value for every server; returns the draft.
    fn judge_invariants(&self) -> Result<u8, RequestError> {
        let upgrade = self.upgrade.ok_or(RequestError::UpgradeMissing)?;
        if !upgrade.eq_ignore_ascii_case("WebSocket") {
            return Err(RequestError::UpgradeValue);
        }
        if !self.connection.is_some_and(|value| value.eq_ignore_ascii_case("Upgrade")) {
            return Err(RequestError::ConnectionValue);
        }
        let draft = self.draft.ok_or(RequestError::DraftMissing)?;
        match draft.trim_matches(' ') {
            "1" => Ok(1),
            "2" => Ok(2),
            "3" => Ok(3),
            _ => Err(RequestError::DraftUnsupported), // AMB-15
        }
    }
}

/// Field `i` of a scanned head: its name, and all that follows the colon.
#[inline]
fn field<'a>(head: &Head, text: &'a str, i: usize) -> Option<(&'a str, &'a str)> {
    let (start, colon, end) = head.field(i)?;
    Some((text.get(start..colon)?, text.get(colon + 1..end)?))
}

/// The resource name in the first line, which is `first_line` bytes long (§5.2.1 parts 1 to 4).
#[inline]
fn resource_name(text: &str, first_line: usize) -> Result<&str, RequestError> {
    let line = text.get(..first_line).unwrap_or_default();
    let name = line.strip_prefix("GET ").and_then(|rest| rest.split_once(' '));
    name.map(|(name, _ignored)| name)
        .filter(|name| name.starts_with('/') && name.bytes().all(|b| matches!(b, 0x21..=0x7E)))
        .ok_or(RequestError::ResourceName)
}

#[cfg(test)]
pub(super) mod tests;
