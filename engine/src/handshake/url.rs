//! WebSocket URLs: draft-02 §3, parse, construct, validate.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::basic::Credentials;
pub use super::basic::without_secrets;
use super::host::{self, bracketed, is_name_byte};

/// A valid WebSocket URL, as its four components. One that exists may be connected to (§3.3, URL-15).
///
/// Beside them it keeps the name and the password of the text that it was parsed from, which a
/// [`ClientRequest`](super::ClientRequest) sends as Basic authorisation. They are a part of neither its
/// form as text nor of its `Debug` form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    host: String,
    port: u16,
    resource_name: String,
    secure: bool,
    credentials: Option<Credentials>,
}

/// Why a text is no WebSocket URL (draft-02 §3.1), or components make no valid one (§3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlError {
    /// Not `scheme://host...` (URL-01).
    NotAbsolute,
    /// A control character, or a "%" that is no escape, where none can be (URL-02).
    Character,
    /// The scheme is neither "ws" nor "wss" (URL-03).
    Scheme,
    /// There is a fragment, empty or not (URL-04).
    Fragment,
    /// The host is empty, is no host name after IDNA ToASCII, or no address (URL-02, URL-11).
    Host,
    /// The port is not a number up to 65,535 (URL-07).
    Port,
    /// The resource name is not "/" followed by U+0021 to U+007E (URL-13).
    ResourceName,
    /// The name or the password before the "@" cannot be sent: a control character, bytes that are
    /// not UTF-8, or a colon in the name (RFC 7617 §2).
    UserInfo,
}

impl Url {
    /// Parses a URL from any source (§3.1), so that the result is valid by §3.3.
    ///
    /// It is resolved first, as browsers do it (the URL Standard of the WHATWG): space around it is
    /// dropped, the host becomes Punycode in lower case and an address its shortest form, path and
    /// query become UTF-8 and %-escaped, "." and ".." segments are removed. An empty port counts as
    /// none.
    ///
    /// A host is what browsers take for one: hyphens stand anywhere, also at the third and fourth
    /// place, a dot may end it (`example.com.` is another host than `example.com`), "_", "~" and
    /// RFC 3986's sub-delims are letters as others are, and a name whose last label is a number is an
    /// address of IPv4 (`127.1`). It must fit the DNS, though: labels of 1 to 63 bytes, 253 in all.
    ///
    /// User information is no component of a WebSocket URL: it is kept apart, see
    /// [`Url::has_credentials`].
    ///
    /// # Errors
    ///
    /// The step that fails.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let url = url.trim_matches(|c: char| c <= ' ');
        if url.contains(|c: char| c.is_ascii_control()) {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = url.split_once(':').ok_or(UrlError::NotAbsolute)?;
        let mut letters = scheme.bytes();
        if !letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            || !letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
        {
            return Err(UrlError::NotAbsolute);
        }
        let secure = if scheme.eq_ignore_ascii_case("ws") {
            false
        } else if scheme.eq_ignore_ascii_case("wss") {
            true
        } else {
            return Err(UrlError::Scheme);
        };
        let rest = rest.strip_prefix("//").ok_or(UrlError::NotAbsolute)?;
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '\\']).unwrap_or(rest.len()));
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_port)) => (Credentials::of_userinfo(userinfo)?, host_port),
            None => (None, authority),
        };
        let (host, port) = split_port(host_port).ok_or(UrlError::Port)?;
        let (path, query) = split_query(rest);
        Ok(Self {
            host: host::resolve(host)?,
            port: port.unwrap_or_else(|| default_port(secure)),
            resource_name: resolve_resource(path, query),
            secure,
            credentials,
        })
    }

    /// A URL of components that stem from elsewhere, resolved as [`Url::parse`] does it: what is made
    /// here, it reads.
    ///
    /// # Errors
    ///
    /// The component that §3.3 forbids, or a fragment in the resource name.
    pub fn new(host: &str, port: u16, resource_name: &str, secure: bool) -> Result<Self, UrlError> {
        if !host.is_ascii() || host.contains('%') {
            return Err(UrlError::Host);
        }
        if !resource_name.starts_with('/')
            || !resource_name.bytes().all(|byte| matches!(byte, 0x21..=0x7E))
        {
            return Err(UrlError::ResourceName);
        }
        if resource_name.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (path, query) = split_query(resource_name);
        Ok(Self {
            host: host::resolve(host)?,
            port,
            resource_name: resolve_resource(path, query),
            secure,
            credentials: None,
        })
    }

    /// Whether the text that was parsed had a name or a password before an "@". The request of a
    /// client sends them as Basic authorisation (RFC 7617), in UTF-8, unless it is given an
    /// Authorization field of its own.
    #[must_use]
    pub const fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// This URL without the name and the password.
    #[must_use]
    pub fn without_credentials(mut self) -> Self {
        self.credentials = None;
        self
    }

    /// The value of the Authorization field, if there are credentials.
    pub(super) fn authorization(&self) -> Option<String> {
        self.credentials.as_ref().map(Credentials::authorization)
    }

    /// The host in ASCII lowercase (URL-06), Punycode if needed, an IPv6 address in brackets. This is also
    /// the name for TLS Server Name Indication (§5.1 step 5).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as an address, if it is one; a name must be resolved.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port, explicit or not.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as the request line takes them (URL-09).
    #[must_use]
    pub fn resource_name(&self) -> &str {
        &self.resource_name
    }

    /// Whether the scheme is "wss" (URL-05).
    #[must_use]
    pub const fn secure(&self) -> bool {
        self.secure
    }

    /// The URL constructed from its components (§3.2, URL-10): what a server must send as its location, and
    /// what a proxy auto-configuration script is given (§5.1 step 3).
    #[must_use]
    pub fn location(&self) -> String {
        self.to_string()
    }

    /// The host, and the port unless it is the scheme's own (§5.1 steps 10 to 12; HS-C-10 to HS-C-12).
    #[must_use]
    pub fn host_port(&self) -> String {
        if self.port == default_port(self.secure) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss://" } else { "ws://" };
        write!(f, "{scheme}{}{}", self.host_port(), self.resource_name)
    }
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the URL is not of the form ws://host or wss://host",
            Self::Character => "the URL holds a control character",
            Self::Scheme => "the scheme is neither ws nor wss",
            Self::Fragment => "a WebSocket URL has no fragment (#)",
            Self::Host => "the host is neither a valid host name nor an address",
            Self::Port => "the port is not a number up to 65535",
            Self::ResourceName => "the resource name is not \"/\" and visible ASCII",
            Self::UserInfo => {
                "the name or the password before the \"@\" holds a control character, bytes that are not UTF-8, or a \
                 colon in the name"
            }
        })
    }
}

