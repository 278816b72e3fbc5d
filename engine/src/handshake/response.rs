//! The client's judgement of a response, line by line, and the response as borrowed fields.

use std::borrow::Cow;

use super::request::Answer;
use super::scan::{Head, ScanError, Strictness};
use super::{
    ClientRequest, Deflate, DeflateTerms, Field, HeadLimits, ResponseError, hybi02, rfc6455,
};
use crate::wire::Dialect;

/// What a client has found so far in a response (draft-02 §5.1 steps 31 to 44, RFC 6455 §4.1).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Judge {
    /// Bytes of the status line looked at.
    status_seen: u16,
    /// Spaces among them.
    spaces: u8,
    /// The first bytes of the code.
    code: [u8; 3],
    code_len: u8,
    status: Status,
    /// Fields judged.
    fields: u8,
    /// Which of the fields that may stand there only once were seen, as in [`once`].
    seen: [bool; 5],
}

/// What the status line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Status {
    /// Not all so far.
    #[default]
    Unknown,
    /// 101: the fields count.
    Right,
    /// Another 1xx: a response that counts follows (RFC 9110 §15.2).
    Interim,
    /// The end, once the line is whole.
    Wrong(ResponseError),
}

/// A field that must stand in the response exactly once.
pub(super) struct Once {
    name: &'static str,
    count: ResponseError,
    value: ResponseError,
}

impl Once {
    pub(super) const fn new(
        name: &'static str,
        count: ResponseError,
        value: ResponseError,
    ) -> Self {
        Self { name, count, value }
    }
}

pub(super) const UPGRADE: Once =
    Once::new("upgrade", ResponseError::UpgradeCount, ResponseError::UpgradeValue);
pub(super) const CONNECTION: Once =
    Once::new("connection", ResponseError::ConnectionCount, ResponseError::ConnectionValue);
pub(super) const PROTOCOL: Once = Once::new(
    "sec-websocket-protocol",
    ResponseError::SubprotocolCount,
    ResponseError::SubprotocolValue,
);

/// The fields that may stand there only once, in the dialect of the request, and how many of them
/// must.
fn once(request: &ClientRequest) -> (&'static [Once; 5], usize) {
    match request.dialect() {
        Dialect::Hybi02 => (&hybi02::ONCE, hybi02::needed(request)),
        Dialect::Rfc6455 => (&rfc6455::ONCE, rfc6455::needed(request)),
    }
}

impl Judge {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Judges the status line as far as it arrived (steps 31 to 33; HS-C-32). `broken` says that no more of the
    /// head can be read. A status that is the end is told once its line is whole, with the phrase.
    pub(super) fn status_line(
        &mut self,
        head: &Head,
        received: &[u8],
        broken: bool,
    ) -> Result<(), ResponseError> {
        let len = head.first_line();
        let line = received.get(..len.unwrap_or_else(|| head.scanned())).unwrap_or_default();
        for &byte in line.iter().skip(usize::from(self.status_seen)) {
            self.status_seen = self.status_seen.saturating_add(1);
            match byte {
                b' ' if self.spaces == 1 => {
                    self.spaces = 2;
                    self.status = self.judge_code();
                }
                b' ' => self.spaces = self.spaces.saturating_add(1),
                _ if self.spaces == 1 => {
                    if let Some(place) = self.code.get_mut(usize::from(self.code_len)) {
                        *place = byte;
                    }
                    self.code_len = self.code_len.saturating_add(1);
                }
                _ => {}
            }
        }
        let whole = len.is_some();
        if whole && self.status == Status::Unknown {
            // Two spaces with a right code between them make the seven bytes that are asked for. The
            // second one is often left away where no phrase follows; the end it is either way.
            self.status = match self.judge_code() {
                Status::Wrong(_) if !self.code.iter().all(u8::is_ascii_digit) => {
                    Status::Wrong(ResponseError::StatusLine)
                }
                Status::Right => Status::Wrong(ResponseError::StatusLine),
                other => other,
            };
        }
        match self.status {
            Status::Wrong(error) if whole || broken => Err(error),
            _ => Ok(()),
        }
    }

