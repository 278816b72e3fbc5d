//! The fields of a request: those that the handshake is about, and what they say of a body.

use crate::handshake::RequestError;
use crate::handshake::hybi02::KEY_3_LEN;
use crate::handshake::rfc6455::elements;
use crate::handshake::scan::Head;

/// The fields that the handshake is about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known<'a> {
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) connection: Option<&'a [u8]>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) origin: Option<&'a [u8]>,
    pub(super) protocol: Option<&'a [u8]>,
    pub(super) draft: Option<&'a [u8]>,
    pub(super) key_1: Option<&'a [u8]>,
    pub(super) key_2: Option<&'a [u8]>,
    pub(super) version: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    /// The first line that draft-02 forbids: RFC 6455 wants no space behind a colon, and its lists
    /// may stand in several fields.
    hybi02_forbids: Option<RequestError>,
    /// A field that RFC 6455 allows once stands there twice.
    pub(super) twice: bool,
    pub(super) body: Body,
}

/// What a request says of its body (RFC 9112 §6).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Body {
    /// Content-Length.
    length: Option<u64>,
    /// Content-Length is no number, or two different ones.
    malformed: bool,
    /// Transfer-Encoding is there.
    encoded: bool,
}

impl Body {
    fn note_length(&mut self, value: &[u8]) {
        let mut lengths = elements(value).peekable();
        self.malformed |= lengths.peek().is_none();
        for text in lengths {
            let digits = text.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(text).ok().filter(|_| digits);
            let Some(length) = length.and_then(|text| text.parse().ok()) else {
                self.malformed = true;
                continue;
            };
            self.malformed |= *self.length.get_or_insert(length) != length;
        }
    }

    /// Judges that there is none, but for one of `expected` bytes.
    pub(super) fn judge(self, expected: usize) -> Result<(), RequestError> {
        if self.malformed {
            return Err(RequestError::ContentLength);
        }
        let announced = self.length.is_some_and(|len| len != 0 && len != expected as u64);
        if announced || self.encoded { Err(RequestError::BodyAnnounced) } else { Ok(()) }
    }
}

/// The value without the spaces around it.
fn trim_spaces(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// A value that has to be text.
pub(super) fn text(value: &[u8], error: RequestError) -> Result<&str, RequestError> {
    std::str::from_utf8(value).map_err(|_| error)
}

impl<'a> Known<'a> {
    #[inline]
    pub(super) fn find(head: &Head, bytes: &'a [u8]) -> Self {
        let mut known = Self::default();
        for i in 0..head.complete_fields() {
            let Some((name, value)) = field(head, bytes, i) else { continue };
            let Some(value) = value.strip_prefix(b" ") else {
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
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let Some((place, list)) = self.place(name) else { return self.note_body(name, value) };
        if place.replace(value).is_some() {
            self.twice |= !list;
            self.forbid(RequestError::DuplicateField);
        }
    }

    /// Keeps what a field says of the body.
    fn note_body(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"Content-Length") => self.body.note_length(value),
            17 if name.eq_ignore_ascii_case(b"Transfer-Encoding") => self.body.encoded = true,
            _ => {}
        }
    }

    fn forbid(&mut self, error: RequestError) {
        self.hybi02_forbids.get_or_insert(error);
    }

    /// Takes the space around the values away, as RFC 6455's HTTP does (RFC 7230 §3.2.4).
    fn trim(&mut self) {
        for value in [&mut self.host, &mut self.origin, &mut self.version, &mut self.key] {
            *value = value.map(<[u8]>::trim_ascii);
        }
    }

    /// Where the value of the field with this name belongs, and whether RFC 6455 lets it stand
    /// there several times.
    #[inline]
    fn place(&mut self, name: &[u8]) -> Option<(&mut Option<&'a [u8]>, bool)> {
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

    /// The origin, which answers repeat and policies compare.
    pub(super) fn origin(&self) -> Result<Option<&'a str>, RequestError> {
        self.origin.map(|value| text(value, RequestError::OriginMalformed)).transpose()
    }

    /// The fields of draft-02 that have one value for every server; returns the draft.
    pub(super) fn judge_invariants(&self) -> Result<u8, RequestError> {
        if let Some(error) = self.hybi02_forbids {
            return Err(error);
        }
        let upgrade = self.upgrade.ok_or(RequestError::UpgradeMissing)?;
        if !upgrade.eq_ignore_ascii_case(b"WebSocket") {
            return Err(RequestError::UpgradeValue);
        }
        if !self.connection.is_some_and(|value| value.eq_ignore_ascii_case(b"Upgrade")) {
            return Err(RequestError::ConnectionValue);
        }
        self.body.judge(KEY_3_LEN)?; // AMB-24
        let draft = match trim_spaces(self.draft.ok_or(RequestError::DraftMissing)?) {
            b"1" => 1,
            b"2" => 2,
            b"3" => 3,
            _ => return Err(RequestError::DraftUnsupported), // AMB-15
        };
        self.host.ok_or(RequestError::HostMissing)?;
        Ok(draft)
    }
}

/// Field `i` of a scanned head: its name, and all that follows the colon.
#[inline]
pub(super) fn field<'a>(head: &Head, bytes: &'a [u8], i: usize) -> Option<(&'a [u8], &'a [u8])> {
    let (start, colon, end) = head.field(i)?;
    Some((bytes.get(start..colon)?, bytes.get(colon + 1..end)?))
}
