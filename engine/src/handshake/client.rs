//! The client's side: the request it sends, and the reader of what comes back.

use std::fmt;
use std::sync::Arc;

use fastrand::Rng;

use super::accept::{is_field, is_reserved};
use super::extension::DeflateTerms;
use super::hybi02;
use super::request::Answer;
use super::response::{self, Judge, UpgradeResponse};
use super::rfc6455;
use super::scan::{FIELDS_MAX, Head, Strictness};
use super::{HeadLimits, Refusal, ResponseError, Url};
use crate::wire::Dialect;

/// Everything about a client's request that is the same for each connection made with it.
#[derive(Clone)]
pub struct ClientRequest {
    dialect: Dialect,
    url: Url,
    location: String,
    origin: String,
    protocols: Vec<String>,
    deflate: Option<DeflateTerms>,
    /// "GET /resource HTTP/1.1" with its CRLF.
    request_line: String,
    /// The lines of all fields but the keys, each with its CRLF.
    lines: Vec<String>,
}

/// Collects what a [`ClientRequest`] is made of; made by [`ClientRequest::builder`].
#[derive(Clone)]
#[must_use]
pub struct ClientRequestBuilder {
    dialect: Dialect,
    url: Url,
    origin: String,
    protocols: Vec<String>,
    cookies: Vec<(String, String)>,
    deflate: Option<DeflateTerms>,
}

