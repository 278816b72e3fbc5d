//! The server's answer as bytes.

use std::fmt;

use super::common::decimal;
use super::request::is_head;
use super::{Deflate, RequestError, ServerPolicy, UpgradeRequest, hybi02, rfc6455};
use crate::wire::Dialect;

/// Appends the whole answer to a request that `policy` accepted: draft-02 §5.2.2 steps 2 to 13, the
/// sixteen bytes included (HS-S-30, HS-S-32), or RFC 6455 §4.2.2 item 5. The connection is established then: frames may
/// follow at once.
///
/// `subprotocol` is one of those the client asked for, or none. `extra` holds the names and values
/// of further fields, Set-Cookie and the like.
///
/// # Errors
///
/// A subprotocol or an extra field that would break the answer; nothing is written then.
#[inline]
pub fn accept(
    request: &UpgradeRequest<'_>,
    policy: &ServerPolicy,
    subprotocol: Option<&str>,
    extra: &[(impl AsRef<str>, impl AsRef<str>)],
    out: &mut Vec<u8>,
) -> Result<(), AcceptError> {
    accept_with(request, policy, subprotocol, extra, Terms::default(), out)
}

/// What is agreed besides the subprotocol.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Terms {
    /// Compression: one of the client's offers, as [`UpgradeRequest::deflate`] chose it.
    pub deflate: Option<Deflate>,
    /// This connection is TLS: draft-02's location is a wss URL then, unless a proxy that the policy
    /// trusts says otherwise.
    pub secure: bool,
}

/// Accepts a request on these terms.
///
/// # Errors
///
/// As [`accept`].
#[inline]
pub fn accept_with(
    request: &UpgradeRequest<'_>,
    policy: &ServerPolicy,
    subprotocol: Option<&str>,
    extra: &[(impl AsRef<str>, impl AsRef<str>)],
    terms: Terms,
    out: &mut Vec<u8>,
) -> Result<(), AcceptError> {
    if subprotocol.is_some_and(|wanted| !request.subprotocols().any(|name| name == wanted)) {
        return Err(AcceptError::Subprotocol);
    }
    for (name, value) in extra {
        check_extra(name.as_ref(), value.as_ref())?;
    }
    let answer = request.answer();
    match request.dialect() {
        Dialect::Hybi02 => {
            hybi02::write_head(request, &answer, policy.is_secure(request, terms.secure), out);
        }
        Dialect::Rfc6455 => rfc6455::write_head(request, &answer, terms.secure, out),
    }
    if let Some(agreed) = terms.deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        agreed.write_answer(out);
    }
    if let Some(name) = subprotocol {
        line(b"Sec-WebSocket-Protocol", name, out);
    }
    for (name, value) in extra {
        line(name.as_ref().as_bytes(), value.as_ref(), out);
    }
    out.extend_from_slice(b"\r\n\r\n");
    if request.dialect() == Dialect::Hybi02 {
        out.extend_from_slice(answer.as_bytes());
    }
    Ok(())
}

/// Why an answer cannot be written as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// The client did not ask for this subprotocol, so it would fail the connection (HS-C-44).
    Subprotocol,
    /// An extra field's name is empty or holds other bytes than U+0021 to U+0039 and U+003B to
    /// U+007E, or its value holds a control character other than HT.
    Malformed,
    /// An extra field has a name that is reserved for the handshake (REG-03, HS-S-31), or that
    /// speaks of a body, which the answer has not (HS-S-33).
    Reserved,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subprotocol => "the client did not ask for this subprotocol",
            Self::Malformed => "an extra field holds an illegal character",
            Self::Reserved => "an extra field's name is reserved for the handshake",
        })
    }
}

impl std::error::Error for AcceptError {}

/// Whether an extra field may stand in an answer.
fn check_extra(name: &str, value: &str) -> Result<(), AcceptError> {
    if !is_field(name, value) {
        return Err(AcceptError::Malformed);
    }
    if is_reserved(name)
        || ["Content-Length", "Transfer-Encoding"].iter().any(|n| n.eq_ignore_ascii_case(name))
    {
        return Err(AcceptError::Reserved);
    }
    Ok(())
}

/// Whether a name and a value make one line: no separator or control character in either.
pub(super) fn is_field(name: &str, value: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| matches!(byte, 0x21..=0x7E) && byte != b':')
        && !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
}

/// Whether the handshake itself writes fields of this name (REG-03).
pub(super) fn is_reserved(name: &str) -> bool {
    name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("Sec-WebSocket-"))
        || ["Upgrade", "Connection", "Host", "Origin"].iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Appends a minimal HTTP/1.1 answer that says why the request is refused, for people with an HTTP
/// client; draft-02 prescribes none (§7.2), RFC 6455 §4.2.2 leaves the status to the server. Close the connection behind it.
///
/// `sentence` is the body; control characters in it become spaces.
pub fn refuse(status: u16, sentence: &str, out: &mut Vec<u8>) {
    refuse_head(status, sentence, out);
    out.extend(sentence.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    out.push(b'\n');
}

/// Appends the answer to a request, of which these bytes were `received`, that broke a rule:
/// [`refuse`] with its status and sentence, and to the method HEAD the same without the body (RFC 9110
/// §9.3.2). Nothing if the rule has no status; close the connection either way.
pub fn refuse_request(error: RequestError, received: &[u8], out: &mut Vec<u8>) {
    match error.status() {
        Some(status) if is_head(received) => refuse_head(status, error.sentence(), out),
        Some(status) => refuse(status, error.sentence(), out),
        None => {}
    }
}

/// The head of a refusal.
fn refuse_head(status: u16, sentence: &str, out: &mut Vec<u8>) {
    let reason = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u32::from(status.clamp(100, 999)), out);
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    line(b"Connection", if status == 426 { "Upgrade, close" } else { "close" }, out);
    if status == 426 {
        line(b"Upgrade", "WebSocket", out);
        // RFC 6455 §4.4.
        line(b"Sec-WebSocket-Version", "13", out);
    }
    if status == 405 {
        line(b"Allow", "GET", out);
    }
    line(b"Content-Type", "text/plain; charset=utf-8", out);
    out.extend_from_slice(b"\r\nContent-Length: ");
    decimal(u32::try_from(sentence.len() + 1).unwrap_or(u32::MAX), out);
    out.extend_from_slice(b"\r\n\r\n");
}

/// Ends the line before and appends one field without its end.
fn line(name: &[u8], value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests;