impl std::error::Error for UrlError {}

/// The port that the scheme implies.
pub(super) const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// A host and an optional port, as the Host field has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostPort<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// `None` if there is no host or the characters are not those of a host.
    #[inline]
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let right = if let Some(address) = bracketed(host) {
            address.parse::<Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && host.bytes().all(is_name_byte)
        };
        right.then_some(Self { host, port })
    }
}

/// Splits the port off; `None` if it is not a number up to 65,535. An empty one is none.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_address = text.rfind(']').map_or(0, |at| at + 1);
    if after_address == 0 && text.starts_with('[') {
        return Some((text, None)); // no host, and these colons begin no port
    }
    let Some(colon) = text.get(after_address..)?.find(':') else { return Some((text, None)) };
    let (host, port) = text.split_at_checked(after_address + colon)?;
    let port = port.strip_prefix(':')?;
    if port.is_empty() {
        return Some((host, None));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((host, Some(port.parse().ok()?)))
}

/// Path and query apart.
fn split_query(resource: &str) -> (&str, Option<&str>) {
    match resource.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (resource, None),
    }
}

/// The resource name of a path and a query.
fn resolve_resource(path: &str, query: Option<&str>) -> String {
    let mut name = String::with_capacity(path.len() + query.map_or(1, |query| query.len() + 2));
    push_path(path, &mut name);
    if let Some(query) = query {
        name.push('?');
        escape(query, &mut name);
    }
    name
}

/// Appends the path, its "." and ".." segments removed, escaped; "/" if it is empty (URL-08).
fn push_path(path: &str, out: &mut String) {
    let path = path.replace('\\', "/"); // the web's parsers take one for the other
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | "%2e" | "%2E" => {}
            ".." | ".%2e" | ".%2E" | "%2e." | "%2E." | "%2e%2e" | "%2E%2E" | "%2e%2E"
            | "%2E%2e" => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(""); // "/a/.." names the directory: "/"
        }
    }
    if kept.is_empty() {
        out.push('/');
    }
    for segment in kept {
        out.push('/');
        escape(segment, out);
    }
}

/// Appends the text as UTF-8, %-escaping what no URL may hold; escapes that are there stay.
fn escape(text: &str, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in text.bytes() {
        match byte {
            b'"'
            | b'<'
            | b'>'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | 0x00..=0x20
            | 0x7F.. => {
                out.extend(['%', digit(byte >> 4), digit(byte & 0x0F)]);
            }
            _ => out.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests;