/// What its fields say stays out of logs: passwords and cookies are among it.
impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |line: &String| line.split(':').next().unwrap_or_default().to_owned();
        f.debug_struct("ClientRequest")
            .field("dialect", &self.dialect)
            .field("url", &self.url)
            .field("origin", &self.origin)
            .field("protocols", &self.protocols)
            .field("deflate", &self.deflate)
            .field("fields", &self.lines.iter().map(name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Shows no secrets: what fields and credentials say is left out.
impl fmt::Debug for ClientRequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequestBuilder")
            .field("dialect", &self.dialect)
            .field("url", &self.url)
            .field("origin", &self.origin)
            .field("protocols", &self.protocols)
            .field("deflate", &self.deflate)
            .field("cookies", &self.cookies.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl ClientRequest {
    /// A request of draft-02 for `url` in the name of a page or program of `origin`, such as
    /// `http://example.com` (always sent, AMB-12).
    pub fn builder(url: Url, origin: impl Into<String>) -> ClientRequestBuilder {
        ClientRequestBuilder {
            dialect: Dialect::Hybi02,
            url,
            origin: origin.into(),
            protocols: Vec::new(),
            cookies: Vec::new(),
            deflate: None,
        }
    }

    /// A request of RFC 6455 for `url`, without an origin: only browsers have one (§4.1 item 8).
    pub fn rfc6455(url: Url) -> ClientRequestBuilder {
        Self::builder(url, "").dialect(Dialect::Rfc6455)
    }

    /// The dialect asked for.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The URL asked for.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The origin sent; empty if none is.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The location that the server must send back.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The subprotocols asked for.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(String::as_str)
    }

    /// Whether permessage-deflate is offered.
    #[must_use]
    pub const fn compresses(&self) -> bool {
        self.deflate.is_some()
    }

    /// What is offered of permessage-deflate.
    #[must_use]
    pub const fn deflate_terms(&self) -> Option<DeflateTerms> {
        self.deflate
    }
}

impl ClientRequestBuilder {
    /// The dialect to ask for; draft-02 by default.
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The subprotocols to ask for, any one of which the server may take; none by default.
    pub fn protocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// The HTTP fields that carry the cookies for the URL, such as ("Cookie", "a=1; b=2"), one line
    /// each (§5.1 steps 17 and 18), and others of the application's. An Authorization field among
    /// them is sent instead of the name and the password in the URL.
    pub fn cookies<N: Into<String>, V: Into<String>>(
        mut self,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.cookies = fields.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        self
    }

    /// Offers permessage-deflate (RFC 7692) on the default terms, or does not; draft-02 has no
    /// extensions, and there it changes nothing.
    pub fn compress(self, offered: bool) -> Self {
        self.deflate(offered.then(DeflateTerms::default))
    }

    /// Offers permessage-deflate on these terms.
    pub const fn deflate(mut self, terms: Option<DeflateTerms>) -> Self {
        self.deflate = terms;
        self
    }

    /// Checks everything against draft-02 §3.3, or RFC 6455 §4.1, and makes the request (HS-C-01, with the
    /// cookies of HS-C-17).
    ///
    /// # Errors
    ///
    /// What they or the form of a field line forbid. No connection may be made then.
    pub fn build(self) -> Result<ClientRequest, ClientRequestError> {
        let Self { dialect, url, origin, protocols, cookies, deflate } = self;
        let deflate = deflate.filter(|_| dialect == Dialect::Rfc6455);
        let visible = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
        let needed = dialect == Dialect::Hybi02;
        if (needed && origin.is_empty())
            || !visible(&origin)
            || origin.bytes().any(|b| b.is_ascii_uppercase())
        {
            return Err(ClientRequestError::Origin);
        }
        let is_protocol = |name: &str| match dialect {
            Dialect::Hybi02 => hybi02::is_subprotocol(name),
            Dialect::Rfc6455 => rfc6455::is_subprotocol(name),
        };
        for (i, name) in protocols.iter().enumerate() {
            if !is_protocol(name) || protocols.iter().take(i).any(|n| n == name) {
                return Err(ClientRequestError::Protocol);
            }
        }
        if cookies.iter().any(|(name, value)| !is_field(name, value) || is_reserved(name)) {
            return Err(ClientRequestError::Cookie);
        }
        let mut lines = match dialect {
            Dialect::Hybi02 => hybi02::lines(&url, &origin, &protocols),
            Dialect::Rfc6455 => rfc6455::lines(&url, &origin, &protocols),
        };
        if let Some(terms) = deflate {
            lines.push(format!("Sec-WebSocket-Extensions: {}\r\n", terms.offer()));
        }
        let authorized = |(name, _): &(String, String)| name.eq_ignore_ascii_case("Authorization");
        if let Some(value) = url.authorization().filter(|_| !cookies.iter().any(authorized)) {
            lines.push(format!("Authorization: {value}\r\n"));
        }
        lines.extend(cookies.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        if lines.len() + hybi02::KEYS > FIELDS_MAX {
            return Err(ClientRequestError::TooManyFields);
        }
        let request_line = format!("GET {} HTTP/1.1\r\n", url.resource_name());
        let location = url.location();
        Ok(ClientRequest {
            dialect,
            url,
            location,
            origin,
            protocols,
            deflate,
            request_line,
            lines,
        })
    }
}

/// Why a request may not be made (draft-02 §3.3, §5.1 steps 1 and 18; RFC 6455 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientRequestError {
    /// The origin is empty in draft-02, holds A to Z, or bytes outside U+0021 to U+007E (URL-12, AMB-17).
    Origin,
    /// A subprotocol is empty, holds bytes outside U+0021 to U+007E, or stands there twice
    /// (URL-14, AMB-17); in RFC 6455, is no token.
    Protocol,
    /// A cookie field holds an illegal character, or its name is reserved (HS-C-18, REG-03).
    Cookie,
    /// More fields than [`FIELDS_MAX`].
    TooManyFields,
}

impl fmt::Display for ClientRequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origin => "the origin is not visible ASCII without capital letters",
            Self::Protocol => "a subprotocol is not visible ASCII, or stands there twice",
            Self::Cookie => "a cookie field holds an illegal character or a reserved name",
            Self::TooManyFields => "the request has too many fields",
        })
    }
}

impl std::error::Error for ClientRequestError {}

/// One handshake from the client's side: the challenge it sent and the reader of the response.
#[derive(Debug)]
pub struct ClientHandshake {
    request: Arc<ClientRequest>,
    expected: Answer,
    /// Bytes of the interim responses that were skipped.
    skipped: usize,
    /// How many they were.
    interim: u8,
    /// The place reached, once a response turned out to be in pieces.
    partial: Option<Box<(Head, Judge)>>,
}