    const fn judge_code(&self) -> Status {
        match (self.code_len, &self.code) {
            (3, b"101") => Status::Right,
            (3, b"407") => Status::Wrong(ResponseError::ProxyAuthenticationRequired),
            (3, [b'1', b'0'..=b'9', b'0'..=b'9']) => Status::Interim,
            _ => Status::Wrong(ResponseError::StatusCode),
        }
    }

    /// Whether a response that counts follows this one.
    pub(super) fn is_interim(&self) -> bool {
        self.status == Status::Interim
    }

    /// Judges the fields that became complete since the last call (steps 34 to 44; HS-C-34, HS-C-35, HS-C-37,
    /// HS-C-41).
    pub(super) fn fields(
        &mut self,
        head: &Head,
        received: &[u8],
        request: &ClientRequest,
        expected: &Answer,
    ) -> Result<(), ResponseError> {
        if self.is_interim() {
            return Ok(());
        }
        let (names, _) = once(request);
        while let Some(field) = field(head, received, usize::from(self.fields)) {
            self.fields += 1;
            for (i, (once, seen)) in names.iter().zip(&mut self.seen).enumerate() {
                if !field.is(once.name) {
                    continue;
                }
                let value = &*unfolded(field.value);
                let right = match request.dialect() {
                    Dialect::Hybi02 => hybi02::is_right(i, value, request, expected),
                    Dialect::Rfc6455 => rfc6455::is_right(i, value, request, expected),
                };
                let Some(right) = right else { continue };
                if std::mem::replace(seen, true) {
                    return Err(once.count);
                }
                if !right {
                    return Err(once.value);
                }
            }
        }
        Ok(())
    }

    /// Judges, at the end of the head, that no field is missing (step 44).
    pub(super) fn counts(&self, request: &ClientRequest) -> Result<(), ResponseError> {
        let (names, needed) = once(request);
        match names.iter().zip(&self.seen).take(needed).find(|(_, seen)| !**seen) {
            Some((once, _)) => Err(once.count),
            None => Ok(()),
        }
    }
}

pub(super) const fn scan_error(error: ScanError) -> ResponseError {
    match error {
        ScanError::BareCarriageReturn => ResponseError::BareCarriageReturn,
        ScanError::BareLineFeed => ResponseError::BareLineFeed,
        ScanError::EmptyName => ResponseError::FieldWithoutName,
        // The other two are not found when reading to the letter.
        ScanError::NoColon | ScanError::ControlByte | ScanError::NameByte => {
            ResponseError::FieldWithoutColon
        }
        ScanError::TooManyFields => ResponseError::TooManyFields,
        ScanError::LineTooLong => ResponseError::LineTooLong,
        ScanError::HeadTooLarge => ResponseError::HeadTooLarge,
    }
}

/// The value of a field without its folds: each, and the space around it, is one space (RFC 9112
/// §5.2), and does not count if it stands where one space is skipped (step 38).
fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\r') {
        return Cow::Borrowed(value);
    }
    let value = unfold(value);
    Cow::Owned(value.strip_prefix(b" ").map(<[u8]>::to_vec).unwrap_or(value))
}

/// The bytes with a space in the place of each fold.
fn unfold(bytes: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match rest {
            [b'\n', space, ..] if byte == b'\r' && is_space(space) => {
                while out.last().is_some_and(is_space) {
                    out.pop();
                }
                let spaces = rest.iter().skip(1).take_while(|byte| is_space(byte)).count();
                rest = rest.get(1 + spaces..).unwrap_or_default();
                out.push(b' ');
            }
            _ => out.push(byte),
        }
    }
    out
}

