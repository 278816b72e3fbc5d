//! What the dialects have in common: the fields that the handshake is about, what they say of a body, lists
//! and tokens, and how an answer is written.

use super::RequestError;
use super::request::Challenge;
use super::scan::Head;
use super::url::HostPort;

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
    pub(super) hybi02_forbids: Option<RequestError>,
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
}

/// Field `i` of a scanned head: its name, and all that follows the colon.
#[inline]
pub(super) fn field<'a>(head: &Head, bytes: &'a [u8], i: usize) -> Option<(&'a [u8], &'a [u8])> {
    let (start, colon, end) = head.field(i)?;
    Some((bytes.get(start..colon)?, bytes.get(colon + 1..end)?))
}

/// The values of all fields with this name, with the space behind the colon.
pub(super) fn values<'a>(
    head: &Head,
    bytes: &'a [u8],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    (0..head.complete_fields())
        .filter_map(move |i| field(head, bytes, i))
        .filter(move |(is, _)| is.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// What a dialect's judge found in a request that is right.
pub(super) struct Judged<'a> {
    pub(super) host_text: &'a str,
    pub(super) host: HostPort<'a>,
    pub(super) origin: Option<&'a str>,
    pub(super) challenge: Challenge,
    /// Bytes of the request behind its head.
    pub(super) behind: usize,
}

/// The elements of a comma-separated list, without the space around them and without empty ones
/// (RFC 7230 §7).
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|element| element.trim_matches([' ', '\t'])).filter(|e| !e.is_empty())
}

/// The elements of a list whose value need not be text (RFC 9110 §5.5).
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
}

/// Whether this is a token (RFC 7230 §3.2.6).
#[must_use]
pub fn is_token(text: &str) -> bool {
    is_token_of_bytes(text.as_bytes())
}

/// Whether bytes that need not be text are a token.
pub(super) fn is_token_of_bytes(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
        })
}

/// Appends in ASCII lowercase.
pub(super) fn lowercase(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
}

/// Appends a number in base ten.
pub(super) fn decimal(number: u32, out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10).to_le_bytes()[0]);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}
