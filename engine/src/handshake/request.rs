//! The server's reader: from received bytes to an [`UpgradeRequest`].

use super::extension::{self, Deflate, DeflateTerms};
use super::hybi02::{self, KEY_3_LEN};
use super::rfc6455::{self, is_token, list};
use super::scan::{Head, ScanError, Strictness};
use super::url::HostPort;
use super::{Field, HeadLimits, RequestError};
use crate::wire::Dialect;

/// Reads one client's handshake (draft-02 §5.2.1, RFC 6455 §4.2.1), however it is cut into pieces.
///
/// The dialect is the client's choice: Sec-WebSocket-Version makes it RFC 6455, everything else is
/// judged as draft-02.
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

/// Those of an absolute URI, which RFC 6455 lets stand for a resource name (§4.2.1), in letters of
/// either case (RFC 3986 §3.1).
const ABSOLUTE: [&str; 2] = ["http://", "https://"];

/// What the first bytes of a head show, complete or not.
#[inline]
fn judge_start(received: &[u8]) -> Result<(), RequestError> {
    let begins = |wanted: &[u8]| received.iter().zip(wanted).all(|(is, wanted)| is == wanted);
    if begins(GET) {
        return Ok(());
    }
    if let Some(target) = received.strip_prefix(b"GET ") {
        let begins = |wanted: &str| {
            target.iter().zip(wanted.as_bytes()).all(|(is, wanted)| is.eq_ignore_ascii_case(wanted))
        };
        let absolute = ABSOLUTE.iter().any(|start| begins(start));
        return if absolute { Ok(()) } else { Err(RequestError::ResourceName) };
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
    host: HostPort<'a>,
    host_text: &'a str,
    origin: Option<&'a str>,
    asks_for_subprotocol: bool,
    challenge: Challenge,
}

/// What the client wants answered, in the way of its dialect.
#[derive(Debug, Clone, Copy)]
enum Challenge {
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
    version: Option<&'a str>,
    key: Option<&'a str>,
    /// The first line that draft-02 forbids: RFC 6455 wants no space behind a colon, and its lists
    /// may stand in several fields.
    hybi02_forbids: Option<RequestError>,
    /// A field that RFC 6455 allows once stands there twice.
    twice: bool,
}

impl<'a> UpgradeRequest<'a> {
    /// Judges a complete head of `len` bytes; `None` while key_3 is missing and all else is right.
    #[inline]
    fn judge(head: &Head, len: usize, received: &'a [u8]) -> Result<Option<Self>, RequestError> {
        judge_start(received)?;
        let (bytes, rest) = received.split_at_checked(len).unwrap_or((received, &[]));
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| RequestError::InvalidUtf8)?;
        let line = RequestLine::read(text, head.first_line().unwrap_or_default())?;
        let known = Known::find(head, text);
        if known.version.is_some() {
            return Self::judge_rfc6455(head, text, line, known).map(Some);
        }
        if line.authority.is_some() {
            return Err(RequestError::ResourceName);
        }
        let draft = known.judge_invariants()?;
        let host = known.host.ok_or(RequestError::HostMissing)?;
        let host = HostPort::parse(host).ok_or(RequestError::HostMalformed)?;
        let (Some(key_1), Some(key_2)) = (known.key_1, known.key_2) else {
            return Err(RequestError::KeyMissing);
        };
        let parts = (hybi02::key_part(key_1.as_bytes())?, hybi02::key_part(key_2.as_bytes())?);
        let Some(&key_3) = rest.first_chunk::<KEY_3_LEN>() else { return Ok(None) };
        let challenge = Challenge::Hybi02 { draft, parts, key_3 };
        Ok(Some(Self::new(head, text, line.resource_name, &known, host, challenge)))
    }

    fn new(
        head: &Head,
        text: &'a str,
        resource_name: &'a str,
        known: &Known<'a>,
        host: HostPort<'a>,
        challenge: Challenge,
    ) -> Self {
        let behind = if matches!(challenge, Challenge::Hybi02 { .. }) { KEY_3_LEN } else { 0 };
        Self {
            text,
            head: head.clone(),
            len: text.len() + behind,
            resource_name,
            host,
            host_text: known.host.unwrap_or_default(),
            origin: known.origin,
            asks_for_subprotocol: known.protocol.is_some(),
            challenge,
        }
    }

    /// Judges a complete head by RFC 6455 §4.2.1.
    fn judge_rfc6455(
        head: &Head,
        text: &'a str,
        line: RequestLine<'a>,
        mut known: Known<'a>,
    ) -> Result<Self, RequestError> {
        let http = line.version.strip_prefix("HTTP/");
        if !matches!(http.map(str::as_bytes), Some([b'1', b'.', b'1'..=b'9'])) {
            return Err(RequestError::HttpVersion);
        }
        if known.twice {
            return Err(RequestError::DuplicateField);
        }
        // An absolute URI says for whom it is, and Host does not count then (RFC 9112 §3.2.2).
        let host = known.host.ok_or(RequestError::HostMissing)?;
        let host = line.authority.unwrap_or(host);
        known.host = Some(host);
        let host = HostPort::parse(host).ok_or(RequestError::HostMalformed)?;
        let key = known.key.ok_or(RequestError::KeyMissing)?;
        let key = key.as_bytes().try_into().ok().filter(|key: &[u8; _]| rfc6455::is_key(key));
        let challenge = Challenge::Rfc6455 { key: key.ok_or(RequestError::KeyMalformed)? };
        let request = Self::new(head, text, line.resource_name, &known, host, challenge);
        if known.upgrade.is_none() {
            return Err(RequestError::UpgradeMissing);
        }
        request.judge_lists()?;
        // Last, so that whoever is told of the right version got everything else right.
        if known.version != Some("13") {
            return Err(RequestError::VersionUnsupported);
        }
        Ok(request)
    }

    /// The fields that hold lists, each of which may stand there several times.
    fn judge_lists(&self) -> Result<(), RequestError> {
        if !self.elements("Upgrade").any(|name| name.eq_ignore_ascii_case("websocket")) {
            return Err(RequestError::UpgradeValue);
        }
        if !self.elements("Connection").any(|name| name.eq_ignore_ascii_case("upgrade")) {
            return Err(RequestError::ConnectionValue);
        }
        let mut asked = 0;
        for (i, name) in self.elements("Sec-WebSocket-Protocol").enumerate() {
            asked += 1;
            if !is_token(name)
                || self.elements("Sec-WebSocket-Protocol").take(i).any(|other| other == name)
            {
                return Err(RequestError::SubprotocolMalformed);
            }
        }
        if self.asks_for_subprotocol && asked == 0 {
            return Err(RequestError::SubprotocolMalformed);
        }
        Ok(())
    }

    /// The elements of all fields with this name.
    fn elements(&self, name: &'static str) -> impl Iterator<Item = &'a str> + '_ {
        (0..self.head.complete_fields())
            .filter_map(|i| field(&self.head, self.text, i))
            .filter(move |(is, _)| is.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| list(value))
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
        (0..self.head.complete_fields())
            .take_while(|_| self.asks_for_subprotocol())
            .filter_map(|i| field(&self.head, self.text, i))
            .filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Protocol"))
            .flat_map(|(_, value)| value.split([' ', ',', '\t']))
            .filter(|name| !name.is_empty())
    }

    /// Whether Sec-WebSocket-Protocol is there, if only with an empty value, which is not the same
    /// as none (HS-S-22).
    pub(super) const fn asks_for_subprotocol(&self) -> bool {
        self.asks_for_subprotocol
    }

    /// What becomes of the first of the client's offers of permessage-deflate that a server of these
    /// `terms` can take (RFC 7692 §7.1).
    #[must_use]
    pub fn deflate(&self, terms: DeflateTerms) -> Option<Deflate> {
        if self.dialect() == Dialect::Hybi02 {
            return None;
        }
        let values = (0..self.head.complete_fields())
            .filter_map(|i| field(&self.head, self.text, i))
            .filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"));
        extension::choose(values.map(|(_, value)| value), terms)
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

impl<'a> Known<'a> {
    #[inline]
    fn find(head: &Head, text: &'a str) -> Self {
        let mut known = Self::default();
        for i in 0..head.complete_fields() {
            let Some((name, value)) = field(head, text, i) else { continue };
            let Some(value) = value.strip_prefix(' ') else {
                known.forbid(RequestError::FieldWithoutSpace);
                known.note(name, value);
                continue;
            };
            known.note(name, value);
        }
        if known.version.is_some() {
            known.trim();
        }
        known
    }

    /// Keeps the value of a field that the handshake is about.
    #[inline]
    fn note(&mut self, name: &str, value: &'a str) {
        let Some((place, list)) = self.place(name.as_bytes()) else { return };
        if place.replace(value).is_some() {
            self.twice |= !list;
            self.forbid(RequestError::DuplicateField);
        }
    }

    fn forbid(&mut self, error: RequestError) {
        self.hybi02_forbids.get_or_insert(error);
    }

    /// Takes the space around the values away, as RFC 6455's HTTP does (RFC 7230 §3.2.4).
    fn trim(&mut self) {
        for value in [&mut self.host, &mut self.origin, &mut self.version, &mut self.key] {
            *value = value.map(|value| value.trim_matches([' ', '\t']));
        }
    }

    /// Where the value of the field with this name belongs, and whether RFC 6455 lets it stand
    /// there several times.
    #[inline]
    fn place(&mut self, name: &[u8]) -> Option<(&mut Option<&'a str>, bool)> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"Host") => Some((&mut self.host, false)),
            6 if is(b"Origin") => Some((&mut self.origin, false)),
            7 if is(b"Upgrade") => Some((&mut self.upgrade, true)),
            10 if is(b"Connection") => Some((&mut self.connection, true)),
            17 if is(b"Sec-WebSocket-Key") => Some((&mut self.key, false)),
            18 if is(b"Sec-WebSocket-Key1") => Some((&mut self.key_1, false)),
            18 if is(b"Sec-WebSocket-Key2") => Some((&mut self.key_2, false)),
            19 if is(b"Sec-WebSocket-Draft") => Some((&mut self.draft, false)),
            21 if is(b"Sec-WebSocket-Version") => Some((&mut self.version, false)),
            22 if is(b"Sec-WebSocket-Protocol") => Some((&mut self.protocol, true)),
            _ => None,
        }
    }

    /// The fields that have one value for every server; returns the draft.
    fn judge_invariants(&self) -> Result<u8, RequestError> {
        if let Some(error) = self.hybi02_forbids {
            return Err(error);
        }
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

/// The first line in its parts.
#[derive(Debug, Clone, Copy)]
struct RequestLine<'a> {
    resource_name: &'a str,
    /// Of a URI that is absolute.
    authority: Option<&'a str>,
    /// What stands behind it.
    version: &'a str,
}

impl<'a> RequestLine<'a> {
    /// Reads the first line, which is `len` bytes long (§5.2.1 parts 1 to 4).
    #[inline]
    fn read(text: &'a str, len: usize) -> Result<Self, RequestError> {
        let line = text.get(..len).unwrap_or_default();
        let (target, version) = line
            .strip_prefix("GET ")
            .and_then(|rest| rest.split_once(' '))
            .filter(|(target, _)| target.bytes().all(|b| matches!(b, 0x21..=0x7E)))
            .ok_or(RequestError::ResourceName)?;
        if target.starts_with('/') {
            return Ok(Self { resource_name: target, authority: None, version });
        }
        let mut uris = ABSOLUTE.iter().filter_map(|start| {
            let (scheme, uri) = target.split_at_checked(start.len())?;
            scheme.eq_ignore_ascii_case(start).then_some(uri)
        });
        let uri = uris.next().ok_or(RequestError::ResourceName)?;
        // One with a query and no path stands for "/?query", which is not among the bytes received.
        if uri.find(['/', '?']) != uri.find('/') {
            return Err(RequestError::ResourceName);
        }
        let (authority, resource_name) =
            uri.find('/').and_then(|at| uri.split_at_checked(at)).unwrap_or((uri, "/"));
        Ok(Self { resource_name, authority: Some(authority), version })
    }
}

#[cfg(test)]
pub(super) mod tests;