/// Status and reason phrase of an HTTP answer (RFC 9112 §4), if it begins with them.
pub(super) fn status_of(received: &[u8]) -> Option<(u16, Cow<'_, str>)> {
    let line = received.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = line.strip_prefix(b"HTTP/")?;
    let (_, rest) = split_once(line)?;
    let (status, phrase) = split_once(rest).unwrap_or((rest, b""));
    let digits = status.len() == 3 && status.iter().all(u8::is_ascii_digit);
    let status = std::str::from_utf8(status).ok().filter(|_| digits)?;
    Some((status.parse().ok()?, String::from_utf8_lossy(phrase)))
}

/// What stands before the first space, and behind it.
fn split_once(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, behind) = bytes.split_at_checked(bytes.iter().position(|byte| *byte == b' ')?)?;
    Some((before, behind.get(1..)?))
}

/// A server's right answer, borrowed from the received bytes: the connection is established.
#[derive(Debug, Clone)]
pub struct UpgradeResponse<'a> {
    /// The head; with its folded lines made one, if there are any.
    received: Cow<'a, [u8]>,
    head: Head,
    len: usize,
    asked_for_subprotocol: bool,
    /// What was offered of compression.
    offered: Option<DeflateTerms>,
}

impl<'a> UpgradeResponse<'a> {
    /// `head` is the scanned one of `received`, which begins with it; `len` is what everything takes.
    pub(super) fn new(
        limits: &HeadLimits,
        received: &'a [u8],
        head: &Head,
        len: usize,
        request: &ClientRequest,
    ) -> Self {
        let asked_for_subprotocol = request.protocols().next().is_some();
        let offered = request.deflate_terms();
        let mut response = Self {
            received: Cow::Borrowed(received),
            head: head.clone(),
            len,
            asked_for_subprotocol,
            offered,
        };
        if head.is_folded() {
            response.unfold(limits);
        }
        response
    }

    #[cold]
    fn unfold(&mut self, limits: &HeadLimits) {
        // What stands behind the status line, so that a space behind that line is no fold.
        let line = self.head.first_line().unwrap_or_default() + 2;
        let (line, fields) = self.received.split_at_checked(line).unwrap_or_default();
        let fields = fields.get(..self.head.scanned().saturating_sub(line.len())).unwrap_or(fields);
        let whole = [line, &*unfold(fields)].concat();
        self.head = Head::new(Strictness::Letter);
        // It was right before, and is no longer now.
        let scanned = self.head.scan(&limits.with_max_line_bytes(usize::MAX), &whole);
        debug_assert_eq!(scanned, Ok(Some(whole.len())), "a head without its folds");
        self.received = Cow::Owned(whole);
    }

    /// How many of the received bytes the response took, draft-02's last sixteen included. Bytes behind it
    /// are frames (HS-C-50).
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// False: a response has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The subprotocol that the server chose; `None` if none was asked for, whatever it sent
    /// (HS-C-44).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        let field = self.fields().find(|field| field.is("sec-websocket-protocol"))?;
        field.value_str().filter(|_| self.asked_for_subprotocol)
    }

    /// What the server agreed to compress (RFC 7692 §7.1); a client that offered nothing has judged
    /// that there is nothing.
    #[must_use]
    pub fn deflate(&self) -> Option<Deflate> {
        let field = self.fields().find(|field| field.is("sec-websocket-extensions"))?;
        Deflate::judge_answer(field.value_str()?, self.offered?)
    }

    /// The fields that set cookies, Set-Cookie and Set-Cookie2, for the application to apply: nothing
    /// here keeps cookies (HS-C-43, HS-C-44, HS-C-51).
    pub fn cookies(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields().filter(|field| field.is("set-cookie") || field.is("set-cookie2"))
    }

    /// All fields in the order they were sent (HS-C-40).
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        (0..self.head.complete_fields()).filter_map(|i| field(&self.head, &self.received, i))
    }
}

/// Field `i` of a scanned head; one space behind the colon does not belong to the value (step 38).
fn field<'a>(head: &Head, received: &'a [u8], i: usize) -> Option<Field<'a>> {
    let (start, colon, end) = head.field(i)?;
    let value = received.get(colon + 1..end)?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    Some(Field { name: received.get(start..colon)?, value })
}
