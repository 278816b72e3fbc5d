//! The first line of a request, and what stands before it.

use crate::handshake::RequestError;
use crate::handshake::common::text;

/// The length of the empty line before a request, if there is one (RFC 9112 §2.2).
#[inline]
pub(in crate::handshake) fn empty_line(received: &[u8]) -> usize {
    if received.starts_with(b"\r\n") { 2 } else { 0 }
}

/// The beginning of every request.
const GET: &[u8] = b"GET /";

/// The schemes of an absolute URI, which RFC 6455 allows in the place of a resource name (§4.2.1),
/// in letters of either case (RFC 3986 §3.1).
const ABSOLUTE: [&str; 2] = ["http://", "https://"];

/// What the first bytes of a head show, complete or not.
#[inline]
pub(in crate::handshake) fn judge_start(received: &[u8]) -> Result<(), RequestError> {
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
    let letters = received.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let (method, behind) = received.split_at_checked(letters).unwrap_or_default();
    if letters > METHOD_MAX {
        return Err(RequestError::NotHttp);
    }
    Err(match (method, behind.first()) {
        (_, None) => return Ok(()),
        (b"", _) => RequestError::NotHttp,
        (HEAD, Some(b' ')) => RequestError::UpgradeMissing,
        // The beginning of HTTP/2, which no method of HTTP/1.1 has (RFC 9113 §3.4).
        (b"PRI", Some(b' ')) => RequestError::HttpVersionUnsupported,
        (_, Some(b' ')) => RequestError::MethodNotGet,
        _ => RequestError::NotHttp,
    })
}

/// The method of a request that is answered as `GET` would be, but for the body (RFC 9110 §9.3.2).
const HEAD: &[u8] = b"HEAD";

/// Whether a request, as far as it was received, is one whose answer has no body.
pub(in crate::handshake) fn is_head(received: &[u8]) -> bool {
    let request = received.get(empty_line(received)..).unwrap_or_default();
    request.strip_prefix(HEAD).is_some_and(|rest| rest.starts_with(b" "))
}

/// No registered HTTP method is longer (UPDATEREDIRECTREF has 17 letters).
const METHOD_MAX: usize = 17;

/// The first line in its parts.
#[derive(Debug, Clone, Copy)]
pub(in crate::handshake) struct RequestLine<'a> {
    pub(in crate::handshake) resource_name: &'a str,
    /// The host and port of a URI that is absolute.
    pub(in crate::handshake) authority: Option<&'a str>,
    /// What stands behind it.
    version: &'a [u8],
}

impl<'a> RequestLine<'a> {
    /// Reads the first line, which is `len` bytes long (§5.2.1 parts 1 to 4).
    #[inline]
    pub(in crate::handshake) fn read(bytes: &'a [u8], len: usize) -> Result<Self, RequestError> {
        let rest = bytes.get(..len).and_then(|line| line.strip_prefix(b"GET "));
        let rest = rest.ok_or(RequestError::ResourceName)?;
        let end = rest.iter().position(|byte| *byte == b' ');
        let (target, version) = end
            .and_then(|end| Some((rest.get(..end)?, rest.get(end + 1..)?)))
            .filter(|(target, _)| target.iter().all(|b| matches!(b, 0x21..=0x7E)))
            .ok_or(RequestError::ResourceName)?;
        let target = text(target, RequestError::ResourceName)?;
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

    /// Judges the version, which draft-02 ignores (HS-S-04): RFC 6455 wants HTTP/1.1 or a later one of
    /// the same major version (§4.2.1; RFC 9110 §2.5).
    pub(in crate::handshake) fn judge_version(&self) -> Result<(), RequestError> {
        Err(match self.version.strip_prefix(b"HTTP/") {
            Some([b'1', b'.', b'1'..=b'9']) => return Ok(()),
            Some([b'0' | b'1', b'.', b'0'..=b'9']) => RequestError::HttpVersion,
            Some([b'2'..=b'9'] | [b'2'..=b'9', b'.', b'0'..=b'9']) => {
                RequestError::HttpVersionUnsupported
            }
            _ => RequestError::HttpVersionMalformed,
        })
    }
}