impl ClientHandshake {
    /// Appends a new request to `out`: in draft-02 the head, its fields in random order, and key_3
    /// (§5.1 steps 6 to 30). The same state of `rng` gives the same bytes.
    pub fn start(request: &Arc<ClientRequest>, rng: &mut Rng, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(request.request_line.as_bytes());
        let expected = match request.dialect {
            Dialect::Hybi02 => hybi02::start(&request.lines, rng, out),
            Dialect::Rfc6455 => rfc6455::start(&request.lines, rng, out),
        };
        Self { request: Arc::clone(request), expected, skipped: 0, interim: 0, partial: None }
    }

    /// The request that was sent.
    #[must_use]
    pub const fn request(&self) -> &Arc<ClientRequest> {
        &self.request
    }

    /// Reads `received`: everything that was received on the connection, from its first byte. Each
    /// call's slice begins with the bytes of the call before, and none is scanned twice. `None` asks
    /// for more bytes; if the connection ends instead, that is [`ResponseError::ConnectionEnded`].
    ///
    /// Interim responses, 1xx but 101, are skipped (RFC 9110 §15.2), and a line that begins with a space
    /// goes on with the value before it (RFC 9112 §5.2).
    ///
    /// # Errors
    ///
    /// The first rule of §5.1 steps 31 to 48, or of RFC 6455 §4.1, that the response breaks: as soon as the status line,
    /// the field or the byte of the answer that breaks it is there. Its cookies are not to be used
    /// (HS-C-52).
    pub fn read<'a>(
        &mut self,
        limits: &HeadLimits,
        received: &'a [u8],
    ) -> Result<Option<UpgradeResponse<'a>>, ResponseError> {
        // An alert, or the beginning of a handshake (RFC 8446 §5.1).
        if let [0x15 | 0x16, 3, ..] = received {
            return Err(ResponseError::ServerSpeaksTls);
        }
        loop {
            let mut partial = self.partial.take();
            let mut fresh = (Head::new(Strictness::Letter), Judge::new());
            let (head, judge) = partial.as_deref_mut().unwrap_or(&mut fresh);
            let rest = received.get(self.skipped..).unwrap_or_default();
            let Some(len) = self.advance(head, judge, limits, rest)? else {
                self.partial = Some(partial.unwrap_or_else(|| Box::new(fresh)));
                return Ok(None);
            };
            if !judge.is_interim() {
                let len = self.skipped + len;
                return Ok(Some(UpgradeResponse::new(limits, rest, head, len, &self.request)));
            }
            self.skip(limits, len)?;
        }
    }

    /// How the response that counts refuses, as far as it is among the `received` bytes; what is not
    /// UTF-8 reads as U+FFFD. For those who want to know why [`ClientHandshake::read`] failed.
    #[must_use]
    pub fn refusal(&self, received: &[u8]) -> Option<Refusal> {
        Refusal::read(received.get(self.skipped..)?)
    }

    /// Passes over an interim response.
    fn skip(&mut self, limits: &HeadLimits, len: usize) -> Result<(), ResponseError> {
        if self.interim >= limits.max_interim() {
            return Err(ResponseError::TooManyInterim);
        }
        self.interim += 1;
        self.skipped += len;
        if self.skipped > limits.max_bytes() { Err(ResponseError::HeadTooLarge) } else { Ok(()) }
    }

    /// Reads on; the length of the response, once it is whole and right, or interim.
    fn advance(
        &self,
        head: &mut Head,
        judge: &mut Judge,
        limits: &HeadLimits,
        received: &[u8],
    ) -> Result<Option<usize>, ResponseError> {
        let scanned = head.scan(limits, received);
        // An error further on does not hide the one before it: lines that are complete go first.
        judge.status_line(head, received, scanned.is_err())?;
        judge.fields(head, received, &self.request, &self.expected)?;
        let Some(len) = scanned.map_err(response::scan_error)? else { return Ok(None) };
        if judge.is_interim() {
            return Ok(Some(len));
        }
        judge.counts(&self.request)?;
        let Answer::Hybi02(expected) = &self.expected else { return Ok(Some(len)) };
        let reply = received.get(len..).unwrap_or_default();
        if reply.iter().zip(expected).any(|(is, wanted)| is != wanted) {
            return Err(ResponseError::Answer);
        }
        Ok((reply.len() >= expected.len()).then_some(len + expected.len()))
    }
}

#[cfg(test)]
pub(super) mod tests;
